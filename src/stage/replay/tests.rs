use std::collections::BTreeSet;

use super::*;
use crate::broker::Broker;
use crate::broker::embedded::EmbeddedBroker;
use crate::clock::{Clock, ManualClock};
use crate::state::memory::MemoryStore;
use crate::state::{Overlay, StateStore};
use crate::wire::codec::Codec;

const P: Partition = Partition(0);

/// One partition, driven by hand: what is due, gathered and decided is committed to a broker in memory.
struct World {
    clock: ManualClock,
    broker: EmbeddedBroker,
    stage: Replay,
    store: MemoryStore,
    serial: u64,
}

impl World {
    async fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
        let broker = EmbeddedBroker::in_memory(Arc::new(clock.clone()));
        let outlet = Outlet { codec: Arc::new(Codec::numbered()), topics: Arc::new(Topics::new("", 1, Span::from_secs(3600))) };
        broker.ensure(&outlet.topics.specs()).await.unwrap();
        let stage = Replay { outlet, reader: broker.reader() };
        Self { clock, broker, stage, store: MemoryStore::default(), serial: 0 }
    }

    async fn take(&mut self, ask: Ask) {
        let overlay = Overlay::default();
        let found = self.stage.gather(&ask, ()).await.unwrap();
        let view = View::new(&self.store, &overlay, P);
        let Verdict::Done(decision) = self.stage.decide(view, &ask, found, self.clock.now()).unwrap() else { panic!("facts were fresh") };
        self.broker.append(decision.sends).await.unwrap();
        self.serial += 1;
        self.store.apply(P, &decision.changes, NextOffset(self.serial)).unwrap();
    }

    async fn request(&mut self, items: i32, rate: Option<i32>) {
        let item = |index| ReplayItem {
            index,
            bucket: "raw".into(),
            key: format!("k{index}"),
            version_id: None,
            etag: None,
            size: None,
            first_landed: None,
            partition: 0,
        };
        let request = ReplayRequest {
            format_version: FORMAT_VERSION,
            replay_id: "r".into(),
            reason: "mended".into(),
            dataset: Some("orders".into()),
            requested_at: 1,
            requested_by: "me".into(),
            force: false,
            skip_if_published: true,
            pin_contract: None,
            objects_per_second: rate,
            items: (0..items).map(item).collect(),
        };
        self.take(Ask::Request(Box::new(request))).await;
    }

    async fn order(&mut self, control: Control) {
        let order = ReplayControl {
            format_version: FORMAT_VERSION,
            replay_id: "r".into(),
            action: control.as_str().into(),
            requested_at: 1,
            requested_by: "me".into(),
            reason: String::new(),
        };
        self.take(Ask::Order(order)).await;
    }

    /// Time passes; whatever is due is done.
    async fn pass(&mut self, millis: i64) {
        self.clock.advance(Span::from_millis(millis));
        let overlay = Overlay::default();
        let due = self.stage.due(View::new(&self.store, &overlay, P), self.clock.now()).unwrap();
        for ask in due {
            self.take(ask).await;
        }
    }

    async fn read(&self, topic: Topic) -> Vec<Record> {
        let limit = PollLimit { records: 100_000, bytes: 1 << 30 };
        self.stage.reader.read(&self.stage.outlet.topics.at(topic, P), NextOffset(0), limit).await.unwrap().records
    }

    async fn landed(&self) -> Vec<String> {
        let read = self.read(Topic::Landing).await;
        read.iter().map(|r| self.stage.outlet.codec.decode::<LandedObject>(r.value.as_ref().unwrap()).unwrap().key).collect()
    }

    async fn told(&self) -> Vec<String> {
        let read = self.read(Topic::Lifecycle).await;
        read.iter().map(|r| self.stage.outlet.codec.decode::<LifecycleEvent>(r.value.as_ref().unwrap()).unwrap().kind).collect()
    }

    /// Everything landed so far is published; each status is written twice, as after a crash.
    async fn publish_all(&mut self) {
        let clerk = crate::stage::letters::Clerk { outlet: self.stage.outlet.clone(), stage: StageName::Publish };
        for (offset, key) in self.landed().await.into_iter().enumerate() {
            let object = crate::wire::records::Admitted {
                landing_partition: 0,
                landing_offset: i64::try_from(offset).unwrap(),
                bucket: "raw".into(),
                run_id: format!("r-{key}"),
                key,
                version_id: None,
                etag: None,
                size: 0,
                token: "t".into(),
                generation: 1,
                replay_id: Some("r".into()),
                forced: false,
                overwrites: false,
                source: "replay".into(),
                first_landed: 1,
                event_time: None,
                ingest_date: "2026-01-02".into(),
                partition_values: BTreeMap::new(),
                late: false,
            };
            let of = crate::stage::letters::Subject { dataset: Some("orders"), object: &object };
            let row = clerk.status(&of, State::Published, None, crate::stage::letters::RowCounts::default(), self.clock.now()).unwrap();
            self.broker.append(vec![row.clone(), row]).await.unwrap();
        }
    }

    fn kept(&self) -> Kept {
        let overlay = Overlay::default();
        Kept::load(View::new(&self.store, &overlay, P), "r").unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_replay_lands_every_item_once_and_tells_its_end() {
    let mut world = World::new().await;
    world.request(3, None).await;
    world.request(3, None).await;
    assert_eq!(world.landed().await, ["k0", "k1", "k2"], "the repeated request is a no-op");
    world.publish_all().await;
    world.pass(1_000).await;
    assert_eq!(world.told().await, ["ReplayStarted", "ReplayCompleted"]);
    assert_eq!(world.kept().progress.outcomes, BTreeMap::from([("PUBLISHED".to_owned(), 3)]));
    let left = world.store.scan(P, b"", b"", usize::MAX).unwrap().into_iter().map(|(k, _)| k).collect::<Vec<_>>();
    assert_eq!(left, [b"replay/r".to_vec()], "nothing but the replay itself is kept");
}

#[tokio::test]
async fn validate_is_never_flooded() {
    let mut world = World::new().await;
    world.request(2_500, None).await;
    for _ in 0..10 {
        world.pass(300).await;
    }
    assert_eq!(world.landed().await.len() as u64, AHEAD_OF_VALIDATE, "validate has not taken any");
}

#[tokio::test]
async fn a_rate_is_kept() {
    let mut world = World::new().await;
    world.request(100, Some(4)).await;
    assert_eq!(world.landed().await.len(), 1);
    world.pass(500).await;
    assert_eq!(world.landed().await.len(), 3);
    for _ in 0..4 {
        world.pass(250).await;
    }
    assert_eq!(world.landed().await.len(), 7);
}

#[tokio::test]
async fn pause_resume_and_cancel_are_obeyed_and_told() {
    let mut world = World::new().await;
    world.request(100, Some(1)).await;
    world.order(Control::Pause).await;
    world.pass(10_000).await;
    assert_eq!((world.landed().await.len(), world.kept().progress.word()), (1, "paused"));
    world.order(Control::Resume).await;
    world.pass(2_000).await;
    let n = world.landed().await.len();
    assert_eq!(n, 4, "one at once, two in two seconds");
    world.order(Control::Cancel).await;
    world.order(Control::Cancel).await;
    world.pass(10_000).await;
    assert_eq!((world.landed().await.len(), world.kept().progress.word()), (n, "cancelling"));
    world.publish_all().await;
    world.pass(1_000).await;
    assert_eq!(world.kept().progress.word(), "cancelled");
    assert_eq!(world.told().await, ["ReplayStarted", "ReplayPaused", "ReplayResumed", "ReplayCancelled", "ReplayCompleted"]);
    let unique: BTreeSet<String> = world.landed().await.into_iter().collect();
    assert_eq!(unique.len(), n);
    assert_eq!(world.store.scan(P, b"item/", b"item/", usize::MAX).unwrap(), [], "nothing waits any more");
}

#[tokio::test]
async fn an_order_to_nobody_changes_nothing() {
    let mut world = World::new().await;
    world.order(Control::Cancel).await;
    assert_eq!(world.told().await, [""; 0]);
}
