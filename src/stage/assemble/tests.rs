use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use tokio::sync::watch;

use super::*;
use crate::broker::Broker;
use crate::broker::embedded::EmbeddedBroker;
use crate::clock::ManualClock;
use crate::contract::parse::parse;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::time::Span;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::topics::Topics;
use crate::state::memory::MemoryStore;
use crate::state::{Overlay, StateStore};
use crate::wire::codec::Codec;

const P: Partition = Partition(0);

/// One partition of assemble without a runner: every decision is a transaction.
struct Bench {
    stage: Assemble,
    datasets: BTreeMap<&'static str, Arc<Dataset>>,
    store: MemoryStore,
    /// Plans in the order they were sent, and how many of them transform took.
    plans: Vec<BatchPlan>,
    taken: usize,
    limit: u64,
    landed: i64,
    now: Timestamp,
}

impl Bench {
    /// Every object is a batch of `max_files`.
    fn new(names: &[&'static str], max_files: u64, limit: u64) -> Self {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        let broker = EmbeddedBroker::in_memory(Arc::new(clock.clone()));
        let topics = Arc::new(Topics::new("", 1, Span::from_secs(3600)));
        futures::executor::block_on(broker.ensure(&topics.specs())).unwrap();
        let outlet = Outlet { codec: Arc::new(Codec::numbered()), topics: Arc::clone(&topics) };
        let lake: Arc<dyn object_store::ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let datasets = names.iter().map(|name| {
            let text = format!("dataset: {name}\ntransform: {{ batch: {{ max_files: {max_files}, linger: 1s, quiet: 0s }} }}\n");
            (*name, Arc::new(Dataset::compile(parse("t.yaml", &text).unwrap()).unwrap()))
        });
        let stage = Assemble {
            catalog: Arc::new(Catalog::new(lake)),
            clerk: Clerk { outlet, stage: StageName::Assemble },
            quiet: None,
            backlog: Backlog::new(broker.reader(), topics, Arc::new(clock), limit),
            intake: watch::channel(Intake::Running).1,
        };
        Self {
            stage,
            datasets: datasets.collect(),
            store: MemoryStore::default(),
            plans: Vec::new(),
            taken: 0,
            limit,
            landed: 0,
            now: Timestamp::from_millis(1_000),
        }
    }

    fn object(&mut self, dataset: &str, shard: i32, size: i64) -> Arrival {
        self.landed += 1;
        let n = self.landed;
        Arrival::Object(Box::new(ClassifiedObject {
            format_version: FORMAT_VERSION,
            dataset: dataset.to_owned(),
            contract_hash: "h".to_owned(),
            admitted: Admitted {
                landing_partition: 0,
                landing_offset: n,
                bucket: "raw".to_owned(),
                key: format!("{dataset}/{n}.csv"),
                version_id: None,
                etag: None,
                size,
                token: n.to_string(),
                generation: 0,
                run_id: format!("run-{n}"),
                replay_id: None,
                forced: false,
                overwrites: false,
                source: "test".to_owned(),
                first_landed: n,
                event_time: None,
                ingest_date: "2026-01-01".to_owned(),
                partition_values: BTreeMap::new(),
                late: false,
            },
            sha256: format!("{n:064x}"),
            shard,
            action: "accept".to_owned(),
            rows_physical: 1,
            rows_bad: 0,
            schema_version: Some(1),
            decision: "{}".to_owned(),
            read_plan: "{}".to_owned(),
        }))
    }

    fn measure(&self) -> Measure {
        Measure { end: self.plans.len() as u64, backlog: (self.plans.len() - self.taken) as u64, limit: self.limit }
    }

    /// A round: all inputs see one measure, each the changes of those before; committed, or lost in a crash.
    fn round(&mut self, inputs: &[Arrival], commits: bool) {
        let transform = self.measure();
        let mut overlay = Overlay::default();
        let mut sends = Vec::new();
        for input in inputs {
            let dataset = match input {
                Arrival::Object(o) => Some(o.dataset.as_str()),
                Arrival::Due { dataset, .. } => Some(dataset.as_str()),
                Arrival::Room => None,
            };
            let facts = Facts { dataset: dataset.map(|d| Arc::clone(&self.datasets[d])), transform };
            let view = View::new(&self.store, &overlay, P);
            let Verdict::Done(decision) = self.stage.decide(view, input, facts, self.now).unwrap() else { panic!("assemble decides") };
            decision.changes.into_iter().for_each(|c| overlay.record(c));
            sends.extend(decision.sends);
        }
        if !commits {
            return;
        }
        let changes = overlay.net(&self.store, P).unwrap();
        let next = self.store.position(P).unwrap().unwrap_or_default().0 + changes.len() as u64;
        self.store.apply(P, &changes, NextOffset(next)).unwrap();
        self.plans.extend(sends.iter().map(|s| self.stage.clerk.outlet.codec.decode::<BatchPlan>(s.value.as_ref().unwrap()).unwrap()));
    }

    fn waiting(&self) -> usize {
        self.store.scan(P, b"waiting/", b"waiting/", usize::MAX).unwrap().len()
    }

    fn due(&self) -> Vec<Arrival> {
        let overlay = Overlay::default();
        self.stage.due(View::new(&self.store, &overlay, P), self.now).unwrap()
    }

    fn landed_in_plans(&self) -> Vec<i64> {
        self.plans.iter().flat_map(|p| p.members.iter().map(|m| m.admitted.landing_offset)).collect()
    }
}

#[test]
fn a_batch_leaves_at_once_while_transform_keeps_up() {
    let mut bench = Bench::new(&["a"], 1, 2);
    let object = bench.object("a", 0, 10);
    bench.round(&[object], true);
    assert_eq!((bench.plans.len(), bench.waiting()), (1, 0));
    assert!(bench.due().is_empty(), "no timer in the idle path");
    assert_eq!(bench.stage.next_due(View::new(&bench.store, &Overlay::default(), P)).unwrap(), None);
}

#[test]
fn five_hundred_waiting_batches_do_not_starve_another_dataset() {
    let mut bench = Bench::new(&["crowd", "lone"], 1, 2);
    let crowd: Vec<Arrival> = (0..500).map(|n| bench.object("crowd", n % 4, 10)).collect();
    bench.round(&crowd, true);
    assert_eq!((bench.plans.len(), bench.waiting()), (2, 498), "one round sends no more than there is room for");
    let lone = bench.object("lone", 0, 10);
    bench.round(&[lone], true);
    let mut rounds = 0;
    while !bench.plans.iter().any(|p| p.dataset == "lone") {
        bench.taken = bench.plans.len();
        bench.round(&[Arrival::Room], true);
        rounds += 1;
        assert!(rounds < 10, "the lone batch still waits after {} plans", bench.plans.len());
    }
    assert!(bench.waiting() > 400, "the crowd still waits");
    // The crowd's order is its own: as it was sealed.
    while bench.waiting() > 0 {
        bench.taken = bench.plans.len();
        bench.round(&[Arrival::Room], true);
    }
    let order: Vec<i64> = bench.landed_in_plans().into_iter().filter(|n| *n <= 500).collect();
    assert_eq!(order, (1..=500).collect::<Vec<_>>());
}

#[test]
fn a_plan_that_waited_is_the_plan_it_would_have_been() {
    let mut at_once = Bench::new(&["a"], 2, 100);
    let mut late = Bench::new(&["a"], 2, 1);
    for bench in [&mut at_once, &mut late] {
        for _ in 0..6 {
            let object = bench.object("a", 0, 10);
            bench.round(&[object], true);
            bench.now = bench.now.plus(Span::from_millis(1));
        }
    }
    assert_eq!(late.waiting(), 2);
    late.now = late.now.plus(Span::from_secs(60));
    while late.waiting() > 0 {
        late.taken = late.plans.len();
        late.round(&[Arrival::Room], true);
    }
    assert_eq!(late.plans, at_once.plans, "seal time, trigger, number and members do not tell that it waited");
}

#[derive(Debug, Clone)]
enum Move {
    Land { dataset: u8, shard: u8, megabytes: u8 },
    Take(u8),
    Time,
    Crash,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        5 => (0u8..3, 0u8..2, 0u8..40).prop_map(|(dataset, shard, megabytes)| Move::Land { dataset, shard, megabytes }),
        2 => (1u8..4).prop_map(Move::Take),
        2 => Just(Move::Time),
        1 => Just(Move::Crash),
    ];
    proptest::collection::vec(one, 1..80)
}

