//! What an error of a transactional call means for the transaction. Pure.
//!
//! librdkafka's own rule (INTRODUCTION.md, "Transactional producer"): retriable → the same call again; abortable →
//! abort and go back; fatal → the producer is gone; and what is none of these is treated as fatal.

use rdkafka::error::KafkaError;

/// A call that is not to be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The transaction can and must be aborted.
    Abort(String),
    /// Nobody here knows how it ends.
    Unknown(String),
}

/// `None` means: make the same call again.
pub(super) fn fault(call: &'static str, error: &KafkaError) -> Option<Fault> {
    let KafkaError::Transaction(e) = error else {
        // `commit_transaction` flushes first: a flush that timed out has decided nothing.
        return Some(Fault::Unknown(format!("{call}: {error}")));
    };
    decide(e.is_fatal(), e.txn_requires_abort(), e.is_retriable(), || format!("{call}: {e}"))
}

fn decide(fatal: bool, abortable: bool, retriable: bool, detail: impl FnOnce() -> String) -> Option<Fault> {
    if fatal {
        Some(Fault::Unknown(detail()))
    } else if abortable {
        Some(Fault::Abort(detail()))
    } else if retriable {
        None
    } else {
        Some(Fault::Unknown(detail()))
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;

    #[test]
    fn only_what_can_be_aborted_is_aborted_and_what_is_nothing_is_unknown() {
        let detail = || "why".to_owned();
        let (abort, unknown) = (Some(Fault::Abort(detail())), Some(Fault::Unknown(detail())));
        for (fatal, abortable, retriable, expected) in [
            (false, false, true, None),
            (false, true, false, abort.clone()),
            (false, true, true, abort),
            (true, false, false, unknown.clone()),
            (true, true, true, unknown.clone()),
            (false, false, false, unknown),
        ] {
            assert_eq!(decide(fatal, abortable, retriable, detail), expected, "{fatal} {abortable} {retriable}");
        }
    }

    #[test]
    fn a_flush_that_timed_out_decides_nothing() {
        let error = KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut);
        assert!(matches!(fault("commit", &error), Some(Fault::Unknown(_))));
    }
}
