use proptest::prelude::*;

use super::*;
use crate::format::options::{CsvOptions, Limits};

/// Bytes that have a meaning to some reader, among others that have none.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::sample::select(vec![
            &b","[..], b"\n", b"\r\n", b"\r", b"\"", b"\"\"", b"'", b";", b"\\", b"\\\"", b"|", b"||", b"\t", b"\0", b"\x1a", b"\x1e", b"{", b"}", b"[",
            b"]", b":", b"{\"a\":1}", b"[1]", b"NaN", b"\\u", b"\\ud800", b"-", b"1e", b"id,name,at\n", b"1,a,2024-01-01\n", b"\xef\xbb\xbf", b"\xef", b"\xff\xfe",
            b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1", b"<a>", b"sep=;\n", b"total", b"\xe4", b" ", b"null",
        ]).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn options() -> impl Strategy<Value = SourceOptions> {
    let formats = proptest::sample::subsequence(Format::ALL.to_vec(), 1..=5);
    (formats, any::<bool>(), any::<bool>(), 0usize..3).prop_map(|(formats, declared, detect, tight)| {
        let csv = CsvOptions {
            declared: CsvOptions::default().declared.filter(|_| declared),
            autodetect_on_mismatch: detect,
            ..CsvOptions::default()
        };
        let limits = match tight {
            0 => Limits {
                field_bytes: crate::domain::units::ByteSize(8),
                record_bytes: crate::domain::units::ByteSize(24),
                ..Limits::default()
            },
            _ => Limits::default(),
        };
        SourceOptions { formats, csv, limits, ..SourceOptions::default() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// `read` itself asserts that good + bad = physical and that rows are numbered without gaps.
    #[test]
    fn no_bytes_panic_or_lose_a_row(bytes in hostile(), options in options(), known in any::<bool>()) {
        let hint = if known { visits() } else { Hint::default() };
        let first = read(&bytes, &options, &hint);
        prop_assert_eq!(&read_in_steps(&bytes, 1, &options, &hint), &first, "how the input is cut makes no difference");
        prop_assert_eq!(&read_in_steps(&bytes, 7, &options, &hint), &first);
        if let Ok(first) = first {
            let again = Hint { resolved: Some(first.resolved.clone()), ..hint };
            let second = read(&bytes, &options, &again).expect("what was read once is read again");
            prop_assert_eq!((second.rows, second.bad, second.places), (first.rows, first.bad, first.places));
        }
    }

    #[test]
    fn what_a_quoting_writer_writes_reads_back(
        rows in proptest::collection::vec(proptest::collection::vec("[ -~\n\ré\"',;|]{0,8}", 3), 1..20),
        crlf in any::<bool>(),
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let line = |cells: &[String]| cells.iter().map(|c| format!("\"{}\"", c.replace('"', "\"\""))).collect::<Vec<_>>().join(",") + end;
        let text = format!("id,name,at{end}") + &rows.iter().map(|r| line(r)).collect::<String>();
        let csv = CsvOptions { autodetect_on_mismatch: false, ..CsvOptions::default() };
        let read = read(text.as_bytes(), &SourceOptions { csv, ..only(&[Format::Csv]) }, &visits()).expect("it is a table");
        // A last row like `"total",,` is taken for a footer; nothing else may be held back.
        let bad = read.bad.iter().all(|(_, reason)| *reason == ReasonCode::FooterRow);
        prop_assert!(bad, "{:?}", read.bad);
        prop_assert_eq!(&read.rows[..], &rows[..read.rows.len()]);
    }

    #[test]
    fn blocks_of_any_size_hold_the_same_rows(fill in 1usize..200, quoted in any::<bool>()) {
        let mut text = String::from("id,name,at\n");
        for i in 0..8000 {
            let name = "x".repeat((i * 31) % (fill + 1));
            let name = if quoted && i % 1000 == 0 { format!("\"{name},\n\"") } else { name };
            text.push_str(&format!("{i},{name},2024-01-01\n"));
        }
        let read = read_in_steps(text.as_bytes(), 4093, &SourceOptions::default(), &visits()).expect("it is a table");
        prop_assert_eq!(read.rows.len(), 8000);
        for (i, row) in read.rows.iter().enumerate() {
            prop_assert_eq!(&row[0], &i.to_string());
            let at = read.places[i].byte_offset as usize;
            prop_assert!(text[at..].starts_with(&row[0]));
        }
    }
}