proptest! {
    #[test]
    fn nothing_is_lost_or_doubled_however_long_it_waits(moves in moves(), limit in 1u64..4, max_files in 1u64..4) {
        let mut bench = Bench::new(&["a", "b", "c"], max_files, limit);
        for step in moves {
            match step {
                Move::Land { dataset, shard, megabytes } => {
                    let object = bench.object(["a", "b", "c"][usize::from(dataset)], shard.into(), i64::from(megabytes) << 20);
                    bench.round(std::slice::from_ref(&object), true);
                }
                Move::Take(n) => bench.taken = bench.plans.len().min(bench.taken + usize::from(n)),
                Move::Time => {
                    bench.now = bench.now.plus(Span::from_millis(700));
                    let mut due = bench.due();
                    due.push(Arrival::Room);
                    bench.round(&due, true);
                }
                // What was decided and not committed leaves no trace.
                Move::Crash => bench.round(&[Arrival::Room], false),
            }
            prop_assert!(bench.plans.len() - bench.taken <= usize::try_from(limit).unwrap(), "more plans wait than the limit");
        }
        // Time passes, transform takes everything.
        for _ in 0..200 {
            bench.taken = bench.plans.len();
            bench.now = bench.now.plus(Span::from_secs(2));
            let mut due = bench.due();
            due.push(Arrival::Room);
            bench.round(&due, true);
        }
        let sent = bench.landed_in_plans();
        prop_assert_eq!(sent.len(), sent.iter().collect::<BTreeSet<_>>().len(), "an object is in two plans");
        prop_assert_eq!(sent.len(), usize::try_from(bench.landed).unwrap(), "an object is in no plan");
        let mut last: BTreeMap<(String, i32), i64> = BTreeMap::new();
        for plan in &bench.plans {
            let next = last.entry((plan.dataset.clone(), plan.shard)).or_insert(-1);
            prop_assert_eq!(plan.seq, *next + 1, "plans of a shard leave in order");
            *next = plan.seq;
        }
        prop_assert_eq!(bench.waiting(), 0);
        prop_assert!(bench.store.scan(P, b"member/", b"member/", usize::MAX).unwrap().is_empty(), "no member is left behind");
    }
}

