use std::collections::BTreeMap;

use object_store::memory::InMemory;

use super::*;
use crate::app::control::{self, ClientError, Server};
use crate::app::replay_order::{PlannedView, Selection};
use crate::app::verdicts::VerdictView;
use crate::app::view::{HistoryLine, LetterView, StatusView};
use crate::broker::OutRecord;
use crate::broker::embedded::EmbeddedBroker;
use crate::clock::ManualClock;
use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::reason::ReasonCode;
use crate::domain::time::{Span, Timestamp};
use crate::pipeline::outlet::{Outlet, Placed};
use crate::pipeline::topics::{Topic, Topics};
use crate::stage::letters::{Charge, Clerk, RowCounts, State, Subject};
use crate::wire::codec::Codec;
use crate::wire::records::{Admitted, FORMAT_VERSION, LifecycleEvent, ReplayRequest};

const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_000);

struct House {
    desk: Desk,
    broker: EmbeddedBroker,
    clerk: Clerk,
}

impl House {
    async fn new() -> Self {
        Self::at(ManualClock::new(NOW)).await
    }

    async fn at(clock: ManualClock) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let broker = EmbeddedBroker::in_memory(Arc::clone(&clock));
        let topics = Topics::new("", 3, Span::from_secs(86_400));
        broker.ensure(&topics.specs()).await.unwrap();
        let outlet = Outlet { codec: Arc::new(Codec::numbered()), topics: Arc::new(topics) };
        let query = Query { reader: broker.reader(), outlet: outlet.clone(), lake: Arc::new(InMemory::new()) };
        let desk = Desk { query, broker: Arc::new(broker.clone()), clock, progress: None };
        Self { desk, broker, clerk: Clerk { outlet, stage: StageName::Validate } }
    }

    async fn write(&self, records: Vec<OutRecord>) {
        self.broker.append(records).await.unwrap();
    }

    async fn status(&self, object: &Admitted, state: State, reason: Option<ReasonCode>, at: i64) {
        let rows =
            if state == State::Published { RowCounts { physical: 3, published: 3, ..RowCounts::default() } } else { RowCounts::default() };
        let of = Subject { dataset: Some("orders"), object };
        self.write(vec![self.clerk.status(&of, state, reason, rows, NOW.plus(Span::from_millis(at))).unwrap()]).await;
    }

    async fn held(&self, object: &Admitted, reason: ReasonCode, at: i64) {
        let of = Subject { dataset: Some("orders"), object };
        let charge = Charge { detail: "no such column".into(), ..Charge::default() };
        let now = NOW.plus(Span::from_millis(at));
        self.write(self.clerk.quarantine(&of, reason, charge, RowCounts::default(), "ValidationFailed", now).unwrap()).await;
    }

    async fn ask(&self, request: Request) -> Answer {
        self.desk.answer(request).await.unwrap()
    }

    async fn statuses(&self, filter: StatusFilter) -> (Vec<StatusView>, u64) {
        let answer = self.ask(Request::RunsList { filter }).await;
        (items(&answer), answer.more)
    }
}

fn items<T: serde::de::DeserializeOwned>(answer: &Answer) -> Vec<T> {
    answer.items.iter().map(|i| serde_json::from_value(i.clone()).unwrap()).collect()
}

fn all() -> StatusFilter {
    StatusFilter { limit: 100, ..StatusFilter::default() }
}

fn object(key: &str, offset: i64) -> Admitted {
    Admitted {
        landing_partition: 0,
        landing_offset: offset,
        bucket: "raw".into(),
        key: key.into(),
        version_id: None,
        etag: Some("e".into()),
        size: 9,
        token: "e:e:9".into(),
        generation: 0,
        run_id: format!("run-{key}-0").replace('/', "-"),
        replay_id: None,
        forced: false,
        overwrites: false,
        source: "s".into(),
        first_landed: NOW.millis(),
        event_time: None,
        ingest_date: "2026-01-02".into(),
        partition_values: BTreeMap::new(),
        late: false,
    }
}

