//! Questions about objects, answered from the topics: status rows, letters, one object's history.
//!
//! Everything reads committed records from the start of a topic and keeps little: at most `limit`
//! answers, and while status rows are folded some 40 bytes for each row of one partition. Records
//! that do not decode are counted, never hidden.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::app::docket::Docket;
use crate::app::view::{History, HistoryLine, LetterView, Letters, Page, StateCounts, StatusView, is_of_landing_record, json, time, uri};
use crate::broker::partitioner::partition_of;
use crate::broker::{LogError, PollLimit, Reader, Record};
use crate::domain::position::{NextOffset, Partition};
use crate::domain::time::Timestamp;
use crate::pipeline::claim::check_out;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::topics::Topic;
use crate::quarantine::verdict::LetterState;
use crate::stage::letters::State;
use crate::wire::records::{LifecycleEvent, ObjectStatus, QuarantineLetter, Record as WireRecord};

/// Records read at a time.
const CHUNK: PollLimit = PollLimit { records: 5_000, bytes: 8 << 20 };
/// Most answers one question gets.
pub const LIMIT_MAX: usize = 100_000;
/// Most lines of one object's history.
const HISTORY_MAX: usize = 10_000;

/// A question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("a long record cannot be fetched from the lake")]
    Claim(#[from] object_store::Error),
}

/// Which status rows; what is `None` is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusFilter {
    pub dataset: Option<String>,
    /// A word of [`State`].
    pub status: Option<String>,
    pub reason: Option<String>,
    pub replay_id: Option<String>,
    pub run_id: Option<String>,
    /// Part of the object's key.
    pub key: Option<String>,
    pub limit: usize,
}

/// Which letters; what is `None` is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LetterFilter {
    pub dataset: Option<String>,
    /// The letter's reason, or one of its rows'.
    pub reason: Option<String>,
    /// Part of the object's key.
    pub key: Option<String>,
    /// A word of [`LetterState`].
    pub state: Option<String>,
    pub limit: usize,
}

/// `bucket/key` of an id that names an object (`bucket/key`, `s3://bucket/key`); `None`: a run id.
pub fn object_of(id: &str) -> Option<&str> {
    let place = id.split_once("://").map_or(id, |(_, rest)| rest);
    place.contains('/').then_some(place)
}

impl StatusFilter {
    fn matches(&self, row: &ObjectStatus) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        is(&self.dataset, row.dataset.as_deref())
            && is(&self.status, Some(&row.status))
            && is(&self.reason, row.reason.as_deref())
            && is(&self.replay_id, row.replay_id.as_deref())
            && is(&self.run_id, Some(&row.run_id))
            && self.key.as_deref().is_none_or(|part| row.key.contains(part))
    }
}

impl LetterFilter {
    pub(crate) fn matches(&self, letter: &QuarantineLetter, state: LetterState) -> bool {
        self.state.as_ref().is_none_or(|s| state.as_str() == s) && self.matches_any(letter)
    }

    /// Whatever its state.
    fn matches_any(&self, letter: &QuarantineLetter) -> bool {
        self.dataset.as_ref().is_none_or(|d| letter.dataset.as_ref() == Some(d))
            && self.reason.as_ref().is_none_or(|r| letter.reason == *r || letter.reasons.contains_key(r))
            && self.key.as_deref().is_none_or(|part| letter.key.contains(part))
    }
}

/// Keeps the newest `limit` of what is offered.
struct Newest<T> {
    limit: usize,
    /// The oldest kept on top.
    kept: BinaryHeap<Reverse<(i64, u64)>>,
    items: HashMap<u64, T>,
    offered: u64,
}

impl<T> Newest<T> {
    fn new(limit: usize) -> Self {
        Self { limit: limit.clamp(1, LIMIT_MAX), kept: BinaryHeap::new(), items: HashMap::new(), offered: 0 }
    }

    fn offer(&mut self, at: i64, item: T) {
        let serial = self.offered;
        self.offered += 1;
        self.kept.push(Reverse((at, serial)));
        self.items.insert(serial, item);
        if self.kept.len() > self.limit
            && let Some(Reverse((_, oldest))) = self.kept.pop()
        {
            self.items.remove(&oldest);
        }
    }

