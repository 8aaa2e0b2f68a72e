//! The drift decision (drift.md §2): an observation, a policy → all findings, one action, the next
//! schema and a plan to read by. Pure; the registry is asked by the caller with [`Drift::evolved`].
//!
//! ```text
//!  columns: which names are there  ─┐
//!  values: what their cells hold   ─┼─▶ findings ─▶ action, kinds, reason ─▶ evolved shape, plan
//!  events: what the reader noticed ─┘
//! ```

mod columns;
mod planning;
mod rename;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::domain::reason::ReasonCode;
use crate::format::block::FileEvent;

use super::evolve::{Step, evolve};
use super::finding::{Action, Finding, FindingCode, Kind};
use super::observe::Observation;
use super::options::{Coercion, Compatibility, OnBadRow, SchemaOptions};
use super::plan::{DialectWord, Disposition, ReadPlan, Rule};
use super::reading::Bin;
use super::resolve::{Resolve, registrable};
use super::shape::RecordShape;

pub use rename::RenameCandidate;

/// A version of the dataset's schema.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredSchema {
    pub version: u32,
    pub shape: RecordShape,
}

/// A version announced beforehand, and the same file measured against it (decisions.md 31).
#[derive(Debug, Clone)]
pub struct Pending {
    pub schema: RegisteredSchema,
    pub observation: Observation,
}

/// Everything the decision needs.
pub struct DriftInput<'a> {
    /// `None`: onboarding.
    pub registered: Option<&'a RegisteredSchema>,
    /// Only when already effective.
    pub pending: Option<&'a Pending>,
    pub options: &'a SchemaOptions,
    /// File-wide null tokens of text tables.
    pub null_tokens: &'a [String],
    /// Measured against `registered`.
    pub observation: &'a Observation,
    pub events: &'a [FileEvent],
    /// The registry refused the evolved schema of a former call: what needed it is breaking now.
    pub evolution_refused: bool,
}

/// Rows that keep the whole file out (β of decisions.md 27, or `on_bad_row: reject_file`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRejection {
    pub quarantined: u64,
    pub physical: u64,
    pub reason: ReasonCode,
}

/// The decision about one file.
#[derive(Debug, Clone)]
pub struct Drift {
    /// All of them, not the first.
    pub findings: Vec<Finding>,
    pub kinds: Vec<Kind>,
    pub breaking: bool,
    pub action: Action,
    /// Class of the strongest finding; `valid` without any.
    pub reason: ReasonCode,
    pub rename_candidates: Vec<RenameCandidate>,
    pub rows_reject: Option<RowRejection>,
    pub registered_version: Option<u32>,
    /// The schema to register before anything of the file lands, if it differs from the registered one.
    /// In onboarding its record has no name yet; the caller gives it the dataset's.
    pub evolved: Option<RecordShape>,
    /// Version that `evolved` gets if nobody is faster; a pending version's own number.
    pub new_version: Option<u32>,
    /// How to read the file; `None` if nothing of it lands.
    pub plan: Option<ReadPlan>,
    pub raw_columns: Vec<String>,
    pub physical_rows: u64,
    /// Rows quarantined before deduplication; an upper bound if the plan's count is unknown.
    pub quarantined_rows: u64,
}

impl Drift {
    /// Accept with drift: something other than TY15a was recorded, or rows are held back (decisions.md 25).
    pub fn is_clean(&self) -> bool {
        self.action == Action::Accept && self.quarantined_rows == 0 && self.findings.iter().all(|f| f.code == FindingCode::Ty15a)
    }
}

/// What happens to one node's readings, while findings are drawn up.
#[derive(Debug, Clone, Default)]
struct Draft {
    dialect: DialectWord,
    rules: BTreeMap<Bin, Rule>,
}

impl Draft {
    fn set(&mut self, bin: Bin, then: Disposition, code: FindingCode) {
        self.rules.insert(bin, Rule::new(then, code));
    }

    fn refuses(&self, bin: Bin) -> bool {
        self.rules.get(&bin).is_some_and(|r| r.then == Disposition::QuarantineRow)
    }
}

