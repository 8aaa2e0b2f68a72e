//! Replay: one owner re-publishes what a request names, into `landing`, on the partition of origin,
//! as fast as validate takes it and its rate allows; then it watches `status` until every item has
//! come to an end. It can be paused, resumed and cancelled. A repeated request is a no-op.

mod kept;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use tracing::warn;

use crate::broker::{LogError, OutRecord, PollLimit, Reader, Record};
use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::reason::ReasonCode;
use crate::domain::time::{Span, Timestamp};
use crate::pipeline::about;
use crate::pipeline::outlet::{Outlet, Placed};
use crate::pipeline::topics::{Topic, Topics};
use crate::replay::progress::Control;
use crate::stage::letters::State;
use crate::stage::{Decision, OnPoison, Stage, StageError, Verdict};
use crate::state::View;
use crate::wire::codec::CodecError;
use crate::wire::records::{
    FORMAT_VERSION, LandedObject, LifecycleEvent, ObjectStatus, ReplayControl, ReplayItem, ReplayMark, ReplayRequest,
};

pub use kept::{Kept, PREFIX};

/// How often an unfinished replay is looked at.
const WATCH_EVERY: Span = Span::from_millis(250);

/// Landing records validate may have before it; beyond that a replay waits.
const AHEAD_OF_VALIDATE: u64 = 1_000;

/// Status rows read at a time.
const CHUNK: PollLimit = PollLimit { records: 5_000, bytes: 8 << 20 };

pub struct Replay {
    pub outlet: Outlet,
    pub reader: Arc<dyn Reader>,
}

/// A request, an order to a replay, or an unfinished replay whose time has come.
pub enum Ask {
    Request(Box<ReplayRequest>),
    Order(ReplayControl),
    Watch { id: String, read: BTreeMap<u32, u64> },
}

/// What was found outside.
pub struct Found {
    /// Where `status` was read up to, by partition.
    read: BTreeMap<u32, u64>,
    /// Endings of the replay's items since the last look: status by run id, as one may be written twice.
    ended: BTreeMap<String, String>,
    /// Landing records validate has room for.
    room: u64,
}

impl Replay {
    fn land(&self, id: &str, kept: &Kept, item: &ReplayItem, now: Timestamp) -> Result<OutRecord, StageError> {
        let landed = LandedObject {
            format_version: FORMAT_VERSION,
            dataset: kept.dataset.clone(),
            bucket: item.bucket.clone(),
            key: item.key.clone(),
            version_id: item.version_id.clone(),
            etag: item.etag.clone(),
            size: item.size,
            sequencer: None,
            sequencer_family: None,
            last_modified: None,
            event_time: None,
            event_name: "Replay".to_owned(),
            removed: false,
            source: "replay".to_owned(),
            origin: "replay".to_owned(),
            landed_at: now.millis(),
            replay: Some(ReplayMark {
                replay_id: id.to_owned(),
                index: item.index,
                force: kept.force,
                reason: kept.reason.clone(),
                first_landed: item.first_landed,
            }),
        };
        let placed = format!("{}/{}", item.bucket, item.key);
        let on = match u32::try_from(item.partition) {
            Ok(p) if p < self.outlet.topics.partitions() => Placed::On(Partition(p)),
            _ => Placed::By(&placed),
        };
        let mut headers = vec![("replay_id".to_owned(), id.to_owned().into()), ("source".to_owned(), "replay".into())];
        headers.push(about::header(&about::of_landing(&landed)));
        headers.extend(kept.dataset.clone().map(|d| ("dataset".to_owned(), d.into())));
        Ok(self.outlet.record(Topic::Landing, &placed, on, &landed, headers)?)
    }

    fn event(&self, kind: &str, id: &str, kept: &Kept, detail: serde_json::Value, now: Timestamp) -> Result<OutRecord, StageError> {
        let event = LifecycleEvent {
            format_version: FORMAT_VERSION,
            kind: kind.to_owned(),
            stage: StageName::Replay.as_str().to_owned(),
            dataset: kept.dataset.clone(),
            bucket: None,
            key: None,
            batch_id: None,
            replay_id: Some(id.to_owned()),
            run_ids: Vec::new(),
            reason: None,
            detail: detail.to_string(),
            at: now.millis(),
        };
        Ok(self.outlet.record(Topic::Lifecycle, id, Placed::By(id), &event, vec![("replay_id".to_owned(), id.to_owned().into())])?)
    }

