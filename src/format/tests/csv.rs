use super::*;
use crate::domain::units::ByteSize;
use crate::format::options::{CsvDialect, CsvOptions, Encoding, Limits};
use crate::format::reader::Newline;
use ReasonCode::*;

/// name, bytes, rows, bad rows, events; under the contract of [`visits`].
type Case = (&'static str, &'static str, &'static str, &'static [(u64, ReasonCode)], &'static [ReasonCode]);

const ACCEPTED: &[Case] = &[
    ("plain", "id,name,at\n1,a,2024-01-01\n2,b,2024-01-02\n", "1|a|2024-01-01 2|b|2024-01-02", &[], &[]),
    ("no final line break", "id,name,at\n1,a,2024-01-01", "1|a|2024-01-01", &[], &[]),
    ("CRLF", "id,name,at\r\n1,a,2024-01-01\r\n", "1|a|2024-01-01", &[], &[]),
    ("CR", "id,name,at\r1,a,2024-01-01\r2,b,2024-01-02\r", "1|a|2024-01-01 2|b|2024-01-02", &[], &[NewlineDialect]),
    ("mixed line ends", "id,name,at\r\n1,a,2024-01-01\n", "1|a|2024-01-01", &[], &[NewlineDialect]),
    ("empty lines are no records", "id,name,at\n\n1,a,2024-01-01\n\n\n", "1|a|2024-01-01", &[], &[]),
    ("header only", "id,name,at\n", "", &[], &[HeaderOnly]),
    ("header only, no line break", "id,name,at", "", &[], &[HeaderOnly]),
    ("quotes", "id,name,at\n1,\"a,\"\"b\"\"\nc\",2024-01-01\n", "1|a,\"b\"\nc|2024-01-01", &[], &[]),
    ("quote inside a plain field", "id,name,at\n1,5\" pipe,2024-01-01\n", "1|5\" pipe|2024-01-01", &[], &[]),
    ("semicolons", "id;name;at\n1;a;2024-01-01\n", "1|a|2024-01-01", &[], &[DelimiterDialect]),
    ("tabs", "id\tname\tat\n1\ta\t2024-01-01\n", "1|a|2024-01-01", &[], &[DelimiterDialect]),
    ("pipes", "id|name|at\n1|a|2024-01-01\n", "1|a|2024-01-01", &[], &[DelimiterDialect]),
    ("control A", "id\u{1}name\u{1}at\n1\u{1}a\u{1}2024-01-01\n", "1|a|2024-01-01", &[], &[DelimiterDialect]),
    ("two pipes", "id||name||at\n1||a|b||2024-01-01\n", "1|a|b|2024-01-01", &[], &[DelimiterDialect]),
    ("colons", "id:name:at\n1:a:2024-01-01\n2:b:2024-01-01\n", "1|a|2024-01-01 2|b|2024-01-01", &[], &[DelimiterDialect]),
    ("single quotes", "id,name,at\n1,'a,b',2024-01-01\n2,'c',2024-01-02\n", "1|a,b|2024-01-01 2|c|2024-01-02", &[], &[QuoteDialect]),
    ("backslash escapes", "id,name,at\n1,\"a \\\"b\\\", c\",2024-01-01\n", "1|a \"b\", c|2024-01-01", &[], &[EscapeDialect]),
    ("a field that ends with a backslash", "id,name,at\n1,\"C:\\\",2024-01-01\n", "1|C:\\|2024-01-01", &[], &[]),
    ("sep line", "sep=;\nid;name;at\n1;a;2024-01-01\n", "1|a|2024-01-01", &[], &[DelimiterDialect, Preamble]),
    (
        "sep line with another line end",
        "sep=;\nid;name;at\r1;a;2024-01-01\r",
        "1|a|2024-01-01",
        &[],
        &[DelimiterDialect, NewlineDialect, Preamble],
    ),
    ("preamble", "Export of visits\nmade, by hand\n\nid,name,at\n1,a,2024-01-01\n", "1|a|2024-01-01", &[], &[Preamble]),
    ("missing header", "1,a,2024-01-01\n2,b,2024-01-02\n", "1|a|2024-01-01 2|b|2024-01-02", &[], &[MissingHeader]),
    (
        "missing header, other delimiter",
        "1;a;2024-01-01\n2;b;2024-01-02\n",
        "1|a|2024-01-01 2|b|2024-01-02",
        &[],
        &[DelimiterDialect, MissingHeader],
    ),
    ("renamed header", "nr,label,moment\n1,a,2024-01-01\n", "1|a|2024-01-01", &[], &[]),
    (
        "constant empty trailing field",
        "id,name,at\n1,a,2024-01-01,\n2,b,2024-01-02,\n",
        "1|a|2024-01-01 2|b|2024-01-02",
        &[],
        &[DelimiterDialect],
    ),
    ("trailing delimiter everywhere", "id,name,at,\n1,a,2024-01-01,\n", "1|a|2024-01-01", &[], &[DelimiterDialect]),
    ("byte order mark", "\u{feff}id,name,at\n1,a,2024-01-01\n", "1|a|2024-01-01", &[], &[EncodingBom]),
    ("doubled byte order mark", "\u{feff}\u{feff}id,name,at\n1,a,2024-01-01\n", "1|a|2024-01-01", &[], &[EncodingBom, EncodingBom]),
    (
        "mark where files were joined",
        "id,name,at\n1,a,2024-01-01\n\u{feff}2,b,2024-01-02\n",
        "1|a|2024-01-01 2|b|2024-01-02",
        &[],
        &[EncodingBom],
    ),
    ("extra column", "id,name,at,more\n1,a,2024-01-01,x\n", "1|a|2024-01-01|x", &[], &[]),
    ("unnamed column", "id,name,at,\n1,a,2024-01-01,x\n", "1|a|2024-01-01|x", &[], &[HeaderUnnamed]),
    ("unregistered name twice", "id,name,at,x,x\n1,a,2024-01-01,5,6\n", "1|a|2024-01-01|5|6", &[], &[DuplicateHeader]),
    ("NUL tail", "id,name,at\n1,a,2024-01-01\n\0\0\0\0", "1|a|2024-01-01", &[], &[NulByte]),
    ("control-Z", "id,name,at\n1,a,2024-01-01\n\u{1a}", "1|a|2024-01-01", &[], &[ControlChar]),
    // Row level.
    ("short row", "id,name,at\n1,a\n2,b,2024-01-02\n", "2|b|2024-01-02", &[(0, RaggedRows)], &[]),
    (
        "long row",
        "id,name,at\n1,a,2024-01-01\n2,b,2024-01-02,x\n3,c,2024-01-03\n",
        "1|a|2024-01-01 3|c|2024-01-03",
        &[(1, RaggedRows)],
        &[],
    ),
    ("NUL in a field", "id,name,at\n1,a\0b,2024-01-01\n2,b,2024-01-02\n", "2|b|2024-01-02", &[(0, NulByte)], &[]),
    (
        "repeated header",
        "id,name,at\n1,a,2024-01-01\nid,name,at\n2,b,2024-01-02\n",
        "1|a|2024-01-01 2|b|2024-01-02",
        &[(1, RepeatedHeader)],
        &[],
    ),
    ("repeated header in quotes", "id,name,at\n1,a,2024-01-01\n\"id\",\"name\",\"at\"\n", "1|a|2024-01-01", &[(1, RepeatedHeader)], &[]),
    ("footer", "id,name,at\n1,a,2024-01-01\nTOTAL,1\n", "1|a|2024-01-01", &[(1, FooterRow)], &[]),
    ("full-width footer", "id,name,at\n1,a,2024-01-01\nTotal,,\n", "1|a|2024-01-01", &[(1, FooterRow)], &[]),
    ("a row in the middle called total is a row", "id,name,at\ntotal,,\n1,a,2024-01-01\n", "total|| 1|a|2024-01-01", &[], &[]),
    ("truncated tail", "id,name,at\n1,a,2024-01-01\n2,b", "1|a|2024-01-01", &[(1, TruncatedTail)], &[]),
    ("truncated inside quotes", "id,name,at\n1,a,2024-01-01\n2,\"b", "1|a|2024-01-01", &[(1, TruncatedTail)], &[]),
    (
        "a quote that is never closed costs its line",
        "id,name,at\n1,\"a,2024-01-01\n2,b,2024-01-02\n3,c,2024-01-03\n",
        "2|b|2024-01-02 3|c|2024-01-03",
        &[(0, MalformedQuote)],
        &[],
    ),
    (
        "a stray quote that ends at another line's quote costs its line",
        "id,name,at\n1,\"a,2024-01-01\n2,b,2024-01-02\n3,\"c\",2024-01-03\n",
        "2|b|2024-01-02 3|c|2024-01-03",
        &[(0, MalformedQuote)],
        &[],
    ),
    (
        "a broken first line is a row where no header is",
        "id,\"name,at\n1,a,2024-01-01\n",
        "1|a|2024-01-01",
        &[(0, MalformedQuote)],
        &[MissingHeader],
    ),
    ("text after a closing quote", "id,name,at\n1,\"a\"b,2024-01-01\n2,b,2024-01-02\n", "2|b|2024-01-02", &[(0, MalformedQuote)], &[]),
];

#[test]
fn files_that_can_be_read() {
    for (name, text, rows, bad, events) in ACCEPTED {
        let read = read(text.as_bytes(), &SourceOptions::default(), &visits()).unwrap_or_else(|e| panic!("{name}: refused with {e}"));
        assert_eq!(show(&read.rows), *rows, "{name}");
        assert_eq!(read.bad, *bad, "{name}");
        assert_eq!(read.events, *events, "{name}");
        let again = Hint { resolved: Some(read.resolved.clone()), ..visits() };
        let again =
            super::read(text.as_bytes(), &SourceOptions::default(), &again).unwrap_or_else(|e| panic!("{name}, again: refused with {e}"));
        assert_eq!(
            (again.rows, again.bad, again.resolved),
            (read.rows, read.bad, read.resolved),
            "{name}: the second reading equals the first"
        );
    }
}

#[test]
fn files_that_are_refused() {
    for (name, bytes, reason) in [
        ("no bytes", &b""[..], EmptyFile),
        ("white space", b" \n\n\t \r\n", EmptyFile),
        ("a mark only", b"\xef\xbb\xbf", EmptyFile),
        ("NULs only", b"\0\0\0\0\0", EmptyFile),
        ("registered name twice", b"id,name,at,name\n1,a,2024-01-01,b\n", DuplicateHeader),
        ("NUL in the header", b"id,na\0me,at\n1,a,2024-01-01\n", NulByte),
        ("header no text", b"id,n\xe4me,at\n1,a,2024-01-01\n", EncodingInvalid),
        ("second table", b"id,name,at\n1,a,2024-01-01\n\ncode,label\nx,y\nz,w\n", MultiTable),
        ("second table of the same width", b"id,name,at\n1,a,2024-01-01\n\ncode,label,place\nx,y,z\n", MultiTable),
        ("open quote in the header", b"id,\"name,at\nx\ny\n", MalformedQuote),
        ("HTML", b"<!DOCTYPE html><html><body>Access denied</body></html>", FormatMismatch),
        ("XML error", b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>", FormatMismatch),
        ("Parquet", b"PAR1\x15\x04\x15", FormatMismatch),
        ("Avro", b"Obj\x01\x04\x16avro.schema", FormatMismatch),
        ("ORC", b"ORC\x0a\x0b\x03\x00", FormatMismatch),
        ("JSON", b"{\"id\":1,\"name\":\"a\"}\n", FormatMismatch),
        ("JSON array", b"[{\"id\":1,\"name\":\"a\"}]", FormatMismatch),
    ] {
        assert_eq!(read(bytes, &only(&[Format::Csv]), &visits()).map(|r| r.rows), Err(reason), "{name}");
    }
}

#[test]
fn one_column_tables_have_empty_records() {
    let hint = Hint { expected: Some([ExpectedColumn { name: "id".to_owned(), kind: ExpectedKind::String }].into()), ..Hint::default() };
    let read = read(b"id\na\n\nb\n", &SourceOptions::default(), &hint).unwrap();
    assert_eq!(read.rows, [["a"], [""], ["b"]]);
    assert_eq!(read.places[1].byte_offset, 5);
}

#[test]
fn onboarding_detects_everything_and_keeps_every_column() {
    let auto = SourceOptions { csv: CsvOptions { declared: None, ..CsvOptions::default() }, ..SourceOptions::default() };
    for (text, header, rows) in [
        ("a;b;a;a_1\n1;2;3;4\n", "a|b|a_2|a_1", "1|2|3|4"),
        ("a\tb\n1\t2\n3\t4\n", "a|b", "1|2 3|4"),
        ("1,2\n3,4\n", "column_1|column_2", "1|2 3|4"),
        ("only\nx\ny\n", "only", "x y"),
        ("ts\n2024-01-01 10:00:00\n2024-01-01 11:00:00\n", "ts", "2024-01-01 10:00:00 2024-01-01 11:00:00"),
        ("# made by hand\na,b\n1,2\n", "a|b", "1|2"),
    ] {
        let read = read(text.as_bytes(), &auto, &Hint::default()).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(read.resolved.header.join("|"), header, "{text}");
        assert_eq!(show(&read.rows), rows, "{text}");
    }
}

#[test]
fn a_declared_dialect_is_kept_when_detection_is_off() {
    let csv = CsvOptions { autodetect_on_mismatch: false, ..CsvOptions::default() };
    let options = SourceOptions { csv, ..SourceOptions::default() };
    let read = read(b"id;name;at\n1;a;2024-01-01\n", &options, &visits()).unwrap();
    assert_eq!(read.resolved.header, ["id;name;at"]);
}

#[test]
fn escapes_without_quotes_protect_delimiters() {
    let dialect = CsvDialect { quote: None, escape: Some(b'\\'), ..CsvDialect::default() };
    let csv = CsvOptions { declared: Some(dialect), autodetect_on_mismatch: false, ..CsvOptions::default() };
    let read = read(b"id,name,at\n1,a\\,b\\x,2024-01-01\n", &SourceOptions { csv, ..SourceOptions::default() }, &visits()).unwrap();
    assert_eq!(show(&read.rows), "1|a,b\\x|2024-01-01");
}

#[test]
fn places_point_at_the_record() {
    let text = "id,name,at\n1,\"a\nb\",2024-01-01\n\n2,b\r\n3,c,2024-01-03\n";
    let read = read(text.as_bytes(), &SourceOptions::default(), &visits()).unwrap();
    let cut = |p: &Place| &text[p.byte_offset as usize..p.byte_offset as usize + p.byte_len as usize];
    assert_eq!(
        read.places.iter().map(|p| (p.row, p.line, cut(p))).collect::<Vec<_>>(),
        [(0, 2, "1,\"a\nb\",2024-01-01"), (2, 6, "3,c,2024-01-03")]
    );
    assert_eq!(read.sources, ["2,b"]);
}

#[test]
fn encodings_are_decoded_and_places_stay_those_of_the_file() {
    let text = "id,name,at\n1,ä€😀,2024-01-01\n2,b,2024-01-02\n";
    let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let wide: Vec<u8> = text.chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
    for (bytes, mark, encoding, size) in [
        (&le, &[0xff, 0xfe][..], Encoding::Utf16Le, 2),
        (&be, &[0xfe, 0xff], Encoding::Utf16Be, 2),
        (&le, &[], Encoding::Utf16Le, 2),
        (&be, &[], Encoding::Utf16Be, 2),
        (&wide, &[0xff, 0xfe, 0, 0], Encoding::Utf32Le, 4),
    ] {
        let bytes = [mark, bytes].concat();
        let read = read(&bytes, &SourceOptions::default(), &visits()).unwrap();
        assert_eq!(show(&read.rows), "1|ä€😀|2024-01-01 2|b|2024-01-02", "{encoding:?}");
        assert_eq!(read.resolved.encoding, encoding);
        assert!(read.events.contains(&EncodingChange));
        assert_eq!(read.events.contains(&EncodingBom), !mark.is_empty());
        assert_eq!(read.places[0].byte_offset, mark.len() as u64 + 11 * size);
        assert_eq!(read.places[1].byte_offset + u64::from(read.places[1].byte_len) + size, bytes.len() as u64);
    }
}

#[test]
fn bytes_that_are_no_utf8_are_bad_lines_or_decoded_as_a_whole() {
    let bytes = b"id,name,at\n1,caf\xe9,2024-01-01\n2,b,2024-01-02\n";
    let plain = read(bytes, &SourceOptions::default(), &visits()).unwrap();
    assert_eq!((show(&plain.rows).as_str(), plain.bad), ("2|b|2024-01-02", vec![(0, EncodingInvalid)]));
    let csv = CsvOptions { encoding_fallback: Some(Encoding::Cp1252), ..CsvOptions::default() };
    let decoded = read(bytes, &SourceOptions { csv, ..SourceOptions::default() }, &visits()).unwrap();
    assert_eq!(show(&decoded.rows), "1|café|2024-01-01 2|b|2024-01-02");
    assert_eq!(decoded.events, [EncodingChange]);
    assert_eq!(decoded.resolved.encoding, Encoding::Cp1252);
    assert_eq!(decoded.places[1].byte_offset, 29);
}

#[test]
fn a_lone_surrogate_is_a_bad_row() {
    let mut bytes: Vec<u8> = "id,name,at\n1,".encode_utf16().flat_map(u16::to_le_bytes).collect();
    bytes.extend([0x00, 0xd8]);
    bytes.extend(",2024-01-01\n2,b,2024-01-02\n".encode_utf16().flat_map(u16::to_le_bytes));
    let read = read(&bytes, &SourceOptions::default(), &visits()).unwrap();
    assert_eq!((show(&read.rows).as_str(), read.bad), ("2|b|2024-01-02", vec![(0, EncodingInvalid)]));
}

#[test]
fn limits_cost_rows_where_the_end_is_known() {
    let limits = Limits { field_bytes: ByteSize(10), record_bytes: ByteSize(40), columns: 3, ..Limits::default() };
    let options = SourceOptions { limits, ..SourceOptions::default() };
    let long = "x".repeat(11);
    let longer = "y".repeat(50);
    let huge = "z".repeat(3 << 20);
    let text =
        format!("id,name,at\n1,{long},2024-01-01\n2,{longer},2024-01-02\n3,{huge},2024-01-03\n4,\"{huge}\",2024-01-04\n5,e,2024-01-05\n");
    let read1 = read(text.as_bytes(), &options, &visits()).unwrap();
    assert_eq!(show(&read1.rows), "5|e|2024-01-05");
    assert_eq!(read1.bad, [(0, OversizedField), (1, OversizedRecord), (2, OversizedRecord), (3, OversizedRecord)]);
    assert_eq!(read1.places[0].line, 6);
    assert_eq!(read(b"id,name,at,more\n1,a,b,c\n", &options, &visits()).map(|r| r.rows), Err(TooManyColumns));
}

#[test]
fn newline_styles_are_recorded() {
    for (text, newline) in
        [("id,name,at\n1,a,2\n", Newline::Lf), ("id,name,at\r\n1,a,2\r\n", Newline::CrLf), ("id,name,at\r1,a,2\r", Newline::Cr)]
    {
        assert_eq!(read(text.as_bytes(), &SourceOptions::default(), &visits()).unwrap().resolved.newline, newline);
    }
}

#[test]
fn many_blocks_read_as_one_file() {
    let mut text = String::from("id,name,at\n");
    for i in 0..120_000 {
        text.push_str(&format!("{i},name {},2024-01-01\n", i % 7));
        if i % 40_000 == 39_999 {
            text.push_str("broken\n\"9\",\"a \"\"quoted\"\" cell\",2024-01-01\n");
        }
    }
    let read = read(text.as_bytes(), &SourceOptions::default(), &visits()).unwrap();
    assert_eq!(read.rows.len(), 120_003);
    assert_eq!(read.bad, [(40_000, RaggedRows), (80_002, RaggedRows), (120_004, RaggedRows)]);
    for (row, place) in read.rows.iter().zip(&read.places).step_by(997) {
        let record = &text[place.byte_offset as usize..place.byte_offset as usize + place.byte_len as usize];
        assert_eq!(record, row.join(","));
        assert_eq!(place.line, place.row + 2);
    }
}

#[test]
fn hostile_quotes_do_not_make_reading_quadratic() {
    let mut text = String::from("id,name,at\n");
    while text.len() < 1 << 20 {
        text.push_str("a\",\"b\n\"\"\"\n");
    }
    let limits = Limits { record_bytes: ByteSize::kib(64), ..Limits::default() };
    // Whether it is read or refused, it must come to an end soon.
    let _ = read(text.as_bytes(), &SourceOptions { limits, ..SourceOptions::default() }, &visits());
}
