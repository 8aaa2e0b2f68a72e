//! EventBridge's shape of S3 events: read from it, and written for every other family, so that one
//! pattern works for every carrier (events.md §1.2, §1.6; decisions.md 49).

use serde_json::{Map, Value, json};

use super::facts::{self, Fault, Reading};
use super::{EventClass, Family, ObjectEvent, Origin};
use crate::domain::object::ObjectVersion;

/// Reads one envelope.
///
/// # Errors
/// `unsupported_envelope` for other sources and for CloudTrail's look-alike, by name;
/// `missing_field` without bucket or key, or with a size that is none.
pub fn read(envelope: &Value) -> Result<Reading, Fault> {
    let detail_type = facts::text(envelope, "detail-type").ok_or_else(|| Fault::missing("detail-type"))?;
    let source = facts::text(envelope, "source").ok_or_else(|| Fault::missing("source"))?;
    if detail_type.ends_with("via CloudTrail") {
        return Err(Fault::unsupported(format!(
            "{} is CloudTrail's shape, best effort and without sequencer; turn on EventBridge notifications of the bucket instead",
            facts::quote(detail_type)
        )));
    }
    if source != "aws.s3" {
        return Err(Fault::unsupported(format!("an EventBridge event of source {}, expected \"aws.s3\"", facts::quote(source))));
    }
    let detail = envelope.get("detail").filter(|d| d.is_object()).ok_or_else(|| Fault::missing("detail"))?;
    let bucket = detail.get("bucket").and_then(|b| facts::text(b, "name")).ok_or_else(|| Fault::missing("detail.bucket.name"))?;
    let object = detail.get("object").filter(|o| o.is_object()).ok_or_else(|| Fault::missing("detail.object"))?;
    let key = facts::text(object, "key").ok_or_else(|| Fault::missing("detail.object.key"))?;
    let deletion = facts::text(detail, "deletion-type");
    let reason = facts::owned(detail, "reason");
    Ok(Reading::Event(Box::new(ObjectEvent {
        class: match detail_type {
            "Object Created" => EventClass::Created,
            "Object Deleted" => EventClass::Removed { marker: deletion == Some("Delete Marker Created") },
            _ => EventClass::Other,
        },
        event_name: event_name(detail_type, reason.as_deref(), deletion),
        object: facts::object(bucket, key)?,
        version: ObjectVersion {
            version_id: facts::version_id(object, "version-id"),
            etag: facts::etag(object, &["etag", "eTag"]),
            size: facts::size(object, "size", "detail.object.size")?,
            sequencer: facts::sequencer(Family::EventBridge, object, "sequencer"),
            last_modified: None,
        },
        time: facts::time(envelope, "time"),
        family: Family::EventBridge,
        record: None,
        replay_name: facts::owned(envelope, "replay-name"),
        raw_key: key.to_owned(),
        origin: Origin {
            account: facts::text_or_number(envelope, "account"),
            region: facts::owned(envelope, "region"),
            requester: facts::text_or_number(detail, "requester"),
            request_id: facts::owned(detail, "request-id"),
            source_ip: facts::owned(detail, "source-ip-address"),
            reason,
        },
    })))
}

/// The notification name of the same fact (decisions.md 49).
fn event_name(detail_type: &str, reason: Option<&str>, deletion: Option<&str>) -> String {
    let fixed = match detail_type {
        "Object Created" => {
            return match reason {
                Some("PutObject") => "ObjectCreated:Put".to_owned(),
                Some("POST Object" | "PostObject") => "ObjectCreated:Post".to_owned(),
                Some("CopyObject") => "ObjectCreated:Copy".to_owned(),
                // An unknown reason stands verbatim; CompleteMultipartUpload already is the word.
                Some(other) => format!("ObjectCreated:{other}"),
                None => "ObjectCreated".to_owned(),
            };
        }
        "Object Deleted" => {
            let who = if reason == Some("Lifecycle Expiration") { "LifecycleExpiration" } else { "ObjectRemoved" };
            let how = if deletion == Some("Delete Marker Created") { "DeleteMarkerCreated" } else { "Delete" };
            return format!("{who}:{how}");
        }
        "Object Restore Initiated" => "ObjectRestore:Post",
        "Object Restore Completed" => "ObjectRestore:Completed",
        "Object Restore Expired" => "ObjectRestore:Delete",
        "Object Tags Added" => "ObjectTagging:Put",
        "Object Tags Deleted" => "ObjectTagging:Delete",
        "Object ACL Updated" => "ObjectAcl:Put",
        "Object Storage Class Changed" => "LifecycleTransition",
        "Object Access Tier Changed" => "IntelligentTiering",
        other => other,
    };
    fixed.to_owned()
}

