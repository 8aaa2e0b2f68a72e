//! A contract, resolved: every default filled in, composed of the cores' own option types.

use crate::batch::limits::Limits as BatchLimits;
use crate::domain::names::{DatasetName, Subject};
use crate::domain::time::Span;
use crate::domain::units::ByteSize;
use crate::format::options::SourceOptions;
use crate::schema::options::SchemaOptions;
use crate::table::parquet::ParquetOptions;

/// What becomes of accepted objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    #[default]
    Etl,
    Elt,
    Both,
}

/// `source.same_content_again`: equal bytes under another key or version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SameContent {
    #[default]
    Accept,
    Skip,
    Quarantine,
}

/// `lateness.on_late`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnLate {
    #[default]
    AcceptAndFlag,
    Quarantine,
}

/// `lateness`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lateness {
    pub allowed: Span,
    pub on_late: OnLate,
}

/// `on_overwrite`: a newer version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnOverwrite {
    #[default]
    Replace,
    Append,
    Quarantine,
}

/// `quality.default_action` and the `action` label of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RuleAction {
    Warn,
    QuarantineRows,
    #[default]
    QuarantineFiles,
    FailBatch,
}

/// `quality.on_not_evaluated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnNotEvaluated {
    Pass,
    #[default]
    Warn,
    Fail,
}

/// `quality`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quality {
    pub rules: String,
    /// Line of the contract the rules start on, for diagnostics.
    pub line: usize,
    pub default_action: RuleAction,
    pub on_not_evaluated: OnNotEvaluated,
}

/// `transform`.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    /// Column and SQL scalar expression, in the order written.
    pub derive: Vec<(String, String)>,
    /// Columns kept, in this order; `None` keeps everything.
    pub select: Option<Vec<String>>,
    pub partition_by: Vec<String>,
    pub batch: BatchLimits,
    pub parquet: ParquetOptions,
}

/// The schema a contract brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AvroSource {
    /// Avro schema, JSON text.
    Inline(String),
    /// A path relative to the contract, not loaded yet.
    Path(String),
}

/// One dataset's contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    pub dataset: DatasetName,
    pub owner: Option<String>,
    pub mode: Mode,
    /// Event pattern, JSON.
    pub route: Option<serde_json::Value>,
    pub route_priority: Option<i64>,
    pub layout: Option<String>,
    pub source: SourceOptions,
    /// Suffixes accepted, each with its dot.
    pub suffixes: Vec<String>,
    pub min_bytes: ByteSize,
    pub max_bytes: Option<ByteSize>,
    pub same_content_again: SameContent,
    pub subject: Subject,
    /// The schema block names columns, a policy or a schema; without it the dataset is onboarding.
    pub avro: Option<AvroSource>,
    pub schema: SchemaOptions,
    pub lateness: Option<Lateness>,
    pub transform: Transform,
    pub quality: Option<Quality>,
    pub on_overwrite: OnOverwrite,
    /// Relative to the lake, or a URL.
    pub location: String,
}
