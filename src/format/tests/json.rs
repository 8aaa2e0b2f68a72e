use super::*;
use crate::domain::units::ByteSize;
use crate::format::options::{JsonOptions, Limits, OnBigNumber, OnOddity};
use crate::format::reader::JsonStyle;
use ReasonCode::*;

/// name, bytes, rows, bad rows, style.
type Case = (&'static str, &'static str, &'static str, &'static [(u64, ReasonCode)], JsonStyle);

const ACCEPTED: &[Case] = &[
    ("lines", "{\"a\":1}\n{\"a\":2}\n", "{\"a\":1} {\"a\":2}", &[], JsonStyle::Lines),
    ("no final line break", "{\"a\":1}\n{\"a\":2}", "{\"a\":1} {\"a\":2}", &[], JsonStyle::Lines),
    ("empty lines", "\n{\"a\":1}\n\r\n  \n{\"a\":2}\n", "{\"a\":1} {\"a\":2}", &[], JsonStyle::Lines),
    ("several on a line", "{\"a\":1}{\"a\":2} {\"a\":3}\n", "{\"a\":1} {\"a\":2} {\"a\":3}", &[], JsonStyle::Lines),
    ("array", "[{\"a\":1},\n {\"a\":2}]\n", "{\"a\":1} {\"a\":2}", &[], JsonStyle::Array),
    ("empty array", " [ ] \n", "", &[], JsonStyle::Array),
    ("empty object", "{}", "{}", &[], JsonStyle::Lines),
    ("pretty-printed", "{\n \"a\": 1\n}\n{\n \"a\": 2\n}\n", "{\"a\":1} {\"a\":2}", &[], JsonStyle::Concatenated),
    ("record separators", "\u{1e}{\"a\":\n1}\n\u{1e}{\"a\":2}\n", "{\"a\":1} {\"a\":2}", &[], JsonStyle::RsSeparated),
    ("envelope", "{\"data\":[{\"a\":1}]}", "{\"data\":[{\"a\":1}]}", &[], JsonStyle::Lines),
    (
        "number texts",
        "{\"a\":2.50,\"b\":1e3,\"c\":9007199254740993,\"d\":1e400}",
        "{\"a\":2.50,\"b\":1e3,\"c\":9007199254740993,\"d\":1e400}",
        &[],
        JsonStyle::Lines,
    ),
    (
        "keys compare byte by byte",
        "{\"é\":1,\"e\u{301}\":2,\"A\":3,\"a\":4}",
        "{\"é\":1,\"e\\u{301}\":2,\"A\":3,\"a\":4}",
        &[],
        JsonStyle::Lines,
    ),
    ("escapes", "{\"a\":\"\\u00e4\\ud83d\\ude00\\n\\/\"}", "{\"a\":\"ä😀\\n/\"}", &[], JsonStyle::Lines),
    ("a mark between lines", "\u{feff}{\"a\":1}\n\u{feff}{\"a\":2}\n", "{\"a\":1} {\"a\":2}", &[], JsonStyle::Lines),
    ("NUL tail", "{\"a\":1}\n\0\0\0", "{\"a\":1}", &[], JsonStyle::Lines),
    ("control-Z after an array", "[{\"a\":1}]\n\u{1a}", "{\"a\":1}", &[], JsonStyle::Array),
    // Row level.
    ("bad line", "{\"a\":1}\n{\"a\":}\n{\"a\":3}\n", "{\"a\":1} {\"a\":3}", &[(1, JsonSyntax)], JsonStyle::Lines),
    ("bad first line", "oops\n{\"a\":2}\n{\"a\":3}\n", "{\"a\":2} {\"a\":3}", &[(0, JsonSyntax)], JsonStyle::Lines),
    ("cut first line", "{\"a\":1,\n{\"a\":2}\n{\"a\":3}\n", "{\"a\":2} {\"a\":3}", &[(0, JsonSyntax)], JsonStyle::Lines),
    ("nothing of a bad line lands", "{\"a\":1}{\"a\":\n{\"a\":3}\n", "{\"a\":3}", &[(0, JsonSyntax)], JsonStyle::Lines),
    ("cut last line", "{\"a\":1}\n{\"a\":", "{\"a\":1}", &[(1, TruncatedTail)], JsonStyle::Lines),
    ("scalar line", "{\"a\":1}\n5\n", "{\"a\":1}", &[(1, JsonNotRecords)], JsonStyle::Lines),
    ("duplicate key", "{\"a\":1}\n{\"a\":1,\"a\":2}\n", "{\"a\":1}", &[(1, JsonDuplicateKey)], JsonStyle::Lines),
    ("duplicate key in an array", "[{\"a\":1,\"a\":2},{\"a\":3}]", "{\"a\":3}", &[(0, JsonDuplicateKey)], JsonStyle::Array),
    ("nested duplicate key", "{\"a\":{\"b\":1,\"\\u0062\":2}}\n{}\n", "{}", &[(0, JsonDuplicateKey)], JsonStyle::Lines),
    ("lone surrogate", "{\"a\":\"\\ud800\"}\n{\"a\":\"\\udc00x\"}\n{}\n", "{}", &[(0, JsonSyntax), (1, JsonSyntax)], JsonStyle::Lines),
    ("NaN and Infinity", "{\"a\":NaN}\n{\"a\":-Infinity}\n{\"a\":1}\n", "{\"a\":1}", &[(0, JsonSyntax), (1, JsonSyntax)], JsonStyle::Lines),
    (
        "what is no JSON",
        "{\"a\":1}\n{\"a\":1,}\n{'a':1}\n{\"a\":1} // x\n{a:1}\n{\"a\":01}\n{\"a\":.5}\n{\"a\":\"\t\"}\n{\"a\":+1}\n{\"a\":1.}\n",
        "{\"a\":1}",
        &[
            (1, JsonSyntax),
            (2, JsonSyntax),
            (3, JsonSyntax),
            (4, JsonSyntax),
            (5, JsonSyntax),
            (6, JsonSyntax),
            (7, JsonSyntax),
            (8, JsonSyntax),
            (9, JsonSyntax),
        ],
        JsonStyle::Lines,
    ),
    ("a scalar among an array's objects", "[{\"a\":1},5,{\"a\":2}]", "{\"a\":1} {\"a\":2}", &[(1, JsonNotRecords)], JsonStyle::Array),
    (
        "a broken record between separators",
        "\u{1e}{\"a\":1}\n\u{1e}{\"a\":\n\u{1e}{\"a\":3}\n",
        "{\"a\":1} {\"a\":3}",
        &[(1, JsonSyntax)],
        JsonStyle::RsSeparated,
    ),
];

