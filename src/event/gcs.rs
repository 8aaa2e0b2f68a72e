//! Google Cloud Storage through Pub/Sub: the facts are attributes, the payload is the object
//! resource in base64 (events.md §1.5).

use serde_json::Value;

use super::facts::{self, Fault, Reading};
use super::{EventClass, Family, ObjectEvent, Origin, base64};
use crate::domain::object::ObjectVersion;

/// The Pub/Sub message in a push (`message`), or the value itself when it has notification attributes.
pub fn message(value: &Value) -> Option<&Value> {
    [value.get("message"), Some(value)].into_iter().flatten().find(|m| {
        m.get("attributes").is_some_and(|a| a.get("eventType").is_some() && (a.get("bucketId").is_some() || a.get("objectId").is_some()))
    })
}

/// Reads one Pub/Sub message.
///
/// # Errors
/// `missing_field` without bucket or object, or with a size that is none.
pub fn read(message: &Value) -> Result<Reading, Fault> {
    let attributes = message.get("attributes").ok_or_else(|| Fault::missing("attributes"))?;
    let event_type = facts::text(attributes, "eventType").ok_or_else(|| Fault::missing("attributes.eventType"))?;
    // A payload that is absent (NONE) or unreadable costs size and e-tag, not the event.
    let resource = facts::text(message, "data")
        .and_then(base64::decode)
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .unwrap_or(Value::Null);
    let bucket = facts::text(attributes, "bucketId").ok_or_else(|| Fault::missing("attributes.bucketId"))?;
    let name = facts::text(attributes, "objectId").ok_or_else(|| Fault::missing("attributes.objectId"))?;
    let generation = facts::text_or_number(attributes, "objectGeneration").or_else(|| facts::text_or_number(&resource, "generation"));
    let time =
        facts::time(attributes, "eventTime").or_else(|| facts::time(&resource, "updated")).or_else(|| facts::time(message, "publishTime"));
    event(event_type, bucket, name, generation, &resource, time)
}

/// Reads Eventarc's CloudEvents (`google.cloud.storage.object.v1.finalized` and its siblings), whose
/// data is the object resource.
///
/// # Errors
/// `missing_field` without bucket or name, or with a size that is none.
pub fn read_resource(event_type: &str, resource: &Value, at: Option<crate::domain::time::Timestamp>) -> Result<Reading, Fault> {
    let name = match event_type.rsplit('.').next() {
        Some("finalized") => "OBJECT_FINALIZE",
        Some("deleted") => "OBJECT_DELETE",
        Some("archived") => "OBJECT_ARCHIVE",
        Some("metadataUpdated") => "OBJECT_METADATA_UPDATE",
        _ => event_type,
    };
    let bucket = facts::text(resource, "bucket").ok_or_else(|| Fault::missing("data.bucket"))?;
    let object = facts::text(resource, "name").ok_or_else(|| Fault::missing("data.name"))?;
    event(name, bucket, object, facts::text_or_number(resource, "generation"), resource, at)
}

fn event(
    event_type: &str,
    bucket: &str,
    name: &str,
    generation: Option<String>,
    resource: &Value,
    time: Option<crate::domain::time::Timestamp>,
) -> Result<Reading, Fault> {
    Ok(Reading::Event(Box::new(ObjectEvent {
        class: match event_type {
            "OBJECT_FINALIZE" => EventClass::Created,
            "OBJECT_DELETE" => EventClass::Removed { marker: false },
            // The live version became noncurrent: the bytes are still there.
            "OBJECT_ARCHIVE" => EventClass::Removed { marker: true },
            _ => EventClass::Other,
        },
        event_name: event_type.to_owned(),
        object: facts::object(bucket, name)?,
        version: ObjectVersion {
            sequencer: generation.as_deref().and_then(|g| Family::Gcs.sequencer(g)),
            version_id: generation,
            etag: facts::etag(resource, &["etag"]),
            size: facts::size(resource, "size", "size of the object resource")?,
            last_modified: None,
        },
        time,
        family: Family::Gcs,
        record: None,
        replay_name: None,
        raw_key: name.to_owned(),
        origin: Origin::default(),
    })))
}