fn order(selection: Selection) -> ReplayOrder {
    ReplayOrder {
        selection,
        replay_id: Some("r1".into()),
        force: false,
        dry_run: false,
        reason: None,
        requested_by: "t".into(),
        objects_per_second: None,
    }
}

fn started() -> LifecycleEvent {
    LifecycleEvent {
        format_version: FORMAT_VERSION,
        kind: "ReplayStarted".into(),
        stage: "replay".into(),
        dataset: None,
        bucket: None,
        key: None,
        batch_id: None,
        replay_id: None,
        run_ids: vec![],
        reason: None,
        detail: "{}".into(),
        at: NOW.millis(),
    }
}

fn held_back() -> Selection {
    Selection::Quarantine { dataset: "orders".into(), reason: Some("missing_required_column".into()) }
}

#[tokio::test]
async fn one_row_stands_for_each_version_and_generation() {
    let house = House::new().await;
    let a = object("in/a.csv", 0);
    house.status(&a, State::Admitted, None, 0).await;
    house.status(&a, State::Published, None, 1).await;
    let again = Admitted { generation: 1, run_id: "r1-0000".into(), landing_offset: 1, ..a.clone() };
    house.status(&again, State::Admitted, None, 2).await;
    let (rows, more) = house.statuses(all()).await;
    let told: Vec<_> = rows.iter().map(|r| (r.status.as_str(), r.generation, r.rows.published)).collect();
    assert_eq!((told, more), (vec![("ADMITTED", 1, 0), ("PUBLISHED", 0, 3)], 0));
}

#[tokio::test]
async fn a_repeated_landing_stands_beside_the_version_it_repeats() {
    let house = House::new().await;
    let a = object("in/a.csv", 0);
    house.status(&a, State::Published, None, 0).await;
    house.status(&Admitted { landing_offset: 5, ..a.clone() }, State::Duplicate, Some(ReasonCode::DuplicateObject), 1).await;
    let (rows, _) = house.statuses(all()).await;
    let told: Vec<_> = rows.iter().map(|r| (r.status.as_str(), r.of_landing_record)).collect();
    assert_eq!(told, [("DUPLICATE", true), ("PUBLISHED", false)]);
}

#[tokio::test]
async fn an_admitted_version_that_was_superseded_is_no_longer_in_flight() {
    let house = House::new().await;
    let a = object("in/a.csv", 0);
    house.status(&a, State::Admitted, None, 0).await;
    house.status(&a, State::Superseded, Some(ReasonCode::SupersededObject), 1).await;
    let (rows, _) = house.statuses(all()).await;
    assert_eq!(rows.iter().map(|r| r.status.as_str()).collect::<Vec<_>>(), ["SUPERSEDED"]);
}

#[tokio::test]
async fn filters_narrow_and_a_limit_keeps_the_newest_and_tells_the_rest() {
    let house = House::new().await;
    for n in 0..20 {
        let o = object(&format!("in/{n}.csv"), n);
        let (state, reason) = if n % 2 == 0 { (State::Published, None) } else { (State::Quarantined, Some(ReasonCode::EmptyFile)) };
        house.status(&o, state, reason, n).await;
    }
    let (rows, more) = house.statuses(StatusFilter { status: Some("QUARANTINED".into()), limit: 3, ..all() }).await;
    assert_eq!(rows.iter().map(|r| r.uri.as_str()).collect::<Vec<_>>(), ["raw/in/19.csv", "raw/in/17.csv", "raw/in/15.csv"]);
    assert_eq!(more, 7);
    for (filter, n) in [
        (StatusFilter { reason: Some("empty_file".into()), ..all() }, 10),
        (StatusFilter { dataset: Some("other".into()), ..all() }, 0),
        (StatusFilter { key: Some("/1".into()), ..all() }, 11),
        (StatusFilter { run_id: Some("run-in-4.csv-0".into()), ..all() }, 1),
        (StatusFilter { replay_id: Some("r".into()), ..all() }, 0),
    ] {
        assert_eq!(house.statuses(filter.clone()).await.0.len(), n, "{filter:?}");
    }
}

