//! What was measured to outcomes, metrics and row verdicts, rule by rule (dqdl.md §1.4, decisions.md 42-44).

use crate::quality::catalog::{RowVerdicts, RuleKind};
use crate::quality::condition::{Hindrance, Want};
use crate::quality::evaluate::{Evaluation, State};
use crate::quality::measure::{Compliance, Groups, Moments, Nulls, Sample};
use crate::quality::plan::{Leaf, PlanNode};
use crate::quality::report::Outcome;
use crate::quality::rows::RowSet;
use crate::quality::syntax::Connective;

/// The verdict on one rule or composite.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub outcome: Outcome,
    pub metrics: Vec<(String, f64)>,
    pub failing: Option<RowSet>,
    pub skipped: RowSet,
    pub samples: Vec<Sample>,
}

impl Judged {
    fn without_rows(outcome: Outcome) -> Self {
        Self { outcome, metrics: Vec::new(), failing: None, skipped: RowSet::default(), samples: Vec::new() }
    }
}

pub(crate) fn judge(evaluation: &Evaluation, node: &PlanNode) -> Judged {
    match node {
        PlanNode::Leaf(idx) => leaf(evaluation, &evaluation.plan.0.leaves[*idx]),
        PlanNode::Composite { connective, legs } => combine(*connective, legs.iter().map(|leg| judge(evaluation, leg)).collect()),
    }
}

/// Outcomes combine dataset verdicts, row verdicts combine per row; a row that a leg's `where` leaves out passes that leg.
fn combine(connective: Connective, legs: Vec<Judged>) -> Judged {
    let failed: Vec<String> = legs
        .iter()
        .filter_map(|leg| match &leg.outcome {
            Outcome::Failed { reason } => Some(reason.clone()),
            _ => None,
        })
        .collect();
    let missing = legs.iter().find_map(|leg| match &leg.outcome {
        Outcome::NotEvaluated { why } => Some(why.clone()),
        _ => None,
    });
    let decided = match connective {
        Connective::And => !failed.is_empty(),
        Connective::Or => legs.iter().any(|leg| leg.outcome == Outcome::Passed),
    };
    let outcome = match (connective, decided, missing) {
        (Connective::And, true, _) => Outcome::Failed { reason: failed.join("; ") },
        (Connective::Or, true, _) => Outcome::Passed,
        (_, false, Some(why)) => Outcome::NotEvaluated { why },
        (Connective::And, false, None) => Outcome::Passed,
        (Connective::Or, false, None) => Outcome::Failed { reason: failed.join("; ") },
    };
    let mut combined: Option<Judged> = None;
    for leg in legs {
        let Some(so_far) = &mut combined else {
            combined = Some(leg);
            continue;
        };
        so_far.failing = match (so_far.failing.take(), leg.failing) {
            (Some(mut rows), Some(other)) => {
                match connective {
                    Connective::And => rows.union_with(&other),
                    Connective::Or => rows.intersect_with(&other),
                }
                Some(rows)
            }
            _ => None,
        };
        so_far.skipped.intersect_with(&leg.skipped);
        for metric in leg.metrics {
            if !so_far.metrics.iter().any(|m| m.0 == metric.0) {
                so_far.metrics.push(metric);
            }
        }
        let room = crate::quality::measure::SAMPLES_MAX.saturating_sub(so_far.samples.len());
        so_far.samples.extend(leg.samples.into_iter().take(room));
    }
    let mut combined = combined.unwrap_or_else(|| Judged::without_rows(Outcome::Passed));
    if let Some(failing) = &combined.failing {
        combined.samples.retain(|s| failing.contains(s.row));
    }
    Judged { outcome, ..combined }
}

