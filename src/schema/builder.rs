//! Typed values → Arrow arrays.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int32Builder, Int64Builder,
    ListArray, MapArray, NullBufferBuilder, StringBuilder, StructArray, TimestampMicrosecondBuilder, TimestampMillisecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field as ArrowField, Fields};
use arrow::error::ArrowError;

use super::arrow::{arrow_field, data_type, map_type};
use super::reading::Value;
use super::shape::{Shape, TimeUnit, ZoneKind};

/// Builds one column. A value that is not of the column's type becomes null; the casts do not make any.
pub enum ColumnBuilder {
    Boolean(BooleanBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder, u8, u8),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Millis(TimestampMillisecondBuilder, ZoneKind),
    Micros(TimestampMicrosecondBuilder, ZoneKind),
    List(Nested),
    Map(Nested, StringBuilder),
    Struct { fields: Fields, children: Vec<ColumnBuilder>, valid: NullBufferBuilder },
}

/// Offsets, validity and items of a list or map.
pub struct Nested {
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
    item: Box<ColumnBuilder>,
    item_type: DataType,
}

impl Nested {
    fn new(item: &Shape) -> Self {
        Self {
            offsets: vec![0],
            valid: NullBufferBuilder::new(0),
            item: Box::new(ColumnBuilder::new(item, 0, 0)),
            item_type: data_type(item),
        }
    }

    fn close(&mut self, n: usize, is_valid: bool) {
        let last = self.offsets.last().copied().unwrap_or(0);
        self.offsets.push(last.saturating_add(i32::try_from(n).unwrap_or(i32::MAX)));
        self.valid.append(is_valid);
    }
}

impl ColumnBuilder {
    /// `rows` and `bytes` of text are what room is made for; more may come.
    pub fn new(shape: &Shape, rows: usize, bytes: usize) -> Self {
        match shape {
            Shape::Boolean => ColumnBuilder::Boolean(BooleanBuilder::with_capacity(rows)),
            Shape::Int => ColumnBuilder::Int(Int32Builder::with_capacity(rows)),
            Shape::Long => ColumnBuilder::Long(Int64Builder::with_capacity(rows)),
            Shape::Float => ColumnBuilder::Float(Float32Builder::with_capacity(rows)),
            Shape::Double => ColumnBuilder::Double(Float64Builder::with_capacity(rows)),
            Shape::Decimal { precision, scale } => ColumnBuilder::Decimal(Decimal128Builder::with_capacity(rows), *precision, *scale),
            Shape::String | Shape::Enum(_) => ColumnBuilder::Text(StringBuilder::with_capacity(rows, bytes)),
            Shape::Bytes => ColumnBuilder::Bytes(BinaryBuilder::with_capacity(rows, bytes)),
            Shape::Date => ColumnBuilder::Date(Date32Builder::with_capacity(rows)),
            Shape::Timestamp { unit: TimeUnit::Millis, zone } => {
                ColumnBuilder::Millis(TimestampMillisecondBuilder::with_capacity(rows), *zone)
            }
            Shape::Timestamp { unit: TimeUnit::Micros, zone } => {
                ColumnBuilder::Micros(TimestampMicrosecondBuilder::with_capacity(rows), *zone)
            }
            Shape::Array(item) => ColumnBuilder::List(Nested::new(&item.shape)),
            Shape::Map(item) => ColumnBuilder::Map(Nested::new(&item.shape), StringBuilder::new()),
            Shape::Record(record) => ColumnBuilder::Struct {
                fields: Fields::from(record.fields.iter().map(arrow_field).collect::<Vec<_>>()),
                children: record.fields.iter().map(|f| ColumnBuilder::new(&f.shape, rows, 0)).collect(),
                valid: NullBufferBuilder::new(0),
            },
        }
    }

