use bytes::Bytes;

use super::*;
use crate::domain::position::Partition;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Span;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topics;
use crate::stage::letters::{Charge, Clerk, RowCounts, Subject};
use crate::stage::{PutHow, PutObject};
use crate::wire::codec::Codec;
use crate::wire::records::Admitted;

const NOW: Timestamp = Timestamp::from_millis(90_000);

struct House {
    clerk: Clerk,
    tally: Tally,
}

fn house(stage: StageName) -> House {
    let outlet = Outlet { codec: Arc::new(Codec::numbered()), topics: Arc::new(Topics::new("", 2, Span::from_secs(3600))) };
    let tally = Tally::new(Arc::new(Metrics::new(&[stage])), outlet.clone(), BTreeSet::from(["sweep".to_owned()]));
    House { clerk: Clerk { outlet, stage }, tally }
}

fn object(source: &str, replay: Option<&str>) -> Admitted {
    Admitted {
        landing_partition: 1,
        landing_offset: 7,
        bucket: "raw".into(),
        key: "a.csv".into(),
        version_id: None,
        etag: Some("abc".into()),
        size: 12,
        token: "e:abc:12".into(),
        generation: 0,
        run_id: "r".into(),
        replay_id: replay.map(str::to_owned),
        forced: false,
        overwrites: false,
        source: source.into(),
        first_landed: 30_000,
        event_time: None,
        ingest_date: "2026-01-02".into(),
        partition_values: std::collections::BTreeMap::new(),
        late: false,
    }
}

impl House {
    fn facts(&self, sends: Vec<OutRecord>) -> Vec<Fact> {
        self.tally.facts(self.clerk.stage, &Decision { sends, ..Decision::default() })
    }

    fn status(&self, object: &Admitted, state: State, rows: RowCounts) -> Vec<Fact> {
        let subject = Subject { dataset: Some("orders"), object };
        self.facts(vec![self.clerk.status(&subject, state, None, rows, NOW).unwrap()])
    }
}

#[test]
fn an_object_held_back_is_counted_once_as_ended_and_once_by_reason() {
    let house = house(StageName::Classify);
    let object = object("raw", None);
    let subject = Subject { dataset: Some("orders"), object: &object };
    let rows = RowCounts { physical: 5, quarantined: 5, ..RowCounts::default() };
    let sends = house.clerk.quarantine(&subject, ReasonCode::TypeDrift, Charge::default(), rows, "ValidationFailed", NOW).unwrap();
    let dataset = Some("orders".to_owned());
    let ended = Fact::Ended {
        dataset: dataset.clone(),
        outcome: Outcome::Quarantined,
        rows_curated: 0,
        rows_quarantined: 5,
        landed: Some(Timestamp::from_millis(30_000)),
    };
    assert_eq!(house.facts(sends), [Fact::Quarantined { dataset, reason: ReasonCode::TypeDrift }, ended]);
}

#[test]
fn letters_of_rows_are_no_objects() {
    let house = house(StageName::Transform);
    let object = object("raw", None);
    let charge = Charge { row_letters: Some("_staging/x".to_owned()), ..Charge::default() };
    let letter = house.clerk.letter(&Subject { dataset: Some("orders"), object: &object }, ReasonCode::RaggedRows, charge, NOW).unwrap();
    assert_eq!(house.facts(vec![letter]), []);
}

#[test]
fn what_a_listing_admits_was_missed_if_notifications_should_have_told_it() {
    let house = house(StageName::Validate);
    for (source, replay, expected) in [("sweep", None, true), ("hook", None, false), ("sweep", Some("r1"), false)] {
        let facts = house.status(&object(source, replay), State::Admitted, RowCounts::default());
        assert_eq!(facts, [Fact::Admitted { dataset: Some("orders".to_owned()), bytes: 12, missed: expected }], "{source} {replay:?}");
    }
}

#[test]
fn a_replay_has_no_latency_and_what_is_not_published_no_rows() {
    let house = house(StageName::Publish);
    let rows = RowCounts { physical: 5, published: 4, quarantined: 1, deduplicated: 0 };
    let told = |replay, state| match house.status(&object("raw", replay), state, rows).as_slice() {
        [Fact::Ended { rows_curated, rows_quarantined, landed, .. }] => (*rows_curated, *rows_quarantined, landed.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(None, State::Published), (4, 1, true));
    assert_eq!(told(Some("r1"), State::Published), (4, 1, false));
    assert_eq!(told(None, State::Duplicate), (0, 0, true));
}

#[test]
fn drift_is_counted_by_class_and_by_what_was_done() {
    let house = house(StageName::Classify);
    let object = object("raw", None);
    let subject = Subject { dataset: Some("orders"), object: &object };
    for (detail, reason, expected) in [
        (r#"{"kinds":[],"action":"accept"}"#, None, vec![(DriftClass::None, DriftAction::Accepted)]),
        (r#"{"kinds":["reorder"],"action":"coerce"}"#, None, vec![(DriftClass::None, DriftAction::Accepted)]),
        (r#"{"kinds":["additive"],"action":"accept_and_evolve"}"#, None, vec![(DriftClass::Additive, DriftAction::Evolved)]),
        (
            r#"{"kinds":["additive"],"action":"accept_and_evolve"}"#,
            Some(ReasonCode::SchemaBudget),
            vec![(DriftClass::Additive, DriftAction::Quarantined)],
        ),
        (
            r#"{"kinds":["contract","type"],"action":"quarantine"}"#,
            Some(ReasonCode::TypeDrift),
            vec![(DriftClass::Type, DriftAction::Quarantined), (DriftClass::Contract, DriftAction::Quarantined)],
        ),
    ] {
        let event = house.clerk.event(DRIFT_CLASSIFIED, &subject, reason, detail, NOW).unwrap();
        let other = house.clerk.event("Quarantined", &subject, reason, detail, NOW).unwrap();
        let facts = expected.into_iter().map(|(class, action)| Fact::Drift { dataset: Some("orders".to_owned()), class, action });
        assert_eq!(house.facts(vec![event, other]), facts.collect::<Vec<_>>(), "{detail}");
    }
}

#[test]
fn a_commit_to_a_table_has_its_files_and_their_bytes() {
    let house = house(StageName::Publish);
    let record = PublishedBatch {
        format_version: 1,
        batch_id: "orders/0/1".into(),
        dataset: "orders".into(),
        table: "orders".into(),
        commit_seq: 1,
        published_at: 1,
        created: vec!["a".into(), "b".into()],
        rewritten: vec!["c".into()],
        objects: Vec::new(),
    };
    let send = house.clerk.outlet.record(Topic::Published, "orders", Placed::On(Partition(0)), &record, Vec::new()).unwrap();
    let put = |n| PutObject { to: "x".into(), payload: Payload::Bytes(Bytes::from(vec![0; n])), how: PutHow::Create };
    let decision = Decision { sends: vec![send], puts: vec![put(10), put(5)], ..Decision::default() };
    let facts = house.tally.facts(StageName::Publish, &decision);
    assert_eq!(facts, [Fact::Published { dataset: "orders".to_owned(), files: 3, bytes: 15 }]);
}
