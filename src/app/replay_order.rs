//! A replay that is asked for: which objects, what is known of them, what would run; written as a request, or as an
//! audit line when nothing is to run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::desk::{Answer, Desk, DeskError, refused};
use crate::app::view::{told, uri};
use crate::broker::OutRecord;
use crate::domain::names::{Generation, ReplayId, StageName};
use crate::domain::object::ObjectRef;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::pipeline::claim::check_in;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::replay::manifest::{FILES_MAX, Manifest, ReplayFile, ReplayOptions};
use crate::replay::plan::{Action, Known, KnownState, PlannedFile, ReplayPlan, plan};
use crate::replay::request::RANGE_MAX;
use crate::stage::inbox::{OrderError, ReplayDesk};
use crate::stage::letters::State;
use crate::wire::records::{FORMAT_VERSION, LandedObject, LifecycleEvent, ObjectStatus, ReplayItem, ReplayRequest};

/// Files told in the audit line of a replay that does not run.
const PLANNED_MAX: usize = 1_000;

/// A replay that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayOrder {
    pub selection: Selection,
    /// Default: made of the time.
    pub replay_id: Option<String>,
    pub force: bool,
    pub dry_run: bool,
    pub reason: Option<String>,
    pub requested_by: String,
    /// Objects a second, at most; `None`: as fast as validate takes them.
    pub objects_per_second: Option<u32>,
}

/// What is replayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Selection {
    /// The manifest's own document.
    Manifest { manifest: Value },
    /// Landing records `from` up to, not including, `to`.
    Offsets { partition: u32, from: u64, to: u64 },
    /// Landing records the broker took from `from` on, before `to` (milliseconds since the epoch).
    Times { partition: Option<u32>, from: Option<i64>, to: Option<i64> },
    /// Objects whose newest letter is of this dataset, and reason.
    Quarantine { dataset: String, reason: Option<String> },
}

/// One file of a replay, as a dry run shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedView {
    pub index: usize,
    pub uri: String,
    pub version_id: Option<String>,
    /// replay, skip_published, in_flight or repeated.
    pub action: String,
    /// The sentence for people.
    pub why: String,
    pub run_id: Option<String>,
}

/// A replay drawn up, nothing of it written yet.
pub(crate) struct Drawn {
    /// The request; or an audit line, when nothing is to run.
    pub(crate) record: OutRecord,
    pub(crate) planned: ReplayPlan,
    answer: Answer,
}

/// Objects to replay, before anything is known of them.
pub(crate) struct Chosen {
    pub(crate) dataset: Option<String>,
    pub(crate) replay_id: Option<ReplayId>,
    pub(crate) reason: Option<String>,
    pub(crate) options: ReplayOptions,
    pub(crate) objects_per_second: Option<u32>,
    pub(crate) files: Vec<ReplayFile>,
}

impl Chosen {
    fn of(manifest: Manifest) -> Self {
        Self {
            dataset: Some(manifest.dataset.to_string()),
            replay_id: Some(manifest.replay_id),
            reason: Some(manifest.reason),
            options: manifest.options,
            objects_per_second: None,
            files: manifest.files,
        }
    }
}

#[async_trait]
impl ReplayDesk for Desk {
    async fn order(&self, manifest: &[u8], requested_by: &str) -> Result<Vec<OutRecord>, OrderError> {
        let manifest = Manifest::parse(manifest).map_err(|e| OrderError::Refused { detail: e.to_string() })?;
        match self.draw(Chosen::of(manifest), None, None, requested_by.to_owned()).await {
            Ok(drawn) => Ok(vec![drawn.record]),
            Err(DeskError::Refused { detail }) => Err(OrderError::Refused { detail }),
            Err(e) => Err(OrderError::Silent { detail: told(&e) }),
        }
    }
}

impl Desk {
    pub(super) async fn replay(&self, order: ReplayOrder) -> Result<Answer, DeskError> {
        let chosen = self.choose(&order).await?;
        let Drawn { mut record, answer, .. } = self.draw(chosen, order.replay_id, order.reason, order.requested_by).await?;
        if let Some((path, bytes)) = check_in(&mut record) {
            self.query.lake.put(&path, PutPayload::from(bytes)).await?;
        }
        self.broker.append(vec![record]).await?;
        Ok(answer)
    }

