//! Rules of scope batch: judged once over all objects of a batch, and what follows for each of them.
//!
//! Opt-in, since such a verdict depends on what happened to be batched together (decisions.md 1).

use crate::quality::report::{Action, Held, ObjectVerdict, OnNotEvaluated, Report, Scope};
use crate::quality::rows::RowSet;

/// What the batch's rules mean for each object. `report` is over the rows of all, in this order, `sizes` of them
/// each; the rows of a verdict are the object's own.
///
/// `quarantine_rows` holds the failing rows back, `quarantine_files` the objects they are of, `fail_batch` all
/// objects. A rule that names no row accuses no object more than another: it holds back all of them.
pub fn verdicts(report: &Report, sizes: &[u64], default_action: Action, on_not_evaluated: OnNotEvaluated) -> Vec<ObjectVerdict> {
    let mut held: Vec<Held> = sizes.iter().map(|_| Held::default()).collect();
    for rule in report.rules.iter().filter(|r| r.scope == Scope::Batch) {
        let Some(action) = rule.consequence(default_action, on_not_evaluated) else { continue };
        let failing = rule.failing_rows.as_ref().filter(|rows| !rows.is_empty());
        let mut start = 0;
        for (object, size) in held.iter_mut().zip(sizes) {
            let own = failing.map(|rows| within(rows, start, *size));
            start += size;
            match (action, own) {
                (Action::Warn, _) => object.warnings.push(rule.index),
                (Action::QuarantineRows | Action::QuarantineFiles, Some(rows)) if rows.is_empty() => {}
                (Action::QuarantineRows, Some(rows)) => object.by_rule.push((rule.text.clone(), rows)),
                _ => object.failed.push(rule.index),
            }
        }
    }
    held.into_iter().map(Held::verdict).collect()
}

/// Rows `start` to `start + size`, numbered from zero.
fn within(rows: &RowSet, start: u64, size: u64) -> RowSet {
    rows.iter().skip_while(|row| *row < start).take_while(|row| *row < start + size).map(|row| row - start).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::quality::evaluate::Evaluation;
    use crate::quality::parser::parse;
    use crate::quality::plan::{Plan, PredicateCompiler, RowPredicate};

    struct NoWhere;

    impl PredicateCompiler for NoWhere {
        fn compile(&self, text: &str, _: &Schema) -> Result<Box<dyn RowPredicate + Send + Sync>, String> {
            Err(format!("no {text} here"))
        }
    }

    /// `accept`, `reject`, or the rows held back, per object.
    fn judged(rule: &str, objects: &[&[Option<i64>]]) -> Vec<String> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let ruleset = parse(&format!("Rules = [ {rule} ]")).expect("parses");
        let plan = Plan::compile(&ruleset, &schema, &NoWhere).unwrap_or_else(|f| panic!("{f:?}"));
        let reports: Vec<Report> = objects
            .iter()
            .map(|rows| {
                let mut evaluation = Evaluation::new(&plan, Timestamp::from_millis(0));
                let column = Arc::new(Int64Array::from(rows.to_vec()));
                evaluation.push(&RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("a batch"));
                evaluation.finish()
            })
            .collect();
        let sizes: Vec<u64> = reports.iter().map(|r| r.rows).collect();
        let batch = Report::merge_all(&reports).expect("some");
        let own = |report: &Report| report.verdict(Action::QuarantineFiles, OnNotEvaluated::Warn);
        let of_batch = verdicts(&batch, &sizes, Action::QuarantineFiles, OnNotEvaluated::Warn);
        let both = reports.iter().zip(of_batch).map(|(report, batch)| own(report).and(batch));
        both.map(|verdict| match verdict {
            ObjectVerdict::Accept { warnings } if warnings.is_empty() => "accept".to_owned(),
            ObjectVerdict::Accept { .. } => "warn".to_owned(),
            ObjectVerdict::AcceptMinusRows { rows, .. } => format!("{:?}", rows.iter().collect::<Vec<_>>()),
            ObjectVerdict::Reject { .. } => "reject".to_owned(),
        })
        .collect()
    }

    #[test]
    fn a_batch_rule_is_judged_over_all_objects_and_acts_on_those_it_names() {
        let (a, b, c): (&[_], &[_], &[_]) = (&[Some(1), Some(2)], &[Some(3), None, Some(2)], &[Some(9)]);
        let batch = |rule: &str, action: &str| judged(&format!(r#"{rule} labels=["scope"="batch"{action}]"#), &[a, b, c]);
        let table: &[(&str, &str, [&str; 3])] = &[
            ("RowCount = 6", "", ["accept", "accept", "accept"]),
            ("RowCount > 6", "", ["reject", "reject", "reject"]),
            ("RowCount > 6", r#","action"="warn""#, ["warn", "warn", "warn"]),
            ("IsComplete \"n\"", "", ["accept", "reject", "accept"]),
            ("IsComplete \"n\"", r#","action"="fail_batch""#, ["reject", "reject", "reject"]),
            ("IsUnique \"n\"", "", ["reject", "reject", "accept"]),
            ("IsUnique \"n\"", r#","action"="quarantine_rows""#, ["[1]", "[2]", "accept"]),
            ("Sum \"n\" = 17", "", ["accept", "accept", "accept"]),
        ];
        for (rule, action, wanted) in table {
            assert_eq!(batch(rule, action), *wanted, "{rule} {action}");
        }
        assert_eq!(judged("IsUnique \"n\"", &[a, b, c]), ["accept", "accept", "accept"], "each object by itself is unique");
    }

    #[test]
    fn verdicts_of_object_and_batch_add_up() {
        let (a, b): (&[_], &[_]) = (&[Some(1), Some(-2)], &[Some(1)]);
        let rules =
            r#"ColumnValues "n" > 0 labels=["action"="quarantine_rows"], IsUnique "n" labels=["scope"="batch","action"="quarantine_rows"]"#;
        assert_eq!(judged(rules, &[a, b]), ["[0, 1]", "[0]"]);
    }
}