/// Files that are read alike differ in nothing but their rows: their plan is stored once, whoever of them comes first.
#[test]
fn members_of_a_batch_share_their_read_plans_until_it_leaves() {
    let mut bench = Bench::new(&["a"], 6, 2);
    let kept = |bench: &Bench, prefix: &str| bench.store.scan(P, prefix.as_bytes(), prefix.as_bytes(), usize::MAX).unwrap().len();
    let texts = ["{}", "{\"other\":1}", "{}", "{\"other\":1}", "{}", "{\"last\":1}"];
    let objects = texts.map(|text| {
        let Arrival::Object(mut object) = bench.object("a", 0, 10) else { panic!("an object") };
        object.read_plan = text.to_owned();
        Arrival::Object(object)
    });
    bench.round(&objects[..3], false);
    bench.round(&objects[..2], true);
    bench.round(&objects[2..5], true);
    assert_eq!((bench.plans.len(), kept(&bench, "member/"), kept(&bench, "plan/")), (0, 5, 2));
    bench.round(&objects[5..], true);
    let plan = &bench.plans[0];
    let told: Vec<&str> = plan.members.iter().map(|m| plan.read_plans[usize::try_from(m.read_plan).unwrap()].as_str()).collect();
    assert_eq!((told.as_slice(), plan.read_plans.len()), (texts.as_slice(), 3));
    assert_eq!((kept(&bench, "member/"), kept(&bench, "plan/")), (0, 0), "what a batch took along is kept no more");
}

#[test]
fn a_member_of_the_first_builds_holds_its_own_plan() {
    let twin = |plan: serde_json::Value| {
        let admitted = serde_json::json!({ "landing_partition": 0, "landing_offset": 1, "bucket": "raw", "key": "k", "version_id": null, "etag": null,
            "size": 1, "token": "t", "generation": 0, "run_id": "r", "replay_id": null, "forced": false, "overwrites": false, "source": "s",
            "first_landed": 1, "event_time": null, "ingest_date": "2026-01-01", "partition_values": {}, "late": false });
        let twin = serde_json::json!({ "admitted": admitted, "sha256": "", "rows_physical": 1, "rows_bad": 0, "read_plan": plan });
        read::<MemberTwin>(twin.to_string().as_bytes(), "a member").unwrap().read_plan
    };
    assert!(matches!(twin("{\"fingerprint\":\"x\"}".into()), PlanTwin::Own(text) if text.starts_with('{')));
    assert!(matches!(twin(serde_json::json!({ "fingerprint": "x" })), PlanTwin::Shared { fingerprint } if fingerprint == "x"));
}
