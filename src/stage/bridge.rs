//! Bridge: pull sources as tasks of a group (decisions.md 13).
//!
//! A source belongs to the partition of its name. Its input is "it is due": gather reads one
//! bounded page, decide lands what is new, and cursor and seen-set are committed with the
//! landings. A source that does not answer waits on its own; it holds no other up. A record on the
//! control topic whose key names a source makes it due at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::admission::ignored;
use crate::broker::Record;
use crate::broker::partitioner::partition_of;
use crate::domain::backoff::Backoff;
use crate::domain::names::StageName;
use crate::domain::position::Partition;
use crate::domain::reason::ReasonCode;
use crate::domain::time::{Span, Timestamp};
use crate::event::RecordReason;
use crate::pipeline::work::Work;
use crate::source::file::{Cursor, FilePage, Item, LINE_BYTES_MAX, NoticeFile};
use crate::source::landing::{Intake, Origin, RefusedManifest, Sender, landed, unparsed};
use crate::source::listing::{self, Listing, PAGE_OBJECTS, Page, PageNumber};
use crate::stage::bridge::listed_once::ListedOnce;
use crate::stage::inbox::{Dropped, Inbox, Task};
use crate::stage::{Decision, OnPoison, Stage, StageError, Verdict};
use crate::state::{Change, View};
use crate::telemetry::fact::Fact;
use crate::wire::codec::CodecError;
use crate::wire::records::{FORMAT_VERSION, LandedObject};

pub mod listed_once;

/// An unfinished last line that stands still this long is judged as it is.
const TORN_PATIENCE: Span = Span::from_secs(10);

/// A source that is asked, again and again.
pub struct PullSource {
    /// Names it in records, in state and on the control topic; no `/`.
    pub name: String,
    pub kind: PullKind,
    /// Wait between the end of one round and the start of the next.
    pub poll: Span,
}

/// What is asked.
pub enum PullKind {
    /// A bucket, or a directory behind the same seam.
    Listing(Listing),
    File(NoticeFile),
    /// Replay manifests dropped into the lake; they order, they do not land.
    Manifests(Inbox),
}

/// The sources cannot be bridged as configured.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SourcesError {
    #[error("two sources are named {name}")]
    Twice { name: String },
    #[error("{name:?} is no name of a source: it is empty or contains /")]
    Name { name: String },
}

/// The stage.
pub struct Bridge {
    intake: Intake,
    sources: Vec<PullSource>,
    listed: Arc<ListedOnce>,
    work: Work,
    page_objects: usize,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Read on in this source.
    Read(usize),
    /// Read the manifest under this key of this source.
    Manifest(usize, String),
    /// Somebody asked for this source; it becomes due.
    Asked(usize),
    /// Somebody asked for a source that is not configured here.
    Unknown,
}

/// What reading a source found.
pub enum Found {
    Objects {
        number: PageNumber,
        page: Arc<Page>,
    },
    Lines(FilePage),
    Manifest(Dropped),
    /// It does not answer.
    Silent(String),
    Nothing,
}

/// What is kept of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    format_version: u32,
    next_poll_at: i64,
    /// Rounds that were read to their end.
    rounds: u64,
    /// Pages read of the round in progress.
    page: u64,
    /// Of a file.
    at: u64,
    skipping: bool,
    /// Length of the unfinished last line, and since when it stands.
    torn: Option<(u64, i64)>,
    /// Times in a row it did not answer.
    attempts: u32,
}

impl Default for SourceState {
    fn default() -> Self {
        let never_polled = Timestamp::EPOCH.millis();
        Self { format_version: 1, next_poll_at: never_polled, rounds: 0, page: 0, at: 0, skipping: false, torn: None, attempts: 0 }
    }
}

impl SourceState {
    fn number(&self) -> PageNumber {
        PageNumber { round: self.rounds, page: self.page }
    }

    fn cursor(&self) -> Cursor {
        Cursor { at: self.at, skipping: self.skipping }
    }

