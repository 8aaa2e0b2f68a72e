//! Measures what no transaction of this process says: how far stages are behind, what the status table holds, how far
//! replays are. Now and then, off the workers' path; what it sees is the log's, so every replica tells the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::flow::{Emptied, backlog};
use crate::app::standing::Standing;
use crate::broker::{Cleanup, LogError, PollLimit, Reader, Record};
use crate::clock::{Clock, sleep};
use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition, TopicPartition};
use crate::domain::time::{Span, Timestamp};
use crate::pipeline::outlet::Outlet;
use crate::pipeline::runner::Halt;
use crate::pipeline::topics::{Topic, Topics};
use crate::replay::progress::Mode;
use crate::stage::StageError;
use crate::stage::catalog::Catalog;
use crate::stage::replay::{self, Kept};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::progress::{Backlog, Progress};
use crate::wire::codec::CodecError;
use crate::wire::records::ObjectStatus;

/// Wait between two looks.
const LOOK_EVERY: Span = Span::from_secs(5);

/// Records read at a time.
const CHUNK: PollLimit = PollLimit { records: 5_000, bytes: 8 << 20 };

/// Chunks of one partition read at one look: a long table is read over several.
const CHUNKS_AT_ONCE: usize = 20;

/// One look went wrong; the next may not.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the state of replays cannot be read")]
    Replays(#[source] StageError),
}

/// A process's view of the log.
pub struct Observer {
    pub reader: Arc<dyn Reader>,
    pub outlet: Outlet,
    pub catalog: Arc<Catalog>,
    pub metrics: Arc<Metrics>,
    pub progress: Arc<Progress>,
    pub clock: Arc<dyn Clock>,
    pub stages: Vec<StageName>,
    seen: Seen,
}

/// What was read so far.
#[derive(Default)]
struct Seen {
    next: BTreeMap<TopicPartition, NextOffset>,
    emptied: Emptied,
    standing: Standing,
    /// Replays that may still move: objects that have not ended, and when it last moved.
    replays: BTreeMap<Vec<u8>, (u64, Timestamp)>,
}

impl Observer {
    pub fn new(
        reader: Arc<dyn Reader>,
        outlet: Outlet,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
        progress: Arc<Progress>,
        clock: Arc<dyn Clock>,
        stages: Vec<StageName>,
    ) -> Self {
        Self { reader, outlet, catalog, metrics, progress, clock, stages, seen: Seen::default() }
    }

    /// Looks until stopped. A look that fails is told once, until one goes well again.
    ///
    /// # Errors
    /// None; it is a member of the process's tasks.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Halt> {
        let mut is_told = false;
        loop {
            let looked = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                looked = self.look() => looked,
            };
            match looked {
                Ok(()) => is_told = false,
                Err(e) => {
                    if !is_told {
                        warn!(error = %e, "metrics of the log are not up to date");
                    }
                    is_told = true;
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = sleep(self.clock.as_ref(), LOOK_EVERY) => {}
            }
        }
    }

    /// One look.
    ///
    /// # Errors
    /// When the log does not answer, or holds what this build cannot read.
    pub async fn look(&mut self) -> Result<(), LookError> {
        self.look_here();
        self.measure().await?;
        self.catch_up_status().await?;
        self.catch_up_replays().await
    }

    /// What needs no log.
    fn look_here(&self) {
        self.metrics.reloaded(self.progress.contracts().faults.is_empty());
        let topics = &self.outlet.topics;
        let kept: BTreeMap<_, _> = topics.specs().into_iter().map(|spec| (spec.name, spec.cleanup)).collect();
        let retention = |topic: Topic| match kept.get(&topics.name(topic)) {
            Some(Cleanup::Delete { retention }) => Some(*retention),
            _ => None,
        };
        let letters_kept = retention(Topic::Quarantine).unwrap_or(Span::ZERO);
        for dataset in self.catalog.all() {
            self.metrics.dataset(dataset.name(), dataset.contract.expected_interval, letters_kept);
        }
        for stage in &self.stages {
            let input = Topics::input(*stage);
            if let Some(retention) = retention(input) {
                self.metrics.retention(topics.name(input).as_str(), retention);
            }
        }
    }

    /// How far each stage is behind.
    async fn measure(&mut self) -> Result<(), LookError> {
        let topics = Arc::clone(&self.outlet.topics);
        for stage in self.stages.clone() {
            let waiting = backlog(&self.reader, &topics, stage, &mut self.seen.emptied).await?;
            let measured = self.clock.now();
            let oldest = waiting.oldest.map_or(Span::ZERO, |at| measured.since(at));
            self.progress.measured(stage, Backlog { records: waiting.records, oldest, measured });
            self.metrics.lag(stage, topics.name(Topics::input(stage)).as_str(), waiting.records, oldest);
        }
        for (stage, progress) in self.progress.snapshot() {
            if let Some(moved) = progress.moved() {
                self.metrics.progress(stage, moved);
            }
        }
        Ok(())
    }

    async fn catch_up_status(&mut self) -> Result<(), LookError> {
        let mut is_current = true;
        for p in 0..self.outlet.topics.partitions() {
            let at = self.outlet.topics.at(Topic::Status, Partition(p));
            let mut chunks = 0;
            loop {
                let records = self.fresh(&at).await?;
                if records.is_empty() {
                    break;
                }
                for value in records.iter().filter_map(|r| r.value.as_deref()) {
                    let row: ObjectStatus = self.outlet.codec.decode(value)?;
                    self.seen.standing.take(&row);
                }
                chunks += 1;
                if chunks == CHUNKS_AT_ONCE {
                    is_current = false;
                    break;
                }
            }
        }
        // Half a table says of what was mended that it is open.
        if is_current {
            self.metrics.status(&self.seen.standing.gauges());
        }
        Ok(())
    }

    async fn catch_up_replays(&mut self) -> Result<(), LookError> {
        for p in 0..self.outlet.topics.partitions() {
            let at = self.outlet.topics.at(Topic::Changelog(StageName::Replay), Partition(p));
            for record in self.fresh(&at).await? {
                let (Some(id), Some(value)) = (record.key.strip_prefix(replay::PREFIX), &record.value) else { continue };
                let progress = Kept::decode(value).map_err(LookError::Replays)?.progress;
                let ended: u64 = progress.outcomes.values().sum();
                let pending = match progress.mode {
                    _ if progress.finished => 0,
                    Mode::Running => progress.items.saturating_sub(ended),
                    Mode::Cancelled => progress.landed.saturating_sub(ended),
                    // It waits for a person.
                    Mode::Paused => 0,
                };
                if pending == 0 {
                    self.seen.replays.remove(id);
                } else {
                    self.seen.replays.insert(id.to_vec(), (pending, progress.moved_at));
                }
            }
        }
        let (pending, moved) = self.seen.replays.values().fold((0, None), |(n, moved), (p, at)| (n + p, moved.max(Some(*at))));
        self.metrics.replays(pending, moved);
        Ok(())
    }

    /// The next records since the last look; none: these were all.
    async fn fresh(&mut self, at: &TopicPartition) -> Result<Vec<Record>, LogError> {
        let next = self.seen.next.entry(at.clone()).or_default();
        let chunk = self.reader.read(at, *next, CHUNK).await?;
        *next = chunk.next;
        Ok(chunk.records)
    }
}
