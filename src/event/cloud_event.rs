//! CloudEvents: the structured mode as it comes, the binary mode put into that shape first.

use serde_json::{Value, json};

use super::base64;
use super::facts::{self, Fault};
use super::{CloudEventHeaders, RecordReason};

/// Whether the value is a structured CloudEvent.
pub fn is_one(value: &Value) -> bool {
    value.get("specversion").is_some()
}

/// The structured form of a CloudEvent in binary mode.
pub fn structured(headers: &CloudEventHeaders, data: Value) -> Value {
    json!({ "specversion": "1.0", "type": headers.event_type, "subject": headers.subject, "time": headers.time, "data": data })
}

/// The data of a CloudEvent: an object as it stands, text to be parsed, or base64 of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Data<'v> {
    Value(&'v Value),
    Text(String),
}

/// Finds the data.
///
/// # Errors
/// `missing_field` when there is none or its base64 is broken.
pub fn data(value: &Value) -> Result<Data<'_>, Fault> {
    match (value.get("data"), facts::text(value, "data_base64")) {
        (Some(Value::String(text)), _) => Ok(Data::Text(text.clone())),
        (Some(data), _) if !data.is_null() => Ok(Data::Value(data)),
        (_, Some(encoded)) => base64::decode(encoded)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .map(Data::Text)
            .ok_or_else(|| Fault::new(RecordReason::MissingField, "data_base64 is not base64 of UTF-8 text")),
        _ => Err(Fault::missing("data")),
    }
}
