//! One batch's columns in the shapes that rules ask for, each made once and shared by all rules.

use std::cell::OnceCell;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;

use crate::schema::fingerprint::fingerprints;

/// What a column's values can be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnClass {
    Number,
    Text,
    Instant,
    Other,
}

impl ColumnClass {
    pub fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Dictionary(_, value) => Self::of(value),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnClass::Text,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => ColumnClass::Instant,
            t if t.is_numeric() => ColumnClass::Number,
            _ => ColumnClass::Other,
        }
    }
}

#[derive(Default)]
struct Shapes {
    nulls: OnceCell<Option<NullBuffer>>,
    numbers: OnceCell<Option<Float64Array>>,
    texts: OnceCell<Option<StringArray>>,
    instants: OnceCell<Option<TimestampMillisecondArray>>,
    lengths: OnceCell<Option<Vec<f64>>>,
    fingerprints: OnceCell<Option<Vec<u128>>>,
}

pub struct Columns<'a> {
    batch: &'a RecordBatch,
    shapes: Vec<Shapes>,
}

impl<'a> Columns<'a> {
    pub fn new(batch: &'a RecordBatch) -> Self {
        Self { batch, shapes: (0..batch.num_columns()).map(|_| Shapes::default()).collect() }
    }

    pub fn n_rows(&self) -> usize {
        self.batch.num_rows()
    }

    pub fn array(&self, column: usize) -> &ArrayRef {
        self.batch.column(column)
    }

    pub fn nulls(&self, column: usize) -> Option<&NullBuffer> {
        self.shapes[column].nulls.get_or_init(|| self.array(column).logical_nulls()).as_ref()
    }

    pub fn is_null(&self, column: usize, row: usize) -> bool {
        self.nulls(column).is_some_and(|n| n.is_null(row))
    }

    /// Doubles; a string that is no number is NULL (decisions.md 45).
    pub fn numbers(&self, column: usize) -> Option<&Float64Array> {
        let make = || match ColumnClass::of(self.array(column).data_type()) {
            ColumnClass::Text => Some(self.texts(column)?.iter().map(|t| t.and_then(|t| t.trim().parse::<f64>().ok())).collect()),
            _ => cast(self.array(column), &DataType::Float64).ok().map(|a| a.as_primitive().clone()),
        };
        self.shapes[column].numbers.get_or_init(make).as_ref()
    }

    pub fn texts(&self, column: usize) -> Option<&StringArray> {
        let make = || cast(self.array(column), &DataType::Utf8).ok().map(|a| a.as_string().clone());
        self.shapes[column].texts.get_or_init(make).as_ref()
    }

    /// UTC milliseconds; a string that is no date is NULL.
    pub fn instants(&self, column: usize) -> Option<&TimestampMillisecondArray> {
        let make = || cast(self.array(column), &DataType::Timestamp(TimeUnit::Millisecond, None)).ok().map(|a| a.as_primitive().clone());
        self.shapes[column].instants.get_or_init(make).as_ref()
    }

    /// Lengths in characters; NULL has length 0.
    pub fn lengths(&self, column: usize) -> Option<&[f64]> {
        let make = || Some(self.texts(column)?.iter().map(|t| t.map_or(0, |t| t.chars().count()) as f64).collect());
        self.shapes[column].lengths.get_or_init(make).as_deref()
    }

    /// See [`fingerprints`].
    pub fn fingerprints(&self, column: usize) -> Option<&[u128]> {
        self.shapes[column].fingerprints.get_or_init(|| fingerprints(self.array(column)).ok()).as_deref()
    }

    /// The value as a person reads it, cut to 200 characters.
    pub fn shown(&self, column: usize, row: usize) -> String {
        if self.is_null(column, row) {
            return "NULL".to_owned();
        }
        let text = arrow::util::display::array_value_to_string(self.array(column), row).unwrap_or_default();
        match text.char_indices().nth(200) {
            Some((cut, _)) => format!("{}...", &text[..cut]),
            None => text,
        }
    }
}
