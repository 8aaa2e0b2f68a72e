use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::{Broker, CommitError, Committed, Log, LogError, OutRecord, PollLimit, Polled, Reader, TopicSpec, Transaction};
use crate::clock::{Jitter, ManualClock};
use crate::domain::names::TopicName;
use crate::domain::position::NextOffset;
use crate::event::ParseOptions;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::runner::{Limits, Runner, Surroundings};
use crate::pipeline::tally::Tally;
use crate::pipeline::topics::{Topic, Topics};
use crate::registry::embedded::EmbeddedRegistry;
use crate::source::routing::{Claim, Router, Routes};
use crate::state::memory::MemoryStore;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::progress::Progress;
use crate::wire::codec::Codec;
use crate::wire::records::{QuarantineLetter, Record};

const POLL: Span = Span::from_secs(60);

struct World {
    clock: ManualClock,
    broker: Arc<EmbeddedBroker>,
    outlet: Outlet,
    landing: Arc<InMemory>,
}

impl World {
    async fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
        let broker = Arc::new(EmbeddedBroker::in_memory(Arc::new(clock.clone())));
        let outlet = Outlet { codec: Arc::new(Codec::numbered()), topics: Arc::new(Topics::new("", 3, Span::from_secs(3600))) };
        broker.ensure(&outlet.topics.specs()).await.unwrap();
        Self { clock, broker, outlet, landing: Arc::new(InMemory::new()) }
    }

    fn listing(&self, name: &str) -> PullSource {
        let kind = PullKind::Listing(Listing::new("raw".parse().unwrap(), self.landing.clone(), None));
        PullSource { name: name.to_owned(), kind, poll: POLL }
    }

    fn bridge(&self, sources: Vec<PullSource>) -> Bridge {
        let orders = Claim { dataset: "orders".parse().unwrap(), route: None, priority: 0, layout: None };
        let intake = Intake { outlet: self.outlet.clone(), router: Arc::new(Router::fixed(Routes::of(&[orders]))) };
        Bridge::new(intake, sources, Work::Inline).unwrap().with_page(4)
    }

    fn start(&self, bridge: Bridge) -> Running {
        self.start_on(bridge, self.broker.clone(), None)
    }

    fn start_on(&self, bridge: Bridge, broker: Arc<dyn Broker>, tally: Option<Arc<Tally>>) -> Running {
        let stop = CancellationToken::new();
        let lake: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let around = Surroundings {
            broker,
            registry: Arc::new(EmbeddedRegistry::new(lake.clone())),
            lake,
            outlet: self.outlet.clone(),
            clock: Arc::new(self.clock.clone()),
            limits: Limits::default(),
            instance: "w".to_owned(),
            life: 1,
            suspects: Arc::default(),
            stop: stop.clone(),
            progress: Arc::new(Progress::default()),
            tally,
        };
        let listed = bridge.listed();
        let runner = Runner::new(Arc::new(bridge), around, Arc::new(MemoryStore::default()), Jitter::new(1));
        Running { stop, listed, task: tokio::spawn(runner.run()) }
    }

    async fn put(&self, key: &str, content: &str) {
        self.landing.put(&Path::from(key), content.to_owned().into()).await.unwrap();
    }

    async fn all<R: Record>(&self, topic: Topic) -> Vec<R> {
        let mut found = Vec::new();
        for partition in 0..self.outlet.topics.partitions() {
            let at = self.outlet.topics.at(topic, Partition(partition));
            let limit = PollLimit { records: 10_000, bytes: 64 << 20 };
            let chunk = self.broker.reader().read(&at, NextOffset(0), limit).await.unwrap();
            found.extend(chunk.records.iter().map(|r| self.outlet.codec.decode(r.value.as_deref().unwrap()).unwrap()));
        }
        found
    }

    async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.all::<LandedObject>(Topic::Landing).await.into_iter().map(|l| l.key).collect();
        keys.sort();
        keys
    }

    /// Lets the runner work until it only waits for time.
    async fn settle(&self) {
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
    }

    async fn pass(&self, span: Span) {
        self.clock.advance(span);
        self.settle().await;
    }
}