#[tokio::test]
async fn a_history_holds_everything_about_one_object_and_nothing_else() {
    let house = House::new().await;
    let (a, b) = (object("in/a.csv", 0), object("in/b.csv", 1));
    for o in [&a, &b] {
        house.status(o, State::Admitted, None, 0).await;
    }
    let of = Subject { dataset: Some("orders"), object: &a };
    house.write(vec![house.clerk.event("ValidationPassed", &of, None, json!({}), NOW.plus(Span::from_millis(1))).unwrap()]).await;
    let batch = |objects: &[&Admitted], kind: &str, at| {
        house
            .clerk
            .batch_event(kind, "orders", "orders/0/000000000001", objects, json!({"rows": 3}), NOW.plus(Span::from_millis(at)))
            .unwrap()
    };
    house.write(vec![batch(&[&a, &b], "Published", 3), batch(&[&b], "DQPassed", 2)]).await;
    house.status(&a, State::Published, None, 4).await;
    for id in ["raw/in/a.csv", "s3://raw/in/a.csv", "run-in-a.csv-0"] {
        let answer = house.ask(Request::RunsShow { id: id.into() }).await;
        let words: Vec<_> = items::<HistoryLine>(&answer).into_iter().map(|l| l.word).collect();
        assert_eq!(words, ["ADMITTED", "ValidationPassed", "Published", "PUBLISHED"], "{id}");
        assert_eq!(answer.about["uri"], "raw/in/a.csv");
    }
    assert_eq!(house.ask(Request::RunsShow { id: "raw/in/c.csv".into() }).await, Answer::default());
    assert_eq!(house.ask(Request::RunsShow { id: "unknown-run".into() }).await, Answer::default());
}

#[tokio::test]
async fn letters_are_found_by_reason_run_and_object() {
    let house = House::new().await;
    house.held(&object("in/a.csv", 0), ReasonCode::MissingRequiredColumn, 0).await;
    house.held(&object("in/b.csv", 1), ReasonCode::EmptyFile, 1).await;
    let filter = LetterFilter { reason: Some("missing_required_column".into()), limit: 10, ..LetterFilter::default() };
    let found: Vec<LetterView> = items(&house.ask(Request::QuarantineList { filter }).await);
    assert_eq!(found.iter().map(|l| l.uri.as_str()).collect::<Vec<_>>(), ["raw/in/a.csv"]);
    assert!(!found[0].remedy.is_empty());
    for id in ["run-in-b.csv-0", "raw/in/b.csv"] {
        let found: Vec<LetterView> = items(&house.ask(Request::QuarantineShow { id: id.into() }).await);
        assert_eq!(found.iter().map(|l| l.reason.as_str()).collect::<Vec<_>>(), ["empty_file"], "{id}");
    }
    assert!(house.ask(Request::QuarantineShow { id: "raw/in/none.csv".into() }).await.items.is_empty());
}