    /// Landing records validate has room for.
    async fn room(&self) -> Result<u64, LogError> {
        let mut waiting = 0;
        for p in 0..self.outlet.topics.partitions() {
            let at = self.outlet.topics.at(Topics::input(StageName::Validate), Partition(p));
            let bounds = self.reader.bounds(&at).await?;
            let done = self.reader.committed(StageName::Validate.as_str(), &at).await?.unwrap_or(bounds.start);
            waiting += bounds.end.0.saturating_sub(done.0);
        }
        Ok(AHEAD_OF_VALIDATE.saturating_sub(waiting))
    }

    /// Endings of a replay's items in one partition of `status`, from `next` on; answers where it ends.
    async fn endings(&self, id: &str, p: Partition, from: u64, ended: &mut BTreeMap<String, String>) -> Result<u64, StageError> {
        let at = self.outlet.topics.at(Topic::Status, p);
        let mut next = NextOffset(from);
        loop {
            let chunk = self.reader.read(&at, next, CHUNK).await?;
            next = chunk.next;
            if chunk.records.is_empty() {
                return Ok(next.0);
            }
            for record in chunk.records.iter().filter(|r| r.header("replay_id") == Some(id)) {
                let row: ObjectStatus = self.outlet.codec.decode(record.value.as_deref().unwrap_or_default())?;
                if State::from_word(&row.status).is_some_and(State::is_terminal) {
                    ended.insert(row.run_id, row.status);
                }
            }
        }
    }

    fn begin(&self, view: View<'_>, request: &ReplayRequest, found: Found, now: Timestamp) -> Result<Decision, StageError> {
        let mut decision = Decision::default();
        let id = &request.replay_id;
        if Kept::load(view, id)?.is_some() {
            return Ok(decision);
        }
        let mut kept = Kept::of(request, found.read, now);
        let first = kept.progress.may_land(found.room, now);
        for (item, nth) in request.items.iter().zip(0..) {
            if nth < first {
                decision.sends.push(self.land(id, &kept, item, now)?);
            } else {
                decision.changes.push(kept::waiting(id, nth, item));
            }
        }
        kept.progress.land(first, now);
        let detail = json!({ "reason": request.reason, "requested_by": request.requested_by, "items": request.items.len(),
            "force": request.force, "objects_per_second": request.objects_per_second });
        decision.sends.push(self.event("ReplayStarted", id, &kept, detail, now)?);
        self.conclude(view, id, kept, now, &mut decision)?;
        Ok(decision)
    }

    fn obey(&self, view: View<'_>, order: &ReplayControl, now: Timestamp) -> Result<Decision, StageError> {
        let mut decision = Decision::default();
        let id = &order.replay_id;
        let (Some(mut kept), Ok(control)) = (Kept::load(view, id)?, order.action.parse::<Control>()) else {
            warn!(stage = StageName::Replay.as_str(), replay_id = id, action = order.action, "an order to no replay of ours");
            return Ok(decision);
        };
        if !kept.progress.obey(control, now) {
            return Ok(decision);
        }
        if control == Control::Cancel {
            decision.changes.extend((kept.progress.landed..kept.progress.items).map(|nth| kept::removed(kept::item_key(id, nth))));
        }
        let detail = json!({ "reason": order.reason, "requested_by": order.requested_by, "landed": kept.progress.landed,
            "items": kept.progress.items });
        decision.sends.push(self.event(control.event(), id, &kept, detail, now)?);
        self.conclude(view, id, kept, now, &mut decision)?;
        Ok(decision)
    }

