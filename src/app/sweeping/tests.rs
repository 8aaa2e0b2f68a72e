use bytes::Bytes;
use object_store::memory::InMemory;

use super::*;
use crate::app::desk::{Desk, Request};
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::{Broker, OutRecord, PollLimit, Record, Transaction};
use crate::clock::{ManualClock, SystemClock};
use crate::pipeline::outlet::{Outlet, Placed};
use crate::stage::letters::poison;
use crate::wire::codec::Codec;
use crate::wire::records::{BatchPlan, FORMAT_VERSION};

const DAY: Span = Span::from_secs(86_400);
const P: Partition = Partition(0);

/// An installation eight days after everything in its lake was written.
struct House {
    desk: Desk,
    broker: EmbeddedBroker,
    lake: Arc<InMemory>,
    outlet: Outlet,
}

impl House {
    async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(SystemClock.now().plus(Span::from_millis(8 * DAY.millis()))));
        let broker = EmbeddedBroker::in_memory(Arc::clone(&clock));
        let topics = Topics::new("", 1, Span::from_secs(86_400));
        broker.ensure(&topics.specs()).await.unwrap();
        let outlet = Outlet { codec: Arc::new(Codec::numbered()), topics: Arc::new(topics) };
        let lake = Arc::new(InMemory::new());
        let query = Query { reader: broker.reader(), outlet: outlet.clone(), lake: Arc::clone(&lake) as Arc<dyn ObjectStore> };
        let desk = Desk { query, broker: Arc::new(broker.clone()), clock, progress: None };
        Self { desk, broker, lake, outlet }
    }

    async fn put(&self, key: &str) {
        self.lake.put(&Path::from(key), "x".into()).await.unwrap();
    }

    async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.lake.list(None).map_ok(|m| m.location.to_string()).try_collect().await.unwrap();
        keys.sort();
        keys
    }

    fn plan(&self, seq: u64) -> OutRecord {
        let batch_id = format!("orders/0/{seq:012}");
        let plan = BatchPlan {
            format_version: FORMAT_VERSION,
            batch_id: batch_id.clone(),
            dataset: "orders".into(),
            shard: 0,
            seq: i64::try_from(seq).unwrap(),
            sealed_at: 0,
            trigger: "files".into(),
            contract_hash: "h".into(),
            schema_version: None,
            read_plans: vec![],
            members: vec![],
        };
        self.outlet.record(Topic::Plans, &batch_id, Placed::On(P), &plan, vec![]).unwrap()
    }

    fn batch(&self, topic: Topic, seq: u64) -> OutRecord {
        let batch_id = format!("orders/0/{seq:012}");
        let batch = StagedBatch {
            format_version: FORMAT_VERSION,
            batch_id: batch_id.clone(),
            dataset: "orders".into(),
            shard: 0,
            seq: i64::try_from(seq).unwrap(),
            sealed_at: 0,
            contract_hash: "h".into(),
            files: vec![],
            members: vec![],
        };
        self.outlet.record(topic, &batch_id, Placed::On(P), &batch, vec![]).unwrap()
    }

    fn letter(&self, rows: &str) -> OutRecord {
        let at = self.outlet.topics.at(Topic::Staged, P);
        let record = Record {
            at,
            offset: crate::domain::position::Offset(0),
            timestamp: Timestamp::EPOCH,
            key: Bytes::new(),
            value: None,
            headers: vec![],
        };
        let letter =
            QuarantineLetter { row_letters: Some(rows.to_owned()), ..poison(&record, StageName::Transform, "d", Timestamp::EPOCH) };
        self.outlet.record(Topic::Quarantine, "k", Placed::On(P), &letter, vec![]).unwrap()
    }

    /// The stage has passed everything in its input.
    async fn passed(&self, stage: StageName) {
        let at = self.outlet.topics.at(Topics::input(stage), P);
        let end = self.desk.query.reader.bounds(&at).await.unwrap().end;
        let mut log = self.broker.worker(stage.as_str(), &at.topic, "w").await.unwrap();
        log.poll(PollLimit { records: 1, bytes: 1 }, Timestamp::EPOCH).await.unwrap();
        let mut transaction = Transaction::default();
        transaction.positions.advance(&at, end);
        log.commit(transaction).await.unwrap();
    }

    async fn gc(&self, older_than: Span, dry_run: bool) -> (Swept, Vec<String>) {
        let order = SweepOrder { dry_run, older_than_ms: older_than.millis() };
        let answer = self.desk.answer(Request::Gc { order }).await.unwrap();
        let keys = answer.items.iter().map(|i| i["key"].as_str().unwrap().to_owned()).collect();
        (serde_json::from_value(answer.about).unwrap(), keys)
    }
}

fn folder(seq: u64) -> String {
    format!("_staging/orders/orders-0-{seq:012}/left.parquet")
}

