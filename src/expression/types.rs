//! SQL type names to Arrow and back, and short texts for people.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::DataFusionError;
use sqlparser::ast::{DataType as SqlType, ExactNumberInfo, TimezoneInfo};

use crate::expression::compile::ExpressionError;

/// Arrow type of a type written in SQL.
pub(super) fn arrow_type(sql: &SqlType) -> Result<DataType, ExpressionError> {
    Ok(match sql {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::TinyInt(_) => DataType::Int8,
        SqlType::SmallInt(_) => DataType::Int16,
        SqlType::Int(_) | SqlType::Integer(_) => DataType::Int32,
        SqlType::BigInt(_) => DataType::Int64,
        SqlType::Float(_) | SqlType::Real => DataType::Float32,
        SqlType::Double(_) | SqlType::DoublePrecision => DataType::Float64,
        SqlType::Decimal(info) | SqlType::Numeric(info) | SqlType::Dec(info) => decimal(info)?,
        SqlType::String(_) | SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) => DataType::Utf8,
        SqlType::Binary(_) => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => DataType::Timestamp(TimeUnit::Microsecond, None),
        SqlType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        SqlType::Custom(name, _) => match name.to_string().to_ascii_lowercase().as_str() {
            "byte" => DataType::Int8,
            "short" => DataType::Int16,
            "long" => DataType::Int64,
            "string" => DataType::Utf8,
            "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
            _ => return Err(unknown(sql)),
        },
        other => return Err(unknown(other)),
    })
}

fn unknown(sql: &SqlType) -> ExpressionError {
    let known = "boolean, tinyint, smallint, int, bigint, float, double, decimal(p,s), string, binary, date, timestamp";
    ExpressionError::new(format!("{sql} is not a type here; known are {known}"))
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType, ExpressionError> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(p) => (*p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..=38), Ok(s)) if s >= 0 && s.unsigned_abs() <= p => Ok(DataType::Decimal128(p, s)),
        _ => Err(ExpressionError::new(format!("decimal({precision},{scale}) is out of range: 1 to 38 digits, scale 0 to the precision"))),
    }
}

/// The word a person would use.
pub(super) fn word(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "null".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        other => other.to_string(),
    }
}

/// First line of a library's message, without its prefixes and backtrace, at most 300 bytes.
pub(super) fn short(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let line = text.lines().next().unwrap_or_default();
    let mut rest = line;
    while let Some((prefix, tail)) = rest.split_once(": ") {
        if !prefix.ends_with("error") && !prefix.ends_with("rror during planning") {
            break;
        }
        rest = tail;
    }
    rest[..rest.floor_char_boundary(300)].to_owned()
}