/// State shared by the families of findings.
struct Case<'a> {
    input: &'a DriftInput<'a>,
    observation: &'a Observation,
    options: &'a SchemaOptions,
    findings: Vec<Finding>,
    drafts: Vec<Draft>,
    steps: Vec<Step>,
    /// Places in `observation.unknown` that become columns, with their field's name.
    adopted: Vec<(usize, String)>,
    renames: Vec<RenameCandidate>,
}

impl<'a> Case<'a> {
    fn coercion(&self) -> Coercion {
        self.options.policy.allow_type_coercion
    }

    fn coercion_bit(&self) -> String {
        let word = match self.coercion() {
            Coercion::None => "none",
            Coercion::Limited => "limited",
            Coercion::Full => "full",
        };
        format!("allow_type_coercion={word}")
    }

    /// The contract's own choice for the column a node belongs to, if it sets the type.
    fn choice(&self, node: usize) -> Option<&'a Resolve> {
        let column = self.observation.expected.fields.get(self.observation.nodes.get(node)?.column)?;
        self.options.resolve.get(&column.name).filter(|choice| choice.target().is_some())
    }

    /// The policy for casts into this node, as decision records name it.
    fn cast_bit(&self, node: usize) -> String {
        self.choice(node).map_or_else(|| self.coercion_bit(), |choice| format!("resolve={choice}"))
    }

    /// TY3 is possible at all: the mode allows a wider type and the registry has not said no.
    fn may_widen(&self) -> bool {
        let mode_allows =
            matches!(self.options.compatibility, Compatibility::None | Compatibility::Backward | Compatibility::BackwardTransitive);
        mode_allows && !self.input.evolution_refused
    }

    /// More than β of `of`.
    fn beyond(&self, bad: u64, of: u64) -> bool {
        bad > 0 && bad as f64 > self.options.policy.max_bad_row_ratio * of as f64
    }

    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

/// Decides about one file.
pub fn classify(input: &DriftInput<'_>) -> Drift {
    let own = decide(input);
    let Some(pending) = input.pending.filter(|_| own.breaking) else { return own };
    let announced = decide(&DriftInput {
        registered: Some(&pending.schema),
        pending: None,
        observation: &pending.observation,
        options: input.options,
        null_tokens: input.null_tokens,
        events: input.events,
        evolution_refused: input.evolution_refused,
    });
    activate(own, announced, &pending.schema)
}

/// Breaking findings that vanish under the pending version are announced; when all are, it is activated.
fn activate(mut own: Drift, pending: Drift, schema: &RegisteredSchema) -> Drift {
    let still = |path: &str| pending.findings.iter().any(|f| f.breaking && f.path == path);
    for finding in own.findings.iter_mut().filter(|f| f.breaking) {
        finding.announced = !still(&finding.path);
    }
    let all_announced = own.findings.iter().all(|f| !f.breaking || f.announced);
    own.kinds = kinds(&own.findings);
    if !all_announced || pending.action == Action::Quarantine {
        return own;
    }
    Drift {
        action: Action::AcceptAndEvolve,
        evolved: Some(pending.evolved.unwrap_or_else(|| schema.shape.clone())),
        new_version: Some(pending.new_version.unwrap_or(schema.version)),
        plan: pending.plan,
        raw_columns: pending.raw_columns,
        quarantined_rows: pending.quarantined_rows,
        rows_reject: pending.rows_reject,
        ..own
    }
}

