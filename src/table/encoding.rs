//! Which encoding each column of a file gets: a function of its first rows, so that a rerun chooses the same.
//!
//! The library tries a dictionary for every column and gives it up once it is full; for a column whose
//! values hardly repeat that is work for nothing. Measured per column in performance.md §2.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
};
use parquet::basic::Encoding;
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::schema::types::ColumnPath;
use xxhash_rust::xxh3::xxh3_64;

/// Rows looked at.
const SAMPLE_ROWS: usize = 4096;

/// A smaller first batch says too little: the library's own ways are kept.
const SAMPLE_ROWS_MIN: usize = 1024;

/// Settings for the columns of a file that begins with these rows.
pub(super) fn chosen(mut builder: WriterPropertiesBuilder, first: &RecordBatch) -> WriterPropertiesBuilder {
    let n = first.num_rows().min(SAMPLE_ROWS);
    if n < SAMPLE_ROWS_MIN {
        return builder;
    }
    for (field, column) in first.schema_ref().fields().iter().zip(first.columns()) {
        let path = ColumnPath::from(field.name().as_str());
        match hardly_repeats(&column.slice(0, n)) {
            Some(Found::Texts) => builder = builder.set_column_dictionary_enabled(path, false),
            Some(Found::Numbers) => {
                builder =
                    builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
            None => {}
        }
    }
    builder
}

/// A column whose values hardly repeat.
enum Found {
    Texts,
    /// Whole numbers, dates and timestamps: differences take less than the values.
    Numbers,
}

fn hardly_repeats(column: &ArrayRef) -> Option<Found> {
    let (distinct, found) = match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            (texts.iter().flatten().map(|t| xxh3_64(t.as_bytes())).collect::<HashSet<_>>().len(), Found::Texts)
        }
        DataType::Int32 => (distinct::<Int32Type>(column.as_primitive()), Found::Numbers),
        DataType::Date32 => (distinct::<Date32Type>(column.as_primitive()), Found::Numbers),
        DataType::Int64 => (distinct::<Int64Type>(column.as_primitive()), Found::Numbers),
        DataType::Timestamp(TimeUnit::Millisecond, _) => (distinct::<TimestampMillisecondType>(column.as_primitive()), Found::Numbers),
        DataType::Timestamp(TimeUnit::Microsecond, _) => (distinct::<TimestampMicrosecondType>(column.as_primitive()), Found::Numbers),
        _ => return None,
    };
    // Half of it may be null. Of n draws from d values about n/2d repeat: 98 % distinct means d > 100,000,
    // where a dictionary of texts is full long before the file ends.
    let there = column.len() - column.null_count();
    (there * 2 >= SAMPLE_ROWS_MIN && distinct * 50 >= there * 49).then_some(found)
}

fn distinct<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>) -> usize
where
    T::Native: std::hash::Hash + Eq,
{
    column.iter().flatten().collect::<HashSet<_>>().len()
}
