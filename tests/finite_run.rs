//! Runs that end by themselves: an open batch waits for nothing once nothing can come.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use lakegate::app::run::{Nobody, Running};
use lakegate::app::sources::{Hook, Landing, Source};
use lakegate::app::wiring::Options;
use lakegate::broker::PollLimit;
use lakegate::clock::SystemClock;
use lakegate::domain::position::{NextOffset, Partition};
use lakegate::domain::time::Span;
use lakegate::pipeline::topics::Topic;
use lakegate::wire::records::BatchPlan;

/// By its own limits a batch of this contract stays open for `linger`.
fn contract(linger: &str) -> String {
    format!(
        r#"
dataset: t
route: {{ object: {{ key: [ {{ prefix: in/ }} ] }} }}
source: {{ formats: [csv], suffixes: [.csv], csv: {{ delimiter: ",", quote: '"', header: true, encoding: utf-8, null_tokens: [""] }} }}
schema:
  subject: t-value
  avro: {{ type: record, name: T, fields: [ {{ name: id, type: long }} ] }}
transform: {{ batch: {{ linger: {linger}, quiet: 1h, shards: 2 }} }}
"#
    )
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Two buckets of three files each; answers why each batch was sealed.
async fn triggers(linger: &str, change: impl FnOnce(&mut Options)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("contracts/t.yaml"), &contract(linger));
    for (bucket, n) in [("a", 0), ("a", 1), ("a", 2), ("b", 3), ("b", 4), ("b", 5)] {
        write(&at(&format!("{bucket}/in/{n}.csv")), &format!("id\n{n}\n"));
    }
    let text = |name: &str| at(name).display().to_string();
    let landing = ["a", "b"].map(|b| Source::Landing(Landing::new(b.parse().unwrap(), text(b)))).to_vec();
    let mut options = Options::new(landing, text("lake"), text("contracts"), None);
    change(&mut options);
    let mut running = Running::start(&options, Arc::new(SystemClock)).await.unwrap();
    let totals = running.until_idle(Some(Span::from_secs(120)), &mut Nobody).await.unwrap();
    assert_eq!((totals.objects.published, totals.rows.published), (6, 6));
    let (reader, outlet) = (Arc::clone(&running.engine.reader), running.engine.outlet.clone());
    let mut found = Vec::new();
    for p in 0..outlet.topics.partitions() {
        let plans = outlet.topics.at(Topic::Plans, Partition(p));
        let chunk = reader.read(&plans, NextOffset(0), PollLimit { records: 100, bytes: 1 << 20 }).await.unwrap();
        found.extend(chunk.records.iter().map(|r| outlet.codec.decode::<BatchPlan>(r.value.as_deref().unwrap()).unwrap().trigger));
    }
    running.stop().await.unwrap();
    found
}

#[tokio::test]
async fn what_is_open_is_sealed_once_every_source_is_read_and_every_object_has_joined() {
    let found = triggers("1h", |_| {}).await;
    assert!(!found.is_empty() && found.iter().all(|t| t == "drain"), "{found:?}");
}

#[tokio::test]
async fn a_process_that_is_pushed_to_waits_for_its_batches_own_limits() {
    let found = triggers("200ms", |options| {
        options.sources.push(Source::Webhook(Hook { name: "hook".to_owned(), address: "127.0.0.1:0".to_owned(), family: None }));
    })
    .await;
    assert!(!found.is_empty() && found.iter().all(|t| t == "age"), "{found:?}");
}

/// Traces of a topic's records, and how many records have none.
async fn traces(running: &Running, topic: Topic) -> (BTreeSet<String>, usize) {
    let (mut found, mut without) = (BTreeSet::new(), 0);
    for p in 0..running.engine.outlet.topics.partitions() {
        let at = running.engine.outlet.topics.at(topic, Partition(p));
        let chunk = running.engine.reader.read(&at, NextOffset(0), PollLimit { records: 100, bytes: 1 << 20 }).await.unwrap();
        for record in &chunk.records {
            match record.header("traceparent") {
                Some(trace) => drop(found.insert(trace.to_owned())),
                None => without += 1,
            }
        }
    }
    (found, without)
}

#[tokio::test]
async fn an_object_has_one_trace_until_it_joins_a_batch_and_a_batch_one_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("contracts/t.yaml"), &contract("1h"));
    for n in 0..3 {
        write(&at(&format!("raw/in/{n}.csv")), &format!("id\n{n}\n"));
    }
    let text = |name: &str| at(name).display().to_string();
    let landing = vec![Source::Landing(Landing::new("raw".parse().unwrap(), text("raw")))];
    let options = Options::new(landing, text("lake"), text("contracts"), None);
    let mut running = Running::start(&options, Arc::new(SystemClock)).await.unwrap();
    running.until_idle(Some(Span::from_secs(120)), &mut Nobody).await.unwrap();
    let landed = traces(&running, Topic::Landing).await;
    assert_eq!((landed.0.len(), landed.1), (3, 0));
    for topic in [Topic::Validated, Topic::Classified] {
        assert_eq!(traces(&running, topic).await, landed, "{topic:?}");
    }
    let planned = traces(&running, Topic::Plans).await;
    assert_eq!(planned.1, 0);
    assert!(planned.0.is_disjoint(&landed.0));
    for topic in [Topic::Staged, Topic::Checked, Topic::Published] {
        assert_eq!(traces(&running, topic).await, planned, "{topic:?}");
    }
    let status = traces(&running, Topic::Status).await;
    assert_eq!(status, (&landed.0 | &planned.0, 0), "admitted under the object's trace, published under the batch's");
    running.stop().await.unwrap();
}
