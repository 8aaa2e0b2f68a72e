//! Validate: identity, duplicates, order, naming, size, format, date and lateness.
//!
//! Everything that can be said of an object without reading it whole. Order of the questions
//! (decisions.md 26): unsafe key, ignored object, route, duplicate or superseded, then what stands
//! at the key.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::admission::layout::KeyFacts;
use crate::admission::ledger::{self, Known, Newest, Progress, Removal, SightedBy, Sighting};
use crate::admission::size::SizeRefused;
use crate::admission::{ignored, key, lateness, size, suffix};
use crate::broker::Record;
use crate::contract::model::{OnEmpty, OnLate, OnOverwrite};
use crate::domain::names::{Generation, ObjectKey, StageName};
use crate::domain::object::{ObjectVersion, Sequencer, SequencerFamily};
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::stage::buckets::{BucketError, Buckets, Found};
use crate::stage::catalog::{Catalog, Dataset};
use crate::stage::letters::{Charge, Clerk, RowCounts, State, Subject, headers, unadmitted};
use crate::stage::{Decision, Stage, StageError, Verdict};
use crate::state::{Change, View};
use crate::wire::codec::CodecError;
use crate::wire::records::{Admitted, FORMAT_VERSION, LandedObject, ValidatedObject};

/// Bytes looked at to tell the format.
const HEAD_BYTES: u64 = 4096;

/// Namespace of run ids: UUIDv5 of the idempotency key and generation.
const RUN_NAMESPACE: Uuid = Uuid::from_u128(0x6c61_6b65_6761_7465_2072_756e_2069_6473);

pub struct Validate {
    pub catalog: Arc<Catalog>,
    pub buckets: Buckets,
    pub clerk: Clerk,
}

/// A landing record and its place.
pub struct Landed {
    pub object: LandedObject,
    pub partition: i32,
    pub offset: i64,
}

/// What stands at the key.
pub enum Standing {
    /// Nothing had to be asked: the record alone decides.
    NotAsked,
    Gone(String),
    /// No store of ours has the bucket.
    Elsewhere(String),
    There {
        version: ObjectVersion,
        head: Bytes,
    },
}

/// What is kept of a key: `admission::ledger::Known`, stored.
#[derive(Serialize, Deserialize)]
struct KnownTwin {
    format_version: u32,
    newest: Option<NewestTwin>,
    removal: Option<(VersionTwin, Option<i64>)>,
    touched: i64,
}

#[derive(Serialize, Deserialize)]
struct NewestTwin {
    version: VersionTwin,
    time: Option<i64>,
    by_listing: bool,
    generation: u32,
    first_landed: i64,
}

#[derive(Serialize, Deserialize)]
struct VersionTwin {
    version_id: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
    sequencer: Option<(String, String)>,
    last_modified: Option<i64>,
}

/// A sequencer's family as records spell it.
pub fn family_word(family: SequencerFamily) -> &'static str {
    match family {
        SequencerFamily::Hex => "hex",
        SequencerFamily::Ceph => "ceph",
        SequencerFamily::Integer => "integer",
        SequencerFamily::Text => "text",
        SequencerFamily::Incomparable => "incomparable",
    }
}

fn family(word: &str) -> SequencerFamily {
    let all = [SequencerFamily::Hex, SequencerFamily::Ceph, SequencerFamily::Integer, SequencerFamily::Text];
    all.into_iter().find(|f| family_word(*f) == word).unwrap_or(SequencerFamily::Incomparable)
}

impl VersionTwin {
    fn of(v: &ObjectVersion) -> Self {
        Self {
            version_id: v.version_id.clone(),
            etag: v.etag.clone(),
            size: v.size,
            sequencer: v.sequencer.as_ref().map(|s| (family_word(s.family).to_owned(), s.text.clone())),
            last_modified: v.last_modified.map(Timestamp::millis),
        }
    }

    fn into_version(self) -> ObjectVersion {
        ObjectVersion {
            version_id: self.version_id,
            etag: self.etag,
            size: self.size,
            sequencer: self.sequencer.map(|(f, text)| Sequencer { family: family(&f), text }),
            last_modified: self.last_modified.map(Timestamp::from_millis),
        }
    }
}

fn state_key(landed: &LandedObject) -> Vec<u8> {
    format!("obj/{}/{}", landed.bucket, landed.key).into_bytes()
}

