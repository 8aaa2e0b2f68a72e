//! Literate cases (`tests/cases/drift*.md`), then what does not fit their form.

use super::*;
use crate::format::options::SourceOptions;
use crate::schema::options::{BooleanTokens, ColumnRules, Dedupe, StrictRequired};
use crate::schema::resolve::Resolve;
use crate::schema::shape::Shape;
use crate::schema::testing::{File, Outcome, json_file, record, rules, run, text_file};
use proptest::prelude::*;

#[test]
fn cases_of_the_findings_table() {
    check(include_str!("../../../tests/cases/drift.md"));
}

#[test]
fn cases_of_the_policy_table() {
    check(include_str!("../../../tests/cases/drift_policy.md"));
}

#[test]
fn cases_of_resolve() {
    check(include_str!("../../../tests/cases/resolve.md"));
}

/// Runs every fenced block below a heading; all failures at once.
fn check(text: &str) {
    let mut failures = Vec::new();
    let mut n = 0;
    let mut title = "";
    let mut parts = text.split("```");
    while let (Some(prose), Some(block)) = (parts.next(), parts.next()) {
        title = prose.lines().rev().find(|l| l.starts_with('#')).unwrap_or(title);
        for (expectation, got) in case(block) {
            n += 1;
            if expectation != got {
                failures.push(format!("{title}\n  expected {expectation}\n  got      {got}"));
            }
        }
    }
    assert!(n > 10, "cases were found");
    assert!(failures.is_empty(), "{} of {n} cases differ:\n{}", failures.len(), failures.join("\n"));
}

