//! The names of metrics hold together: what the process has, what is documented, and what rules and dashboard ask for.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::collections::{BTreeMap, BTreeSet};

use lakegate::domain::names::StageName;
use lakegate::telemetry::family::{Definition, Kind, Values};
use lakegate::telemetry::metrics::Metrics;

const RULES: &str = include_str!("../deploy/prometheus/lakegate.rules.yml");
const RULE_TESTS: &str = include_str!("../deploy/prometheus/lakegate.rules.test.yml");
const DASHBOARD: &str = include_str!("../deploy/grafana/lakegate.json");
const PAGE: &str = include_str!("../docs/metrics.md");

fn definitions() -> Vec<Definition> {
    Metrics::new(&StageName::ALL).definitions().to_vec()
}

/// Names Prometheus knows a family by.
fn series(definitions: &[Definition]) -> BTreeMap<String, &Definition> {
    let mut names = BTreeMap::new();
    for definition in definitions {
        match definition.kind {
            Kind::Counter | Kind::Gauge => drop(names.insert(definition.name.clone(), definition)),
            Kind::Histogram => {
                for suffix in ["_bucket", "_sum", "_count"] {
                    names.insert(format!("{}{suffix}", definition.name), definition);
                }
            }
        }
    }
    names
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Every `lakegate_…` of a text that is no part of a longer name, with what follows it.
fn asked(text: &str) -> Vec<(&str, &str)> {
    text.match_indices("lakegate_")
        // `dataset:lakegate_…` is a recording rule's own name.
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| is_word(c) || c == ':'))
        .map(|(at, _)| {
            let end = text[at..].find(|c| !is_word(c)).map_or(text.len(), |len| at + len);
            (&text[at..end], &text[end..])
        })
        .collect()
}

/// The label matchers right behind a name: `{a="b",c=~"d"}`.
fn matchers(rest: &str) -> Vec<(String, String, String)> {
    let Some(inner) = rest.strip_prefix('{').and_then(|r| r.split('}').next()) else { return Vec::new() };
    let split = |pair: &str| {
        let at = pair.find(|c| !is_word(c)).unwrap();
        let (name, rest) = pair.split_at(at);
        let quote = rest.find('"').unwrap();
        (name.to_owned(), rest[..quote].to_owned(), rest[quote..].trim_matches('"').to_owned())
    };
    inner.split(',').filter(|p| !p.trim().is_empty()).map(|p| split(p.trim())).collect()
}

/// Every name exists; every label asked for exists; every word a label is compared with can occur.
fn faults(text: &str) -> Vec<String> {
    let definitions = definitions();
    let known = series(&definitions);
    let mut faults = Vec::new();
    for (name, rest) in asked(text) {
        let Some(definition) = known.get(name) else {
            faults.push(format!("{name} does not exist"));
            continue;
        };
        for (label, operator, value) in matchers(rest) {
            let values = match definition.labels.iter().find(|l| l.name == label) {
                Some(label) => label.values,
                None if label == "instance" || (label == "le" && definition.kind == Kind::Histogram) => continue,
                None => {
                    faults.push(format!("{name} has no label {label}"));
                    continue;
                }
            };
            let (Values::Of(words) | Values::Rarely(words)) = values else { continue };
            let alternatives = if operator.ends_with('~') { value.split('|').collect() } else { vec![value.as_str()] };
            for word in alternatives.into_iter().filter(|w| !w.starts_with('$')) {
                if !words.contains(&word) {
                    faults.push(format!("{name} never has {label}={word}"));
                }
            }
        }
    }
    faults
}

/// Every `expr` of a dashboard.
fn expressions(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(text) if key == "expr" || key == "definition" => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|v| expressions(v, found)),
        _ => {}
    }
}

#[test]
fn the_list_of_metrics_is_the_golden_one() {
    let list: Vec<String> = definitions().iter().map(ToString::to_string).collect();
    let golden = include_str!("data/metrics.txt");
    assert_eq!(format!("{}\n", list.join("\n")), golden, "names and labels are promises: change tests/data/metrics.txt only on purpose");
}

#[test]
fn rules_and_their_tests_ask_for_what_exists() {
    assert!(asked(RULES).len() > 40, "the rules were not read");
    assert_eq!(faults(RULES), Vec::<String>::new());
    assert_eq!(faults(RULE_TESTS), Vec::<String>::new());
}

#[test]
fn a_wrong_name_label_or_word_is_found() {
    let objects = "sum(lakegate_objects_total";
    assert_eq!(faults(&format!(r#"{objects}{{outcome="curated",dataset="$dataset"}})"#)), Vec::<String>::new());
    assert_eq!(faults("lakegate_object_total"), ["lakegate_object_total does not exist"]);
    assert_eq!(faults("lakegate_ingest_latency_seconds"), ["lakegate_ingest_latency_seconds does not exist"]);
    assert_eq!(faults(&format!(r#"{objects}{{stage="x"}})"#)), ["lakegate_objects_total has no label stage"]);
    assert_eq!(faults(&format!(r#"{objects}{{outcome=~"curated|lost"}})"#)), ["lakegate_objects_total never has outcome=lost"]);
}

#[test]
fn the_bound_the_freshness_rules_name_is_a_bucket() {
    let bounds: BTreeSet<&str> = RULES.split("le=~\"").skip(1).map(|r| r.split(['(', '"']).next().unwrap()).collect();
    assert_eq!(bounds.iter().copied().collect::<Vec<_>>(), ["300"]);
    let definitions = definitions();
    let latency = definitions.iter().find(|d| d.name == "lakegate_ingest_latency_seconds").unwrap();
    assert!(latency.buckets.iter().any(|b| b.to_string() == "300"), "{:?}", latency.buckets);
}

#[test]
fn every_query_of_the_dashboard_asks_for_what_exists() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    expressions(&dashboard, &mut queries);
    assert!(queries.len() > 15, "{queries:?}");
    for query in &queries {
        assert_eq!(faults(query), Vec::<String>::new(), "{query}");
        assert!(query.contains("lakegate"), "{query}");
        // A recording rule's name is one of the rules'.
        for (at, _) in query.match_indices("dataset:") {
            let name: String = query[at..].chars().take_while(|c| is_word(*c) || *c == ':').collect();
            assert!(RULES.contains(&format!("record: {name}\n")), "{name} is recorded nowhere");
        }
    }
}

#[test]
fn every_metric_and_every_alert_is_documented_and_nothing_else_is() {
    for definition in definitions() {
        let row = PAGE.lines().find(|l| l.starts_with(&format!("| `{}` |", definition.name.trim_start_matches("lakegate_"))));
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md has no row for {}", definition.name));
        for label in &definition.labels {
            assert!(row.contains(&format!("`{}`", label.name)), "{}: the row does not name {}", definition.name, label.name);
        }
    }
    let alerts: BTreeSet<&str> = RULES.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).collect();
    let headings: BTreeSet<&str> = PAGE.lines().filter_map(|l| l.strip_prefix("### ").filter(|h| h.starts_with("Lakegate"))).collect();
    assert_eq!(alerts, headings);
    let links: BTreeSet<String> = RULES.lines().filter_map(|l| Some(l.split_once("metrics.md#")?.1.trim_matches('"').to_owned())).collect();
    assert_eq!(links, alerts.iter().map(|a| a.to_lowercase()).collect::<BTreeSet<_>>(), "each alert leads to its own heading");
}
