//! What questions are answered with. These views are an interface: `--json` prints them as they stand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;
use crate::quarantine::verdict::LetterState;
use crate::stage::letters::State;
use crate::wire::records::{ObjectStatus, QuarantineLetter};

/// Answers, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// How many more match.
    pub more: u64,
    /// Records passed over because they do not decode.
    pub unreadable: u64,
}

/// Rows of one object, by where they went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsView {
    #[serde(rename = "in")]
    pub physical: i64,
    pub published: i64,
    pub quarantined: i64,
    pub deduplicated: i64,
}

/// One object version and generation, or one landing record that repeats or was left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    pub uri: String,
    pub dataset: Option<String>,
    pub status: String,
    pub reason: Option<String>,
    pub stage: String,
    pub rows: RowsView,
    pub run_id: String,
    pub replay_id: Option<String>,
    pub generation: i32,
    pub version_id: Option<String>,
    pub etag: Option<String>,
    pub size: Option<i64>,
    pub source: String,
    pub first_landed: String,
    pub at: String,
    /// DUPLICATE, SUPERSEDED and IGNORED speak of a landing record, not of the version it repeats (decisions.md 6).
    pub of_landing_record: bool,
    pub landing: Place,
}

/// A landing record; -1 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
}

/// One letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterView {
    pub uri: String,
    pub dataset: Option<String>,
    /// open, released or discarded.
    pub state: String,
    pub stage: String,
    pub reason: String,
    pub detail: String,
    pub remedy: String,
    pub whole_object: bool,
    pub rows_quarantined: i64,
    /// Rows by reason code.
    pub reasons: BTreeMap<String, i64>,
    pub run_id: String,
    pub replay_id: Option<String>,
    pub generation: i32,
    pub version_id: Option<String>,
    pub contract_hash: Option<String>,
    pub evidence: serde_json::Value,
    /// Up to 20 rows.
    pub samples: Vec<String>,
    /// Where every row lies, below the lake.
    pub row_letters: Option<String>,
    /// An unreadable notification as text.
    pub raw: Option<String>,
    pub landing: Place,
    pub at: String,
}

/// Letters by where they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCounts {
    pub open: u64,
    pub released: u64,
    pub discarded: u64,
}

impl StateCounts {
    pub(crate) fn add(&mut self, state: LetterState) {
        match state {
            LetterState::Open => self.open += 1,
            LetterState::Released => self.released += 1,
            LetterState::Discarded => self.discarded += 1,
        }
    }
}

/// Letters, and how many of those that match stand where, whatever state was asked for.
pub struct Letters {
    pub page: Page<LetterView>,
    pub counts: StateCounts,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryLine {
    pub at: String,
    /// status, event or letter.
    pub what: String,
    pub stage: String,
    /// The status, the event's kind, or the letter's reason.
    pub word: String,
    pub reason: Option<String>,
    /// Empty for an event about a whole replay.
    pub run_id: String,
    pub batch_id: Option<String>,
    pub detail: serde_json::Value,
}

/// One object's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub uri: String,
    pub runs: Vec<String>,
    pub lines: Vec<HistoryLine>,
    /// Lines left out.
    pub more: u64,
}

/// The uri of an object as every view spells it.
pub fn uri(bucket: &str, key: &str) -> String {
    format!("{bucket}/{key}")
}

/// An error with its causes, in one line.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

pub(crate) fn time(millis: i64) -> String {
    Timestamp::from_millis(millis).to_string()
}

pub(crate) fn is_of_landing_record(status: &str) -> bool {
    matches!(State::from_word(status), Some(State::Duplicate | State::Superseded | State::Ignored))
}

impl From<ObjectStatus> for StatusView {
    fn from(row: ObjectStatus) -> Self {
        Self {
            uri: uri(&row.bucket, &row.key),
            of_landing_record: is_of_landing_record(&row.status),
            rows: RowsView {
                physical: row.rows_in,
                published: row.rows_published,
                quarantined: row.rows_quarantined,
                deduplicated: row.rows_deduplicated,
            },
            first_landed: time(row.first_landed),
            at: time(row.at),
            landing: Place { partition: row.landing_partition, offset: row.landing_offset },
            dataset: row.dataset,
            status: row.status,
            reason: row.reason,
            stage: row.stage,
            run_id: row.run_id,
            replay_id: row.replay_id,
            generation: row.generation,
            version_id: row.version_id,
            etag: row.etag,
            size: row.size,
            source: row.source,
        }
    }
}

impl LetterView {
    pub fn of(letter: QuarantineLetter, state: LetterState) -> Self {
        Self {
            state: state.as_str().to_owned(),
            uri: uri(&letter.bucket, &letter.key),
            evidence: json(&letter.evidence),
            raw: letter.raw.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            at: time(letter.at),
            landing: Place { partition: letter.landing_partition, offset: letter.landing_offset },
            dataset: letter.dataset,
            stage: letter.stage,
            reason: letter.reason,
            detail: letter.detail,
            remedy: letter.remedy,
            whole_object: letter.whole_object,
            rows_quarantined: letter.rows_quarantined,
            reasons: letter.reasons,
            run_id: letter.run_id,
            replay_id: letter.replay_id,
            generation: letter.generation,
            version_id: letter.version_id,
            contract_hash: letter.contract_hash,
            samples: letter.samples,
            row_letters: letter.row_letters,
        }
    }
}