struct Running {
    stop: CancellationToken,
    listed: Arc<ListedOnce>,
    task: tokio::task::JoinHandle<Result<(), crate::pipeline::runner::Halt>>,
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn every_object_lands_once_over_many_pages_and_a_change_lands_again() {
    let world = World::new().await;
    for i in 0..10 {
        world.put(&format!("landing/orders/{i}.csv"), "x").await;
    }
    world.put("other/a.csv", "x").await;
    let running = world.start(world.bridge(vec![world.listing("landing")]));
    world.settle().await;
    let landed = world.all::<LandedObject>(Topic::Landing).await;
    assert_eq!(landed.len(), 11);
    assert!(landed.iter().all(|l| l.origin == "listing" && l.sequencer.is_none() && l.landed_at == 1_000_000));
    assert_eq!(landed.iter().filter(|l| l.dataset.as_deref() == Some("orders")).count(), 10);
    assert!(running.listed.is_complete());
    world.put("landing/orders/new.csv", "x").await;
    world.put("landing/orders/3.csv", "changed").await;
    world.settle().await;
    assert_eq!(world.keys().await.len(), 11, "nobody lists before it is time");
    world.pass(POLL).await;
    let keys = world.keys().await;
    assert_eq!(keys.len(), 13);
    assert_eq!(keys.iter().filter(|k| k.as_str() == "landing/orders/3.csv").count(), 2);
    world.pass(POLL).await;
    assert_eq!(world.keys().await.len(), 13);
    running.end().await;
}

#[tokio::test]
async fn another_process_reads_at_once_and_goes_on_from_the_changelog() {
    let world = World::new().await;
    world.put("landing/orders/a", "x").await;
    let first = world.start(world.bridge(vec![world.listing("landing")]));
    world.settle().await;
    first.end().await;
    world.put("landing/orders/b", "x").await;
    let second = world.start(world.bridge(vec![world.listing("landing")]));
    assert!(!second.listed.is_complete(), "listed by another process, not by this one");
    world.settle().await;
    assert_eq!(world.keys().await, ["landing/orders/a", "landing/orders/b"]);
    assert!(second.listed.is_complete());
    second.end().await;
}

#[tokio::test]
async fn a_record_of_the_control_topic_makes_its_source_due() {
    let world = World::new().await;
    let bridge = world.bridge(vec![world.listing("landing")]);
    let partition = bridge.partition("landing");
    let running = world.start(bridge);
    world.settle().await;
    world.put("landing/orders/a", "x").await;
    let to = world.outlet.topics.at(Topic::Sources, partition);
    for name in ["landing", "nobody"] {
        let asked = OutRecord { to: to.clone(), key: name.into(), value: Some("".into()), headers: vec![] };
        world.broker.append(vec![asked]).await.unwrap();
    }
    world.settle().await;
    assert_eq!(world.keys().await, ["landing/orders/a"]);
    running.end().await;
}

fn notice(key: &str) -> String {
    format!(
        r#"{{"Records":[{{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{{"bucket":{{"name":"raw"}},"object":{{"key":"{key}","size":1,"eTag":"e"}}}}}}]}}"#
    )
}

#[tokio::test]
async fn a_file_is_read_on_and_its_bad_lines_become_letters() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notices");
    std::fs::write(&path, format!("{}\nnonsense\n{}\n{}", notice("a"), notice("b"), &notice("c")[..30])).unwrap();
    let kind = PullKind::File(NoticeFile { path: path.clone(), options: ParseOptions::default() });
    let running = world.start(world.bridge(vec![PullSource { name: "file".to_owned(), kind, poll: POLL }]));
    world.settle().await;
    assert_eq!(world.keys().await, ["a", "b"]);
    assert!(!running.listed.is_complete(), "its last line is unfinished");
    std::fs::write(&path, format!("{}\nnonsense\n{}\n{}\nhalf", notice("a"), notice("b"), notice("c"))).unwrap();
    world.pass(TORN_PATIENCE).await;
    assert_eq!(world.keys().await, ["a", "b", "c"]);
    world.pass(TORN_PATIENCE).await;
    let letters = world.all::<QuarantineLetter>(Topic::Quarantine).await;
    let mut raw: Vec<_> = letters.into_iter().map(|l| (l.reason, l.raw.unwrap())).collect();
    raw.sort();
    assert_eq!(raw, [("event_unreadable".to_owned(), b"half".to_vec()), ("event_unreadable".to_owned(), b"nonsense".to_vec())]);
    assert!(running.listed.is_complete());
    running.end().await;
}

#[tokio::test]
async fn a_source_that_does_not_answer_holds_no_other_up() {
    let world = World::new().await;
    world.put("landing/orders/a", "x").await;
    let folder = tempfile::tempdir().unwrap();
    // A directory cannot be read as a file.
    let kind = PullKind::File(NoticeFile { path: folder.path().to_owned(), options: ParseOptions::default() });
    let broken = PullSource { name: "broken".to_owned(), kind, poll: POLL };
    let running = world.start(world.bridge(vec![broken, world.listing("landing")]));
    world.settle().await;
    assert_eq!(world.keys().await, ["landing/orders/a"]);
    assert_eq!(running.listed.outstanding(), ["broken"]);
    world.pass(POLL).await;
    assert_eq!(running.listed.outstanding(), ["broken"]);
    running.end().await;
}