fn leaf(evaluation: &Evaluation, leaf: &Leaf) -> Judged {
    match &leaf.hindrance {
        Some(Hindrance::Broken(reason)) => return Judged::without_rows(Outcome::Failed { reason: reason.clone() }),
        Some(Hindrance::NotEvaluated(why)) => return Judged::without_rows(Outcome::NotEvaluated { why: why.clone() }),
        None => {}
    }
    let filtered = leaf.filter.map(|idx| &evaluation.filters[idx]);
    if let Some(reason) = evaluation.fault.as_ref().or_else(|| filtered.and_then(|f| f.fault.as_ref())) {
        return Judged::without_rows(Outcome::Failed { reason: reason.clone() });
    }
    let unreadable = leaf.measures.iter().find_map(|idx| match &evaluation.states[*idx] {
        State::Unreadable(reason) => Some(reason.clone()),
        _ => None,
    });
    if let Some(reason) = unreadable {
        return Judged::without_rows(Outcome::Failed { reason });
    }
    let view = View { evaluation, leaf, rows: filtered.map_or(evaluation.rows, |f| f.rows) };
    let mut judged = view.judge();
    if let Some(filtered) = filtered {
        judged.skipped = filtered.skipped.clone();
    }
    let rows_count = match leaf.kind.signature().rows {
        RowVerdicts::Never => false,
        RowVerdicts::Always => true,
        RowVerdicts::Alone => !leaf.in_composite,
    };
    if !rows_count {
        judged.failing = None;
    }
    judged
}

struct View<'a> {
    evaluation: &'a Evaluation,
    leaf: &'a Leaf,
    /// Rows that `where` leaves.
    rows: u64,
}