    fn end_round(&mut self, poll: Span, now: Timestamp) {
        self.rounds += 1;
        self.page = 0;
        self.next_poll_at = now.plus(poll).millis();
    }

    /// Rounds read to their end, if this record of the bridge's changelog is the state of source `name`.
    pub fn rounds(name: &str, key: &[u8], value: &[u8]) -> Option<u64> {
        (key == state_key(name)).then(|| serde_json::from_slice::<Self>(value).ok().map(|s| s.rounds)).flatten()
    }

    fn load(view: View<'_>, name: &str) -> Result<Self, StageError> {
        let Some(bytes) = view.get(&state_key(name))? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map_err(|e| StageError::Broken { detail: format!("state of source {name}: {e}") })
    }

    fn store(&self, name: &str) -> Change {
        Change { key: state_key(name), value: Some(serde_json::to_vec(self).expect("text and numbers always serialize").into()) }
    }
}

fn state_key(name: &str) -> Vec<u8> {
    format!("source/{name}").into_bytes()
}

fn seen_key(name: &str, key: &str) -> Vec<u8> {
    format!("seen/{name}/{key}").into_bytes()
}

impl Bridge {
    /// # Errors
    /// `Twice` and `Name`: names are keys of state.
    pub fn new(intake: Intake, sources: Vec<PullSource>, work: Work) -> Result<Self, SourcesError> {
        let mut names = BTreeSet::new();
        for source in &sources {
            let name = source.name.clone();
            if name.is_empty() || name.contains('/') {
                return Err(SourcesError::Name { name });
            }
            if !names.insert(name.clone()) {
                return Err(SourcesError::Twice { name });
            }
        }
        let listed = Arc::new(ListedOnce::of(names));
        Ok(Self { intake, sources, listed, work, page_objects: PAGE_OBJECTS })
    }

    /// Objects of one page, by default [`PAGE_OBJECTS`].
    #[must_use]
    pub fn with_page(mut self, n_objects: usize) -> Self {
        self.page_objects = n_objects.max(1);
        self
    }

    /// How far this process is; stays valid after the bridge moved into its runner.
    pub fn listed(&self) -> Arc<ListedOnce> {
        Arc::clone(&self.listed)
    }

    /// Where a source lives.
    pub fn partition(&self, name: &str) -> Partition {
        partition_of(name.as_bytes(), self.intake.outlet.topics.partitions())
    }

