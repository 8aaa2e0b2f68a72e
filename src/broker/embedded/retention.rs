//! Retention and compaction of the embedded log.
//!
//! Unlike Kafka, nothing is deleted that a group has not passed yet: on one machine there is no
//! operator to notice a silent gap.

use std::collections::HashSet;

use crate::broker::embedded::entry::{position_key, record_key, topic_key};
use crate::broker::embedded::shelf::Batch;
use crate::broker::embedded::{READ_AT_ONCE, Shared, storage, topics};
use crate::broker::{Cleanup, LogError};
use crate::domain::names::TopicName;
use crate::domain::position::{Partition, TopicPartition};
use crate::domain::time::Span;

/// Tombstones stay this long: a local store that lags behind its changelog must still meet them
/// (Kafka's `delete.retention.ms`; KIP-1259 tells what happens otherwise).
const TOMBSTONES_STAY: Span = Span::from_secs(7 * 86_400);

pub(super) fn run(shared: &Shared) -> Result<u64, LogError> {
    let all: Vec<(TopicName, u32, Cleanup, u32)> =
        shared.state().topics.iter().map(|(name, t)| (name.clone(), t.id, t.cleanup, t.partitions())).collect();
    let mut removed = 0;
    for (name, id, cleanup, partitions) in all {
        for p in 0..partitions {
            let at = TopicPartition { topic: name.clone(), partition: Partition(p) };
            removed += match cleanup {
                Cleanup::Delete { retention } => {
                    let before = shared.clock.now().millis().saturating_sub(retention.millis());
                    expire(shared, id, &at, before)?
                }
                Cleanup::Compact { lag } => compact(shared, id, &at, lag)?,
            };
        }
    }
    Ok(removed)
}

/// Position every group that ever committed on this partition has passed.
fn passed(shared: &Shared, at: &TopicPartition) -> Result<u64, LogError> {
    let mut low = shared.state().topics.get(&at.topic)?.bounds(at)?.end.0;
    let joined: Vec<String> = shared.state().groups.of(&at.topic).map(str::to_owned).collect();
    for group in joined {
        low = low.min(shared.position(&group, at)?.map_or(0, |n| n.0));
    }
    // Groups that are not joined now: their positions lie under `p/`.
    let suffix = position_key("", at.topic.as_str(), at.partition).split_off(2);
    for (key, value) in shared.shelf.range(b"p/", b"p0", usize::MAX).map_err(storage)? {
        if key.ends_with(&suffix)
            && let Ok(bytes) = value.as_ref().try_into()
        {
            low = low.min(u64::from_be_bytes(bytes));
        }
    }
    Ok(low)
}

fn expire(shared: &Shared, id: u32, at: &TopicPartition, before_millis: i64) -> Result<u64, LogError> {
    let start = shared.state().topics.get(&at.topic)?.bounds(at)?.start.0;
    let end = passed(shared, at)?;
    let mut batch = Batch::default();
    let mut next = start;
    'pages: while next < end {
        let page =
            shared.shelf.range(&record_key(id, at.partition, next), &record_key(id, at.partition, end), READ_AT_ONCE).map_err(storage)?;
        if page.is_empty() {
            break;
        }
        for (key, value) in page {
            let record = topics::decode(at, &key, value)?;
            if record.timestamp.millis() > before_millis {
                break 'pages;
            }
            next = record.offset.next().0;
            batch.removals.push(key);
        }
    }
    let removed = batch.removals.len() as u64;
    if removed > 0 {
        write(shared, at, batch, |tail| tail.start = next)?;
    }
    Ok(removed)
}

/// Keeps the last record of each key and whatever is younger than `lag`; old tombstones go too.
fn compact(shared: &Shared, id: u32, at: &TopicPartition, lag: Span) -> Result<u64, LogError> {
    let bounds = shared.state().topics.get(&at.topic)?.bounds(at)?;
    let end = passed(shared, at)?.min(bounds.end.0);
    let now = shared.clock.now();
    let mut newest: HashSet<u128> = HashSet::new();
    let mut batch = Batch::default();
    let mut high = end;
    // From the end backwards, a page at a time: the first time a key is met is its last record.
    while high > bounds.start.0 {
        let low = high.saturating_sub(READ_AT_ONCE as u64).max(bounds.start.0);
        let page =
            shared.shelf.range(&record_key(id, at.partition, low), &record_key(id, at.partition, high), usize::MAX).map_err(storage)?;
        for (key, value) in page.into_iter().rev() {
            let record = topics::decode(at, &key, value)?;
            let first_met = newest.insert(xxhash_rust::xxh3::xxh3_128(&record.key));
            let spent_tombstone = record.value.is_none() && now.since(record.timestamp) > TOMBSTONES_STAY;
            if (!first_met || spent_tombstone) && now.since(record.timestamp) >= lag {
                batch.removals.push(key);
            }
        }
        high = low;
    }
    let removed = batch.removals.len() as u64;
    if removed > 0 {
        write(shared, at, batch, topics::Tail::forget)?;
    }
    Ok(removed)
}

fn write(shared: &Shared, at: &TopicPartition, mut batch: Batch, change: impl FnOnce(&mut topics::Tail)) -> Result<(), LogError> {
    let _turn = shared.committing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    {
        let mut state = shared.state();
        let Some(topic) = state.topics.get_mut(&at.topic) else {
            return Ok(());
        };
        if let Some(tail) = topic.partitions.get_mut(at.partition.0 as usize) {
            change(tail);
        }
        batch.puts.push((topic_key(at.topic.as_str()), topic.entry().encode()));
    }
    shared.shelf.apply(batch).map_err(storage)
}