fn decide(input: &DriftInput<'_>) -> Drift {
    let observation = input.observation;
    let mut case = Case {
        input,
        observation,
        options: input.options,
        findings: Vec::new(),
        drafts: vec![Draft::default(); observation.facts.len()],
        steps: Vec::new(),
        adopted: Vec::new(),
        renames: Vec::new(),
    };
    case.events();
    case.names();
    case.missing();
    case.values();
    case.unknown();
    case.withdraw_open_rules();
    let Case { findings, mut drafts, steps, adopted, renames, .. } = case;

    let policy = &input.options.policy;
    let breaking = findings.iter().any(|f| f.breaking);
    let refused = findings.iter().any(|f| f.breaking && (policy.quarantine_on_breaking_change || f.hard));
    planning::settle_defaults(observation, &mut drafts);

    let refuses = |m: super::facts::Mark| drafts[m.node()].refuses(m.bin());
    let certain = observation.signatures.rows_with(refuses);
    let by_values = certain + observation.signatures.uncounted;
    let quarantined_rows = by_values + observation.bad_rows();
    let physical_rows = observation.physical_rows();
    let rows_reject = row_rejection(input, &findings, by_values, quarantined_rows, physical_rows);

    let base: &RecordShape = &observation.expected;
    let mut next = evolve(base, &steps);
    if observation.onboarding {
        planning::first_version(observation, &adopted, &mut next);
    }
    let changed = observation.onboarding || next != *base;
    let action = if refused || rows_reject.is_some() {
        Action::Quarantine
    } else if observation.onboarding {
        // What is inferred is no finding; what was renamed on the way is (decisions.md 25).
        findings.iter().map(|f| f.action).filter(|a| *a != Action::AcceptAndEvolve).max().unwrap_or(Action::Accept)
    } else {
        findings.iter().map(|f| f.action).max().unwrap_or(Action::Accept)
    };
    let raw_columns = if action == Action::Quarantine { Vec::new() } else { planning::raw_columns(observation, &drafts) };
    let plan = (action != Action::Quarantine).then(|| {
        let quarantined = (observation.signatures.uncounted == 0).then_some(quarantined_rows);
        planning::plan(input, &next, &drafts, &adopted, &raw_columns, quarantined)
    });
    let version = input.registered.map(|r| r.version);
    Drift {
        kinds: kinds(&findings),
        breaking,
        action,
        reason: reason(&findings, rows_reject, observation),
        rename_candidates: renames,
        rows_reject,
        registered_version: version,
        new_version: (changed && action != Action::Quarantine).then(|| version.unwrap_or(0) + 1),
        evolved: (changed && action != Action::Quarantine && !next.fields.is_empty())
            .then(|| registrable(next, input.registered.map(|r| &r.shape), &input.options.resolve)),
        plan,
        raw_columns,
        physical_rows,
        quarantined_rows,
        findings,
    }
}

/// Kinds in order of their findings; `contract` last, if any breaking finding came without notice.
fn kinds(findings: &[Finding]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for finding in findings {
        if !kinds.contains(&finding.kind) {
            kinds.push(finding.kind);
        }
    }
    if findings.iter().any(|f| f.breaking && !f.announced) {
        kinds.push(Kind::Contract);
    }
    kinds
}

fn row_rejection(input: &DriftInput<'_>, findings: &[Finding], by_values: u64, quarantined: u64, physical: u64) -> Option<RowRejection> {
    let beta = input.options.policy.max_bad_row_ratio;
    let too_many = quarantined > 0 && quarantined as f64 > beta * physical as f64;
    let one_is_enough = quarantined > 0 && input.options.on_bad_row == OnBadRow::RejectFile;
    if !(too_many || one_is_enough) {
        return None;
    }
    let worst = input.observation.bad.values().max_by_key(|b| b.rows);
    let reason = match worst {
        Some(bad) if bad.rows >= by_values => bad.reason,
        _ => findings
            .iter()
            .filter(|f| f.evidence.bad.is_some_and(|b| b > 0))
            .max_by_key(|f| f.evidence.bad)
            .map_or(ReasonCode::RowTypeError, |f| f.reason),
    };
    Some(RowRejection { quarantined, physical, reason })
}

/// The reason class of the file: hard before breaking before row-level before what is merely recorded.
fn reason(findings: &[Finding], rows: Option<RowRejection>, observation: &Observation) -> ReasonCode {
    let weight = |f: &Finding| {
        // A missing column under another name is told as the rename it probably is only as a hint;
        // contract values and types outrank cosmetic findings of the same action.
        let label = matches!(f.kind, Kind::Rename | Kind::Reorder | Kind::Dialect);
        (f.hard, f.breaking, f.action, !label)
    };
    let mut strongest: Option<&Finding> = None;
    for finding in findings {
        if strongest.is_none_or(|s| weight(finding) > weight(s)) {
            strongest = Some(finding);
        }
    }
    match (strongest, rows) {
        (Some(f), _) if f.breaking => f.reason,
        (_, Some(rejection)) => rejection.reason,
        (Some(f), None) => f.reason,
        (None, None) => observation.bad.values().max_by_key(|b| b.rows).map_or(ReasonCode::Valid, |b| b.reason),
    }
}
