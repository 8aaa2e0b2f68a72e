//! The desk: what a person may ask of an installation, and order. It answers the same whether it
//! stands in a running process (behind [`crate::app::control`]) or in the command itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::board::{Board, BoardError};
use crate::app::query::{LetterFilter, Query, QueryError, StatusFilter};
use crate::app::view::{Page, uri};
use crate::app::wiring::{Engine, Options, StartError, ground};
use crate::broker::{Broker, CommitError};
use crate::clock::Clock;
use crate::domain::names::{Generation, ReplayId, StageName};
use crate::domain::object::ObjectRef;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::reason::ReasonCode;
use crate::pipeline::claim::check_in;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::replay::manifest::{FILES_MAX, Manifest, ReplayFile, ReplayOptions};
use crate::replay::plan::{Action, Known, KnownState, ReplayPlan, plan};
use crate::replay::request::RANGE_MAX;
use crate::stage::letters::State;
use crate::wire::codec::CodecError;
use crate::wire::records::{FORMAT_VERSION, LandedObject, ObjectStatus, QuarantineLetter, ReplayItem, ReplayRequest};

/// One question or order, as it travels over the control socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    RunsList { filter: StatusFilter },
    RunsShow { id: String },
    QuarantineList { filter: LetterFilter },
    QuarantineShow { id: String },
    Replay { order: ReplayOrder },
}

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
}

/// What is replayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Selection {
    /// The manifest's own document.
    Manifest { manifest: Value },
    /// Landing records `from` up to, not including, `to`.
    Offsets { partition: u32, from: u64, to: u64 },
    /// Objects whose newest letter is of this dataset, and reason.
    Quarantine { dataset: String, reason: Option<String> },
}

/// What the desk answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub items: Vec<Value>,
    /// Figures about the whole answer; null if there are none.
    pub about: Value,
    /// How many more match.
    pub more: u64,
    /// Records passed over because they do not decode.
    pub unreadable: u64,
}

