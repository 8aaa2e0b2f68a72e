//! `gc`: lists the staging area, gathers what plans and records name, removes what [`crate::sweep`] calls orphans.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use crate::app::query::{Query, QueryError};
use crate::clock::Clock;
use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::time::{Span, Timestamp};
use crate::lake::layout::staged_folder;
use crate::pipeline::claim::{CLAIM_HEADER, check_out};
use crate::pipeline::topics::{Topic, Topics};
use crate::sweep::{self, Fate, Live, Staged};
use crate::wire::codec::CodecError;
use crate::wire::records::{QuarantineLetter, StagedBatch};

/// Objects looked at at once.
const LOOKS_AT_ONCE: usize = 16;
/// Objects removed with one request, where a store can.
const REMOVALS_IN_BATCH: usize = 100;
/// Orphans removed by one order; the next one goes on.
const ORPHANS_MAX: usize = 1_000_000;
/// Removed objects an answer names.
const NAMED_MAX: usize = 10_000;
/// Between two lines of progress in the log.
const PROGRESS_EVERY: u64 = 1_000;

/// In the order the sweep has to read them: what a stage commits while it reads is seen further down.
const DOWNSTREAM: [Topic; 13] = [
    Topic::Plans,
    Topic::Staged,
    Topic::Checked,
    Topic::Published,
    Topic::Quarantine,
    Topic::Sources,
    Topic::Landing,
    Topic::Validated,
    Topic::Classified,
    Topic::Replay,
    Topic::Status,
    Topic::Lifecycle,
    Topic::QualityReports,
];

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepOrder {
    pub dry_run: bool,
    /// Age in milliseconds below which nothing goes; never less than [`sweep::HORIZON_MIN`].
    pub older_than_ms: i64,
}

/// One object that was, or would be, removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanView {
    pub key: String,
    pub bytes: u64,
    /// RFC 3339.
    pub modified: String,
}

/// What became of the staging area.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    pub dry_run: bool,
    pub listed: u64,
    /// Named by an open plan or by a record.
    pub live: u64,
    /// Not past the horizon.
    pub young: u64,
    /// Past it, and named by nothing.
    pub orphans: u64,
    pub orphan_bytes: u64,
    pub removed: u64,
    /// Written again while the sweep ran: they stay.
    pub revived: u64,
    /// The store did not remove them; the next sweep finds them again.
    pub failed: u64,
}

/// Nothing was removed, for this reason.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the staging area cannot be listed")]
    Store(#[from] object_store::Error),
    #[error("{records} records cannot be decoded, so it is unknown what they name; nothing is removed")]
    Unreadable { records: u64 },
}

/// Removes what nothing names, or says what it would remove.
///
/// # Errors
/// When the listing or the references are incomplete; a failed removal is only counted.
pub async fn sweep(query: &Query, clock: &dyn Clock, order: &SweepOrder) -> Result<(Swept, Vec<OrphanView>), SweepError> {
    // The listing first: an object that is written later is in no listing, a record that is written later in some reference.
    let (now, horizon) = (clock.now(), Span::from_millis(order.older_than_ms));
    let listed: Vec<ObjectMeta> = query.lake.list(Some(&Path::from(sweep::PREFIX))).try_collect().await?;
    let live = references(query).await?;
    let mut swept = Swept { dry_run: order.dry_run, listed: listed.len() as u64, ..Swept::default() };
    let mut orphans = Vec::new();
    for meta in listed {
        let object = staged(&meta);
        match sweep::judge(&object, &live, now, horizon) {
            Fate::Live => swept.live += 1,
            Fate::Young => swept.young += 1,
            Fate::Orphan => {
                swept.orphans += 1;
                swept.orphan_bytes += object.bytes;
                if orphans.len() < ORPHANS_MAX {
                    orphans.push(meta);
                }
            }
        }
    }
    orphans.sort_by(|a, b| a.location.cmp(&b.location));
    let named = orphans.iter().take(NAMED_MAX).map(staged);
    let named = named.map(|o| OrphanView { key: o.key, bytes: o.bytes, modified: o.modified.to_string() }).collect();
    if !order.dry_run {
        remove(&query.lake, orphans, &mut swept).await;
    }
    Ok((swept, named))
}

fn staged(meta: &ObjectMeta) -> Staged {
    Staged { key: meta.location.to_string(), bytes: meta.size, modified: Timestamp::from_millis(meta.last_modified.timestamp_millis()) }
}

/// What one orphan is found to be when it is looked at once more.
enum Look {
    Unchanged(Path),
    Gone,
    Revived,
    Failed(object_store::Error),
}

