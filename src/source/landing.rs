//! From what a source says to records: landings, and letters for what nobody can read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::broker::OutRecord;
use crate::domain::names::StageName;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::domain::trace::TraceParent;
use crate::event::{EventClass, Family, ObjectEvent, ParseOptions, RecordError, RecordReason};
use crate::pipeline::about;
use crate::pipeline::outlet::{Outlet, Placed};
use crate::pipeline::topics::Topic;
use crate::quarantine::remedy::remedy;
use crate::source::routing::{Router, Routes};
use crate::stage::letters::RAW_BYTES_MAX;
use crate::stage::validate::family_word;
use crate::telemetry::fact::{EnvelopeOutcome, Fact};
use crate::wire::codec::CodecError;
use crate::wire::records::{FORMAT_VERSION, LandedObject, QuarantineLetter};

/// Faults told of one notification; what is beyond is counted.
pub const FAULTS_MAX: usize = 100;

/// How an object came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Event,
    Listing,
}

impl Origin {
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Event => "event",
            Origin::Listing => "listing",
        }
    }
}

/// One notification, sorted.
#[derive(Debug, Clone, Default)]
pub struct Notice {
    /// Objects that came or went.
    pub events: Vec<ObjectEvent>,
    /// Records about no object, and events that concern nobody here (tags, access, storage class).
    pub ignored: usize,
    pub faults: Vec<RecordError>,
    /// The family of the first record that named one.
    pub family: Option<Family>,
}

impl Notice {
    /// Reads one notification of any family.
    pub fn read(bytes: &[u8], options: &ParseOptions) -> Self {
        let parsed = crate::event::parse(bytes, options);
        let n_events = parsed.events.len();
        let events: Vec<_> = parsed.events.into_iter().filter(|e| e.class != EventClass::Other).collect();
        Self { ignored: parsed.ignorable.len() + n_events - events.len(), events, faults: parsed.errors, family: parsed.family }
    }

    /// What is counted of it, beside what lands.
    pub fn facts(&self, source: &str) -> Vec<Fact> {
        let outcome = match (self.events.is_empty(), self.faults.is_empty()) {
            (_, false) => EnvelopeOutcome::Rejected,
            (false, true) => EnvelopeOutcome::Accepted,
            (true, true) => EnvelopeOutcome::Ignored,
        };
        let mut facts = vec![Fact::Envelope { source: source.to_owned(), family: self.family, outcome }];
        facts.extend(self.faults.iter().map(|f| Fact::EnvelopeRejected { source: source.to_owned(), reason: f.reason }));
        facts
    }

    /// The faults as people read them, bounded.
    pub fn complaint(&self) -> String {
        let mut texts: Vec<String> = self.faults.iter().take(5).map(tell).collect();
        if self.faults.len() > texts.len() {
            texts.push(format!("and {} more", self.faults.len() - texts.len()));
        }
        texts.join("; ")
    }
}

/// What is counted of a notification that could not even be parsed.
pub fn unparsed(source: &str, reason: RecordReason) -> [Fact; 2] {
    let source = source.to_owned();
    [Fact::Envelope { source: source.clone(), family: None, outcome: EnvelopeOutcome::Rejected }, Fact::EnvelopeRejected { source, reason }]
}

fn tell(fault: &RecordError) -> String {
    match fault.record {
        Some(record) => format!("record {record}: {}: {}", fault.reason, fault.detail),
        None => format!("{}: {}", fault.reason, fault.detail),
    }
}

/// The fact of an event as it lands.
pub fn landed(routes: &Routes, event: &ObjectEvent, source: &str, origin: Origin, now: Timestamp) -> LandedObject {
    let version = &event.version;
    LandedObject {
        format_version: FORMAT_VERSION,
        dataset: routes.dataset_for(event).map(|d| d.to_string()),
        bucket: event.object.bucket.to_string(),
        key: event.object.key.to_string(),
        version_id: version.version_id.clone(),
        etag: version.etag.clone(),
        size: version.size.map(|s| i64::try_from(s).unwrap_or(i64::MAX)),
        sequencer: version.sequencer.as_ref().map(|s| s.text.clone()),
        sequencer_family: version.sequencer.as_ref().map(|s| family_word(s.family).to_owned()),
        last_modified: version.last_modified.map(Timestamp::millis),
        event_time: event.time.map(Timestamp::millis),
        event_name: event.event_name.clone(),
        removed: matches!(event.class, EventClass::Removed { .. }),
        source: source.to_owned(),
        origin: origin.as_str().to_owned(),
        landed_at: now.millis(),
        replay: None,
    }
}

/// Where a notification came from.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    pub source: &'a str,
    /// The trace it came with; without one each object begins its own.
    pub trace: Option<&'a TraceParent>,
}

/// Makes the records sources send. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    pub outlet: Outlet,
    pub router: Arc<Router>,
}

