use std::collections::BTreeSet;

use super::*;
use crate::telemetry::family::Kind;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn ended(dataset: &str, outcome: Outcome, landed: Option<Timestamp>) -> Fact {
    Fact::Ended { dataset: Some(dataset.to_owned()), outcome, rows_curated: 3, rows_quarantined: 1, landed }
}

fn line(text: &str, series: &str) -> String {
    let found = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in\n{text}")).to_owned()
}

/// Everything a process may say.
fn told() -> Metrics {
    let m = Metrics::new(&StageName::ALL);
    m.source("raw");
    m.asks("raw", NOW);
    m.reconciles("raw", Span::from_secs(2), NOW);
    m.dataset("orders", Some(Span::from_secs(3600)), Span::from_secs(86_400));
    let (source, dataset) = ("raw".to_owned(), Some("orders".to_owned()));
    for fact in [
        Fact::SourceRead { source: source.clone(), is_round_end: true },
        Fact::Envelope { source: source.clone(), family: Some(Family::Aws), outcome: EnvelopeOutcome::Accepted },
        Fact::EnvelopeRejected { source: source.clone(), reason: RecordReason::NotJson },
        Fact::Landed { source, event: EventWord::Created, routing: Routing::Unrouted },
        Fact::Admitted { dataset: dataset.clone(), bytes: 12, missed: true },
        ended("orders", Outcome::Curated, Some(NOW)),
        Fact::Quarantined { dataset: dataset.clone(), reason: ReasonCode::TypeDrift },
        Fact::Drift { dataset, class: DriftClass::Contract, action: DriftAction::Quarantined },
        Fact::BatchClosed { dataset: "orders".to_owned(), trigger: Trigger::Age },
        Fact::RulesEnded { dataset: "orders".to_owned(), outcome: RuleOutcome::Failed, rules: 2 },
        Fact::Published { dataset: "orders".to_owned(), files: 1, bytes: 100 },
    ] {
        m.tell(&fact, NOW);
    }
    m.transaction(StageName::Check, TransactionOutcome::Fenced);
    m.rebalanced(StageName::Check);
    drop(m.round(StageName::Check, 2));
    m.lag(StageName::Check, "lakegate.staged", 4, Span::from_secs(5));
    m.progress(StageName::Check, NOW);
    m.retention("lakegate.staged", Span::from_secs(60));
    let gauges = DatasetGauges { last_event: Some(NOW), last_curated: Some(NOW), unresolved: 1, oldest_unresolved: Some(NOW) };
    m.status(&BTreeMap::from([("orders".to_owned(), gauges)]));
    m.replays(3, Some(NOW));
    m.reloaded(true);
    m.store_request(StoreOperation::Get, StoreOutcome::Ok);
    m
}

#[test]
fn every_family_is_told_and_says_only_what_its_definition_allows() {
    let metrics = told();
    let families = metrics.families.registry.gather();
    let names: BTreeSet<&str> = families.iter().map(|f| f.name()).collect();
    let defined: BTreeSet<&str> = metrics.definitions().iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, defined);
    for family in &families {
        let definition = metrics.definitions().iter().find(|d| d.name == family.name()).unwrap();
        assert!(definition.name.ends_with("_total") == (definition.kind == Kind::Counter), "{definition}");
        for metric in family.get_metric() {
            let labels: BTreeSet<&str> = metric.get_label().iter().map(|l| l.name()).collect();
            assert_eq!(labels, definition.labels.iter().map(|l| l.name).collect(), "{definition}");
            for label in metric.get_label() {
                let values = definition.labels.iter().find(|l| l.name == label.name()).unwrap().values;
                let fits = match values {
                    Values::Of(words) | Values::Rarely(words) => words.contains(&label.value()),
                    Values::Dataset => label.value() == "orders",
                    Values::Source => label.value() == "raw",
                    Values::Stage => label.value().parse::<StageName>().is_ok(),
                    Values::Topic => label.value() == "lakegate.staged",
                    Values::Fixed => true,
                };
                assert!(fits, "{definition}: {}", label.value());
            }
        }
    }
}

