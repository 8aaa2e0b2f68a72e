use std::sync::Arc;

use arrow::array::{Date32Array, Float64Array, Int32Array, Int64Array, StringArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Fields, TimeUnit};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::*;
use crate::expression::predicate::Predicate;

/// Three rows of most types; the last one is null where nulls are allowed.
fn batch() -> RecordBatch {
    let inner = Fields::from(vec![Field::new("Street", DataType::Utf8, true)]);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("qty", DataType::Int32, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("Currency", DataType::Utf8, true),
        Field::new("text_amount", DataType::Utf8, true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("addr", DataType::Struct(inner.clone()), true),
        Field::new("odd name", DataType::Int64, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3])),
        Arc::new(Int32Array::from(vec![Some(10), Some(0), None])),
        Arc::new(Float64Array::from(vec![Some(1.5), Some(-2.5), None])),
        Arc::new(StringArray::from(vec![Some("eur"), Some(" usd "), None])),
        Arc::new(StringArray::from(vec![Some("12.5"), Some("x"), None])),
        Arc::new(Date32Array::from(vec![Some(20454), Some(0), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(1_767_225_599_000_000), Some(0), None])),
        Arc::new(StructArray::from(vec![(inner[0].clone(), Arc::new(StringArray::from(vec![Some("A"), Some("B"), None])) as ArrayRef)])),
        Arc::new(Int64Array::from(vec![7, 8, 9])),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("a batch")
}

fn values(text: &str) -> Result<Vec<String>, String> {
    let batch = batch();
    let expression = Expression::compile(text, &batch.schema()).map_err(|e| e.to_string())?;
    let array = expression.evaluate(&batch).map_err(|e| e.to_string())?;
    assert_eq!(array.data_type(), expression.data_type(), "{text}");
    let show = |i| if array.is_null(i) { "NULL".to_owned() } else { array_value_to_string(&array, i).expect("printable") };
    Ok((0..array.len()).map(show).collect())
}

#[test]
fn expressions_evaluate_as_spark_would() {
    let cases = [
        ("id + 1", ["2", "3", "4"]),
        ("ID", ["1", "2", "3"]),
        ("`odd name` - 1", ["6", "7", "8"]),
        ("id = 1 or qty == 0", ["true", "true", "NULL"]),
        ("qty <=> null", ["false", "false", "true"]),
        ("not (id > 1)", ["true", "false", "false"]),
        ("!(id > 1)", ["true", "false", "false"]),
        ("id / 2", ["0.5", "1.0", "1.5"]),
        ("id div 2 + 1", ["1", "2", "2"]),
        ("id / qty", ["0.1", "NULL", "NULL"]),
        ("id % qty", ["1", "NULL", "NULL"]),
        ("-amount", ["-1.5", "2.5", "NULL"]),
        ("1 + 2 * 3 - -4", ["11", "11", "11"]),
        ("upper(currency)", ["EUR", " USD ", "NULL"]),
        ("trim(Currency)", ["eur", "usd", "NULL"]),
        ("trim(both ' ' from Currency)", ["eur", "usd", "NULL"]),
        ("coalesce(currency, 'AUD')", ["eur", " usd ", "AUD"]),
        ("nvl(qty, 5)", ["10", "0", "5"]),
        ("if(id > 1, 'many', \"one\")", ["one", "many", "many"]),
        ("nullif(qty, 0)", ["10", "NULL", "NULL"]),
        ("concat(currency, '-', id)", ["eur-1", " usd -2", "NULL"]),
        ("currency || 1", ["eur1", " usd 1", "NULL"]),
        ("substr(currency, 2)", ["ur", "usd ", "NULL"]),
        ("substring(currency, 0, 2)", ["eu", " u", "NULL"]),
        ("substring(currency from 2 for 1)", ["u", "u", "NULL"]),
        ("substr(currency, -2)", ["ur", "d ", "NULL"]),
        ("substr(currency, -2, 1)", ["u", "d", "NULL"]),
        ("length('añb')", ["3", "3", "3"]),
        ("lpad(cast(id as string), 3, '0')", ["001", "002", "003"]),
        ("regexp_replace(currency, '[a-u]', '*')", ["***", " *** ", "NULL"]),
        ("currency rlike '^e'", ["true", "false", "NULL"]),
        ("currency like 'e%'", ["true", "false", "NULL"]),
        ("currency not like 'e%'", ["false", "true", "NULL"]),
        ("currency in ('eur', 'gbp')", ["true", "false", "NULL"]),
        ("id between 2 and 3", ["false", "true", "true"]),
        ("case when id = 1 then 1 when id = 2 then 2.5 end", ["1.0", "2.5", "NULL"]),
        ("case id when 1 then 'a' else 'b' end", ["a", "b", "b"]),
        ("try_cast(text_amount as double)", ["12.5", "NULL", "NULL"]),
        ("cast(id as decimal(10,2))", ["1.00", "2.00", "3.00"]),
        ("cast(qty as long)", ["10", "0", "NULL"]),
        ("abs(amount)", ["1.5", "2.5", "NULL"]),
        ("round(amount, 0)", ["2.0", "-3.0", "NULL"]),
        ("greatest(id, 2)", ["2", "2", "3"]),
        ("year(day)", ["2026", "1970", "NULL"]),
        ("extract(month from at)", ["12", "1", "NULL"]),
        ("date_trunc('month', at)", ["2025-12-01T00:00:00", "1970-01-01T00:00:00", "NULL"]),
        ("cast(at as date)", ["2025-12-31", "1970-01-01", "NULL"]),
        ("date_add(day, 1)", ["2026-01-02", "1970-01-02", "NULL"]),
        ("datediff(day, '2025-12-31')", ["1", "-20453", "NULL"]),
        ("day >= '2026-01-01'", ["true", "false", "NULL"]),
        ("at < timestamp '2000-01-01 00:00:00'", ["false", "true", "NULL"]),
        ("addr.street", ["A", "B", "NULL"]),
        ("qty is null and true", ["false", "false", "true"]),
        ("(qty > 0) is not true", ["false", "true", "true"]),
    ];
    for (text, expected) in cases {
        assert_eq!(values(text), Ok(expected.map(str::to_owned).to_vec()), "{text}");
    }
}

