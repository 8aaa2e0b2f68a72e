use proptest::prelude::*;
use serde_json::{Value, json};

use super::pattern::{ALTERNATIVES_MAX, Explanation, Found, Pattern};
use super::table::{Route, RouteProblem, Routing, Table};
use crate::domain::names::DatasetName;
use crate::domain::object::{ObjectRef, ObjectVersion};
use crate::event::ObjectEvent;

fn compiled(pattern: &Value) -> Pattern {
    Pattern::compile(pattern).unwrap_or_else(|faults| panic!("{pattern}: {faults:?}"))
}

#[test]
fn patterns_match_as_the_cases_say() {
    let cases = include_str!("../../tests/cases/route_patterns.md");
    let mut n_cases = 0;
    for section in cases.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap_or_default();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{name}: {e} in {text}"));
        let pattern = section.lines().find_map(|l| l.strip_prefix("pattern ")).map(json).expect("a pattern");
        let pattern = compiled(&pattern);
        for line in section.lines() {
            let Some((event, expected)) =
                line.strip_prefix("yes ").map(|e| (e, true)).or_else(|| line.strip_prefix("no ").map(|e| (e, false)))
            else {
                continue;
            };
            assert_eq!(pattern.matches(&json(event)), expected, "{name}: {line}");
            assert_eq!(pattern.explain(&json(event)) == Explanation::Matches, expected, "{name}: explain {line}");
            n_cases += 1;
        }
    }
    assert!(n_cases >= 110, "{n_cases} cases read");
}

#[test]
fn malformed_patterns_are_refused_with_their_place() {
    let deep = (0..80).fold(json!(["x"]), |inner, _| json!({ "a": inner }));
    let many = json!({"$or": [{"x": [1]}, {"y": [2]}]});
    let exploding = json!({"$or": (0..40).map(|i| json!({format!("f{i}"): [1], "g": {"$or": (0..40).map(|j| json!({format!("h{j}"): [1]})).collect::<Vec<_>>()}})).collect::<Vec<_>>()});
    let cases = [
        (json!([]), "$"),
        (json!({}), "$"),
        (json!({"a": {}}), "$.a"),
        (json!({"a": []}), "$.a"),
        (json!({"a": "x"}), "$.a"),
        (json!({"a": null}), "$.a"),
        (json!({"a": [["x"]]}), "$.a[0]"),
        (json!({"a": ["x", {}]}), "$.a[1]"),
        (json!({"a": [{"prefix": "x", "suffix": "y"}]}), "$.a[0]"),
        (json!({"a": [{"Prefix": "x"}]}), "$.a[0].Prefix"),
        (json!({"a": [{"regex": "x"}]}), "$.a[0].regex"),
        (json!({"a": [{"prefix": 1}]}), "$.a[0].prefix"),
        (json!({"a": [{"prefix": {"wildcard": "x"}}]}), "$.a[0].prefix"),
        (json!({"a": [{"suffix": {"equals-ignore-case": 1}}]}), "$.a[0].suffix.equals-ignore-case"),
        (json!({"a": [{"equals-ignore-case": ["x"]}]}), "$.a[0].equals-ignore-case"),
        (json!({"a": [{"wildcard": "a**b"}]}), "$.a[0].wildcard"),
        (json!({"a": [{"wildcard": "*:*:*:*:*:event-bus/*"}]}), "$.a[0].wildcard"),
        (json!({"a": [{"anything-but": []}]}), "$.a[0].anything-but"),
        (json!({"a": [{"anything-but": ["x", 1]}]}), "$.a[0].anything-but"),
        (json!({"a": [{"anything-but": null}]}), "$.a[0].anything-but"),
        (json!({"a": [{"anything-but": [true]}]}), "$.a[0].anything-but[0]"),
        (json!({"a": [{"anything-but": {"prefix": ""}}]}), "$.a[0].anything-but.prefix"),
        (json!({"a": [{"anything-but": {"suffix": ["x", ""]}}]}), "$.a[0].anything-but.suffix[1]"),
        (json!({"a": [{"anything-but": {"prefix": {"equals-ignore-case": "x"}}}]}), "$.a[0].anything-but.prefix"),
        (json!({"a": [{"anything-but": {"cidr": "10.0.0.0/8"}}]}), "$.a[0].anything-but.cidr"),
        (json!({"a": [{"anything-but": {"numeric": ["=", 1]}}]}), "$.a[0].anything-but.numeric"),
        (json!({"a": [{"numeric": 1}]}), "$.a[0].numeric"),
        (json!({"a": [{"numeric": []}]}), "$.a[0].numeric"),
        (json!({"a": [{"numeric": [">"]}]}), "$.a[0].numeric"),
        (json!({"a": [{"numeric": [">", "1"]}]}), "$.a[0].numeric"),
        (json!({"a": [{"numeric": ["!=", 1]}]}), "$.a[0].numeric"),
        (json!({"a": [{"numeric": ["<", 5, ">", 0]}]}), "$.a[0].numeric"),
        (json!({"a": [{"numeric": [">", 5, "<", 5]}]}), "$.a[0].numeric"),
        (json!({"a": [{"numeric": [">=", 5, "<=", 5]}]}), "$.a[0].numeric"),
        (json!({"a": [{"numeric": [">", 0, "<", 5, "<", 6]}]}), "$.a[0].numeric"),
        (json!({"a": [{"exists": "true"}]}), "$.a[0].exists"),
        (json!({"a": [{"cidr": "10.0.0.1/32"}]}), "$.a[0].cidr"),
        (json!({"a": [{"cidr": "::ffff:a00:1/120"}]}), "$.a[0].cidr"),
        (json!({"$or": [{"a": [1]}]}), "$.$or"),
        (json!({"$or": {"a": [1]}}), "$.$or"),
        (json!({"$or": ["x", "y"]}), "$.$or[0]"),
        (json!({"$or": [{"a": [1]}, {"prefix": ["x"]}]}), "$.$or[1].prefix"),
        (json!({"$or": [{"a": [1]}, {"$or": [{"b": [1]}]}]}), "$.$or[1].$or"),
    ];
    for (pattern, path) in cases {
        let faults = Pattern::compile(&pattern).err().unwrap_or_else(|| panic!("{pattern} must be refused"));
        assert_eq!(faults[0].path, path, "{pattern}: {}", faults[0]);
    }
    let text = r#"{"a":[{"numeric":["=",9007199254740993]}]}"#;
    assert!(Pattern::compile(&serde_json::from_str(text).expect("json")).is_err(), "no double holds this number");
    assert!(Pattern::compile(&deep).is_err());
    assert!(Pattern::compile(&many).is_ok());
    assert!(Pattern::compile(&exploding).is_err(), "1600 alternatives are more than {ALTERNATIVES_MAX}");
}

