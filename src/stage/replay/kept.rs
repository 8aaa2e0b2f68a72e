//! What is kept of replays.
//!
//! ```text
//! replay/<id>            what was asked and how far it is
//! item/<id>/<nth>        an item that has not landed yet, by its place in the request
//! ended/<id>/<run id>    a landed item at its end: its status may be written twice
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;
use crate::replay::progress::{Mode, Progress};
use crate::stage::StageError;
use crate::state::{Change, View};
use crate::wire::records::{ReplayItem, ReplayRequest};

pub const PREFIX: &[u8] = b"replay/";

/// One replay, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub progress: Progress,
    pub dataset: Option<String>,
    pub reason: String,
    pub requested_by: String,
    pub requested_at: Timestamp,
    pub force: bool,
    /// Where to read `status` on, by partition.
    pub read: BTreeMap<u32, u64>,
    /// When it is looked at next.
    pub watch_at: Timestamp,
}

impl Kept {
    /// Of a request that was just read.
    pub fn of(request: &ReplayRequest, read: BTreeMap<u32, u64>, now: Timestamp) -> Self {
        let rate = request.objects_per_second.and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
        Self {
            progress: Progress::begin(request.items.len() as u64, rate, now),
            dataset: request.dataset.clone(),
            reason: request.reason.clone(),
            requested_by: request.requested_by.clone(),
            requested_at: Timestamp::from_millis(request.requested_at),
            force: request.force,
            read,
            watch_at: now,
        }
    }

    /// # Errors
    /// `State` when the store fails, `Broken` when it holds what is none of ours.
    pub fn load(view: View<'_>, id: &str) -> Result<Option<Self>, StageError> {
        view.get(&replay_key(id))?.map(|bytes| Self::decode(&bytes)).transpose()
    }

    /// Every replay of a partition that is not finished, by id.
    ///
    /// # Errors
    /// As [`Kept::load`].
    pub fn unfinished(view: View<'_>) -> Result<Vec<(String, Self)>, StageError> {
        let mut found = Vec::new();
        for (key, bytes) in view.scan(PREFIX)? {
            let kept = Self::decode(&bytes)?;
            if !kept.progress.finished {
                found.push((String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned(), kept));
            }
        }
        Ok(found)
    }

    pub fn store(&self, id: &str) -> Change {
        let p = &self.progress;
        let twin = Twin {
            format_version: 2,
            dataset: self.dataset.clone(),
            items: p.items,
            ended: BTreeMap::new(),
            read: self.read.clone(),
            finished: p.finished,
            watch_at: self.watch_at.millis(),
            landed: p.landed,
            outcomes: p.outcomes.clone(),
            mode: p.mode.into(),
            rate: p.rate.map_or(0, NonZeroU32::get),
            paced_from: p.paced_from.millis(),
            paced_landed: p.paced_landed,
            moved_at: p.moved_at.millis(),
            reason: self.reason.clone(),
            requested_by: self.requested_by.clone(),
            requested_at: self.requested_at.millis(),
            force: self.force,
        };
        Change { key: replay_key(id), value: Some(encoded(&twin)) }
    }

    /// # Errors
    /// `Broken` when the bytes are none of ours.
    pub fn decode(bytes: &[u8]) -> Result<Self, StageError> {
        let twin: Twin = serde_json::from_slice(bytes).map_err(|e| StageError::Broken { detail: format!("state of a replay: {e}") })?;
        let mut outcomes = twin.outcomes;
        if twin.format_version == 1 {
            // The first format landed every item at once and kept each ending by its run.
            twin.ended.into_values().for_each(|status| *outcomes.entry(status).or_default() += 1);
        }
        let progress = Progress {
            items: twin.items,
            landed: if twin.format_version == 1 { twin.items } else { twin.landed },
            outcomes,
            mode: twin.mode.into(),
            rate: NonZeroU32::new(twin.rate),
            paced_from: Timestamp::from_millis(twin.paced_from),
            paced_landed: twin.paced_landed,
            moved_at: Timestamp::from_millis(twin.moved_at),
            finished: twin.finished,
        };
        Ok(Self {
            progress,
            dataset: twin.dataset,
            reason: twin.reason,
            requested_by: twin.requested_by,
            requested_at: Timestamp::from_millis(twin.requested_at),
            force: twin.force,
            read: twin.read,
            watch_at: Timestamp::from_millis(twin.watch_at),
        })
    }
}

