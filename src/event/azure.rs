//! Azure Event Grid: container and blob come from the subject (events.md §1.5).

use serde_json::Value;

use super::facts::{self, Fault, Reading};
use super::{EventClass, Family, IgnorableKind, ObjectEvent, Origin};
use crate::domain::object::ObjectVersion;

/// Whether this type belongs to Event Grid.
pub fn speaks(event_type: &str) -> bool {
    event_type.starts_with("Microsoft.Storage.") || event_type.starts_with("Microsoft.EventGrid.")
}

/// Reads one event of the Event Grid schema or of its CloudEvents form; `event_type` is `eventType`
/// or `type`, `at` the name of the time field.
///
/// # Errors
/// `unsupported_envelope` for other types, `missing_field` when the subject names no blob.
pub fn read(event: &Value, event_type: &str, at: &str) -> Result<Reading, Fault> {
    if event_type.starts_with("Microsoft.EventGrid.Subscription") {
        return Ok(Reading::Ignorable(IgnorableKind::SubscriptionConfirmation, event_type.to_owned()));
    }
    if event_type.starts_with("Microsoft.Storage.Directory") {
        return Ok(Reading::Ignorable(IgnorableKind::BucketEvent, event_type.to_owned()));
    }
    if !event_type.starts_with("Microsoft.Storage.") {
        return Err(Fault::unsupported(format!("an Event Grid event of type {}, expected Microsoft.Storage.*", facts::quote(event_type))));
    }
    let subject = facts::text(event, "subject").ok_or_else(|| Fault::missing("subject"))?;
    let (container, blob) = subject
        .split_once("/containers/")
        .and_then(|(_, rest)| rest.split_once("/blobs/"))
        .ok_or_else(|| Fault::missing("/containers/<container>/blobs/<path> in subject"))?;
    let nothing = Value::Null;
    let data = event.get("data").unwrap_or(&nothing);
    let api = facts::owned(data, "api");
    Ok(Reading::Event(Box::new(ObjectEvent {
        class: match (event_type, api.as_deref()) {
            // With a hierarchical namespace the file is complete only after FlushWithClose.
            ("Microsoft.Storage.BlobCreated", Some("CreateFile" | "AppendFile" | "FlushFile")) => EventClass::Other,
            ("Microsoft.Storage.BlobCreated", _) => EventClass::Created,
            ("Microsoft.Storage.BlobDeleted", _) => EventClass::Removed { marker: false },
            _ => EventClass::Other,
        },
        event_name: event_type.to_owned(),
        object: facts::object(container, blob)?,
        version: ObjectVersion {
            version_id: facts::version_id(data, "blobVersion").or_else(|| facts::version_id(data, "versionId")),
            etag: facts::etag(data, &["eTag", "etag"]),
            size: facts::size(data, "contentLength", "data.contentLength")?,
            sequencer: facts::sequencer(Family::Azure, data, "sequencer"),
            last_modified: None,
        },
        time: facts::time(event, at),
        family: Family::Azure,
        record: None,
        replay_name: None,
        raw_key: blob.to_owned(),
        origin: Origin {
            request_id: facts::owned(data, "requestId"),
            requester: facts::owned(data, "identity"),
            reason: api,
            ..Origin::default()
        },
    })))
}
