//! Rows of several versions of a schema side by side: the columns of all, each in the widest type seen.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The columns of several schemas, in the order they are first met.
#[derive(Debug, Clone)]
pub struct Union {
    schema: SchemaRef,
}

impl Union {
    pub fn of<'a>(schemas: impl IntoIterator<Item = &'a Schema>) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        for field in schemas.into_iter().flat_map(|s| s.fields().iter()) {
            match fields.iter_mut().find(|f| f.name() == field.name()) {
                None => fields.push(Field::new(field.name(), field.data_type().clone(), true)),
                Some(known) => *known = Field::new(field.name(), wider(known.data_type(), field.data_type()), true),
            }
        }
        Self { schema: Arc::new(Schema::new(fields)) }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The same rows with all columns of the union and no other; what the batch lacks is null.
    ///
    /// # Errors
    /// A column's type cannot be widened: the batch is of none of the schemas.
    pub fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(match batch.column_by_name(field.name()) {
                None => new_null_array(field.data_type(), batch.num_rows()),
                Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
                Some(column) if *field.data_type() == DataType::Utf8 => texts(column)?,
                Some(column) => cast(column, field.data_type())?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), columns, &options)
    }
}

/// Evolution only ever widens (drift.md §3); anything else meets in text.
fn wider(a: &DataType, b: &DataType) -> DataType {
    use DataType::{Decimal128, Float32, Float64, Int32, Int64, Utf8};
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (Int32, Int64) | (Int64, Int32) => Int64,
        (Float32, Float64) | (Float64, Float32) => Float64,
        (Decimal128(p, s), Decimal128(q, t)) if s == t => Decimal128(*p.max(q), *s),
        _ => Utf8,
    }
}

fn texts(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let texts = (0..column.len()).map(|row| (!column.is_null(row)).then(|| formatter.value(row).to_string()));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array};

    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(fields.iter().map(|(name, ty)| Field::new(*name, ty.clone(), true)).collect::<Vec<_>>())
    }

    #[test]
    fn rows_of_both_versions_fit_the_union() {
        let old = schema(&[("id", DataType::Int32), ("x", DataType::Date32)]);
        let new = schema(&[("id", DataType::Int64), ("x", DataType::Utf8), ("later", DataType::Utf8)]);
        let union = Union::of([&old, &new]);
        let batch = RecordBatch::try_new(
            Arc::new(old),
            vec![Arc::new(Int32Array::from(vec![7])), Arc::new(arrow::array::Date32Array::from(vec![0]))],
        );
        let rows = union.conform(&batch.expect("a batch")).expect("conforms");
        assert_eq!(rows.column(0).as_any().downcast_ref::<Int64Array>().expect("widened").values(), &[7]);
        assert_eq!(rows.column(1).as_any().downcast_ref::<StringArray>().expect("text").value(0), "1970-01-01");
        assert!(rows.column(2).is_null(0), "what a version lacks is null");
    }
}
