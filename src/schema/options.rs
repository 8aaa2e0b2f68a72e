//! Options of the drift decision, resolved from a contract (contract.md, `schema`, `rows`).

use std::collections::BTreeMap;

use super::resolve::Choices;

/// `schema.compatibility`: the registry's modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compatibility {
    None,
    Backward,
    #[default]
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl Compatibility {
    pub const ALL: [Compatibility; 7] = [
        Compatibility::None,
        Compatibility::Backward,
        Compatibility::BackwardTransitive,
        Compatibility::Forward,
        Compatibility::ForwardTransitive,
        Compatibility::Full,
        Compatibility::FullTransitive,
    ];

    /// The registry's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Compatibility::None => "NONE",
            Compatibility::Backward => "BACKWARD",
            Compatibility::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Compatibility::Forward => "FORWARD",
            Compatibility::ForwardTransitive => "FORWARD_TRANSITIVE",
            Compatibility::Full => "FULL",
            Compatibility::FullTransitive => "FULL_TRANSITIVE",
        }
    }
}

/// `policy.allow_type_coercion` (C).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Coercion {
    None,
    #[default]
    Limited,
    Full,
}

/// `policy.strict_required_columns` (S): all required columns, none, or the list itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrictRequired {
    All,
    None,
    Columns(Vec<String>),
}

/// The policy bits of drift.md §2.1.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// A
    pub allow_additive_columns: bool,
    /// C
    pub allow_type_coercion: Coercion,
    /// S
    pub strict_required_columns: StrictRequired,
    /// Q
    pub quarantine_on_breaking_change: bool,
    /// β, 0.0 to 1.0
    pub max_bad_row_ratio: f64,
    pub max_new_columns: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_additive_columns: true,
            allow_type_coercion: Coercion::Limited,
            strict_required_columns: StrictRequired::All,
            quarantine_on_breaking_change: true,
            max_bad_row_ratio: 0.05,
            max_new_columns: 100,
        }
    }
}

/// `schema.columns.<name>` of a contract.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnRules {
    /// `RFC3339` or strftime, tried in order; empty: RFC 3339 and ISO dates.
    pub formats: Vec<String>,
    /// This column is the event time.
    pub event_time: bool,
    pub unit: Option<String>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub pattern: Option<String>,
    pub allowed_values: Option<Vec<String>>,
    pub aliases: Vec<String>,
    /// Texts of true and false; `None`: `true`/`false`.
    pub booleans: Option<BooleanTokens>,
    /// Replaces the file's null tokens for this column.
    pub null_tokens: Option<Vec<String>>,
    /// IANA name or offset of naive timestamps.
    pub timezone: Option<String>,
    pub unique: bool,
    /// Values are redacted in letters and samples.
    pub sensitive: bool,
}

/// Texts that mean true and false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BooleanTokens {
    pub truthy: Vec<String>,
    pub falsy: Vec<String>,
}

/// `rows.on_bad_row`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnBadRow {
    #[default]
    QuarantineRow,
    RejectFile,
}

/// `rows.dedupe`: within one source object unless `scope` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    pub key: Vec<String>,
    pub exact_duplicate: ExactDuplicate,
    pub conflicting_duplicate: ConflictingDuplicate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ExactDuplicate {
    #[default]
    Drop,
    Keep,
    QuarantineRest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ConflictingDuplicate {
    #[default]
    KeepFirstQuarantineRest,
    Keep,
    RejectFile,
}

/// Everything of a contract that drift and casts need.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SchemaOptions {
    pub compatibility: Compatibility,
    /// `identity` as written; see [`SchemaOptions::is_identity`] for what else counts.
    pub identity: Vec<String>,
    pub required: Vec<String>,
    pub columns: BTreeMap<String, ColumnRules>,
    pub policy: Policy,
    pub on_bad_row: OnBadRow,
    pub dedupe: Option<Dedupe>,
    /// Source columns of `transform.partition_by`.
    pub partition_columns: Vec<String>,
    /// `transform.resolve`: columns whose type the contract sets.
    pub resolve: Choices,
}

impl SchemaOptions {
    /// identity ∪ dedupe key ∪ event time ∪ partition columns (decisions.md 39).
    pub fn is_identity(&self, path: &str) -> bool {
        self.identity.iter().any(|c| c == path)
            || self.dedupe.as_ref().is_some_and(|d| d.key.iter().any(|c| c == path))
            || self.columns.get(path).is_some_and(|c| c.event_time)
            || self.partition_columns.iter().any(|c| c == path)
    }

    pub fn is_required(&self, path: &str) -> bool {
        self.required.iter().any(|c| c == path)
    }
}