fn load(view: View<'_>, landed: &LandedObject) -> Result<Option<Known>, StageError> {
    let Some(bytes) = view.get(&state_key(landed))? else { return Ok(None) };
    let twin: KnownTwin =
        serde_json::from_slice(&bytes).map_err(|e| StageError::Broken { detail: format!("state of {}: {e}", landed.key) })?;
    let newest = twin.newest.map(|n| Newest {
        version: n.version.into_version(),
        time: n.time.map(Timestamp::from_millis),
        sighted_by: if n.by_listing { SightedBy::Listing } else { SightedBy::Event },
        first_landed: Timestamp::from_millis(n.first_landed),
        generation: Generation(n.generation),
        progress: Progress::InFlight,
    });
    let removal = twin.removal.map(|(version, time)| Removal { version: version.into_version(), time: time.map(Timestamp::from_millis) });
    Ok(Some(Known { newest, removal, touched: Timestamp::from_millis(twin.touched) }))
}

fn store(landed: &LandedObject, known: &Known) -> Change {
    let newest = known.newest.as_ref().map(|n| NewestTwin {
        version: VersionTwin::of(&n.version),
        time: n.time.map(Timestamp::millis),
        by_listing: n.sighted_by == SightedBy::Listing,
        generation: n.generation.0,
        first_landed: n.first_landed.millis(),
    });
    let removal = known.removal.as_ref().map(|r| (VersionTwin::of(&r.version), r.time.map(Timestamp::millis)));
    let twin = KnownTwin { format_version: 1, newest, removal, touched: known.touched.millis() };
    Change { key: state_key(landed), value: Some(serde_json::to_vec(&twin).expect("text and numbers always serialize").into()) }
}

fn announced(landed: &LandedObject) -> ObjectVersion {
    ObjectVersion {
        version_id: landed.version_id.clone(),
        etag: landed.etag.clone(),
        size: landed.size.and_then(|s| u64::try_from(s).ok()),
        sequencer: landed
            .sequencer
            .clone()
            .map(|text| Sequencer { family: family(landed.sequencer_family.as_deref().unwrap_or("")), text }),
        last_modified: landed.last_modified.map(Timestamp::from_millis),
    }
}

/// The landing record as a sighting, before the store was asked.
fn sighted(landed: &LandedObject) -> Sighting {
    Sighting {
        version: announced(landed),
        time: landed.event_time.or(landed.last_modified).map(Timestamp::from_millis),
        by: if landed.origin == "listing" { SightedBy::Listing } else { SightedBy::Event },
        landed: Timestamp::from_millis(landed.landed_at),
        head: None,
    }
}

/// UUIDv5 of the idempotency key (source URI, dataset, version) and generation; for a replay its own form.
pub fn run_id(landed: &LandedObject, dataset: &str, token: &str, generation: Generation) -> String {
    match &landed.replay {
        Some(replay) => format!("{}-{:04}", replay.replay_id, replay.index),
        None => {
            let name = format!("{}/{}\0{dataset}\0{token}\0{}", landed.bucket, landed.key, generation.0);
            Uuid::new_v5(&RUN_NAMESPACE, name.as_bytes()).to_string()
        }
    }
}

/// What `decide` works with.
struct Case<'a> {
    landed: &'a Landed,
    kept: Option<Known>,
    now: Timestamp,
}

/// A landing record that was not admitted, and why.
struct Turned {
    state: State,
    reason: ReasonCode,
    detail: String,
}

fn turned(state: State, reason: ReasonCode, detail: impl Into<String>) -> Turned {
    Turned { state, reason, detail: detail.into() }
}

fn refused(reason: ReasonCode, detail: impl Into<String>) -> Turned {
    turned(State::Quarantined, reason, detail)
}

/// An object that passed.
struct Passed {
    dataset: Arc<Dataset>,
    admitted: Admitted,
    known: Known,
    format: &'static str,
}

impl Validate {
    /// Questions the record alone answers; `Ok` means the store must be asked.
    fn by_record(landed: &LandedObject) -> Result<ObjectKey, Turned> {
        let object: ObjectKey = landed.key.parse().map_err(|e| refused(ReasonCode::ObjectKeyUnsafe, format!("{e}")))?;
        key::judge(&object).map_err(|e| refused(e.reason(), e.to_string()))?;
        if landed.removed {
            return Err(turned(State::Ignored, ReasonCode::IgnoredObject, "a removal"));
        }
        if let Some(what) = ignored::judge(&object, landed.size.and_then(|s| u64::try_from(s).ok())) {
            return Err(turned(State::Ignored, ReasonCode::IgnoredObject, format!("{what:?}")));
        }
        if landed.dataset.is_none() {
            return Err(refused(ReasonCode::UnknownDataset, "no contract routes this key"));
        }
        Ok(object)
    }