#[test]
fn what_is_no_row_expression_is_refused_by_name() {
    let cases = [
        ("", "the expression is empty"),
        ("id +", "Expected: an expression"),
        ("id id", "unexpected id after the expression (at character 4)"),
        ("nope", "there is no column nope; there are id, qty"),
        ("id +\n  nope", "there is no column nope"),
        ("addr.zip", "addr.zip has no field zip"),
        ("id.x", "id has no field x: it is bigint"),
        ("now()", "now is volatile"),
        ("current_timestamp", "current_timestamp is volatile"),
        ("current_date()", "current_date is volatile"),
        ("random()", "random is volatile"),
        ("uuid()", "uuid is volatile"),
        ("upper(uuid())", "uuid is volatile"),
        ("sum(id)", "sum is an aggregate"),
        ("count(*)", "count is an aggregate"),
        ("row_number()", "row_number is a window function"),
        ("lag(id) over (order by id)", "lag with OVER is a window function"),
        ("(select 1)", "a subquery cannot stand"),
        ("id in (select 1)", "a subquery cannot stand"),
        ("exists (select 1)", "a subquery cannot stand"),
        ("frobnicate(id)", "there is no function frobnicate"),
        ("id and true", "AND needs a condition, found bigint"),
        ("currency + day", "string + date is not defined"),
        ("cast(id as frob)", "frob is not a type here"),
        ("cast(id as decimal(50,2))", "decimal(50,2) is out of range"),
        ("null", "the expression is always NULL and has no type"),
        ("upper(id, 2)", "upper: "),
        ("repeat(currency, id)", "there is no function repeat"),
        ("lpad(currency, id, ' ')", "the width of lpad is a number from 0 to 4096"),
        ("rpad(currency, 99999, ' ')", "the width of rpad"),
        ("99999999999999999999", "99999999999999999999 is out of range"),
        ("case when id then 1 end", "WHEN needs a condition, found bigint"),
        ("id; drop table x", "unexpected ; after the expression"),
        ("'open", "Unterminated string literal"),
    ];
    for (text, start) in cases {
        let told = values(text).expect_err(text);
        assert!(told.contains(start), "{text}: {told:?} does not say {start:?}");
    }
}

#[test]
fn a_refusal_names_its_place() {
    let error = Expression::compile("id +\n  nope", &batch().schema()).expect_err("unknown column");
    assert_eq!(error.place, Some(Place { line: 2, column: 3 }));
}

