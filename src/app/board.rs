//! The status board: follows `landing`, `status` and the replays, and knows what is still in flight.
//!
//! Every landing record ends in exactly one terminal status (decisions.md 6), but for one that cannot be read,
//! which has only its letter. So counting needs only the landing records that have not ended yet; and a replay that
//! was asked for has more to land until it says that it is finished, or is paused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::broker::{LogError, PollLimit, Reader, Record};
use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition, TopicPartition};
use crate::domain::reason::ReasonCode;
use crate::pipeline::claim::CLAIM_HEADER;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::topics::Topic;
use crate::stage::letters::State;
use crate::stage::replay::{self, Kept};
use crate::wire::codec::CodecError;
use crate::wire::long;
use crate::wire::records::{LandedObject, ObjectStatus, ReplayControl};

/// Records read at a time.
const CHUNK: PollLimit = PollLimit { records: 5_000, bytes: 8 << 20 };

/// The board could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the state of replays cannot be read: {detail}")]
    Replays { detail: String },
}

/// Landing records by how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Objects {
    pub landed: u64,
    pub published: u64,
    pub registered: u64,
    pub quarantined: u64,
    pub duplicate: u64,
    pub superseded: u64,
    pub ignored: u64,
}

/// Rows of the landing records that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    #[serde(rename = "in")]
    pub physical: u64,
    pub published: u64,
    pub quarantined: u64,
    pub deduplicated: u64,
}

/// The last line of `run --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Totals {
    pub objects: Objects,
    pub rows: Rows,
    pub reasons: BTreeMap<String, u64>,
    pub seconds: f64,
}

/// How one landing record ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub object: String,
    pub dataset: Option<String>,
    pub status: State,
    pub reason: Option<String>,
    pub rows: Rows,
    pub run_id: String,
    pub replay_id: Option<String>,
    pub landing: (u32, u64),
}

pub struct Board {
    reader: Arc<dyn Reader>,
    outlet: Outlet,
    landing: BTreeMap<u32, u64>,
    /// Landing records whose schema is not known yet.
    unread: Vec<((u32, u64), Bytes)>,
    status: BTreeMap<u32, u64>,
    /// How far the topics of replays are read.
    followed: BTreeMap<TopicPartition, NextOffset>,
    /// Replays that were asked for: whether somebody waits for them.
    replays: BTreeMap<Bytes, bool>,
    in_flight: BTreeSet<(u32, u64)>,
    /// Ended before their landing record was read here.
    early: BTreeSet<(u32, u64)>,
    totals: Totals,
    /// Endings in the order they were read, if they are kept.
    kept: Option<Vec<Ended>>,
}

impl Board {
    /// Counts what lands from `from` on (per partition of `landing`); everything before is not counted.
    pub fn new(reader: Arc<dyn Reader>, outlet: Outlet, keep_endings: bool) -> Self {
        Self {
            reader,
            outlet,
            landing: BTreeMap::new(),
            unread: Vec::new(),
            status: BTreeMap::new(),
            followed: BTreeMap::new(),
            replays: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            early: BTreeSet::new(),
            totals: Totals::default(),
            kept: keep_endings.then(Vec::new),
        }
    }

    /// Reads everything up to the ends of the topics. Replays first: what they landed before they were
    /// finished is then seen.
    pub async fn catch_up(&mut self) -> Result<(), BoardError> {
        for p in 0..self.outlet.topics.partitions() {
            self.catch_up_replays(p).await?;
        }
        for (place, value) in std::mem::take(&mut self.unread) {
            self.tell_poison(place, value);
        }
        for p in 0..self.outlet.topics.partitions() {
            self.catch_up_landing(p).await?;
            self.catch_up_status(p).await?;
        }
        Ok(())
    }

    async fn catch_up_replays(&mut self, p: u32) -> Result<(), BoardError> {
        for record in self.fresh(Topic::Replay, p).await? {
            // A long request is a claim check; an order is none.
            let is_order = record.value.as_deref().is_some_and(|v| self.outlet.codec.is::<ReplayControl>(v).unwrap_or(false));
            if !is_order {
                self.replays.entry(record.key).or_insert(true);
            }
        }
        for record in self.fresh(Topic::Changelog(StageName::Replay), p).await? {
            if let (Some(id), Some(value)) = (record.key.strip_prefix(replay::PREFIX), &record.value) {
                let kept = Kept::decode(value).map_err(|e| BoardError::Replays { detail: e.to_string() })?;
                self.replays.insert(record.key.slice_ref(id), kept.progress.is_pending());
            }
        }
        Ok(())
    }