impl View<'_> {
    fn judge(&self) -> Judged {
        let always = matches!(
            self.leaf.kind,
            RuleKind::RowCount | RuleKind::ColumnCount | RuleKind::ColumnExists | RuleKind::ColumnNamesMatchPattern
        );
        if !always && self.evaluation.rows == 0 {
            return missing("the object has no rows");
        }
        let by_rows = matches!(self.leaf.kind, RuleKind::ColumnValues | RuleKind::ColumnDataType | RuleKind::DataFreshness);
        if !always && !by_rows && self.rows == 0 {
            return missing("`where` leaves no row");
        }
        match self.leaf.kind {
            RuleKind::RowCount => self.metric("Dataset.*.RowCount", Some(self.rows as f64)),
            RuleKind::ColumnCount => self.metric("Dataset.*.ColumnCount", Some(self.evaluation.plan.0.column_names.len() as f64)),
            RuleKind::ColumnExists => self.column_exists(),
            RuleKind::ColumnNamesMatchPattern => self.column_names(),
            RuleKind::Completeness => self.completeness(),
            RuleKind::IsComplete => self.is_complete(),
            RuleKind::IsUnique | RuleKind::Uniqueness => self.uniqueness(),
            RuleKind::UniqueValueRatio => {
                let groups = self.groups();
                let judged = self.metric(&self.column_metric("UniqueValueRatio"), groups.and_then(Groups::unique_value_ratio));
                with_groups(judged, groups)
            }
            RuleKind::IsPrimaryKey => self.primary_key(),
            RuleKind::DistinctValuesCount => {
                self.metric(&self.column_metric("DistinctValuesCount"), self.groups().map(|g| g.distinct() as f64))
            }
            RuleKind::Entropy => self.metric(&self.column_metric("Entropy"), self.groups().and_then(Groups::entropy)),
            RuleKind::Mean => self.statistic("Mean", Moments::mean),
            RuleKind::Sum => self.statistic("Sum", |m| m.sum),
            RuleKind::StandardDeviation => self.statistic("StandardDeviation", |m| m.variance().sqrt()),
            RuleKind::Variance => self.statistic("Variance", Moments::variance),
            RuleKind::ColumnCorrelation => {
                let correlation = match self.state(0) {
                    Some(State::Together(together)) => together.correlation(),
                    _ => None,
                };
                self.metric(&format!("Multicolumn.{}.ColumnCorrelation", self.leaf.parameters.join(",")), correlation)
            }
            RuleKind::ColumnLength | RuleKind::ColumnValues | RuleKind::ColumnDataType | RuleKind::DataFreshness => self.compliance(),
            other => missing(&format!("{} is not evaluated by this engine yet", other.name())),
        }
    }

    fn state(&self, at: usize) -> Option<&State> {
        self.evaluation.states.get(*self.leaf.measures.get(at)?)
    }

    fn groups(&self) -> Option<&Groups> {
        match self.state(0) {
            Some(State::Groups(groups)) => Some(groups),
            _ => None,
        }
    }

    fn nulls(&self, at: usize) -> Option<&Nulls> {
        match self.state(at) {
            Some(State::Nulls(nulls)) => Some(nulls),
            _ => None,
        }
    }

    fn column_metric(&self, name: &str) -> String {
        match self.leaf.parameters.as_slice() {
            [column] => format!("Column.{column}.{name}"),
            columns => format!("Multicolumn.{}.{name}", columns.join(",")),
        }
    }

    /// A metric against the rule's number condition; without a value nothing is judged.
    fn metric(&self, name: &str, value: Option<f64>) -> Judged {
        let Some(value) = value else { return missing(&format!("{name} is not defined: no value takes part, or none varies")) };
        let holds = match &self.leaf.want {
            Want::Number(test) => test.holds(&value),
            _ => false,
        };
        let outcome = if holds { Outcome::Passed } else { Outcome::Failed { reason: format!("{name} is {value}") } };
        Judged { metrics: vec![(name.to_owned(), value)], ..Judged::without_rows(outcome) }
    }

    fn statistic(&self, name: &str, value: impl Fn(&Moments) -> f64) -> Judged {
        let moments = match self.state(0) {
            Some(State::Moments(moments)) if moments.n > 0 => Some(value(moments)),
            _ => None,
        };
        self.metric(&self.column_metric(name), moments)
    }

    fn column_exists(&self) -> Judged {
        let name = self.leaf.parameters.first().map_or("", String::as_str);
        let exists = self.evaluation.plan.0.column_names.iter().any(|c| c == name);
        let outcome = if exists { Outcome::Passed } else { Outcome::Failed { reason: format!("there is no column \"{name}\"") } };
        let metrics = vec![(format!("Dataset.{name}.ColumnExists"), f64::from(u8::from(exists)))];
        Judged { metrics, ..Judged::without_rows(outcome) }
    }

    fn column_names(&self) -> Judged {
        let names = &self.evaluation.plan.0.column_names;
        let Want::Columns(pattern) = &self.leaf.want else { return missing("the rule has no pattern") };
        let refused: Vec<&str> = names.iter().map(String::as_str).filter(|n| !pattern.matches(n)).collect();
        let ratio = if names.is_empty() { 1.0 } else { (names.len() - refused.len()) as f64 / names.len() as f64 };
        let shown = refused.iter().take(10).copied().collect::<Vec<_>>().join(", ");
        let outcome = match refused.len() {
            0 => Outcome::Passed,
            n => Outcome::Failed { reason: format!("{n} of {} column names do not match: {shown}", names.len()) },
        };
        Judged { metrics: vec![("Dataset.*.ColumnNamesPatternMatchRatio".to_owned(), ratio)], ..Judged::without_rows(outcome) }
    }

    fn completeness(&self) -> Judged {
        let Some(nulls) = self.nulls(0) else { return missing("nothing was measured") };
        let judged = self.metric(&self.column_metric("Completeness"), Some(nulls.completeness()));
        Judged { failing: Some(nulls.null_rows.clone()), ..judged }
    }

    fn is_complete(&self) -> Judged {
        let Some(nulls) = self.nulls(0) else { return missing("nothing was measured") };
        let outcome = match nulls.null_rows.count() {
            0 => Outcome::Passed,
            n => Outcome::Failed { reason: format!("{n} of {} rows are NULL", nulls.rows) },
        };
        Judged {
            metrics: vec![(self.column_metric("Completeness"), nulls.completeness())],
            failing: Some(nulls.null_rows.clone()),
            ..Judged::without_rows(outcome)
        }
    }

    fn uniqueness(&self) -> Judged {
        let groups = self.groups();
        let Some(value) = groups.and_then(Groups::uniqueness) else { return missing("no row has a value") };
        let name = self.column_metric("Uniqueness");
        let judged = if self.leaf.kind == RuleKind::IsUnique {
            let n = groups.map_or(0, |g| g.duplicates.count());
            let outcome =
                if n == 0 { Outcome::Passed } else { Outcome::Failed { reason: format!("{n} rows share their value with another") } };
            Judged { metrics: vec![(name, value)], ..Judged::without_rows(outcome) }
        } else {
            self.metric(&name, Some(value))
        };
        with_groups(judged, groups)
    }

    fn primary_key(&self) -> Judged {
        let (Some(groups), Some(nulls)) = (self.groups(), self.nulls(1)) else { return missing("nothing was measured") };
        let (shared, null) = (groups.duplicates.count(), nulls.null_rows.count());
        let outcome = match (shared, null) {
            (0, 0) => Outcome::Passed,
            _ => Outcome::Failed { reason: format!("{shared} rows share their key with another, {null} have a NULL in it") },
        };
        let mut metrics = vec![(self.column_metric("Completeness"), nulls.completeness())];
        metrics.extend(groups.uniqueness().map(|u| (self.column_metric("Uniqueness"), u)));
        let mut failing = groups.duplicates.clone();
        failing.union_with(&nulls.null_rows);
        Judged { metrics, failing: Some(failing), samples: groups.samples.clone(), ..Judged::without_rows(outcome) }
    }

    fn compliance(&self) -> Judged {
        let Some(State::Compliance(compliance)) = self.state(0) else { return missing("nothing was measured") };
        let metrics = self.compliance_metrics(compliance);
        let share = compliance.share();
        let failing = compliance.failing.count();
        let holds = match &self.leaf.threshold {
            // Without a row to judge there is nothing to hold against the rule.
            Some(threshold) => compliance.rows == 0 || threshold.holds(&share),
            None => failing == 0,
        };
        let outcome = if holds {
            Outcome::Passed
        } else {
            Outcome::Failed { reason: format!("{failing} of {} rows do not comply ({share} do)", compliance.rows) }
        };
        Judged { metrics, failing: Some(compliance.failing.clone()), samples: compliance.samples.clone(), ..Judged::without_rows(outcome) }
    }

    /// Every metric of the rule type that is defined for the column (decisions.md 44).
    fn compliance_metrics(&self, compliance: &Compliance) -> Vec<(String, f64)> {
        let share = compliance.share();
        let range = |state: Option<&State>| match state {
            Some(State::Moments(m) | State::Lengths(m)) if m.n > 0 => Some((m.min, m.max)),
            _ => None,
        };
        let named = |name: &str, value: f64| (self.column_metric(name), value);
        let mut metrics = Vec::new();
        match self.leaf.kind {
            RuleKind::ColumnLength => {
                if let Some((min, max)) = range(self.state(1)) {
                    metrics.extend([named("MinimumLength", min), named("MaximumLength", max)]);
                }
                metrics.push(named("LengthCompliance", share));
            }
            RuleKind::ColumnValues => {
                if let Some((min, max)) = range(self.state(1)) {
                    metrics.extend([named("Minimum", min), named("Maximum", max)]);
                }
                if self.leaf.is_pattern {
                    metrics.push(named("PatternMatch", share));
                }
                metrics.push(named("ColumnValues.Compliance", share));
            }
            RuleKind::ColumnDataType => metrics.push(named("ColumnDataType.Compliance", share)),
            _ => metrics.push(named("DataFreshness.Compliance", share)),
        }
        metrics
    }
}

fn missing(why: &str) -> Judged {
    Judged::without_rows(Outcome::NotEvaluated { why: why.to_owned() })
}

fn with_groups(judged: Judged, groups: Option<&Groups>) -> Judged {
    match groups {
        Some(groups) if judged.outcome.is_judged() => {
            Judged { failing: Some(groups.duplicates.clone()), samples: groups.samples.clone(), ..judged }
        }
        _ => judged,
    }
}