#[test]
fn names_that_differ_only_in_case_need_the_exact_spelling() {
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("A", DataType::Utf8, true),
        Field::new("x.y", DataType::Utf8, true),
    ]);
    assert_eq!(Expression::compile("A", &schema).expect("exact").data_type(), &DataType::Utf8);
    assert_eq!(Expression::compile("X.Y", &schema).expect("a dotted column").data_type(), &DataType::Utf8);
    let two = Schema::new(vec![Field::new("ab", DataType::Int64, true), Field::new("aB", DataType::Utf8, true)]);
    assert!(Expression::compile("AB", &two).expect_err("two fit").message.contains("ambiguous: ab, aB"));
}

#[test]
fn strict_expressions_err_where_conditions_are_null() {
    assert!(values("cast(text_amount as double)").expect_err("x is no number").contains('x'));
    assert!(values("9223372036854775807 + id").is_err(), "an overflow errs");
    let batch = batch();
    let mask = |text: &str| -> Vec<bool> {
        let mask = Predicate::compile(text, &batch.schema()).expect(text).mask(&batch).expect(text);
        assert_eq!(mask.null_count(), 0);
        mask.values().iter().collect()
    };
    assert_eq!(mask("text_amount > 12"), [true, false, false], "what does not cast is NULL, and NULL is filtered");
    assert_eq!(mask("cast(text_amount as double) is null"), [false, true, true]);
    assert_eq!(mask("currency = 'eur' AND qty >= 0"), [true, false, false]);
    assert!(Predicate::compile("id + 1", &batch.schema()).expect_err("a number").message.contains("this is bigint"));
}

#[test]
fn another_schema_is_not_evaluated() {
    let expression = Expression::compile("id", &batch().schema()).expect("valid");
    let other = batch().project(&[1, 0]).expect("columns");
    assert!(matches!(expression.evaluate(&other), Err(EvaluateError::Schema { .. })));
}

#[test]
fn an_empty_batch_has_no_values() {
    let empty = batch().slice(0, 0);
    for text in ["id / 2", "upper(currency)", "1", "coalesce(currency, 'x')"] {
        let array = Expression::compile(text, &empty.schema()).expect(text).evaluate(&empty).expect(text);
        assert_eq!(array.len(), 0, "{text}");
    }
}

#[test]
fn hostile_texts_are_refused_and_never_overflow_the_stack() {
    let (open, close) = ("(".repeat(5000), ")".repeat(5000));
    let nested = format!("{}1{}", "abs(".repeat(15), ")".repeat(15));
    let chain = vec!["id"; 101].join(" + ");
    assert!(values(&chain).is_ok(), "100 operators are allowed");
    assert!(values(&nested).is_ok(), "15 levels are allowed");
    let deep = (0..9).fold("id".to_owned(), |inner, _| format!("({inner}{})", " + id".repeat(45)));
    assert!(values(&deep).is_ok(), "chains in chains are as deep as tokens allow");
    for text in [
        format!("{open}1{close}"),
        format!("{}1{}", "(".repeat(450), ")".repeat(450)),
        "not ".repeat(900) + "true",
        "- ".repeat(900) + "1",
        vec!["id"; 102].join(" + "),
        vec!["id"; 5000].join(" or "),
        "x".repeat(TEXT_MAX + 1),
        format!("id{}", " is null".repeat(400)),
        format!("id in ({})", vec!["1"; 2000].join(",")),
        "case ".repeat(300),
        "\u{0}".to_owned(),
    ] {
        let told = values(&text).expect_err("it must be refused");
        assert!(told.len() < 2000, "a message stays short");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn random_texts_never_panic(text in ".{0,60}") {
        let _ = values(&text).map_err(|told| assert!(!told.is_empty()));
    }

    #[test]
    fn random_words_never_panic(words in proptest::collection::vec(prop_oneof![
        Just("id"), Just("qty"), Just("amount"), Just("currency"), Just("day"), Just("at"), Just("addr"), Just("("), Just(")"), Just(","),
        Just("+"), Just("-"), Just("/"), Just("%"), Just("="), Just("and"), Just("not"), Just("is null"), Just("1"), Just("'a'"), Just("null"),
        Just("upper("), Just("round("), Just("date_trunc("), Just("substr("), Just("case when"), Just("then"), Just("end"), Just("cast("), Just("as int)"),
        Just("lpad("), Just("make_date("), Just("concat("), Just("coalesce("), Just("between"), Just("in ("), Just("like"), Just("rlike"),
    ], 1..14)) {
        let text = words.join(" ");
        if let Err(told) = values(&text) {
            prop_assert!(!told.is_empty());
        }
    }
}
