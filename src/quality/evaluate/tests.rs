use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::quality::lint;
use crate::quality::parser::parse;
use crate::quality::plan::{PredicateCompiler, RowPredicate};
use crate::quality::report::{Action, ObjectVerdict, OnNotEvaluated, Outcome};
use crate::quality::syntax::{Diagnostic, Severity};

/// `column > number`, `none`, `broken`: enough SQL to test the seam.
struct Tiny;

enum TinyPredicate {
    Greater(usize, f64),
    Nothing,
    Broken,
}

impl PredicateCompiler for Tiny {
    fn compile(&self, text: &str, schema: &Schema) -> Result<Box<dyn RowPredicate + Send + Sync>, String> {
        Ok(Box::new(match text {
            "none" => TinyPredicate::Nothing,
            "broken" => TinyPredicate::Broken,
            _ => {
                let (column, number) = text.split_once(" > ").ok_or("not understood")?;
                let column = schema.index_of(column).map_err(|e| e.to_string())?;
                TinyPredicate::Greater(column, number.parse().map_err(|_| "no number")?)
            }
        }))
    }
}

impl RowPredicate for TinyPredicate {
    fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, String> {
        match self {
            TinyPredicate::Greater(column, number) => {
                let columns = Columns::new(batch);
                Ok(columns.numbers(*column).ok_or("no numbers")?.iter().map(|v| v.map(|v| v > *number)).collect())
            }
            TinyPredicate::Nothing => Ok(vec![false; batch.num_rows()].into()),
            TinyPredicate::Broken => Err("division by zero".to_owned()),
        }
    }
}

const NOW: &str = "2024-06-15T12:34:56Z";

fn ints(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn table(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.iter().map(|(_, a)| Arc::clone(a)).collect()).expect("columns agree")
}

fn compile(rules: &str, schema: &Schema) -> Plan {
    let text = if rules.contains("Rules =") { rules.to_owned() } else { format!("Rules = [ {rules} ]") };
    let ruleset = parse(&text).unwrap_or_else(|d| panic!("{text}: {d:#?}"));
    Plan::compile(&ruleset, schema, &Tiny).unwrap_or_else(|d| panic!("{text}: {d:#?}"))
}

fn report(rules: &str, batch: &RecordBatch) -> Report {
    let mut evaluation = Evaluation::new(&compile(rules, &batch.schema()), Timestamp::parse_rfc3339(NOW).expect("a time"));
    evaluation.push(batch);
    evaluation.finish()
}

/// One letter of the first rule's outcome.
fn outcome(rules: &str, batch: &RecordBatch) -> char {
    match &report(rules, batch).rules[0].outcome {
        Outcome::Passed => 'P',
        Outcome::Failed { .. } => 'F',
        Outcome::NotEvaluated { .. } => 'N',
    }
}

fn failing(rules: &str, batch: &RecordBatch) -> Option<Vec<u64>> {
    report(rules, batch).rules[0].failing_rows.as_ref().map(|r| r.iter().collect())
}

fn metric(rules: &str, batch: &RecordBatch, name: &str) -> f64 {
    let report = report(rules, batch);
    let metrics = &report.rules[0].metrics;
    metrics.iter().find(|m| m.0 == name).unwrap_or_else(|| panic!("{rules}: {name} is not in {metrics:?}")).1
}

/// n: 1, 5, NULL, 5, 9; s: "a", "", NULL, "  ", "bcd"; d: days; b: booleans; t: texts that are numbers or not.
fn sample() -> RecordBatch {
    table(&[
        ("n", ints(&[Some(1), Some(5), None, Some(5), Some(9)])),
        ("s", texts(&[Some("a"), Some(""), None, Some("  "), Some("bcd")])),
        ("d", Arc::new(Date32Array::from(vec![Some(19_888), Some(19_889), None, Some(19_880), Some(19_889)]))),
        ("t", texts(&[Some("1"), Some("x"), None, Some(" 2.5 "), Some("2024-06-14")])),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true), Some(true)]))),
        ("k", ints(&[Some(1), Some(2), Some(3), Some(4), Some(5)])),
    ])
}

