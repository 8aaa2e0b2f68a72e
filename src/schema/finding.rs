//! Findings of drift.md §2.3: what differs, how much of it, and what follows.

use std::fmt;

use crate::domain::reason::ReasonCode;

macro_rules! codes {
    ($($variant:ident = $text:literal, $kind:ident, $reason:ident;)*) => {
        /// The code of a finding (drift.md §2.3). `SE` codes stand for contract range and pattern here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingCode {
            $($variant,)*
        }

        impl FindingCode {
            pub const ALL: &'static [FindingCode] = &[$(FindingCode::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(FindingCode::$variant => $text,)*
                }
            }

            pub fn from_word(word: &str) -> Option<FindingCode> {
                match word {
                    $($text => Some(FindingCode::$variant),)*
                    _ => None,
                }
            }

            pub fn kind(self) -> Kind {
                match self {
                    $(FindingCode::$variant => Kind::$kind,)*
                }
            }

            /// The reason class findings of this code belong to, unless the finding knows better.
            pub fn reason(self) -> ReasonCode {
                match self {
                    $(FindingCode::$variant => ReasonCode::$reason,)*
                }
            }
        }
    };
}

codes! {
    Ad1 = "AD1", Additive, AdditiveColumn;
    Ad3 = "AD3", Additive, AdditiveColumn;
    Ad4 = "AD4", Structural, StructuralKeyExplosion;
    Ad6 = "AD6", Rename, DuplicateHeader;
    Rm1 = "RM1", Removal, MissingOptionalColumn;
    Rm2 = "RM2", Removal, MissingRequiredColumn;
    Rn1 = "RN1", Rename, HeaderRenameCosmetic;
    Rn2 = "RN2", Rename, HeaderRename;
    Rn3 = "RN3", Rename, HeaderRename;
    Or1 = "OR1", Reorder, ColumnOrder;
    Ty3 = "TY3", Type, TypeDriftSafe;
    Ty4 = "TY4", Type, TypeDriftSafe;
    Ty5 = "TY5", Type, TypeToString;
    Ty6a = "TY6a", Type, TypeDriftSafe;
    Ty6b = "TY6b", Type, TypeDrift;
    Ty8 = "TY8", Type, TypeDrift;
    Ty9 = "TY9", Type, RowTypeError;
    Ty10 = "TY10", Type, BooleanDialect;
    Ty11u = "TY11u", Type, DecimalDialect;
    Ty11a = "TY11a", Type, DecimalDialect;
    Ty12u = "TY12u", Type, DateDialect;
    Ty12a = "TY12a", Type, DateDialect;
    Ty13a = "TY13a", Type, TypeDriftSafe;
    Ty13b = "TY13b", Type, TypeDriftSafe;
    Ty13c = "TY13c", Type, TypeDrift;
    Ty14 = "TY14", Type, TypeDrift;
    Ty15a = "TY15a", Type, TypeDriftSafe;
    Ty15b = "TY15b", Type, TypeDrift;
    Ty16 = "TY16", Type, NullToken;
    Ty18a = "TY18a", Type, TypeDriftSafe;
    Ty18b = "TY18b", Type, TypeDrift;
    Nu1 = "NU1", Type, NullInRequired;
    Nu2 = "NU2", Type, NullInRequired;
    En1 = "EN1", Semantic, SemanticCodelist;
    En2 = "EN2", Semantic, SemanticCodelist;
    En3 = "EN3", Semantic, SemanticCodelist;
    St1 = "ST1", Structural, Structural;
    St2 = "ST2", Structural, Structural;
    Di1 = "DI1", Dialect, DelimiterDialect;
    Di2 = "DI2", Dialect, MissingHeader;
    Se1 = "SE1", Semantic, ContractValue;
    Se2 = "SE2", Semantic, ContractValue;
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kinds of drift; `removal`, `rename`, `reorder` and `dialect` are extra labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Additive,
    Type,
    Structural,
    Semantic,
    Removal,
    Rename,
    Reorder,
    Dialect,
    /// A breaking finding without notice.
    Contract,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Additive => "additive",
            Kind::Type => "type",
            Kind::Structural => "structural",
            Kind::Semantic => "semantic",
            Kind::Removal => "removal",
            Kind::Rename => "rename",
            Kind::Reorder => "reorder",
            Kind::Dialect => "dialect",
            Kind::Contract => "contract",
        }
    }
}

/// What is done about a finding or a file, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    Accept,
    Coerce,
    AcceptAndEvolve,
    Quarantine,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Accept => "accept",
            Action::Coerce => "coerce",
            Action::AcceptAndEvolve => "accept_and_evolve",
            Action::Quarantine => "quarantine",
        }
    }
}

/// What a finding rests on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Rows the finding is about; `None` for findings about names.
    pub rows: Option<u64>,
    /// Rows whose value cannot stay.
    pub bad: Option<u64>,
    /// Rows with a value in the column.
    pub non_null: Option<u64>,
    /// Type of a column nobody registered.
    pub inferred: Option<String>,
    /// A value, cut and redacted if the column is sensitive.
    pub example: Option<String>,
    /// Row of the example.
    pub row: Option<u64>,
    pub detail: Option<String>,
}

/// One difference between the file and what is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub code: FindingCode,
    pub kind: Kind,
    /// `a.b`, `a[]`, `a{}`; empty for the file as a whole.
    pub path: String,
    pub from: String,
    pub to: String,
    pub evidence: Evidence,
    /// `name=value` of the policy that decided, if one did.
    pub policy_bit: Option<String>,
    pub breaking: bool,
    /// Not negotiable by `quarantine_on_breaking_change: false`.
    pub hard: bool,
    /// A pending version announces it (decisions.md 31).
    pub announced: bool,
    /// What is done; of a breaking finding, what leniency would do.
    pub action: Action,
    pub reason: ReasonCode,
}

impl Finding {
    pub fn new(code: FindingCode, path: impl Into<String>) -> Self {
        Self {
            code,
            kind: code.kind(),
            path: path.into(),
            from: String::new(),
            to: String::new(),
            evidence: Evidence::default(),
            policy_bit: None,
            breaking: false,
            hard: false,
            announced: false,
            action: Action::Accept,
            reason: code.reason(),
        }
    }

    pub(super) fn between(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.from = from.into();
        self.to = to.into();
        self
    }

    pub(super) fn policy(mut self, bit: impl Into<String>) -> Self {
        self.policy_bit = Some(bit.into());
        self
    }

    pub(super) fn breaking_if(mut self, breaking: bool) -> Self {
        self.breaking = breaking;
        self
    }

    pub(super) fn hard_if(mut self, hard: bool) -> Self {
        self.hard = hard && self.breaking;
        self
    }

    pub(super) fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }
}
