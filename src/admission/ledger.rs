//! The state of validate as rules: is a sighting of an object news, old news, or no news?
//!
//! ```text
//!              ┌── same version ──▶ Duplicate
//!  sighting ───┼── older ─────────▶ Superseded
//!              ├── newer ─────────▶ Overwrite   (on_overwrite decides what becomes of it)
//!              └── key unknown ───▶ New
//! ```
//!
//! Order comes from sequencers where both have one of one family; else the store's own answer (a
//! HEAD) decides; else times are a hint (events.md §1.3 "Sequencer compare", §2.3). The publish
//! ledger stays the authority: what is kept here is a cache with a horizon (decisions.md 4).

use std::cmp::Ordering;

use crate::domain::names::Generation;
use crate::domain::object::ObjectVersion;
use crate::domain::time::{Span, Timestamp};

/// What a sighting came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SightedBy {
    Event,
    /// A listing or a directory: no sequencer, often no version id.
    Listing,
}

/// How far the newest version of a key has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    /// In exactly one stage.
    InFlight,
    Published,
    Registered,
    Quarantined,
    Ignored,
    Superseded,
}

impl Progress {
    /// Whether a replay without force would find nothing left to do.
    pub fn is_complete(self) -> bool {
        matches!(self, Progress::Published | Progress::Registered)
    }
}

/// The removal of a key, kept because a delete may arrive before the put it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Version facts of the removal event: its sequencer above all.
    pub version: ObjectVersion,
    pub time: Option<Timestamp>,
}

/// What is known of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The newest version; `None` while only a removal was seen.
    pub newest: Option<Newest>,
    pub removal: Option<Removal>,
    /// When this key was last heard of; see [`may_be_forgotten`].
    pub touched: Timestamp,
}

/// The newest version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    pub version: ObjectVersion,
    pub time: Option<Timestamp>,
    pub sighted_by: SightedBy,
    /// When this version landed first: lateness and, without a date in the key, `ingest_date` are
    /// pinned to it, so that a replay lands in the same partition (decisions.md 2, 3).
    pub first_landed: Timestamp,
    pub generation: Generation,
    pub progress: Progress,
}

/// One sighting of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub version: ObjectVersion,
    /// Event time, or the listing's modification time: a hint only.
    pub time: Option<Timestamp>,
    pub by: SightedBy,
    /// When the landing record was written.
    pub landed: Timestamp,
    /// What the store says is there now, where gather asked.
    pub head: Option<ObjectVersion>,
}

/// What a sighting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The key was not known.
    New,
    /// The same version was sighted before.
    Duplicate,
    /// A newer version, or a later removal, is known.
    Superseded,
    /// A newer version of a known key.
    Overwrite,
}

/// Judges one sighting of a created object.
pub fn judge(known: Option<&Known>, sighting: &Sighting) -> Verdict {
    let Some(known) = known else { return Verdict::New };
    if let Some(removal) = &known.removal
        && outlived_by(sighting, removal)
    {
        return Verdict::Superseded;
    }
    let Some(newest) = &known.newest else { return Verdict::New };
    let is_removed_since = known.removal.is_some() && order(newest_facts(newest), removal_facts(known)) != Some(Ordering::Greater);
    if same_version(newest, sighting) && !(is_removed_since && reappeared(known, sighting)) {
        return Verdict::Duplicate;
    }
    match order(newest_facts(newest), (&sighting.version, sighting.time)) {
        Some(Ordering::Less) => Verdict::Overwrite,
        Some(Ordering::Greater) => Verdict::Superseded,
        // One sequencer names one event, whatever else the record says.
        Some(Ordering::Equal) => Verdict::Duplicate,
        None => by_hint(newest, sighting),
    }
}

