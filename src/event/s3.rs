//! Records of the S3 shape: AWS, MinIO, RustFS, Ceph RGW, versitygw and unknown `*:s3` vendors.
//!
//! The five look alike and differ where it hurts; the table of events.md §1.3 is this module's
//! specification.

use serde_json::Value;

use super::facts::{self, Fault, Reading};
use super::{EventClass, Family, IgnorableKind, ObjectEvent, Origin, RecordReason, key};
use crate::domain::object::ObjectVersion;

/// What stood around a record, as far as it tells families apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// An element of `Records`.
    Records,
    /// An element of `Records` beside `EventName` and `Key`: MinIO or RustFS.
    NamedRecords,
    /// The record itself is the document: Ceph Nautilus.
    Bare,
    /// The record is the data of a CloudEvent.
    CloudEvent,
}

/// The family of a record: its `eventSource`, corrected by what stands around it.
pub fn family(record: &Value, around: Around, hint: Option<Family>) -> Family {
    if let Some(hint) = hint.filter(|f| f.is_s3_shaped()) {
        return hint;
    }
    let source = facts::text(record, "eventSource").unwrap_or_default();
    match source.strip_suffix(":s3").unwrap_or(source) {
        "minio" => Family::MinIo,
        "rustfs" => Family::RustFs,
        "ceph" => Family::Ceph,
        "versitygw" | "versity" => Family::Versitygw,
        // Old MinIO claimed aws:s3, Ceph Nautilus still does: the shape around the record betrays them.
        "aws" if around == Around::NamedRecords => Family::MinIo,
        "aws" if around == Around::Bare || has_marks_of_ceph(record) => Family::Ceph,
        "" if around == Around::NamedRecords => Family::MinIo,
        _ => Family::Aws,
    }
}

fn has_marks_of_ceph(record: &Value) -> bool {
    record.get("opaqueData").is_some() || record.pointer("/s3/bucket/id").is_some()
}

/// Whether a record that claims `aws:s3` looks like versitygw: its arn holds a path, or the name
/// carries `s3:` and the sequencer is a short counter.
pub fn looks_like_versitygw(record: &Value) -> bool {
    if facts::text(record, "eventSource") != Some("aws:s3") {
        return false;
    }
    let bucket = record.pointer("/s3/bucket/name").and_then(Value::as_str).unwrap_or_default();
    let arn = record.pointer("/s3/bucket/arn").and_then(Value::as_str).unwrap_or_default();
    let arn_has_path = !bucket.is_empty() && arn.rsplit(":::").next().is_some_and(|tail| tail.len() > bucket.len() && tail.contains('/'));
    let named = facts::text(record, "eventName").is_some_and(|n| n.starts_with("s3:"));
    let counts = record.pointer("/s3/object/sequencer").and_then(Value::as_str).is_some_and(|s| (1..=8).contains(&s.len()));
    arn_has_path || (named && counts)
}

/// Reads one record.
///
/// # Errors
/// `missing_field` without `eventName`, bucket or key, or with a size that is none;
/// `bad_key_encoding` when the key does not decode; `too_large` for a key over 1024 bytes.
pub fn read(record: &Value, family: Family) -> Result<Reading, Fault> {
    let name = facts::text(record, "eventName").ok_or_else(|| Fault::missing("eventName"))?;
    let event_name = facts::bare_name(name).to_owned();
    if event_name == "TestEvent" {
        return Ok(Reading::Ignorable(IgnorableKind::TestEvent, name.to_owned()));
    }
    if event_name.starts_with("Bucket") {
        return Ok(Reading::Ignorable(IgnorableKind::BucketEvent, name.to_owned()));
    }
    let s3 = record.get("s3").ok_or_else(|| Fault::missing("s3"))?;
    let bucket = s3.get("bucket").and_then(|b| facts::text(b, "name")).ok_or_else(|| Fault::missing("s3.bucket.name"))?;
    let facts_of_object = s3.get("object").filter(|o| o.is_object()).ok_or_else(|| Fault::missing("s3.object"))?;
    let (raw_key, decoded) = read_key(facts_of_object, family)?;
    let version = ObjectVersion {
        version_id: facts::version_id(facts_of_object, "versionId"),
        etag: facts::etag(facts_of_object, &["eTag", "etag"]),
        size: facts::size(facts_of_object, "size", "s3.object.size")?,
        sequencer: facts::sequencer(family, facts_of_object, "sequencer"),
        last_modified: None,
    };
    Ok(Reading::Event(Box::new(ObjectEvent {
        class: class(&event_name),
        event_name,
        object: facts::object(bucket, &decoded)?,
        version,
        time: facts::time(record, "eventTime"),
        family,
        record: None,
        replay_name: None,
        raw_key,
        origin: origin(record),
    })))
}

/// Raw and decoded key. `urlDecodedKey` is not on the wire; a payload that has it came through
/// somebody's logger, and `key` is preferred.
fn read_key(object: &Value, family: Family) -> Result<(String, String), Fault> {
    let Some(raw) = facts::text(object, "key") else {
        let logged = facts::text(object, "urlDecodedKey").ok_or_else(|| Fault::missing("s3.object.key"))?;
        return Ok((logged.to_owned(), logged.to_owned()));
    };
    if matches!(family, Family::Ceph | Family::Versitygw) {
        return Ok((raw.to_owned(), raw.to_owned()));
    }
    let decoded =
        key::decode(raw).map_err(|cause| Fault::new(RecordReason::BadKeyEncoding, format!("key {}: {cause}", facts::quote(raw))))?;
    Ok((raw.to_owned(), decoded))
}

fn origin(record: &Value) -> Origin {
    let inside = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
    Origin {
        account: None,
        region: facts::owned(record, "awsRegion"),
        requester: inside("/userIdentity/principalId"),
        request_id: inside("/responseElements/x-amz-request-id"),
        source_ip: inside("/requestParameters/sourceIPAddress"),
        reason: None,
    }
}

/// Class of a notification name without `s3:`. Unknown names are [`EventClass::Other`].
pub fn class(event_name: &str) -> EventClass {
    let (kind, how) = event_name.split_once(':').unwrap_or((event_name, ""));
    match kind {
        // MinIO counts changes of metadata as creations; the bytes did not change.
        "ObjectCreated" if ["Tagging", "Retention", "LegalHold"].iter().any(|m| how.ends_with(m)) => EventClass::Other,
        "ObjectCreated" => EventClass::Created,
        // MinIO: nothing was there to be removed.
        "ObjectRemoved" if how == "NoOP" => EventClass::Other,
        "ObjectRemoved" | "LifecycleExpiration" => EventClass::Removed { marker: how == "DeleteMarkerCreated" },
        _ => EventClass::Other,
    }
}
