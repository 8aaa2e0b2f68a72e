//! Judging rows by a contract's rules: shared by the check stage and by `lakegate check`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};

use crate::contract::model::{Action as ContractAction, OnNotEvaluated as ContractPolicy};
use crate::domain::time::Timestamp;
use crate::expression::predicate::Predicate;
use crate::quality::batch::verdicts;
use crate::quality::evaluate::Evaluation;
use crate::quality::parser::parse;
use crate::quality::plan::{Plan, PredicateCompiler, RowPredicate};
use crate::quality::report::{Action, ObjectVerdict, OnNotEvaluated, Report, RuleResult, Scope};
use crate::quality::syntax::{Diagnostic, Ruleset};
use crate::schema::dedupe::RESERVED_ROWS_MAX;
use crate::schema::union::Union;
use crate::stage::catalog::Dataset;
use crate::table::columns::OPERATIONAL;

/// Whether rules speak of this column: it is the data's own, not an operational one nor a kept original.
pub fn is_judged(column: &str) -> bool {
    !OPERATIONAL.contains(&column) && !column.ends_with("__raw") && column != crate::schema::typing::RESCUED
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

/// Judges several objects at once: each by itself, and all together where a rule asks for it.
pub struct Judge {
    ruleset: Option<Ruleset>,
    default_action: Action,
    on_not_evaluated: OnNotEvaluated,
    now: Timestamp,
    plans: Vec<(SchemaRef, Plan)>,
    /// Rows announced, by object.
    rows: BTreeMap<usize, usize>,
    /// `None`: no row was seen.
    objects: BTreeMap<usize, Option<Evaluation>>,
    /// Objects of several schemas: their rows measured again under one, so that they can be judged together.
    together: Option<(Union, BTreeMap<usize, Evaluation>)>,
}

/// What the rules said of one object.
pub struct Judged {
    pub verdict: ObjectVerdict,
    /// Of the rules of scope object.
    pub report: Option<Report>,
    /// The failed rules in one sentence.
    pub failures: String,
    /// The rules of scope batch, where they hold something against this object.
    pub batch: Option<Arc<Report>>,
}

impl Judged {
    /// The reports behind the verdict, as JSON.
    pub fn evidence(&self) -> Option<String> {
        let mut evidence = self.report.as_ref()?.to_json();
        if let Some(batch) = &self.batch {
            evidence["batch"] = batch.to_json();
        }
        Some(evidence.to_string())
    }
}

/// What the rules said of all objects.
#[derive(Default)]
pub struct Judgement {
    pub objects: BTreeMap<usize, Judged>,
    /// All rules, measured over the rows of all objects.
    pub batch: Option<Report>,
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
        Ok(Self {
            ruleset,
            default_action,
            on_not_evaluated,
            now,
            plans: Vec::new(),
            rows: BTreeMap::new(),
            objects: BTreeMap::new(),
            together: None,
        })
    }

    /// Announces the schemas of the rows to come: objects of several can then be judged together.
    pub fn expect(&mut self, schemas: &[SchemaRef]) {
        if schemas.windows(2).any(|pair| pair[0] != pair[1]) {
            self.together = Some((Union::of(schemas.iter().map(AsRef::as_ref)), BTreeMap::new()));
        }
    }

    fn plan(&mut self, schema: &SchemaRef) -> Result<Option<Plan>, String> {
        let Some(ruleset) = &self.ruleset else { return Ok(None) };
        if let Some((_, known)) = self.plans.iter().find(|(s, _)| Arc::ptr_eq(s, schema) || s == schema) {
            return Ok(Some(known.clone()));
        }
        let plan = Plan::compile(ruleset, schema, &Sql).map_err(|faults| sentence(&faults))?;
        self.plans.push((SchemaRef::clone(schema), plan.clone()));
        Ok(Some(plan))
    }

    /// An object without rows: it is judged all the same.
    pub fn touch(&mut self, object: usize) {
        self.objects.entry(object).or_insert(None);
    }

    /// How many rows an object has, for its measures to make room; at most [`RESERVED_ROWS_MAX`] are believed.
    pub fn announce(&mut self, object: usize, rows: u64) {
        self.rows.insert(object, usize::try_from(rows).unwrap_or(usize::MAX).min(RESERVED_ROWS_MAX));
    }

    /// The next rows of an object, only columns of [`is_judged`].
    ///
    /// # Errors
    /// When the rules cannot be bound to these columns.
    pub fn push(&mut self, object: usize, rows: &RecordBatch) -> Result<(), String> {
        let Some(plan) = self.plan(&rows.schema())? else { return Ok(()) };
        let now = self.now;
        let reserved = self.rows.get(&object).copied().unwrap_or(0);
        let begin = || {
            let mut evaluation = Evaluation::new(&plan, now);
            evaluation.reserve(reserved);
            evaluation
        };
        self.objects.entry(object).or_default().get_or_insert_with(begin).push(rows);
        let Some((union, _)) = &self.together else { return Ok(()) };
        let rows = union.conform(rows).map_err(|e| e.to_string())?;
        let Some(plan) = self.plan(&rows.schema())? else { return Ok(()) };
        if let Some((_, evaluations)) = &mut self.together {
            evaluations.entry(object).or_insert_with(|| Evaluation::new(&plan, now)).push(&rows);
        }
        Ok(())
    }

    /// Report and verdict of every object, and of all together.
    ///
    /// # Errors
    /// When an object without rows cannot be judged: the rules' labels are wrong.
    pub fn finish(self) -> Result<Judgement, String> {
        let Some(ruleset) = &self.ruleset else {
            let accepted =
                || Judged { verdict: ObjectVerdict::Accept { warnings: Vec::new() }, report: None, failures: String::new(), batch: None };
            return Ok(Judgement { objects: self.objects.into_keys().map(|object| (object, accepted())).collect(), batch: None });
        };
        let nothing = Plan::without_rows(ruleset).map_err(|faults| sentence(&faults))?;
        let mut reports: BTreeMap<usize, Report> = BTreeMap::new();
        for (object, evaluation) in self.objects {
            reports.insert(object, evaluation.unwrap_or_else(|| Evaluation::new(&nothing, self.now)).finish());
        }
        // What has no rows has no columns either, and adds nothing to the others.
        let with_rows: Vec<usize> = reports.iter().filter(|(_, r)| r.rows > 0).map(|(object, _)| *object).collect();
        let batch = match self.together {
            Some((_, evaluations)) => {
                let reports: Vec<Report> = evaluations.into_values().map(Evaluation::finish).collect();
                Report::merge_all(&reports)
            }
            None if with_rows.is_empty() => Report::merge_all(reports.values()),
            None => Report::merge_all(with_rows.iter().filter_map(|object| reports.get(object))),
        };
        let sizes: Vec<u64> = reports.values().map(|r| r.rows).collect();
        let of_batch = batch.as_ref().map(|b| verdicts(b, &sizes, self.default_action, self.on_not_evaluated)).unwrap_or_default();
        let shared = batch.clone().map(|b| Arc::new(b.only(Scope::Batch)));
        let mut objects = BTreeMap::new();
        for ((object, report), of_batch) in reports.into_iter().zip(of_batch) {
            let accused = !matches!(&of_batch, ObjectVerdict::Accept { .. });
            let verdict = report.verdict(self.default_action, self.on_not_evaluated).and(of_batch);
            let report = report.only(Scope::Object);
            let batch = shared.clone().filter(|_| accused);
            let failures = match &verdict {
                ObjectVerdict::Reject { failed, .. } => failures(failed, report.rules.iter().chain(batch.iter().flat_map(|b| &b.rules))),
                _ => String::new(),
            };
            objects.insert(object, Judged { verdict, report: Some(report), failures, batch });
        }
        Ok(Judgement { objects, batch })
    }
}