#[test]
fn files_that_can_be_read() {
    let options = only(&[Format::Json, Format::JsonLines]);
    for (name, text, rows, bad, style) in ACCEPTED {
        let read = read(text.as_bytes(), &options, &Hint::default()).unwrap_or_else(|e| panic!("{name}: refused with {e}"));
        assert_eq!(show(&read.rows), *rows, "{name}");
        assert_eq!(read.bad, *bad, "{name}");
        assert_eq!(read.resolved.json, Some(*style), "{name}");
        let again = Hint { resolved: Some(read.resolved.clone()), ..Hint::default() };
        let again = super::read(text.as_bytes(), &options, &again).unwrap_or_else(|e| panic!("{name}, again: refused with {e}"));
        assert_eq!((again.rows, again.bad), (read.rows, read.bad), "{name}: the second reading equals the first");
    }
}

#[test]
fn files_that_are_refused() {
    let deep = "[".repeat(100_000);
    let deep_object = format!("{{\"a\":\n{}", "[".repeat(100_000));
    for (name, text, reason) in [
        ("a number", "5", JsonNotRecords),
        ("a string", "\"x\"", JsonNotRecords),
        ("null", "null\n", JsonNotRecords),
        ("scalars in an array", "[1,2,3]", JsonNotRecords),
        ("arrays in an array", "[[{\"a\":1}]]", JsonNotRecords),
        ("text", "id,name\n1,a\n", FormatMismatch),
        ("markup", "<html><body>502</body></html>", FormatMismatch),
        ("cut array", "[{\"a\":1},{\"a\":2}", JsonTruncated),
        ("cut array in an element", "[{\"a\":1},{\"a\":", JsonTruncated),
        ("array without commas", "[{\"a\":1} {\"a\":2}]", JsonSyntax),
        ("array with a trailing comma", "[{\"a\":1},]", JsonSyntax),
        ("a second array", "[{\"a\":1}]\n[{\"a\":2}]", JsonSyntax),
        ("an object after an array", "[{\"a\":1}]{\"a\":2}", JsonSyntax),
        ("broken pretty-printed record", "{\n\"a\": 1\n}\n{\n\"a\": oops\n}\n", JsonSyntax),
        ("cut pretty-printed record", "{\n\"a\": 1\n}\n{\n\"a\": 1", JsonTruncated),
        ("100,000 brackets", deep.as_str(), JsonDepth),
        ("100,000 brackets in an object that spans lines", deep_object.as_str(), JsonDepth),
        ("nothing", "  \n", EmptyFile),
    ] {
        let read = read(text.as_bytes(), &only(&[Format::Json, Format::JsonLines]), &Hint::default());
        assert_eq!(read.map(|r| (r.rows, r.bad)), Err(reason), "{name}");
    }
}

