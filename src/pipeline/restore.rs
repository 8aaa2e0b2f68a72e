//! Recovery of one partition: the local store is brought to the end of its changelog, then held
//! against the committed position (engine.md §8.6).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::broker::{LogError, PollLimit, Reader};
use crate::domain::position::{NextOffset, Partition, TopicPartition};
use crate::state::{Change, StateError, StateStore};

/// Key of the record every transaction writes to its changelog partition; no state key starts with NUL.
pub const META_KEY: &[u8] = b"\0meta";

/// Records applied to the store at a time.
const CHUNK: PollLimit = PollLimit { records: 5_000, bytes: 8 << 20 };

/// What the last transaction of a partition said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub format_version: u32,
    /// Input position the same transaction committed.
    pub in_next: u64,
    /// Counts the transactions of this partition.
    pub txn_seq: u64,
    /// The life of the process that runs the partition; none once it stopped cleanly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u64>,
    /// A life ended at this very position without a word ([`crate::pipeline::doubt`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
    /// Times the record at `in_next` was begun alone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(attempts: &u32) -> bool {
    *attempts == 0
}

impl Meta {
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers always serialize").into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// A partition could not be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
    /// A torn transaction, or positions moved by hand: going on would lose or double something.
    #[error(
        "{changelog}: state says input {state}, the group's position is {committed}; positions were moved from outside or a transaction was torn"
    )]
    Diverged { changelog: TopicPartition, state: u64, committed: u64 },
}

/// A recovered partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Where to read the input from.
    pub next: NextOffset,
    /// What the last transaction said, if there was one.
    pub last: Option<Meta>,
    /// End of the input when it was looked at.
    pub input_end: NextOffset,
    /// Changelog records that had to be applied.
    pub applied: u64,
}

/// Brings `store` to the end of `changelog` and says where the input goes on.
///
/// A partition with neither position nor state starts at the log's start, explicitly.
pub async fn restore(
    reader: &dyn Reader,
    store: &dyn StateStore,
    changelog: &TopicPartition,
    input: &TopicPartition,
    committed: Option<NextOffset>,
) -> Result<Restored, RestoreError> {
    let partition: Partition = changelog.partition;
    let bounds = reader.bounds(changelog).await?;
    let mut next = match store.position(partition)? {
        // Ahead of the changelog, or before what is left of it: this store belongs to another history.
        Some(at) if at > bounds.end || at < bounds.start => {
            store.wipe(partition)?;
            bounds.start
        }
        Some(at) => at,
        None => bounds.start,
    };
    let mut applied = 0;
    while next < bounds.end {
        let chunk = reader.read(changelog, next, CHUNK).await?;
        let changes: Vec<Change> = chunk.records.into_iter().map(|r| Change { key: r.key.to_vec(), value: r.value }).collect();
        applied += changes.len() as u64;
        debug_assert!(chunk.next > next, "a read before the end makes progress");
        next = chunk.next;
        store.apply(partition, &changes, next)?;
    }
    let meta = store.get(partition, META_KEY)?.and_then(|m| Meta::decode(&m));
    let found = reader.bounds(input).await?;
    let next = match (committed, meta) {
        (Some(committed), Some(meta)) if meta.in_next != committed.0 => {
            return Err(RestoreError::Diverged { changelog: changelog.clone(), state: meta.in_next, committed: committed.0 });
        }
        (Some(committed), _) => committed,
        (None, Some(meta)) => NextOffset(meta.in_next),
        (None, None) => found.start,
    };
    Ok(Restored { next, last: meta, input_end: found.end, applied })
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::broker::{Bounds, Chunk, Record};
    use crate::domain::names::TopicName;
    use crate::domain::position::Offset;
    use crate::domain::time::Timestamp;
    use crate::state::memory::MemoryStore;

    /// An input whose first records are gone by retention, and a changelog of metas.
    struct Log {
        input: Bounds,
        metas: Vec<Meta>,
    }

    #[async_trait]
    impl Reader for Log {
        async fn partitions(&self, _: &TopicName) -> Result<u32, LogError> {
            Ok(1)
        }
        async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
            let changelog = Bounds { start: NextOffset(0), end: NextOffset(self.metas.len() as u64) };
            Ok(if at.topic.as_str() == "changelog" { changelog } else { self.input })
        }
        async fn read(&self, at: &TopicPartition, from: NextOffset, _: PollLimit) -> Result<Chunk, LogError> {
            let record = |(offset, meta): (usize, &Meta)| Record {
                at: at.clone(),
                offset: Offset(offset as u64),
                timestamp: Timestamp::EPOCH,
                key: Bytes::from_static(META_KEY),
                value: Some(meta.encode()),
                headers: vec![],
            };
            let records: Vec<Record> = self.metas.iter().enumerate().map(record).filter(|r| r.offset.0 >= from.0).collect();
            Ok(Chunk { records, next: NextOffset(self.metas.len() as u64) })
        }
        async fn committed(&self, _: &str, _: &TopicPartition) -> Result<Option<NextOffset>, LogError> {
            Ok(None)
        }
        async fn grown(&self, _: &TopicName, _: u64) {}
    }

    fn restored(metas: Vec<Meta>, committed: Option<u64>) -> Result<Restored, RestoreError> {
        let at = |topic: &str| TopicPartition { topic: topic.parse().unwrap(), partition: Partition(0) };
        let log = Log { input: Bounds { start: NextOffset(40), end: NextOffset(90) }, metas };
        let store = MemoryStore::default();
        futures::executor::block_on(restore(&log, &store, &at("changelog"), &at("input"), committed.map(NextOffset)))
    }

    fn meta(in_next: u64) -> Meta {
        Meta { format_version: 1, in_next, txn_seq: 3, running: None, in_doubt: false, attempts: 0 }
    }

    #[test]
    fn where_the_input_goes_on() {
        let next = |metas: Vec<Meta>, committed| restored(metas, committed).unwrap().next.0;
        assert_eq!(next(vec![], None), 40, "neither position nor state: the log's start, not zero and not its end");
        assert_eq!(next(vec![meta(50), meta(60)], None), 60, "the broker forgot the position, the state did not");
        assert_eq!(next(vec![meta(60)], Some(60)), 60);
        assert_eq!(next(vec![], Some(70)), 70, "a stage that was given a position by hand, before it ever ran");
        let diverged = restored(vec![meta(60)], Some(70)).unwrap_err();
        assert!(matches!(diverged, RestoreError::Diverged { state: 60, committed: 70, .. }), "{diverged}");
    }

    #[test]
    fn a_meta_of_the_first_release_tells_of_a_clean_stop() {
        let old = br#"{"format_version":1,"in_next":7,"txn_seq":2}"#;
        let read = Meta::decode(old).unwrap();
        assert_eq!(read, Meta { format_version: 1, in_next: 7, txn_seq: 2, running: None, in_doubt: false, attempts: 0 });
        assert_eq!(read.encode(), old.as_slice(), "and is written as it was");
        let full = Meta { running: Some(u64::MAX), in_doubt: true, attempts: 2, ..read };
        assert_eq!(Meta::decode(&full.encode()), Some(full));
    }
}