/// As it is stored; what the first format lacks has a default.
#[derive(Serialize, Deserialize)]
struct Twin {
    format_version: u32,
    dataset: Option<String>,
    items: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ended: BTreeMap<String, String>,
    read: BTreeMap<u32, u64>,
    finished: bool,
    watch_at: i64,
    #[serde(default)]
    landed: u64,
    #[serde(default)]
    outcomes: BTreeMap<String, u64>,
    #[serde(default)]
    mode: ModeTwin,
    #[serde(default)]
    rate: u32,
    #[serde(default)]
    paced_from: i64,
    #[serde(default)]
    paced_landed: u64,
    #[serde(default)]
    moved_at: i64,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    requested_by: String,
    #[serde(default)]
    requested_at: i64,
    #[serde(default)]
    force: bool,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModeTwin {
    #[default]
    Running,
    Paused,
    Cancelled,
}

impl From<Mode> for ModeTwin {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Running => ModeTwin::Running,
            Mode::Paused => ModeTwin::Paused,
            Mode::Cancelled => ModeTwin::Cancelled,
        }
    }
}

impl From<ModeTwin> for Mode {
    fn from(mode: ModeTwin) -> Self {
        match mode {
            ModeTwin::Running => Mode::Running,
            ModeTwin::Paused => Mode::Paused,
            ModeTwin::Cancelled => Mode::Cancelled,
        }
    }
}

fn encoded<T: Serialize>(value: &T) -> bytes::Bytes {
    serde_json::to_vec(value).expect("text and numbers always serialize").into()
}

fn replay_key(id: &str) -> Vec<u8> {
    [PREFIX, id.as_bytes()].concat()
}

/// Where the `nth` item of a request waits.
pub fn item_key(id: &str, nth: u64) -> Vec<u8> {
    format!("item/{id}/{nth:08}").into_bytes()
}

/// An item that waits.
pub fn waiting(id: &str, nth: u64, item: &ReplayItem) -> Change {
    Change { key: item_key(id, nth), value: Some(encoded(item)) }
}

/// # Errors
/// `Broken` when the item is not there: it is removed only when it lands, or by a cancel.
pub fn item(view: View<'_>, id: &str, nth: u64) -> Result<ReplayItem, StageError> {
    let broken = |detail: String| StageError::Broken { detail: format!("item {nth} of replay {id}: {detail}") };
    let bytes = view.get(&item_key(id, nth))?.ok_or_else(|| broken("not in the state".to_owned()))?;
    serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))
}

/// Where the ending of a run is noted.
pub fn ended_key(id: &str, run_id: &str) -> Vec<u8> {
    format!("ended/{id}/{run_id}").into_bytes()
}

/// All notes of endings of a replay.
pub fn ended_prefix(id: &str) -> Vec<u8> {
    format!("ended/{id}/").into_bytes()
}

pub fn removed(key: Vec<u8>) -> Change {
    Change { key, value: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::progress::Control;

    #[test]
    fn what_is_kept_reads_back() {
        let at = Timestamp::from_millis(5);
        let mut progress = Progress::begin(9, NonZeroU32::new(3), at);
        progress.land(4, at);
        progress.end("PUBLISHED", at);
        assert!(progress.obey(Control::Pause, Timestamp::from_millis(6)));
        let kept = Kept {
            progress,
            dataset: Some("orders".into()),
            reason: "why".into(),
            requested_by: "me".into(),
            requested_at: at,
            force: true,
            read: BTreeMap::from([(0, 7)]),
            watch_at: Timestamp::from_millis(8),
        };
        assert_eq!(Kept::decode(&kept.store("r1").value.unwrap()).unwrap(), kept);
    }

    #[test]
    fn the_first_format_is_read() {
        let old = br#"{"format_version":1,"dataset":"orders","items":2,"ended":{"r1-0000":"PUBLISHED"},"read":{"0":4},"finished":false,"watch_at":9}"#;
        let kept = Kept::decode(old).unwrap();
        assert_eq!((kept.progress.landed, kept.progress.ended(), kept.progress.word()), (2, 1, "running"));
        assert!(matches!(Kept::decode(b"{"), Err(StageError::Broken { .. })));
    }
}