#[test]
fn bounds_of_buckets_are_printed_as_the_rules_spell_them() {
    let text = told().text();
    let bounds: Vec<&str> = text
        .lines()
        .filter(|l| l.starts_with("lakegate_ingest_latency_seconds_bucket"))
        .filter_map(|l| l.split("le=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(bounds, ["1", "5", "15", "60", "300", "900", "3600", "21600", "+Inf"]);
}

#[test]
fn only_live_traffic_that_became_visible_has_a_latency() {
    let metrics = Metrics::new(&[]);
    let landed = Timestamp::from_millis(NOW.millis() - 61_000);
    metrics.tell(&ended("orders", Outcome::Curated, Some(landed)), NOW);
    metrics.tell(&ended("orders", Outcome::Curated, None), NOW);
    metrics.tell(&ended("orders", Outcome::Quarantined, Some(landed)), NOW);
    let text = metrics.text();
    assert_eq!(line(&text, r#"lakegate_ingest_latency_seconds_bucket{dataset="orders",le="60"}"#), "0");
    assert_eq!(line(&text, r#"lakegate_ingest_latency_seconds_bucket{dataset="orders",le="300"}"#), "1");
    assert_eq!(line(&text, r#"lakegate_ingest_latency_seconds_count{dataset="orders"}"#), "1");
    assert_eq!(line(&text, r#"lakegate_objects_total{dataset="orders",outcome="curated"}"#), "2");
    assert_eq!(line(&text, r#"lakegate_objects_total{dataset="orders",outcome="duplicate"}"#), "0", "born before it happens");
    assert_eq!(line(&text, r#"lakegate_rows_total{dataset="orders",outcome="quarantined"}"#), "3");
}

#[test]
fn labels_of_datasets_are_bounded_and_what_no_contract_routes_has_one() {
    let metrics = Metrics::new(&[]);
    for n in 0..DATASETS_MAX + 5 {
        metrics.tell(&ended(&format!("d{n}"), Outcome::Ignored, None), NOW);
    }
    metrics.tell(&Fact::Quarantined { dataset: None, reason: ReasonCode::UnknownDataset }, NOW);
    let text = metrics.text();
    assert_eq!(line(&text, r#"lakegate_objects_total{dataset="_other",outcome="ignored"}"#), "5");
    assert_eq!(text.matches("lakegate_objects_total{").count(), DATASETS_MAX * Outcome::WORDS.len() + 1);

    let metrics = Metrics::new(&[]);
    metrics.tell(&Fact::Quarantined { dataset: None, reason: ReasonCode::UnknownDataset }, NOW);
    assert_eq!(line(&metrics.text(), r#"lakegate_quarantine_objects_total{dataset="_unknown",reason="unknown_dataset"}"#), "1");
}

#[test]
fn a_round_is_in_flight_until_its_guard_goes() {
    let metrics = Metrics::new(&[StageName::Check]);
    let series = r#"lakegate_stage_inflight_objects{stage="check"}"#;
    let round = metrics.round(StageName::Check, 7);
    assert_eq!(line(&metrics.text(), series), "7");
    drop(round);
    assert_eq!(line(&metrics.text(), series), "0");
    assert_eq!(line(&metrics.text(), r#"lakegate_stage_duration_seconds_count{stage="check"}"#), "1");
}

#[test]
fn a_listing_without_notifications_beside_it_reconciles_nothing() {
    let metrics = Metrics::new(&[]);
    metrics.asks("raw", NOW);
    metrics.tell(&Fact::SourceRead { source: "raw".to_owned(), is_round_end: true }, NOW);
    assert!(!metrics.text().contains("lakegate_reconcile_"), "{}", metrics.text());
}