#[tokio::test]
async fn a_replay_orders_what_is_unfinished_and_leaves_the_rest_alone() {
    let house = House::new().await;
    let (held, mended) = (object("in/a.csv", 0), object("in/b.csv", 1));
    house.held(&held, ReasonCode::MissingRequiredColumn, 0).await;
    house.held(&mended, ReasonCode::MissingRequiredColumn, 0).await;
    house.held(&object("in/c.csv", 2), ReasonCode::EmptyFile, 0).await;
    house.status(&Admitted { generation: 1, landing_offset: 3, ..mended.clone() }, State::Published, None, 1).await;
    let answer = house.ask(Request::Replay { order: ReplayOrder { dry_run: true, ..order(held_back()) } }).await;
    assert_eq!(answer.about["ordered"], false);
    let at = |p| house.clerk.outlet.topics.at(Topic::Replay, Partition(p));
    let requests = || async {
        let mut found = Vec::new();
        for p in 0..3 {
            let limit = crate::broker::PollLimit { records: 10, bytes: 1 << 20 };
            for record in house.desk.query.reader.read(&at(p), NextOffset(0), limit).await.unwrap().records {
                found.push(house.clerk.outlet.codec.decode::<ReplayRequest>(&record.value.unwrap()).unwrap());
            }
        }
        found
    };
    assert_eq!(requests().await, [], "a dry run writes nothing");
    let answer = house.ask(Request::Replay { order: order(held_back()) }).await;
    let mut told: Vec<_> = items::<PlannedView>(&answer).into_iter().map(|f| (f.uri, f.action)).collect();
    told.sort();
    let expected = [("raw/in/a.csv", "replay"), ("raw/in/b.csv", "skip_published")];
    assert_eq!(told, expected.map(|(u, a)| (u.to_owned(), a.to_owned())));
    let [request] = requests().await.try_into().unwrap();
    assert_eq!(request.replay_id, "r1");
    house
        .status(
            &Admitted { replay_id: Some("r1".into()), run_id: "r1-0000".into(), generation: 1, ..held.clone() },
            State::Admitted,
            None,
            5,
        )
        .await;
    let started = LifecycleEvent { replay_id: Some("r1".into()), ..started() };
    house.write(vec![house.clerk.outlet.record(Topic::Lifecycle, "r1", Placed::By("r1"), &started, vec![]).unwrap()]).await;
    let words = |answer: Answer| items::<HistoryLine>(&answer).into_iter().map(|l| l.word).collect::<Vec<_>>();
    assert!(words(house.ask(Request::RunsShow { id: "raw/in/a.csv".into() }).await).contains(&"ReplayStarted".to_owned()));
    assert!(!words(house.ask(Request::RunsShow { id: "raw/in/c.csv".into() }).await).contains(&"ReplayStarted".to_owned()));
    assert_eq!(
        request.items.iter().map(|i| (i.key.as_str(), i.etag.as_deref(), i.partition)).collect::<Vec<_>>(),
        [("in/a.csv", Some("e"), 0)]
    );
}

#[tokio::test]
async fn a_request_at_fault_is_refused_by_name() {
    let house = House::new().await;
    for (selection, word) in [
        (held_back(), "no object matches"),
        (Selection::Quarantine { dataset: "orders".into(), reason: Some("nonsense".into()) }, "nonsense"),
        (Selection::Offsets { partition: 9, from: 0, to: 1 }, "partitions 0 to 2"),
        (Selection::Offsets { partition: 0, from: 5, to: 5 }, "smaller"),
        (Selection::Manifest { manifest: json!({"replayId": "x"}) }, "files"),
    ] {
        let told = house.desk.answer(Request::Replay { order: order(selection) }).await.unwrap_err().to_string();
        assert!(told.contains(word), "{told}");
    }
}

#[tokio::test]
async fn replays_are_listed_and_take_orders() {
    use crate::app::replays::{ControlOrder, ReplayView};
    use crate::stage::replay::Kept;
    let house = House::new().await;
    let request = |id: &str, requested_at: i64| ReplayRequest {
        format_version: FORMAT_VERSION,
        replay_id: id.into(),
        reason: "mended".into(),
        dataset: None,
        requested_at,
        requested_by: "t".into(),
        force: false,
        skip_if_published: true,
        pin_contract: None,
        objects_per_second: Some(7),
        items: vec![],
    };
    for (id, at, items) in [("old", 1, 0), ("young", 2, 5)] {
        let mut kept = Kept::of(&request(id, at), BTreeMap::new(), NOW);
        kept.progress.items = items;
        kept.progress.finished = items == 0;
        let change = kept.store(id);
        let to = house.clerk.outlet.topics.at(Topic::Changelog(StageName::Replay), Partition(1));
        house.write(vec![OutRecord { to, key: change.key.into(), value: change.value, headers: vec![] }]).await;
    }
    let listed: Vec<ReplayView> = items(&house.ask(Request::ReplayList { limit: 9 }).await);
    let seen: Vec<_> = listed.iter().map(|r| (r.replay_id.as_str(), r.state.as_str(), r.objects_per_second)).collect();
    assert_eq!(seen, [("young", "running", Some(7)), ("old", "completed", Some(7))]);
    assert_eq!(items::<ReplayView>(&house.ask(Request::ReplayShow { id: "old".into() }).await), listed[1..]);
    let order = |id: &str, action: &str| {
        let order = ControlOrder { replay_id: id.into(), action: action.into(), reason: None, requested_by: "t".into() };
        house.desk.answer(Request::ReplayControl { order })
    };
    assert_eq!(order("young", "pause").await.unwrap().about["ordered"], "pause");
    for (id, action, word) in
        [("none", "pause", "no replay none"), ("old", "cancel", "completed"), ("young", "resume", "running"), ("young", "dance", "dance")]
    {
        let told = order(id, action).await.unwrap_err().to_string();
        assert!(told.contains(word), "{told}");
    }
}

