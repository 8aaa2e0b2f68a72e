//! What a committed transaction says of itself to the counters. Made from a decision before it is performed, told once
//! it is committed: what was aborted is never counted.

use crate::batch::planner::Trigger;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::event::{Family, RecordReason};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $name {
                $($variant,)*
            }

            impl $name {
                /// The values a label may have.
                pub const WORDS: &'static [&'static str] = &[$($text,)*];

                pub fn as_str(self) -> &'static str {
                    match self {
                        $($name::$variant => $text,)*
                    }
                }
            }
        )*
    };
}

words! {
    /// How a landing record ended.
    Outcome {
        Curated = "curated",
        Registered = "registered",
        Quarantined = "quarantined",
        Duplicate = "duplicate",
        Superseded = "superseded",
        Ignored = "ignored",
    }
    /// Where rows went.
    RowOutcome {
        Curated = "curated",
        Quarantined = "quarantined",
    }
    /// What an object event says.
    EventWord {
        Created = "created",
        Removed = "removed",
    }
    /// Whether a contract routes an object event.
    Routing {
        Routed = "routed",
        Unrouted = "unrouted",
    }
    /// What became of a notification.
    EnvelopeOutcome {
        Accepted = "accepted",
        Ignored = "ignored",
        Rejected = "rejected",
    }
    /// Class of a file's drift.
    DriftClass {
        None = "none",
        Additive = "additive",
        Type = "type",
        Structural = "structural",
        Semantic = "semantic",
        Contract = "contract",
    }
    /// What was done about it.
    DriftAction {
        Accepted = "accepted",
        Evolved = "evolved",
        Quarantined = "quarantined",
    }
    /// How a quality rule ended.
    RuleOutcome {
        Passed = "passed",
        Failed = "failed",
        NotEvaluated = "not_evaluated",
    }
    /// How a transaction ended.
    TransactionOutcome {
        Committed = "committed",
        Aborted = "aborted",
        Fenced = "fenced",
        Unknown = "unknown",
    }
    /// How an object store answered.
    StoreOutcome {
        Ok = "ok",
        Throttled = "throttled",
        ClientError = "client_error",
        ServerError = "server_error",
        Timeout = "timeout",
    }
    /// What an object store was asked.
    StoreOperation {
        Get = "get",
        Put = "put",
        Head = "head",
        List = "list",
        Delete = "delete",
        Copy = "copy",
    }
}

/// One thing that happened. `dataset: None`: no contract routes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A source was asked and answered; at the end of a round it was read to its end.
    SourceRead {
        source: String,
        is_round_end: bool,
    },
    /// A notification was read.
    Envelope {
        source: String,
        family: Option<Family>,
        outcome: EnvelopeOutcome,
    },
    /// A record of a notification cannot be read.
    EnvelopeRejected {
        source: String,
        reason: RecordReason,
    },
    /// An object event landed.
    Landed {
        source: String,
        event: EventWord,
        routing: Routing,
    },
    /// An object version was admitted.
    Admitted {
        dataset: Option<String>,
        bytes: u64,
        /// A listing found what no notification had announced.
        missed: bool,
    },
    /// A landing record came to its end.
    Ended {
        dataset: Option<String>,
        outcome: Outcome,
        rows_curated: u64,
        rows_quarantined: u64,
        /// When it had landed, if it is live traffic.
        landed: Option<Timestamp>,
    },
    /// A whole object was held back.
    Quarantined {
        dataset: Option<String>,
        reason: ReasonCode,
    },
    Drift {
        dataset: Option<String>,
        class: DriftClass,
        action: DriftAction,
    },
    BatchClosed {
        dataset: String,
        trigger: Trigger,
    },
    RulesEnded {
        dataset: String,
        outcome: RuleOutcome,
        rules: u64,
    },
    /// A commit to a table.
    Published {
        dataset: String,
        files: u64,
        bytes: u64,
    },
}
