//! Object-store events of every carrier and family, read into one canonical [`ObjectEvent`].
//!
//! ```text
//!  bytes ─▶ envelope (peels SQS, SNS, CloudEvents) ─▶ family reader ─▶ ObjectEvent
//! ```
//!
//! A family is not a vendor's version of one format: whether a key is encoded, how an event is
//! named and what a sequencer means differ (events.md §1.3), so each family has its reader.
//! Deliberately absent: I/O, clocks, and any judgement of a key (see [`crate::admission`]).

pub mod azure;
pub mod base64;
pub mod cloud_event;
pub mod envelope;
pub mod eventbridge;
pub mod facts;
pub mod gcs;
pub mod key;
pub mod s3;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::domain::object::{ObjectRef, ObjectVersion, Sequencer, SequencerFamily};
use crate::domain::time::Timestamp;

#[cfg(test)]
mod tests;

/// Reads one notification, whatever carried it. Never fails as a whole: what could not be read
/// stands in [`Parsed::errors`] beside the neighbours that could (events.md §1.3, §1.4).
pub fn parse(bytes: &[u8], options: &ParseOptions) -> Parsed {
    envelope::parse(bytes, options)
}

/// Maps an event to the shape EventBridge gives the same fact, so that one pattern works for every
/// carrier (events.md §1.6): `source`, `detail-type`, `detail{bucket, object, reason, …}`.
pub fn envelope(event: &ObjectEvent) -> serde_json::Value {
    eventbridge::envelope(event)
}

/// Which of two sequencers is newer. `None`: incomparable, also when the keys differ, because a
/// sequencer orders the events of one key only (events.md §0.4).
pub fn order(family: Family, a: (&str, &str), b: (&str, &str)) -> Option<Ordering> {
    let ((key_a, a), (key_b, b)) = (a, b);
    if key_a != key_b {
        return None;
    }
    family.sequencer(a)?.compare(&family.sequencer(b)?)
}

/// What a caller may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseOptions {
    /// Longer notifications are refused as `too_large` before they are parsed. Default 1 MiB:
    /// four times the largest message SQS, SNS and EventBridge deliver.
    pub max_bytes: usize,
    /// How many wrappings (SQS, SNS, CloudEvents, Pub/Sub) are peeled. Default 4.
    pub max_depth: usize,
    /// Overrides the family of S3-shaped records: versitygw claims to be `aws:s3` but does not
    /// encode keys, which no detection can see (events.md §1.3).
    pub family_hint: Option<Family>,
    /// Set when the carrier's headers say that the bytes are the data of a CloudEvent in binary mode.
    pub cloud_event: Option<CloudEventHeaders>,
}

/// Headers of a CloudEvent in binary mode (`ce_type`, `ce_subject`, `ce_time`; `ce-…` over HTTP).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloudEventHeaders {
    pub event_type: String,
    pub subject: Option<String>,
    pub time: Option<String>,
}

impl CloudEventHeaders {
    /// Picks the headers out; `None` unless they say `ce_type`. Names in any case.
    pub fn of<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Option<Self> {
        let mut found = Self::default();
        for (name, value) in headers {
            match name.to_ascii_lowercase().replace('-', "_").as_str() {
                "ce_type" => found.event_type = value.to_owned(),
                "ce_subject" => found.subject = Some(value.to_owned()),
                "ce_time" => found.time = Some(value.to_owned()),
                _ => {}
            }
        }
        (!found.event_type.is_empty()).then_some(found)
    }
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_depth: 4, family_hint: None, cloud_event: None }
    }
}

/// Everything one notification said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    pub events: Vec<ObjectEvent>,
    pub errors: Vec<RecordError>,
    pub ignorable: Vec<Ignorable>,
    /// The family of the first record that named one.
    pub family: Option<Family>,
    /// The family the records look like although they claim another: only ever
    /// [`Family::Versitygw`], to be confirmed by a person through [`ParseOptions::family_hint`].
    pub suspected: Option<Family>,
}

/// A store's dialect of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AWS S3 notifications, and every unknown `*:s3` vendor.
    Aws,
    MinIo,
    RustFs,
    Ceph,
    Versitygw,
    EventBridge,
    Azure,
    Gcs,
    /// Not an event: an object seen in a listing or a directory. It has no sequencer.
    Listing,
}

impl Family {
    pub const ALL: [Family; 9] = [
        Family::Aws,
        Family::MinIo,
        Family::RustFs,
        Family::Ceph,
        Family::Versitygw,
        Family::EventBridge,
        Family::Azure,
        Family::Gcs,
        Family::Listing,
    ];

