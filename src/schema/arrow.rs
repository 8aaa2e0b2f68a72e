//! Shape ↔ Arrow schema. Published columns are always physically nullable (decisions.md 33).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Fields, Schema, TimeUnit as ArrowUnit};

use super::shape::{Field, Item, RecordShape, Shape, TimeUnit, ZoneKind};

/// Key of the Arrow field metadata that keeps an enum's name and symbols apart from plain text.
const ENUM_SYMBOLS: &str = "lakegate.enum";

/// An Arrow type has no shape here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: Arrow type {found} is not supported")]
pub struct ArrowError {
    pub path: String,
    pub found: String,
}

/// The Arrow type of a shape; everything inside is nullable, except keys of maps.
pub fn data_type(shape: &Shape) -> DataType {
    match shape {
        Shape::Boolean => DataType::Boolean,
        Shape::Int => DataType::Int32,
        Shape::Long => DataType::Int64,
        Shape::Float => DataType::Float32,
        Shape::Double => DataType::Float64,
        Shape::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
        Shape::String | Shape::Enum(_) => DataType::Utf8,
        Shape::Bytes => DataType::Binary,
        Shape::Date => DataType::Date32,
        Shape::Timestamp { unit, zone } => {
            let unit = if *unit == TimeUnit::Millis { ArrowUnit::Millisecond } else { ArrowUnit::Microsecond };
            DataType::Timestamp(unit, (*zone == ZoneKind::Zoned).then(|| Arc::from("UTC")))
        }
        Shape::Array(item) => DataType::List(Arc::new(ArrowField::new("item", data_type(&item.shape), true))),
        Shape::Map(item) => map_type(data_type(&item.shape)),
        Shape::Record(record) => DataType::Struct(Fields::from(record.fields.iter().map(arrow_field).collect::<Vec<_>>())),
    }
}

/// A map from text to `values`.
pub fn map_type(values: DataType) -> DataType {
    let entries = Fields::from(vec![ArrowField::new("keys", DataType::Utf8, false), ArrowField::new("values", values, true)]);
    DataType::Map(Arc::new(ArrowField::new("entries", DataType::Struct(entries), false)), false)
}

/// The Arrow field of a registered field.
pub fn arrow_field(field: &Field) -> ArrowField {
    let plain = ArrowField::new(&field.name, data_type(&field.shape), true);
    match &field.shape {
        Shape::Enum(e) => plain.with_metadata(HashMap::from([(ENUM_SYMBOLS.to_owned(), e.name.clone())])),
        _ => plain,
    }
}

/// The Arrow schema of a record.
pub fn schema(record: &RecordShape) -> Schema {
    Schema::new(record.fields.iter().map(arrow_field).collect::<Vec<_>>())
}

/// The shape of an Arrow schema; enums come back as text.
///
/// # Errors
/// Names the path of the first column whose type has no shape.
pub fn record(schema: &Schema, name: &str) -> Result<RecordShape, ArrowError> {
    Ok(RecordShape::new(name, fields(schema.fields(), "")?))
}

fn fields(list: &Fields, path: &str) -> Result<Vec<Field>, ArrowError> {
    let mut out = Vec::with_capacity(list.len());
    for field in list {
        let at = if path.is_empty() { field.name().clone() } else { format!("{path}.{}", field.name()) };
        let shape = shape(field.data_type(), field.name(), &at)?;
        out.push(if field.is_nullable() { Field::nullable(field.name(), shape) } else { Field::required(field.name(), shape) });
    }
    Ok(out)
}

fn shape(found: &DataType, name: &str, path: &str) -> Result<Shape, ArrowError> {
    let refused = || ArrowError { path: path.to_owned(), found: found.to_string() };
    let item = |field: &ArrowField, path: String| {
        Ok(Box::new(Item { shape: shape(field.data_type(), field.name(), &path)?, nullable: field.is_nullable() }))
    };
    Ok(match found {
        DataType::Boolean => Shape::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => Shape::Int,
        DataType::Int64 | DataType::UInt32 => Shape::Long,
        DataType::Float16 | DataType::Float32 => Shape::Float,
        DataType::Float64 => Shape::Double,
        DataType::Decimal128(p, s) if *s >= 0 && *s as u8 <= *p => Shape::Decimal { precision: *p, scale: *s as u8 },
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Shape::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Shape::Bytes,
        DataType::Date32 => Shape::Date,
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                ArrowUnit::Second | ArrowUnit::Millisecond => TimeUnit::Millis,
                ArrowUnit::Microsecond => TimeUnit::Micros,
                ArrowUnit::Nanosecond => return Err(refused()),
            };
            Shape::Timestamp { unit, zone: if zone.is_some() { ZoneKind::Zoned } else { ZoneKind::Naive } }
        }
        DataType::List(field) | DataType::LargeList(field) => Shape::Array(item(field, format!("{path}[]"))?),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 && pair[0].data_type() == &DataType::Utf8 => {
                Shape::Map(item(&pair[1], format!("{path}{{}}"))?)
            }
            _ => return Err(refused()),
        },
        DataType::Struct(list) => Shape::Record(RecordShape::new(name, fields(list, path)?)),
        DataType::Dictionary(_, values) => return shape(values, name, path),
        _ => return Err(refused()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shape::tests::shape as any_shape;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arrow_keeps_every_shape_and_makes_it_nullable(s in any_shape()) {
            let before = RecordShape::new("r", vec![Field::required("c", s)]);
            let once = record(&schema(&before), "r").expect("own output is known");
            let twice = record(&schema(&once), "r").expect("own output is known");
            prop_assert_eq!(&once, &twice);
            prop_assert!(once.fields[0].nullable);
            prop_assert_eq!(data_type(&once.fields[0].shape), data_type(&before.fields[0].shape));
        }
    }

    #[test]
    fn unknown_types_are_named_with_their_path() {
        let inner = ArrowField::new("b", DataType::Duration(ArrowUnit::Second), true);
        let s = Schema::new(vec![ArrowField::new("a", DataType::Struct(Fields::from(vec![inner])), true)]);
        assert_eq!(record(&s, "r").expect_err("no durations").path, "a.b");
    }
}