    #[inline]
    pub fn push(&mut self, value: &Value<'_>) {
        match (self, value) {
            (ColumnBuilder::Text(b), Value::Text(text)) => b.append_value(text),
            (ColumnBuilder::Text(b), _) => b.append_null(),
            (ColumnBuilder::Long(b), Value::Int(n)) => b.append_value(*n),
            (ColumnBuilder::Long(b), _) => b.append_null(),
            (ColumnBuilder::Double(b), Value::Double(n)) => b.append_value(*n),
            (ColumnBuilder::Double(b), _) => b.append_null(),
            (ColumnBuilder::Int(b), Value::Int(n)) => b.append_option(i32::try_from(*n).ok()),
            (ColumnBuilder::Int(b), _) => b.append_null(),
            (ColumnBuilder::Float(b), Value::Double(n)) => b.append_value(*n as f32),
            (ColumnBuilder::Float(b), _) => b.append_null(),
            (ColumnBuilder::Boolean(b), Value::Bool(truth)) => b.append_value(*truth),
            (ColumnBuilder::Boolean(b), _) => b.append_null(),
            (ColumnBuilder::Decimal(b, ..), Value::Decimal(n)) => b.append_value(*n),
            (ColumnBuilder::Decimal(b, ..), _) => b.append_null(),
            (ColumnBuilder::Bytes(b), Value::Bytes(bytes)) => b.append_value(bytes),
            (ColumnBuilder::Bytes(b), _) => b.append_null(),
            (ColumnBuilder::Date(b), Value::Date(days)) => b.append_value(*days),
            (ColumnBuilder::Date(b), _) => b.append_null(),
            (ColumnBuilder::Millis(b, _), Value::Timestamp(n)) => b.append_value(*n),
            (ColumnBuilder::Millis(b, _), _) => b.append_null(),
            (ColumnBuilder::Micros(b, _), Value::Timestamp(n)) => b.append_value(*n),
            (ColumnBuilder::Micros(b, _), _) => b.append_null(),
            (ColumnBuilder::List(nested), Value::Array(items)) => {
                for item in items {
                    nested.item.push(item);
                }
                nested.close(items.len(), true);
            }
            (ColumnBuilder::List(nested), _) => nested.close(0, false),
            (ColumnBuilder::Map(nested, keys), Value::Map(entries)) => {
                for (key, value) in entries {
                    keys.append_value(key);
                    nested.item.push(value);
                }
                nested.close(entries.len(), true);
            }
            (ColumnBuilder::Map(nested, _), _) => nested.close(0, false),
            (ColumnBuilder::Struct { children, valid, .. }, Value::Record(values)) => {
                for (i, child) in children.iter_mut().enumerate() {
                    child.push(values.get(i).unwrap_or(&Value::Null));
                }
                valid.append(true);
            }
            (ColumnBuilder::Struct { children, valid, .. }, _) => {
                for child in children {
                    child.push(&Value::Null);
                }
                valid.append(false);
            }
        }
    }

    /// The column so far; the builder is empty afterwards.
    ///
    /// # Errors
    /// Arrow refuses the parts: a broken promise of this module, for the caller to report as such.
    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let zone = |kind: &ZoneKind| (*kind == ZoneKind::Zoned).then_some("UTC");
        Ok(match self {
            ColumnBuilder::Boolean(b) => Arc::new(b.finish()),
            ColumnBuilder::Int(b) => Arc::new(b.finish()),
            ColumnBuilder::Long(b) => Arc::new(b.finish()),
            ColumnBuilder::Float(b) => Arc::new(b.finish()),
            ColumnBuilder::Double(b) => Arc::new(b.finish()),
            ColumnBuilder::Decimal(b, precision, scale) => Arc::new(b.finish().with_precision_and_scale(*precision, *scale as i8)?),
            ColumnBuilder::Text(b) => Arc::new(b.finish()),
            ColumnBuilder::Bytes(b) => Arc::new(b.finish()),
            ColumnBuilder::Date(b) => Arc::new(b.finish()),
            ColumnBuilder::Millis(b, kind) => Arc::new(b.finish().with_timezone_opt(zone(kind))),
            ColumnBuilder::Micros(b, kind) => Arc::new(b.finish().with_timezone_opt(zone(kind))),
            ColumnBuilder::List(nested) => {
                let offsets = OffsetBuffer::new(std::mem::replace(&mut nested.offsets, vec![0]).into());
                let field = Arc::new(ArrowField::new("item", nested.item_type.clone(), true));
                Arc::new(ListArray::try_new(field, offsets, nested.item.finish()?, nested.valid.finish())?)
            }
            ColumnBuilder::Map(nested, keys) => {
                let offsets = OffsetBuffer::new(std::mem::replace(&mut nested.offsets, vec![0]).into());
                let DataType::Map(entries_field, _) = map_type(nested.item_type.clone()) else {
                    return Err(ArrowError::SchemaError("a map type is a map".to_owned()));
                };
                let DataType::Struct(fields) = entries_field.data_type().clone() else {
                    return Err(ArrowError::SchemaError("entries of a map are pairs".to_owned()));
                };
                let entries = StructArray::try_new(fields, vec![Arc::new(keys.finish()), nested.item.finish()?], None)?;
                Arc::new(MapArray::try_new(entries_field, offsets, entries, nested.valid.finish(), false)?)
            }
            ColumnBuilder::Struct { fields, children, valid } => {
                let len = valid.len();
                let mut arrays = Vec::with_capacity(children.len());
                for child in children {
                    arrays.push(child.finish()?);
                }
                Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, valid.finish(), len)?)
            }
        })
    }
}
