//! Hive partitions: rows of a batch grouped by the values of the partition columns, which then
//! stand in the path only.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt32Array};
use arrow::compute::{cast, partition, take, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::lake::layout::partition_path;

/// The schema of a partition's files: without the partition columns.
pub fn file_schema(schema: &Schema, by: &[String]) -> SchemaRef {
    let kept = schema.fields().iter().filter(|f| !by.contains(f.name())).cloned();
    Arc::new(Schema::new(kept.collect::<Vec<_>>()))
}

/// Splits a batch into partitions: hive path (`ingest_date=2026-01-02/origin=EWR`, empty without
/// partition columns) → its rows in order, without the partition columns. `schema` is [`file_schema`] of the batch's.
///
/// # Errors
/// When a partition column is missing or has a type with no text form.
pub fn split(batch: &RecordBatch, by: &[String], schema: &SchemaRef) -> Result<BTreeMap<String, RecordBatch>, ArrowError> {
    if by.is_empty() {
        return Ok(BTreeMap::from([(String::new(), batch.clone())]));
    }
    let columns = by.iter().map(|name| column(batch, name)).collect::<Result<Vec<_>, _>>()?;
    // Only the first row of a run of equal ones is made text: most batches are one run.
    let runs = partition(&columns)?.ranges();
    let firsts = UInt32Array::from_iter_values(runs.iter().map(|r| number(r.start)));
    let values = columns.iter().map(|c| texts(&take(c, &firsts, None)?)).collect::<Result<Vec<_>, _>>()?;
    let rest = project_out(batch, by, schema)?;
    let mut rows: BTreeMap<Vec<Option<&str>>, Vec<u32>> = BTreeMap::new();
    for (at, run) in runs.iter().enumerate() {
        let key: Vec<Option<&str>> = values.iter().map(|v| v.is_valid(at).then(|| v.value(at))).collect();
        if runs.len() == 1 {
            return Ok(BTreeMap::from([(path_of(by, &key), rest)]));
        }
        rows.entry(key).or_default().extend(run.clone().map(number));
    }
    let mut split = BTreeMap::new();
    for (key, rows) in rows {
        split.insert(path_of(by, &key), take_record_batch(&rest, &UInt32Array::from(rows))?);
    }
    Ok(split)
}

fn path_of(by: &[String], values: &[Option<&str>]) -> String {
    let pairs: Vec<(&str, Option<&str>)> = by.iter().map(String::as_str).zip(values.iter().copied()).collect();
    partition_path(&pairs)
}

/// A row number as `take` wants it.
fn number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef, ArrowError> {
    let found = batch.column_by_name(name).map(Arc::clone);
    found.ok_or_else(|| ArrowError::SchemaError(format!("partition column {name} does not exist")))
}

fn texts(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let text = cast(column, &DataType::Utf8)?;
    text.as_any()
        .downcast_ref::<StringArray>()
        .cloned()
        .ok_or_else(|| ArrowError::CastError(format!("a partition column of type {} has no text form", column.data_type())))
}

fn project_out(batch: &RecordBatch, by: &[String], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(f, _)| !by.contains(f.name()))
        .map(|(_, c)| Arc::clone(c))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Int64Array};
    use arrow::datatypes::Field;

    use super::*;

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("d", DataType::Date32, true),
            Field::new("s", DataType::Utf8, true),
            Field::new("v", DataType::Int64, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Date32Array::from(vec![Some(0), Some(1), Some(0), None])),
            Arc::new(StringArray::from(vec!["a", "a/b", "a", ""])),
            Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn parted(by: &[&str]) -> Result<BTreeMap<String, RecordBatch>, ArrowError> {
        let (batch, by) = (batch(), by.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>());
        split(&batch, &by, &file_schema(batch.schema_ref(), &by))
    }

    #[test]
    fn rows_go_to_their_partition_in_order_and_none_is_lost() {
        let split = parted(&["d", "s"]).unwrap();
        let paths: Vec<&str> = split.keys().map(String::as_str).collect();
        assert_eq!(split.values().map(RecordBatch::num_rows).sum::<usize>(), 4);
        assert!(paths.contains(&"d=1970-01-01/s=a"), "{paths:?}");
        assert!(paths.contains(&"d=1970-01-02/s=a%2Fb"), "{paths:?}");
        let first = split["d=1970-01-01/s=a"].column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
        assert_eq!(first, [1, 3]);
    }

    #[test]
    fn a_missing_partition_column_is_an_error_and_none_is_one_partition() {
        assert!(parted(&["nope"]).is_err());
        assert_eq!(parted(&[]).unwrap().keys().collect::<Vec<_>>(), [""]);
    }
}