#[test]
fn depth_is_a_row_fault_in_lines() {
    let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
    let text = format!("{}\n{}\n{{\"a\":{}\n", nested(127), nested(128), "[".repeat(100_000));
    let read = read(text.as_bytes(), &SourceOptions::default(), &Hint::default()).unwrap();
    assert_eq!((read.rows.len(), read.bad), (1, vec![(1, JsonDepth), (2, JsonDepth)]));
}

#[test]
fn the_style_is_an_event_where_another_was_declared() {
    let event = |text: &str, formats: &[Format], suffix: Option<&str>| {
        let hint = Hint { suffix: suffix.map(str::to_owned), ..Hint::default() };
        read(text.as_bytes(), &only(formats), &hint).unwrap().events.contains(&FormatJsonlVsArray)
    };
    let both = &[Format::Json, Format::JsonLines][..];
    for (text, formats, suffix, expected) in [
        ("[{}]", &[Format::JsonLines][..], None, true),
        ("[{}]", both, Some(".jsonl"), true),
        ("[{}]", both, None, false),
        ("{}\n{}\n", &[Format::Json], None, true),
        ("{}\n", &[Format::Json], None, false),
        ("{}\n{}\n", both, Some(".json"), true),
        ("{}\n{}\n", both, None, false),
        ("{}{}\n", both, None, true),
        ("{\n}\n{\n}\n", both, None, true),
        ("{\n}\n", both, Some(".json"), false),
        ("\u{1e}{}\n", both, None, true),
    ] {
        assert_eq!(event(text, formats, suffix), expected, "{text:?} {formats:?} {suffix:?}");
    }
}

#[test]
fn contracts_say_what_to_do_with_oddities() {
    let with = |json: JsonOptions| SourceOptions { json, ..only(&[Format::JsonLines]) };
    let accept = JsonOptions { duplicate_keys: OnOddity::Accept, non_finite: OnOddity::Accept, big_number: OnBigNumber::QuarantineRow };
    let text = b"{\"a\":1,\"b\":2,\"a\":3}\n{\"a\":NaN}\n{\"a\":9007199254740993}\n";
    let lenient = read(text, &with(accept.clone()), &Hint::default()).unwrap();
    assert_eq!((show(&lenient.rows).as_str(), lenient.bad), ("{\"a\":3,\"b\":2} {\"a\":NaN}", vec![(2, NumericOverflow)]));
    for (json, reason) in [
        (JsonOptions { duplicate_keys: OnOddity::RejectFile, ..accept.clone() }, JsonDuplicateKey),
        (JsonOptions { non_finite: OnOddity::RejectFile, ..accept.clone() }, JsonSyntax),
        (JsonOptions { big_number: OnBigNumber::RejectFile, ..accept }, NumericOverflow),
    ] {
        assert_eq!(read(text, &with(json), &Hint::default()).map(|r| r.rows), Err(reason));
    }
}

