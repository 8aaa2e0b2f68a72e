//! Replay: one owner re-publishes what a request names, into `landing`, on the partition of origin;
//! then it watches `status` until every item has come to an end.
//!
//! State: `replay/<id>` = what was asked and how far it is. A repeated request is a no-op.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::broker::{OutRecord, PollLimit, Reader, Record};
use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::reason::ReasonCode;
use crate::domain::time::{Span, Timestamp};
use crate::pipeline::outlet::{Outlet, Placed};
use crate::pipeline::topics::Topic;
use crate::stage::letters::State;
use crate::stage::{Decision, OnPoison, Stage, StageError, Verdict};
use crate::state::{Change, View};
use crate::wire::codec::CodecError;
use crate::wire::records::{FORMAT_VERSION, LandedObject, LifecycleEvent, ObjectStatus, ReplayItem, ReplayMark, ReplayRequest};

/// How often an unfinished replay is looked at.
const WATCH_EVERY: Span = Span::from_millis(500);

/// Status rows read at a time.
const CHUNK: PollLimit = PollLimit { records: 5_000, bytes: 8 << 20 };

pub struct Replay {
    pub outlet: Outlet,
    pub reader: Arc<dyn Reader>,
}

/// A request, or an unfinished replay whose time has come.
pub enum Ask {
    Request(Box<ReplayRequest>),
    Watch(String, Progress),
}

/// How far a replay is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    format_version: u32,
    dataset: Option<String>,
    items: u64,
    /// Items at an end, by their index: an item's status may be written twice.
    ended: BTreeMap<String, String>,
    /// Where to read `status` on, by partition.
    read: BTreeMap<u32, u64>,
    finished: bool,
    watch_at: i64,
}

/// Positions and endings found in `status`.
pub struct Found {
    read: BTreeMap<u32, u64>,
    ended: BTreeMap<String, String>,
}

const PREFIX: &[u8] = b"replay/";

fn state_key(id: &str) -> Vec<u8> {
    [PREFIX, id.as_bytes()].concat()
}

fn change(id: &str, progress: &Progress) -> Change {
    Change { key: state_key(id), value: Some(serde_json::to_vec(progress).expect("text and numbers always serialize").into()) }
}

fn read(bytes: &[u8]) -> Result<Progress, StageError> {
    serde_json::from_slice(bytes).map_err(|e| StageError::Broken { detail: format!("state of a replay: {e}") })
}