    /// Plans what was chosen. `replay_id` and `reason` go before those of the manifest.
    pub(crate) async fn draw(
        &self,
        chosen: Chosen,
        replay_id: Option<String>,
        reason: Option<String>,
        requested_by: String,
    ) -> Result<Drawn, DeskError> {
        let now = self.clock.now();
        if chosen.files.is_empty() {
            return Err(refused("nothing to replay: no object matches"));
        }
        let replay_id = match &replay_id {
            Some(id) => id.parse::<ReplayId>().map_err(|e| refused(e.to_string()))?,
            None => match chosen.replay_id {
                Some(id) => id,
                None => {
                    let id = format!("replay-{}-{}", now.date().format("%Y%m%d"), now.millis().rem_euclid(86_400_000));
                    id.parse().map_err(|e| refused(format!("{e}")))?
                }
            },
        };
        let known = self.known(&chosen.files).await?;
        let of = |file: &ReplayFile| known.get(file).map(|(known, _)| known.clone());
        let planned = plan(&replay_id, &chosen.files, chosen.options, of).map_err(|e| refused(e.to_string()))?;
        let counts = planned.counts();
        let performed = !chosen.options.dry_run && counts.replay > 0;
        let id = replay_id.as_str();
        let about = json!({ "replay_id": id, "ordered": performed, "dry_run": chosen.options.dry_run, "replay": counts.replay,
            "skip_published": counts.skip_published, "in_flight": counts.in_flight, "repeated": counts.repeated });
        let reason = reason.or(chosen.reason).unwrap_or_default();
        let headers = vec![("replay_id".to_owned(), id.to_owned().into())];
        let outlet = &self.query.outlet;
        let record = if performed {
            let request = ReplayRequest {
                format_version: FORMAT_VERSION,
                replay_id: replay_id.to_string(),
                reason,
                dataset: chosen.dataset,
                requested_at: now.millis(),
                requested_by,
                force: chosen.options.force,
                skip_if_published: chosen.options.skip_if_published,
                pin_contract: None,
                objects_per_second: chosen.objects_per_second.and_then(|n| i32::try_from(n).ok()),
                items: self.items(&planned, &known),
            };
            outlet.record(Topic::Replay, id, Placed::By(id), &request, headers)?
        } else {
            let event = planned_event(&planned, chosen.dataset, &about, &reason, &requested_by, now);
            outlet.record(Topic::Lifecycle, id, Placed::By(id), &event, headers)?
        };
        let items = planned.files.iter().filter_map(|f| serde_json::to_value(view(f)).ok()).collect();
        Ok(Drawn { record, planned, answer: Answer { items, about, ..Answer::default() } })
    }

    async fn choose(&self, order: &ReplayOrder) -> Result<Chosen, DeskError> {
        let options = ReplayOptions { force: order.force, dry_run: order.dry_run, skip_if_published: !order.force };
        let mut chosen = Chosen { dataset: None, replay_id: None, reason: None, options, objects_per_second: None, files: Vec::new() };
        match &order.selection {
            Selection::Manifest { manifest } => {
                chosen = Chosen::of(Manifest::parse(manifest.to_string().as_bytes()).map_err(|e| refused(e.to_string()))?);
                let own = chosen.options;
                let force = own.force || order.force;
                chosen.options =
                    ReplayOptions { force, dry_run: own.dry_run || order.dry_run, skip_if_published: own.skip_if_published && !force };
            }
            Selection::Offsets { partition, from, to } => chosen.files = self.landed(*partition, *from, *to).await?,
            Selection::Times { partition, from, to } => {
                let partitions = self.query.outlet.topics.partitions();
                for p in partition.map_or(0..partitions, |p| p..p.saturating_add(1)) {
                    chosen.files.extend(self.landed_between(p, *from, *to).await?);
                }
            }
            Selection::Quarantine { dataset, reason } => {
                if let Some(reason) = reason {
                    reason.parse::<ReasonCode>().map_err(|e| refused(e.to_string()))?;
                }
                chosen.files = self.held_back(dataset, reason.as_deref()).await?;
                chosen.dataset = Some(dataset.clone());
            }
        }
        chosen.objects_per_second = order.objects_per_second;
        if chosen.files.len() > FILES_MAX {
            return Err(refused(format!(
                "{} objects match, at most {FILES_MAX} are replayed at once; narrow the selection",
                chosen.files.len()
            )));
        }
        Ok(chosen)
    }

    /// Objects of a range of landing records.
    async fn landed(&self, partition: u32, from: u64, to: u64) -> Result<Vec<ReplayFile>, DeskError> {
        let partitions = self.query.outlet.topics.partitions();
        if partition >= partitions {
            return Err(refused(format!("landing has partitions 0 to {}, not {partition}", partitions - 1)));
        }
        if from >= to || to - from > RANGE_MAX {
            return Err(refused(format!("--from {from} --to {to}: FROM must be smaller than TO, by at most {RANGE_MAX}")));
        }
        let mut files = Vec::new();
        let codec = Arc::clone(&self.query.outlet.codec);
        self.query
            .records(Topic::Landing, Partition(partition), NextOffset(from), Some(NextOffset(to)), |record| {
                let landed = record.value.as_ref().and_then(|v| codec.decode::<LandedObject>(v).ok());
                if let Some(landed) = landed.filter(|l| !l.removed)
                    && files.len() <= FILES_MAX
                {
                    files.extend(file(&landed.bucket, &landed.key, landed.version_id));
                }
            })
            .await?;
        Ok(files)
    }

    /// Objects of the landing records of a span of time.
    async fn landed_between(&self, partition: u32, from: Option<i64>, to: Option<i64>) -> Result<Vec<ReplayFile>, DeskError> {
        let at = |millis: Option<i64>, default| millis.map_or(default, Timestamp::from_millis);
        let from = self.landing_offset(Partition(partition), at(from, Timestamp::EPOCH)).await?;
        let to = self.landing_offset(Partition(partition), at(to, Timestamp::NEVER)).await?;
        if from >= to { Ok(Vec::new()) } else { self.landed(partition, from.0, to.0).await }
    }