/// One case: `key: value` lines, rows indented by two spaces, then `expect` lines, each with its policy.
fn case(block: &str) -> Vec<(String, String)> {
    let (mut registered, mut pending) = (None, None);
    let mut base = String::new();
    let mut file: Option<(Option<String>, Vec<String>)> = None;
    let mut out = Vec::new();
    for line in block.lines().filter(|l| !l.trim().is_empty()) {
        if let Some(row) = line.strip_prefix("  ") {
            let (_, rows) = file.as_mut().expect("rows follow csv: or json:");
            let (text, times) = row.rsplit_once(" x").and_then(|(t, n)| n.parse().ok().map(|n| (t, n))).unwrap_or((row, 1usize));
            for _ in 0..times {
                rows.push(text.replace('#', &(rows.len() + 1).to_string()));
            }
            continue;
        }
        let (key, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        let value = value.trim();
        match key {
            "registered" => registered = Some(record(value)),
            "pending" => pending = Some(record(value)),
            "options" => base = value.to_owned(),
            "csv" => file = Some((Some(value.to_owned()), Vec::new())),
            "json" => file = Some((None, Vec::new())),
            "text" | "" => {}
            expect if expect.starts_with("expect") => {
                let (options, source) = options(&format!("{base} {}", expect.trim_start_matches("expect")));
                let (header, rows) = file.as_ref().expect("a file");
                let file = match header {
                    Some(header) => text_file(header, rows),
                    None => json_file(rows),
                };
                let outcome = run(registered.as_ref(), pending.as_ref(), &options, &source, &file);
                out.push((format!("{key}: {value}"), format!("{key}: {}", summary(&outcome))));
            }
            other => panic!("{other:?} in {block}"),
        }
    }
    out
}

/// `codes | kinds | action | landed/quarantined | raw columns`; breaking codes carry `!`, hard ones `!!`.
fn summary(outcome: &Outcome) -> String {
    let mark = |f: &Finding| match (f.announced, f.hard, f.breaking) {
        (true, ..) => "~",
        (_, true, _) => "!!",
        (_, _, true) => "!",
        _ => "",
    };
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let drift = &outcome.drift;
    let codes = drift.findings.iter().map(|f| format!("{}{}", f.code, mark(f))).collect::<Vec<_>>().join(" ");
    let kinds = drift.kinds.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(" ");
    let rows = match drift.plan {
        Some(_) => format!("{}/{}", outcome.counts.landed, outcome.counts.quarantined),
        None => "file".to_owned(),
    };
    let raw = drift.raw_columns.join(" ");
    format!("{} | {} | {} | {rows} | {}", dash(codes), dash(kinds), drift.action.as_str(), dash(raw))
}

fn options(words: &str) -> (SchemaOptions, SourceOptions) {
    let mut o = SchemaOptions::default();
    let mut source = SourceOptions::default();
    let list = |v: &str| v.split(',').map(str::to_owned).collect::<Vec<_>>();
    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').expect("key=value");
        // Values that hold spaces write them as ~.
        let value = value.replace('~', " ");
        match key {
            "required" => o.required = list(&value),
            "identity" => o.identity = list(&value),
            "beta" => o.policy.max_bad_row_ratio = value.parse().expect("ratio"),
            "A" => o.policy.allow_additive_columns = value == "true",
            "Q" => o.policy.quarantine_on_breaking_change = value == "true",
            "S" => {
                o.policy.strict_required_columns = match value.as_str() {
                    "true" => StrictRequired::All,
                    "false" => StrictRequired::None,
                    names => StrictRequired::Columns(list(names)),
                }
            }
            "C" => {
                o.policy.allow_type_coercion = match value.as_str() {
                    "none" => Coercion::None,
                    "full" => Coercion::Full,
                    _ => Coercion::Limited,
                }
            }
            "M" => o.compatibility = Compatibility::ALL.into_iter().find(|m| m.as_str() == value).expect("mode"),
            "max_new" => o.policy.max_new_columns = value.parse().expect("number"),
            "nulls" => source.csv.null_tokens = list(&value),
            column => {
                let (fact, column) = column.split_once('.').expect("fact.column");
                let c: &mut ColumnRules = o.columns.entry(column.to_owned()).or_default();
                match fact {
                    "format" => c.formats.push(value),
                    "min" => c.min = value.parse().ok(),
                    "max" => c.max = value.parse().ok(),
                    "pattern" => c.pattern = Some(value),
                    "allowed" => c.allowed_values = Some(list(&value)),
                    "alias" => c.aliases = list(&value),
                    "zone" => c.timezone = Some(value),
                    "nulls" => c.null_tokens = Some(list(&value)),
                    "cast" | "project" => {
                        let choice = format!("{fact}:{value}").parse().expect("a type");
                        o.resolve.insert(column.to_owned(), choice);
                    }
                    "match" => {
                        o.resolve.insert(column.to_owned(), Resolve::MatchRegistry);
                    }
                    "event_time" => c.event_time = value == "true",
                    "booleans" => {
                        let (t, f) = value.split_once('/').expect("t/f");
                        c.booleans = Some(BooleanTokens { truthy: list(t), falsy: list(f) });
                    }
                    other => panic!("no fact {other}"),
                }
            }
        }
    }
    (o, source)
}

fn lines(text: &[&str]) -> Vec<String> {
    text.iter().map(|s| (*s).to_owned()).collect()
}

fn plain(registered: Option<&str>, o: &SchemaOptions, file: &File) -> Outcome {
    run(registered.map(record).as_ref(), None, o, &SourceOptions::default(), file)
}

/// The type the contract sets is what lands and what the plan says; the registry keeps its own.
#[test]
fn a_cast_column_lands_in_the_contracts_type() {
    let (o, _) = options("cast.amount=double cast.code=string");
    let file = text_file("amount|code|later", &lines(&["1.50|007|x", "2|8|y"]));
    let out = plain(Some("amount:string? code:long!"), &o, &file);
    assert_eq!(out.column("amount"), ["1.5", "2.0"]);
    assert_eq!(out.column("code"), ["007", "8"]);
    let evolved = out.drift.evolved.expect("the new column is registered");
    assert_eq!(evolved, record("amount:string? code:long! later:string?"));
    let (o, _) = options("cast.amount=double");
    let out = plain(None, &o, &text_file("amount", &lines(&["1", "2"])));
    assert_eq!(out.drift.evolved.expect("version 1").fields[0].shape, Shape::Double);
}