#[tokio::test]
async fn a_key_no_event_may_carry_lands_all_the_same() {
    let world = World::new().await;
    let long = format!("landing/orders/{}", "k".repeat(2_000));
    world.put(&long, "x").await;
    let running = world.start(world.bridge(vec![world.listing("landing")]));
    world.settle().await;
    assert_eq!(world.keys().await, [long]);
    running.end().await;
}

#[tokio::test]
async fn names_of_sources_are_checked() {
    let world = World::new().await;
    let intake = world.bridge(vec![]).intake;
    let twice = Bridge::new(intake.clone(), vec![world.listing("a"), world.listing("a")], Work::Inline);
    assert_eq!(twice.err(), Some(SourcesError::Twice { name: "a".to_owned() }));
    let slash = Bridge::new(intake, vec![world.listing("a/b")], Work::Inline);
    assert_eq!(slash.err(), Some(SourcesError::Name { name: "a/b".to_owned() }));
}

/// Aborts the first transaction that says anything.
struct AbortsOnce {
    inner: Arc<EmbeddedBroker>,
    has_aborted: Arc<AtomicBool>,
}

struct AbortsOnceLog {
    inner: Box<dyn Log>,
    has_aborted: Arc<AtomicBool>,
}

#[async_trait]
impl Broker for AbortsOnce {
    async fn ensure(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        self.inner.ensure(topics).await
    }
    async fn worker(&self, group: &str, input: &TopicName, instance: &str) -> Result<Box<dyn Log>, LogError> {
        let inner = self.inner.worker(group, input, instance).await?;
        Ok(Box::new(AbortsOnceLog { inner, has_aborted: Arc::clone(&self.has_aborted) }))
    }
    async fn append(&self, outputs: Vec<OutRecord>) -> Result<Committed, CommitError> {
        self.inner.append(outputs).await
    }
    fn reader(&self) -> Arc<dyn Reader> {
        self.inner.reader()
    }
}

#[async_trait]
impl Log for AbortsOnceLog {
    async fn poll(&mut self, limit: PollLimit, until: Timestamp) -> Result<Polled, LogError> {
        self.inner.poll(limit, until).await
    }
    async fn interrupted(&mut self) {
        self.inner.interrupted().await;
    }
    async fn commit(&mut self, transaction: Transaction) -> Result<Committed, CommitError> {
        let lands = transaction.outputs.iter().any(|o| o.to.topic.as_str() == "landing");
        if lands && !self.has_aborted.swap(true, Ordering::Relaxed) {
            return Err(CommitError::Aborted { detail: "once".to_owned() });
        }
        self.inner.commit(transaction).await
    }
    async fn seek(&mut self, partition: Partition, to: NextOffset) -> Result<(), LogError> {
        self.inner.seek(partition, to).await
    }
    async fn release(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.inner.release(partitions).await
    }
    fn pause(&mut self, paused: bool) {
        self.inner.pause(paused);
    }
}

#[tokio::test]
async fn what_was_aborted_is_counted_when_it_is_committed_and_only_then() {
    let world = World::new().await;
    for i in 0..3 {
        world.put(&format!("landing/orders/{i}.csv"), "x").await;
    }
    let metrics = Arc::new(Metrics::new(&[StageName::Bridge]));
    let tally = Tally::new(Arc::clone(&metrics), world.outlet.clone(), BTreeSet::new());
    let broker = AbortsOnce { inner: world.broker.clone(), has_aborted: Arc::default() };
    let running = world.start_on(world.bridge(vec![world.listing("landing")]), Arc::new(broker), Some(Arc::new(tally)));
    world.settle().await;
    let says = |n: u32, series: &str| {
        let text = metrics.text();
        assert!(text.contains(&format!("{series} {n}\n")), "{series} {n}\n{text}");
    };
    says(1, r#"lakegate_kafka_transactions_total{outcome="aborted",stage="bridge"}"#);
    assert!(!metrics.text().contains("lakegate_bridge_object_events_total{"), "nothing is committed yet");
    world.pass(Span::from_secs(30)).await;
    assert_eq!(world.keys().await.len(), 3);
    let landed =
        metrics.text().lines().filter(|l| l.starts_with("lakegate_bridge_object_events_total{")).map(str::to_owned).collect::<Vec<_>>();
    let n: u32 = landed.iter().map(|l| l.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).sum();
    assert_eq!(n, 3, "{landed:?}");
    running.end().await;
}