#[tokio::test]
async fn landing_records_are_found_by_the_time_the_broker_took_them() {
    let clock = ManualClock::new(NOW);
    let house = House::at(clock.clone()).await;
    let to = house.clerk.outlet.topics.at(Topic::Landing, Partition(0));
    for n in 0..50u8 {
        house.write(vec![OutRecord { to: to.clone(), key: vec![n].into(), value: None, headers: vec![] }]).await;
        clock.advance(Span::from_millis(10));
    }
    for (millis, offset) in [(-5, 0), (0, 0), (1, 1), (10, 1), (255, 26), (490, 49), (491, 50), (9_999, 50)] {
        let at = Timestamp::from_millis(NOW.millis() + millis);
        assert_eq!(house.desk.landing_offset(Partition(0), at).await.unwrap(), NextOffset(offset), "{millis}");
    }
}

#[tokio::test]
async fn the_socket_answers_as_the_desk_does_and_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new().await;
    house.held(&object("in/a.csv", 0), ReasonCode::EmptyFile, 0).await;
    let folder = tempfile::tempdir().unwrap();
    // Longer than a socket's address can be.
    let state = folder.path().join("s".repeat(120));
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join(control::SOCKET), "left by a dead process").unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let server = Server::bind(&state).unwrap();
    let mode = std::fs::metadata(state.join(control::SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let serving = tokio::spawn(server.serve(Arc::new(house.desk.clone()), stop.clone()));
    let request = Request::QuarantineList { filter: LetterFilter { limit: 10, ..LetterFilter::default() } };
    assert_eq!(control::ask(&state, &request).await.unwrap(), house.ask(request.clone()).await);
    let refused = control::ask(&state, &Request::Replay { order: order(held_back()) }).await;
    assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    stop.cancel();
    serving.await.unwrap();
    assert!(matches!(control::ask(&state, &request).await, Err(ClientError::NobodyThere { .. })));
}

#[tokio::test]
async fn nonsense_on_the_socket_is_answered_and_harms_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let house = House::new().await;
    let folder = tempfile::tempdir().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(Server::bind(folder.path()).unwrap().serve(Arc::new(house.desk.clone()), stop.clone()));
    for nonsense in [b"\xff\xfe\0\n".as_slice(), b"{}\n", b"{\"ask\":\"dance\"}\n", b"[[[[[[[[\n"] {
        let mut stream = tokio::net::UnixStream::connect(folder.path().join(control::SOCKET)).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        assert!(told.starts_with("{\"error\":{\"refused\":true"), "{told}");
    }
    assert!(control::ask(folder.path(), &Request::Status).await.is_ok());
    stop.cancel();
    serving.await.unwrap();
}

fn verdict(word: &str, id: Option<&str>) -> VerdictOrder {
    VerdictOrder {
        verdict: word.into(),
        id: id.map(str::to_owned),
        filter: LetterFilter::default(),
        dry_run: false,
        force: false,
        expected: None,
        reason: "looked at".into(),
        requested_by: "ada".into(),
        replay_id: Some("r9".into()),
        objects_per_second: None,
    }
}

impl House {
    async fn decide(&self, order: VerdictOrder) -> Answer {
        self.ask(Request::QuarantineDecide { order }).await
    }

    /// Every letter's object and state, and the counts.
    async fn letter_states(&self) -> (Vec<(String, String)>, Value) {
        let answer = self.ask(Request::QuarantineList { filter: LetterFilter { limit: 100, ..LetterFilter::default() } }).await;
        let mut states: Vec<_> = items::<LetterView>(&answer).into_iter().map(|l| (l.uri, l.state)).collect();
        states.sort();
        (states, answer.about)
    }