    fn owned<'s>(&'s self, partition: Partition) -> impl Iterator<Item = (usize, &'s PullSource)> + 's {
        self.sources.iter().enumerate().filter(move |(_, s)| self.partition(&s.name) == partition)
    }

    /// A process reads its sources at once when it starts, whenever the last one did.
    fn next_poll(&self, view: View<'_>, name: &str) -> Result<Timestamp, StageError> {
        if self.listed.is_fresh(name) {
            return Ok(Timestamp::EPOCH);
        }
        Ok(Timestamp::from_millis(SourceState::load(view, name)?.next_poll_at))
    }

    fn source(&self, idx: usize) -> Result<&PullSource, StageError> {
        self.sources.get(idx).ok_or_else(|| StageError::Broken { detail: format!("there is no source {idx}") })
    }

    /// Lands what the seen-set does not know; the rest is silent.
    fn objects(
        &self,
        view: View<'_>,
        source: &PullSource,
        listing: &Listing,
        page: &Page,
        decision: &mut Decision,
        now: Timestamp,
    ) -> Result<(), StageError> {
        let routes = self.intake.router.current();
        let mut n_new = 0;
        for meta in &page.objects {
            let key = meta.location.as_ref();
            let token = listing::version(meta).token();
            let seen = seen_key(&source.name, key);
            if view.get(&seen)?.as_deref() == Some(token.as_bytes()) {
                continue;
            }
            let object = match listing.event(meta) {
                Some(event) => landed(&routes, &event, &source.name, Origin::Listing, now),
                // Validate refuses the key; it must not vanish here.
                None => nameless(listing, meta, &source.name, now),
            };
            decision.sends.push(self.intake.landing(&object)?);
            decision.changes.push(Change { key: seen, value: Some(token.into_bytes().into()) });
            n_new += 1;
        }
        if n_new > 0 {
            info!(stage = StageName::Bridge.as_str(), source = source.name, objects = n_new, "objects listed");
        }
        Ok(())
    }

    /// Notes what is new in the inbox; each manifest is a task of its own.
    fn manifests(
        &self,
        view: View<'_>,
        source: &PullSource,
        page: &Page,
        decision: &mut Decision,
        now: Timestamp,
    ) -> Result<(), StageError> {
        for meta in &page.objects {
            let key = meta.location.as_ref();
            let is_data = key.parse().is_ok_and(|object| ignored::judge(&object, Some(meta.size)).is_none());
            let token = listing::version(meta).token();
            if is_data && view.get(&seen_key(&source.name, key))?.as_deref() != Some(token.as_bytes()) && Task::load(view, key)?.is_none() {
                decision.changes.push(Task::new(now).store(key));
            }
        }
        Ok(())
    }

    /// Sends what a dropped manifest led to. Its version is remembered, so that the next round passes over it.
    fn take(&self, view: View<'_>, idx: usize, key: &str, dropped: Dropped, now: Timestamp) -> Result<Decision, StageError> {
        let (mut decision, source) = (Decision::default(), self.source(idx)?);
        let Some(task) = Task::load(view, key)? else { return Ok(decision) };
        let token = match dropped {
            Dropped::Silent(detail) => {
                warn!(stage = StageName::Bridge.as_str(), source = source.name, key, detail, "a replay manifest waits");
                decision.changes.push(task.later(now).store(key));
                return Ok(decision);
            }
            Dropped::Gone => None,
            Dropped::Ordered { token, records } => {
                info!(stage = StageName::Bridge.as_str(), source = source.name, key, "a replay manifest is taken");
                decision.sends.extend(records);
                Some(token)
            }
            Dropped::Refused { token, detail, raw, size } => {
                let refused = RefusedManifest { source: &source.name, key, token: &token, raw: &raw, size, detail };
                decision.sends.push(self.intake.refused_manifest(refused, now)?);
                Some(token)
            }
        };
        decision.changes.push(Task::done(key));
        decision.changes.push(Change { key: seen_key(&source.name, key), value: token.map(|t| t.into_bytes().into()) });
        Ok(decision)
    }

    fn lines(
        &self,
        source: &PullSource,
        state: &mut SourceState,
        page: &FilePage,
        decision: &mut Decision,
        now: Timestamp,
    ) -> Result<(), StageError> {
        for item in &page.items {
            match item {
                Item::Notice { at, raw, notice } => {
                    decision.facts.extend(notice.facts(&source.name));
                    decision.sends.extend(self.intake.landings(&notice.events, Sender { source: &source.name, trace: None }, now)?);
                    if !notice.faults.is_empty() {
                        let detail = format!("the line at byte {at}: {}", notice.complaint());
                        decision.sends.push(self.intake.unreadable(&source.name, raw, detail, now)?);
                    }
                }
                Item::TooLong { at, raw } => {
                    decision.facts.extend(unparsed(&source.name, RecordReason::TooLarge));
                    let detail = format!("the line at byte {at} has more than {LINE_BYTES_MAX} bytes");
                    decision.sends.push(self.intake.unreadable(&source.name, raw, detail, now)?);
                }
            }
        }
        (state.at, state.skipping) = (page.next.at, page.next.skipping);
        if !page.last {
            return Ok(());
        }
        let Some(torn) = &page.torn else {
            state.torn = None;
            state.end_round(source.poll, now);
            return Ok(());
        };
        let len = torn.len() as u64;
        let since = state.torn.filter(|(l, _)| *l == len && page.items.is_empty()).map_or(now, |(_, at)| Timestamp::from_millis(at));
        if now.since(since) < TORN_PATIENCE {
            // Somebody may be writing: the round ends once the line does.
            state.torn = Some((len, since.millis()));
            state.next_poll_at = now.plus(source.poll.min(TORN_PATIENCE)).millis();
            return Ok(());
        }
        decision.facts.extend(unparsed(&source.name, RecordReason::NotJson));
        let detail = format!("the last line, at byte {}, ends in the middle", state.at);
        decision.sends.push(self.intake.unreadable(&source.name, torn, detail, now)?);
        state.at += len;
        state.torn = None;
        state.end_round(source.poll, now);
        Ok(())
    }
}

