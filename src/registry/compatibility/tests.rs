use super::*;

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"r","fields":[{fields}]}}"#)
}

const F1: &str = r#"{"name":"f1","type":"string"}"#;
const F2_DEFAULT: &str = r#"{"name":"f2","type":"string","default":"foo"}"#;
const F2: &str = r#"{"name":"f2","type":"string"}"#;
const F2_NULL: &str = r#"{"name":"f2","type":["null","string"],"default":null}"#;

fn passes(mode: Compatibility, versions: &[String], candidate: &str) -> bool {
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    check(mode, &versions, candidate).unwrap().is_empty()
}

#[test]
fn each_mode_allows_what_the_registry_allows() {
    use Compatibility::*;
    let one = [record(F1)];
    let two = [record(&format!("{F1},{F2}"))];
    let with = |f: &str| record(&format!("{F1},{f}"));
    let int = r#"{"name":"f1","type":"int"}"#;
    let long = r#"{"name":"f1","type":"long"}"#;
    // versions, candidate, modes that pass
    let cases: [(&[String], String, &[Compatibility]); 6] = [
        (&one, with(F2_NULL), &[None, Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive]),
        (&one, with(F2), &[None, Forward, ForwardTransitive]),
        (&two, record(F1), &[None, Backward, BackwardTransitive]),
        (&[record(int)], record(long), &[None, Backward, BackwardTransitive]),
        (&[record(long)], record(int), &[None, Forward, ForwardTransitive]),
        (&one, record(int), &[None]),
    ];
    for (versions, candidate, pass) in cases {
        for mode in Compatibility::ALL {
            assert_eq!(passes(mode, versions, &candidate), pass.contains(&mode), "{mode:?} {candidate}");
        }
    }
}

#[test]
fn the_latest_only_trap_needs_a_transitive_mode() {
    let versions = [record(F1), record(&format!("{F1},{F2_DEFAULT}"))];
    let third = record(&format!("{F1},{F2}"));
    assert!(passes(Compatibility::Backward, &versions, &third));
    assert!(!passes(Compatibility::BackwardTransitive, &versions, &third));
}