    fn page(mut self, unreadable: u64) -> Page<T> {
        let mut order: Vec<(i64, u64)> = self.kept.into_iter().map(|Reverse(k)| k).collect();
        order.sort_unstable_by_key(|k| Reverse(*k));
        let items: Vec<T> = order.iter().filter_map(|(_, serial)| self.items.remove(serial)).collect();
        Page { more: self.offered - items.len() as u64, items, unreadable }
    }
}

/// The topics of one installation, to be asked.
#[derive(Clone)]
pub struct Query {
    pub reader: Arc<dyn Reader>,
    pub outlet: Outlet,
    pub lake: Arc<dyn ObjectStore>,
}

impl Query {
    /// The partition everything about one object lies in.
    pub fn partition_of(&self, object: &str) -> Partition {
        partition_of(object.as_bytes(), self.outlet.topics.partitions())
    }

    fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.outlet.topics.partitions()).map(Partition)
    }

    /// Calls `each` with every record of a partition that is there now, from `from` up to `to`.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn records(
        &self,
        topic: Topic,
        partition: Partition,
        from: NextOffset,
        to: Option<NextOffset>,
        mut each: impl FnMut(Record),
    ) -> Result<(), QueryError> {
        let at = self.outlet.topics.at(topic, partition);
        let end = self.reader.bounds(&at).await?.end;
        let end = to.map_or(end, |to| to.min(end));
        let mut next = from;
        while next < end {
            let chunk = self.reader.read(&at, next, CHUNK).await?;
            if chunk.records.is_empty() {
                return Ok(());
            }
            next = chunk.next;
            chunk.records.into_iter().filter(|r| r.offset.next() <= end).for_each(&mut each);
        }
        Ok(())
    }

    /// A record's value, fetched from the lake if it is long; `None`: a tombstone, or it does not decode.
    async fn decoded<R: WireRecord>(&self, record: &Record, unreadable: &mut u64) -> Result<Option<R>, QueryError> {
        let Some(value) = check_out(&self.lake, record).await? else { return Ok(None) };
        match self.outlet.codec.decode(&value) {
            Ok(decoded) => Ok(Some(decoded)),
            Err(_) => {
                *unreadable += 1;
                Ok(None)
            }
        }
    }

    /// Calls `each` with the row in force of every version and generation, and of every landing record
    /// that repeats: the last row written, but none that says ADMITTED after the end is known.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn rows_in_force(&self, mut each: impl FnMut(ObjectStatus, u64)) -> Result<u64, QueryError> {
        let mut unreadable = 0;
        for partition in self.partitions() {
            let mut last: HashMap<u128, (u64, bool)> = HashMap::new();
            let mut ended: HashSet<(i32, i64)> = HashSet::new();
            let codec = Arc::clone(&self.outlet.codec);
            self.records(Topic::Status, partition, NextOffset(0), None, |record| {
                let Some(value) = &record.value else { return };
                let Ok(row) = codec.decode::<ObjectStatus>(value) else {
                    unreadable += 1;
                    return;
                };
                let is_end = State::from_word(&row.status).is_some_and(State::is_terminal);
                if is_of_landing_record(&row.status) {
                    ended.insert((row.landing_partition, row.landing_offset));
                }
                let entry = last.entry(xxh3_128(&record.key)).or_insert((record.offset.0, is_end));
                if is_end || !entry.1 {
                    *entry = (record.offset.0, is_end);
                }
            })
            .await?;
            self.records(Topic::Status, partition, NextOffset(0), None, |record| {
                let Some(value) = &record.value else { return };
                if last.get(&xxh3_128(&record.key)).is_none_or(|(offset, _)| *offset != record.offset.0) {
                    return;
                }
                let Ok(row) = codec.decode::<ObjectStatus>(value) else { return };
                let superseded_later =
                    row.status == State::Admitted.as_str() && ended.contains(&(row.landing_partition, row.landing_offset));
                if !superseded_later {
                    each(row, record.offset.0);
                }
            })
            .await?;
        }
        Ok(unreadable)
    }

    /// The status table: one row for each version and generation, and for each landing record that repeats.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn statuses(&self, filter: &StatusFilter) -> Result<Page<StatusView>, QueryError> {
        let mut newest = Newest::new(filter.limit);
        let unreadable = self
            .rows_in_force(|row, _| {
                if filter.matches(&row) {
                    newest.offer(row.at, StatusView::from(row));
                }
            })
            .await?;
        Ok(newest.page(unreadable))
    }

    /// Letters.
    ///
    /// # Errors
    /// Those of the log; of the lake for a long letter.
    pub async fn letters(&self, filter: &LetterFilter) -> Result<Letters, QueryError> {
        let mut newest = Newest::new(filter.limit);
        let mut counts = StateCounts::default();
        let unreadable = self
            .each_letter(None, |_, letter, state| {
                if filter.matches_any(&letter) {
                    counts.add(state);
                    if filter.matches(&letter, state) {
                        newest.offer(letter.at, LetterView::of(letter, state));
                    }
                }
            })
            .await?;
        Ok(Letters { page: newest.page(unreadable), counts })
    }

    /// Letters of one run, or of one object.
    ///
    /// # Errors
    /// As [`Query::letters`].
    pub async fn letter(&self, id: &str) -> Result<Page<LetterView>, QueryError> {
        let mut newest = Newest::new(HISTORY_MAX);
        let unreadable = self.each_letter(Some(id), |_, letter, state| newest.offer(letter.at, LetterView::of(letter, state))).await?;
        Ok(newest.page(unreadable))
    }

    /// Calls `each` with every letter, the oldest of a partition first, and where it stands; `id` narrows to one run or
    /// object. Answers how many could not be decoded.
    ///
    /// # Errors
    /// As [`Query::letters`].
    pub(crate) async fn each_letter(
        &self,
        id: Option<&str>,
        mut each: impl FnMut(Partition, QuarantineLetter, LetterState),
    ) -> Result<u64, QueryError> {
        let object = id.and_then(object_of);
        let run = if object.is_none() { id } else { None };
        let partitions: Vec<Partition> = match object {
            Some(object) => vec![self.partition_of(object)],
            None => self.partitions().collect(),
        };
        let mut unreadable = 0;
        for partition in partitions {
            // Read when the first letter asks for it: most partitions of a narrow question have none.
            let mut docket: Option<Docket> = None;
            let mut next = NextOffset(0);
            let at = self.outlet.topics.at(Topic::Quarantine, partition);
            loop {
                let chunk = self.reader.read(&at, next, CHUNK).await?;
                if chunk.records.is_empty() {
                    break;
                }
                next = chunk.next;
                for record in &chunk.records {
                    if run.is_some_and(|run| record.header("run_id").is_some_and(|r| r != run)) {
                        continue;
                    }
                    let Some(letter) = self.decoded::<QuarantineLetter>(record, &mut unreadable).await? else { continue };
                    let is_asked =
                        run.is_none_or(|run| letter.run_id == run) && object.is_none_or(|o| uri(&letter.bucket, &letter.key) == o);
                    if !is_asked {
                        continue;
                    }
                    let state = match &docket {
                        Some(docket) => docket.state(&letter),
                        None => docket.insert(self.docket(partition).await?).state(&letter),
                    };
                    each(partition, letter, state);
                }
            }
        }
        Ok(unreadable)
    }

    /// One object's whole history in order of time: status rows, audit lines (also of its batches and replays), letters.
    /// A run id answers for the object the run was about.
    ///
    /// # Errors
    /// Those of the log; of the lake for a long record.
    pub async fn history(&self, id: &str) -> Result<Option<History>, QueryError> {
        let object = match object_of(id) {
            Some(object) => object.to_owned(),
            None => match self.object_of_run(id).await? {
                Some(object) => object,
                None => return Ok(None),
            },
        };
        let mut lines: Vec<(i64, usize, HistoryLine)> = Vec::new();
        let (mut runs, mut replays) = (BTreeSet::new(), BTreeSet::new());
        let mut statuses = Vec::new();
        let mut unreadable = 0;
        let home = self.partition_of(&object);
        let codec = Arc::clone(&self.outlet.codec);
        self.records(Topic::Status, home, NextOffset(0), None, |record| {
            let Some(row) = record.value.as_ref().and_then(|v| codec.decode::<ObjectStatus>(v).ok()) else { return };
            if uri(&row.bucket, &row.key) == object {
                runs.insert(row.run_id.clone());
                replays.extend(row.replay_id.clone());
                statuses.push(row);
            }
        })
        .await?;
        for row in statuses {
            let detail = serde_json::json!({ "generation": row.generation, "rows_in": row.rows_in, "rows_published": row.rows_published,
                "rows_quarantined": row.rows_quarantined, "rows_deduplicated": row.rows_deduplicated });
            lines.push((
                row.at,
                lines.len(),
                HistoryLine {
                    at: time(row.at),
                    what: "status".to_owned(),
                    stage: row.stage,
                    word: row.status,
                    reason: row.reason,
                    run_id: row.run_id,
                    batch_id: None,
                    detail,
                },
            ));
        }
        for letter in self.letter(&object).await?.items.into_iter().rev() {
            runs.insert(letter.run_id.clone());
            let at = Timestamp::parse_rfc3339(&letter.at).unwrap_or_default().millis();
            lines.push((at, lines.len(), HistoryLine {
                at: letter.at,
                what: "letter".to_owned(),
                stage: letter.stage,
                word: letter.reason.clone(),
                reason: Some(letter.reason),
                run_id: letter.run_id,
                batch_id: None,
                detail: serde_json::json!({ "detail": letter.detail, "remedy": letter.remedy, "rows_quarantined": letter.rows_quarantined }),
            }));
        }
        for partition in self.partitions() {
            self.events_of(partition, &object, (&runs, &replays), &mut lines, &mut unreadable).await?;
        }
        if lines.is_empty() {
            return Ok(None);
        }
        lines.sort_by_key(|(at, nth, _)| (*at, *nth));
        let more = lines.len().saturating_sub(HISTORY_MAX) as u64;
        lines.truncate(HISTORY_MAX);
        Ok(Some(History { uri: object, runs: runs.into_iter().collect(), lines: lines.into_iter().map(|l| l.2).collect(), more }))
    }

    async fn events_of(
        &self,
        partition: Partition,
        object: &str,
        (runs, replays): (&BTreeSet<String>, &BTreeSet<String>),
        lines: &mut Vec<(i64, usize, HistoryLine)>,
        unreadable: &mut u64,
    ) -> Result<(), QueryError> {
        let at = self.outlet.topics.at(Topic::Lifecycle, partition);
        let mut next = NextOffset(0);
        loop {
            let chunk = self.reader.read(&at, next, CHUNK).await?;
            if chunk.records.is_empty() {
                return Ok(());
            }
            next = chunk.next;
            for record in &chunk.records {
                // A record about one object names its run; one about a batch names none in its headers.
                if record.header("run_id").is_some() && record.key != object.as_bytes() {
                    continue;
                }
                let Some(event) = self.decoded::<LifecycleEvent>(record, unreadable).await? else { continue };
                let is_object = event.bucket.as_ref().zip(event.key.as_ref()).is_some_and(|(b, k)| uri(b, k) == object);
                let run = event.run_ids.iter().find(|r| runs.contains(*r));
                let is_replay = event.replay_id.as_ref().is_some_and(|r| replays.contains(r));
                if !is_object && (event.bucket.is_some() || (run.is_none() && !is_replay)) {
                    continue;
                }
                let run_id = run.or(event.run_ids.first()).cloned().unwrap_or_default();
                lines.push((
                    event.at,
                    lines.len(),
                    HistoryLine {
                        at: time(event.at),
                        what: "event".to_owned(),
                        stage: event.stage,
                        word: event.kind,
                        reason: event.reason,
                        run_id,
                        batch_id: event.batch_id,
                        detail: json(&event.detail),
                    },
                ));
            }
        }
    }

    async fn object_of_run(&self, run: &str) -> Result<Option<String>, QueryError> {
        let mut found = None;
        let codec = Arc::clone(&self.outlet.codec);
        for partition in self.partitions() {
            self.records(Topic::Status, partition, NextOffset(0), None, |record| {
                if found.is_none() && record.header("run_id") == Some(run) {
                    found = record.value.as_ref().and_then(|v| codec.decode::<ObjectStatus>(v).ok()).map(|row| uri(&row.bucket, &row.key));
                }
            })
            .await?;
        }
        Ok(found)
    }
}