/// In batches: a bucket removes many objects with one request. Small ones, so that little time lies between look and removal.
async fn remove(lake: &Arc<dyn ObjectStore>, orphans: Vec<ObjectMeta>, swept: &mut Swept) {
    let all = orphans.len() as u64;
    let mut orphans = orphans.into_iter();
    loop {
        let batch: Vec<ObjectMeta> = orphans.by_ref().take(REMOVALS_IN_BATCH).collect();
        if batch.is_empty() {
            return;
        }
        let mut unchanged = Vec::with_capacity(batch.len());
        let mut looks = futures::stream::iter(batch.into_iter().map(|meta| look(lake, meta))).buffer_unordered(LOOKS_AT_ONCE);
        while let Some(look) = looks.next().await {
            match look {
                Look::Unchanged(at) => unchanged.push(at),
                Look::Gone => swept.removed += 1,
                Look::Revived => swept.revived += 1,
                Look::Failed(e) => failed(swept, 1, &e),
            }
        }
        let mut left = unchanged.len() as u64;
        let mut deleted = lake.delete_stream(futures::stream::iter(unchanged).map(Ok).boxed());
        let mut last = None;
        while let Some(deletion) = deleted.next().await {
            match deletion {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {
                    swept.removed += 1;
                    left -= 1;
                }
                Err(e) => last = Some(e),
            }
        }
        // A request that failed as a whole answers once for all of its objects.
        if let Some(e) = last {
            failed(swept, left, &e);
        }
        let done = swept.removed + swept.revived + swept.failed;
        if done.is_multiple_of(PROGRESS_EVERY) {
            tracing::info!(done, all, "staging area is being swept");
        }
    }
}

fn failed(swept: &mut Swept, objects: u64, error: &object_store::Error) {
    swept.failed += objects;
    tracing::warn!(objects, error = %error, "staged objects could not be removed");
}

/// Names are made of contents, so an orphan may be written again by whoever needs the same bytes.
async fn look(lake: &Arc<dyn ObjectStore>, meta: ObjectMeta) -> Look {
    match lake.head(&meta.location).await {
        Ok(found) if is_same(&meta, &found) => Look::Unchanged(meta.location),
        Ok(_) => Look::Revived,
        Err(object_store::Error::NotFound { .. }) => Look::Gone,
        Err(e) => Look::Failed(e),
    }
}

/// Whether a look finds what was listed. Whole seconds, as some servers list finer times than a header can say; and
/// some list no e-tags.
fn is_same(listed: &ObjectMeta, found: &ObjectMeta) -> bool {
    found.last_modified.timestamp() == listed.last_modified.timestamp() && (listed.e_tag.is_none() || listed.e_tag == found.e_tag)
}

/// Everything that open plans and the records of the log name.
async fn references(query: &Query) -> Result<Live, SweepError> {
    let mut live = Live::default();
    let mut unreadable = 0;
    for topic in DOWNSTREAM {
        for partition in (0..query.outlet.topics.partitions()).map(Partition) {
            let from = position(query, topic, partition).await?;
            let mut long = Vec::new();
            query
                .records(topic, partition, NextOffset(0), None, |record| {
                    let claim = record.header(CLAIM_HEADER);
                    claim.into_iter().for_each(|key| live.name(key));
                    let is_open = record.offset.0 >= from.0;
                    match topic {
                        Topic::Plans | Topic::Staged if is_open => open(&mut live, &String::from_utf8_lossy(&record.key)),
                        Topic::Checked if !is_open => {}
                        Topic::Checked | Topic::Quarantine if claim.is_some() => long.push(record),
                        Topic::Checked | Topic::Quarantine => {
                            let value = record.value.unwrap_or_default();
                            unreadable += u64::from(names(query, topic, &value, &mut live).is_err());
                        }
                        _ => {}
                    }
                })
                .await?;
            for record in long {
                let value = check_out(&query.lake, &record).await.map_err(QueryError::from)?.unwrap_or_default();
                unreadable += u64::from(names(query, topic, &value, &mut live).is_err());
            }
        }
    }
    if unreadable > 0 { Err(SweepError::Unreadable { records: unreadable }) } else { Ok(live) }
}

/// What a checked batch or a letter names.
fn names(query: &Query, topic: Topic, value: &[u8], live: &mut Live) -> Result<(), CodecError> {
    let codec = &query.outlet.codec;
    if topic == Topic::Checked {
        let batch: StagedBatch = codec.decode(value)?;
        live.open(&staged_folder(&batch.dataset, &batch.batch_id));
    } else if let Some(rows) = codec.decode::<QuarantineLetter>(value)?.row_letters {
        live.name(&rows);
    }
    Ok(())
}

/// A batch id is `<dataset>/<shard>/<seq>`.
fn open(live: &mut Live, batch: &str) {
    if let Some((dataset, _)) = batch.split_once('/') {
        live.open(&staged_folder(dataset, batch));
    }
}

/// Where the stage that reads a topic goes on; records before it are done with.
async fn position(query: &Query, topic: Topic, partition: Partition) -> Result<NextOffset, SweepError> {
    let Some(stage) = StageName::ALL.into_iter().find(|s| Topics::input(*s) == topic) else { return Ok(NextOffset(0)) };
    let at = query.outlet.topics.at(topic, partition);
    let committed = query.reader.committed(stage.as_str(), &at).await.map_err(QueryError::from)?;
    Ok(committed.unwrap_or_default())
}

#[cfg(test)]
mod tests;
