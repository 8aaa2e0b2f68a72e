//! Whole processes in memory: a manual clock that ticks, a folder for files and contracts, no state.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::board::Totals;
use crate::app::desk::{Answer, Desk, Request};
use crate::app::query::{LetterFilter, StatusFilter};
use crate::app::replay_order::{ReplayOrder, Selection};
use crate::app::run::{Nobody, Running};
use crate::app::sources::{Landing, Source};
use crate::app::view::LetterView;
use crate::app::wiring::Options;
use crate::broker::embedded::Durability;
use crate::broker::{OutRecord, PollLimit};
use crate::clock::{ManualClock, sleep};
use crate::domain::position::{NextOffset, Partition};
use crate::domain::time::{Span, Timestamp};
use crate::pipeline::topics::Topic;
use crate::wire::frame;
use crate::wire::records::{ALL, LandedObject, LifecycleEvent, Record};

/// Lets a manual clock run while the file system works.
struct Ticking(tokio::task::JoinHandle<()>);

impl Ticking {
    fn start(clock: &ManualClock) -> Self {
        let clock = clock.clone();
        Self(tokio::spawn(async move {
            loop {
                tokio::task::spawn_blocking(|| ()).await.unwrap();
                clock.advance(Span::from_millis(5));
            }
        }))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One process that runs, and its folder.
struct Plant {
    folder: tempfile::TempDir,
    running: Running,
    desk: Desk,
    _ticking: Ticking,
}

const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_000);

impl Plant {
    /// Starts with these contracts and files.
    async fn start(contracts: &[(&str, &str)], files: &[(&str, &[u8])]) -> Self {
        Self::start_with(contracts, files, |_| ()).await
    }

