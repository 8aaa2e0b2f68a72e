//! The planner of one shard of one dataset: loses nothing, doubles nothing, keeps the order.
//!
//! ```text
//!  push(member) ─▶ [Seal(open)] [Open] Join [Seal]        wake(now) ─▶ Seal?
//! ```

use std::fmt;
use std::str::FromStr;

use crate::batch::limits::Limits;
use crate::domain::names::{SchemaId, SchemaVersion};
use crate::domain::time::{Span, Timestamp};

/// Why a batch was sealed; also a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// `max_bytes` is reached, or the next member would not fit.
    Size,
    /// `max_rows`.
    Rows,
    /// `max_files`.
    Files,
    /// `linger` has passed since the first member.
    Age,
    /// Nothing arrived for `quiet`.
    Quiet,
    /// The worker is going away or the run ends.
    Drain,
    /// The next member has another schema version or contract.
    SchemaChange,
}

impl Trigger {
    pub const ALL: [Trigger; 7] =
        [Trigger::Size, Trigger::Rows, Trigger::Files, Trigger::Age, Trigger::Quiet, Trigger::Drain, Trigger::SchemaChange];

    /// The word in plans and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Size => "size",
            Trigger::Rows => "rows",
            Trigger::Files => "files",
            Trigger::Age => "age",
            Trigger::Quiet => "quiet",
            Trigger::Drain => "drain",
            Trigger::SchemaChange => "schema_change",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A trigger nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a trigger")]
pub struct TriggerError {
    pub text: String,
}

impl FromStr for Trigger {
    type Err = TriggerError;
    fn from_str(text: &str) -> Result<Self, TriggerError> {
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or_else(|| TriggerError { text: text.to_owned() })
    }
}

/// What members of one batch have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchClass {
    pub contract_hash: String,
    pub schema_version: SchemaVersion,
    pub schema_id: SchemaId,
}

/// The open batch of a shard: everything the planner keeps; its members lie beside it in state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBatch {
    pub seq: u64,
    pub class: BatchClass,
    pub members: u64,
    pub bytes: u64,
    pub rows: u64,
    /// Arrival of the first and of the last member.
    pub opened_at: Timestamp,
    pub last_at: Timestamp,
}

/// The facts of a member that planning needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFacts {
    pub class: BatchClass,
    pub bytes: u64,
    pub rows: u64,
}

/// State of a shard between two members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shard {
    /// No batch is open; the next one gets this number.
    Empty {
        next_seq: u64,
    },
    Open(OpenBatch),
}

impl Default for Shard {
    fn default() -> Self {
        Shard::Empty { next_seq: 0 }
    }
}

/// One step of a plan, in the order the caller has to take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStep {
    /// Emit the open batch `seq` as a plan.
    Seal { seq: u64, trigger: Trigger },
    /// Start batch `seq`.
    Open { seq: u64 },
    /// The pushed member is number `position` (from 0) of batch `seq`.
    Join { seq: u64, position: u64 },
}

/// Takes one member in; answers the steps and the shard's next state. Exactly one step is `Join`.
///
/// A member that would push an open batch over a limit seals it first, so a limit is passed only
/// by a single object that is larger than it. A batch that is exactly full is sealed at once.
pub fn push(shard: &Shard, member: &MemberFacts, limits: &Limits, now: Timestamp) -> (Vec<PlanStep>, Shard) {
    let mut steps = Vec::with_capacity(4);
    let mut open = match shard {
        Shard::Empty { next_seq } => start(*next_seq, member, now, &mut steps),
        Shard::Open(open) => match cannot_join(open, member, limits) {
            Some(trigger) => {
                steps.push(PlanStep::Seal { seq: open.seq, trigger });
                start(open.seq.saturating_add(1), member, now, &mut steps)
            }
            None => open.clone(),
        },
    };
    steps.push(PlanStep::Join { seq: open.seq, position: open.members });
    open.members = open.members.saturating_add(1);
    open.bytes = open.bytes.saturating_add(member.bytes);
    open.rows = open.rows.saturating_add(member.rows);
    // Clocks of two workers may differ after a rebalance; a batch never grows younger.
    open.last_at = open.last_at.max(now);
    match full(&open, limits) {
        Some(trigger) => {
            steps.push(PlanStep::Seal { seq: open.seq, trigger });
            (steps, Shard::Empty { next_seq: open.seq.saturating_add(1) })
        }
        None => (steps, Shard::Open(open)),
    }
}

fn start(seq: u64, member: &MemberFacts, now: Timestamp, steps: &mut Vec<PlanStep>) -> OpenBatch {
    steps.push(PlanStep::Open { seq });
    OpenBatch { seq, class: member.class.clone(), members: 0, bytes: 0, rows: 0, opened_at: now, last_at: now }
}

fn cannot_join(open: &OpenBatch, member: &MemberFacts, limits: &Limits) -> Option<Trigger> {
    if open.class != member.class {
        return Some(Trigger::SchemaChange);
    }
    if open.bytes.saturating_add(member.bytes) > limits.max_bytes.bytes() {
        return Some(Trigger::Size);
    }
    if open.rows.saturating_add(member.rows) > limits.max_rows {
        return Some(Trigger::Rows);
    }
    // Only reached when the limits were lowered while the batch was open.
    (open.members >= limits.max_files.max(1)).then_some(Trigger::Files)
}

fn full(open: &OpenBatch, limits: &Limits) -> Option<Trigger> {
    if open.bytes >= limits.max_bytes.bytes() {
        return Some(Trigger::Size);
    }
    if open.rows >= limits.max_rows {
        return Some(Trigger::Rows);
    }
    (open.members >= limits.max_files).then_some(Trigger::Files)
}

/// Whether intake goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    Running,
    /// Seal whatever is open.
    Draining,
}

/// Judges an open batch when a timer rings or limits have changed; pure, so it may be asked any time.
pub fn wake(open: &OpenBatch, limits: &Limits, intake: Intake, now: Timestamp) -> Option<Trigger> {
    if let Some(trigger) = full(open, limits) {
        return Some(trigger);
    }
    if intake == Intake::Draining {
        return Some(Trigger::Drain);
    }
    if now >= open.opened_at.plus(limits.linger) {
        return Some(Trigger::Age);
    }
    (limits.quiet > Span::ZERO && now >= open.last_at.plus(limits.quiet)).then_some(Trigger::Quiet)
}

/// The next point in time at which [`wake`] will seal this batch if nothing arrives.
pub fn next_wake(open: &OpenBatch, limits: &Limits) -> Timestamp {
    let age = open.opened_at.plus(limits.linger);
    if limits.quiet > Span::ZERO { age.min(open.last_at.plus(limits.quiet)) } else { age }
}

#[cfg(test)]
mod tests;
