//! Reading single facts out of a record's JSON, with the rules all families share
//! (decisions.md 50): null and empty text mean absent, sizes may be decimal text.

use serde_json::Value;

use super::{Family, Ignorable, IgnorableKind, ObjectEvent, RecordReason};
use crate::domain::names::{BucketName, ObjectKey};
use crate::domain::object::ObjectRef;
use crate::domain::time::Timestamp;

/// Longest text of a person's input that is repeated in an error.
const QUOTE_CHARS_MAX: usize = 160;

/// Why a record was refused; the envelope adds the record's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub reason: RecordReason,
    pub detail: String,
}

impl Fault {
    pub fn new(reason: RecordReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    pub fn missing(field: &str) -> Self {
        Self::new(RecordReason::MissingField, format!("{field} is missing"))
    }

    pub fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(RecordReason::UnsupportedEnvelope, detail)
    }
}

/// What a family reader makes of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    Event(Box<ObjectEvent>),
    Ignorable(IgnorableKind, String),
}

impl Reading {
    pub fn ignorable(self, record: Option<usize>) -> Result<Ignorable, Box<ObjectEvent>> {
        match self {
            Reading::Event(event) => Err(event),
            Reading::Ignorable(what, name) => Ok(Ignorable { record, what, name }),
        }
    }
}

/// Text of a field; null, the empty text and anything but text are absent.
pub fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field).and_then(Value::as_str).filter(|t| !t.is_empty())
}

/// Text of a field, owned.
pub fn owned(value: &Value, field: &str) -> Option<String> {
    text(value, field).map(str::to_owned)
}

/// Text of a field that may also be written as a number (generations, version ids).
pub fn text_or_number(value: &Value, field: &str) -> Option<String> {
    match value.get(field)? {
        Value::String(t) if !t.is_empty() => Some(t.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// The e-tag without its quotes.
pub fn etag(value: &Value, fields: &[&str]) -> Option<String> {
    let raw = fields.iter().find_map(|f| text(value, f))?;
    let bare = raw.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(raw);
    (!bare.is_empty()).then(|| bare.to_owned())
}

/// The version id. `null` as text is S3's name for "whatever is current without versioning": it
/// names no version.
pub fn version_id(value: &Value, field: &str) -> Option<String> {
    text_or_number(value, field).filter(|t| t != "null")
}

/// A size in bytes; absent stays absent.
///
/// # Errors
/// `missing_field` when the field holds a negative, a fraction or text that is no decimal.
pub fn size(value: &Value, field: &str, place: &str) -> Result<Option<u64>, Fault> {
    let refused = |shown: String| Fault::new(RecordReason::MissingField, format!("{place} is {shown}, not a size in bytes"));
    match value.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(n)) => n.as_u64().map(Some).ok_or_else(|| refused(quote(&n.to_string()))),
        Some(Value::String(t)) if t.is_empty() => Ok(None),
        Some(Value::String(t)) if t.bytes().all(|b| b.is_ascii_digit()) => t.parse().map(Some).map_err(|_| refused(quote(t))),
        Some(Value::String(t)) => Err(refused(quote(t))),
        Some(_) => Err(refused("not a number".to_owned())),
    }
}

/// A time; an unreadable one is absent, never an error.
pub fn time(value: &Value, field: &str) -> Option<Timestamp> {
    text(value, field).and_then(Timestamp::parse_rfc3339)
}

/// Bucket and decoded key as a reference.
///
/// # Errors
/// `missing_field` for a bucket that cannot be one or an empty key; `too_large` for a key over 1024 bytes.
pub fn object(bucket: &str, key: &str) -> Result<ObjectRef, Fault> {
    let bucket: BucketName = bucket
        .parse()
        .map_err(|cause: crate::domain::names::NameError| Fault::new(RecordReason::MissingField, quote(&cause.to_string())))?;
    if key.is_empty() {
        return Err(Fault::new(RecordReason::MissingField, "the object key is empty"));
    }
    let key: ObjectKey =
        key.parse().map_err(|cause: crate::domain::names::NameError| Fault::new(RecordReason::TooLarge, cause.to_string()))?;
    Ok(ObjectRef { bucket, key })
}

/// Text for a message: escaped, and cut at a few hundred characters.
pub fn quote(text: &str) -> String {
    let short: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{short:?}") }
}

/// Names of the fields of an object for a message, or what it is instead.
pub fn shape(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => "an empty object".to_owned(),
        Value::Object(map) => {
            let mut names: Vec<String> = map.keys().take(12).map(|k| quote(k)).collect();
            if map.len() > names.len() {
                names.push(format!("and {} more", map.len() - names.len()));
            }
            format!("an object with {}", names.join(", "))
        }
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::String(_) => "text".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Null => "null".to_owned(),
    }
}

/// Removes an `s3:` prefix: the configuration's spelling, which MinIO, RustFS, versitygw and hand-written
/// fixtures carry.
pub fn bare_name(name: &str) -> &str {
    name.strip_prefix("s3:").unwrap_or(name)
}

/// A family's sequencer of this text, when there is one.
pub fn sequencer(family: Family, value: &Value, field: &str) -> Option<crate::domain::object::Sequencer> {
    family.sequencer(&text_or_number(value, field)?)
}
