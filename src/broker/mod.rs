//! The broker seam: durable topics, groups, and one atomic commit over forwards, changelog and
//! positions.
//!
//! Two ports. A [`Log`] belongs to one worker: the member of one group reading one input topic,
//! with the one producer whose transactions it commits. A [`Reader`] belongs to nobody: it reads
//! committed records of any partition without moving a position.
//!
//! Order of calls on a [`Log`]: `poll` until it answers `Assigned`; restore state; `seek` each
//! assigned partition; from then on `poll` answers `Records` and `commit` may be called with their
//! positions. When `poll` (or `interrupted`) reports a revocation, finish or abandon what is
//! prepared and call `release`: the partitions go to their next owner only then, or after the
//! deadline, when this member is fenced. After `CommitError::Unknown` the port is spent: drop it,
//! open a new one and recover from the broker; never guess.
//!
//! Deliberately absent: retries (the runner's), schemas (records are bytes here).

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::names::TopicName;
use crate::domain::position::{NextOffset, Offset, Partition, Positions, TopicPartition};
use crate::domain::reason::Disposition;
use crate::domain::time::{Span, Timestamp};

pub mod cluster;
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod partitioner;
pub mod topic_plan;

/// A record's headers, in order; names are short ASCII.
pub type Headers = Vec<(String, Bytes)>;

/// One committed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: TopicPartition,
    pub offset: Offset,
    /// When the broker took it.
    pub timestamp: Timestamp,
    pub key: Bytes,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    pub headers: Headers,
}

impl Record {
    /// Text of one header, if it is there and UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| std::str::from_utf8(v).ok())
    }

    /// Bytes it occupies in memory, roughly.
    pub fn weight(&self) -> usize {
        64 + self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + self.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
    }
}

/// One record to write. The partition is always explicit: [`partitioner`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRecord {
    pub to: TopicPartition,
    pub key: Bytes,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// What one commit carries: all of it becomes visible, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Forwards, letters, status, changelog: written in this order.
    pub outputs: Vec<OutRecord>,
    /// Input positions of this worker's group.
    pub positions: Positions,
}

/// What the broker answered to a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Position after the last record written to each touched partition: the changelog position
    /// that goes into the local store.
    pub ends: BTreeMap<TopicPartition, NextOffset>,
}

/// How much one poll may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollLimit {
    pub records: usize,
    pub bytes: usize,
}

/// What a poll found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// In offset order per partition; never empty.
    Records(Vec<Record>),
    /// Newly owned partitions and their committed position, if there is one. Nothing is read from them before `seek`.
    Assigned(Vec<(Partition, Option<NextOffset>)>),
    /// To be given up; answered by `release`. Records of these partitions polled before may still be committed until then.
    Revoked(Vec<Partition>),
    /// Taken away already (a session ran out): drop their state, commit nothing of them.
    Lost(Vec<Partition>),
    /// `until` has come.
    Idle,
}

/// First and last position of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// First offset still there.
    pub start: NextOffset,
    /// Position after the last record, uncommitted ones included: the target of a restore (KAFKA-10167).
    pub end: NextOffset,
}

/// A piece of a partition, read committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    pub records: Vec<Record>,
    /// Where to read on; may be past the last record (markers, compaction).
    pub next: NextOffset,
}

/// The broker could not be reached or refused to answer.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("topic {topic} does not exist")]
    TopicMissing { topic: TopicName },
    #[error("{at} does not exist")]
    PartitionMissing { at: TopicPartition },
    #[error("this worker was fenced: another member of its group took over")]
    Fenced,
    #[error("the broker is unreachable: {detail}")]
    Unreachable { detail: String },
    /// Rights or credentials are missing, or the broker is too old.
    #[error("the broker refuses: {detail}")]
    Refused { detail: String },
    /// An existing topic would lose or misplace something if it were used as it is.
    #[error("topic {topic} {detail}")]
    TopicDiffers { topic: TopicName, detail: String },
    /// Records were deleted before they were read.
    #[error("a position on {topic} lies outside of what the broker still holds; raise the topic's retention")]
    OutOfRange { topic: TopicName },
    #[error("the log's storage failed")]
    Storage {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the record at {at} offset {offset} cannot be decoded: {detail}")]
    Corrupt { at: String, offset: u64, detail: String },
}