    fn judge(&self, case: &Case<'_>, standing: Standing) -> Result<Passed, Turned> {
        let landed = &case.landed.object;
        let object = Self::by_record(landed)?;
        let name = landed.dataset.as_deref().unwrap_or_default();
        let dataset =
            self.catalog.current(name).ok_or_else(|| refused(ReasonCode::UnknownDataset, format!("no contract in force for {name}")))?;
        let contract = &dataset.contract;
        let (found, head) = match standing {
            Standing::NotAsked => return Err(turned(State::Duplicate, ReasonCode::DuplicateObject, "this version was landed before")),
            Standing::Gone(why) => return Err(turned(State::Superseded, ReasonCode::ObjectGone, why)),
            Standing::Elsewhere(why) => return Err(refused(ReasonCode::BucketUnknown, why)),
            Standing::There { version, head } => (version, head),
        };
        let (version, generation, overwrites, known) = identity(case, &found)?;
        if overwrites && contract.on_overwrite == OnOverwrite::Quarantine {
            return Err(refused(ReasonCode::OverwriteRefused, "a newer version of a key that was landed before"));
        }
        suffix::judge(&object, &contract.suffixes).map_err(|e| refused(e.reason(), e.to_string()))?;
        let bytes = found.size.unwrap_or(0);
        match size::judge(bytes, contract.min_bytes, contract.max_bytes) {
            Err(SizeRefused::Empty) if contract.on_empty == Some(OnEmpty::Accept) => {}
            judged => judged.map_err(|e| refused(e.reason(), e.to_string()))?,
        }
        let format = sniffed(&head, bytes, &contract.source)?;
        let facts = match &dataset.layout {
            Some(layout) => layout.read(&object).map_err(|e| refused(e.reason(), e.to_string()))?,
            None => KeyFacts::default(),
        };
        let first_landed = known.newest.as_ref().map_or(Timestamp::from_millis(landed.landed_at), |n| n.first_landed);
        let date: NaiveDate = facts.date.unwrap_or_else(|| first_landed.date());
        let late = match contract.lateness.allowed {
            None => false,
            Some(allowed) => {
                let happened = lateness::Happened::of(None, facts.date);
                let late = matches!(lateness::judge(happened, Some(first_landed), allowed), lateness::Lateness::Late { .. });
                if late && contract.lateness.on_late == OnLate::Quarantine {
                    return Err(refused(
                        ReasonCode::LateArriving,
                        format!("{date} landed at {first_landed}, later than {} allows", allowed),
                    ));
                }
                late
            }
        };
        let token = version.token();
        let admitted = Admitted {
            landing_partition: case.landed.partition,
            landing_offset: case.landed.offset,
            bucket: landed.bucket.clone(),
            key: landed.key.clone(),
            version_id: found.version_id.clone().or(landed.version_id.clone()),
            etag: found.etag.clone(),
            size: i64::try_from(bytes).unwrap_or(i64::MAX),
            run_id: run_id(landed, name, &token, generation),
            token,
            generation: i32::try_from(generation.0).unwrap_or(i32::MAX),
            replay_id: landed.replay.as_ref().map(|r| r.replay_id.clone()),
            forced: landed.replay.as_ref().is_some_and(|r| r.force),
            overwrites,
            source: landed.source.clone(),
            first_landed: first_landed.millis(),
            event_time: landed.event_time,
            ingest_date: date.to_string(),
            partition_values: facts.values.into_iter().collect(),
            late,
        };
        Ok(Passed { dataset, admitted, known, format })
    }
}

/// The format of the first bytes. Only what no later byte can mend is refused here: the rest of
/// the file is classify's to judge.
fn sniffed(head: &[u8], size: u64, options: &crate::format::options::SourceOptions) -> Result<&'static str, Turned> {
    use crate::format::reader::{ReadError, sniff};
    if size == 0 {
        return Ok("unknown");
    }
    match sniff(head, options) {
        Ok(format) => Ok(format.as_str()),
        Err(ReadError::Refused(e)) if matches!(e.reason, ReasonCode::FormatMismatch | ReasonCode::UnsupportedCompression) => {
            Err(refused(e.reason, e.detail))
        }
        Err(_) => Ok("unknown"),
    }
}

