//! What the rules said of an object: outcomes, metrics, rows, and the verdict that follows.

use std::sync::Arc;

use serde::Serialize;

use crate::quality::evaluate::Evaluation;
use crate::quality::judge::{Judged, judge};
use crate::quality::measure::Sample;
use crate::quality::rows::RowSet;

/// What happens when a rule fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    Warn,
    QuarantineRows,
    #[default]
    QuarantineFiles,
    /// Only with scope batch (decisions.md 1).
    FailBatch,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Warn => "warn",
            Action::QuarantineRows => "quarantine_rows",
            Action::QuarantineFiles => "quarantine_files",
            Action::FailBatch => "fail_batch",
        }
    }

    pub fn named(text: &str) -> Option<Self> {
        [Action::Warn, Action::QuarantineRows, Action::QuarantineFiles, Action::FailBatch].into_iter().find(|a| a.as_str() == text)
    }
}

/// Over which rows a rule speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    #[default]
    Object,
    Batch,
    Table,
}

impl Scope {
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Object => "object",
            Scope::Batch => "batch",
            Scope::Table => "table",
        }
    }

    pub fn named(text: &str) -> Option<Self> {
        [Scope::Object, Scope::Batch, Scope::Table].into_iter().find(|s| s.as_str() == text)
    }
}

/// How a rule that gave no verdict counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnNotEvaluated {
    Pass,
    #[default]
    Warn,
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed { reason: String },
    NotEvaluated { why: String },
}

impl Outcome {
    /// `passed`, `failed` or `not_evaluated`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed { .. } => "failed",
            Outcome::NotEvaluated { .. } => "not_evaluated",
        }
    }

    pub const fn is_judged(&self) -> bool {
        !matches!(self, Outcome::NotEvaluated { .. })
    }

    /// Why it did not pass.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Passed => None,
            Outcome::Failed { reason } => Some(reason),
            Outcome::NotEvaluated { why } => Some(why),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct RuleResult {
    /// Zero-based, in the order of the document.
    pub index: usize,
    /// Canonical text.
    pub text: String,
    pub outcome: Outcome,
    /// The label's; without one the ruleset's default holds.
    pub action: Option<Action>,
    pub scope: Scope,
    /// By the names of dqdl.md §1.3.
    pub metrics: Vec<(String, f64)>,
    /// The rule with its numbers.
    pub explain: String,
    /// Positions of rows that fail, of rules that say so.
    pub failing_rows: Option<RowSet>,
    /// Rows outside `where`.
    pub skipped_rows: RowSet,
    /// The first offending values.
    pub samples: Vec<Sample>,
}

impl RuleResult {
    /// What the outcome asks for; `None`: nothing.
    pub fn consequence(&self, default_action: Action, on_not_evaluated: OnNotEvaluated) -> Option<Action> {
        match (&self.outcome, on_not_evaluated) {
            (Outcome::Passed, _) | (Outcome::NotEvaluated { .. }, OnNotEvaluated::Pass) => None,
            (Outcome::NotEvaluated { .. }, OnNotEvaluated::Warn) => Some(Action::Warn),
            (Outcome::Failed { .. }, _) | (Outcome::NotEvaluated { .. }, OnNotEvaluated::Fail) => {
                Some(self.action.unwrap_or(default_action))
            }
        }
    }
}

/// Everything the rules said of one object, or of several merged.
#[derive(Debug, Clone)]
pub struct Report {
    pub rules: Vec<RuleResult>,
    pub rows: u64,
    /// Kept so that reports merge exactly.
    measured: Arc<Evaluation>,
}

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum ObjectVerdict {
    /// `warnings` are indexes of rules.
    Accept { warnings: Vec<usize> },
    /// `by_rule`: canonical text and rows of each rule that holds rows back; a row may stand under several.
    AcceptMinusRows { rows: RowSet, by_rule: Vec<(String, RowSet)>, warnings: Vec<usize> },
    /// `failed` are indexes of rules.
    Reject { failed: Vec<usize>, warnings: Vec<usize> },
}

/// What rules hold against an object, before it is weighed.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Held {
    pub warnings: Vec<usize>,
    pub failed: Vec<usize>,
    pub by_rule: Vec<(String, RowSet)>,
}

impl Held {
    pub(crate) fn verdict(self) -> ObjectVerdict {
        let Held { warnings, failed, by_rule } = self;
        if !failed.is_empty() {
            return ObjectVerdict::Reject { failed, warnings };
        }
        if by_rule.is_empty() {
            return ObjectVerdict::Accept { warnings };
        }
        let mut rows = RowSet::default();
        by_rule.iter().for_each(|(_, failing)| rows.union_with(failing));
        ObjectVerdict::AcceptMinusRows { rows, by_rule, warnings }
    }
}

impl ObjectVerdict {
    /// The verdict of both.
    #[must_use]
    pub fn and(self, other: ObjectVerdict) -> ObjectVerdict {
        let (mut held, more) = (self.held(), other.held());
        held.warnings.extend(more.warnings);
        held.failed.extend(more.failed);
        held.by_rule.extend(more.by_rule);
        held.verdict()
    }

    fn held(self) -> Held {
        match self {
            ObjectVerdict::Accept { warnings } => Held { warnings, ..Held::default() },
            ObjectVerdict::AcceptMinusRows { by_rule, warnings, .. } => Held { warnings, by_rule, ..Held::default() },
            ObjectVerdict::Reject { failed, warnings } => Held { warnings, failed, ..Held::default() },
        }
    }
}

