//! The line of sealed batches that wait for room in transform: part of assemble's state.
//!
//! ```text
//! line                                 whose turn it is, and what was sent since transform was last measured
//! waiting/<dataset>/<ticket>           one sealed batch; its members stay where they were
//! ```
//! Batches leave by deficit round robin over datasets ([`crate::batch::fairness`]). Only the heads of the
//! queues are read, so the line need not fit in memory.

use serde::{Deserialize, Serialize};

use crate::batch::fairness::{Fairness, Waiting};
use crate::domain::names::DatasetName;
use crate::stage::StageError;
use crate::stage::backlog::Measure;
use crate::state::{Change, View};

const LINE: &[u8] = b"line";

/// Bytes a dataset gains per round.
const QUANTUM: u64 = 8 << 20;

/// What the smallest plan costs: files, commits and reports are work however few the rows.
const COST_MIN: u64 = 1 << 20;

/// A batch that was sealed, as it is stored while it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedTwin {
    pub format_version: u32,
    pub dataset: String,
    pub shard: i32,
    pub seq: u64,
    pub contract_hash: String,
    pub schema_version: u32,
    pub trigger: String,
    pub sealed_at: i64,
    /// Bytes of its source objects.
    pub bytes: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct LineTwin {
    format_version: u32,
    next_ticket: u64,
    turns: Vec<TurnTwin>,
    /// The measure the batches below were sent under.
    measured_end: u64,
    sent: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct TurnTwin {
    dataset: String,
    deficit: u64,
}

/// The line of one partition while one decision is made.
pub struct Line {
    twin: LineTwin,
    is_changed: bool,
    changes: Vec<Change>,
}

fn waiting_prefix(dataset: &str) -> Vec<u8> {
    format!("waiting/{dataset}/").into_bytes()
}

fn waiting_key(dataset: &str, ticket: u64) -> Vec<u8> {
    format!("waiting/{dataset}/{ticket:012}").into_bytes()
}

fn broken(what: &str, error: impl std::fmt::Display) -> StageError {
    StageError::Broken { detail: format!("state of {what}: {error}") }
}

fn json<T: Serialize>(value: &T) -> bytes::Bytes {
    serde_json::to_vec(value).expect("text and numbers always serialize").into()
}

impl Line {
    /// # Errors
    /// When the state cannot be read.
    pub fn load(view: View<'_>) -> Result<Self, StageError> {
        let twin = match view.get(LINE)? {
            None => LineTwin { format_version: 1, ..LineTwin::default() },
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| broken("the line", e))?,
        };
        Ok(Self { twin, is_changed: false, changes: Vec::new() })
    }

    pub fn is_empty(&self) -> bool {
        self.twin.turns.is_empty()
    }

    /// Plans that may be sent now: what is left of the measure after what was sent under it.
    pub fn room(&self, measure: &Measure) -> u64 {
        let sent = if self.twin.measured_end == measure.end { self.twin.sent } else { 0 };
        measure.limit.saturating_sub(measure.backlog.saturating_add(sent))
    }

    /// Counts plans sent under a measure.
    pub fn sent(&mut self, measure: &Measure, plans: u64) {
        if self.twin.measured_end != measure.end {
            (self.twin.measured_end, self.twin.sent) = (measure.end, 0);
        }
        self.twin.sent += plans;
        self.is_changed = true;
    }

    /// Lines a batch up behind the others of its dataset.
    pub fn push(&mut self, batch: &SealedTwin) {
        let ticket = self.twin.next_ticket;
        self.twin.next_ticket += 1;
        if !self.twin.turns.iter().any(|t| t.dataset == batch.dataset) {
            self.twin.turns.push(TurnTwin { dataset: batch.dataset.clone(), deficit: 0 });
        }
        self.changes.push(Change { key: waiting_key(&batch.dataset, ticket), value: Some(json(batch)) });
        self.is_changed = true;
    }

    /// Takes up to `room` batches out of the line, in the order of their turns. To be called before `push`:
    /// it sees what earlier decisions lined up.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn release(&mut self, view: View<'_>, room: u64) -> Result<Vec<SealedTwin>, StageError> {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if room == 0 || self.is_empty() {
            return Ok(Vec::new());
        }
        let mut turns = Vec::new();
        let mut batches = std::collections::BTreeMap::new();
        for turn in &self.twin.turns {
            let dataset: DatasetName = turn.dataset.parse().map_err(|e| broken("the line", e))?;
            let mut heads = Vec::new();
            // One more than can leave, so that a queue which goes on does not look exhausted.
            for (key, bytes) in view.scan_first(&waiting_prefix(&turn.dataset), room.saturating_add(1))? {
                let batch: SealedTwin = serde_json::from_slice(&bytes).map_err(|e| broken("a waiting batch", e))?;
                let place = Waiting { shard: u32::try_from(batch.shard).unwrap_or(0), seq: batch.seq, bytes: batch.bytes.max(COST_MIN) };
                batches.insert((dataset.clone(), place.shard, place.seq), (key, batch));
                heads.push(place);
            }
            turns.push((dataset, turn.deficit, heads));
        }
        let mut fairness = Fairness::resume(QUANTUM, turns);
        let mut released = Vec::new();
        while released.len() < room
            && let Some((dataset, place)) = fairness.pop()
        {
            let Some((key, batch)) = batches.remove(&(dataset, place.shard, place.seq)) else { continue };
            self.changes.push(Change { key, value: None });
            released.push(batch);
        }
        self.twin.turns = fairness.turns().map(|(d, deficit)| TurnTwin { dataset: d.to_string(), deficit }).collect();
        self.is_changed = true;
        Ok(released)
    }

    /// What is to be stored of it.
    pub fn into_changes(self) -> Vec<Change> {
        let mut changes = self.changes;
        if self.is_changed {
            changes.push(Change { key: LINE.to_vec(), value: Some(json(&self.twin)) });
        }
        changes
    }
}
