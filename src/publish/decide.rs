//! From draft to plan: what stands under each key decides which puts are still to be made.
//!
//! ```text
//!  under the key         Create             Rewrite
//!  nothing               put if absent      halt: a published file vanished
//!  our stamp             done               done
//!  the ledger's stamp    (not possible)     put if the e-tag matches
//!  anything else         halt               halt
//! ```

use crate::publish::draft::{Draft, DraftError, LedgerChange, ObjectOutcome, Staged, Write, WriteKind};
use crate::publish::ledger::View;

/// What gather saw under a key: e-tag of a HEAD, stamp and commit number of the footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub etag: String,
    /// `None`: the file has no footer of ours.
    pub footer: Option<FooterMark>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FooterMark {
    pub stamp: String,
    pub commit_seq: u64,
}

/// Condition of a put. If it does not hold, the stage gathers again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Absent,
    ETag(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub write: Write,
    pub condition: Condition,
}

/// Puts in sorted key order, then one transaction with the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishPlan {
    pub puts: Vec<Put>,
    /// Keys that already hold what this plan would write: an earlier run of it came this far.
    pub done: Vec<String>,
    pub changes: Vec<LedgerChange>,
    pub outcomes: Vec<ObjectOutcome>,
    pub commit_seq: u64,
}

impl PublishPlan {
    /// At most one plan that rewrites may go into a transaction per table (decisions.md 10).
    pub fn rewrites(&self) -> bool {
        self.puts.iter().any(|p| matches!(p.write.kind, WriteKind::Rewrite { .. }))
    }
}

/// The lake is not what the ledger says: going on could lose or double rows, so the stage halts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fence {
    #[error("{key:?} was published but is gone")]
    Vanished { key: String },
    #[error("{key:?} was not written by this table's ledger (e-tag {etag}); another lake or writer owns it")]
    Foreign { key: String, etag: String },
    #[error("{key:?} holds commit {found}, newer than {ours}: this worker is a zombie or its state is old")]
    Ahead { key: String, found: u64, ours: u64 },
}

/// Settles a draft against what stands in the lake (decisions.md 10).
///
/// # Errors
/// The first key, in sorted order, that neither this plan nor the ledger explains.
pub fn settle(draft: Draft, observe: impl Fn(&str) -> Option<Observed>) -> Result<PublishPlan, Fence> {
    let mut plan =
        PublishPlan { puts: Vec::new(), done: Vec::new(), changes: draft.changes, outcomes: draft.outcomes, commit_seq: draft.commit_seq };
    for write in draft.writes {
        let seen = observe(&write.key);
        if seen.as_ref().and_then(|s| s.footer.as_ref()).is_some_and(|f| f.stamp == write.stamp) {
            plan.done.push(write.key);
            continue;
        }
        let condition = match (&write.kind, seen) {
            (WriteKind::Create, None) => Condition::Absent,
            (WriteKind::Create, Some(seen)) => return Err(stranger(&write, seen)),
            (WriteKind::Rewrite { .. }, None) => return Err(Fence::Vanished { key: write.key }),
            (WriteKind::Rewrite { expect, .. }, Some(seen)) => match &seen.footer {
                Some(footer) if footer.stamp == expect.stamp => Condition::ETag(seen.etag),
                _ => return Err(stranger(&write, seen)),
            },
        };
        plan.puts.push(Put { write, condition });
    }
    Ok(plan)
}

fn stranger(write: &Write, seen: Observed) -> Fence {
    let key = write.key.clone();
    match seen.footer {
        Some(footer) if footer.commit_seq > write.commit_seq => Fence::Ahead { key, found: footer.commit_seq, ours: write.commit_seq },
        _ => Fence::Foreign { key, etag: seen.etag },
    }
}

/// Why publish cannot go on; always a halt.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    #[error(transparent)]
    Draft(#[from] DraftError),
    #[error(transparent)]
    Fence(#[from] Fence),
}

/// Draft and settle in one go, where the observations are at hand.
///
/// # Errors
/// As [`Draft::new`] and [`settle`].
pub fn decide(staged: &Staged, view: &dyn View, observe: impl Fn(&str) -> Option<Observed>) -> Result<PublishPlan, DecideError> {
    Ok(settle(Draft::new(staged, view)?, observe)?)
}

#[cfg(test)]
mod tests;