impl Intake {
    /// Lands every event, routed by the contracts in force.
    ///
    /// # Errors
    /// `Misfit` when a record does not fit its own schema: a broken promise of ours.
    pub fn landings(&self, events: &[ObjectEvent], from: Sender<'_>, now: Timestamp) -> Result<Vec<OutRecord>, CodecError> {
        let routes = self.router.current();
        let objects = events.iter().map(|e| landed(&routes, e, from.source, Origin::Event, now));
        objects.map(|object| self.land(&object, from.trace.cloned().unwrap_or_else(|| about::of_landing(&object)))).collect()
    }

    /// One landing record, on the partition of its `bucket/key`.
    pub fn landing(&self, object: &LandedObject) -> Result<OutRecord, CodecError> {
        self.land(object, about::of_landing(object))
    }

    fn land(&self, object: &LandedObject, trace: TraceParent) -> Result<OutRecord, CodecError> {
        let placed = format!("{}/{}", object.bucket, object.key);
        let mut headers = vec![("source".to_owned(), object.source.clone().into()), about::header(&trace)];
        if let Some(dataset) = &object.dataset {
            headers.push(("dataset".to_owned(), dataset.clone().into()));
        }
        self.outlet.record(Topic::Landing, &placed, Placed::By(&placed), object, headers)
    }

    /// The letter of a notification (or a part of one) that cannot be read, with its first bytes. The same bytes
    /// from the same source make the same letter.
    pub fn unreadable(&self, source: &str, raw: &[u8], detail: String, now: Timestamp) -> Result<OutRecord, CodecError> {
        let token = digest(&[raw]);
        let key = format!("{source}#{token}");
        tracing::info!(stage = StageName::Bridge.as_str(), source, reason = %ReasonCode::EventUnreadable, detail, "notification quarantined");
        let unread = Unread {
            reason: ReasonCode::EventUnreadable,
            bucket: "",
            key: &key,
            run_id: format!("notice-{token}"),
            token: &token,
            source,
            raw,
            size: raw.len() as u64,
        };
        self.letter(&key, unread, detail, now)
    }

    /// The letter of a replay manifest that was refused; one for each version of the object.
    pub fn refused_manifest(&self, refused: RefusedManifest<'_>, now: Timestamp) -> Result<OutRecord, CodecError> {
        let RefusedManifest { source, key, token, raw, size, detail } = refused;
        tracing::info!(stage = StageName::Bridge.as_str(), key, reason = %ReasonCode::ManifestRefused, detail, "replay manifest quarantined");
        let run_id = format!("manifest-{}", digest(&[key.as_bytes(), b"\0", token.as_bytes()]));
        let unread = Unread { reason: ReasonCode::ManifestRefused, bucket: LAKE_BUCKET, key, run_id, token, source, raw, size };
        self.letter(&format!("{LAKE_BUCKET}/{key}"), unread, detail, now)
    }

    fn letter(&self, place: &str, unread: Unread<'_>, detail: String, now: Timestamp) -> Result<OutRecord, CodecError> {
        let Unread { reason, bucket, key, run_id, token, source, raw, size } = unread;
        let letter = QuarantineLetter {
            format_version: FORMAT_VERSION,
            dataset: None,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version_id: None,
            run_id,
            token: token.to_owned(),
            generation: 0,
            replay_id: None,
            landing_partition: -1,
            landing_offset: -1,
            stage: StageName::Bridge.as_str().to_owned(),
            reason: reason.as_str().to_owned(),
            detail,
            evidence: json!({ "source": source, "bytes": size }).to_string(),
            remedy: remedy(reason).to_owned(),
            whole_object: true,
            rows_quarantined: 0,
            reasons: BTreeMap::new(),
            row_letters: None,
            samples: Vec::new(),
            contract_hash: None,
            raw: Some(raw[..raw.len().min(RAW_BYTES_MAX)].to_vec()),
            at: now.millis(),
        };
        let headers = vec![("source".to_owned(), source.to_owned().into()), ("run_id".to_owned(), letter.run_id.clone().into())];
        self.outlet.record(Topic::Quarantine, place, Placed::By(place), &letter, headers)
    }
}

/// What letters call the lake's own store, where objects have a bucket.
pub const LAKE_BUCKET: &str = "lake";

/// A dropped replay manifest that cannot be carried out.
pub struct RefusedManifest<'a> {
    pub source: &'a str,
    pub key: &'a str,
    /// Its version.
    pub token: &'a str,
    /// Its first bytes.
    pub raw: &'a [u8],
    pub size: u64,
    pub detail: String,
}

/// Something that could not be read, and what names it.
struct Unread<'a> {
    reason: ReasonCode,
    bucket: &'a str,
    key: &'a str,
    run_id: String,
    token: &'a str,
    source: &'a str,
    raw: &'a [u8],
    size: u64,
}

/// The first 16 bytes of a SHA-256, in hex.
fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    hex::encode(&digest.finalize()[..16])
}