#[test]
fn outcomes_of_every_rule_type() {
    let batch = sample();
    for (rule, wanted) in [
        ("RowCount = 5", 'P'),
        ("RowCount between 5 and 6", 'F'),
        ("RowCount not between 5 and 6", 'P'),
        ("RowCount = 1 + 2 * 3", 'F'),
        ("RowCount = 1 + 1 * 3 - 1", 'P'),
        (r#"RowCount = 3 where "n > 1""#, 'P'),
        (r#"RowCount = 0 where "none""#, 'P'),
        (r#"RowCount = 0 where "broken""#, 'F'),
        ("RowCount > 1 / 0", 'F'),
        ("RowCount > avg(last(10))", 'N'),
        ("RowCount > avg(1)", 'F'),
        ("ColumnCount between 5 and 6", 'F'),
        ("ColumnCount = 6", 'P'),
        (r#"Completeness "n" = 0.8"#, 'P'),
        (r#"Completeness "s" > 0.8"#, 'F'),
        (r#"IsComplete "k""#, 'P'),
        (r#"IsComplete "n""#, 'F'),
        (r#"IsComplete "n" where "n > 0""#, 'P'),
        (r#"IsComplete "n" where "none""#, 'N'),
        (r#"IsComplete "nope""#, 'F'),
        (r#"IsUnique "k""#, 'P'),
        (r#"IsUnique "n""#, 'F'),
        (r#"IsUnique "s""#, 'P'),
        (r#"Uniqueness "n" = 0.5"#, 'P'),
        (r#"UniqueValueRatio "n" between 0.66 and 0.67"#, 'P'),
        (r#"IsPrimaryKey "k""#, 'P'),
        (r#"IsPrimaryKey "s""#, 'F'),
        (r#"IsPrimaryKey "k" "n""#, 'F'),
        (r#"DistinctValuesCount "n" = 4"#, 'P'),
        (r#"DistinctValuesCount "k" in [5]"#, 'P'),
        (r#"Mean "n" = 5"#, 'P'),
        (r#"Sum "n" = 20"#, 'P'),
        (r#"Sum "t" = 20"#, 'F'),
        (r#"Variance "n" = 8"#, 'P'),
        (r#"StandardDeviation "n" between 2.82 and 2.83"#, 'P'),
        (r#"Entropy "n" between 1.03 and 1.04"#, 'P'),
        (r#"ColumnCorrelation "n" "k" between 0.894 and 0.895"#, 'P'),
        (r#"ColumnLength "s" < 4"#, 'P'),
        (r#"ColumnLength "s" > 0"#, 'F'),
        (r#"ColumnLength "n" > 0"#, 'F'),
        (r#"ColumnExists "n""#, 'P'),
        (r#"ColumnExists "N""#, 'F'),
        (r#"ColumnNamesMatchPattern "[a-z]""#, 'P'),
        (r#"ColumnNamesMatchPattern "[n-s]""#, 'F'),
        (r#"ColumnDataType "t" = "INTEGER" with threshold > 0.1"#, 'P'),
        (r#"ColumnDataType "t" = "INTEGER""#, 'F'),
        (r#"ColumnDataType "t" in ["INTEGER"]"#, 'F'),
        (r#"ColumnDataType "t" = "NOPE""#, 'F'),
        (r#"ColumnDataType "k" = "LONG""#, 'P'),
        (r#"ColumnDataType "k" = "DATE""#, 'F'),
        (r#"ColumnDataType "k" != "DATE""#, 'P'),
        (r#"ColumnDataType "b" = "boolean" where "none""#, 'P'),
        (r#"DataFreshness "d" < 10 days where "k > 4""#, 'P'),
        (r#"DataFreshness "d" < 10 days"#, 'F'),
        (r#"CustomSql "select 1" = 1"#, 'N'),
        ("DuplicateRowCount = 0", 'N'),
        (r#"(RowCount = 5) and (ColumnCount = 6)"#, 'P'),
        (r#"(RowCount = 5) and (ColumnCount = 7)"#, 'F'),
        (r#"(RowCount = 6) or (ColumnCount = 6)"#, 'P'),
        (r#"(RowCount = 6) or (ColumnCount = 7)"#, 'F'),
        (r#"(RowCount = 5) and (CustomSql "x" = 1)"#, 'N'),
        (r#"(RowCount = 6) and (CustomSql "x" = 1)"#, 'F'),
        (r#"(RowCount = 5) or (CustomSql "x" = 1)"#, 'P'),
        (r#"(RowCount = 6) or (CustomSql "x" = 1)"#, 'N'),
    ] {
        assert_eq!(outcome(rule, &batch), wanted, "{rule}: {:#?}", report(rule, &batch).rules[0]);
    }
}

#[test]
fn column_values_say_which_rows_fail() {
    let batch = sample();
    for (rule, rows) in [
        // NULL fails every operator but `!=` and `not in`, unless named.
        (r#"ColumnValues "n" > 1"#, vec![0, 2]),
        (r#"ColumnValues "n" between 1 and 9"#, vec![0, 2, 4]),
        (r#"ColumnValues "n" not between 1 and 9"#, vec![1, 2, 3]),
        (r#"ColumnValues "n" = 5"#, vec![0, 2, 4]),
        (r#"ColumnValues "n" != 5"#, vec![1, 3]),
        (r#"ColumnValues "n" in [1, 9]"#, vec![1, 2, 3]),
        (r#"ColumnValues "n" not in [1, 9]"#, vec![0, 4]),
        (r#"ColumnValues "n" in [1, NULL]"#, vec![1, 3, 4]),
        (r#"ColumnValues "n" not in [1, NULL]"#, vec![0, 2]),
        (r#"ColumnValues "n" = NULL"#, vec![0, 1, 3, 4]),
        (r#"ColumnValues "n" != NULL"#, vec![2]),
        (r#"ColumnValues "s" != NULL"#, vec![2]),
        (r#"ColumnValues "n" = "5""#, vec![0, 2, 4]),
        (r#"ColumnValues "s" = "a""#, vec![1, 2, 3, 4]),
        (r#"ColumnValues "s" != "a""#, vec![0]),
        (r#"ColumnValues "s" = EMPTY"#, vec![0, 2, 3, 4]),
        (r#"ColumnValues "s" != EMPTY"#, vec![1]),
        (r#"ColumnValues "s" = WHITESPACES_ONLY"#, vec![0, 1, 2, 4]),
        (r#"ColumnValues "s" in ["a", EMPTY, WHITESPACES_ONLY, NULL]"#, vec![4]),
        (r#"ColumnValues "s" not in ["a", NULL]"#, vec![0, 2]),
        (r#"ColumnValues "s" in ["\a"]"#, vec![1, 2, 3, 4]),
        (r#"ColumnValues "s" matches "[a-b]""#, vec![1, 2, 3, 4]),
        (r#"ColumnValues "s" matches "[a-d]*""#, vec![2, 3]),
        (r#"ColumnValues "s" not matches "b.*""#, vec![2, 4]),
        (r#"ColumnValues "s" matches "(?!b).*""#, vec![2, 4]),
        // A string column is cast; what does not cast is NULL.
        (r#"ColumnValues "t" > 1"#, vec![0, 1, 2, 4]),
        (r#"ColumnValues "t" > "2024-01-01""#, vec![0, 1, 2, 3]),
        (r#"ColumnValues "d" >= "2024-06-15""#, vec![0, 2, 3]),
        (r#"ColumnValues "d" > (now() - 3 days)"#, vec![2, 3]),
        (r#"ColumnValues "d" < now()"#, vec![2]),
        (r#"ColumnValues "d" <= "0:00""#, vec![2]),
        (r#"ColumnValues "d" < "1:00 AM" with timeZone = "+01:00""#, vec![1, 2, 4]),
        (r#"ColumnValues "n" > 5 where "k > 3""#, vec![3]),
        (r#"ColumnValues "n" > 5 where "none""#, vec![]),
        (r#"ColumnLength "s" = 0"#, vec![0, 3, 4]),
        (r#"IsComplete "n""#, vec![2]),
        (r#"Completeness "n" > 0.9"#, vec![2]),
        (r#"IsUnique "n""#, vec![1, 3]),
        (r#"UniqueValueRatio "n" > 0.9"#, vec![1, 3]),
        (r#"IsPrimaryKey "n""#, vec![1, 2, 3]),
        (r#"DataFreshness "d" < 3 days"#, vec![2, 3]),
        (r#"(ColumnValues "n" > 1) and (IsComplete "k")"#, vec![0, 2]),
        (r#"(ColumnValues "n" > 5) or (ColumnValues "s" = "a")"#, vec![1, 2, 3]),
        (r#"(ColumnValues "n" > 5 where "k > 3") or (ColumnValues "s" = "a")"#, vec![3]),
    ] {
        assert_eq!(failing(rule, &batch), Some(rows), "{rule}");
    }
    for rule in ["RowCount = 4", r#"Mean "n" > 9"#, r#"ColumnDataType "t" = "LONG""#, r#"(Completeness "n" = 1) or (IsComplete "n")"#] {
        assert_eq!(failing(rule, &batch), None, "{rule}");
    }
}

#[test]
fn thresholds_compare_the_complying_share() {
    let batch = sample();
    for (rule, wanted) in [
        (r#"ColumnValues "n" > 1 with threshold > 0.5"#, 'P'),
        (r#"ColumnValues "n" > 1 with threshold > 0.6"#, 'F'),
        (r#"ColumnValues "n" > 1 with threshold >= 0.6"#, 'P'),
        (r#"ColumnValues "n" > 1 with threshold between 0.6 and 0.9"#, 'F'),
        (r#"ColumnValues "n" > 1 where "none" with threshold < 0.5"#, 'P'),
    ] {
        assert_eq!(outcome(rule, &batch), wanted, "{rule}");
    }
}

#[test]
fn composites_judge_each_leg_on_the_whole_data_set() {
    let batch = table(&[("c1", ints(&[Some(2), Some(0)])), ("c2", ints(&[Some(1), Some(3)]))]);
    let rule = r#"(ColumnValues "c1" > 1) or (ColumnValues "c2" > 2)"#;
    assert_eq!(outcome(rule, &batch), 'F');
    assert_eq!(failing(rule, &batch), Some(vec![]), "yet no row fails both");
}

#[test]
fn known_figures() {
    let of = |values: &[Option<i64>]| table(&[("c", ints(values)), ("e", ints(values))]);
    let sparse = of(&[Some(0), None, Some(20), None, Some(40)]);
    let near = |a: f64, b: f64| assert!((a - b).abs() < 0.005, "{a} is not {b}");
    near(metric(r#"StandardDeviation "c" > 0"#, &sparse, "Column.c.StandardDeviation"), 16.33);
    near(metric(r#"StandardDeviation "c" > 0"#, &of(&[Some(0), Some(0), Some(20), Some(0), Some(40)]), "Column.c.StandardDeviation"), 16.0);
    near(metric(r#"Entropy "c" > 0"#, &of(&[Some(0), Some(0), Some(0), Some(5), Some(6), Some(7)]), "Column.c.Entropy"), 1.2425);
    near(metric(r#"DistinctValuesCount "c" > 0"#, &of(&[Some(1), Some(2), None]), "Column.c.DistinctValuesCount"), 3.0);
    let aab = of(&[Some(1), Some(1), Some(2)]);
    near(metric(r#"Uniqueness "c" > 0"#, &aab, "Column.c.Uniqueness"), 1.0 / 3.0);
    near(metric(r#"UniqueValueRatio "c" > 0"#, &aab, "Column.c.UniqueValueRatio"), 0.5);
    near(metric(r#"ColumnCorrelation "c" "e" > 0"#, &sparse, "Multicolumn.c,e.ColumnCorrelation"), 1.0);
    near(metric(r#"ColumnValues "c" > 0"#, &sparse, "Column.c.Maximum"), 40.0);
    near(metric(r#"ColumnValues "c" between -1 and 41"#, &sparse, "Column.c.ColumnValues.Compliance"), 0.6);
    near(metric(r#"ColumnLength "s" > 0"#, &sample(), "Column.s.MinimumLength"), 0.0);
    near(metric(r#"ColumnLength "s" > 0"#, &sample(), "Column.s.MaximumLength"), 3.0);
    near(metric(r#"ColumnValues "s" matches "a""#, &sample(), "Column.s.PatternMatch"), 0.2);
    near(metric(r#"ColumnDataType "t" != "INTEGER""#, &sample(), "Column.t.ColumnDataType.Compliance"), 0.6);
    near(metric(r#"ColumnNamesMatchPattern "[n-s]""#, &sample(), "Dataset.*.ColumnNamesPatternMatchRatio"), 2.0 / 6.0);
}

#[test]
fn a_key_of_nulls_takes_no_part_and_a_partly_null_key_does() {
    let batch = table(&[("a", ints(&[None, None, Some(1), Some(1), None])), ("b", ints(&[None, Some(2), None, None, Some(2)]))]);
    assert_eq!(failing(r#"IsUnique "a" "b""#, &batch), Some(vec![1, 2, 3, 4]));
    assert_eq!(metric(r#"Uniqueness "a" "b" >= 0"#, &batch, "Multicolumn.a,b.Uniqueness"), 0.0);
    let nulls = table(&[("a", ints(&[None, None]))]);
    for (rule, wanted) in [
        (r#"IsUnique "a""#, 'N'),
        (r#"Uniqueness "a" = 1"#, 'N'),
        (r#"UniqueValueRatio "a" = 1"#, 'N'),
        (r#"Entropy "a" = 0"#, 'N'),
        (r#"Mean "a" = 0"#, 'N'),
        (r#"IsPrimaryKey "a""#, 'F'),
        (r#"DistinctValuesCount "a" = 1"#, 'P'),
        (r#"IsComplete "a""#, 'F'),
    ] {
        assert_eq!(outcome(rule, &nulls), wanted, "{rule}");
    }
}

#[test]
fn an_object_without_rows_is_not_evaluated() {
    let empty = table(&[("a", ints(&[])), ("s", texts(&[]))]);
    for (rule, wanted) in [
        ("RowCount = 0", 'P'),
        ("ColumnCount = 2", 'P'),
        (r#"ColumnExists "a""#, 'P'),
        (r#"ColumnNamesMatchPattern ".""#, 'P'),
        (r#"IsComplete "a""#, 'N'),
        (r#"ColumnValues "a" > 1"#, 'N'),
        (r#"DistinctValuesCount "a" = 0"#, 'N'),
        (r#"Sum "a" = 0"#, 'N'),
        (r#"IsComplete "zzz""#, 'F'),
    ] {
        assert_eq!(outcome(rule, &empty), wanted, "{rule}");
    }
}

#[test]
fn ages_are_rounded_hours_and_microseconds_are_understood() {
    let now = Timestamp::parse_rfc3339(NOW).expect("a time").millis();
    let at = |ms: i64| Some((now - ms) * 1000);
    let batch =
        table(&[("t", Arc::new(TimestampMicrosecondArray::from(vec![at(0), at(86_400_000), at(86_410_000), at(86_440_000), None])))]);
    assert_eq!(failing(r#"DataFreshness "t" <= 24 hours"#, &batch), Some(vec![3, 4]));
    assert_eq!(failing(r#"DataFreshness "t" < 1 days"#, &batch), Some(vec![1, 2, 3, 4]));
    assert_eq!(failing(r#"DataFreshness "t" between 1 minutes and 2 days"#, &batch), Some(vec![0, 4]));
}

#[test]
fn floats_have_one_zero_and_one_nan() {
    let batch = table(&[("f", Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, 1.0])))]);
    assert_eq!(failing(r#"IsUnique "f""#, &batch), Some(vec![0, 1, 2, 3]));
    assert_eq!(failing(r#"ColumnValues "f" >= 0"#, &batch), Some(vec![2, 3]));
}

#[test]
fn verdicts_follow_action_scope_and_policy() {
    let batch = sample();
    let verdict = |rules: &str, action, policy| report(rules, &batch).verdict(action, policy);
    let (files, rows, warn) = (Action::QuarantineFiles, Action::QuarantineRows, OnNotEvaluated::Warn);
    assert_eq!(verdict("RowCount = 5", files, warn), ObjectVerdict::Accept { warnings: vec![] });
    assert_eq!(verdict("RowCount = 6", files, warn), ObjectVerdict::Reject { failed: vec![0], warnings: vec![] });
    assert_eq!(verdict(r#"RowCount = 6 labels=["action"="warn"]"#, files, warn), ObjectVerdict::Accept { warnings: vec![0] });
    let defaults = r#"DefaultLabels = ["action"="warn"] Rules = [ RowCount = 6, RowCount = 7 labels=["action"="quarantine_files"] ]"#;
    assert_eq!(verdict(defaults, files, warn), ObjectVerdict::Reject { failed: vec![1], warnings: vec![0] });
    let ObjectVerdict::AcceptMinusRows { rows: held, by_rule, warnings } =
        verdict(r#"IsComplete "n", IsUnique "n", RowCount = 5"#, rows, warn)
    else {
        panic!("rows are held back")
    };
    assert_eq!((held.iter().collect::<Vec<_>>(), warnings), (vec![1, 2, 3], vec![]));
    let shown: Vec<_> = by_rule.iter().map(|(text, rows)| (text.as_str(), rows.iter().collect::<Vec<_>>())).collect();
    assert_eq!(shown, [(r#"IsComplete "n""#, vec![2]), (r#"IsUnique "n""#, vec![1, 3])]);
    // A failure without rows rejects.
    assert_eq!(verdict("RowCount = 6", rows, warn), ObjectVerdict::Reject { failed: vec![0], warnings: vec![] });
    // A threshold that is met holds nothing back.
    assert_eq!(verdict(r#"ColumnValues "n" > 1 with threshold > 0.5"#, rows, warn), ObjectVerdict::Accept { warnings: vec![] });
    let unjudged = r#"CustomSql "select 1" = 1"#;
    assert_eq!(verdict(unjudged, files, OnNotEvaluated::Pass), ObjectVerdict::Accept { warnings: vec![] });
    assert_eq!(verdict(unjudged, files, OnNotEvaluated::Warn), ObjectVerdict::Accept { warnings: vec![0] });
    assert_eq!(verdict(unjudged, files, OnNotEvaluated::Fail), ObjectVerdict::Reject { failed: vec![0], warnings: vec![] });
    let batched = r#"RowCount = 6 labels=["scope"="batch", "action"="fail_batch"]"#;
    assert_eq!(verdict(batched, files, warn), ObjectVerdict::Accept { warnings: vec![] });
    let whole = report(batched, &batch).verdict_in(crate::quality::report::Scope::Batch, files, warn);
    assert_eq!(whole, ObjectVerdict::Reject { failed: vec![0], warnings: vec![] });
}

#[test]
fn lint_says_what_will_not_work() {
    let batch = sample();
    let check = |rule: &str| -> Vec<(Severity, String)> {
        let ruleset = parse(&format!("Rules = [ {rule} ]")).unwrap_or_else(|d| panic!("{rule}: {d:#?}"));
        lint::check(&ruleset, Some(&batch.schema())).into_iter().map(|d: Diagnostic| (d.severity, d.message)).collect()
    };
    for (rule, part) in [
        (r#"IsComplete "nope""#, "no column"),
        (r#"Sum "s" > 1"#, "number column"),
        (r#"ColumnLength "n" > 1"#, "string column"),
        (r#"ColumnValues "b" > 1"#, "number or string"),
        (r#"ColumnValues "n" > now()"#, "date, timestamp"),
        (r#"ColumnValues "s" matches "(""#, "not supported"),
        (r#"ColumnValues "d" > "2024-13-45""#, "no calendar"),
        (r#"ColumnValues "d" > "9:30 AM" with timeZone = "Mars/Base""#, "time zone"),
        (r#"ColumnValues "n" > NULL"#, "no order"),
        (r#"ColumnDataType "t" = "TEXT""#, "not a type"),
        (r#"ColumnDataType "t" in ["LONG"]"#, "only"),
        (r#"ColumnDataType "t" = "DATE" with format = "yyyy.MM""#, "not supported"),
        (r#"RowCount > 1 labels=["action"="quarantine_rows"]"#, "which rows fail"),
        (r#"((IsComplete "n") and (RowCount > 1)) labels=["action"="quarantine_rows"]"#, "which rows fail"),
        (r#"RowCount > 1 labels=["action"="explode"]"#, "is no action"),
        (r#"RowCount > 1 labels=["scope"="galaxy"]"#, "is no scope"),
        (r#"RowCount > 1 labels=["action"="fail_batch"]"#, "scope"),
        (r#"(IsComplete "n" labels=["action"="warn"]) and (RowCount > 1)"#, "whole composite"),
    ] {
        let found = check(rule);
        assert!(found.iter().any(|(s, m)| *s == Severity::Error && m.contains(part)), "{rule}: {part:?} is not in {found:?}");
    }
    for (rule, part) in [(r#"CustomSql "x" = 1"#, "CustomSql is not evaluated"), ("RowCount > avg(last(3))", "earlier runs")] {
        let found = check(rule);
        assert!(found.iter().any(|(s, m)| *s == Severity::Note && m.contains(part)), "{rule}: {found:?}");
    }
    assert_eq!(check(r#"IsComplete "n" labels=["action"="quarantine_rows"], RowCount > 1"#), []);
}

#[test]
fn a_where_that_does_not_compile_is_refused() {
    let ruleset = parse(r#"Rules = [ RowCount > 1 where "???" ]"#).expect("parses");
    let Err(faults) = Plan::compile(&ruleset, &sample().schema(), &Tiny) else { panic!("must be refused") };
    assert!(faults[0].message.contains("not understood"), "{faults:?}");
}

#[test]
fn rows_of_another_shape_fail_every_rule() {
    let mut evaluation = Evaluation::new(&compile("RowCount > 0", &sample().schema()), Timestamp::EPOCH);
    evaluation.push(&table(&[("other", ints(&[Some(1)]))]));
    assert!(matches!(&evaluation.finish().rules[0].outcome, Outcome::Failed { reason } if reason.contains("compiled for")));
}

#[test]
fn equal_measures_are_taken_once() {
    let plan = compile(
        r#"IsUnique "k", Uniqueness "k" > 0, Entropy "k" > 0, Mean "n" > 0, Sum "n" > 0, IsComplete "n", Completeness "n" > 0"#,
        &sample().schema(),
    );
    assert_eq!(plan.0.measures.len(), 3);
}

#[test]
fn reports_read_as_json() {
    let report = report(r#"IsUnique "n" labels=["action"="quarantine_rows"], Mean "n" = 4"#, &sample());
    let json = report.to_json();
    assert_eq!(json["rows"], 5);
    assert_eq!(json["rules"][0]["rows"]["first"], serde_json::json!([1, 3]));
    assert_eq!(json["rules"][0]["action"], "quarantine_rows");
    assert_eq!(json["rules"][0]["samples"][0]["value"], "5");
    assert_eq!(json["rules"][1]["explain"], "Mean \"n\" = 4: failed, Column.n.Mean = 5 (Column.n.Mean is 5)");
}

const ALL_RULES: &str = r#"RowCount > 3, Completeness "a" > 0.5, IsUnique "a", Uniqueness "a" "b" > 0.4, UniqueValueRatio "a" > 0.3,
    IsPrimaryKey "a" "b", DistinctValuesCount "a" > 2, Mean "a" > 0, Sum "a" > 0, StandardDeviation "a" > 1, Entropy "a" > 1,
    ColumnCorrelation "a" "b" > 0, ColumnValues "a" > 0 with threshold > 0.5, ColumnValues "s" matches "[ab]", ColumnLength "s" > 0,
    ColumnDataType "s" = "LONG", ColumnValues "a" > 0 where "b > 0", (IsComplete "a") or (IsComplete "b")"#;

type Row = (Option<i64>, Option<i64>, Option<String>);

fn rows_table(rows: &[Row]) -> RecordBatch {
    table(&[
        ("a", ints(&rows.iter().map(|r| r.0).collect::<Vec<_>>())),
        ("b", ints(&rows.iter().map(|r| r.1).collect::<Vec<_>>())),
        ("s", texts(&rows.iter().map(|r| r.2.as_deref()).collect::<Vec<_>>())),
    ])
}

proptest! {
    #[test]
    fn merged_reports_equal_the_report_of_the_whole(
        rows in prop::collection::vec((prop::option::of(-3i64..3), prop::option::of(-3i64..3), prop::option::of("[ab1]{0,2}")), 0..40),
        cut in 0usize..41, batch in 1usize..9,
    ) {
        let whole = rows_table(&rows);
        let plan = compile(ALL_RULES, &whole.schema());
        let pass = |part: &[Row], size: usize| {
            let mut evaluation = Evaluation::new(&plan, Timestamp::EPOCH);
            part.chunks(size).for_each(|rows| evaluation.push(&rows_table(rows)));
            evaluation.finish()
        };
        let (left, right) = rows.split_at(cut.min(rows.len()));
        let mut merged = pass(left, batch);
        merged.merge(&pass(right, batch));
        let whole = pass(&rows, 1000);
        prop_assert_eq!(merged.rows, whole.rows);
        for (a, b) in merged.rules.iter().zip(&whole.rules) {
            prop_assert_eq!(&a.failing_rows, &b.failing_rows, "{}", a.text);
            prop_assert_eq!(&a.skipped_rows, &b.skipped_rows, "{}", a.text);
            // A figure that touches its bound may differ by a rounding.
            let close = a.metrics.iter().zip(&b.metrics).all(|(x, y)| x.0 == y.0 && (x.1 - y.1).abs() < 1e-9);
            prop_assert!(close && a.metrics.len() == b.metrics.len(), "{:?} {:?}", a, b);
        }
    }
}

#[test]
fn reports_of_other_columns_do_not_merge() {
    let mut a = report("RowCount > 0", &table(&[("a", ints(&[Some(1)]))]));
    a.merge(&report("RowCount > 0", &table(&[("b", ints(&[Some(1)]))])));
    assert_eq!((a.rows, a.count("failed")), (2, 1));
    assert_eq!(DataType::Int64, *table(&[("a", ints(&[]))]).schema().field(0).data_type());
}