    async fn requests(&self) -> Vec<ReplayRequest> {
        let mut found = Vec::new();
        for p in 0..3 {
            let at = self.clerk.outlet.topics.at(Topic::Replay, Partition(p));
            let limit = crate::broker::PollLimit { records: 10, bytes: 1 << 20 };
            for record in self.desk.query.reader.read(&at, NextOffset(0), limit).await.unwrap().records {
                found.push(self.clerk.outlet.codec.decode::<ReplayRequest>(&record.value.unwrap()).unwrap());
            }
        }
        found
    }
}

#[tokio::test]
async fn a_release_replays_the_version_and_writes_down_who_and_why() {
    let house = House::new().await;
    let held = Admitted { version_id: Some("v1".into()), ..object("in/a.csv", 0) };
    house.held(&held, ReasonCode::EmptyFile, 0).await;
    let dry = house.decide(VerdictOrder { dry_run: true, ..verdict("release", Some("raw/in/a.csv")) }).await;
    assert_eq!((dry.about["letters"].as_u64(), dry.about["decided"].as_bool()), (Some(1), Some(false)));
    assert_eq!((house.requests().await.len(), house.letter_states().await.0[0].1.as_str()), (0, "open"), "a dry run writes nothing");

    let answer = house.decide(verdict("release", Some(&held.run_id))).await;
    assert_eq!(answer.about["replay_id"], "r9");
    let [request] = house.requests().await.try_into().unwrap();
    assert_eq!((request.requested_by.as_str(), request.reason.as_str(), request.dataset.as_deref()), ("ada", "looked at", Some("orders")));
    let replayed: Vec<_> = request.items.iter().map(|i| (i.key.as_str(), i.version_id.as_deref())).collect();
    assert_eq!(replayed, [("in/a.csv", Some("v1"))]);
    let (states, counts) = house.letter_states().await;
    assert_eq!(states, [("raw/in/a.csv".to_owned(), "released".to_owned())]);
    assert_eq!(counts, json!({ "open": 0, "released": 1, "discarded": 0 }));
    let history: Vec<HistoryLine> = items(&house.ask(Request::RunsShow { id: "raw/in/a.csv".into() }).await);
    let line = history.iter().find(|l| l.word == "LetterReleased").expect("an audit record");
    assert_eq!((line.detail["requested_by"].as_str(), line.detail["reason"].as_str()), (Some("ada"), Some("looked at")));
    assert_eq!(line.run_id, held.run_id);
}

#[tokio::test]
async fn what_is_discarded_stays_out_of_every_later_selection() {
    let house = House::new().await;
    for (n, key) in ["in/a.csv", "in/b.csv"].into_iter().enumerate() {
        house.held(&object(key, i64::try_from(n).unwrap()), ReasonCode::MissingRequiredColumn, 0).await;
    }
    let answer = house.decide(verdict("discard", Some("s3://raw/in/a.csv"))).await;
    assert_eq!((answer.about["decided"].as_bool(), answer.about["letters"].as_u64()), (Some(true), Some(1)));
    assert!(house.requests().await.is_empty(), "a discard replays nothing");
    let (states, counts) = house.letter_states().await;
    assert_eq!(states.iter().map(|s| s.1.as_str()).collect::<Vec<_>>(), ["discarded", "open"]);
    assert_eq!(counts, json!({ "open": 1, "released": 0, "discarded": 1 }));
    let open = LetterFilter { state: Some("open".into()), limit: 9, ..LetterFilter::default() };
    let open: Vec<LetterView> = items(&house.ask(Request::QuarantineList { filter: open }).await);
    assert_eq!(open.iter().map(|l| l.uri.as_str()).collect::<Vec<_>>(), ["raw/in/b.csv"]);

    let planned: Vec<PlannedView> = items(&house.ask(Request::Replay { order: order(held_back()) }).await);
    assert_eq!(planned.iter().map(|f| f.uri.as_str()).collect::<Vec<_>>(), ["raw/in/b.csv"]);
    for word in ["release", "discard"] {
        let again = house.decide(verdict(word, Some("raw/in/a.csv"))).await;
        let [left] = items::<VerdictView>(&again).try_into().unwrap();
        assert_eq!((left.what.as_str(), again.about["decided"].as_bool()), ("left", Some(false)));
        assert!(left.why.contains("discarded"), "{}", left.why);
    }
}

