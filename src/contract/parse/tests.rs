use super::*;
use crate::contract::model::AvroSchema;
use crate::schema::resolve::Resolve;
use crate::schema::shape::Shape;

fn printed(text: &str) -> Vec<String> {
    parse("c.yaml", text).expect_err("has faults").iter().map(ToString::to_string).collect()
}

#[test]
fn every_fault_names_its_place_and_its_remedy() {
    let cases: &[(&str, &str)] = &[
        ("owner: me\n", "c.yaml:1:1: dataset: is missing; every contract names its dataset"),
        ("dataset: a\nqualtiy: {}\n", "c.yaml:2:1: qualtiy: unknown key; did you mean quality?"),
        ("dataset: a\nmode: etk\n", "c.yaml:2:7: mode: \"etk\" is not known; did you mean etl? allowed: etl, elt, both"),
        (
            "dataset: a\nschema:\n  policy:\n    max_bad_row_ratio: 5\n",
            "c.yaml:4:24: schema.policy.max_bad_row_ratio: 5 is not between 0 and 1; for 5 percent write 0.05",
        ),
        (
            "dataset: a\ntransform: { batch: { linger: 30 } }\n",
            "c.yaml:2:31: transform.batch.linger: a duration needs its unit; write 30s, 5m, 7d",
        ),
        (
            "dataset: a\nsource: { formats: [csv, xml] }\n",
            "c.yaml:2:26: source.formats[1]: \"xml\" is not known; allowed: csv, json, jsonl, avro, parquet",
        ),
        ("dataset: a\nsource: { suffixes: [csv] }\n", "c.yaml:2:22: source.suffixes[0]: \"csv\" has no leading point; write .csv"),
        ("dataset: a\nowner: 7\n", "c.yaml:2:8: owner: wants text, found a number; put it in quotes"),
        ("dataset: a\nrows: { dedupe: {} }\n", "c.yaml:2:17: rows.dedupe: has no key; add key: [column]"),
        ("dataset: a\nschema: { columns: { x: { min: 2, max: 1 } } }\n", "c.yaml:2:25: schema.columns.x: min 2 is more than max 1"),
        ("- a\n", "c.yaml:1:1: wants a mapping, found a list"),
    ];
    for (text, wanted) in cases {
        assert_eq!(printed(text), [*wanted], "{text}");
    }
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_text() {
    let found =
        printed("mode: x\ndataset: UPPER\nsource: { min_bytes: -1, csv: { quote: ab } }\nlateness: { allowed: soon }\nroute: all\n");
    let lines: Vec<&str> = found.iter().map(|f| f.split(": ").nth(1).expect("a path")).collect();
    assert_eq!(lines, ["mode", "dataset", "source.min_bytes", "source.csv.quote", "lateness.allowed", "route"]);
}

#[test]
fn only_the_dataset_is_required_and_the_rest_has_defaults() {
    let c = parse("c.yaml", "dataset: orders\n").expect("parses");
    assert_eq!((c.mode, c.min_bytes.bytes(), c.subject.as_str()), (Mode::Etl, 0, "orders-value"));
    assert_eq!(c.source.csv.declared, None, "a missing block means full detection");
    assert_eq!(c.source.csv.null_tokens, [""]);
    assert_eq!(c.schema.policy.max_bad_row_ratio, 0.05);
    assert!(c.suffixes.contains(&".csv.gz".to_owned()), "{:?}", c.suffixes);
    assert_eq!((c.transform.batch.shards, c.publish.location.as_str()), (4, "curated/orders/"));
    assert_eq!(c.lateness.allowed, None);
}

#[test]
fn keys_missing_in_a_present_block_take_their_default() {
    let c = parse("c.yaml", "dataset: a\nsource: { csv: { delimiter: ';' } }\n").expect("parses");
    let dialect = c.source.csv.declared.expect("declared");
    assert_eq!((dialect.delimiter.as_str(), dialect.quote, dialect.header), (";", Some(b'"'), true));
    let auto = parse("c.yaml", "dataset: a\nsource: { csv: auto }\n").expect("parses");
    assert_eq!(auto.source.csv.declared, None);
}

#[test]
fn schemas_are_paths_or_stand_inline() {
    let path = parse("c.yaml", "dataset: a\nschema: { avro: s/a.avsc }\n").expect("parses");
    assert_eq!(path.avro_path(), Some("s/a.avsc"));
    let loaded = path.with_avro("{}");
    assert_eq!((loaded.avro_path(), loaded.avro_text()), (None, Some("{}")));
    let inline = parse("c.yaml", "dataset: a\nschema: { avro: { type: record, name: A, fields: [] } }\n").expect("parses");
    assert_eq!(inline.avro, Some(AvroSchema::Inline(r#"{"type":"record","name":"A","fields":[]}"#.to_owned())));
}

#[test]
fn json_is_accepted_and_choices_are_read() {
    let text = r#"{"dataset": "a", "transform": {"resolve": {"x": "cast:double", "y": "make_cols"}, "derive": {"b": "1", "a": "2"}},
        "schema": {"columns": {"g": {"true": ["yes"], "false": ["no", 0]}}}}"#;
    let c = parse("c.json", text).expect("parses");
    assert_eq!(c.schema.resolve["x"], Resolve::Cast(Shape::Double));
    assert_eq!(c.schema.resolve["y"], Resolve::MakeCols);
    assert_eq!(c.transform.derive.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["b", "a"], "the order is kept");
    assert_eq!(c.schema.columns["g"].booleans.as_ref().expect("tokens").falsy, ["no", "0"]);
}

#[test]
fn rules_remember_the_line_they_start_at() {
    let c = parse("c.yaml", "dataset: a\nquality:\n  rules: |\n    Rules = [ RowCount > 0 ]\n").expect("parses");
    assert_eq!(c.quality.rules.expect("rules").line, 4);
}

proptest::proptest! {
    #[test]
    fn random_text_never_panics(text in "[ -~\n]{0,200}", yaml in "(dataset|source|schema|[-?:\\[\\]{}&*!|>'\"# a\n]){0,40}") {
        let _ = parse("c.yaml", &text);
        let _ = parse("c.yaml", &yaml);
        let _ = parse("c.yaml", &format!("dataset: a\n{yaml}"));
    }
}