    /// The word of labels, configuration and `--family`.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Aws => "aws",
            Family::MinIo => "minio",
            Family::RustFs => "rustfs",
            Family::Ceph => "ceph",
            Family::Versitygw => "versitygw",
            Family::EventBridge => "eventbridge",
            Family::Azure => "azure",
            Family::Gcs => "gcs",
            Family::Listing => "listing",
        }
    }

    /// How this family orders the events of one key.
    pub fn sequencer_family(self) -> Option<SequencerFamily> {
        match self {
            Family::Aws | Family::MinIo | Family::RustFs | Family::EventBridge => Some(SequencerFamily::Hex),
            Family::Ceph => Some(SequencerFamily::Ceph),
            Family::Gcs => Some(SequencerFamily::Integer),
            Family::Azure => Some(SequencerFamily::Text),
            Family::Versitygw => Some(SequencerFamily::Incomparable),
            Family::Listing => None,
        }
    }

    /// The sequencer of this family with this text.
    pub fn sequencer(self, text: &str) -> Option<Sequencer> {
        Some(Sequencer { family: self.sequencer_family()?, text: text.to_owned() })
    }

    /// Whether records of this family have the S3 shape (`s3.bucket`, `s3.object`).
    pub fn is_s3_shaped(self) -> bool {
        matches!(self, Family::Aws | Family::MinIo | Family::RustFs | Family::Ceph | Family::Versitygw)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A family nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a family of events; families are aws, minio, rustfs, ceph, versitygw, eventbridge, azure, gcs, listing")]
pub struct FamilyError {
    pub text: String,
}

impl FromStr for Family {
    type Err = FamilyError;
    fn from_str(text: &str) -> Result<Self, FamilyError> {
        Self::ALL.into_iter().find(|f| f.as_str() == text).ok_or_else(|| FamilyError { text: text.to_owned() })
    }
}

/// What happened to the object, as far as the pipeline cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventClass {
    Created,
    /// `marker`: only a delete marker was written; the versions are still there.
    Removed {
        marker: bool,
    },
    /// Anything else: kept and counted, never a failure.
    Other,
}

impl EventClass {
    pub fn as_str(self) -> &'static str {
        match self {
            EventClass::Created => "created",
            EventClass::Removed { .. } => "removed",
            EventClass::Other => "other",
        }
    }
}

/// One fact about one object, in the words of no vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEvent {
    pub class: EventClass,
    /// The notification name less an `s3:` prefix; EventBridge's is translated (decisions.md 49).
    pub event_name: String,
    pub object: ObjectRef,
    /// Absent facts are `None`; quotes around the e-tag are gone (decisions.md 50).
    pub version: ObjectVersion,
    /// When the store says it happened; `None` when absent or unreadable.
    pub time: Option<Timestamp>,
    pub family: Family,
    /// Place of the record, zero-based, in the outermost array with more than one element
    /// (decisions.md 50); 0 in an array of one, `None` when no array was met.
    pub record: Option<usize>,
    /// Name of an EventBridge archive replay: it proves a replay and must not advance freshness.
    pub replay_name: Option<String>,
    /// The key as it stood in the record, before decoding.
    pub raw_key: String,
    pub origin: Origin,
}

impl ObjectEvent {
    /// An object met in a listing or a directory, as an event that a pattern can judge.
    pub fn listed(object: ObjectRef, version: ObjectVersion) -> Self {
        Self {
            class: EventClass::Created,
            event_name: "ObjectCreated:Listed".to_owned(),
            raw_key: object.key.as_str().to_owned(),
            time: version.last_modified,
            object,
            version,
            family: Family::Listing,
            record: None,
            replay_name: None,
            origin: Origin::default(),
        }
    }

    /// Whether lifecycle rules removed the object: normal housekeeping (events.md §2.3).
    pub fn is_lifecycle(&self) -> bool {
        self.event_name.starts_with("LifecycleExpiration:")
    }
}

/// Who and where, kept because patterns may ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    pub account: Option<String>,
    pub region: Option<String>,
    pub requester: Option<String>,
    pub request_id: Option<String>,
    pub source_ip: Option<String>,
    /// EventBridge's `reason` or Azure's `api`, verbatim.
    pub reason: Option<String>,
}

/// Why one record (or the whole notification) could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// As [`ObjectEvent::record`]; `None`: the whole notification.
    pub record: Option<usize>,
    pub reason: RecordReason,
    /// For people: what was there and what was expected; at most a few hundred characters.
    pub detail: String,
}

/// The closed list of reasons; a label of `lakegate_bridge_rejected_envelopes_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordReason {
    NotJson,
    UnsupportedEnvelope,
    /// A field is absent, or holds what it cannot hold (a negative size, a bucket with `/`).
    MissingField,
    BadKeyEncoding,
    TooLarge,
    TooDeep,
}

impl RecordReason {
    pub const ALL: [RecordReason; 6] = [
        RecordReason::NotJson,
        RecordReason::UnsupportedEnvelope,
        RecordReason::MissingField,
        RecordReason::BadKeyEncoding,
        RecordReason::TooLarge,
        RecordReason::TooDeep,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            RecordReason::NotJson => "not_json",
            RecordReason::UnsupportedEnvelope => "unsupported_envelope",
            RecordReason::MissingField => "missing_field",
            RecordReason::BadKeyEncoding => "bad_key_encoding",
            RecordReason::TooLarge => "too_large",
            RecordReason::TooDeep => "too_deep",
        }
    }
}

impl fmt::Display for RecordReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record that was understood and is about no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignorable {
    pub record: Option<usize>,
    pub what: IgnorableKind,
    /// The name the carrier gave it.
    pub name: String,
}

/// Kinds of records about no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IgnorableKind {
    /// `s3:TestEvent`, sent when a notification is configured.
    TestEvent,
    /// The first delivery of an SNS or Event Grid subscription.
    SubscriptionConfirmation,
    /// A bucket was created or removed (MinIO), a directory appeared (Azure).
    BucketEvent,
}

impl IgnorableKind {
    pub fn as_str(self) -> &'static str {
        match self {
            IgnorableKind::TestEvent => "test_event",
            IgnorableKind::SubscriptionConfirmation => "subscription_confirmation",
            IgnorableKind::BucketEvent => "bucket_event",
        }
    }
}