/// Which version this is, under which generation, and what is known of the key afterwards.
fn identity(case: &Case<'_>, found: &ObjectVersion) -> Result<(ObjectVersion, Generation, bool, Known), Turned> {
    let landed = &case.landed.object;
    let mut version = announced(landed);
    let moved = matches!((&version.etag, &found.etag), (Some(a), Some(b)) if a != b) && version.version_id.is_none();
    if moved {
        return Err(turned(
            State::Superseded,
            ReasonCode::SupersededObject,
            "another version stands at the key by now; its own notification follows",
        ));
    }
    version.version_id = version.version_id.or_else(|| found.version_id.clone());
    version.etag = found.etag.clone().or(version.etag);
    version.size = found.size.or(version.size);
    version.last_modified = found.last_modified.or(version.last_modified);
    let known = case.kept.clone();
    let at = Timestamp::from_millis(landed.landed_at);
    if let Some(replay) = &landed.replay {
        // The publish ledger decides what a replay without force finds done (decisions.md 4).
        let request = ledger::ReplayRequest {
            version: version.clone(),
            force: ledger::Force::Yes,
            generation: None,
            first_landed: replay.first_landed.map(Timestamp::from_millis),
            landed: at,
        };
        return match ledger::judge_replay(known.as_ref(), &request) {
            ledger::ReplayVerdict::Admit(generation) => {
                let known = ledger::after_replay(known, &request, generation);
                Ok((version, generation, false, known))
            }
            _ => Err(turned(
                State::Superseded,
                ReasonCode::SupersededObject,
                format!("replay {}: a newer version of the key is known", replay.replay_id),
            )),
        };
    }
    let sighting = Sighting { version: version.clone(), head: Some(found.clone()), ..sighted(landed) };
    let verdict = ledger::judge(known.as_ref(), &sighting);
    let overwrites = match verdict {
        ledger::Verdict::New => false,
        ledger::Verdict::Overwrite => true,
        ledger::Verdict::Duplicate => return Err(turned(State::Duplicate, ReasonCode::DuplicateObject, "this version was landed before")),
        ledger::Verdict::Superseded => {
            return Err(turned(State::Superseded, ReasonCode::SupersededObject, "a newer version of the key is known"));
        }
    };
    let known = ledger::after(known, &sighting, verdict);
    let generation = known.newest.as_ref().map_or(Generation::default(), |n| n.generation);
    Ok((version, generation, overwrites, known))
}

#[async_trait]
impl Stage for Validate {
    const NAME: StageName = StageName::Validate;
    type Input = Landed;
    /// False: the record alone decides, the store need not be asked.
    type Known = bool;
    type Facts = Standing;

    fn decode(&self, record: &Record, value: &[u8]) -> Result<Landed, CodecError> {
        let object = self.clerk.outlet.codec.decode(value)?;
        let partition = i32::try_from(record.at.partition.0).unwrap_or(i32::MAX);
        Ok(Landed { object, partition, offset: i64::try_from(record.offset.0).unwrap_or(i64::MAX) })
    }

    fn weight(&self, _: &Landed) -> u64 {
        HEAD_BYTES
    }

    fn look(&self, view: View<'_>, input: &Landed) -> Result<bool, StageError> {
        if Self::by_record(&input.object).is_err() {
            return Ok(false);
        }
        let known = load(view, &input.object)?;
        let repeated = ledger::judge(known.as_ref(), &sighted(&input.object)) == ledger::Verdict::Duplicate;
        Ok(input.object.replay.is_some() || !repeated)
    }

    async fn gather(&self, input: &Landed, ask: bool) -> Result<Standing, StageError> {
        if !ask {
            return Ok(Standing::NotAsked);
        }
        let landed = &input.object;
        let found = match self.buckets.peek(&landed.bucket, &landed.key, landed.version_id.as_deref(), HEAD_BYTES).await {
            Err(unknown @ BucketError::Unknown { .. }) => return Ok(Standing::Elsewhere(unknown.to_string())),
            found => found?,
        };
        match found {
            Found::Gone(why) => Ok(Standing::Gone(why)),
            Found::There((meta, head)) => {
                let version = ObjectVersion {
                    version_id: meta.version,
                    etag: meta.e_tag.map(|e| e.trim_matches('"').to_owned()),
                    size: Some(meta.size),
                    sequencer: None,
                    last_modified: Some(Timestamp::from_millis(meta.last_modified.timestamp_millis())),
                };
                Ok(Standing::There { version, head })
            }
        }
    }