#[test]
fn all_faults_come_at_once() {
    let faults = Pattern::compile(&json!({"a": [{"Prefix": "x"}, {"cidr": 1}], "b": "y", "c": {}})).expect_err("refused");
    assert_eq!(faults.len(), 4, "{faults:?}");
    assert!(faults[0].message.contains("did you mean prefix?"), "{}", faults[0]);
}

#[test]
fn the_first_failing_field_is_explained() {
    let pattern = compiled(&json!({"bucket": {"name": ["raw"]}, "object": {"key": [{"prefix": "in/"}]}}));
    let fails = |event: Value| pattern.explain(&event).to_string();
    assert_eq!(
        fails(json!({"bucket": {"name": "raw"}, "object": {"key": "x"}})),
        r#"object.key must be [{"prefix":"in/"}], but it is "x""#
    );
    assert_eq!(fails(json!({"object": {"key": "in/"}})), r#"bucket.name must be ["raw"], but it is absent"#);
    let paired = compiled(&json!({"a": {"x": [1], "y": [2]}}));
    let Explanation::Fails { path, found, .. } = paired.explain(&json!({"a": [{"x": 1}, {"y": 2}]})) else { panic!("no match expected") };
    assert_eq!((path.as_str(), found), ("a.y", Found::OtherElement));
}

#[test]
fn an_array_of_arrays_cannot_explode() {
    let names: Vec<String> = (0..12).map(|i| format!("f{i}")).collect();
    let pattern = Value::Object(names.iter().map(|n| (n.clone(), json!({"x": [1], "y": [2]}))).collect());
    let rows: Vec<Value> = (0..300).map(|_| json!({"x": 1})).collect();
    let event = Value::Object(names.iter().map(|n| (n.clone(), json!(rows))).collect());
    assert!(!compiled(&pattern).matches(&event));
}

#[test]
fn interleaved_arrays_stop_at_the_budget() {
    // Only dotted names can interleave two arrays in the order of paths.
    let pattern = compiled(&json!({"a": {"l": [1], "m": {"l": [1], "z": [1]}, "z": [1]}}));
    let event = |n: usize| {
        let rows: Vec<Value> = (0..n).map(|_| json!({"l": 1, "z": 1})).collect();
        json!({"a": rows, "a.m": rows})
    };
    assert!(pattern.matches(&event(20)));
    assert!(!pattern.matches(&event(600)), "over a quarter of a million comparisons");
}

fn dataset(name: &str) -> DatasetName {
    name.parse().expect("a dataset name")
}

fn route(name: &str, pattern: Value, priority: Option<i64>) -> Route {
    Route { dataset: dataset(name), pattern: compiled(&pattern), priority }
}

fn landed(bucket: &str, key: &str) -> ObjectEvent {
    let object = ObjectRef { bucket: bucket.parse().expect("a bucket"), key: key.parse().expect("a key") };
    ObjectEvent::listed(object, ObjectVersion { size: Some(10), ..ObjectVersion::default() })
}

fn under(bucket: &str, prefix: &str) -> Value {
    json!({"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": prefix}]}})
}

