//! The read plan: plain data that says for every column where it comes from, what it becomes and what
//! happens to each kind of reading. It travels in the decision record; the same plan over the same
//! bytes gives the same rows (decisions.md 2, 38).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::finding::FindingCode;
use super::leaf::Dialect;
use super::options::{BooleanTokens, ColumnRules, ConflictingDuplicate, ExactDuplicate};
use super::reading::Bin;

/// Version of the plan's own format (decisions.md 24). Of plans of version 1, `expected` is the file's own wherever they
/// stand; records that carry a plan say it beside the plan now, as they always did.
pub const PLAN_VERSION: u32 = 2;

/// How one file is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadPlan {
    pub plan_version: u32,
    /// Text table (with these names) or JSON (empty).
    pub header: Vec<String>,
    /// Avro schema of the rows that come out: registered columns, then evolved ones.
    #[serde(with = "shared")]
    pub schema: Arc<Json>,
    /// How many of the columns were registered before this file.
    pub n_registered: usize,
    /// Per column of `schema` its place in a text table; `None`: not in the file.
    pub positions: Vec<Option<usize>>,
    /// Rules by path of a node; a node without an entry keeps what casts and refuses the rest.
    pub nodes: BTreeMap<String, NodePlan>,
    /// Columns whose originals are kept in `<column>__raw`.
    pub raw_columns: Vec<String>,
    /// Unregistered values are kept in `_rescued`.
    pub rescued: bool,
    /// Places of a text table that go to `_rescued`, with their names.
    pub rescued_positions: Vec<(usize, String)>,
    pub null_tokens: Vec<String>,
    /// Contract rules the casts need, by path.
    pub columns: BTreeMap<String, PlannedRules>,
    pub dedupe: Option<PlannedDedupe>,
    pub expected: Expected,
}

/// Plain data that many plans share.
mod shared {
    use super::{Arc, Deserialize, Json, Serialize};

    pub(super) fn serialize<S: serde::Serializer>(json: &Arc<Json>, to: S) -> Result<S::Ok, S::Error> {
        json.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Arc<Json>, D::Error> {
        Json::deserialize(from).map(Arc::new)
    }
}

/// Counts that observing the file predicts for reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Expected {
    /// Good and bad records.
    pub physical: u64,
    /// Rows quarantined before deduplication; `None` if the rows were too diverse to be told apart.
    pub quarantined: Option<u64>,
}

/// What happens to the readings of one node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodePlan {
    #[serde(default, skip_serializing_if = "DialectWord::is_none")]
    pub dialect: DialectWord,
    /// By the word of a [`Bin`].
    pub rules: BTreeMap<String, Rule>,
}

/// Twin of [`Dialect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialectWord {
    #[default]
    None,
    Layout(u8),
    DecimalComma,
    DecimalPoint,
    Pair(u8),
}

impl DialectWord {
    pub fn is_none(&self) -> bool {
        *self == DialectWord::None
    }

    pub fn dialect(self) -> Dialect {
        match self {
            DialectWord::None => Dialect::None,
            DialectWord::Layout(bit) => Dialect::Layout(bit),
            DialectWord::DecimalComma => Dialect::Number { comma: true },
            DialectWord::DecimalPoint => Dialect::Number { comma: false },
            DialectWord::Pair(pair) => Dialect::Pair(pair),
        }
    }
}

/// What happens to the readings of one bin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub then: Disposition,
    /// Code of the finding this follows from.
    pub code: String,
}

impl Rule {
    pub fn new(then: Disposition, code: FindingCode) -> Self {
        Self { then, code: code.as_str().to_owned() }
    }
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// The cast value lands.
    Keep,
    /// The cast value lands and the original is kept.
    KeepRaw,
    Null,
    /// Null lands and the original is kept.
    NullRaw,
    /// The registered default lands.
    Default,
    /// The enum's default lands and the original is kept.
    DefaultRaw,
    /// The row does not land.
    QuarantineRow,
}

impl Disposition {
    pub fn keeps_raw(self) -> bool {
        matches!(self, Disposition::KeepRaw | Disposition::NullRaw | Disposition::DefaultRaw)
    }

    /// What happens to a bin no rule names: casts that lose nothing land, and contract facts nobody
    /// drew a conclusion from are not enforced.
    pub fn unnamed(bin: Bin) -> Self {
        match bin {
            Bin::Null | Bin::Absent => Disposition::Null,
            Bin::Exact
            | Bin::SubZeros
            | Bin::Token
            | Bin::Reshape
            | Bin::Integral
            | Bin::StringLiteral
            | Bin::Midnight
            | Bin::ScaleZeros => Disposition::Keep,
            Bin::Code | Bin::Range | Bin::Pattern => Disposition::Keep,
            _ => Disposition::QuarantineRow,
        }
    }
}

/// Twin of the [`ColumnRules`] casts need.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PlannedRules {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_values: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truthy: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub falsy: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_tokens: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

impl From<&ColumnRules> for PlannedRules {
    fn from(rules: &ColumnRules) -> Self {
        Self {
            formats: rules.formats.clone(),
            aliases: rules.aliases.clone(),
            min: rules.min,
            max: rules.max,
            pattern: rules.pattern.clone(),
            allowed_values: rules.allowed_values.clone(),
            truthy: rules.booleans.as_ref().map(|b| b.truthy.clone()),
            falsy: rules.booleans.as_ref().map(|b| b.falsy.clone()),
            null_tokens: rules.null_tokens.clone(),
            timezone: rules.timezone.clone(),
            sensitive: rules.sensitive,
        }
    }
}

impl From<&PlannedRules> for ColumnRules {
    fn from(rules: &PlannedRules) -> Self {
        let booleans = match (&rules.truthy, &rules.falsy) {
            (None, None) => None,
            (truthy, falsy) => Some(BooleanTokens { truthy: truthy.clone().unwrap_or_default(), falsy: falsy.clone().unwrap_or_default() }),
        };
        Self {
            formats: rules.formats.clone(),
            aliases: rules.aliases.clone(),
            min: rules.min,
            max: rules.max,
            pattern: rules.pattern.clone(),
            allowed_values: rules.allowed_values.clone(),
            booleans,
            null_tokens: rules.null_tokens.clone(),
            timezone: rules.timezone.clone(),
            sensitive: rules.sensitive,
            ..ColumnRules::default()
        }
    }
}

/// Twin of [`super::options::Dedupe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDedupe {
    pub key: Vec<String>,
    pub exact: OnExact,
    pub conflicting: OnConflict,
}

/// Twin of [`ExactDuplicate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExact {
    Drop,
    Keep,
    QuarantineRest,
}

/// Twin of [`ConflictingDuplicate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    KeepFirstQuarantineRest,
    Keep,
    RejectFile,
}

impl From<&super::options::Dedupe> for PlannedDedupe {
    fn from(dedupe: &super::options::Dedupe) -> Self {
        Self {
            key: dedupe.key.clone(),
            exact: match dedupe.exact_duplicate {
                ExactDuplicate::Drop => OnExact::Drop,
                ExactDuplicate::Keep => OnExact::Keep,
                ExactDuplicate::QuarantineRest => OnExact::QuarantineRest,
            },
            conflicting: match dedupe.conflicting_duplicate {
                ConflictingDuplicate::KeepFirstQuarantineRest => OnConflict::KeepFirstQuarantineRest,
                ConflictingDuplicate::Keep => OnConflict::Keep,
                ConflictingDuplicate::RejectFile => OnConflict::RejectFile,
            },
        }
    }
}