impl Report {
    pub(crate) fn of(measured: Arc<Evaluation>) -> Self {
        let rules = measured.plan.0.rules.iter().enumerate().map(|(index, rule)| {
            let Judged { outcome, metrics, failing, skipped, samples } = judge(&measured, &rule.node);
            let explain = explain(&rule.text, &outcome, &metrics);
            RuleResult {
                index,
                text: rule.text.clone(),
                outcome,
                action: rule.action,
                scope: rule.scope,
                metrics,
                explain,
                failing_rows: failing,
                skipped_rows: skipped,
                samples,
            }
        });
        Self { rules: rules.collect(), rows: measured.rows, measured }
    }

    /// Adds the report over the rows that follow: the result is that of one pass over both.
    /// Reports of plans that do not agree merge to a report whose rules all fail with that reason.
    pub fn merge(&mut self, other: &Report) {
        if let Some(merged) = Self::merge_all([&*self, other]) {
            *self = merged;
        }
    }

    /// The report over the rows of all, in their order, judged once; `None` of none.
    pub fn merge_all<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Option<Report> {
        let mut reports = reports.into_iter();
        let mut measured = Arc::clone(&reports.next()?.measured);
        for report in reports {
            Arc::make_mut(&mut measured).merge(&report.measured);
        }
        Some(Self::of(measured))
    }

    /// The same report with the rules of one scope only; it still merges whole.
    #[must_use]
    pub fn only(mut self, scope: Scope) -> Self {
        self.rules.retain(|r| r.scope == scope);
        self
    }

    /// Rules of this outcome: `passed`, `failed` or `not_evaluated`.
    pub fn count(&self, outcome: &str) -> u64 {
        self.rules.iter().filter(|r| r.outcome.as_str() == outcome).count() as u64
    }

    /// The same of one scope.
    pub fn count_in(&self, scope: Scope, outcome: &str) -> u64 {
        self.rules.iter().filter(|r| r.scope == scope && r.outcome.as_str() == outcome).count() as u64
    }

    /// What follows for the object from the rules of scope object.
    pub fn verdict(&self, default_action: Action, on_not_evaluated: OnNotEvaluated) -> ObjectVerdict {
        self.verdict_in(Scope::Object, default_action, on_not_evaluated)
    }

    /// What follows from the rules of one scope. A rule that should hold rows back but names none rejects,
    /// since a failure must not pass for lack of rows.
    pub fn verdict_in(&self, scope: Scope, default_action: Action, on_not_evaluated: OnNotEvaluated) -> ObjectVerdict {
        let mut held = Held::default();
        for rule in self.rules.iter().filter(|r| r.scope == scope) {
            let Some(action) = rule.consequence(default_action, on_not_evaluated) else { continue };
            match (action, rule.failing_rows.as_ref().filter(|r| !r.is_empty())) {
                (Action::Warn, _) => held.warnings.push(rule.index),
                (Action::QuarantineRows, Some(failing)) => held.by_rule.push((rule.text.clone(), failing.clone())),
                _ => held.failed.push(rule.index),
            }
        }
        held.verdict()
    }

    /// The report for people and machines; at most twenty positions per rule.
    pub fn to_json(&self) -> serde_json::Value {
        let rules = self.rules.iter().map(|rule| RuleTwin {
            index: rule.index,
            rule: &rule.text,
            outcome: rule.outcome.as_str(),
            reason: rule.outcome.reason(),
            action: rule.action.map(Action::as_str),
            scope: rule.scope.as_str(),
            metrics: rule.metrics.iter().map(|(name, value)| (name.clone(), number(*value))).collect(),
            explain: &rule.explain,
            rows: rule.failing_rows.as_ref().map(|failing| RowsTwin {
                failing: failing.count(),
                skipped: rule.skipped_rows.count(),
                first: failing.iter().take(20).collect(),
            }),
            samples: rule.samples.iter().map(|s| SampleTwin { row: s.row, value: &s.value }).collect(),
        });
        let twin = ReportTwin { format_version: 1, rows: self.rows, rules: rules.collect() };
        serde_json::to_value(twin).unwrap_or_default()
    }
}

fn explain(text: &str, outcome: &Outcome, metrics: &[(String, f64)]) -> String {
    let mut line = format!("{text}: {}", outcome.as_str());
    if !metrics.is_empty() {
        let metrics = metrics.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>();
        line.push_str(&format!(", {}", metrics.join(", ")));
    }
    if let Some(reason) = outcome.reason() {
        line.push_str(&format!(" ({reason})"));
    }
    line
}

/// JSON knows neither NaN nor infinities: null.
fn number(value: f64) -> serde_json::Value {
    serde_json::Number::from_f64(value).map_or(serde_json::Value::Null, serde_json::Value::Number)
}

#[derive(Serialize)]
struct ReportTwin<'a> {
    format_version: u32,
    rows: u64,
    rules: Vec<RuleTwin<'a>>,
}

#[derive(Serialize)]
struct RuleTwin<'a> {
    index: usize,
    rule: &'a str,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    scope: &'a str,
    metrics: serde_json::Map<String, serde_json::Value>,
    explain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<RowsTwin>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    samples: Vec<SampleTwin<'a>>,
}

#[derive(Serialize)]
struct RowsTwin {
    failing: u64,
    skipped: u64,
    first: Vec<u64>,
}

#[derive(Serialize)]
struct SampleTwin<'a> {
    row: u64,
    value: &'a str,
}