#[test]
fn the_highest_priority_wins_and_equal_ones_are_ambiguous() {
    let table = Table::new(vec![
        route("all", json!({"bucket": {"name": ["raw"]}}), Some(-1)),
        route("orders", under("raw", "landing/orders/"), None),
        route("big", json!({"object": {"size": [{"numeric": [">", 5]}], "key": [{"prefix": "landing/orders/big/"}]}}), None),
        route("express", under("raw", "landing/orders/express/"), Some(7)),
        route("rest", json!({"object": {"key": [{"exists": true}]}}), Some(-2)),
        route("whole", json!({"source": ["aws.s3"], "detail": {"bucket": {"name": ["whole"]}}}), None),
    ])
    .expect("a table");
    let cases = [
        ("raw", "landing/orders/1.csv", Routing::Dataset(dataset("orders"))),
        ("raw", "elsewhere", Routing::Dataset(dataset("all"))),
        ("raw", "landing/orders/express/1.csv", Routing::Dataset(dataset("express"))),
        ("raw", "landing/orders/big/1.csv", Routing::Ambiguous(vec![dataset("big"), dataset("orders")])),
        ("other", "landing/orders/1.csv", Routing::Dataset(dataset("rest"))),
        ("whole", "x", Routing::Dataset(dataset("whole"))),
    ];
    for (bucket, key, expected) in cases {
        assert_eq!(table.dataset_for(&landed(bucket, key)), expected, "{bucket}/{key}");
    }
    let explained = table.explain(&landed("raw", "elsewhere"));
    assert_eq!(explained.iter().filter(|(_, e)| *e == Explanation::Matches).count(), 2, "all and rest");
    assert_eq!(Table::default().dataset_for(&landed("raw", "x")), Routing::None);
}

#[test]
fn obvious_overlaps_are_warned_of_and_equal_routes_refused() {
    let table = Table::new(vec![
        route("a", under("raw", "in/"), None),
        route("b", under("raw", "in/b/"), None),
        route("c", under("raw", "out/"), None),
        route("d", under("raw2", "in/"), None),
        route("e", under("raw", "in/e/"), Some(1)),
        route("f", json!({"bucket": {"name": ["raw2"]}, "object": {"key": [{"suffix": ".csv"}]}}), None),
    ])
    .expect("a table");
    let overlaps: Vec<String> = table.overlaps().iter().map(|o| format!("{}+{} {}", o.first, o.second, o.prefix)).collect();
    assert_eq!(overlaps, ["a+b in/b/", "d+f in/"]);

    let problems =
        Table::new(vec![route("a", under("raw", "in/"), None), route("b", under("raw", "in/"), Some(0)), route("a", under("x", ""), None)]);
    assert_eq!(
        problems.expect_err("refused"),
        [RouteProblem::SamePattern { first: dataset("a"), second: dataset("b") }, RouteProblem::DatasetTwice { dataset: dataset("a") }]
    );
}

#[test]
fn the_index_never_changes_an_answer() {
    let patterns = [
        under("raw", "in/"),
        json!({"bucket": {"name": [{"prefix": "ra"}]}}),
        json!({"bucket": {"name": ["10.0.0.1"]}}),
        json!({"object": {"key": [{"wildcard": "in/*.csv"}, "x", {"suffix": "y"}]}}),
        json!({"object": {"key": [{"anything-but": {"prefix": "in/"}}]}}),
        json!({"$or": [{"bucket": {"name": ["b"]}}, {"object": {"key": [{"prefix": "in/"}]}}]}),
        json!({"detail": {"object": {"key": [{"exists": true}]}}}),
    ];
    for pattern in patterns {
        let table = Table::new(vec![route("a", pattern.clone(), None)]).expect("a table");
        for (bucket, key) in [("raw", "in/a.csv"), ("rare", "x"), ("010.0.0.1", "zy"), ("10.0.0.1", "in/y"), ("b", "q"), ("c", "in/q")] {
            let event = landed(bucket, key);
            let envelope = crate::event::envelope(&event);
            let compiled = compiled(&pattern);
            let by_hand = compiled.matches(compiled.subject(&envelope));
            assert_eq!(table.dataset_for(&event) != Routing::None, by_hand, "{pattern} {bucket}/{key}");
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c*.:/0-9]{0,5}".prop_map(Value::from)
    ];
    let name = prop::sample::select(vec![
        "a",
        "b",
        "a.b",
        "$or",
        "prefix",
        "suffix",
        "anything-but",
        "numeric",
        "exists",
        "cidr",
        "wildcard",
        "exactly",
    ]);
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_pattern_compiles_or_is_refused_and_explains_what_it_decides(pattern in any_value(), event in any_value()) {
        match Pattern::compile(&pattern) {
            Ok(pattern) => prop_assert_eq!(pattern.matches(&event), pattern.explain(&event) == Explanation::Matches),
            Err(faults) => prop_assert!(!faults.is_empty()),
        }
    }

    #[test]
    fn anything_but_is_the_opposite_of_equal_for_a_plain_text(wanted in "[ab]{0,2}", found in "[ab]{0,2}") {
        let equal = compiled(&json!({"k": [{"exactly": wanted}]}));
        let other = compiled(&json!({"k": [{"anything-but": wanted}]}));
        let event = json!({"k": found});
        prop_assert_ne!(equal.matches(&event), other.matches(&event));
    }
}