    /// What `status` knows of each file: of the version it names, else of the one that landed last.
    pub(crate) async fn known(&self, files: &[ReplayFile]) -> Result<BTreeMap<ReplayFile, (Known, ObjectStatus)>, DeskError> {
        let mut by_object: HashMap<String, Vec<&ReplayFile>> = HashMap::new();
        let mut seen = HashSet::new();
        for file in files {
            if seen.insert((&file.object, &file.version_id)) {
                by_object.entry(file.object.to_string()).or_default().push(file);
            }
        }
        let mut rows: BTreeMap<ReplayFile, ObjectStatus> = BTreeMap::new();
        self.query
            .rows_in_force(|row, _| {
                let Some(files) = by_object.get(&uri(&row.bucket, &row.key)) else { return };
                if matches!(State::from_word(&row.status), None | Some(State::Duplicate | State::Ignored)) {
                    return;
                }
                for file in files.iter().filter(|f| f.version_id.is_none() || f.version_id == row.version_id) {
                    // A repeated landing that was superseded says nothing about the version itself.
                    let rank = |r: &ObjectStatus| (r.status != State::Superseded.as_str(), r.first_landed, r.generation);
                    let newer = rows.get(*file).is_none_or(|known| rank(known) <= rank(&row));
                    if newer {
                        rows.insert((*file).clone(), row.clone());
                    }
                }
            })
            .await?;
        Ok(rows.into_iter().map(|(file, row)| (file, (known_of(&row), row))).collect())
    }

    fn items(&self, planned: &ReplayPlan, known: &BTreeMap<ReplayFile, (Known, ObjectStatus)>) -> Vec<ReplayItem> {
        let replayed = planned.files.iter().filter(|f| matches!(f.action, Action::Replay { .. }));
        replayed
            .map(|f| {
                let row = known.get(&f.file).map(|(_, row)| row);
                let home = self.query.partition_of(&f.file.object.to_string());
                ReplayItem {
                    index: i32::try_from(f.index).unwrap_or(i32::MAX),
                    bucket: f.file.object.bucket.to_string(),
                    key: f.file.object.key.to_string(),
                    version_id: f.file.version_id.clone().or_else(|| row.and_then(|r| r.version_id.clone())),
                    etag: row.and_then(|r| r.etag.clone()),
                    size: row.and_then(|r| r.size),
                    first_landed: row.map(|r| r.first_landed),
                    partition: row.map(|r| r.landing_partition).filter(|p| *p >= 0).unwrap_or(i32::try_from(home.0).unwrap_or(0)),
                }
            })
            .collect()
    }
}

/// The audit line of a replay that does not run: what would, file by file.
fn planned_event(
    planned: &ReplayPlan,
    dataset: Option<String>,
    about: &Value,
    reason: &str,
    requested_by: &str,
    now: Timestamp,
) -> LifecycleEvent {
    let files: Vec<Value> = planned
        .files
        .iter()
        .take(PLANNED_MAX)
        .map(|f| json!({ "file": f.file.object.to_string(), "what": f.action.to_string() }))
        .collect();
    let detail = json!({ "reason": reason, "requested_by": requested_by, "plan": about, "files": files,
        "more": planned.files.len() - files.len() });
    LifecycleEvent {
        format_version: FORMAT_VERSION,
        kind: "ReplayPlanned".to_owned(),
        stage: StageName::Replay.as_str().to_owned(),
        dataset,
        bucket: None,
        key: None,
        batch_id: None,
        replay_id: Some(planned.replay_id.to_string()),
        run_ids: Vec::new(),
        reason: None,
        detail: detail.to_string(),
        at: now.millis(),
    }
}

pub(crate) fn file(bucket: &str, key: &str, version_id: Option<String>) -> Option<ReplayFile> {
    Some(ReplayFile { object: ObjectRef { bucket: bucket.parse().ok()?, key: key.parse().ok()? }, version_id })
}

fn known_of(row: &ObjectStatus) -> Known {
    let state = match State::from_word(&row.status) {
        Some(State::Published) => KnownState::Published,
        Some(State::Registered) => KnownState::Registered,
        Some(State::Quarantined) => KnownState::Quarantined,
        Some(State::Superseded) => KnownState::Superseded,
        _ => KnownState::InFlight(row.stage.parse().unwrap_or(StageName::Validate)),
    };
    Known { generation: Generation(u32::try_from(row.generation).unwrap_or(0)), state }
}

fn view(f: &PlannedFile) -> PlannedView {
    let (action, run_id) = match &f.action {
        Action::Replay { run_id, .. } => ("replay", Some(run_id.to_string())),
        Action::SkipPublished { .. } => ("skip_published", None),
        Action::InFlight { .. } => ("in_flight", None),
        Action::Repeated => ("repeated", None),
    };
    PlannedView {
        index: f.index,
        uri: f.file.object.to_string(),
        version_id: f.file.version_id.clone(),
        action: action.to_owned(),
        why: f.action.to_string(),
        run_id,
    }
}