#[tokio::test]
async fn a_replay_that_was_admitted_releases_a_letter_and_its_own_letter_is_open() {
    let house = House::new().await;
    let held = object("in/a.csv", 0);
    house.held(&held, ReasonCode::EmptyFile, 0).await;
    let again = Admitted { generation: 1, run_id: "r1-0000".into(), replay_id: Some("r1".into()), landing_offset: 1, ..held.clone() };
    house.status(&again, State::Admitted, None, 1).await;
    assert_eq!(house.letter_states().await.1, json!({ "open": 0, "released": 1, "discarded": 0 }));
    house.held(&again, ReasonCode::EmptyFile, 2).await;
    assert_eq!(house.letter_states().await.1, json!({ "open": 1, "released": 1, "discarded": 0 }));
    // Validation refuses a replay before it has a generation of its own.
    let refused = Admitted { generation: 0, run_id: "r2-0000".into(), replay_id: Some("r2".into()), ..object("in/b.csv", 2) };
    house.held(&object("in/b.csv", 2), ReasonCode::EmptyFile, 3).await;
    house.held(&refused, ReasonCode::EmptyFile, 4).await;
    assert_eq!(house.letter_states().await.1, json!({ "open": 2, "released": 2, "discarded": 0 }));
}

#[tokio::test]
async fn a_release_leaves_alone_what_it_would_not_be_the_version_of() {
    let house = House::new().await;
    let (old, published) = (object("in/a.csv", 0), object("in/b.csv", 1));
    house.held(&old, ReasonCode::EmptyFile, 0).await;
    let newer = Admitted { token: "other".into(), landing_offset: 2, first_landed: NOW.millis() + 9, run_id: "new".into(), ..old.clone() };
    house.status(&newer, State::Published, None, 1).await;
    house.held(&published, ReasonCode::EmptyFile, 0).await;
    house.status(&published, State::Published, None, 2).await;
    let all =
        || VerdictOrder { filter: LetterFilter { dataset: Some("orders".into()), ..LetterFilter::default() }, ..verdict("release", None) };
    let answer = house.decide(all()).await;
    assert_eq!((answer.about["letters"].as_u64(), answer.about["left"].as_u64()), (Some(0), Some(2)));
    let mut whys: Vec<_> = items::<VerdictView>(&answer).into_iter().map(|v| (v.uri, v.why)).collect();
    whys.sort();
    assert!(whys[0].1.contains("another version") && whys[1].1.contains("published"), "{whys:?}");
    assert!(house.requests().await.is_empty());
    let forced = house.decide(VerdictOrder { force: true, ..all() }).await;
    assert_eq!(forced.about["letters"].as_u64(), Some(1), "rows of a published object are released by force");
}

#[tokio::test]
async fn a_verdict_is_on_exactly_the_letters_that_were_counted() {
    let house = House::new().await;
    house.held(&object("in/a.csv", 0), ReasonCode::EmptyFile, 0).await;
    let refused = |order| async {
        let told = house.desk.answer(Request::QuarantineDecide { order }).await;
        told.expect_err("it is refused").to_string()
    };
    let two = VerdictOrder { expected: Some(2), ..verdict("discard", Some("raw/in/a.csv")) };
    assert!(refused(two).await.contains("1 letters match now, 2 did"));
    assert!(refused(verdict("discard", None)).await.contains("say which letters"));
    assert!(refused(verdict("forgive", Some("raw/in/a.csv"))).await.contains("release or discard"));
    let silent = VerdictOrder { reason: " ".into(), ..verdict("discard", Some("raw/in/a.csv")) };
    assert!(refused(silent).await.contains("says why"));
    assert_eq!(house.letter_states().await.1, json!({ "open": 1, "released": 0, "discarded": 0 }));
}
