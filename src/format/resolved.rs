//! How a file was read: the record of every decision of detection, so that a second reading needs none.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::options::{Compression, CsvDialect, Encoding, Format};

/// What detection settled on. Reading the same bytes with it gives the same rows (decisions.md 38).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    pub format: Format,
    pub compression: Compression,
    pub encoding: Encoding,
    /// Only of CSV.
    pub csv: Option<CsvDialect>,
    /// Column names as in the file, without byte order mark; unnamed and repeated ones already told
    /// apart. Without a header: the expected names by position, else `column_1`… Empty for JSON.
    pub header: Vec<String>,
    pub newline: Newline,
    /// Lines before the header (or the first record) that are no records.
    pub skipped_lines: u64,
    /// Their length in bytes, decoded and without byte order mark.
    pub skipped_bytes: u64,
    /// Every record ends with one more delimiter than it has columns.
    pub trailing_delimiter: bool,
    /// Only of JSON.
    pub json: Option<JsonStyle>,
}

/// What ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Newline {
    Lf,
    CrLf,
    Cr,
    /// LF and CRLF in one file.
    Mixed,
}

impl Newline {
    /// The word of reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Newline::Lf => "LF",
            Newline::CrLf => "CRLF",
            Newline::Cr => "CR",
            Newline::Mixed => "LF and CRLF",
        }
    }
}

/// How the objects of a JSON file follow one another (drift.md §2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JsonStyle {
    /// One or more complete objects per line.
    Lines,
    /// One array of objects.
    Array,
    /// Objects that span lines, one after the other.
    Concatenated,
    /// Objects after a record separator each (RFC 7464).
    RsSeparated,
}

impl JsonStyle {
    /// The word of reports.
    pub fn as_str(self) -> &'static str {
        match self {
            JsonStyle::Lines => "lines",
            JsonStyle::Array => "array",
            JsonStyle::Concatenated => "concatenated",
            JsonStyle::RsSeparated => "rs-separated",
        }
    }
}

/// What the reader knows beforehand.
#[derive(Debug, Clone, Default)]
pub struct Hint {
    /// Registered columns in order: the prior of detection.
    pub expected: Option<Arc<[ExpectedColumn]>>,
    /// Read exactly so; nothing is detected.
    pub resolved: Option<Resolved>,
    /// The key's suffix with its dots (`.csv.gz`); it only produces events.
    pub suffix: Option<String>,
}

/// A registered column, as far as detection cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedColumn {
    pub name: String,
    pub kind: ExpectedKind,
}

/// What kind of text a registered column's values have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExpectedKind {
    String,
    Number,
    Boolean,
    Temporal,
    Other,
}

/// Counts of the whole file; valid once the last block was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Good + bad records.
    pub physical_rows: u64,
    pub bad_rows: u64,
    pub stored_bytes: u64,
    pub decompressed_bytes: u64,
    /// SHA-256 of the stored bytes.
    pub sha256: [u8; 32],
}
