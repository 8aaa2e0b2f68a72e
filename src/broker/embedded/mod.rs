//! The embedded broker: a durable log inside this process with Kafka's transactional semantics.
//!
//! One commit is one atomic batch over every topic and position it touches, so an open transaction
//! is never visible and an aborted one is simply never written. One process owns a folder (a lock
//! file refuses a second one by name). Deliberately absent: a network protocol, replication.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::broker::{
    Bounds, Broker, Chunk, CommitError, Committed, Log, LogError, OutRecord, PollLimit, Reader, Record, TopicSpec, Transaction,
};
use crate::claim::{Claim, ClaimError, claim};
use crate::clock::Clock;
use crate::domain::names::TopicName;
use crate::domain::position::{NextOffset, Partition, Positions, TopicPartition};
use crate::domain::time::Span;

mod entry;
mod group;
mod retention;
mod shelf;
mod topics;
mod worker;

pub use shelf::Durability;

use group::Groups;
use shelf::{Batch, Shelf};
use topics::Topics;

/// Why an embedded broker could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error("the log in {folder} cannot be opened")]
    Log {
        folder: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The broker of one process. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
}

struct Shared {
    shelf: Shelf,
    clock: Arc<dyn Clock>,
    /// A revoked member has this long to release its partitions before it is fenced.
    release_deadline: Span,
    state: Mutex<State>,
    /// Serializes commits: offsets are handed out, written and published in one order.
    committing: Mutex<()>,
    /// Held for the life of the broker.
    _claim: Option<Claim>,
}

struct State {
    topics: Topics,
    groups: Groups,
}

impl EmbeddedBroker {
    /// A broker in memory: everything is gone with the last clone.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        let state = State { topics: Topics::default(), groups: Groups::default() };
        Self {
            shared: Arc::new(Shared {
                shelf: Shelf::memory(),
                clock,
                release_deadline: RELEASE_DEADLINE,
                state: Mutex::new(state),
                committing: Mutex::new(()),
                _claim: None,
            }),
        }
    }

    /// The broker of a folder, created if it is not there.
    ///
    /// # Errors
    /// `Claim` when another process owns the folder, `Log` when what lies there cannot be read.
    pub fn open(folder: &Path, durability: Durability, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let claim = claim(folder)?;
        let broken = |source| OpenError::Log { folder: folder.display().to_string(), source };
        let shelf = Shelf::folder(&folder.join("log"), durability).map_err(broken)?;
        let topics = Topics::load(&shelf).map_err(broken)?;
        let state = State { topics, groups: Groups::default() };
        Ok(Self {
            shared: Arc::new(Shared {
                shelf,
                clock,
                release_deadline: RELEASE_DEADLINE,
                state: Mutex::new(state),
                committing: Mutex::new(()),
                _claim: Some(claim),
            }),
        })
    }

    /// Deletes what retention and compaction allow; answers how many records went.
    ///
    /// # Errors
    /// `Storage` when the folder cannot be written.
    pub fn retain(&self) -> Result<u64, LogError> {
        retention::run(&self.shared)
    }
}

