//! How many plans transform has not taken yet: read by assemble before it seals, never stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::try_join_all;
use tokio::sync::Mutex;

use crate::broker::{LogError, Reader};
use crate::clock::Clock;
use crate::domain::names::StageName;
use crate::domain::position::Partition;
use crate::domain::time::{Span, Timestamp};
use crate::pipeline::topics::{Topic, Topics};

/// A measure this young is not taken again: a round asks once, however many inputs it has.
const FRESH: Span = Span::from_millis(20);

/// While batches wait, room is looked for this often.
const ASK_EVERY: Span = Span::from_millis(25);

/// Plans in the log, and how many of them wait, over all partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Sum of the ends: grows with every plan, so equal ends mean that no plan came between.
    pub end: u64,
    /// Plans past transform's committed positions.
    pub backlog: u64,
    /// Plans that may wait before batches stay in line.
    pub limit: u64,
}

/// The plans topic against transform's positions.
pub struct Backlog {
    reader: Arc<dyn Reader>,
    topics: Arc<Topics>,
    clock: Arc<dyn Clock>,
    limit: u64,
    seen: Mutex<Option<(Timestamp, Measure)>>,
    asked_millis: AtomicI64,
}

impl Backlog {
    /// `limit`: plans that may wait in the topic; at least 1. Soft: each partition of assemble judges for itself.
    pub fn new(reader: Arc<dyn Reader>, topics: Arc<Topics>, clock: Arc<dyn Clock>, limit: u64) -> Self {
        Self { reader, topics, clock, limit: limit.max(1), seen: Mutex::new(None), asked_millis: AtomicI64::new(i64::MIN) }
    }

    /// Enough that transform is never idle for want of a plan between two looks, few enough that a dataset
    /// which comes late is soon served.
    pub fn limit_for(partitions: u32) -> u64 {
        u64::from(partitions).saturating_mul(4).max(16)
    }

    /// The measure of now, at most 20 ms old.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn measure(&self) -> Result<Measure, LogError> {
        // Held while the log is asked: the other inputs of the round wait for this answer instead of asking too.
        let mut seen = self.seen.lock().await;
        let now = self.clock.now();
        if let Some((at, measure)) = *seen
            && now < at.plus(FRESH)
        {
            return Ok(measure);
        }
        let partitions = try_join_all((0..self.topics.partitions()).map(|p| self.partition(Partition(p)))).await?;
        let (end, backlog) = partitions.into_iter().fold((0, 0), |sum: (u64, u64), p| (sum.0 + p.0, sum.1 + p.1));
        let measure = Measure { end, backlog, limit: self.limit };
        *seen = Some((now, measure));
        Ok(measure)
    }

    /// [`Backlog::measure`] for a batch that waits; puts the next look off.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn ask(&self) -> Result<Measure, LogError> {
        self.asked_millis.store(self.clock.now().millis(), Ordering::Relaxed);
        self.measure().await
    }

    /// When batches that wait should look for room again.
    pub fn ask_again(&self) -> Timestamp {
        match self.asked_millis.load(Ordering::Relaxed) {
            i64::MIN => Timestamp::EPOCH,
            asked => Timestamp::from_millis(asked).plus(ASK_EVERY),
        }
    }

    async fn partition(&self, partition: Partition) -> Result<(u64, u64), LogError> {
        let at = self.topics.at(Topic::Plans, partition);
        let bounds = self.reader.bounds(&at).await?;
        let taken = self.reader.committed(StageName::Transform.as_str(), &at).await?.unwrap_or(bounds.start).max(bounds.start);
        Ok((bounds.end.0, bounds.end.0.saturating_sub(taken.0)))
    }
}