    /// Records of a small topic since the last look.
    async fn fresh(&mut self, topic: Topic, p: u32) -> Result<Vec<Record>, BoardError> {
        let at = self.outlet.topics.at(topic, Partition(p));
        let next = self.followed.entry(at.clone()).or_default();
        let mut found = Vec::new();
        loop {
            let chunk = self.reader.read(&at, *next, CHUNK).await?;
            *next = chunk.next;
            if chunk.records.is_empty() {
                return Ok(found);
            }
            found.extend(chunk.records);
        }
    }

    async fn catch_up_landing(&mut self, p: u32) -> Result<(), BoardError> {
        let at = self.outlet.topics.at(Topic::Landing, Partition(p));
        loop {
            let next = NextOffset(self.landing.get(&p).copied().unwrap_or(0));
            let chunk = self.reader.read(&at, next, CHUNK).await?;
            self.landing.insert(p, chunk.next.0);
            if chunk.records.is_empty() {
                return Ok(());
            }
            for record in chunk.records {
                self.totals.objects.landed += 1;
                let place = (p, record.offset.0);
                if !self.early.remove(&place) {
                    self.in_flight.insert(place);
                }
                // Where the value is elsewhere, it is one that was written whole.
                if record.header(CLAIM_HEADER).is_none() {
                    self.tell_poison(place, record.value.unwrap_or_default());
                }
            }
        }
    }

    /// Ends a landing record that no stage can read: it names no object, so no row of `status` will. Whether one of a
    /// schema that was not asked for yet can be read shows later.
    fn tell_poison(&mut self, place: (u32, u64), value: Bytes) {
        if self.outlet.codec.unknown(&value).is_some() {
            self.unread.push((place, value));
        } else if self.outlet.codec.decode::<LandedObject>(&value).is_err() && self.in_flight.remove(&place) {
            self.totals.objects.quarantined += 1;
            *self.totals.reasons.entry(ReasonCode::PoisonRecord.as_str().to_owned()).or_default() += 1;
        }
    }

    async fn catch_up_status(&mut self, p: u32) -> Result<(), BoardError> {
        let at = self.outlet.topics.at(Topic::Status, Partition(p));
        loop {
            let next = NextOffset(self.status.get(&p).copied().unwrap_or(0));
            let chunk = self.reader.read(&at, next, CHUNK).await?;
            self.status.insert(p, chunk.next.0);
            if chunk.records.is_empty() {
                return Ok(());
            }
            for record in chunk.records {
                let Some(value) = &record.value else { continue };
                let row: ObjectStatus = self.outlet.codec.decode(value)?;
                self.count(&row);
            }
        }
    }

    fn count(&mut self, row: &ObjectStatus) {
        let Some(state) = State::from_word(&row.status).filter(|s| s.is_terminal()) else { return };
        let place = (u32::try_from(row.landing_partition).unwrap_or(u32::MAX), u64::try_from(row.landing_offset).unwrap_or(u64::MAX));
        if !self.in_flight.remove(&place) {
            // The status was read before its landing record; a second ending of one record is none.
            let landed_here = self.landing.get(&place.0).is_some_and(|next| place.1 < *next);
            if landed_here || !self.early.insert(place) {
                return;
            }
        }
        let objects = &mut self.totals.objects;
        let counter = match state {
            State::Published => &mut objects.published,
            State::Registered => &mut objects.registered,
            State::Quarantined => &mut objects.quarantined,
            State::Duplicate => &mut objects.duplicate,
            State::Superseded => &mut objects.superseded,
            State::Ignored => &mut objects.ignored,
            State::Admitted => return,
        };
        *counter += 1;
        let rows = Rows {
            physical: long::count(row.rows_in),
            published: long::count(row.rows_published),
            quarantined: long::count(row.rows_quarantined),
            deduplicated: long::count(row.rows_deduplicated),
        };
        if matches!(state, State::Published | State::Registered | State::Quarantined) {
            self.totals.rows.physical += rows.physical;
            self.totals.rows.published += rows.published;
            self.totals.rows.quarantined += rows.quarantined;
            self.totals.rows.deduplicated += rows.deduplicated;
        }
        if let Some(reason) = &row.reason {
            *self.totals.reasons.entry(reason.clone()).or_default() += 1;
        }
        if let Some(kept) = &mut self.kept {
            kept.push(Ended {
                object: format!("{}/{}", row.bucket, row.key),
                dataset: row.dataset.clone(),
                status: state,
                reason: row.reason.clone(),
                rows,
                run_id: row.run_id.clone(),
                replay_id: row.replay_id.clone(),
                landing: place,
            });
        }
    }

    /// Every landing record read so far has ended, and no replay has more to come.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && !self.replays.values().any(|pending| *pending)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Endings since the last call, in the order they were read.
    pub fn take_endings(&mut self) -> Vec<Ended> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
