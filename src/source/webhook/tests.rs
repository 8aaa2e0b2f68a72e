use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::broker::PollLimit;
use crate::broker::embedded::EmbeddedBroker;
use crate::clock::ManualClock;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::time::Timestamp;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::topics::{Topic, Topics};
use crate::source::routing::{Claim, Router, Routes};
use crate::telemetry::metrics::Metrics;
use crate::wire::codec::Codec;
use crate::wire::records::{LandedObject, QuarantineLetter, Record};

const CREATED: &str = r#"{"eventVersion":"2.1","eventSource":"aws:s3","eventTime":"2026-01-02T03:04:05Z","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"raw"},"object":{"key":"landing/orders/a+b%2Bc.csv","size":9,"eTag":"e1","sequencer":"0064"}}}"#;
const TAGGED: &str =
    r#"{"eventSource":"aws:s3","eventName":"ObjectTagging:Put","s3":{"bucket":{"name":"raw"},"object":{"key":"landing/orders/a"}}}"#;
const REMOVED: &str =
    r#"{"eventSource":"aws:s3","eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"raw"},"object":{"key":"elsewhere/a"}}}"#;

struct World {
    broker: EmbeddedBroker,
    outlet: Outlet,
    webhook: Arc<Webhook>,
}

async fn world() -> World {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    let broker = EmbeddedBroker::in_memory(Arc::clone(&clock));
    let outlet = Outlet { codec: Arc::new(Codec::numbered()), topics: Arc::new(Topics::new("", 2, Span::from_secs(3600))) };
    broker.ensure(&outlet.topics.specs()).await.unwrap();
    let orders = Claim { dataset: "orders".parse().unwrap(), route: None, priority: 0, layout: None };
    let intake = Intake { outlet: outlet.clone(), router: Arc::new(Router::fixed(Routes::of(&[orders]))) };
    let webhook = Arc::new(Webhook::new(Arc::new(broker.clone()), intake, clock, "hook", None));
    World { broker, outlet, webhook }
}

impl World {
    async fn all<R: Record>(&self, topic: Topic) -> Vec<R> {
        let mut found = Vec::new();
        for partition in 0..2 {
            let at = self.outlet.topics.at(topic, Partition(partition));
            let limit = PollLimit { records: 10_000, bytes: 64 << 20 };
            let chunk = self.broker.reader().read(&at, NextOffset(0), limit).await.unwrap();
            found.extend(chunk.records.iter().map(|r| self.outlet.codec.decode(r.value.as_deref().unwrap()).unwrap()));
        }
        found
    }

    async fn landings(&self) -> Vec<LandedObject> {
        self.all(Topic::Landing).await
    }

    async fn letters(&self) -> Vec<QuarantineLetter> {
        self.all(Topic::Quarantine).await
    }
}

