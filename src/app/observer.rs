//! Measures what no transaction of this process says: how far stages are behind, what the status table holds, how far
//! replays are. Now and then, off the workers' path; what it sees is the log's, so every replica tells the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::docket::discarded;
use crate::app::flow::{Emptied, backlog};
use crate::app::since::offset_since;
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
    /// With a contract in force.
    datasets: BTreeSet<String>,
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
        // Half a table says of what was mended that it is open, and so does one without the verdicts.
        if self.catch_up_status().await? && self.catch_up_verdicts().await? {
            self.metrics.status(&self.seen.standing.gauges());
        }
        self.catch_up_replays().await
    }

    /// What needs no log.
    fn look_here(&mut self) {
        self.metrics.reloaded(self.progress.contracts().faults.is_empty());
        let topics = &self.outlet.topics;
        let kept: BTreeMap<_, _> = topics.specs().into_iter().map(|spec| (spec.name, spec.cleanup)).collect();
        let retention = |topic: Topic| match kept.get(&topics.name(topic)) {
            Some(Cleanup::Delete { retention }) => Some(*retention),
            _ => None,
        };
        let letters_kept = retention(Topic::Quarantine).unwrap_or(Span::ZERO);
        let in_force = self.catalog.all();
        for dataset in &in_force {
            self.metrics.dataset(dataset.name(), dataset.contract.expected_interval, letters_kept);
        }
        let names: BTreeSet<String> = in_force.iter().map(|d| d.name().to_owned()).collect();
        // Nobody expects files of a contract that was removed.
        self.seen.datasets.difference(&names).for_each(|gone| self.metrics.dataset(gone, None, letters_kept));
        self.seen.datasets = names;
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

    async fn catch_up_status(&mut self) -> Result<bool, LookError> {
        let codec = Arc::clone(&self.outlet.codec);
        self.catch_up(Topic::Status, |standing, records| {
            for value in records.iter().filter_map(|r| r.value.as_deref()) {
                let row: ObjectStatus = codec.decode(value)?;
                standing.take(&row);
            }
            Ok(())
        })
        .await
    }

    /// The audit log is long: it is followed from the day of the oldest letter that was open when the table had first been
    /// read, and not before there is one.
    async fn catch_up_verdicts(&mut self) -> Result<bool, LookError> {
        let Some(oldest) = self.seen.standing.oldest_open() else { return Ok(true) };
        for p in 0..self.outlet.topics.partitions() {
            let at = self.outlet.topics.at(Topic::Lifecycle, Partition(p));
            if !self.seen.next.contains_key(&at) {
                let from = offset_since(self.reader.as_ref(), &at, oldest).await?;
                self.seen.next.insert(at, from);
            }
        }
        self.catch_up(Topic::Lifecycle, |standing, records| {
            standing.discard(&records.iter().filter_map(discarded).collect());
            Ok(())
        })
        .await
    }

    /// Takes what a topic holds since the last look; whether that was all of it.
    async fn catch_up(
        &mut self,
        topic: Topic,
        take: impl Fn(&mut Standing, &[Record]) -> Result<(), LookError>,
    ) -> Result<bool, LookError> {
        let mut is_current = true;
        for p in 0..self.outlet.topics.partitions() {
            let at = self.outlet.topics.at(topic, Partition(p));
            let mut chunks = 0;
            loop {
                let records = self.fresh(&at).await?;
                if records.is_empty() {
                    break;
                }
                take(&mut self.seen.standing, &records)?;
                chunks += 1;
                if chunks == CHUNKS_AT_ONCE {
                    is_current = false;
                    break;
                }
            }
        }
        Ok(is_current)
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

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::app::standing::testing::row;
    use crate::broker::embedded::EmbeddedBroker;
    use crate::broker::{Broker, OutRecord};
    use crate::clock::ManualClock;
    use crate::contract::parse::parse;
    use crate::pipeline::outlet::Placed;
    use crate::stage::catalog::Dataset;
    use crate::stage::letters::State;
    use crate::wire::codec::Codec;
    use crate::wire::records::{ReplayItem, ReplayRequest};

    const CONTRACT: &str = r#"
dataset: orders
expected_interval: 1h
schema:
  subject: t-value
  avro: { type: record, name: T, fields: [ { name: id, type: long } ] }
"#;

    struct House {
        clock: ManualClock,
        broker: EmbeddedBroker,
        outlet: Outlet,
        observer: Observer,
    }

    async fn house() -> House {
        let clock = ManualClock::new(Timestamp::from_millis(50_000));
        let broker = EmbeddedBroker::in_memory(Arc::new(clock.clone()));
        let outlet = Outlet { codec: Arc::new(Codec::numbered()), topics: Arc::new(Topics::new("", 2, Span::from_secs(3600))) };
        broker.ensure(&outlet.topics.specs()).await.unwrap();
        let catalog = Arc::new(Catalog::new(Arc::new(InMemory::new())));
        catalog.put_in_force(vec![Arc::new(Dataset::compile(parse("t.yaml", CONTRACT).unwrap()).unwrap())]).await.unwrap();
        let stages = vec![StageName::Check];
        let observer = Observer::new(
            broker.reader(),
            outlet.clone(),
            catalog,
            Arc::new(Metrics::new(&stages)),
            Arc::default(),
            Arc::new(clock.clone()),
            stages,
        );
        House { clock, broker, outlet, observer }
    }

    impl House {
        async fn write(&self, topic: Topic, key: Vec<u8>, value: bytes::Bytes) {
            let to = self.outlet.topics.at(topic, Partition(1));
            self.broker.append(vec![OutRecord { to, key: key.into(), value: Some(value), headers: Vec::new() }]).await.unwrap();
        }

        async fn says(&mut self, lines: &[&str]) {
            self.observer.look().await.unwrap();
            let text = self.observer.metrics.text();
            for line in lines {
                assert!(text.lines().any(|l| l == format!("lakegate_{line}")), "{line}\n{text}");
            }
        }
    }

    #[tokio::test]
    async fn a_look_tells_what_the_log_holds_and_what_contracts_say() {
        let mut house = house().await;
        house
            .says(&[
                r#"consumer_lag_records{stage="check",topic="staged"} 0"#,
                r#"consumer_last_progress_timestamp_seconds{stage="check"} 50"#,
                r#"dataset_expected_interval_seconds{dataset="orders"} 3600"#,
                r#"quarantine_retention_seconds{dataset="orders"} 3600"#,
                r#"objects_total{dataset="orders",outcome="quarantined"} 0"#,
                r#"topic_retention_seconds{topic="staged"} 3600"#,
                "replay_pending_objects 0",
                "config_last_reload_successful 1",
            ])
            .await;
        house.write(Topic::Staged, b"k".to_vec(), bytes::Bytes::new()).await;
        for (key, state, at) in [("a", State::Quarantined, 10_000), ("b", State::Published, 20_000)] {
            let send = house.outlet.record(Topic::Status, key, Placed::On(Partition(1)), &row(key, state, at, None), Vec::new()).unwrap();
            house.broker.append(vec![send]).await.unwrap();
        }
        house.clock.advance(Span::from_secs(100));
        house.observer.progress.contracts_refused(vec!["a fault".to_owned()]);
        house
            .says(&[
                r#"consumer_lag_records{stage="check",topic="staged"} 1"#,
                r#"consumer_lag_seconds{stage="check",topic="staged"} 100"#,
                r#"consumer_last_progress_timestamp_seconds{stage="check"} 50"#,
                r#"dataset_last_curated_timestamp_seconds{dataset="orders"} 20"#,
                r#"quarantine_unresolved_objects{dataset="orders"} 1"#,
                r#"quarantine_oldest_unresolved_timestamp_seconds{dataset="orders"} 10"#,
                "config_last_reload_successful 0",
            ])
            .await;
        let (name, held) = ("raw/a", row("a", State::Quarantined, 10_000, None));
        let verdict = [("verdict", "discard"), ("letter", &format!("{name}#{}#{}", held.token, held.run_id))];
        let headers = verdict.map(|(header, text)| (header.to_owned(), bytes::Bytes::from(text.to_owned()))).to_vec();
        let to = house.outlet.topics.at(Topic::Lifecycle, Partition(1));
        house.broker.append(vec![OutRecord { to, key: name.into(), value: Some("{}".into()), headers }]).await.unwrap();
        house.says(&[r#"quarantine_unresolved_objects{dataset="orders"} 0"#]).await;
        house.observer.catalog.put_in_force(Vec::new()).await.unwrap();
        house.says(&[r#"dataset_expected_interval_seconds{dataset="orders"} 0"#]).await;
    }

    #[tokio::test]
    async fn a_replay_pends_until_it_is_paused_or_over() {
        let mut house = house().await;
        let item = |index| ReplayItem {
            index,
            bucket: "raw".into(),
            key: "k".into(),
            version_id: None,
            etag: None,
            size: None,
            first_landed: None,
            partition: 0,
        };
        let request = ReplayRequest {
            format_version: 1,
            replay_id: "r1".into(),
            reason: "why".into(),
            dataset: None,
            requested_at: 0,
            requested_by: "me".into(),
            force: false,
            skip_if_published: false,
            pin_contract: None,
            objects_per_second: None,
            items: vec![item(0), item(1), item(2)],
        };
        let mut kept = Kept::of(&request, BTreeMap::new(), Timestamp::from_millis(40_000));
        let change = kept.store("r1");
        house.write(Topic::Changelog(StageName::Replay), change.key, change.value.unwrap()).await;
        house.says(&["replay_pending_objects 3", "replay_last_progress_timestamp_seconds 40"]).await;
        kept.progress.land(2, Timestamp::from_millis(41_000));
        kept.progress.end("PUBLISHED", Timestamp::from_millis(42_000));
        let change = kept.store("r1");
        house.write(Topic::Changelog(StageName::Replay), change.key, change.value.unwrap()).await;
        house.says(&["replay_pending_objects 2", "replay_last_progress_timestamp_seconds 42"]).await;
        assert!(kept.progress.obey(crate::replay::progress::Control::Pause, Timestamp::from_millis(43_000)));
        let change = kept.store("r1");
        house.write(Topic::Changelog(StageName::Replay), change.key, change.value.unwrap()).await;
        house.says(&["replay_pending_objects 0"]).await;
    }
}
