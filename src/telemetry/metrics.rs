//! Every metric of a process, on a registry of its own (`events.md` §4.2; documented in docs/metrics.md).
//!
//! Counters tell what was committed since this process started. Gauges are set by whoever measures, now and then.
//! A label is a word of a closed vocabulary, a configured name, or [`OTHER`]: never a key, a run or the text of an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus::{Gauge, GaugeVec, HistogramVec, IntCounterVec, TextEncoder};

use crate::batch::planner::Trigger;
use crate::clock::Stopwatch;
use crate::domain::names::StageName;
use crate::domain::reason::ReasonCode;
use crate::domain::time::{Span, Timestamp};
use crate::event::{Family, RecordReason};
use crate::telemetry::fact::{
    DriftAction, DriftClass, EnvelopeOutcome, EventWord, Fact, Outcome, Routing, RowOutcome, RuleOutcome, StoreOperation, StoreOutcome,
    TransactionOutcome,
};
use crate::telemetry::family::{Definition, Families, Met, Newcomer, OTHER, Open, Values};

/// Datasets that are told apart, those of old records among them; each has about 60 series.
const DATASETS_MAX: usize = 1_000;

/// The dataset of what no contract routes, as in the folders of letters.
pub const UNROUTED: &str = "_unknown";

/// Seconds from landing to visible; the alert rules name 300.
const LATENCY_SECONDS: [f64; 8] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0];

/// Seconds of one round of a stage.
const ROUND_SECONDS: [f64; 9] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 900.0];

/// Content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The family of a notification that names none.
const NO_FAMILY: &str = "unknown";

static FAMILIES: LazyLock<Vec<&'static str>> = LazyLock::new(|| Family::ALL.iter().map(|f| f.as_str()).chain([NO_FAMILY]).collect());
static RECORD_REASONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| RecordReason::ALL.iter().map(|r| r.as_str()).collect());
static REASONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| ReasonCode::ALL.iter().map(|r| r.as_str()).collect());
static TRIGGERS: LazyLock<Vec<&'static str>> = LazyLock::new(|| Trigger::ALL.iter().map(|t| t.as_str()).collect());

/// Metrics of one process.
pub struct Metrics {
    families: Families,
    datasets: Open,
    reconciling: Mutex<BTreeSet<String>>,
    envelopes: IntCounterVec,
    envelopes_rejected: IntCounterVec,
    object_events: IntCounterVec,
    source_last_read: GaugeVec,
    reconcile_missed: IntCounterVec,
    reconcile_last_success: GaugeVec,
    reconcile_interval: GaugeVec,
    dataset_last_event: GaugeVec,
    dataset_last_curated: GaugeVec,
    dataset_expected_interval: GaugeVec,
    ingest_latency: HistogramVec,
    objects: IntCounterVec,
    rows: IntCounterVec,
    input_bytes: IntCounterVec,
    output_bytes: IntCounterVec,
    output_files: IntCounterVec,
    batches_closed: IntCounterVec,
    stage_duration: HistogramVec,
    stage_inflight: GaugeVec,
    lag_records: GaugeVec,
    lag_seconds: GaugeVec,
    topic_retention: GaugeVec,
    last_progress: GaugeVec,
    rebalances: IntCounterVec,
    transactions: IntCounterVec,
    drift: IntCounterVec,
    rules: IntCounterVec,
    quarantined: IntCounterVec,
    quarantine_unresolved: GaugeVec,
    quarantine_oldest: GaugeVec,
    quarantine_retention: GaugeVec,
    replay_pending: GaugeVec,
    replay_last_progress: GaugeVec,
    store_requests: IntCounterVec,
    reload_successful: GaugeVec,
}

/// What the status table says of one dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatasetGauges {
    /// Live traffic landed last.
    pub last_event: Option<Timestamp>,
    pub last_curated: Option<Timestamp>,
    /// Objects held back that nobody has resolved.
    pub unresolved: u64,
    pub oldest_unresolved: Option<Timestamp>,
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float: milliseconds since the epoch and counts fit 53 bits")]
fn float(n: u64) -> f64 {
    n as f64
}

fn seconds(span: Span) -> f64 {
    span.as_std().as_secs_f64()
}

fn unix_seconds(at: Timestamp) -> f64 {
    seconds(at.since(Timestamp::EPOCH))
}