fn records(records: &[&str]) -> String {
    format!(r#"{{"Records":[{}]}}"#, records.join(","))
}

#[tokio::test]
async fn what_each_notification_is_answered() {
    let validation = r#"[{"id":"1","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"c-7"}}]"#;
    let confirmation = r#"{"Type":"SubscriptionConfirmation","SubscribeURL":"https://example.com","Token":"t"}"#;
    // Body, status, accepted, ignored, rejected, letters.
    let cases = [
        (records(&[CREATED]), 200, 1, 0, 0, 0),
        (records(&[CREATED, REMOVED]), 200, 2, 0, 0, 0),
        (records(&[CREATED, TAGGED]), 200, 1, 1, 0, 0),
        (records(&[CREATED, "{}", CREATED]), 422, 2, 0, 1, 1),
        (records(&[]), 200, 0, 0, 0, 0),
        (r#"{"Event":"s3:TestEvent"}"#.to_owned(), 200, 0, 1, 0, 0),
        (confirmation.to_owned(), 200, 0, 1, 0, 0),
        (validation.to_owned(), 200, 0, 1, 0, 0),
        (String::new(), 422, 0, 0, 1, 1),
        ("not json".to_owned(), 422, 0, 0, 1, 1),
        (r#"{"hello":1}"#.to_owned(), 422, 0, 0, 1, 1),
    ];
    for (body, status, accepted, ignored, rejected, letters) in cases {
        let world = world().await;
        let answer = world.webhook.take(body.as_bytes(), None, None).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
        assert_eq!((&answer.body["accepted"], &answer.body["ignored"]), (&json!(accepted), &json!(ignored)), "{body}");
        assert_eq!(answer.body["rejected"].as_array().map(Vec::len), Some(rejected), "{body}");
        assert_eq!((world.landings().await.len(), world.letters().await.len()), (accepted, letters), "{body}");
    }
    let answer = world().await.webhook.take(validation.as_bytes(), None, None).await;
    assert_eq!(answer.body["validationResponse"], "c-7");
}

#[tokio::test]
async fn a_landing_says_what_the_event_said() {
    let world = world().await;
    world.webhook.take(records(&[CREATED, REMOVED]).as_bytes(), None, None).await;
    let mut landed = world.landings().await;
    landed.sort_by(|a, b| b.key.cmp(&a.key));
    let [created, removed] = landed.as_slice() else { panic!("two landings, got {landed:?}") };
    assert_eq!((created.bucket.as_str(), created.key.as_str()), ("raw", "landing/orders/a b+c.csv"));
    assert_eq!(created.dataset.as_deref(), Some("orders"));
    assert_eq!((created.size, created.etag.as_deref()), (Some(9), Some("e1")));
    assert_eq!((created.sequencer.as_deref(), created.sequencer_family.as_deref()), (Some("0064"), Some("hex")));
    assert_eq!((created.origin.as_str(), created.source.as_str(), created.landed_at), ("event", "hook", 1_000));
    assert!(!created.removed);
    assert_eq!((removed.removed, removed.dataset.as_deref()), (true, None));
}

#[tokio::test]
async fn a_letter_keeps_the_first_bytes_and_the_same_bytes_make_the_same_letter() {
    let world = world().await;
    let body = "x".repeat(100 << 10);
    world.webhook.take(body.as_bytes(), None, None).await;
    world.webhook.take(body.as_bytes(), None, None).await;
    let letters = world.letters().await;
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].run_id, letters[1].run_id);
    assert_eq!(letters[0].reason, "event_unreadable");
    assert_eq!(letters[0].raw.as_ref().map(Vec::len), Some(64 << 10));
}

#[tokio::test]
async fn a_log_that_takes_nothing_is_answered_503() {
    let world = world().await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    // No topics: every append is refused.
    let broker = Arc::new(EmbeddedBroker::in_memory(Arc::clone(&clock)));
    let webhook = Webhook::new(broker, world.webhook.intake.clone(), clock, "hook", None);
    assert_eq!(webhook.take(records(&[CREATED]).as_bytes(), None, None).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(webhook.take(records(&[TAGGED]).as_bytes(), None, None).await.status, StatusCode::OK);
}

async fn exchange(at: std::net::SocketAddr, head: &str, body: &[u8]) -> String {
    let mut socket = tokio::net::TcpStream::connect(at).await.unwrap();
    let head = format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).await.unwrap();
    // A refused body may not be read to its end.
    drop(socket.write_all(body).await);
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn over_http_until_stopped() {
    let world = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(Arc::clone(&world.webhook), listener, stop.clone()));
    assert!(exchange(at, "GET /livez", b"").await.starts_with("HTTP/1.1 200"));
    let answer = exchange(at, "POST /notices", records(&[CREATED]).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""accepted":1"#), "{answer}");
    let event = r#"{"s3":{"bucket":{"name":"raw"},"object":{"key":"k"}},"eventName":"ObjectCreated:Put","eventSource":"aws:s3"}"#;
    let head = "POST /notices HTTP/1.1\r\nce-specversion: 1.0\r\nce-type: com.amazonaws.s3.ObjectCreated:Put\r\nx:";
    let answer = exchange(at, head, event.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(exchange(at, "GET /notices", b"").await.starts_with("HTTP/1.1 405"));
    let answer = exchange(at, "POST /notices", &vec![b' '; BODY_BYTES_MAX + 1]).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(world.landings().await.len(), 2);
    stop.cancel();
    served.await.unwrap().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_body_lands_is_ignored_or_is_rejected(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[\\[\\]{}\",:0-9a-zA-Z ]{0,100}".prop_map(String::into_bytes),
            (0..CREATED.len()).prop_map(|n| format!(r#"{{"Records":[{}]}}"#, &CREATED[..n]).into_bytes()),
        ]
    ) {
        futures::executor::block_on(async {
            let world = world().await;
            let answer = world.webhook.take(&body, None, None).await;
            let rejected = answer.body["rejected"].as_array().map(Vec::len).unwrap();
            prop_assert_eq!(answer.status.as_u16(), if rejected > 0 { 422 } else { 200 });
            prop_assert_eq!(world.letters().await.len(), usize::from(rejected > 0));
            prop_assert_eq!(&answer.body["accepted"], &json!(world.landings().await.len()));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn the_trace_of_a_request_goes_on_with_what_it_lands_and_an_object_without_one_begins_its_own() {
    let world = world().await;
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    world.webhook.take(records(&[CREATED]).as_bytes(), None, Some(given.parse().unwrap())).await;
    world.webhook.take(records(&[REMOVED]).as_bytes(), None, None).await;
    let mut traces = Vec::new();
    for partition in 0..2 {
        let at = world.outlet.topics.at(Topic::Landing, Partition(partition));
        let chunk = world.broker.reader().read(&at, NextOffset(0), PollLimit { records: 10, bytes: 1 << 20 }).await.unwrap();
        traces.extend(chunk.records.iter().map(|r| r.header("traceparent").unwrap().to_owned()));
    }
    assert_eq!(traces.len(), 2);
    assert!(traces.iter().any(|t| t == given), "{traces:?}");
    let begun = traces.iter().find(|t| *t != given).unwrap();
    assert!(begun.parse::<TraceParent>().is_ok(), "{begun}");
}

#[tokio::test]
async fn what_was_taken_is_counted_and_what_was_not_committed_is_not() {
    let world = world().await;
    let metrics = Arc::new(Metrics::new(&[]));
    let tally = || Some(Arc::new(Tally::new(Arc::clone(&metrics), world.outlet.clone(), std::collections::BTreeSet::new())));
    let (intake, clock) = (world.webhook.intake.clone(), Arc::clone(&world.webhook.clock));
    let webhook = Webhook::new(Arc::new(world.broker.clone()), intake, clock, "hook", None).counted(tally());
    webhook.take(records(&[CREATED, REMOVED]).as_bytes(), None, None).await;
    webhook.take(b"no json", None, None).await;
    let text = metrics.text();
    for line in [
        r#"lakegate_bridge_envelopes_total{family="aws",outcome="accepted",source="hook"} 1"#,
        r#"lakegate_bridge_envelopes_total{family="unknown",outcome="rejected",source="hook"} 1"#,
        r#"lakegate_bridge_rejected_envelopes_total{reason="not_json",source="hook"} 1"#,
        r#"lakegate_bridge_object_events_total{event_class="created",outcome="routed",source="hook"} 1"#,
        r#"lakegate_bridge_object_events_total{event_class="removed",outcome="unrouted",source="hook"} 1"#,
        r#"lakegate_quarantine_objects_total{dataset="_unknown",reason="event_unreadable"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}
