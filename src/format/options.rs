//! Options of the readers, resolved from a contract (contract.md, `source`).

use serde::{Deserialize, Serialize};

use crate::domain::units::ByteSize;

/// Formats a file's content can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Csv,
    /// One array of objects.
    Json,
    /// One object per line (also several concatenated).
    JsonLines,
    Avro,
    Parquet,
}

impl Format {
    pub const ALL: [Format; 5] = [Format::Csv, Format::Json, Format::JsonLines, Format::Avro, Format::Parquet];

    /// The word of contracts.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Json => "json",
            Format::JsonLines => "jsonl",
            Format::Avro => "avro",
            Format::Parquet => "parquet",
        }
    }
}

/// Compression, recognized by magic bytes only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What one CSV file looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvDialect {
    /// One byte usually; several are allowed (`||`).
    pub delimiter: String,
    pub quote: Option<u8>,
    /// `None`: a quote inside quotes is doubled.
    pub escape: Option<u8>,
    pub header: bool,
    pub encoding: Encoding,
}

impl Default for CsvDialect {
    /// Comma, double quote, header, UTF-8 (decisions.md 41).
    fn default() -> Self {
        Self { delimiter: ",".to_owned(), quote: Some(b'"'), escape: None, header: true, encoding: Encoding::Utf8 }
    }
}

/// Text encodings understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
    Utf32Le,
    Utf32Be,
    /// windows-1252, only as a contract's fallback.
    Cp1252,
    /// ISO-8859-1, only as a contract's fallback.
    Latin1,
}

impl Encoding {
    /// The word of contracts and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16Le => "utf-16le",
            Encoding::Utf16Be => "utf-16be",
            Encoding::Utf32Le => "utf-32le",
            Encoding::Utf32Be => "utf-32be",
            Encoding::Cp1252 => "cp1252",
            Encoding::Latin1 => "latin1",
        }
    }
}

/// `source.csv` of a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// The declared dialect; `None` (`auto` or a missing block): detect everything.
    pub declared: Option<CsvDialect>,
    /// Detect again when the declared dialect does not fit the file.
    pub autodetect_on_mismatch: bool,
    /// Cells with exactly this text are null (quoted or not, decisions.md 28).
    pub null_tokens: Vec<String>,
    /// Decodes a file that is not UTF-8 as a whole, with an event; `None`: bad lines are bad rows.
    pub encoding_fallback: Option<Encoding>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            declared: Some(CsvDialect::default()),
            autodetect_on_mismatch: true,
            null_tokens: vec![String::new()],
            encoding_fallback: None,
        }
    }
}

/// What to do with one kind of oddity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnOddity {
    Accept,
    QuarantineRow,
    RejectFile,
}

/// What to do with numbers no double can hold exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnBigNumber {
    KeepExactText,
    QuarantineRow,
    RejectFile,
}

/// `source.json` of a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonOptions {
    pub duplicate_keys: OnOddity,
    pub non_finite: OnOddity,
    pub big_number: OnBigNumber,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self { duplicate_keys: OnOddity::QuarantineRow, non_finite: OnOddity::QuarantineRow, big_number: OnBigNumber::KeepExactText }
    }
}

/// `source.limits` of a contract: no buffer of the readers grows past these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub field_bytes: ByteSize,
    pub record_bytes: ByteSize,
    pub columns: usize,
    pub json_depth: usize,
    /// Only of compressed input.
    pub decompressed_bytes: ByteSize,
    /// Decompressed ÷ compressed bytes, judged once `ratio_applies_above` have come out.
    pub compression_ratio: u64,
    pub ratio_applies_above: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            field_bytes: ByteSize::mib(1),
            record_bytes: ByteSize::mib(4),
            columns: 4096,
            json_depth: 128,
            decompressed_bytes: ByteSize::gib(16),
            compression_ratio: 1100,
            ratio_applies_above: ByteSize::mib(32),
        }
    }
}

/// All of `source` that the readers need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// Formats the contract allows; the content must be one of them.
    pub formats: Vec<Format>,
    pub csv: CsvOptions,
    pub json: JsonOptions,
    pub limits: Limits,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            formats: vec![Format::Csv, Format::Json, Format::JsonLines],
            csv: CsvOptions::default(),
            json: JsonOptions::default(),
            limits: Limits::default(),
        }
    }
}