#[test]
fn limits_cost_rows_in_lines_and_the_file_where_records_span_lines() {
    let limits = Limits { field_bytes: ByteSize(10), record_bytes: ByteSize(100), columns: 3, ..Limits::default() };
    let options = SourceOptions { limits, ..only(&[Format::Json, Format::JsonLines]) };
    let huge = "z".repeat(3 << 20);
    let text = format!(
        "{{\"a\":\"{}\"}}\n{{\"a\":\"{}\"}}\n{{\"a\":\"{huge}\"}}\n{{\"a\":1,\"b\":2,\"c\":3,\"d\":4}}\n{{\"a\":5}}\n",
        "x".repeat(11),
        "y".repeat(101)
    );
    let lines = read(text.as_bytes(), &options, &Hint::default()).unwrap();
    assert_eq!(lines.bad, [(0, OversizedField), (1, OversizedRecord), (2, OversizedRecord), (3, TooManyColumns)]);
    assert_eq!((show(&lines.rows).as_str(), lines.places[0].line), ("{\"a\":5}", 5));
    let array = format!("[{{\"a\":\"{huge}\"}}]");
    assert_eq!(read(array.as_bytes(), &options, &Hint::default()).map(|r| r.rows), Err(OversizedRecord));
}

#[test]
fn places_point_at_the_object() {
    for (text, places) in [
        ("{\"a\":1}\n\n {\"a\":2}{\"a\":3}\n", [(1, 0), (3, 10), (3, 17)]),
        ("[\n{\"a\":1},\n\n{\"a\":2},{\"a\":3}]", [(2, 2), (4, 12), (4, 20)]),
        ("{\n\"a\":1}\n{\"a\":2}\n{\"a\":3}", [(1, 0), (3, 9), (4, 17)]),
    ] {
        let read = read(text.as_bytes(), &only(&[Format::Json]), &Hint::default()).unwrap();
        assert_eq!(read.places.iter().map(|p| (p.line, p.byte_offset)).collect::<Vec<_>>(), places, "{text:?}");
    }
}

#[test]
fn utf16_json_is_decoded_and_bad_utf8_is_a_bad_row() {
    let bytes: Vec<u8> = "{\"a\":\"ä\"}\n{\"a\":2}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = read(&bytes, &SourceOptions::default(), &Hint::default()).unwrap();
    assert_eq!(show(&wide.rows), "{\"a\":\"ä\"} {\"a\":2}");
    assert_eq!(wide.places[1].byte_offset, 20);
    let bad = read(b"{\"a\":\"\xe4\"}\n{\"a\":2}\n", &SourceOptions::default(), &Hint::default()).unwrap();
    assert_eq!((show(&bad.rows).as_str(), bad.bad), ("{\"a\":2}", vec![(0, EncodingInvalid)]));
}

#[test]
fn a_long_array_is_streamed() {
    let items: Vec<String> = (0..100_000).map(|i| format!("{{\"id\":{i},\"text\":\"some text to fill a block\"}}")).collect();
    let text = format!("[{}]", items.join(",\n"));
    let read = read(text.as_bytes(), &SourceOptions::default(), &Hint::default()).unwrap();
    assert_eq!(read.rows.len(), 100_000);
    assert!(read.places.iter().zip(&items).all(|(p, i)| text[p.byte_offset as usize..].starts_with(i.as_str())));
}
