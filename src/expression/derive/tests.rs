use arrow::array::{Array, Int64Array, StringArray};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::*;

fn batch(texts: &[&str]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("amount", DataType::Utf8, true)]);
    let ids = Int64Array::from_iter_values(0..texts.len() as i64);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(StringArray::from(texts.to_vec()))]).expect("a batch")
}

fn derive(columns: &[(&str, &str)], batch: &RecordBatch) -> Result<Derive, Vec<DeriveError>> {
    let columns: Vec<(String, String)> = columns.iter().map(|(c, t)| ((*c).to_owned(), (*t).to_owned())).collect();
    Derive::compile(&columns, &batch.schema())
}

fn column(batch: &RecordBatch, name: &str) -> Vec<String> {
    let array = batch.column_by_name(name).expect("it is derived");
    (0..array.len())
        .map(|i| if array.is_null(i) { "NULL".to_owned() } else { array_value_to_string(array, i).expect("printable") })
        .collect()
}

#[test]
fn columns_are_added_and_replaced_in_order() {
    let batch = batch(&["1.5", "2"]);
    let plan = derive(&[("amount", "cast(amount as double)"), ("twice", "amount * 2"), ("id", "id + 1")], &batch).expect("valid");
    let derived = plan.apply(&batch).expect("same schema");
    let names: Vec<&str> = plan.schema().fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["id", "amount", "twice"]);
    assert_eq!(derived.batch.schema(), *plan.schema());
    assert_eq!(
        (column(&derived.batch, "twice"), column(&derived.batch, "id")),
        (vec!["3.0".into(), "4.0".into()], vec!["1".into(), "2".into()])
    );
    assert!(derived.failed.is_empty());
}

#[test]
fn only_offending_rows_are_marked() {
    let batch = batch(&["1", "x", "3", "", "5"]);
    let derived = derive(&[("n", "cast(amount as int)"), ("id10", "id * 10")], &batch).expect("valid").apply(&batch).expect("same schema");
    assert_eq!(column(&derived.batch, "n"), ["1", "NULL", "3", "NULL", "5"]);
    assert_eq!(column(&derived.batch, "id10"), ["0", "10", "20", "30", "40"], "other columns of a bad row are derived all the same");
    let rows: Vec<(usize, &str)> = derived.failed.iter().map(|f| (f.row_idx, f.column.as_str())).collect();
    assert_eq!(rows, [(1, "n"), (3, "n")]);
    assert!(derived.failed[0].detail.contains('x'), "{}", derived.failed[0].detail);
}

#[test]
fn all_refused_expressions_come_at_once() {
    let batch = batch(&["1"]);
    let told: Vec<String> =
        derive(&[("a", "nope"), ("b", "now()"), ("c", "id")], &batch).expect_err("two are wrong").iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("derive.a: there is no column nope") && told[1].starts_with("derive.b: now is volatile"), "{told:?}");
}

#[test]
fn no_expressions_and_no_rows_change_nothing() {
    let rows = batch(&["1"]);
    assert_eq!(derive(&[], &rows).expect("valid").apply(&rows).expect("same").batch, rows);
    let empty = rows.slice(0, 0);
    let derived = derive(&[("n", "cast(amount as int)")], &empty).expect("valid").apply(&empty).expect("same");
    assert_eq!((derived.batch.num_rows(), derived.batch.num_columns(), derived.failed.len()), (0, 3, 0));
}

#[test]
fn a_batch_of_another_schema_is_an_error_and_not_bad_rows() {
    let plan = derive(&[("n", "cast(amount as int)")], &batch(&["1"])).expect("valid");
    let other = batch(&["1"]).project(&[1]).expect("a column");
    assert!(matches!(plan.apply(&other), Err(EvaluateError::Schema { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn batching_does_not_change_what_is_derived(texts in proptest::collection::vec(prop_oneof!["[0-9]{1,3}", "[a-z]{1,2}"], 0..40), cut in 0usize..40) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let whole = batch(&texts);
        let plan = derive(&[("n", "cast(amount as int) + id")], &whole).expect("valid");
        let all = plan.apply(&whole).expect("same");
        let expected: Vec<usize> = texts.iter().enumerate().filter(|(_, t)| t.parse::<i32>().is_err()).map(|(i, _)| i).collect();
        prop_assert_eq!(all.failed.iter().map(|f| f.row_idx).collect::<Vec<_>>(), expected);
        let cut = cut.min(texts.len());
        let mut parts = column(&plan.apply(&whole.slice(0, cut)).expect("same").batch, "n");
        parts.extend(column(&plan.apply(&whole.slice(cut, texts.len() - cut)).expect("same").batch, "n"));
        prop_assert_eq!(parts, column(&all.batch, "n"));
    }
}