fn sentence(faults: &[Diagnostic]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The failed rules in one sentence.
fn failures<'a>(failed: &[usize], rules: impl Iterator<Item = &'a RuleResult>) -> String {
    let told = |r: &RuleResult| match r.outcome.reason() {
        Some(why) => format!("{} ({why})", r.text),
        None => r.text.clone(),
    };
    rules.filter(|r| failed.contains(&r.index)).map(told).take(10).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::Field;

    use super::*;
    use crate::contract::parse::parse;

    fn judge(rules: &str) -> Judge {
        let text = format!("dataset: t\nquality:\n  rules: |\n    Rules = [ {rules} ]\n");
        let dataset = Dataset::compile(parse("c.yaml", &text).unwrap_or_else(|f| panic!("{f:?}"))).expect("compiles");
        Judge::new(&dataset, Timestamp::from_millis(0)).expect("rules parse")
    }

    fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let fields: Vec<Field> = columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, c)| c).collect()).expect("a batch")
    }

    fn longs(values: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn is_rejected(judged: &Judged) -> bool {
        matches!(judged.verdict, ObjectVerdict::Reject { .. })
    }

    #[test]
    fn objects_of_two_versions_are_judged_together_and_each_by_its_own_columns() {
        let mut judge = judge(r#"IsUnique "id" labels=["scope"="batch"], ColumnCount = 1, Sum "id" = 6 labels=["scope"="batch"]"#);
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let later: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let (old, new) = (rows(vec![("id", narrow)]), rows(vec![("id", longs(&[3])), ("later", later)]));
        judge.expect(&[old.schema(), new.schema()]);
        judge.push(0, &old).expect("judged");
        judge.push(1, &new).expect("judged");
        let done = judge.finish().expect("judged");
        let batch = done.batch.expect("a batch");
        assert_eq!(batch.rules.iter().map(|r| r.outcome.as_str()).collect::<Vec<_>>(), ["passed", "failed", "passed"]);
        assert_eq!(done.objects.values().map(is_rejected).collect::<Vec<_>>(), [false, true], "only the object's own columns count");
        assert!(done.objects[&1].failures.starts_with("ColumnCount = 1"), "{}", done.objects[&1].failures);
    }

    #[test]
    fn a_failed_batch_rule_is_told_to_each_object_it_accuses() {
        let mut judge = judge(r#"RowCount > 9 labels=["scope"="batch", "action"="fail_batch"], RowCount > 0"#);
        for object in 0..2 {
            judge.push(object, &rows(vec![("id", longs(&[1]))])).expect("judged");
        }
        let done = judge.finish().expect("judged");
        for judged in done.objects.values() {
            assert!(is_rejected(judged) && judged.failures.contains("RowCount is 2"), "{}", judged.failures);
            assert_eq!(judged.report.as_ref().map(|r| r.rules.len()), Some(1), "the object's own report speaks of its own rules");
            assert!(judged.evidence().is_some_and(|e| e.contains("fail_batch")));
        }
    }

    /// A header without rows was rejected for columns nobody could see in it.
    #[test]
    fn an_object_without_rows_is_judged_by_its_number_of_rows_only() {
        let rules = r#"IsComplete "id", ColumnExists "id", Mean "id" > 1 where "id > 3", (ColumnCount = 1) or (RowCount = 0)"#;
        for (rules, rejected) in [(rules.to_owned(), false), (format!("{rules}, RowCount > 0"), true)] {
            let mut judge = judge(&rules);
            judge.touch(0);
            judge.push(1, &rows(vec![("id", longs(&[5]))])).expect("judged");
            let done = judge.finish().expect("judged");
            assert_eq!(is_rejected(&done.objects[&0]), rejected, "{rules}");
            let outcomes: Vec<_> = done.objects[&0].report.iter().flat_map(|r| &r.rules).map(|r| r.outcome.as_str()).take(4).collect();
            assert_eq!(outcomes, ["not_evaluated", "not_evaluated", "not_evaluated", "passed"]);
            assert_eq!(done.batch.map(|b| b.rows), Some(1), "it adds nothing to the batch's figures");
            assert!(!is_rejected(&done.objects[&1]));
        }
    }
}