    fn watch(&self, view: View<'_>, id: &str, mut kept: Kept, found: Found, now: Timestamp) -> Result<Decision, StageError> {
        let mut decision = Decision::default();
        for (run_id, status) in found.ended {
            let noted = kept::ended_key(id, &run_id);
            if view.get(&noted)?.is_none() {
                kept.progress.end(&status, now);
                decision.changes.push(crate::state::Change { key: noted, value: Some(status.into_bytes().into()) });
            }
        }
        kept.read = found.read;
        let n = kept.progress.may_land(found.room, now);
        for nth in kept.progress.landed..kept.progress.landed + n {
            decision.sends.push(self.land(id, &kept, &kept::item(view, id, nth)?, now)?);
            decision.changes.push(kept::removed(kept::item_key(id, nth)));
        }
        kept.progress.land(n, now);
        self.conclude(view, id, kept, now, &mut decision)?;
        Ok(decision)
    }

    /// Keeps how far it is; a finished replay is told, and its notes go.
    fn conclude(&self, view: View<'_>, id: &str, mut kept: Kept, now: Timestamp, decision: &mut Decision) -> Result<(), StageError> {
        let progress = &kept.progress;
        if progress.finished {
            let detail = json!({ "items": progress.items, "outcomes": progress.outcomes, "left_out": progress.left_out() });
            decision.sends.push(self.event("ReplayCompleted", id, &kept, detail, now)?);
            let notes: Vec<Vec<u8>> = view.scan(&kept::ended_prefix(id))?.into_iter().map(|(key, _)| key).collect();
            decision.changes.retain(|c| !c.key.starts_with(&kept::ended_prefix(id)));
            decision.changes.extend(notes.into_iter().map(kept::removed));
        }
        kept.watch_at = now.plus(WATCH_EVERY);
        decision.changes.push(kept.store(id));
        Ok(())
    }
}

#[async_trait]
impl Stage for Replay {
    const NAME: StageName = StageName::Replay;
    const ON_POISON: OnPoison = OnPoison::SetAside;
    type Input = Ask;
    type Known = ();
    type Facts = Found;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<Ask, CodecError> {
        let codec = &self.outlet.codec;
        if codec.is::<ReplayControl>(value)? {
            return Ok(Ask::Order(codec.decode(value)?));
        }
        Ok(Ask::Request(Box::new(codec.decode(value)?)))
    }

    fn weight(&self, _: &Ask) -> u64 {
        0
    }

    fn look(&self, _: View<'_>, _: &Ask) -> Result<(), StageError> {
        Ok(())
    }

    async fn gather(&self, input: &Ask, (): ()) -> Result<Found, StageError> {
        let mut found = Found { read: BTreeMap::new(), ended: BTreeMap::new(), room: self.room().await? };
        for p in 0..self.outlet.topics.partitions() {
            let next = match input {
                // What ends before the request cannot be of it.
                Ask::Request(_) => self.reader.bounds(&self.outlet.topics.at(Topic::Status, Partition(p))).await?.end.0,
                Ask::Order(_) => continue,
                Ask::Watch { id, read } => self.endings(id, Partition(p), read.get(&p).copied().unwrap_or(0), &mut found.ended).await?,
            };
            found.read.insert(p, next);
        }
        Ok(found)
    }

    fn decide(&self, view: View<'_>, input: &Ask, found: Found, now: Timestamp) -> Result<Verdict, StageError> {
        let decision = match input {
            Ask::Request(request) => self.begin(view, request, found, now)?,
            Ask::Order(order) => self.obey(view, order, now)?,
            Ask::Watch { id, read } => match Kept::load(view, id)? {
                // An order of this round may have ended it.
                Some(kept) if kept.progress.finished => Decision::default(),
                Some(kept) if kept.read == *read => self.watch(view, id, kept, found, now)?,
                _ => return Ok(Verdict::Again),
            },
        };
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, _: &Ask, _: ReasonCode, detail: &str, _: Timestamp) -> Result<Decision, StageError> {
        Err(StageError::Broken { detail: detail.to_owned() })
    }

    fn due(&self, view: View<'_>, now: Timestamp) -> Result<Vec<Ask>, StageError> {
        let due = Kept::unfinished(view)?.into_iter().filter(|(_, kept)| kept.watch_at <= now);
        Ok(due.map(|(id, kept)| Ask::Watch { id, read: kept.read }).collect())
    }

    fn next_due(&self, view: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(Kept::unfinished(view)?.into_iter().map(|(_, kept)| kept.watch_at).min())
    }
}

#[cfg(test)]
mod tests;