/// Writes the EventBridge shape of any event. Absent facts are absent fields.
pub fn envelope(event: &ObjectEvent) -> Value {
    let (detail_type, reason, deletion) = words(event);
    let mut object = Map::new();
    object.insert("key".to_owned(), json!(event.object.key.as_str()));
    if let Some(size) = event.version.size {
        object.insert("size".to_owned(), json!(size));
    }
    insert(&mut object, "etag", event.version.etag.as_deref());
    insert(&mut object, "version-id", event.version.version_id.as_deref());
    insert(&mut object, "sequencer", event.version.sequencer.as_ref().map(|s| s.text.as_str()));

    let mut detail = Map::new();
    detail.insert("version".to_owned(), json!("0"));
    detail.insert("bucket".to_owned(), json!({ "name": event.object.bucket.as_str() }));
    detail.insert("object".to_owned(), Value::Object(object));
    insert(&mut detail, "request-id", event.origin.request_id.as_deref());
    insert(&mut detail, "requester", event.origin.requester.as_deref());
    insert(&mut detail, "source-ip-address", event.origin.source_ip.as_deref());
    insert(&mut detail, "reason", reason.as_deref());
    insert(&mut detail, "deletion-type", deletion);

    let mut whole = Map::new();
    whole.insert("version".to_owned(), json!("0"));
    whole.insert("detail-type".to_owned(), json!(detail_type));
    whole.insert("source".to_owned(), json!("aws.s3"));
    insert(&mut whole, "account", event.origin.account.as_deref());
    if let Some(at) = event.time {
        // EventBridge writes whole seconds without a fraction.
        whole.insert("time".to_owned(), json!(at.to_string().replace(".000Z", "Z")));
    }
    insert(&mut whole, "region", event.origin.region.as_deref());
    whole.insert("resources".to_owned(), json!([format!("arn:aws:s3:::{}", event.object.bucket)]));
    insert(&mut whole, "replay-name", event.replay_name.as_deref());
    whole.insert("detail".to_owned(), Value::Object(detail));
    Value::Object(whole)
}

fn insert(map: &mut Map<String, Value>, field: &str, text: Option<&str>) {
    if let Some(text) = text {
        map.insert(field.to_owned(), json!(text));
    }
}

/// Detail type, reason and deletion type of an event: [`event_name`] read backwards.
fn words(event: &ObjectEvent) -> (String, Option<String>, Option<&'static str>) {
    let (kind, how) = event.event_name.split_once(':').unwrap_or((event.event_name.as_str(), ""));
    let kept = event.origin.reason.clone();
    match event.class {
        EventClass::Created => {
            let reason = match how {
                "Put" => Some("PutObject"),
                "Post" => Some("POST Object"),
                "Copy" => Some("CopyObject"),
                "" => None,
                other => Some(other),
            };
            ("Object Created".to_owned(), kept.or_else(|| reason.map(str::to_owned)), None)
        }
        EventClass::Removed { marker } => {
            let reason = if kind == "LifecycleExpiration" { "Lifecycle Expiration" } else { "DeleteObject" };
            let deletion = if marker { "Delete Marker Created" } else { "Permanently Deleted" };
            ("Object Deleted".to_owned(), kept.or_else(|| Some(reason.to_owned())), Some(deletion))
        }
        EventClass::Other => {
            let detail_type = match (kind, how) {
                ("ObjectRestore", "Post") => "Object Restore Initiated",
                ("ObjectRestore", "Completed") => "Object Restore Completed",
                ("ObjectRestore", "Delete") => "Object Restore Expired",
                ("ObjectTagging", "Put") | ("ObjectCreated", "PutTagging") => "Object Tags Added",
                ("ObjectTagging", "Delete") | ("ObjectCreated", "DeleteTagging") => "Object Tags Deleted",
                ("ObjectAcl", _) => "Object ACL Updated",
                ("LifecycleTransition", _) => "Object Storage Class Changed",
                ("IntelligentTiering", _) => "Object Access Tier Changed",
                _ => event.event_name.as_str(),
            };
            (detail_type.to_owned(), kept, None)
        }
    }
}