/// Long enough for a prepared transaction, short enough that a stuck worker does not block its group.
const RELEASE_DEADLINE: Span = Span::from_secs(30);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock leaves counters and maps that are each valid on their own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes outputs and positions as one batch. `fence` is asked under the commit lock, before anything is written.
    fn commit(
        &self,
        transaction: Transaction,
        group: Option<&str>,
        fence: impl FnOnce(&State, &Positions) -> bool,
    ) -> Result<Committed, CommitError> {
        let _turn = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let mut batch = Batch::default();
        let (records, committed) = {
            let state = self.state();
            if !fence(&state, &transaction.positions) {
                return Err(CommitError::Fenced);
            }
            state.topics.place(transaction.outputs, now, &mut batch).map_err(|e| CommitError::Aborted { detail: e.to_string() })?
        };
        if let Some(group) = group {
            for (at, next) in transaction.positions.iter() {
                batch.puts.push((entry::position_key(group, at.topic.as_str(), at.partition), next.0.to_be_bytes().to_vec()));
            }
        }
        // After a failed write nobody knows what is on disk: the caller recovers from the log itself.
        self.shelf.apply(batch).map_err(|e| CommitError::Unknown { detail: e.to_string() })?;
        self.state().topics.publish(records);
        Ok(committed)
    }

    fn position(&self, group: &str, at: &TopicPartition) -> Result<Option<NextOffset>, LogError> {
        let key = entry::position_key(group, at.topic.as_str(), at.partition);
        let end = [key.as_slice(), b"\0"].concat();
        let found = self.shelf.range(&key, &end, 1).map_err(storage)?;
        Ok(found.first().and_then(|(_, v)| v.as_ref().try_into().ok()).map(|b| NextOffset(u64::from_be_bytes(b))))
    }

    /// Committed records of one partition from `from` on: the newest from memory, older ones from the shelf.
    fn read(&self, at: &TopicPartition, from: NextOffset, limit: PollLimit) -> Result<Chunk, LogError> {
        let (id, bounds) = {
            let state = self.state();
            let topic = state.topics.get(&at.topic)?;
            if let Some(chunk) = topic.tail(at, from, limit)? {
                return Ok(chunk);
            }
            (topic.id, topic.bounds(at)?)
        };
        let first = from.0.max(bounds.start.0);
        let (low, high) = (entry::record_key(id, at.partition, first), entry::record_key(id, at.partition, bounds.end.0));
        let mut chunk = Chunk { records: Vec::new(), next: NextOffset(first) };
        let mut bytes = 0;
        for (key, value) in self.shelf.range(&low, &high, limit.records.min(READ_AT_ONCE)).map_err(storage)? {
            let record = topics::decode(at, &key, value)?;
            bytes += record.weight();
            chunk.next = record.offset.next();
            chunk.records.push(record);
            if bytes >= limit.bytes {
                return Ok(chunk);
            }
        }
        if chunk.records.is_empty() {
            chunk.next = NextOffset(bounds.end.0.max(first));
        }
        Ok(chunk)
    }

    fn watch(&self, topic: &TopicName) -> Result<watch::Receiver<u64>, LogError> {
        Ok(self.state().topics.get(topic)?.changed.subscribe())
    }
}

/// Records one read of the shelf takes at most.
const READ_AT_ONCE: usize = 10_000;

fn storage(source: Box<dyn std::error::Error + Send + Sync>) -> LogError {
    LogError::Storage { source }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn ensure(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        let _turn = self.shared.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::default();
        self.shared.state().topics.ensure(topics, &mut batch);
        self.shared.shelf.apply(batch).map_err(storage)
    }

    async fn worker(&self, group: &str, input: &TopicName, instance: &str) -> Result<Box<dyn Log>, LogError> {
        Ok(Box::new(worker::Worker::join(Arc::clone(&self.shared), group, input, instance)?))
    }

    async fn append(&self, outputs: Vec<OutRecord>) -> Result<Committed, CommitError> {
        self.shared.commit(Transaction { outputs, positions: Positions::default() }, None, |_, _| true)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Reader for EmbeddedBroker {
    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        Ok(self.shared.state().topics.get(topic)?.partitions())
    }

    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        self.shared.state().topics.get(&at.topic)?.bounds(at)
    }

    async fn read(&self, at: &TopicPartition, from: NextOffset, limit: PollLimit) -> Result<Chunk, LogError> {
        self.shared.read(at, from, limit)
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<NextOffset>, LogError> {
        self.shared.position(group, at)
    }

    async fn grown(&self, topic: &TopicName, seen: u64) {
        let Ok(mut changed) = self.shared.watch(topic) else {
            return std::future::pending().await;
        };
        loop {
            let sum: u64 = {
                let state = self.shared.state();
                match state.topics.get(topic) {
                    Ok(t) => (0..t.partitions())
                        .filter_map(|p| t.bounds(&TopicPartition { topic: topic.clone(), partition: Partition(p) }).ok())
                        .map(|b| b.end.0)
                        .sum(),
                    Err(_) => return,
                }
            };
            if sum > seen || changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Records of `records` in the order of their places; used by the worker.
fn by_place(records: &mut [Record]) {
    records.sort_by_key(|r| (r.at.partition, r.offset));
}
