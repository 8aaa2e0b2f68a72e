//! Operational and provenance columns added to every published row (contract.md).

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use chrono::NaiveDate;

use crate::domain::time::Timestamp;

/// Names in the order they stand at the end of every row.
pub const OPERATIONAL: [&str; 8] = [
    "pipeline_run_id",
    "dataset_name",
    "processed_at_utc",
    "ingest_date",
    "replay_id",
    "_source_object",
    "_source_generation",
    "_source_row",
];

/// What is the same for every row of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub run_id: String,
    pub dataset: String,
    /// The plan's seal time, so that a rerun writes the same bytes.
    pub processed_at: Timestamp,
    /// The date in the key, else of first landing.
    pub ingest_date: NaiveDate,
    pub replay_id: Option<String>,
    /// `bucket/key`.
    pub source_object: String,
    pub generation: i32,
}

fn fields() -> [Field; 8] {
    let [run, dataset, processed, ingest, replay, object, generation, row] = OPERATIONAL;
    [
        Field::new(run, DataType::Utf8, true),
        Field::new(dataset, DataType::Utf8, true),
        Field::new(processed, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new(ingest, DataType::Date32, true),
        Field::new(replay, DataType::Utf8, true),
        Field::new(object, DataType::Utf8, true),
        Field::new(generation, DataType::Int32, true),
        Field::new(row, DataType::Int64, true),
    ]
}

/// `schema` with the operational columns at its end; columns of these names that came from the
/// data are replaced.
pub fn with_operational(schema: &Schema) -> SchemaRef {
    let kept = schema.fields().iter().filter(|f| !OPERATIONAL.contains(&f.name().as_str())).cloned();
    Arc::new(Schema::new(kept.chain(fields().map(Arc::new)).collect::<Vec<_>>()))
}

/// The operational columns of one object, but for the row numbers: made once, for as many rows as were asked for, and
/// shared by all its batches.
pub struct Operational {
    from: Provenance,
    n_rows: usize,
    columns: Vec<ArrayRef>,
}

impl Operational {
    pub fn new(from: Provenance) -> Self {
        Self { from, n_rows: 0, columns: Vec::new() }
    }

    pub fn from(&self) -> &Provenance {
        &self.from
    }

    fn columns(&mut self, n: usize) -> impl Iterator<Item = ArrayRef> {
        if n > self.n_rows || self.columns.is_empty() {
            let text = |value: &str| -> ArrayRef { Arc::new(StringArray::new_repeated(value, n)) };
            let from = &self.from;
            self.columns = vec![
                text(&from.run_id),
                text(&from.dataset),
                Arc::new(TimestampMillisecondArray::from_value(from.processed_at.millis(), n).with_timezone("UTC")),
                Arc::new(Date32Array::from_value(days(from.ingest_date), n)),
                Arc::new(StringArray::from_iter(std::iter::repeat_n(from.replay_id.as_deref(), n))),
                text(&from.source_object),
                Arc::new(Int32Array::from_value(from.generation, n)),
            ];
            self.n_rows = n;
        }
        self.columns.iter().map(move |column| column.slice(0, n))
    }
}

/// The batch with its operational columns. `schema` is [`with_operational`] of its own, `rows` are zero-based physical
/// row numbers in the source, one per row.
///
/// # Errors
/// When `rows` and the batch differ in length, or `schema` is of other columns.
pub fn extend(batch: &RecordBatch, schema: &SchemaRef, rows: &[u64], of: &mut Operational) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(f, _)| !OPERATIONAL.contains(&f.name().as_str()))
        .map(|(_, c)| Arc::clone(c))
        .collect();
    columns.extend(of.columns(batch.num_rows()));
    columns.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| i64::try_from(*r).unwrap_or(i64::MAX)))));
    RecordBatch::try_new(SchemaRef::clone(schema), columns)
}

/// Days since 1970-01-01.
pub fn days(date: NaiveDate) -> i32 {
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_carries_where_it_came_from() {
        let schema = Schema::new(vec![Field::new("id", DataType::Utf8, true), Field::new("replay_id", DataType::Int64, true)]);
        let batch = RecordBatch::try_new(
            Arc::new(schema),
            vec![Arc::new(StringArray::from(vec!["a", "b"])), Arc::new(Int64Array::from(vec![1, 2]))],
        )
        .unwrap();
        let from = Provenance {
            run_id: "r".into(),
            dataset: "orders".into(),
            processed_at: Timestamp::from_millis(5),
            ingest_date: NaiveDate::from_ymd_opt(1970, 1, 3).unwrap(),
            replay_id: None,
            source_object: "raw/a.csv".into(),
            generation: 2,
        };
        let schema = with_operational(batch.schema_ref());
        let mut of = Operational::new(from);
        let extended = extend(&batch, &schema, &[3, 9], &mut of).unwrap();
        assert_eq!(extended.num_columns(), 9, "the data's own replay_id is replaced");
        let rows = extended.column_by_name("_source_row").unwrap().as_any().downcast_ref::<Int64Array>().unwrap();
        assert_eq!(rows.values(), &[3, 9]);
        let date = extended.column_by_name("ingest_date").unwrap().as_any().downcast_ref::<Date32Array>().unwrap();
        assert_eq!(date.value(1), 2);
        assert!(extend(&batch, &schema, &[1], &mut of).is_err());
        let first = extend(&batch.slice(1, 1), &schema, &[9], &mut of).unwrap();
        assert_eq!(first, extended.slice(1, 1), "fewer rows take the first of the same columns");
    }
}