    async fn start_with(contracts: &[(&str, &str)], files: &[(&str, &[u8])], change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for name in ["raw", "lake"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for (name, text) in contracts {
            put(folder.path().join("contracts").join(name), text.as_bytes());
        }
        for (key, bytes) in files {
            put(folder.path().join("raw").join(key), bytes);
        }
        let clock = ManualClock::new(NOW);
        let raw = Source::Landing(Landing::new("raw".parse().unwrap(), at("raw")));
        let mut options = Options::new(vec![raw], at("lake"), at("contracts"), None);
        options.quiet = Some(Span::from_millis(10));
        options.durability = Durability::Buffer;
        change(&mut options);
        let ticking = Ticking::start(&clock);
        let running = Running::start(&options, Arc::new(clock)).await.unwrap();
        let desk = Desk::of(&running.engine);
        Self { folder, running, desk, _ticking: ticking }
    }

    fn contract(&self, name: &str, text: &str) {
        put(self.folder.path().join("contracts").join(name), text.as_bytes());
    }

    fn land(&self, key: &str, bytes: &[u8]) {
        put(self.folder.path().join("raw").join(key), bytes);
    }

    fn drop_manifest(&self, name: &str, text: &str) {
        put(self.folder.path().join("lake/replay").join(name), text.as_bytes());
    }

    async fn idle(&mut self) -> Totals {
        self.running.until_idle(Some(Span::from_secs(86_400)), &mut Nobody).await.unwrap()
    }

    /// Object and status of every version and generation, sorted.
    async fn statuses(&self) -> Vec<(String, String)> {
        let filter = StatusFilter { limit: 100, ..StatusFilter::default() };
        let Answer { items, .. } = self.desk.answer(Request::RunsList { filter }).await.unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let mut told: Vec<_> = items.iter().map(|i| (text(&i["uri"]), text(&i["status"]))).collect();
        told.sort();
        told
    }

    async fn n_published(&self) -> usize {
        self.statuses().await.iter().filter(|(_, status)| status == "PUBLISHED").count()
    }

    async fn letters(&self) -> Vec<LetterView> {
        let filter = LetterFilter { limit: 100, ..LetterFilter::default() };
        let Answer { items, .. } = self.desk.answer(Request::QuarantineList { filter }).await.unwrap();
        items.into_iter().map(|i| serde_json::from_value(i).unwrap()).collect()
    }

    async fn contracts(&self) -> Value {
        self.desk.answer(Request::Status).await.unwrap().about["contracts"].clone()
    }

    /// Audit lines of a kind.
    async fn events(&self, kind: &str) -> Vec<LifecycleEvent> {
        let outlet = &self.running.engine.outlet;
        let mut found = Vec::new();
        for p in 0..outlet.topics.partitions() {
            let at = outlet.topics.at(Topic::Lifecycle, Partition(p));
            let chunk = self.running.engine.reader.read(&at, NextOffset(0), PollLimit { records: 10_000, bytes: 64 << 20 }).await.unwrap();
            found.extend(chunk.records.iter().map(|r| outlet.codec.decode::<LifecycleEvent>(r.value.as_deref().unwrap()).unwrap()));
        }
        found.retain(|e| e.kind == kind);
        found
    }
}

fn put(path: PathBuf, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Beside, then renamed: nobody meets half a file.
    let beside = path.with_extension("part#1");
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// Waits until something is so; what never comes true ends with the test's own patience.
macro_rules! until {
    ($plant:expr, $condition:expr) => {
        while !$condition {
            sleep($plant.desk.clock.as_ref(), Span::from_millis(100)).await;
        }
    };
}

const ORDERS: &str = r#"
dataset: orders
route: { object: { key: [ { prefix: orders/ } ] } }
source: { formats: [csv], csv: { delimiter: ",", header: true } }
schema:
  avro: { type: record, name: O, fields: [ { name: id, type: long }, { name: note, type: [ "null", string ], default: null } ] }
  identity: [id]
"#;

fn strict() -> String {
    ORDERS.replace("[id]", "[id, note]")
}

fn order(selection: Selection) -> Request {
    let order = ReplayOrder {
        selection,
        replay_id: None,
        force: false,
        dry_run: false,
        reason: None,
        requested_by: "t".to_owned(),
        objects_per_second: None,
    };
    Request::Replay { order }
}

#[tokio::test]
async fn a_contract_repaired_while_the_pipeline_runs_publishes_what_it_held_back() {
    let mut plant = Plant::start(&[("orders.yaml", &strict())], &[("orders/a.csv", b"id\n1\n2\n")]).await;
    plant.idle().await;
    assert_eq!(plant.statuses().await, [("raw/orders/a.csv".to_owned(), "QUARANTINED".to_owned())]);

    plant.contract("orders.yaml", "dataset: orders\nnonsense: 1\n");
    until!(plant, plant.contracts().await["last_reload_successful"] == false);
    assert!(plant.contracts().await["faults"][0].as_str().unwrap().contains("orders.yaml:2:1: nonsense"));
    plant.land("orders/b.csv", b"id,note\n3,x\n");
    until!(plant, plant.n_published().await == 1);

    let in_force = plant.running.engine.catalog.current("orders").unwrap().hash.clone();
    plant.contract("orders.yaml", ORDERS);
    until!(plant, plant.running.engine.catalog.current("orders").unwrap().hash != in_force);
    until!(plant, plant.contracts().await["last_reload_successful"] == true);
    let selection = Selection::Quarantine { dataset: "orders".to_owned(), reason: None };
    assert_eq!(plant.desk.answer(order(selection)).await.unwrap().about["replay"], 1);
    until!(plant, plant.n_published().await == 2);
    let totals = plant.idle().await;
    assert_eq!((totals.objects.landed, totals.objects.published, totals.rows.published), (3, 2, 3));
    plant.running.stop().await.unwrap();
}

fn manifest(id: &str, options: &str) -> String {
    format!(
        r#"{{"replayId":"{id}","reason":"mended","dataset":"orders","files":[{{"bucket":"raw","key":"orders/a.csv"}}],"options":{{{options}}}}}"#
    )
}

#[tokio::test]
async fn a_dropped_manifest_does_what_the_command_does_and_once() {
    let mut plant = Plant::start(&[("orders.yaml", ORDERS)], &[("orders/a.csv", b"id\n1\n2\n")]).await;
    plant.idle().await;
    plant.drop_manifest("plain.json", &manifest("plain", ""));
    plant.drop_manifest("dry.json", &manifest("dry", r#""force":true,"dryRun":true"#));
    until!(plant, plant.events("ReplayPlanned").await.len() == 2);
    let totals = plant.idle().await;
    assert_eq!(totals.objects.landed, 1, "one is published already, the other only tells");
    let mut planned = plant.events("ReplayPlanned").await;
    planned.sort_by(|a, b| a.replay_id.cmp(&b.replay_id));
    let detail: Value = serde_json::from_str(&planned[0].detail).unwrap();
    assert_eq!((detail["plan"]["replay"].as_u64(), detail["plan"]["dry_run"].as_bool()), (Some(1), Some(true)));
    assert_eq!((&detail["requested_by"], &detail["files"][0]["file"]), (&"replay/dry.json".into(), &"raw/orders/a.csv".into()));
    let detail: Value = serde_json::from_str(&planned[1].detail).unwrap();
    assert_eq!((detail["plan"]["replay"].as_u64(), detail["plan"]["skip_published"].as_u64()), (Some(0), Some(1)));

    plant.drop_manifest("forced.json", &manifest("forced", r#""force":true"#));
    until!(plant, plant.events("ReplayStarted").await.len() == 1);
    assert_eq!(plant.idle().await.objects.landed, 2, "idle waits for what a manifest started");
    assert_eq!(plant.n_published().await, 2);
    // The same replay again, under another name and as a command: nothing more.
    plant.drop_manifest("again.json", &manifest("forced", r#""force":true"#));
    let command = Selection::Manifest { manifest: serde_json::from_str(&manifest("forced", r#""force":true"#)).unwrap() };
    plant.desk.answer(order(command)).await.unwrap();
    plant.land("orders/z.csv", b"id\n9\n");
    until!(plant, plant.n_published().await == 3);
    assert_eq!(plant.idle().await.objects.landed, 3);
    assert_eq!(plant.events("ReplayStarted").await.len(), 1);
    plant.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_manifest_that_cannot_be_carried_out_becomes_one_letter_for_each_version() {
    let mut plant = Plant::start(&[("orders.yaml", ORDERS)], &[]).await;
    plant.drop_manifest("bad.json", "{\"replayId\": 7}");
    plant.drop_manifest("notes.txt", "not a manifest");
    plant.drop_manifest("_SUCCESS", "");
    plant.idle().await;
    let told = |letters: Vec<LetterView>| {
        let mut told: Vec<_> = letters.into_iter().map(|l| (l.uri, l.reason)).collect();
        told.sort();
        told
    };
    let refused = |name: &str| (format!("lake/replay/{name}"), "manifest_refused".to_owned());
    assert_eq!(told(plant.letters().await), [refused("bad.json"), refused("notes.txt")]);
    let letter = plant.letters().await.into_iter().find(|l| l.uri.ends_with("bad.json")).unwrap();
    assert!(letter.detail.contains("replayId: must be text, found a number; ") && letter.detail.contains("files: is missing"));
    assert!(letter.remedy.contains("drop the manifest again"));
    plant.drop_manifest("bad.json", "{\"replayId\": 78}");
    until!(plant, plant.letters().await.len() == 3);
    assert_eq!(told(plant.letters().await), [refused("bad.json"), refused("bad.json"), refused("notes.txt")]);
    assert_eq!(plant.idle().await.objects.landed, 0);
    plant.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_becomes_of_empty_files_is_the_contracts_to_say() {
    let contract = |dataset: &str, word: &str| ORDERS.replace("orders", dataset) + word;
    let (plain, accept, quarantine) =
        (contract("plain", ""), contract("accept", "on_empty: accept\n"), contract("hold", "on_empty: quarantine\n"));
    let gzip: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut files: Vec<(String, &[u8])> = Vec::new();
    for dataset in ["plain", "accept", "hold"] {
        files.push((format!("{dataset}/bytes.csv"), b""));
        files.push((format!("{dataset}/gzip.csv.gz"), gzip));
        files.push((format!("{dataset}/header.csv"), b"id,note\n"));
        files.push((format!("{dataset}/rows.csv"), b"id,note\n1,x\n"));
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(key, bytes)| (key.as_str(), *bytes)).collect();
    let contracts = [("a.yaml", plain.as_str()), ("b.yaml", &accept), ("c.yaml", &quarantine)];
    let mut plant = Plant::start(&contracts, &files).await;
    let totals = plant.idle().await;
    let published: Vec<String> =
        plant.statuses().await.into_iter().filter(|(_, status)| status == "PUBLISHED").map(|(uri, _)| uri).collect();
    assert_eq!(
        published,
        [
            "raw/accept/bytes.csv",
            "raw/accept/gzip.csv.gz",
            "raw/accept/header.csv",
            "raw/accept/rows.csv",
            "raw/hold/rows.csv",
            "raw/plain/header.csv",
            "raw/plain/rows.csv",
        ]
    );
    assert_eq!((totals.objects.quarantined, totals.reasons.get("empty_file"), totals.rows.published), (5, Some(&5), 3));
    plant.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_day_brings_no_more_schema_versions_than_the_contract_allows() {
    let contract = ORDERS.to_owned() + "  max_versions_per_day: 2\n";
    let mut plant = Plant::start(&[("orders.yaml", &contract)], &[]).await;
    for (name, header) in [("1", "id,a"), ("2", "id,a"), ("3", "id,b"), ("4", "id,b,a"), ("5", "id,c"), ("6", "id,d")] {
        plant.land(&format!("orders/{name}.csv"), format!("{header}\n1{}\n", ",x".repeat(header.matches(',').count())).as_bytes());
        until!(plant, plant.statuses().await.iter().any(|(uri, status)| *uri == format!("raw/orders/{name}.csv") && status != "ADMITTED"));
    }
    let totals = plant.idle().await;
    assert_eq!((totals.objects.published, totals.reasons.get("schema_budget")), (4, Some(&2)));
    let letter = plant.letters().await.into_iter().find(|l| l.uri == "raw/orders/5.csv").unwrap();
    assert!(letter.detail.contains("orders-value, which had 2 new ones on 2026-01-02; at most 2"), "{}", letter.detail);
    plant.running.stop().await.unwrap();
}

/// Anybody who may write to the topic may write anything there.
#[tokio::test]
async fn a_landing_record_that_is_none_is_held_back_and_keeps_no_run_from_ending() {
    let mut plant = Plant::start(&[("orders.yaml", ORDERS)], &[("orders/a.csv", b"id\n1\n")]).await;
    let to = plant.desk.query.outlet.topics.at(Topic::Landing, Partition(0));
    let junk =
        |value: Option<&'static [u8]>| OutRecord { to: to.clone(), key: "k".into(), value: value.map(Into::into), headers: Vec::new() };
    plant.desk.broker.append(vec![junk(Some(b"junk")), junk(None), junk(Some(b"\0\0\0\xff\xffx"))]).await.unwrap();
    let totals = plant.idle().await;
    assert_eq!((totals.objects.landed, totals.objects.published, totals.objects.quarantined), (4, 1, 3));
    assert_eq!(totals.reasons.get("poison_record"), Some(&3));
    assert_eq!(plant.letters().await.iter().filter(|l| l.reason == "poison_record").count(), 3);
    plant.running.stop().await.unwrap();
}

/// Processes are replaced one after another: the old ones read what the new ones write.
#[tokio::test]
async fn a_record_of_a_later_build_is_read_by_the_schema_it_registered_meanwhile() {
    let mut plant = Plant::start(&[("orders.yaml", ORDERS)], &[("orders/a.csv", b"id\n1\n")]).await;
    plant.idle().await;
    let (name, own) = ALL.iter().find(|(name, _)| *name == LandedObject::NAME).unwrap();
    let mut schema: Value = serde_json::from_str(own).unwrap();
    schema["fields"].as_array_mut().unwrap().push(json!({ "name": "hint", "type": ["null", "string"], "default": null }));
    let registry = Arc::clone(&plant.running.engine.registry);
    let later = registry.register(&format!("lakegate.{name}").parse().unwrap(), &schema.to_string()).await.unwrap();

    let query = &plant.desk.query;
    let limit = PollLimit { records: 10, bytes: 1 << 20 };
    let mut landed = Vec::new();
    for p in 0..query.outlet.topics.partitions() {
        let at = query.outlet.topics.at(Topic::Landing, Partition(p));
        landed.extend(query.reader.read(&at, NextOffset(0), limit).await.unwrap().records);
    }
    let [record] = &landed[..] else { panic!("{landed:?}") };
    // The same notification again, from a build whose records have one more field.
    let (_, datum) = frame::split(record.value.as_deref().unwrap()).unwrap();
    let value = [&frame::header(later.id), datum, &[0]].concat();
    let again = OutRecord { to: record.at.clone(), key: record.key.clone(), value: Some(value.into()), headers: record.headers.clone() };
    plant.desk.broker.append(vec![again]).await.unwrap();

    let totals = plant.idle().await;
    assert_eq!((totals.objects.landed, totals.objects.duplicate), (2, 1), "{:?}", plant.letters().await);
    plant.running.stop().await.unwrap();
}

/// Onboarding: the first accepted file registers version 1.
#[cfg(feature = "confluent")]
const INFERRED: &str = "dataset: orders\nroute: { object: { key: [ { prefix: orders/ } ] } }\nsource: { formats: [csv], csv: { delimiter: \",\", header: true } }\n";

#[cfg(feature = "confluent")]
#[tokio::test]
async fn a_registry_that_is_down_is_waited_for_and_nothing_is_quarantined() {
    use crate::registry::confluent::testing::{Next, Server};
    use crate::registry::embedded::EmbeddedRegistry;

    let down = |times: usize| {
        let silent = Next::Say(503, "down".to_owned());
        let wrong = Next::Say(200, "<html>maintenance</html>".to_owned());
        (0..times).map(|n| if n > 8 && n % 3 == 0 { wrong.clone() } else { silent.clone() }).chain([Next::Serve]).collect::<Vec<_>>()
    };
    let behind = || EmbeddedRegistry::new(Arc::new(object_store::memory::InMemory::new()));
    let server = Server::start(behind(), down(5)).await;
    let address = server.address();
    let mut plant =
        Plant::start_with(&[("orders.yaml", INFERRED)], &[("orders/a.csv", b"id\n1\n2\n")], |o| o.registry = Some(address)).await;
    assert_eq!(server.left(), 1, "the start waited until it answered");
    plant.idle().await;

    // Down while a file waits that fits, and one that needs a new version.
    server.then(down(40));
    plant.land("orders/b.csv", b"id\n3\n");
    plant.land("orders/c.csv", b"id,note\n4,x\n");
    until!(plant, plant.n_published().await == 3);
    let totals = plant.idle().await;
    assert_eq!((totals.objects.published, totals.objects.quarantined, totals.rows.published), (3, 0, 4));
    assert_eq!(server.left(), 1, "every failure was met");
    let versions = plant.running.engine.registry.versions(&"orders-value".parse().unwrap()).await.unwrap();
    assert_eq!(versions.len(), 2);
    assert!(plant.letters().await.is_empty());
    plant.running.stop().await.unwrap();
}

#[cfg(feature = "confluent")]
#[tokio::test]
async fn what_the_registry_refuses_alone_is_quarantined_once() {
    use crate::registry::confluent::testing::{Next, Server};
    use crate::registry::embedded::EmbeddedRegistry;

    let server = Server::start(EmbeddedRegistry::new(Arc::new(object_store::memory::InMemory::new())), Vec::new()).await;
    let address = server.address();
    let mut plant = Plant::start_with(&[("orders.yaml", INFERRED)], &[("orders/a.csv", b"id\n1\n")], |o| o.registry = Some(address)).await;
    plant.idle().await;
    // From now on it refuses every schema it is sent, and says so only then.
    server.refuse_posts(Next::Say(422, r#"{"error_code":42201,"message":"not by our rules"}"#.to_owned()));
    plant.land("orders/b.csv", b"id,note\n2,x\n");
    until!(plant, !plant.letters().await.is_empty());
    let totals = plant.idle().await;
    assert_eq!((totals.objects.published, totals.objects.quarantined), (1, 1));
    assert_eq!(plant.letters().await[0].reason, "registry_refused");
    plant.running.stop().await.unwrap();
}