/// The desk did not answer.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error("{detail}")]
    Refused { detail: String },
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Board(#[from] BoardError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the replay was not written")]
    Commit(#[from] CommitError),
    #[error("the replay's files cannot be written to the lake")]
    Store(#[from] object_store::Error),
}

fn refused(detail: impl Into<String>) -> DeskError {
    DeskError::Refused { detail: detail.into() }
}

/// Answers questions about one installation.
#[derive(Clone)]
pub struct Desk {
    pub query: Query,
    pub broker: Arc<dyn Broker>,
    pub clock: Arc<dyn Clock>,
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

/// Objects to replay, before anything is known of them.
struct Chosen {
    dataset: Option<String>,
    replay_id: Option<ReplayId>,
    reason: Option<String>,
    options: ReplayOptions,
    files: Vec<ReplayFile>,
}

fn page<T: Serialize>(page: Page<T>) -> Answer {
    let items = page.items.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
    Answer { items, about: Value::Null, more: page.more, unreadable: page.unreadable }
}

impl Desk {
    /// The desk of a state folder no process runs on. A replay ordered here is performed by the next run.
    ///
    /// # Errors
    /// When the folder or its lake cannot be opened, or a process has the folder.
    pub async fn offline(state: &Path, lake: &str, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let options = Options::new(Vec::new(), lake.to_owned(), std::path::PathBuf::new(), Some(state.to_owned()));
        let ground = ground(&options, &clock).await?;
        let query = Query { reader: ground.broker.reader(), outlet: ground.outlet, lake: ground.lake };
        Ok(Self { query, broker: ground.broker, clock })
    }

    /// The desk of a running process.
    pub fn of(engine: &Engine) -> Self {
        let query = Query { reader: Arc::clone(&engine.reader), outlet: engine.outlet.clone(), lake: Arc::clone(&engine.lake) };
        Self { query, broker: Arc::clone(&engine.broker), clock: Arc::clone(&engine.clock) }
    }

    /// # Errors
    /// `Refused` when the request is at fault, else by what did not answer.
    pub async fn answer(&self, request: Request) -> Result<Answer, DeskError> {
        match request {
            Request::Status => {
                let mut board = Board::new(Arc::clone(&self.query.reader), self.query.outlet.clone(), false);
                board.catch_up().await?;
                let totals = board.totals();
                let about =
                    json!({ "objects": totals.objects, "rows": totals.rows, "reasons": totals.reasons, "in_flight": board.in_flight() });
                Ok(Answer { about, ..Answer::default() })
            }
            Request::RunsList { filter } => Ok(page(self.query.statuses(&filter).await?)),
            Request::RunsShow { id } => {
                let Some(history) = self.query.history(&id).await? else { return Ok(Answer::default()) };
                let items = history.lines.iter().filter_map(|line| serde_json::to_value(line).ok()).collect();
                let about = json!({ "uri": history.uri, "runs": history.runs });
                Ok(Answer { items, about, more: history.more, unreadable: 0 })
            }
            Request::QuarantineList { filter } => Ok(page(self.query.letters(&filter).await?)),
            Request::QuarantineShow { id } => Ok(page(self.query.letter(&id).await?)),
            Request::Replay { order } => self.replay(order).await,
        }
    }

    async fn replay(&self, order: ReplayOrder) -> Result<Answer, DeskError> {
        let now = self.clock.now();
        let chosen = self.choose(&order).await?;
        if chosen.files.is_empty() {
            return Err(refused("nothing to replay: no object matches"));
        }
        let replay_id = match &order.replay_id {
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
        if performed {
            let request = ReplayRequest {
                format_version: FORMAT_VERSION,
                replay_id: replay_id.to_string(),
                reason: order.reason.or(chosen.reason).unwrap_or_default(),
                dataset: chosen.dataset,
                requested_at: now.millis(),
                requested_by: order.requested_by,
                force: chosen.options.force,
                skip_if_published: chosen.options.skip_if_published,
                pin_contract: None,
                items: self.items(&planned, &known),
            };
            self.order(&request).await?;
        }
        let items = planned.files.iter().filter_map(|f| serde_json::to_value(view(f)).ok()).collect();
        let about = json!({ "replay_id": replay_id.as_str(), "ordered": performed, "dry_run": chosen.options.dry_run, "replay": counts.replay,
            "skip_published": counts.skip_published, "in_flight": counts.in_flight, "repeated": counts.repeated });
        Ok(Answer { items, about, ..Answer::default() })
    }

    async fn order(&self, request: &ReplayRequest) -> Result<(), DeskError> {
        let id = &request.replay_id;
        let headers = vec![("replay_id".to_owned(), id.clone().into())];
        let mut record = self.query.outlet.record(Topic::Replay, id, Placed::By(id), request, headers)?;
        if let Some((path, bytes)) = check_in(&mut record) {
            self.query.lake.put(&path, PutPayload::from(bytes)).await?;
        }
        self.broker.append(vec![record]).await?;
        Ok(())
    }

    async fn choose(&self, order: &ReplayOrder) -> Result<Chosen, DeskError> {
        let options = ReplayOptions { force: order.force, dry_run: order.dry_run, skip_if_published: !order.force };
        let mut chosen = Chosen { dataset: None, replay_id: None, reason: None, options, files: Vec::new() };
        match &order.selection {
            Selection::Manifest { manifest } => {
                let manifest = Manifest::parse(manifest.to_string().as_bytes()).map_err(|e| refused(e.to_string()))?;
                let own = manifest.options;
                let force = own.force || order.force;
                chosen.options =
                    ReplayOptions { force, dry_run: own.dry_run || order.dry_run, skip_if_published: own.skip_if_published && !force };
                chosen.dataset = Some(manifest.dataset.to_string());
                chosen.replay_id = Some(manifest.replay_id);
                chosen.reason = Some(manifest.reason);
                chosen.files = manifest.files;
            }
            Selection::Offsets { partition, from, to } => chosen.files = self.landed(*partition, *from, *to).await?,
            Selection::Quarantine { dataset, reason } => {
                if let Some(reason) = reason {
                    reason.parse::<ReasonCode>().map_err(|e| refused(e.to_string()))?;
                }
                chosen.files = self.held_back(dataset, reason.as_deref()).await?;
                chosen.dataset = Some(dataset.clone());
            }
        }
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

    /// Objects whose newest letter is of the dataset, and of the reason if one is given.
    async fn held_back(&self, dataset: &str, reason: Option<&str>) -> Result<Vec<ReplayFile>, DeskError> {
        let codec = Arc::clone(&self.query.outlet.codec);
        let mut files = Vec::new();
        for p in 0..self.query.outlet.topics.partitions() {
            let mut newest: BTreeMap<ReplayFile, bool> = BTreeMap::new();
            self.query
                .records(Topic::Quarantine, Partition(p), NextOffset(0), None, |record| {
                    if record.header("dataset") != Some(dataset) {
                        return;
                    }
                    let Some(letter) = record.value.as_ref().and_then(|v| codec.decode::<QuarantineLetter>(v).ok()) else { return };
                    let matches = reason.is_none_or(|r| letter.reason == r || letter.reasons.contains_key(r));
                    if let Some(file) = file(&letter.bucket, &letter.key, letter.version_id) {
                        newest.insert(file, matches);
                    }
                })
                .await?;
            files.extend(newest.into_iter().filter_map(|(file, matches)| matches.then_some(file)));
        }
        Ok(files)
    }

    /// What `status` knows of each file: of the version it names, else of the one that landed last.
    async fn known(&self, files: &[ReplayFile]) -> Result<BTreeMap<ReplayFile, (Known, ObjectStatus)>, DeskError> {
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

fn file(bucket: &str, key: &str, version_id: Option<String>) -> Option<ReplayFile> {
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

fn view(f: &crate::replay::plan::PlannedFile) -> PlannedView {
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

#[cfg(test)]
mod tests;