#[test]
fn unions_enums_and_nesting_are_resolved() {
    let nullable = record(r#"{"name":"f1","type":["null","string"],"default":null}"#);
    assert!(passes(Compatibility::Backward, &[record(F1)], &nullable), "a value fits its union");
    assert!(!passes(Compatibility::Backward, &[nullable], &record(F1)), "null does not fit string");
    let e = |symbols: &str, default: &str| {
        record(&format!(r#"{{"name":"e","type":{{"type":"enum","name":"E","symbols":[{symbols}]{default}}}}}"#))
    };
    assert!(passes(Compatibility::Backward, &[e(r#""A""#, "")], &e(r#""A","B""#, "")));
    assert!(!passes(Compatibility::Backward, &[e(r#""A","B""#, "")], &e(r#""A""#, "")));
    let nested =
        |t: &str| record(&format!(r#"{{"name":"n","type":{{"type":"record","name":"N","fields":[{{"name":"x","type":"{t}"}}]}}}}"#));
    assert!(passes(Compatibility::Backward, &[nested("int")], &nested("double")));
    assert!(!passes(Compatibility::Backward, &[nested("string")], &nested("int")));
}

#[test]
fn what_does_not_parse_is_named() {
    assert_eq!(check(Compatibility::Full, &["nope"], &record(F1)).unwrap_err().which, "version 1");
    assert_eq!(check(Compatibility::None, &[], "{}").unwrap_err().which, "the candidate");
}

fn reads(reader: &str, writer: &str) -> bool {
    unreadable(&AvroSchema::parse(reader).unwrap(), &AvroSchema::parse(writer).unwrap()).is_empty()
}

#[test]
fn resolution_follows_the_specification() {
    let e = |name: &str, symbols: &str, more: &str| format!(r#"{{"type":"enum","name":"{name}","symbols":[{symbols}]{more}}}"#);
    let f = |name: &str, size: u32, more: &str| format!(r#"{{"type":"fixed","name":"{name}","size":{size}{more}}}"#);
    let decimal = |p: u32| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":{p},"scale":2}}"#);
    // reader, writer, readable
    let cases = [
        (r#""long""#.to_owned(), r#""int""#.to_owned(), true),
        (r#""int""#.to_owned(), r#""long""#.to_owned(), false),
        (r#""float""#.to_owned(), r#""long""#.to_owned(), true),
        (r#""float""#.to_owned(), r#""double""#.to_owned(), false),
        (r#""bytes""#.to_owned(), r#""string""#.to_owned(), true),
        (r#""string""#.to_owned(), r#""bytes""#.to_owned(), true),
        (r#""boolean""#.to_owned(), r#""int""#.to_owned(), false),
        (decimal(12), decimal(10), true),
        (r#"["null","double"]"#.to_owned(), r#"["null","int"]"#.to_owned(), true),
        (r#"["null","int"]"#.to_owned(), r#"["null","int","string"]"#.to_owned(), false),
        (r#""int""#.to_owned(), r#"["int"]"#.to_owned(), true),
        (r#"{"type":"array","items":"long"}"#.to_owned(), r#"{"type":"array","items":"int"}"#.to_owned(), true),
        (r#"{"type":"map","values":"int"}"#.to_owned(), r#"{"type":"map","values":"string"}"#.to_owned(), false),
        (r#"{"type":"map","values":"int"}"#.to_owned(), r#"{"type":"array","items":"int"}"#.to_owned(), false),
        (e("E", r#""A""#, r#","default":"A""#), e("E", r#""A","B""#, ""), true),
        (e("E", r#""A""#, ""), e("E", r#""A","B""#, ""), false),
        (e("x.E", r#""A""#, ""), e("y.E", r#""A""#, ""), true),
        (e("New", r#""A""#, r#","aliases":["E"]"#), e("E", r#""A""#, ""), true),
        (e("New", r#""A""#, ""), e("E", r#""A""#, ""), false),
        (f("F", 4, ""), f("F", 4, ""), true),
        (f("F", 4, ""), f("F", 8, ""), false),
        (record(r#"{"name":"new","aliases":["old"],"type":"int"}"#), record(r#"{"name":"old","type":"int"}"#), true),
        (record(r#"{"name":"new","type":"int"}"#), record(r#"{"name":"old","aliases":["new"],"type":"int"}"#), false),
    ];
    for (reader, writer, readable) in cases {
        assert_eq!(reads(&reader, &writer), readable, "reader {reader}, writer {writer}");
    }
}

#[test]
fn recursive_types_end_and_their_differences_are_found() {
    let list = |value: &str| {
        format!(r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":"{value}"}},{{"name":"next","type":["null","L"]}}]}}"#)
    };
    assert!(reads(&list("long"), &list("int")));
    assert!(!reads(&list("int"), &list("long")));
}

#[test]
fn a_type_used_twice_is_compared_at_both_places() {
    let twice = |t: &str| {
        let named = format!(r#"{{"type":"record","name":"P","fields":[{{"name":"x","type":"{t}"}}]}}"#);
        record(&format!(r#"{{"name":"a","type":{named}}},{{"name":"b","type":"P"}}"#))
    };
    let found = unreadable(&AvroSchema::parse(&twice("int")).unwrap(), &AvroSchema::parse(&twice("string")).unwrap());
    assert_eq!(found, [r#""a.x": string cannot be read as int"#, r#""b.x": string cannot be read as int"#]);
}

#[test]
fn fingerprints_ignore_layout_and_key_order_but_not_defaults() {
    let print = |text: &str| AvroSchema::parse(text).unwrap().fingerprint().to_owned();
    let plain = r#"{"type":"record","name":"r","fields":[{"name":"f","type":"int"}]}"#;
    assert_eq!(print(plain), print(r#"{ "name":"r", "fields":[{"type":"int","name":"f"}], "type":"record" }"#));
    assert_ne!(print(plain), print(r#"{"type":"record","name":"r","fields":[{"name":"f","type":"int","default":0}]}"#));
}

proptest::proptest! {
    #[test]
    fn hostile_text_never_panics(text in ".{0,200}", depth in 0usize..400) {
        drop(AvroSchema::parse(&text));
        drop(AvroSchema::parse(&format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(depth), "}".repeat(depth))));
    }
}