/// Two sightings are one version when their version ids are equal; without ids on both sides, when
/// e-tag and size agree and the sequencers are equal or one is missing (decisions.md 51). Without
/// e-tags, size and modification time stand in.
fn same_version(newest: &Newest, sighting: &Sighting) -> bool {
    let (a, b) = (&newest.version, &sighting.version);
    if let (Some(a), Some(b)) = (&a.version_id, &b.version_id) {
        return a == b;
    }
    let sequencers_agree = match (&a.sequencer, &b.sequencer) {
        (Some(a), Some(b)) => a.compare(b) == Some(Ordering::Equal),
        _ => true,
    };
    let sizes_agree = match (a.size, b.size) {
        (Some(a), Some(b)) => a == b,
        // Several stores leave a size out, MinIO when it is 0.
        _ => true,
    };
    if !sequencers_agree || !sizes_agree {
        return false;
    }
    let one_event = a.sequencer.is_some() && b.sequencer.is_some();
    match (&a.etag, &b.etag) {
        // Listings of some stores keep the quotes of the header.
        (Some(a), Some(b)) => a.trim_matches('"') == b.trim_matches('"'),
        (None, None) => {
            one_event || (a.size.is_some() && a.size == b.size && a.last_modified.is_some() && a.last_modified == b.last_modified)
        }
        _ => one_event,
    }
}

type Dated<'v> = (&'v ObjectVersion, Option<Timestamp>);

fn newest_facts(newest: &Newest) -> Dated<'_> {
    (&newest.version, newest.time)
}

fn removal_facts(known: &Known) -> Dated<'_> {
    static NOTHING: ObjectVersion = ObjectVersion { version_id: None, etag: None, size: None, sequencer: None, last_modified: None };
    known.removal.as_ref().map_or((&NOTHING, None), |r| (&r.version, r.time))
}

/// Order by sequencer alone; `None` when they are missing or incomparable.
fn order(a: Dated<'_>, b: Dated<'_>) -> Option<Ordering> {
    a.0.sequencer.as_ref()?.compare(b.0.sequencer.as_ref()?)
}

/// Whether a removal happened after the sighted version was written.
fn outlived_by(sighting: &Sighting, removal: &Removal) -> bool {
    match order((&sighting.version, sighting.time), (&removal.version, removal.time)) {
        Some(order) => order != Ordering::Greater,
        // The object is there, or was a moment ago: a HEAD or a listing knows better than times.
        None if sighting.head.is_some() || sighting.by == SightedBy::Listing => false,
        None => matches!((sighting.time, removal.time), (Some(written), Some(removed)) if written < removed),
    }
}

/// After a removal the same bytes may have been written again: news only if their sequencer says so
/// or the sighting is of a later time than the removal.
fn reappeared(known: &Known, sighting: &Sighting) -> bool {
    let removal = removal_facts(known);
    match order((&sighting.version, sighting.time), removal) {
        Some(order) => order == Ordering::Greater,
        None => matches!((sighting.time, removal.1), (Some(seen), Some(removed)) if seen > removed),
    }
}

/// No sequencer decides: the store's present version does, else the times.
fn by_hint(newest: &Newest, sighting: &Sighting) -> Verdict {
    if let Some(head) = &sighting.head {
        let is_current = Newest { version: head.clone(), ..newest.clone() };
        return if same_version(&is_current, &Sighting { version: without_sequencer(&sighting.version), ..sighting.clone() }) {
            Verdict::Overwrite
        } else {
            Verdict::Superseded
        };
    }
    match (newest.time, sighting.time) {
        (Some(known), Some(seen)) if seen < known => Verdict::Superseded,
        _ => Verdict::Overwrite,
    }
}

fn without_sequencer(version: &ObjectVersion) -> ObjectVersion {
    ObjectVersion { sequencer: None, ..version.clone() }
}

/// What is known after a sighting was judged. A new or newer version starts at generation 0 in
/// flight; a duplicate only adds facts that were missing, above all the sequencer of an object that
/// was first met in a listing.
pub fn after(known: Option<Known>, sighting: &Sighting, verdict: Verdict) -> Known {
    let mut known = touched(known, sighting.landed);
    match verdict {
        Verdict::New | Verdict::Overwrite => {
            known.newest = Some(Newest {
                version: sighting.version.clone(),
                time: sighting.time,
                sighted_by: sighting.by,
                first_landed: sighting.landed,
                generation: Generation::default(),
                progress: Progress::InFlight,
            });
        }
        Verdict::Duplicate => {
            if let Some(newest) = &mut known.newest {
                let (kept, seen) = (&mut newest.version, &sighting.version);
                kept.version_id = kept.version_id.take().or_else(|| seen.version_id.clone());
                kept.etag = kept.etag.take().or_else(|| seen.etag.clone());
                kept.size = kept.size.or(seen.size);
                kept.sequencer = kept.sequencer.take().or_else(|| seen.sequencer.clone());
                kept.last_modified = kept.last_modified.or(seen.last_modified);
                newest.time = newest.time.or(sighting.time);
                newest.first_landed = newest.first_landed.min(sighting.landed);
            }
        }
        Verdict::Superseded => {}
    }
    known
}

