//! A real Prometheus scrapes a running lakegate and fires: for a stage that is stuck, for a flood of objects held back,
//! and for freshness.
//!
//! `tests/env/prometheus start` fetches one and prints LAKEGATE_TEST_PROMETHEUS. Without that variable nothing here runs,
//! unless LAKEGATE_TEST_REQUIRE names `prometheus`: then it fails. The rules are the shipped ones, with every window cut
//! to seconds.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]
#![allow(clippy::disallowed_methods, reason = "the environment names the server")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use lakegate::app::exposition::{HUNG_AFTER, Listen};
use lakegate::app::run::Running;
use lakegate::app::sources::{Landing, Source};
use lakegate::app::wiring::Options;
use lakegate::clock::{Clock, SystemClock, sleep};
use lakegate::domain::time::{Span, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const RULES: &str = include_str!("../deploy/prometheus/lakegate.rules.yml");

/// Something that does not happen for so long does not happen.
const PATIENCE: Span = Span::from_secs(60);

/// The binary, if one is named.
fn prometheus() -> Option<PathBuf> {
    match std::env::var("LAKEGATE_TEST_PROMETHEUS") {
        Ok(path) => Some(path.into()),
        Err(_) => {
            let required = std::env::var("LAKEGATE_TEST_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|r| r == "prometheus"),
                "LAKEGATE_TEST_PROMETHEUS names no binary; tests/env/prometheus start fetches one"
            );
            eprintln!("not run: LAKEGATE_TEST_PROMETHEUS names no binary; tests/env/prometheus start fetches one");
            None
        }
    }
}

/// The machine's clock, which can be put forward.
#[derive(Clone, Default)]
struct Ahead {
    millis: Arc<AtomicI64>,
}

impl Ahead {
    fn put_forward(&self, span: Span) {
        self.millis.fetch_add(span.millis(), Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(Span::from_millis(self.millis.load(Ordering::Relaxed)))
    }

    async fn sleep_until(&self, at: Timestamp) {
        while self.now() < at {
            sleep(&SystemClock, at.since(self.now()).min(Span::from_millis(50))).await;
        }
    }
}

fn contract(dataset: &str, batch: &str) -> String {
    format!(
        r#"
dataset: {dataset}
route: {{ object: {{ key: [ {{ prefix: {dataset}/ }} ] }} }}
source: {{ formats: [csv], suffixes: [.csv], csv: {{ delimiter: ",", quote: '"', header: true, encoding: utf-8, null_tokens: [""] }} }}
schema:
  subject: {dataset}-value
  avro: {{ type: record, name: T, fields: [ {{ name: id, type: long }} ] }}
transform: {{ batch: {{ {batch} }} }}
"#
    )
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The rules with windows of 15 seconds, evaluated every second, firing at once; no progress for 5 seconds is a stall.
fn hasty(rules: &str) -> String {
    let stall = "lakegate_consumer_last_progress_timestamp_seconds) > 600)";
    assert!(rules.contains(stall), "the rule on stalled stages reads otherwise");
    let rules = rules.replace(stall, &stall.replace("600", "5"));
    let mut text = String::new();
    for line in rules.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("for: ") {
            continue;
        }
        let mut line = if trimmed.starts_with("interval: ") { line.replace("30s", "1s") } else { line.to_owned() };
        for window in ["5m", "10m", "15m", "30m", "1h", "2h", "6h", "1d"] {
            line = line.replace(&format!("[{window}]"), "[15s]");
        }
        text.push_str(&line);
        text.push('\n');
    }
    assert!(!text.contains("m]") && !text.contains("h]") && !text.contains("d]"), "a window was not cut");
    text
}

async fn get(at: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

/// Ended with the test.
struct Prometheus {
    process: Child,
    at: SocketAddr,
    log: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Prometheus {
    async fn start(binary: &Path, folder: &Path, target: SocketAddr) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = free.local_addr().unwrap();
        drop(free);
        write(&folder.join("lakegate.rules.yml"), &hasty(RULES));
        write(
            &folder.join("prometheus.yml"),
            &format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [lakegate.rules.yml]\n\
                 scrape_configs: [{{job_name: lakegate, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
            ),
        );
        let log = folder.join("log");
        let process = Command::new(binary)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={at}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, at, log }
    }

    /// Whether the query finds anything.
    async fn finds(&self, query: &str) -> bool {
        let path = format!("/api/v1/query?query={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
        let Ok((200, body)) = get(self.at, &path).await else { return false };
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer.pointer("/data/result").and_then(Value::as_array).is_some_and(|found| !found.is_empty())
    }

    async fn wait_for(&mut self, query: &str, shown: SocketAddr) {
        let until = SystemClock.now().plus(PATIENCE);
        while !self.finds(query).await {
            let ended = self.process.try_wait().unwrap();
            let is_late = SystemClock.now() > until;
            if ended.is_some() || is_late {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let metrics = get(shown, "/metrics").await.map(|(_, body)| body).unwrap_or_default();
                panic!("never found: {query}\n{ended:?}\n{log}\n{metrics}");
            }
            sleep(&SystemClock, Span::from_millis(200)).await;
        }
    }

    /// Fired at any time: an alert over short windows is over soon.
    async fn wait_for_alert(&mut self, alert: &str, label: &str, shown: SocketAddr) {
        let query = format!(r#"count_over_time(ALERTS{{alertname="{alert}",alertstate="firing",{label}}}[10m])"#);
        self.wait_for(&query, shown).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_stage_a_flood_into_quarantine_and_objects_that_come_late_fire_their_alerts_and_nothing_else_does() {
    let Some(binary) = prometheus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let waits = "linger: 1h, quiet: 1h";
    for (dataset, batch) in [("flood", waits), ("slow", waits), ("stuck", "max_files: 1")] {
        write(&at(&format!("contracts/{dataset}.yaml")), &contract(dataset, batch));
    }
    std::fs::create_dir_all(at("landing")).unwrap();
    let text = |name: &str| at(name).display().to_string();
    let landing = Source::Landing(Landing::new("raw".parse().unwrap(), text("landing")));
    let mut options = Options::new(vec![landing], text("lake"), text("contracts"), None);
    options.metrics = Some(Listen { address: "127.0.0.1:0".to_owned(), hung_after: HUNG_AFTER });
    let clock = Ahead::default();
    let running = Running::start(&options, Arc::new(clock.clone())).await.unwrap();
    let shown = running.engine.exposition.as_ref().unwrap().at;

    let mut prometheus = Prometheus::start(&binary, &at("prometheus"), shown).await;
    let born = |dataset: &str| format!(r#"count_over_time(lakegate_objects_total{{dataset="{dataset}",outcome="quarantined"}}[1m]) >= 3"#);
    prometheus.wait_for(&born("flood"), shown).await;
    prometheus.wait_for(&born("slow"), shown).await;
    for probe in ["/livez", "/startupz", "/readyz"] {
        assert_eq!(get(shown, probe).await.unwrap(), (200, "ok\n".to_owned()), "{probe}");
    }
    assert!(!prometheus.finds("ALERTS").await, "an idle process is no alert");

    // What stands in the way of its table is no fault of the object: publish waits until somebody clears it away.
    let obstacle = at("lake/curated/stuck");
    write(&obstacle, "not a folder");
    write(&at("landing/stuck/a.csv"), "id\n1\n");
    prometheus.wait_for_alert("LakegateStageStalled", r#"stage="publish""#, shown).await;
    std::fs::remove_file(obstacle).unwrap();
    prometheus.wait_for(r#"lakegate_objects_total{dataset="stuck",outcome="curated"} == 1"#, shown).await;

    for n in 0..40 {
        write(&at(&format!("landing/flood/{n}.txt")), "id\n1\n");
    }
    write(&at("landing/slow/a.csv"), "id\n1\n");
    prometheus.wait_for_alert("LakegateQuarantineRateHigh", r#"dataset="flood""#, shown).await;
    prometheus.wait_for(r#"lakegate_quarantine_objects_total{dataset="flood",reason="suffix_refused"} == 40"#, shown).await;
    prometheus.wait_for(r#"lakegate_quarantine_unresolved_objects{dataset="flood"} == 40"#, shown).await;
    prometheus.wait_for(r#"lakegate_input_bytes_total{dataset="slow"} > 0"#, shown).await;

    // Its batch waits for company; an hour later it is sealed, and its object becomes visible long after it landed.
    clock.put_forward(Span::from_secs(2 * 3600));
    prometheus.wait_for_alert("LakegateFreshnessBudgetBurnFast", r#"dataset="slow""#, shown).await;
    prometheus.wait_for(r#"lakegate_objects_total{dataset="slow",outcome="curated"} == 1"#, shown).await;
    // LakegateAbsent fires before the first scrape, as it waits for nothing here.
    let expected = "Lakegate(Absent|StageStalled|QuarantineRateHigh|FreshnessBudgetBurn(Fast|Slow))";
    let others = format!(r#"ALERTS{{alertstate="firing",alertname!~"{expected}"}}"#);
    assert!(!prometheus.finds(&format!("count_over_time({others}[10m])")).await, "{:?}", get(prometheus.at, "/api/v1/alerts").await);
    drop(prometheus);
    running.stop().await.unwrap();
}
