//! What a file is, by its content (drift.md §2.11, `format`).

use super::block::FileEvent;
use super::json::Scanned;
use super::json::scan_value;
use super::options::{Compression, Format, SourceOptions};
use super::reader::ReadError;
use crate::domain::reason::ReasonCode;

/// What the end of a key claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suffix {
    pub(super) format: Option<Format>,
    compression: Option<&'static str>,
    given: bool,
}

impl Suffix {
    pub(super) fn of(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let mut suffix = Suffix { format: None, compression: None, given: false };
        for part in lower.split('.').filter(|p| !p.is_empty()) {
            suffix.given = true;
            match part {
                "csv" | "tsv" | "psv" | "txt" => suffix.format = Some(Format::Csv),
                "json" => suffix.format = Some(Format::Json),
                "jsonl" | "ndjson" | "jsonlines" => suffix.format = Some(Format::JsonLines),
                "avro" => suffix.format = Some(Format::Avro),
                "parquet" => suffix.format = Some(Format::Parquet),
                "gz" | "gzip" => suffix.compression = Some("gzip"),
                "zst" | "zstd" => suffix.compression = Some("zstd"),
                "bz2" => suffix.compression = Some("bzip2"),
                "xz" => suffix.compression = Some("xz"),
                "zip" => suffix.compression = Some("zip"),
                _ => {}
            }
        }
        suffix
    }

    /// The suffix only produces an event: magic bytes decide.
    pub(super) fn compression_event(&self, found: Compression) -> Option<FileEvent> {
        let found = match found {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        };
        if !self.given || found == self.compression {
            return None;
        }
        let detail = format!("{} content under a suffix of {}", found.unwrap_or("uncompressed"), self.compression.unwrap_or("none"));
        Some(FileEvent { reason: ReasonCode::CompressionMismatch, detail })
    }
}

/// Formats recognized in order to be refused by name.
const FOREIGN: [(&[u8], &str); 12] = [
    (b"PAR1", "Parquet"),
    (b"Obj\x01", "Avro"),
    (b"ORC", "ORC"),
    (b"ARROW1", "Arrow"),
    (b"%PDF-", "PDF"),
    (b"SQLite format 3\0", "SQLite"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office document"),
    (b"\x89PNG\r\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x7fELF", "program"),
    (b"\x89HDF\r\n", "HDF5"),
];

/// Format of the content: CSV or one of the JSON kinds (which of them is not told apart here).
///
/// # Errors
/// Refused with `format_mismatch` if it is none that the contract allows, `json_not_records` for a
/// JSON scalar.
pub(super) fn format(
    sample: &[u8],
    ended: bool,
    options: &SourceOptions,
    suffix: &Suffix,
    events: &mut Vec<FileEvent>,
) -> Result<Format, ReadError> {
    let mismatch = |detail: String| Err(ReadError::refused(ReasonCode::FormatMismatch, detail));
    for (magic, name) in FOREIGN {
        // "ORC" could begin a header; the file format goes on with binary bytes.
        let binary = || sample[..sample.len().min(64)].iter().any(|b| *b < 9 || (0x0e..0x20).contains(b));
        if sample.starts_with(magic) && (name != "ORC" || binary()) {
            return mismatch(match name {
                "Parquet" | "Avro" => format!("{name} content, which is not read yet"),
                _ => format!("{name} content"),
            });
        }
    }
    let text = sample.trim_ascii_start();
    if is_markup(text) {
        return mismatch(format!("markup: {}", excerpt(text)));
    }
    let csv_allowed = options.formats.contains(&Format::Csv);
    let json_allowed = options.formats.contains(&Format::Json) || options.formats.contains(&Format::JsonLines);
    if !csv_allowed && !json_allowed {
        return mismatch(format!("text, where only binary formats are declared: {}", excerpt(text)));
    }
    let looks_json = looks_json(text, ended, json_allowed);
    let json_suffix = matches!(suffix.format, Some(Format::Json | Format::JsonLines));
    match (looks_json, csv_allowed, json_allowed) {
        (true, _, true) => {
            if suffix.format == Some(Format::Csv) && csv_allowed {
                let detail = "JSON content under a suffix of CSV".to_owned();
                events.push(FileEvent { reason: ReasonCode::FormatMismatch, detail });
            }
            Ok(Format::JsonLines)
        }
        (true, true, false) => mismatch("JSON content, where CSV is declared".to_owned()),
        (false, true, false) => Ok(Format::Csv),
        (false, _, _) if csv_allowed && !json_suffix => Ok(Format::Csv),
        (_, csv, _) => {
            if lines(text).any(|l| scan_whole(l) == Some(Scanned::Object)) {
                return Ok(Format::JsonLines);
            }
            let first = lines(text).next().unwrap_or_default();
            if matches!(scan_whole(first), Some(Scanned::Scalar | Scanned::Array)) {
                let detail = format!("a JSON scalar is no record: {}", excerpt(text));
                return Err(ReadError::refused(ReasonCode::JsonNotRecords, detail));
            }
            if csv {
                events.push(FileEvent { reason: ReasonCode::FormatMismatch, detail: "text under a suffix of JSON".to_owned() });
                return Ok(Format::Csv);
            }
            mismatch(format!("text, where JSON is declared: {}", excerpt(text)))
        }
    }
}

/// Lines of a sample that are worth a look.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').map(|l| l.trim_ascii()).filter(|l| !l.is_empty()).take(100)
}

fn scan_whole(line: &[u8]) -> Option<Scanned> {
    match scan_value(line) {
        Some((kind, end)) if line[end..].trim_ascii().is_empty() => Some(kind),
        _ => None,
    }
}

/// Content that starts like JSON; where JSON is not declared it must also go on like it.
fn looks_json(text: &[u8], ended: bool, json_allowed: bool) -> bool {
    match text.first() {
        Some(0x1e) => true,
        Some(b'{' | b'[') => {
            let first_line = text.split(|b| *b == b'\n').next().unwrap_or_default();
            let value_like = || matches!(text[1..].trim_ascii_start().first(), Some(b'"' | b'{' | b'[' | b'}' | b']') | None);
            json_allowed || scan_value(first_line).is_some() || scan_value(text).is_some() || (!ended && value_like())
        }
        _ => {
            let (mut objects, mut others) = (0, 0);
            for line in lines(text) {
                let object = line.starts_with(b"{") && line.ends_with(b"}");
                objects += usize::from(object);
                others += usize::from(!object);
            }
            objects > others
        }
    }
}

fn is_markup(text: &[u8]) -> bool {
    text.first() == Some(&b'<')
        && text.get(1).is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'!' | b'?' | b'/'))
        && memchr::memchr(b'>', &text[..text.len().min(4096)]).is_some()
}

/// The start of a text, printable, for a detail.
pub(super) fn excerpt(text: &[u8]) -> String {
    let cut = &text[..text.len().min(60)];
    String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