impl Replay {
    fn land(&self, request: &ReplayRequest, item: &ReplayItem, now: Timestamp) -> Result<OutRecord, StageError> {
        let landed = LandedObject {
            format_version: FORMAT_VERSION,
            dataset: request.dataset.clone(),
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
                replay_id: request.replay_id.clone(),
                index: item.index,
                force: request.force,
                reason: request.reason.clone(),
                first_landed: item.first_landed,
            }),
        };
        let placed = format!("{}/{}", item.bucket, item.key);
        let on = match u32::try_from(item.partition) {
            Ok(p) if p < self.outlet.topics.partitions() => Placed::On(Partition(p)),
            _ => Placed::By(&placed),
        };
        let mut headers = vec![("replay_id".to_owned(), request.replay_id.clone().into()), ("source".to_owned(), "replay".into())];
        headers.extend(request.dataset.clone().map(|d| ("dataset".to_owned(), d.into())));
        Ok(self.outlet.record(Topic::Landing, &placed, on, &landed, headers)?)
    }

    fn event(
        &self,
        kind: &str,
        id: &str,
        dataset: Option<&str>,
        detail: serde_json::Value,
        now: Timestamp,
    ) -> Result<OutRecord, StageError> {
        let event = LifecycleEvent {
            format_version: FORMAT_VERSION,
            kind: kind.to_owned(),
            stage: StageName::Replay.as_str().to_owned(),
            dataset: dataset.map(str::to_owned),
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
}

#[async_trait]
impl Stage for Replay {
    const NAME: StageName = StageName::Replay;
    const ON_POISON: OnPoison = OnPoison::SetAside;
    type Input = Ask;
    type Known = ();
    type Facts = Found;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<Ask, CodecError> {
        Ok(Ask::Request(Box::new(self.outlet.codec.decode(value)?)))
    }

    fn weight(&self, _: &Ask) -> u64 {
        0
    }

    fn look(&self, _: View<'_>, _: &Ask) -> Result<(), StageError> {
        Ok(())
    }

    async fn gather(&self, input: &Ask, (): ()) -> Result<Found, StageError> {
        let mut found = Found { read: BTreeMap::new(), ended: BTreeMap::new() };
        for p in 0..self.outlet.topics.partitions() {
            let at = self.outlet.topics.at(Topic::Status, Partition(p));
            let Ask::Watch(id, progress) = input else {
                // What ends before the request cannot be of it.
                found.read.insert(p, self.reader.bounds(&at).await?.end.0);
                continue;
            };
            let mut next = NextOffset(progress.read.get(&p).copied().unwrap_or(0));
            loop {
                let chunk = self.reader.read(&at, next, CHUNK).await?;
                next = chunk.next;
                if chunk.records.is_empty() {
                    break;
                }
                for record in chunk.records.iter().filter(|r| r.header("replay_id") == Some(id)) {
                    let row: ObjectStatus = self.outlet.codec.decode(record.value.as_deref().unwrap_or_default())?;
                    if State::from_word(&row.status).is_some_and(State::is_terminal) {
                        found.ended.insert(row.run_id, row.status);
                    }
                }
            }
            found.read.insert(p, next.0);
        }
        Ok(found)
    }

    fn decide(&self, view: View<'_>, input: &Ask, found: Found, now: Timestamp) -> Result<Verdict, StageError> {
        let mut decision = Decision::default();
        match input {
            Ask::Request(request) => {
                let id = &request.replay_id;
                if view.get(&state_key(id))?.is_some() {
                    return Ok(Verdict::Done(decision));
                }
                for item in &request.items {
                    decision.sends.push(self.land(request, item, now)?);
                }
                let items = request.items.len() as u64;
                let detail =
                    json!({ "reason": request.reason, "requested_by": request.requested_by, "items": items, "force": request.force });
                decision.sends.push(self.event("ReplayStarted", id, request.dataset.as_deref(), detail, now)?);
                let progress = Progress {
                    format_version: 1,
                    dataset: request.dataset.clone(),
                    items,
                    ended: BTreeMap::new(),
                    read: found.read,
                    finished: items == 0,
                    watch_at: now.plus(WATCH_EVERY).millis(),
                };
                if progress.finished {
                    decision.sends.push(self.event("ReplayCompleted", id, request.dataset.as_deref(), json!({ "items": 0 }), now)?);
                }
                decision.changes.push(change(id, &progress));
            }
            Ask::Watch(id, progress) => {
                let mut progress = progress.clone();
                progress.ended.extend(found.ended);
                progress.read = found.read;
                progress.watch_at = now.plus(WATCH_EVERY).millis();
                progress.finished = progress.ended.len() as u64 >= progress.items;
                if progress.finished {
                    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
                    progress.ended.values().for_each(|s| *outcomes.entry(s).or_default() += 1);
                    let detail = json!({ "items": progress.items, "outcomes": outcomes });
                    decision.sends.push(self.event("ReplayCompleted", id, progress.dataset.as_deref(), detail, now)?);
                }
                decision.changes.push(change(id, &progress));
            }
        }
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, _: &Ask, _: ReasonCode, detail: &str, _: Timestamp) -> Result<Decision, StageError> {
        Err(StageError::Broken { detail: detail.to_owned() })
    }

    fn due(&self, view: View<'_>, now: Timestamp) -> Result<Vec<Ask>, StageError> {
        Ok(unfinished(view)?.into_iter().filter(|(_, p)| p.watch_at <= now.millis()).map(|(id, p)| Ask::Watch(id, p)).collect())
    }

    fn next_due(&self, view: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(unfinished(view)?.into_iter().map(|(_, p)| Timestamp::from_millis(p.watch_at)).min())
    }
}

fn unfinished(view: View<'_>) -> Result<Vec<(String, Progress)>, StageError> {
    let mut found = Vec::new();
    for (key, bytes) in view.scan(PREFIX)? {
        let progress = read(&bytes)?;
        if !progress.finished {
            found.push((String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned(), progress));
        }
    }
    Ok(found)
}