/// An object whose key no event may carry.
fn nameless(listing: &Listing, meta: &object_store::ObjectMeta, source: &str, now: Timestamp) -> LandedObject {
    let version = listing::version(meta);
    LandedObject {
        format_version: FORMAT_VERSION,
        dataset: None,
        bucket: listing.bucket().to_string(),
        key: meta.location.to_string(),
        version_id: version.version_id,
        etag: version.etag,
        size: version.size.map(|s| i64::try_from(s).unwrap_or(i64::MAX)),
        sequencer: None,
        sequencer_family: None,
        last_modified: version.last_modified.map(Timestamp::millis),
        event_time: None,
        event_name: "ObjectCreated:Listed".to_owned(),
        removed: false,
        source: source.to_owned(),
        origin: Origin::Listing.as_str().to_owned(),
        landed_at: now.millis(),
        replay: None,
    }
}

#[async_trait]
impl Stage for Bridge {
    const NAME: StageName = StageName::Bridge;
    const ON_POISON: OnPoison = OnPoison::SetAside;
    type Input = Due;
    type Known = SourceState;
    type Facts = Found;

    fn decode(&self, record: &Record, _: &[u8]) -> Result<Due, CodecError> {
        let asked = self.sources.iter().position(|s| s.name.as_bytes() == record.key.as_ref());
        Ok(asked.map_or(Due::Unknown, Due::Asked))
    }

    fn weight(&self, input: &Due) -> u64 {
        let idx = match input {
            Due::Read(idx) => idx,
            // The document and what is parsed of it.
            Due::Manifest(..) => return 2 * crate::replay::manifest::BYTES_MAX as u64,
            Due::Asked(_) | Due::Unknown => return 0,
        };
        match self.sources.get(*idx).map(|s| &s.kind) {
            Some(PullKind::Listing(_) | PullKind::Manifests(_)) => self.page_objects as u64 * 1024,
            // A chunk, and its events.
            Some(PullKind::File(_)) => 32 << 20,
            None => 0,
        }
    }

    fn look(&self, view: View<'_>, input: &Due) -> Result<SourceState, StageError> {
        match input {
            Due::Read(idx) => SourceState::load(view, &self.source(*idx)?.name),
            Due::Manifest(..) | Due::Asked(_) | Due::Unknown => Ok(SourceState::default()),
        }
    }

    async fn gather(&self, input: &Due, known: SourceState) -> Result<Found, StageError> {
        if let Due::Manifest(idx, key) = input
            && let PullKind::Manifests(inbox) = &self.source(*idx)?.kind
        {
            return Ok(Found::Manifest(inbox.take(key).await));
        }
        let Due::Read(idx) = input else { return Ok(Found::Nothing) };
        let source = self.source(*idx)?;
        self.listed.began(&source.name, known.rounds);
        match &source.kind {
            PullKind::Listing(listing) | PullKind::Manifests(Inbox { listing, .. }) => {
                let number = known.number();
                Ok(match listing.page(number, self.page_objects).await {
                    Ok(page) => Found::Objects { number, page },
                    Err(e) => Found::Silent(e.to_string()),
                })
            }
            PullKind::File(file) => {
                let (reading, cursor) = (file.clone(), known.cursor());
                Ok(match self.work.run(move || reading.page(cursor)).await? {
                    Ok(page) => Found::Lines(page),
                    Err(e) => Found::Silent(format!("{}: {e}", file.path.display())),
                })
            }
        }
    }

