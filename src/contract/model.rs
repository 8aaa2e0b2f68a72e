//! A dataset's contract with every default resolved.

use serde_json::Value as Json;

use crate::domain::names::{DatasetName, Subject};
use crate::domain::time::{Span, Timestamp};
use crate::domain::units::ByteSize;
use crate::format::options::SourceOptions;
use crate::schema::options::SchemaOptions;

/// Everything that differs between datasets (contract.md; defaults: decisions.md 41).
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    pub dataset: DatasetName,
    pub owner: Option<String>,
    pub mode: Mode,
    pub route: Option<Route>,
    /// Among several matching contracts the higher one wins. Default 0.
    pub route_priority: i64,
    /// Compiled by admission; `None`: keys carry neither date nor partition values.
    pub layout: Option<String>,
    pub source: SourceOptions,
    /// Endings of acceptable keys, each with its leading point.
    pub suffixes: Vec<String>,
    pub min_bytes: ByteSize,
    pub max_bytes: Option<ByteSize>,
    pub same_content_again: SameContentAgain,
    pub subject: Subject,
    pub avro: Option<AvroSchema>,
    pub pending: Option<Pending>,
    /// Evolutions of the schema a day (UTC) may bring, the first version not counted; `None`: no limit.
    pub max_versions_per_day: Option<u32>,
    pub schema: SchemaOptions,
    pub dedupe_scope: DedupeScope,
    pub lateness: Lateness,
    pub transform: Transform,
    pub quality: Quality,
    pub on_overwrite: OnOverwrite,
    pub on_delete: OnDelete,
    /// `None`: a file of 0 bytes or only white space is refused, one without rows is accepted.
    pub on_empty: Option<OnEmpty>,
    /// Files are expected at least this often; freshness alerts.
    pub expected_interval: Option<Span>,
    pub publish: Publish,
}

impl Contract {
    /// Where `schema.avro` points, if it is a path that was not loaded yet; relative to the contract's file.
    pub fn avro_path(&self) -> Option<&str> {
        match &self.avro {
            Some(AvroSchema::Path(path)) => Some(path),
            _ => None,
        }
    }

    /// The same for `schema.pending.avro`.
    pub fn pending_avro_path(&self) -> Option<&str> {
        match self.pending.as_ref().map(|p| &p.avro) {
            Some(AvroSchema::Path(path)) => Some(path),
            _ => None,
        }
    }

    /// The contract with its schema's text in place of the path.
    #[must_use]
    pub fn with_avro(mut self, text: impl Into<String>) -> Self {
        self.avro = Some(AvroSchema::Inline(text.into()));
        self
    }

    /// The contract with the pending schema's text in place of the path.
    #[must_use]
    pub fn with_pending_avro(mut self, text: impl Into<String>) -> Self {
        if let Some(pending) = &mut self.pending {
            pending.avro = AvroSchema::Inline(text.into());
        }
        self
    }

    /// JSON text of the schema, once it is known.
    pub fn avro_text(&self) -> Option<&str> {
        match &self.avro {
            Some(AvroSchema::Inline(text)) => Some(text),
            _ => None,
        }
    }
}

/// Registered as it landed, curated as Parquet, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Etl,
    Elt,
    Both,
}

/// An event pattern, compiled by [`crate::route`].
#[derive(Debug, Clone)]
pub struct Route {
    pub pattern: Json,
    /// Where it stands in the contract's file, from 1.
    pub line: usize,
    pub column: usize,
}

impl PartialEq for Route {
    /// The place is no part of the meaning.
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

/// `schema.avro`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AvroSchema {
    /// Relative to the contract's file.
    Path(String),
    /// JSON text.
    Inline(String),
}

/// A schema version that is announced (decisions.md 31).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub avro: AvroSchema,
    pub effective_from: Option<Timestamp>,
}

/// The stored bytes were seen before in this dataset (decisions.md 37).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameContentAgain {
    #[default]
    Accept,
    Skip,
    Quarantine,
}

/// How far `dedupe` looks (decisions.md 37).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DedupeScope {
    #[default]
    File,
    Batch,
    Table,
}

/// Event time, or the key's date, against first landing (decisions.md 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lateness {
    /// `None`: lateness is not judged.
    pub allowed: Option<Span>,
    pub on_late: OnLate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLate {
    #[default]
    AcceptAndFlag,
    Quarantine,
}

/// `resolve` stands with the options of the schema: it decides how files are read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transform {
    /// Column and SQL scalar expression, in the contract's order.
    pub derive: Vec<(String, String)>,
    /// `None`: every column stays.
    pub select: Option<Vec<String>>,
    pub partition_by: Vec<String>,
    pub batch: BatchOptions,
    pub parquet: ParquetOptions,
}

/// When a batch is sealed, and over how many shards a dataset is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    pub max_bytes: ByteSize,
    pub max_files: u64,
    pub max_rows: u64,
    /// Longest wait of a batch's first object.
    pub linger: Span,
    /// Sealed after no arrival for this long.
    pub quiet: Span,
    pub shards: u32,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            max_bytes: ByteSize::mib(128),
            max_files: 1000,
            max_rows: 5_000_000,
            linger: Span::from_secs(30),
            quiet: Span::from_secs(2),
            shards: 4,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParquetOptions {
    pub compression: ParquetCompression,
    pub row_group_rows: u64,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self { compression: ParquetCompression::Zstd(1), row_group_rows: 1_048_576 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParquetCompression {
    None,
    Snappy,
    Lz4,
    /// Level 1 to 22.
    Zstd(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quality {
    pub rules: Option<Rules>,
    pub default_action: Action,
    pub on_not_evaluated: OnNotEvaluated,
}

/// DQDL text, parsed by [`crate::quality`].
#[derive(Debug, Clone, Eq)]
pub struct Rules {
    pub text: String,
    /// Line of the text's first line in the contract's file.
    pub line: usize,
}

impl Rules {
    /// A place of the text as a place of the contract's file; the column is that within the text.
    pub fn place(&self, line: u32, column: u32) -> (usize, usize) {
        (self.line + (line as usize).saturating_sub(1), column as usize)
    }
}

impl PartialEq for Rules {
    /// The place is no part of the meaning.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// What a failed rule does unless its labels say otherwise (decisions.md 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    Warn,
    QuarantineRows,
    #[default]
    QuarantineFiles,
    FailBatch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnNotEvaluated {
    Pass,
    #[default]
    Warn,
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOverwrite {
    #[default]
    Replace,
    Append,
    Quarantine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDelete {
    #[default]
    Ignore,
    Tombstone,
}

/// What becomes of a file in which there is no row (drift.md §2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEmpty {
    /// It is published with 0 rows, even if it has no bytes.
    Accept,
    /// It is held back, even if it has a header.
    Quarantine,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub format: PublishFormat,
    /// Relative to the lake, or a URL of its own; ends in `/`.
    pub location: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublishFormat {
    #[default]
    Parquet,
    Delta,
}