#[tokio::test]
async fn leftovers_of_what_ended_go_and_those_of_open_plans_stay() {
    let house = House::new().await;
    // 1 was transformed, checked and published; 2 waits for publish, 3 for check, 4 for transform.
    house.broker.append(vec![house.plan(1), house.plan(2), house.plan(3)]).await.unwrap();
    house.passed(StageName::Transform).await;
    house.broker.append(vec![house.plan(4), house.batch(Topic::Staged, 1), house.batch(Topic::Staged, 2)]).await.unwrap();
    house.passed(StageName::Check).await;
    house.broker.append(vec![house.batch(Topic::Staged, 3), house.batch(Topic::Checked, 1)]).await.unwrap();
    house.passed(StageName::Publish).await;
    house.broker.append(vec![house.batch(Topic::Checked, 2), house.letter("_staging/orders/rows/named.jsonl")]).await.unwrap();
    let claim = OutRecord { headers: vec![(CLAIM_HEADER.to_owned(), "_staging/claims/named".into())], ..house.plan(1) };
    house.broker.append(vec![OutRecord { to: house.outlet.topics.at(Topic::Lifecycle, P), ..claim }]).await.unwrap();
    let mut stay: Vec<String> = (2..=4).map(folder).collect();
    stay.extend(["_staging/orders/rows/named.jsonl", "_staging/claims/named", "curated/orders/x.parquet"].map(str::to_owned));
    let gone = [folder(1), "_staging/orders/rows/unnamed.jsonl".to_owned(), "_staging/claims/unnamed".to_owned()];
    for key in stay.iter().chain(&gone) {
        house.put(key).await;
    }
    let all = house.keys().await;

    let (young, _) = house.gc(Span::from_millis(9 * DAY.millis()), false).await;
    assert_eq!((young.listed, young.live, young.young, young.removed), (8, 5, 3, 0), "nothing is past the horizon");
    let (dry, named) = house.gc(Span::from_millis(7 * DAY.millis()), true).await;
    assert_eq!((dry.orphans, dry.orphan_bytes, dry.removed), (3, 3, 0));
    assert_eq!(house.keys().await, all, "a dry run removes nothing");
    let mut sorted = gone.to_vec();
    sorted.sort();
    assert_eq!(named, sorted);
    let (swept, named) = house.gc(Span::from_millis(7 * DAY.millis()), false).await;
    assert_eq!((swept.live, swept.orphans, swept.removed, swept.failed), (5, 3, 3, 0));
    assert_eq!(named, sorted);
    stay.sort();
    assert_eq!(house.keys().await, stay);
    let (again, _) = house.gc(Span::from_millis(7 * DAY.millis()), false).await;
    assert_eq!((again.listed, again.orphans), (5, 0));
}

#[tokio::test]
async fn a_record_nobody_can_read_stops_the_sweep() {
    let house = House::new().await;
    house.put("_staging/orders/rows/a.jsonl").await;
    let unreadable = OutRecord { value: Some(Bytes::from_static(b"junk")), ..house.letter("x") };
    house.broker.append(vec![unreadable]).await.unwrap();
    let order = SweepOrder { dry_run: false, older_than_ms: 0 };
    let refused = house.desk.answer(Request::Gc { order }).await.unwrap_err();
    assert!(refused.to_string().contains("1 records cannot be decoded"), "{refused}");
    assert_eq!(house.keys().await, ["_staging/orders/rows/a.jsonl"]);
}

#[tokio::test]
async fn an_orphan_that_is_written_again_meanwhile_stays() {
    let lake: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let at = Path::from("_staging/claims/1");
    lake.put(&at, "x".into()).await.unwrap();
    let seen = lake.head(&at).await.unwrap();
    lake.put(&at, "x".into()).await.unwrap();
    let mut swept = Swept::default();
    remove(&lake, vec![seen], &mut swept).await;
    assert_eq!((swept.removed, swept.revived), (0, 1));
    assert!(lake.head(&at).await.is_ok());
}

#[test]
fn a_look_is_compared_by_what_a_listing_can_tell() {
    let at = |millis: i64, e_tag: Option<&str>| ObjectMeta {
        location: Path::from("a"),
        last_modified: chrono::DateTime::from_timestamp_millis(millis).unwrap(),
        size: 1,
        e_tag: e_tag.map(str::to_owned),
        version: None,
    };
    assert!(is_same(&at(1_390, None), &at(1_000, Some("a"))), "s3s-fs lists milliseconds and no e-tags");
    assert!(is_same(&at(1_390, Some("a")), &at(1_000, Some("a"))));
    assert!(!is_same(&at(1_390, Some("a")), &at(1_390, Some("b"))));
    assert!(!is_same(&at(1_390, None), &at(2_000, Some("a"))));
}