    fn decide(&self, view: View<'_>, input: &Due, found: Found, now: Timestamp) -> Result<Verdict, StageError> {
        let mut decision = Decision::default();
        let found = match (input, found) {
            (Due::Manifest(idx, key), Found::Manifest(dropped)) => {
                return Ok(Verdict::Done(self.take(view, *idx, key, dropped, now)?));
            }
            (_, found) => found,
        };
        let (Due::Read(idx) | Due::Asked(idx)) = input else { return Ok(Verdict::Done(decision)) };
        let source = self.source(*idx)?;
        let mut state = SourceState::load(view, &source.name)?;
        let (rounds, has_answered) = (state.rounds, matches!(found, Found::Objects { .. } | Found::Lines(_)));
        match (found, &source.kind) {
            (Found::Objects { number, page }, kind @ (PullKind::Listing(_) | PullKind::Manifests(_))) => {
                if state.number() != number {
                    return Ok(Verdict::Again);
                }
                match kind {
                    PullKind::Listing(listing) => self.objects(view, source, listing, &page, &mut decision, now)?,
                    _ => self.manifests(view, source, &page, &mut decision, now)?,
                }
                state.attempts = 0;
                if page.last {
                    state.end_round(source.poll, now);
                } else {
                    state.page += 1;
                }
            }
            (Found::Lines(page), PullKind::File(_)) => {
                if state.cursor() != page.from {
                    return Ok(Verdict::Again);
                }
                state.attempts = 0;
                self.lines(source, &mut state, &page, &mut decision, now)?;
            }
            (Found::Silent(detail), _) => {
                state.attempts = state.attempts.saturating_add(1);
                let wait = Backoff::default().wait(state.attempts, 1.0);
                warn!(
                    stage = StageName::Bridge.as_str(),
                    source = source.name,
                    attempts = state.attempts,
                    detail,
                    "source does not answer"
                );
                state.next_poll_at = now.plus(wait).millis();
            }
            _ => state.next_poll_at = state.next_poll_at.min(now.millis()),
        }
        if has_answered {
            decision.facts.push(Fact::SourceRead { source: source.name.clone(), is_round_end: state.rounds > rounds });
        }
        decision.changes.push(state.store(&source.name));
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, _: &Due, _: ReasonCode, detail: &str, _: Timestamp) -> Result<Decision, StageError> {
        // Sources are ours; what they say is judged line by line and object by object.
        Err(StageError::Broken { detail: detail.to_owned() })
    }

    fn due(&self, view: View<'_>, now: Timestamp) -> Result<Vec<Due>, StageError> {
        let mut due = Vec::new();
        for (idx, source) in self.owned(view.partition()) {
            if self.next_poll(view, &source.name)? <= now {
                due.push(Due::Read(idx));
            }
            if matches!(source.kind, PullKind::Manifests(_)) {
                let waiting = Task::waiting(view)?.into_iter().filter(|(at, _)| *at <= now);
                due.extend(waiting.map(|(_, key)| Due::Manifest(idx, key)));
            }
        }
        Ok(due)
    }

    fn next_due(&self, view: View<'_>) -> Result<Option<Timestamp>, StageError> {
        let mut next = None;
        for (_, source) in self.owned(view.partition()) {
            let state = SourceState::load(view, &source.name)?;
            let waiting = if matches!(source.kind, PullKind::Manifests(_)) { Task::waiting(view)? } else { Vec::new() };
            let mut at = self.next_poll(view, &source.name)?;
            match waiting.first() {
                // Asked between transactions: what the state says is committed.
                None => self.listed.committed(&source.name, state.rounds),
                Some((first, _)) => at = at.min(*first),
            }
            next = Some(next.map_or(at, |n: Timestamp| n.min(at)));
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests;
