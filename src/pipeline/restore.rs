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
    pub txn_seq: u64,
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
    let next = match (committed, meta) {
        (Some(committed), Some(meta)) if meta.in_next != committed.0 => {
            return Err(RestoreError::Diverged { changelog: changelog.clone(), state: meta.in_next, committed: committed.0 });
        }
        (Some(committed), _) => committed,
        (None, Some(meta)) => NextOffset(meta.in_next),
        (None, None) => reader.bounds(input).await?.start,
    };
    Ok(Restored { next, txn_seq: meta.map_or(0, |m| m.txn_seq), applied })
}