impl Metrics {
    /// `stages`: those this process runs.
    pub fn new(stages: &[StageName]) -> Self {
        let mut f = Families::new(stages.iter().map(|s| s.as_str()).collect());
        let dataset = ("dataset", Values::Dataset);
        let source = ("source", Values::Source);
        let stage = ("stage", Values::Stage);
        let topic = ("topic", Values::Topic);
        let words = Values::Of;
        let info = f.gauge("build_info", "Always 1; what runs.", &[("version", Values::Fixed), ("commit", Values::Fixed)]);
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), option_env!("LAKEGATE_COMMIT").unwrap_or("unknown")]).set(1.0);
        let metrics = Self {
            datasets: Open::new(DATASETS_MAX),
            reconciling: Mutex::default(),
            envelopes: f.counter(
                "bridge_envelopes_total",
                "Notifications read.",
                &[source, ("family", words(&FAMILIES)), ("outcome", words(EnvelopeOutcome::WORDS))],
            ),
            envelopes_rejected: f.counter(
                "bridge_rejected_envelopes_total",
                "Records of notifications that cannot be read.",
                &[source, ("reason", words(&RECORD_REASONS))],
            ),
            object_events: f.counter(
                "bridge_object_events_total",
                "Object events that landed.",
                &[source, ("event_class", words(EventWord::WORDS)), ("outcome", words(Routing::WORDS))],
            ),
            source_last_read: f.gauge(
                "bridge_source_last_read_timestamp_seconds",
                "When a source that is asked answered last; since this process started.",
                &[source],
            ),
            reconcile_missed: f.counter(
                "reconcile_missed_objects_total",
                "Objects a listing found that no notification announced.",
                &[dataset],
            ),
            reconcile_last_success: f.gauge(
                "reconcile_last_success_timestamp_seconds",
                "When a bucket was last listed to its end.",
                &[source],
            ),
            reconcile_interval: f.gauge("reconcile_interval_seconds", "Wait between two listings of a bucket, as configured.", &[source]),
            dataset_last_event: f.gauge(
                "dataset_last_event_timestamp_seconds",
                "When an object last landed, replays aside; from the status table.",
                &[dataset],
            ),
            dataset_last_curated: f.gauge(
                "dataset_last_curated_timestamp_seconds",
                "When an object was last published; from the status table.",
                &[dataset],
            ),
            dataset_expected_interval: f.gauge(
                "dataset_expected_interval_seconds",
                "How often files are expected, by the contract.",
                &[dataset],
            ),
            ingest_latency: f.histogram(
                "ingest_latency_seconds",
                "From landing to visible in the table, replays aside.",
                &LATENCY_SECONDS,
                &[dataset],
            ),
            objects: f.counter("objects_total", "Landing records by how they ended.", &[dataset, ("outcome", words(Outcome::WORDS))]),
            rows: f.counter(
                "rows_total",
                "Rows of objects that ended, by where they went.",
                &[dataset, ("outcome", words(RowOutcome::WORDS))],
            ),
            input_bytes: f.counter("input_bytes_total", "Stored bytes of admitted objects.", &[dataset]),
            output_bytes: f.counter("output_bytes_total", "Bytes of published files written.", &[dataset]),
            output_files: f.counter("output_files_total", "Published files written.", &[dataset]),
            batches_closed: f.counter("batch_closed_total", "Batches sealed, by why.", &[dataset, ("trigger", words(&TRIGGERS))]),
            stage_duration: f.histogram(
                "stage_duration_seconds",
                "One round of a stage: gather, decide, commit.",
                &ROUND_SECONDS,
                &[stage],
            ),
            stage_inflight: f.gauge("stage_inflight_objects", "Inputs of the round in progress.", &[stage]),
            lag_records: f.gauge("consumer_lag_records", "Records the stage has not processed.", &[stage, topic]),
            lag_seconds: f.gauge("consumer_lag_seconds", "Age of the oldest record the stage has not processed; 0: none.", &[stage, topic]),
            topic_retention: f.gauge("topic_retention_seconds", "Age at which records of the topic are deleted.", &[topic]),
            last_progress: f.gauge(
                "consumer_last_progress_timestamp_seconds",
                "When the stage last committed, or last had nothing waiting.",
                &[stage],
            ),
            rebalances: f.counter("consumer_rebalances_total", "Changes of the stage's partitions.", &[stage]),
            transactions: f.counter(
                "kafka_transactions_total",
                "Transactions of the log, Kafka's or the embedded one.",
                &[stage, ("outcome", words(TransactionOutcome::WORDS))],
            ),
            drift: f.counter(
                "schema_drift_total",
                "Classes of drift found in files; none: a file without.",
                &[dataset, ("class", words(DriftClass::WORDS)), ("action", words(DriftAction::WORDS))],
            ),
            rules: f.counter("dq_rules_total", "Quality rules by how they ended.", &[dataset, ("outcome", words(RuleOutcome::WORDS))]),
            quarantined: f.counter(
                "quarantine_objects_total",
                "Whole objects and notifications held back.",
                &[dataset, ("reason", Values::Rarely(&REASONS))],
            ),
            quarantine_unresolved: f.gauge(
                "quarantine_unresolved_objects",
                "Objects held back whose key was not published since; from the status table.",
                &[dataset],
            ),
            quarantine_oldest: f.gauge(
                "quarantine_oldest_unresolved_timestamp_seconds",
                "When the oldest of them was held back; 0: none.",
                &[dataset],
            ),
            quarantine_retention: f.gauge("quarantine_retention_seconds", "Age at which letters are deleted.", &[dataset]),
            replay_pending: f.gauge("replay_pending_objects", "Objects of running replays that have not ended.", &[]),
            replay_last_progress: f.gauge("replay_last_progress_timestamp_seconds", "When a running replay last moved.", &[]),
            store_requests: f.counter(
                "object_store_requests_total",
                "Requests to object stores, retries within one aside.",
                &[("operation", words(StoreOperation::WORDS)), ("outcome", words(StoreOutcome::WORDS))],
            ),
            reload_successful: f.gauge(
                "config_last_reload_successful",
                "1: the contracts as they lie there are in force; 0: they are not.",
                &[],
            ),
            families: f,
        };
        metrics.families.meet(Newcomer::Process);
        metrics
    }

    /// What there is, in the order of its definition.
    pub fn definitions(&self) -> &[Definition] {
        self.families.definitions()
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.families.registry.gather())
            .expect("families are gathered from a registry that checked them")
    }

    /// A source that is configured here.
    pub fn source(&self, name: &str) {
        self.families.meet(Newcomer::Source(name));
    }

    /// A source this process may ask; until it answers, the start counts.
    pub fn asks(&self, source: &str, now: Timestamp) {
        self.source_last_read.with_label_values(&[source]).set(unix_seconds(now));
    }

    /// A source that is listed besides the notifications about it.
    pub fn reconciles(&self, source: &str, every: Span, now: Timestamp) {
        self.reconciling.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_owned());
        self.reconcile_interval.with_label_values(&[source]).set(seconds(every));
        self.reconcile_last_success.with_label_values(&[source]).set(unix_seconds(now));
    }

    /// A dataset with a contract in force.
    pub fn dataset(&self, name: &str, expected_interval: Option<Span>, letters_kept: Span) {
        let label = [self.dataset_label(Some(name))];
        self.dataset_expected_interval.with_label_values(&label).set(expected_interval.map_or(0.0, seconds));
        self.quarantine_retention.with_label_values(&label).set(seconds(letters_kept));
    }

    /// The label of a dataset; series are born with it.
    fn dataset_label<'n>(&self, name: Option<&'n str>) -> &'n str {
        let name = name.unwrap_or(UNROUTED);
        match self.datasets.meet(name) {
            Met::Known => name,
            Met::New => {
                self.families.meet(Newcomer::Dataset(name));
                name
            }
            Met::TooMany => OTHER,
        }
    }

    /// Counts what a transaction said of itself, once it is committed.
    pub fn tell(&self, fact: &Fact, now: Timestamp) {
        match fact {
            Fact::SourceRead { source, is_round_end } => {
                self.source_last_read.with_label_values(&[source]).set(unix_seconds(now));
                if *is_round_end && self.reconciling.lock().unwrap_or_else(PoisonError::into_inner).contains(source) {
                    self.reconcile_last_success.with_label_values(&[source]).set(unix_seconds(now));
                }
            }
            Fact::Envelope { source, family, outcome } => {
                let family = family.map_or(NO_FAMILY, Family::as_str);
                self.envelopes.with_label_values(&[source, family, outcome.as_str()]).inc();
            }
            Fact::EnvelopeRejected { source, reason } => self.envelopes_rejected.with_label_values(&[source, reason.as_str()]).inc(),
            Fact::Landed { source, event, routing } => {
                self.object_events.with_label_values(&[source, event.as_str(), routing.as_str()]).inc();
            }
            Fact::Admitted { dataset, bytes, missed } => {
                let dataset = self.dataset_label(dataset.as_deref());
                self.input_bytes.with_label_values(&[dataset]).inc_by(*bytes);
                self.reconcile_missed.with_label_values(&[dataset]).inc_by(u64::from(*missed));
            }
            Fact::Ended { dataset, outcome, rows_curated, rows_quarantined, landed } => {
                let dataset = self.dataset_label(dataset.as_deref());
                self.objects.with_label_values(&[dataset, outcome.as_str()]).inc();
                self.rows.with_label_values(&[dataset, RowOutcome::Curated.as_str()]).inc_by(*rows_curated);
                self.rows.with_label_values(&[dataset, RowOutcome::Quarantined.as_str()]).inc_by(*rows_quarantined);
                if let (Outcome::Curated, Some(landed)) = (outcome, landed) {
                    self.ingest_latency.with_label_values(&[dataset]).observe(seconds(now.since(*landed)));
                }
            }
            Fact::Quarantined { dataset, reason } => {
                self.quarantined.with_label_values(&[self.dataset_label(dataset.as_deref()), reason.as_str()]).inc();
            }
            Fact::Drift { dataset, class, action } => {
                self.drift.with_label_values(&[self.dataset_label(dataset.as_deref()), class.as_str(), action.as_str()]).inc();
            }
            Fact::BatchClosed { dataset, trigger } => {
                self.batches_closed.with_label_values(&[self.dataset_label(Some(dataset)), trigger.as_str()]).inc();
            }
            Fact::RulesEnded { dataset, outcome, rules } => {
                self.rules.with_label_values(&[self.dataset_label(Some(dataset)), outcome.as_str()]).inc_by(*rules);
            }
            Fact::Published { dataset, files, bytes } => {
                let dataset = self.dataset_label(Some(dataset));
                self.output_files.with_label_values(&[dataset]).inc_by(*files);
                self.output_bytes.with_label_values(&[dataset]).inc_by(*bytes);
            }
        }
    }

    /// A transaction ended.
    pub fn transaction(&self, stage: StageName, outcome: TransactionOutcome) {
        self.transactions.with_label_values(&[stage.as_str(), outcome.as_str()]).inc();
    }

    /// Partitions came or went.
    pub fn rebalanced(&self, stage: StageName) {
        self.rebalances.with_label_values(&[stage.as_str()]).inc();
    }

    /// A round over so many inputs begins; it ends with the guard.
    pub fn round(&self, stage: StageName, inputs: usize) -> RoundGuard<'_> {
        let inflight = self.stage_inflight.with_label_values(&[stage.as_str()]);
        let inputs = float(inputs as u64);
        inflight.add(inputs);
        RoundGuard { inflight, inputs, duration: &self.stage_duration, stage, watch: Stopwatch::start() }
    }

    /// How far a stage is behind.
    pub fn lag(&self, stage: StageName, topic: &str, records: u64, oldest: Span) {
        self.lag_records.with_label_values(&[stage.as_str(), topic]).set(float(records));
        self.lag_seconds.with_label_values(&[stage.as_str(), topic]).set(seconds(oldest));
    }

    pub fn progress(&self, stage: StageName, at: Timestamp) {
        self.last_progress.with_label_values(&[stage.as_str()]).set(unix_seconds(at));
    }

    pub fn retention(&self, topic: &str, kept: Span) {
        self.topic_retention.with_label_values(&[topic]).set(seconds(kept));
    }

    /// What the status table says, by dataset; names beyond the limit share one label, with the newest and the sum of them.
    pub fn status(&self, datasets: &BTreeMap<String, DatasetGauges>) {
        let mut labelled: BTreeMap<&str, DatasetGauges> = BTreeMap::new();
        for (name, gauges) in datasets {
            let all = labelled.entry(self.dataset_label(Some(name))).or_default();
            all.last_event = all.last_event.max(gauges.last_event);
            all.last_curated = all.last_curated.max(gauges.last_curated);
            all.unresolved += gauges.unresolved;
            all.oldest_unresolved = [all.oldest_unresolved, gauges.oldest_unresolved].into_iter().flatten().min();
        }
        for (dataset, gauges) in labelled {
            let label = [dataset];
            if let Some(at) = gauges.last_event {
                self.dataset_last_event.with_label_values(&label).set(unix_seconds(at));
            }
            if let Some(at) = gauges.last_curated {
                self.dataset_last_curated.with_label_values(&label).set(unix_seconds(at));
            }
            self.quarantine_unresolved.with_label_values(&label).set(float(gauges.unresolved));
            self.quarantine_oldest.with_label_values(&label).set(gauges.oldest_unresolved.map_or(0.0, unix_seconds));
        }
    }

    /// Objects of running replays that have not ended, and when one of those replays moved last.
    pub fn replays(&self, pending: u64, moved: Option<Timestamp>) {
        let none: [&str; 0] = [];
        self.replay_pending.with_label_values(&none).set(float(pending));
        if let Some(at) = moved {
            self.replay_last_progress.with_label_values(&none).set(unix_seconds(at));
        }
    }

    /// Whether the contracts as they lie there are in force.
    pub fn reloaded(&self, successful: bool) {
        let none: [&str; 0] = [];
        self.reload_successful.with_label_values(&none).set(f64::from(u8::from(successful)));
    }

    /// An object store answered.
    pub fn store_request(&self, operation: StoreOperation, outcome: StoreOutcome) {
        self.store_requests.with_label_values(&[operation.as_str(), outcome.as_str()]).inc();
    }
}

/// A round in progress.
pub struct RoundGuard<'m> {
    inflight: Gauge,
    inputs: f64,
    duration: &'m HistogramVec,
    stage: StageName,
    watch: Stopwatch,
}

impl Drop for RoundGuard<'_> {
    fn drop(&mut self) {
        self.inflight.sub(self.inputs);
        self.duration.with_label_values(&[self.stage.as_str()]).observe(self.watch.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
