//! Schema versions a day has brought to each subject, over all partitions of classify.
//!
//! A partition counts its own evolutions in its state, in the transaction of the intent, so the count survives what
//! the intent survives. What the others counted stands in their changelogs and is read from there, each record
//! once. One worker registers one schema at a time, so its count is exact; two replicas can each be one ahead.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::broker::{PollLimit, Reader};
use crate::domain::names::{StageName, Subject};
use crate::domain::position::{NextOffset, Partition};
use crate::pipeline::topics::{Topic, Topics};
use crate::stage::StageError;
use crate::state::{Change, View};

/// Records of a changelog read at a time.
const CHUNK: PollLimit = PollLimit { records: 5_000, bytes: 8 << 20 };

const PREFIX: &[u8] = b"evolved/";

#[derive(Serialize, Deserialize)]
struct Count {
    format_version: u32,
    versions: u32,
}

fn key(day: NaiveDate, subject: &Subject) -> Vec<u8> {
    [PREFIX, format!("{day}/{subject}").as_bytes()].concat()
}

fn read(bytes: &[u8]) -> Result<u32, StageError> {
    let count: Count =
        serde_json::from_slice(bytes).map_err(|e| StageError::Broken { detail: format!("count of schema versions: {e}") })?;
    Ok(count.versions)
}

/// Evolutions a partition has counted.
pub fn counted(view: View<'_>, day: NaiveDate, subject: &Subject) -> Result<u32, StageError> {
    view.get(&key(day, subject))?.map_or(Ok(0), |bytes| read(&bytes))
}

/// One more; days before are forgotten.
pub fn count(view: View<'_>, day: NaiveDate, subject: &Subject) -> Result<Vec<Change>, StageError> {
    let today = [PREFIX, day.to_string().as_bytes()].concat();
    let mut changes = Vec::new();
    for (key, _) in view.scan(PREFIX)? {
        if key < today {
            changes.push(Change { key, value: None });
        }
    }
    let count = Count { format_version: 1, versions: counted(view, day, subject)?.saturating_add(1) };
    changes.push(Change { key: key(day, subject), value: Some(serde_json::to_vec(&count).expect("numbers always serialize").into()) });
    Ok(changes)
}

/// Counts of all partitions, followed in their changelogs.
pub struct Evolutions {
    reader: Arc<dyn Reader>,
    topics: Arc<Topics>,
    seen: Mutex<Option<Seen>>,
}

#[derive(Default)]
struct Seen {
    next: BTreeMap<u32, NextOffset>,
    /// By partition and key of the state.
    counts: BTreeMap<(u32, Vec<u8>), u32>,
}

impl Evolutions {
    pub fn new(reader: Arc<dyn Reader>, topics: Arc<Topics>) -> Self {
        Self { reader, topics, seen: Mutex::new(None) }
    }

    /// Evolutions by day in all partitions but `own`.
    pub async fn elsewhere(&self, own: Partition, subject: &Subject) -> Result<BTreeMap<NaiveDate, u32>, StageError> {
        // Taken out while it is brought up to date: whoever comes meanwhile reads for itself.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        for p in 0..self.topics.partitions() {
            self.follow(p, &mut seen).await?;
        }
        let mut found = BTreeMap::new();
        for ((_, key), versions) in seen.counts.iter().filter(|((p, _), _)| *p != own.0) {
            let text = String::from_utf8_lossy(&key[PREFIX.len()..]);
            if let Some((day, of)) = text.split_once('/')
                && of == subject.as_str()
                && let Ok(day) = day.parse()
            {
                *found.entry(day).or_default() += versions;
            }
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(found)
    }

    async fn follow(&self, p: u32, seen: &mut Seen) -> Result<(), StageError> {
        let at = self.topics.at(Topic::Changelog(StageName::Classify), Partition(p));
        let bounds = self.reader.bounds(&at).await?;
        let mut next = seen.next.get(&p).copied().unwrap_or(bounds.start).max(bounds.start);
        while next < bounds.end {
            let chunk = self.reader.read(&at, next, CHUNK).await?;
            for record in chunk.records.iter().filter(|r| r.key.starts_with(PREFIX)) {
                let place = (p, record.key.to_vec());
                match &record.value {
                    Some(value) => seen.counts.insert(place, read(value)?),
                    None => seen.counts.remove(&place),
                };
            }
            if chunk.next <= next {
                break;
            }
            next = chunk.next;
        }
        seen.next.insert(p, next);
        Ok(())
    }
}