#[test]
fn a_projected_original_is_kept_and_nothing_is_bad() {
    let (o, _) = options("project.n=long");
    let file = json_file(&lines(&[r#"{"n": 1}"#, r#"{"n": "2"}"#, r#"{"n": 2.5}"#, r#"{"n": {"k": 1}}"#, r#"{"n": null}"#]));
    let out = plain(Some("n:long?"), &o, &file);
    assert_eq!(out.column("n"), ["1", "null", "null", "null", "null"]);
    assert_eq!(out.column("n__raw"), ["null", "2", "2.5", r#"{"k":1}"#, "null"]);
    assert!(out.bad.is_empty());
}

#[test]
fn big_numbers_stay_exact_and_never_become_infinite() {
    let file = json_file(&lines(&[
        r#"{"n": 9007199254740993, "d": 1e308, "t": 9007199254740993.10}"#,
        r#"{"n": -9223372036854775808, "d": 0.1, "t": 1e+400}"#,
    ]));
    let o = plain(Some("n:long? d:double? t:string?"), &SchemaOptions::default(), &file);
    assert_eq!(o.column("n"), ["9007199254740993", "-9223372036854775808"]);
    assert_eq!(o.column("t"), ["9007199254740993.10", "1e+400"], "text columns keep the token");
    for token in ["1e400", "9007199254740993", "1e-400", "NaN", "inf", "Infinity", "-nan"] {
        let file = text_file("d", &lines(&[token]));
        let o = plain(Some("d:double?"), &SchemaOptions::default(), &file);
        assert_eq!(o.codes(), ["TY8"], "{token}");
    }
}

#[test]
fn look_alikes_in_string_columns_stay_byte_for_byte() {
    let cells = ["00123", "1e5", "NaN", "true", "=1+1", "NULL", " x ", "2024-01-01"];
    let o = plain(Some("s:string!"), &SchemaOptions::default(), &text_file("s", &lines(&cells)));
    assert_eq!(o.column("s"), cells);
    assert!(o.drift.is_clean());
    assert_eq!(o.drift.reason, ReasonCode::Valid);
}

#[test]
fn onboarding_infers_types_and_registers_version_one() {
    let header = "id|zip|price|when|day|ok|note|empty";
    let file = text_file(
        header,
        &lines(&[
            "1|00123|2.50|2024-01-01T00:00:00Z|2024-01-01|true|a|",
            "9007199254740993|10115|3|2024-01-01T00:00:00.123456Z|2024-01-02|FALSE|7|",
        ]),
    );
    let o = plain(None, &SchemaOptions::default(), &file);
    let evolved = o.drift.evolved.as_ref().expect("version 1");
    let types: Vec<String> = evolved.fields.iter().map(|f| format!("{}:{}", f.name, f.shape)).collect();
    assert_eq!(types, ["id:long", "zip:string", "price:double", "when:timestamp-micros", "day:date", "ok:boolean", "note:string"]);
    assert_eq!((o.drift.new_version, o.drift.action, o.drift.kinds.len()), (Some(1), Action::Accept, 0));
    assert_eq!(o.column("id"), ["1", "9007199254740993"]);
    assert_eq!(o.counts.landed, 2);
}

#[test]
fn onboarding_of_nested_and_mixed_json() {
    let file = json_file(&lines(&[
        r#"{"a": {"x": 1, "first name": "q"}, "l": [1, 2], "m": 1, "e": []}"#,
        r#"{"a": {"x": 2.5}, "l": null, "m": {"k": [true]}, "e": []}"#,
    ]));
    let o = plain(None, &SchemaOptions::default(), &file);
    assert_eq!(o.column("a"), ["{x: 1.0, first_name: q}", "{x: 2.5, first_name: null}"]);
    assert_eq!(o.column("l"), ["[1, 2]", "null"]);
    assert_eq!(o.column("m"), ["1", r#"{"k":[true]}"#], "mixed types land as JSON text");
    assert_eq!(o.column("_rescued"), ["{e: []}", "{e: []}"]);
}

#[test]
fn onboarding_judges_required_columns_and_contract_facts() {
    let mut o = SchemaOptions { required: vec!["id".to_owned(), "gone".to_owned()], ..SchemaOptions::default() };
    let file = text_file("id|qty", &lines(&["1|2"]));
    let missing = plain(None, &o, &file);
    assert_eq!(missing.codes(), ["RM2"]);
    o.required.pop();
    o.policy.max_bad_row_ratio = 0.5;
    o.columns = rules("qty", ColumnRules { min: Some(0.0), ..ColumnRules::default() });
    let judged = plain(None, &o, &text_file("id|qty", &lines(&["1|2", "|3", "3|4", "4|-1", "5|1"])));
    assert_eq!(judged.codes(), ["NU1", "SE2"]);
    assert_eq!(judged.column("id"), ["1", "3", "5"]);
}

#[test]
fn rescued_values_keep_their_paths() {
    let mut o = SchemaOptions::default();
    o.policy.allow_additive_columns = false;
    o.policy.quarantine_on_breaking_change = false;
    let file = json_file(&lines(&[r#"{"a": {"x": 1, "new": {"k": 1.50}}, "top": "t"}"#]));
    let out = plain(Some("a:record<x=int>?"), &o, &file);
    assert_eq!(out.column("_rescued"), [r#"{top: t, a.new: {"k":1.50}}"#]);
    assert!(out.drift.kinds.contains(&Kind::Contract), "leniency does not silence the alert");
}

#[test]
fn duplicates_are_dropped_and_conflicts_quarantined() {
    let o = SchemaOptions {
        dedupe: Some(Dedupe { key: vec!["id".to_owned()], exact_duplicate: Default::default(), conflicting_duplicate: Default::default() }),
        ..SchemaOptions::default()
    };
    let file = text_file("id|v", &lines(&["1|a", "2|b", "1|a", "1.0|a", "2|c", "|x", "|x", "3|d", "1|a"]));
    let mut o = o;
    o.policy.max_bad_row_ratio = 0.9;
    let out = plain(Some("id:long? v:string?"), &o, &file);
    assert_eq!(out.column("v"), ["a", "b", "x", "x", "d"], "null key parts never match");
    assert_eq!((out.counts.deduplicated, out.counts.quarantined, out.counts.by_duplicates), (3, 1, 1));
    assert_eq!(out.bad[0].reason, ReasonCode::ConflictingDuplicate);
    assert_eq!(out.bad[0].place.row, 4);
}

#[test]
fn bad_rows_say_what_and_where_and_hide_sensitive_values() {
    let mut o = SchemaOptions { required: vec!["n".to_owned()], ..SchemaOptions::default() };
    o.policy.max_bad_row_ratio = 0.5;
    let file = text_file("n|pin", &lines(&["1|1111", "x|2222", "3|3333"]));
    o.columns = rules("pin", ColumnRules { sensitive: true, ..ColumnRules::default() });
    let out = plain(Some("n:long! pin:string?"), &o, &file);
    let bad = &out.bad[0];
    assert_eq!((bad.place.row, bad.code, bad.path.as_str(), bad.detail.as_str()), (1, Some(FindingCode::Ty9), "n", r#""x" is not a long"#));
    assert_eq!(bad.source, b"x,[redacted]");
}

#[test]
fn a_refused_evolution_becomes_breaking() {
    let registered = RegisteredSchema { version: 3, shape: record("id:long!") };
    let o = SchemaOptions::default();
    let file = text_file("id|new", &lines(&["1|a"]));
    let observation = crate::schema::testing::observe(Some(&registered.shape), &o, &SourceOptions::default(), &file);
    let drift = classify(&DriftInput {
        registered: Some(&registered),
        pending: None,
        options: &o,
        null_tokens: &[],
        observation: &observation,
        events: &[],
        evolution_refused: true,
    });
    assert_eq!((drift.action, drift.reason), (Action::Quarantine, ReasonCode::RegistryRefused));
    assert!(drift.plan.is_none() && drift.evolved.is_none());
}

#[test]
fn events_are_findings_except_what_onboarding_detects() {
    let o = SchemaOptions::default();
    let events = [
        FileEvent { reason: ReasonCode::DelimiterDialect, detail: "; instead of ,".to_owned() },
        FileEvent { reason: ReasonCode::EncodingChange, detail: "cp1252".to_owned() },
    ];
    let registered = RegisteredSchema { version: 1, shape: record("id:long!") };
    let file = text_file("id", &lines(&["1"]));
    let codes = |registered: Option<&RegisteredSchema>| {
        let observation = crate::schema::testing::observe(registered.map(|r| &r.shape), &o, &SourceOptions::default(), &file);
        let drift = classify(&DriftInput {
            registered,
            pending: None,
            options: &o,
            null_tokens: &[],
            observation: &observation,
            events: &events,
            evolution_refused: false,
        });
        (drift.findings.len(), drift.reason, drift.action)
    };
    assert_eq!(codes(Some(&registered)), (2, ReasonCode::DelimiterDialect, Action::Accept));
    assert_eq!(codes(None), (1, ReasonCode::EncodingChange, Action::Accept));
}

#[test]
fn nycflights_rows_parse_with_na_as_null() {
    let header = "year|month|day|dep_time|sched_dep_time|dep_delay|arr_time|sched_arr_time|arr_delay|carrier|flight|tailnum|origin|dest|air_time|distance|hour|minute|time_hour";
    let rows = lines(&[
        "2013|1|1|517|515|2|830|819|11|UA|1545|N14228|EWR|IAH|227|1400|5|15|2013-01-01T10:00:00Z",
        "2013|1|1|533|529|4|850|830|20|UA|1714|N24211|LGA|IAH|227|1416|5|29|2013-01-01T10:00:00Z",
        "2013|1|1|544|545|-1|1004|1022|-18|B6|725|N804JB|JFK|BQN|183|1576|5|45|2013-01-01T10:00:00Z",
        "2013|1|1|NA|1630|NA|NA|1815|NA|EV|4308|N18120|EWR|RDU|NA|416|16|30|2013-01-01T21:00:00Z",
        "2013|1|1|NA|600|NA|NA|901|NA|B6|125|NA|JFK|FLL|NA|1069|6|0|2013-01-01T11:00:00Z",
    ]);
    let mut source = SourceOptions::default();
    source.csv.null_tokens = vec!["NA".to_owned()];
    let first = run(None, None, &SchemaOptions::default(), &source, &text_file(header, &rows));
    let shape = first.drift.evolved.clone().expect("version 1");
    assert_eq!(shape.field("dep_delay").map(|f| f.shape.to_string()).as_deref(), Some("long"));
    assert_eq!(shape.field("time_hour").map(|f| f.shape.to_string()).as_deref(), Some("timestamp-millis"));
    let again = run(Some(&shape), None, &SchemaOptions::default(), &source, &text_file(header, &rows));
    assert!(again.drift.is_clean(), "{:?}", again.drift.findings);
    assert_eq!(again.column("tailnum")[4], "null");
    assert_eq!(again.counts.landed, 5);
}

#[test]
fn rename_candidates_are_named_never_mapped() {
    let o = SchemaOptions { required: vec!["site".to_owned()], ..SchemaOptions::default() };
    let out = plain(Some("id:long! site:string!"), &o, &text_file("id|property", &lines(&["1|x", "2|y"])));
    assert_eq!(out.drift.action, Action::Quarantine);
    assert_eq!(out.drift.reason, ReasonCode::HeaderRename);
    let c = &out.drift.rename_candidates[0];
    assert_eq!((c.from.as_str(), c.to.as_str()), ("property", "site"));
}

#[test]
fn the_main_reason_is_that_of_the_strongest_finding() {
    let o = SchemaOptions::default();
    let reason = |registered: &str, file: &File| plain(Some(registered), &o, file).drift.reason;
    assert_eq!(reason("a:long! b:string!", &text_file("a", &lines(&["1"]))), ReasonCode::MissingRequiredColumn);
    assert_eq!(reason("a:long? b:long?", &text_file("b|a", &lines(&["1|2"]))), ReasonCode::ColumnOrder);
    assert_eq!(reason("a:long? b:long?", &text_file("B|a", &lines(&["1|x"]))), ReasonCode::TypeDrift);
    assert_eq!(reason("a:boolean?", &text_file("a", &lines(&["yes"]))), ReasonCode::BooleanDialect);
    assert_eq!(reason("a:long?", &text_file("a", &lines(&["99999999999999999999"]))), ReasonCode::NumericOverflow);
    assert_eq!(reason("a:long?", &json_file(&lines(&[r#"{"a":1}"#, r#"{"a":{"b":1}}"#]))), ReasonCode::JsonMixedTypes);
    assert_eq!(reason("a:long?", &json_file(&lines(&[r#"{"a":{"b":1}}"#]))), ReasonCode::Structural);
    assert_eq!(reason("a:long?", &text_file("a", &lines(&["!", "1"]))), ReasonCode::RaggedRows);
}

#[test]
fn casts_give_the_values_of_the_lattice() {
    let mut o = SchemaOptions::default();
    o.policy.allow_type_coercion = Coercion::Full;
    let file = text_file(
        "i|d|m|b|day|ts|z",
        &lines(&[
            "-3.9|1.234,50|12.345|T|25/03/2024|Mar 5, 2024 10:30|2024-03-05T10:30:00+02:00",
            "7.00|7,5|-0.1|f|1/4/2024|Mar 6, 2024|2024-03-05",
        ]),
    );
    let out = plain(Some("i:int? d:double? m:decimal(6,2)? b:boolean? day:date? ts:millis? z:naive?"), &o, &file);
    assert_eq!(out.column("i"), ["-3", "7"]);
    assert_eq!(out.column("i__raw"), ["-3.9", "null"], "raw only where something was lost");
    assert_eq!(out.column("d"), ["1234.5", "7.5"]);
    assert_eq!(out.column("m"), ["12.34", "-0.10"]);
    assert_eq!(out.column("b"), ["true", "false"]);
    assert_eq!(out.column("day"), ["2024-03-25", "2024-04-01"]);
    assert_eq!(out.column("ts"), ["2024-03-05T10:30:00Z", "2024-03-06T00:00:00Z"]);
    assert_eq!(out.column("z"), ["2024-03-05T08:30:00", "2024-03-05T00:00:00"]);
}

#[test]
fn the_file_is_rejected_for_one_bad_row_where_the_contract_says_so() {
    let mut o = SchemaOptions { on_bad_row: OnBadRow::RejectFile, ..SchemaOptions::default() };
    o.policy.max_bad_row_ratio = 0.9;
    let out = plain(Some("a:long!"), &o, &text_file("a", &lines(&["1", "x", "2"])));
    assert_eq!(out.drift.action, Action::Quarantine);
    assert_eq!(out.drift.rows_reject.map(|r| (r.quarantined, r.physical)), Some((1, 3)));
}

#[test]
fn a_row_bad_in_two_columns_counts_once() {
    let mut o = SchemaOptions { required: vec!["a".to_owned(), "b".to_owned()], ..SchemaOptions::default() };
    o.policy.max_bad_row_ratio = 0.5;
    let out = plain(Some("a:long! b:long!"), &o, &text_file("a|b", &lines(&["x|x", "1|1", "2|", "3|3", "4|4"])));
    assert_eq!((out.drift.quarantined_rows, out.counts.quarantined), (2, 2));
}

#[test]
fn defaults_stand_in_for_missing_values() {
    let mut registered = record("id:long! n:int! e:enum(A|B=B)?");
    registered.fields[1].default = Some(serde_json::json!(5));
    let file = json_file(&lines(&[r#"{"id": 1}"#, r#"{"id": 2, "n": null, "e": "Z"}"#, r#"{"id": 3, "n": 7, "e": "A"}"#]));
    let out = run(Some(&registered), None, &SchemaOptions::default(), &SourceOptions::default(), &file);
    assert_eq!(out.column("n"), ["5", "5", "7"], "decisions.md 29");
    assert_eq!(out.column("e"), ["null", "B", "A"]);
    assert_eq!(out.column("e__raw"), ["null", "Z", "null"]);
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "-?[0-9]{1,12}",
        "[0-9]{1,3}[.,][0-9]{1,4}",
        "[0-9]{1,2}/[0-9]{1,2}/20[0-9]{2}",
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]( [0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,8})?)?Z?)?",
        "true|false|yes|no|NA|NULL|-|y|n|1|0",
        "[^|]{0,12}",
    ]
}

fn json_cell() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[1-9][0-9]{0,18}",
        "[0-9]\\.[0-9]{1,4}",
        cell().prop_map(|c| serde_json::Value::String(c).to_string()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("1e400".to_owned()),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|v| format!("[{}]", v.join(","))),
            (inner.clone(), inner).prop_map(|(a, b)| format!(r#"{{"x":{a},"Y":{b}}}"#)),
        ]
    })
}

fn any_options() -> impl Strategy<Value = SchemaOptions> {
    (any::<[bool; 5]>(), 0..3usize, prop_oneof![Just(0.0), Just(0.3), Just(0.7), Just(1.0)]).prop_map(|(bits, c, beta)| {
        let mut o = SchemaOptions::default();
        o.policy.allow_additive_columns = bits[0];
        o.policy.quarantine_on_breaking_change = bits[1];
        o.policy.allow_type_coercion = [Coercion::None, Coercion::Limited, Coercion::Full][c];
        o.policy.max_bad_row_ratio = beta;
        if bits[2] {
            o.required = vec!["b".to_owned()];
        }
        if bits[3] {
            o.dedupe =
                Some(Dedupe { key: vec!["a".to_owned()], exact_duplicate: Default::default(), conflicting_duplicate: Default::default() });
        }
        if bits[4] {
            o.columns = rules(
                "a",
                ColumnRules {
                    min: Some(10.0),
                    allowed_values: Some(vec!["1".into(), "12".into(), "yes".into()]),
                    ..ColumnRules::default()
                },
            );
        }
        o
    })
}

fn any_registered() -> impl Strategy<Value = Option<String>> {
    let ty = prop_oneof![
        Just("int"),
        Just("long"),
        Just("float"),
        Just("double"),
        Just("decimal(6,2)"),
        Just("boolean"),
        Just("date"),
        Just("millis"),
        Just("naive"),
        Just("string"),
        Just("bytes"),
        Just("enum(yes|no=no)"),
        Just("enum(1|0)"),
        Just("array<int>"),
        Just("map<double>"),
        Just("record<x=int,y=date>"),
    ];
    let word = |name: &'static str| (ty.clone(), any::<bool>()).prop_map(move |(t, n)| format!("{name}:{t}{}", if n { '?' } else { '!' }));
    let all = (word("a"), word("b"), word("z")).prop_map(|(a, b, z)| format!("{a} {b} {z}"));
    prop_oneof![1 => Just(None), 4 => all.prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_table_is_decided_and_read_with_agreeing_counts(
        registered in any_registered(), o in any_options(),
        rows in proptest::collection::vec((cell(), cell(), cell()), 0..24),
    ) {
        let text: Vec<String> = rows.into_iter().map(|(a, b, c)| format!("{a}|{b}|{c}")).collect();
        let out = plain(registered.as_deref(), &o, &text_file("a|b|c", &text));
        prop_assert_eq!(out.drift.plan.is_none(), out.drift.action == Action::Quarantine);
    }

    #[test]
    fn any_json_is_decided_and_read_with_agreeing_counts(
        registered in any_registered(), o in any_options(),
        rows in proptest::collection::vec((json_cell(), json_cell(), json_cell()), 0..16),
    ) {
        let text: Vec<String> = rows.into_iter().enumerate().map(|(i, (a, b, c))| match i % 3 {
            0 => format!(r#"{{"a":{a},"b":{b},"c d":{c}}}"#),
            1 => format!(r#"{{"A":{a},"c_d":{c}}}"#),
            _ => format!(r#"{{"b":{b},"a":{a},"a ":{c}}}"#),
        }).collect();
        let out = plain(registered.as_deref(), &o, &json_file(&text));
        prop_assert_eq!(out.drift.plan.is_none(), out.drift.action == Action::Quarantine);
    }

    #[test]
    fn what_is_inferred_can_be_read(rows in proptest::collection::vec((cell(), cell()), 1..24)) {
        let text: Vec<String> = rows.into_iter().map(|(a, b)| format!("{a}|{b}")).collect();
        let out = plain(None, &SchemaOptions::default(), &text_file("a|b", &text));
        prop_assert_eq!(out.counts.landed, text.len() as u64);
        if let Some(shape) = out.drift.evolved {
            let again = run(Some(&shape), None, &SchemaOptions::default(), &SourceOptions::default(), &text_file("a|b", &text));
            prop_assert!(again.drift.findings.iter().all(|f| matches!(f.code.as_str(), "TY15a" | "AD3")), "{:?}", again.drift.findings);
        }
    }
}