impl LogError {
    pub fn disposition(&self) -> Disposition {
        match self {
            LogError::Unreachable { .. } => Disposition::Retry,
            LogError::TopicMissing { .. }
            | LogError::PartitionMissing { .. }
            | LogError::Refused { .. }
            | LogError::TopicDiffers { .. }
            | LogError::OutOfRange { .. }
            | LogError::Fenced
            | LogError::Storage { .. }
            | LogError::Corrupt { .. } => Disposition::Halt,
        }
    }
}

/// A commit did not end in success.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing became visible; go back to the committed positions and do it again.
    #[error("the transaction was aborted: {detail}")]
    Aborted { detail: String },
    /// Nothing became visible, and this worker no longer owns what it wanted to commit.
    #[error("this worker was fenced: another member of its group took over")]
    Fenced,
    /// It may or may not be visible: drop this port, open a new one, recover.
    #[error("the outcome of the transaction is unknown: {detail}")]
    Unknown { detail: String },
}

/// A worker's port: one group member and its transactional producer.
#[async_trait]
pub trait Log: Send {
    /// Waits for records, a change of assignment, or `until`. Cancel-safe: a dropped poll loses nothing.
    async fn poll(&mut self, limit: PollLimit, until: Timestamp) -> Result<Polled, LogError>;

    /// Returns as soon as a change of assignment waits in `poll`; used while gathering. Cancel-safe.
    async fn interrupted(&mut self);

    /// Writes all of `transaction`, or nothing.
    ///
    /// The port itself refuses positions of partitions it does not own: a real broker checks the member's
    /// generation, not who owns the partition (measured on Kafka 4.3: a released partition's position could
    /// be moved back by its former owner). Ownership ends with `release`, and before a loss is reported.
    async fn commit(&mut self, transaction: Transaction) -> Result<Committed, CommitError>;

    /// Next record to read of an owned partition: after a restore, and to go back after an abort.
    ///
    /// Records of the partition polled before and not yet handed out are dropped. A partition that is no
    /// longer owned is refused as `Fenced`; the next poll says where it went.
    async fn seek(&mut self, partition: Partition, to: NextOffset) -> Result<(), LogError>;

    /// Gives revoked partitions up.
    async fn release(&mut self, partitions: &[Partition]) -> Result<(), LogError>;

    /// Stops or resumes delivery of records; changes of assignment are reported all the same.
    fn pause(&mut self, paused: bool);
}

/// Reads committed records of any partition; belongs to no group.
#[async_trait]
pub trait Reader: Send + Sync {
    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError>;
    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError>;
    /// Records from `from` (or the first that is still there), at most `limit`; empty at the end.
    async fn read(&self, at: &TopicPartition, from: NextOffset, limit: PollLimit) -> Result<Chunk, LogError>;
    /// Committed position of a group.
    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<NextOffset>, LogError>;
    /// Returns when the topic may have grown past `seen` (a sum of ends), or at once if it has. Cancel-safe.
    async fn grown(&self, topic: &TopicName, seen: u64);
}

/// Retention of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Records older than this go, once every group has passed them.
    Delete { retention: Span },
    /// The last record of each key stays, and everything younger than `lag`.
    Compact { lag: Span },
}

/// A topic as the design wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: TopicName,
    pub partitions: u32,
    pub cleanup: Cleanup,
}

/// Opens ports; one per process.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Creates what is missing; existing topics keep their partitions.
    async fn ensure(&self, topics: &[TopicSpec]) -> Result<(), LogError>;
    /// Joins `group` reading `input`; `instance` names the worker (its transactional id, its static member id).
    async fn worker(&self, group: &str, input: &TopicName, instance: &str) -> Result<Box<dyn Log>, LogError>;
    /// A transaction of a producer that reads nothing (the webhook, a command).
    async fn append(&self, outputs: Vec<OutRecord>) -> Result<Committed, CommitError>;
    fn reader(&self) -> std::sync::Arc<dyn Reader>;
}
