//! Judging rows by a contract's rules: shared by the check stage and by `lakegate check`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};

use crate::contract::model::{Action as ContractAction, OnNotEvaluated as ContractPolicy};
use crate::domain::time::Timestamp;
use crate::expression::predicate::Predicate;
use crate::quality::evaluate::Evaluation;
use crate::quality::parser::parse;
use crate::quality::plan::{Plan, PredicateCompiler, RowPredicate};
use crate::quality::report::{Action, ObjectVerdict, OnNotEvaluated, Report};
use crate::quality::syntax::Ruleset;
use crate::stage::catalog::Dataset;
use crate::table::columns::OPERATIONAL;

/// Whether rules speak of this column: it is the data's own, not an operational one nor a kept original.
pub fn is_judged(column: &str) -> bool {
    !OPERATIONAL.contains(&column) && !column.ends_with("__raw") && column != crate::schema::read::RESCUED
}

/// `where` by the expressions of `derive`.
pub struct Sql;

impl RowPredicate for Predicate {
    fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, String> {
        Predicate::mask(self, batch).map_err(|e| e.to_string())
    }
}

impl PredicateCompiler for Sql {
    fn compile(&self, text: &str, schema: &Schema) -> Result<Box<dyn RowPredicate + Send + Sync>, String> {
        Ok(Box::new(Predicate::compile(text, schema).map_err(|e| e.to_string())?))
    }
}

/// Judges several objects at once, each by itself.
pub struct Judge {
    ruleset: Option<Ruleset>,
    default_action: Action,
    on_not_evaluated: OnNotEvaluated,
    now: Timestamp,
    plans: Vec<(SchemaRef, Plan)>,
    objects: BTreeMap<usize, Option<Evaluation>>,
}

impl Judge {
    /// # Errors
    /// A sentence, when the contract's rules do not parse (lint says so first).
    pub fn new(dataset: &Dataset, now: Timestamp) -> Result<Self, String> {
        let quality = &dataset.contract.quality;
        let ruleset = quality.rules.as_ref().map(|r| parse(&r.text)).transpose();
        let ruleset = ruleset.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let default_action = match quality.default_action {
            ContractAction::Warn => Action::Warn,
            ContractAction::QuarantineRows => Action::QuarantineRows,
            ContractAction::QuarantineFiles => Action::QuarantineFiles,
            ContractAction::FailBatch => Action::FailBatch,
        };
        let on_not_evaluated = match quality.on_not_evaluated {
            ContractPolicy::Pass => OnNotEvaluated::Pass,
            ContractPolicy::Warn => OnNotEvaluated::Warn,
            ContractPolicy::Fail => OnNotEvaluated::Fail,
        };
        Ok(Self { ruleset, default_action, on_not_evaluated, now, plans: Vec::new(), objects: BTreeMap::new() })
    }

    fn plan(&mut self, schema: &SchemaRef) -> Result<Option<Plan>, String> {
        let Some(ruleset) = &self.ruleset else { return Ok(None) };
        if let Some((_, known)) = self.plans.iter().find(|(s, _)| Arc::ptr_eq(s, schema) || s == schema) {
            return Ok(Some(known.clone()));
        }
        let plan =
            Plan::compile(ruleset, schema, &Sql).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        self.plans.push((SchemaRef::clone(schema), plan.clone()));
        Ok(Some(plan))
    }

    /// An object without rows: it is judged all the same.
    pub fn touch(&mut self, object: usize) {
        self.objects.entry(object).or_insert(None);
    }

    /// The next rows of an object, only columns of [`is_judged`].
    ///
    /// # Errors
    /// When the rules cannot be bound to these columns.
    pub fn push(&mut self, object: usize, rows: &RecordBatch) -> Result<(), String> {
        if !matches!(self.objects.get(&object), Some(Some(_))) {
            let Some(plan) = self.plan(&rows.schema())? else { return Ok(()) };
            self.objects.insert(object, Some(Evaluation::new(&plan, self.now)));
        }
        if let Some(Some(evaluation)) = self.objects.get_mut(&object) {
            evaluation.push(rows);
        }
        Ok(())
    }

    /// Report and verdict of every object.
    pub fn finish(mut self) -> BTreeMap<usize, (Option<Report>, ObjectVerdict)> {
        let empty = self.plan(&SchemaRef::new(Schema::empty())).ok().flatten();
        let (default_action, on_not_evaluated, now) = (self.default_action, self.on_not_evaluated, self.now);
        let judged = |evaluation: Option<Evaluation>| {
            let report = evaluation.or_else(|| empty.as_ref().map(|plan| Evaluation::new(plan, now))).map(Evaluation::finish);
            let verdict = report.as_ref().map(|r| r.verdict(default_action, on_not_evaluated));
            (report, verdict.unwrap_or(ObjectVerdict::Accept { warnings: Vec::new() }))
        };
        self.objects.into_iter().map(|(object, evaluation)| (object, judged(evaluation))).collect()
    }
}

/// The failed rules in one sentence.
pub fn failures(report: &Report) -> String {
    let failed: Vec<String> = report
        .rules
        .iter()
        .filter_map(|r| r.outcome.reason().filter(|_| r.outcome.as_str() == "failed").map(|why| format!("{} ({why})", r.text)))
        .take(10)
        .collect();
    failed.join("; ")
}