/// What is known after a removal was seen at `landed`: the later of two removals stays.
pub fn after_removal(known: Option<Known>, removal: Removal, landed: Timestamp) -> Known {
    let mut known = touched(known, landed);
    let stays =
        known.removal.as_ref().is_some_and(|earlier| match order((&earlier.version, earlier.time), (&removal.version, removal.time)) {
            Some(order) => order == Ordering::Greater,
            None => matches!((earlier.time, removal.time), (Some(a), Some(b)) if a > b),
        });
    if !stays {
        known.removal = Some(removal);
    }
    known
}

fn touched(known: Option<Known>, at: Timestamp) -> Known {
    let known = known.unwrap_or(Known { newest: None, removal: None, touched: at });
    Known { touched: known.touched.max(at), ..known }
}

/// Whether an entry may leave the store: nothing of it is in flight, and nothing was heard of the key
/// for `horizon`, which is at least as long as a queue may redeliver (14 days), or a late put would
/// look new. What was forgotten is decided again by the publish ledger.
pub fn may_be_forgotten(known: &Known, now: Timestamp, horizon: Span) -> bool {
    let in_flight = known.newest.as_ref().is_some_and(|n| n.progress == Progress::InFlight);
    !in_flight && now.since(known.touched) > horizon
}

/// Whether a replay has to be forced to touch what is already done or under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Force {
    No,
    Yes,
}

/// One entry of a replay, as validate meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    pub version: ObjectVersion,
    pub force: Force,
    /// The generation the planner saw, when the store here has forgotten the object.
    pub generation: Option<Generation>,
    /// When the object landed first, as the manifest says; the store's own knowledge goes before it.
    pub first_landed: Option<Timestamp>,
    /// When the replay's landing record was written.
    pub landed: Timestamp,
}

/// What becomes of a replay's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplayVerdict {
    /// Admitted under this generation; its rows replace those of earlier ones.
    Admit(Generation),
    /// Published or registered, and not forced.
    Duplicate,
    /// Under way in some stage, and not forced: reported and left alone.
    InFlight,
    /// A newer version of the key is known: replaying the older one would undo it.
    Superseded,
}

/// Judges one entry of a replay (decisions.md 4): every admitted one raises the generation.
pub fn judge_replay(known: Option<&Known>, request: &ReplayRequest) -> ReplayVerdict {
    let stated = request.generation.unwrap_or_default();
    let Some(newest) = known.and_then(|k| k.newest.as_ref()) else { return ReplayVerdict::Admit(raised(stated)) };
    let sighting = Sighting {
        version: request.version.clone(),
        time: request.version.last_modified,
        by: SightedBy::Listing,
        landed: request.landed,
        head: None,
    };
    let next = raised(newest.generation.max(stated));
    if !same_version(newest, &sighting) {
        return match order(newest_facts(newest), (&request.version, None)) {
            Some(Ordering::Less) => ReplayVerdict::Admit(next),
            _ => ReplayVerdict::Superseded,
        };
    }
    match (request.force, newest.progress) {
        (Force::No, progress) if progress.is_complete() => ReplayVerdict::Duplicate,
        (Force::No, Progress::InFlight) => ReplayVerdict::InFlight,
        (_, Progress::Superseded) => ReplayVerdict::Superseded,
        _ => ReplayVerdict::Admit(next),
    }
}

fn raised(generation: Generation) -> Generation {
    Generation(generation.0.saturating_add(1))
}

/// What is known after a replay was admitted.
pub fn after_replay(known: Option<Known>, request: &ReplayRequest, generation: Generation) -> Known {
    let mut known = touched(known, request.landed);
    let mut version = request.version.clone();
    let before = known.newest.take();
    if let Some(before) = &before
        && version.sequencer.is_none()
    {
        version.sequencer = before.version.sequencer.clone();
    }
    known.newest = Some(Newest {
        version,
        time: before.as_ref().and_then(|n| n.time),
        sighted_by: before.as_ref().map_or(SightedBy::Listing, |n| n.sighted_by),
        first_landed: before.map(|n| n.first_landed).or(request.first_landed).unwrap_or(request.landed),
        generation,
        progress: Progress::InFlight,
    });
    known
}