    fn decide(&self, view: View<'_>, input: &Landed, standing: Standing, now: Timestamp) -> Result<Verdict, StageError> {
        let kept = load(view, &input.object)?;
        let mut decision = Decision::default();
        let case = Case { landed: input, kept, now };
        match self.judge(&case, standing) {
            Ok(passed) => {
                let subject = Subject { dataset: Some(passed.dataset.name()), object: &passed.admitted };
                decision.changes.push(store(&input.object, &passed.known));
                let detail = json!({ "format": passed.format, "late": passed.admitted.late, "contract": passed.dataset.hash });
                decision.sends.push(self.clerk.event("ValidationPassed", &subject, None, detail, case.now)?);
                decision.sends.push(self.clerk.status(&subject, State::Admitted, None, RowCounts::default(), now)?);
                let record = ValidatedObject {
                    format_version: FORMAT_VERSION,
                    dataset: passed.dataset.name().to_owned(),
                    contract_hash: passed.dataset.hash.clone(),
                    format: passed.format.to_owned(),
                    admitted: passed.admitted,
                };
                let placed = format!("{}/{}", record.admitted.bucket, record.admitted.key);
                let headers = headers(Some(&record.dataset), &record.admitted);
                decision.sends.push(self.clerk.outlet.record(Topic::Validated, &placed, Placed::By(&placed), &record, headers)?);
            }
            Err(turned) => {
                decision.changes.extend(self.remembered(&case, &turned));
                decision.sends.extend(self.turn_away(&case, turned)?);
            }
        }
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, input: &Landed, reason: ReasonCode, detail: &str, now: Timestamp) -> Result<Decision, StageError> {
        let case = Case { landed: input, kept: None, now };
        Ok(Decision { sends: self.turn_away(&case, refused(reason, detail))?, ..Decision::default() })
    }

    fn due(&self, _: View<'_>, _: Timestamp) -> Result<Vec<Landed>, StageError> {
        Ok(Vec::new())
    }

    fn next_due(&self, _: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(None)
    }
}

impl Validate {
    /// A removal, and a version that was refused, are remembered: what follows is judged against them.
    fn remembered(&self, case: &Case<'_>, turned: &Turned) -> Option<Change> {
        let landed = &case.landed.object;
        let known = case.kept.clone();
        if landed.removed {
            let removal = Removal { version: announced(landed), time: landed.event_time.map(Timestamp::from_millis) };
            return Some(store(landed, &ledger::after_removal(known, removal, Timestamp::from_millis(landed.landed_at))));
        }
        let counts = turned.state == State::Quarantined
            && landed.dataset.is_some()
            && landed.replay.is_none()
            && turned.reason != ReasonCode::ObjectKeyUnsafe;
        counts.then(|| {
            let sighting = sighted(landed);
            let verdict = ledger::judge(known.as_ref(), &sighting);
            store(landed, &ledger::after(known, &sighting, verdict))
        })
    }

    fn turn_away(&self, case: &Case<'_>, turned: Turned) -> Result<Vec<crate::broker::OutRecord>, StageError> {
        let Case { landed, now, .. } = case;
        let dataset = landed.object.dataset.as_deref();
        let token = announced(&landed.object).token();
        // A notification that repeats a version must not share that version's run.
        let run = match &landed.object.replay {
            Some(_) => run_id(&landed.object, "", &token, Generation(0)),
            None if turned.state == State::Quarantined => run_id(&landed.object, dataset.unwrap_or(""), &token, Generation(0)),
            None => Uuid::new_v5(&RUN_NAMESPACE, format!("landing/{}/{}", landed.partition, landed.offset).as_bytes()).to_string(),
        };
        let mut object = unadmitted(&landed.object, landed.partition, landed.offset, token, run);
        if landed.object.replay.is_some() {
            // A refused replay has a row of its own: it must not overwrite that of the generation it repeats.
            let newest = case.kept.as_ref().and_then(|k| k.newest.as_ref());
            object.generation = newest.map_or(0, |n| i32::try_from(n.generation.next().0).unwrap_or(i32::MAX));
        }
        let subject = Subject { dataset, object: &object };
        if turned.state == State::Quarantined {
            let charge = Charge { detail: turned.detail, ..Charge::default() };
            return Ok(self.clerk.quarantine(&subject, turned.reason, charge, RowCounts::default(), "ValidationFailed", *now)?);
        }
        let kind = match turned.state {
            State::Duplicate => "Duplicate",
            State::Superseded => "Superseded",
            _ => "Ignored",
        };
        let detail = json!({ "detail": turned.detail });
        Ok(vec![
            self.clerk.status(&subject, turned.state, Some(turned.reason), RowCounts::default(), *now)?,
            self.clerk.event(kind, &subject, Some(turned.reason), detail, *now)?,
        ])
    }
}
