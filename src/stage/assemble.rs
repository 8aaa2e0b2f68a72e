//! Assemble: small files become sealed, durable plans. No I/O but the contract's version.
//!
//! State of one shard of one dataset:
//! ```text
//! shard/<dataset>/<shard>                      the open batch's figures, or the next number
//! member/<dataset>/<shard>/<seq>/<position>    one waiting object
//! content/<dataset>/<sha256>                   the object these bytes first came with
//! ```
//! A sealed batch is sent as a plan at once while transform keeps up; otherwise it waits in the
//! [`crate::stage::line`] and leaves in turn with those of other datasets.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_128;

use crate::batch::planner::{self, BatchClass, Intake, MemberFacts, OpenBatch, PlanStep, Shard, Trigger};
use crate::broker::Record;
use crate::contract::model::SameContentAgain;
use crate::domain::names::{BatchId, DatasetName, SchemaId, SchemaVersion, StageName};
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::pipeline::about;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::stage::backlog::{Backlog, Measure};
use crate::stage::catalog::{Catalog, Dataset};
use crate::stage::letters::{Charge, Clerk, RowCounts, State, Subject};
use crate::stage::line::{Line, SealedTwin};
use crate::stage::{Decision, Stage, StageError, Verdict};
use crate::state::{Change, View};
use crate::wire::codec::CodecError;
use crate::wire::long;
use crate::wire::records::{Admitted, BatchPlan, ClassifiedObject, FORMAT_VERSION, PlanMember};

pub struct Assemble {
    pub catalog: Arc<Catalog>,
    pub clerk: Clerk,
    /// Overrides every contract's `batch.quiet` (`--until-idle`, the demo).
    pub quiet: Option<crate::domain::time::Span>,
    /// How far transform is behind.
    pub backlog: Backlog,
    /// While it drains, whatever is open is sealed at once.
    pub intake: watch::Receiver<Intake>,
}

/// An object, a shard whose time has come, or a look for room while batches wait.
pub enum Arrival {
    Object(Box<ClassifiedObject>),
    Due { dataset: String, shard: i32, contract_hash: String, intake: Intake },
    Room,
}

/// What was found outside.
pub struct Facts {
    /// The contract's version; nothing to know when only room is looked for.
    pub dataset: Option<Arc<Dataset>>,
    pub transform: Measure,
}

/// A shard as it is stored.
#[derive(Serialize, Deserialize)]
struct ShardTwin {
    format_version: u32,
    next_seq: u64,
    open: Option<OpenTwin>,
}

#[derive(Serialize, Deserialize)]
struct OpenTwin {
    contract_hash: String,
    schema_version: u32,
    members: u64,
    bytes: u64,
    rows: u64,
    opened_at: i64,
    last_at: i64,
}

/// A waiting member, as it is stored.
#[derive(Serialize, Deserialize)]
struct MemberTwin {
    admitted: Admitted,
    sha256: String,
    rows_physical: i64,
    rows_bad: i64,
    read_plan: PlanTwin,
}

/// The read plan of a member. Files that are read alike share one, so it is stored once for a batch.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PlanTwin {
    /// Under [`plan_key`], by its fingerprint.
    Shared { fingerprint: String },
    /// Of a member that is not stored, and as the first builds stored all.
    Own(String),
}

impl ShardTwin {
    fn of(shard: &Shard) -> Self {
        match shard {
            Shard::Empty { next_seq } => Self { format_version: 1, next_seq: *next_seq, open: None },
            Shard::Open(o) => Self {
                format_version: 1,
                next_seq: o.seq,
                open: Some(OpenTwin {
                    contract_hash: o.class.contract_hash.clone(),
                    schema_version: o.class.schema_version.0,
                    members: o.members,
                    bytes: o.bytes,
                    rows: o.rows,
                    opened_at: o.opened_at.millis(),
                    last_at: o.last_at.millis(),
                }),
            },
        }
    }

    fn into_shard(self) -> Shard {
        match self.open {
            None => Shard::Empty { next_seq: self.next_seq },
            Some(o) => Shard::Open(OpenBatch {
                seq: self.next_seq,
                class: class(&o.contract_hash, o.schema_version),
                members: o.members,
                bytes: o.bytes,
                rows: o.rows,
                opened_at: Timestamp::from_millis(o.opened_at),
                last_at: Timestamp::from_millis(o.last_at),
            }),
        }
    }
}

/// The subject's version stands for the schema; ids are the registry's affair.
fn class(contract_hash: &str, schema_version: u32) -> BatchClass {
    BatchClass { contract_hash: contract_hash.to_owned(), schema_version: SchemaVersion(schema_version), schema_id: SchemaId(0) }
}

const SHARDS: &[u8] = b"shard/";

fn shard_key(dataset: &str, shard: i32) -> Vec<u8> {
    format!("shard/{dataset}/{shard}").into_bytes()
}

/// What is kept of an open or waiting batch, under keys of its own.
const MEMBER: &str = "member";
const PLAN: &str = "plan";

fn kept_prefix(kind: &str, dataset: &str, shard: i32, seq: u64) -> String {
    format!("{kind}/{dataset}/{shard}/{seq:012}/")
}

fn member_key(dataset: &str, shard: i32, seq: u64, position: u64) -> Vec<u8> {
    format!("{}{position:08}", kept_prefix(MEMBER, dataset, shard, seq)).into_bytes()
}

fn plan_key(dataset: &str, shard: i32, seq: u64, fingerprint: &str) -> Vec<u8> {
    format!("{}{fingerprint}", kept_prefix(PLAN, dataset, shard, seq)).into_bytes()
}

fn put<T: Serialize>(key: Vec<u8>, value: &T) -> Change {
    Change { key, value: Some(serde_json::to_vec(value).expect("text and numbers always serialize").into()) }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, StageError> {
    serde_json::from_slice(bytes).map_err(|e| StageError::Broken { detail: format!("state of {what}: {e}") })
}

/// The topic key and placement of a shard.
pub fn shard_text(dataset: &str, shard: i32) -> String {
    format!("{dataset}/{shard}")
}

impl Assemble {
    fn limits(&self, dataset: &Dataset) -> crate::batch::limits::Limits {
        let mut limits = dataset.batch_limits();
        limits.quiet = self.quiet.unwrap_or(limits.quiet);
        limits
    }

    fn shard(view: View<'_>, dataset: &str, shard: i32) -> Result<Shard, StageError> {
        match view.get(&shard_key(dataset, shard))? {
            None => Ok(Shard::default()),
            Some(bytes) => Ok(read::<ShardTwin>(&bytes, "a shard")?.into_shard()),
        }
    }

    /// The plan of a sealed batch; `joining` is the member this very decision adds, not yet in the view.
    fn plan(&self, view: View<'_>, of: &SealedTwin, joining: Option<MemberTwin>, decision: &mut Decision) -> Result<(), StageError> {
        let mut read_plans: Vec<String> = Vec::new();
        let mut members = Vec::new();
        let waiting = view.scan(kept_prefix(MEMBER, &of.dataset, of.shard, of.seq).as_bytes())?;
        let mut twins = Vec::with_capacity(waiting.len() + 1);
        for (key, bytes) in waiting {
            twins.push(read::<MemberTwin>(&bytes, "a member")?);
            decision.changes.push(Change { key, value: None });
        }
        twins.extend(joining);
        let prefix = kept_prefix(PLAN, &of.dataset, of.shard, of.seq);
        let mut shared: HashMap<String, String> = HashMap::new();
        for (key, text) in view.scan(prefix.as_bytes())? {
            let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            shared.insert(told(&key[prefix.len()..]), told(&text));
            decision.changes.push(Change { key, value: None });
        }
        let mut known: HashMap<String, usize> = HashMap::new();
        for twin in twins {
            let text = match &twin.read_plan {
                PlanTwin::Own(text) => text,
                PlanTwin::Shared { fingerprint } => {
                    let lost = || StageError::Broken { detail: format!("the state of {} lost a read plan", of.dataset) };
                    shared.get(fingerprint).ok_or_else(lost)?
                }
            };
            let index = known.get(text).copied().unwrap_or_else(|| {
                read_plans.push(text.clone());
                known.insert(text.clone(), read_plans.len() - 1);
                read_plans.len() - 1
            });
            members.push(PlanMember {
                admitted: twin.admitted,
                sha256: twin.sha256,
                read_plan: i32::try_from(index).unwrap_or(i32::MAX),
                rows_physical: twin.rows_physical,
                rows_bad: twin.rows_bad,
            });
        }
        let name: DatasetName = of.dataset.parse().map_err(|e| StageError::Broken { detail: format!("{e}") })?;
        let batch_id = BatchId::new(&name, u32::try_from(of.shard).unwrap_or(0), of.seq);
        let plan = BatchPlan {
            format_version: FORMAT_VERSION,
            batch_id: batch_id.to_string(),
            dataset: of.dataset.clone(),
            shard: of.shard,
            seq: long::of(of.seq),
            sealed_at: of.sealed_at,
            trigger: of.trigger.clone(),
            contract_hash: of.contract_hash.clone(),
            schema_version: Some(i32::try_from(of.schema_version).unwrap_or(0)).filter(|v| *v > 0),
            read_plans,
            members,
        };
        let headers = vec![("dataset".to_owned(), of.dataset.clone().into()), about::header(&about::of_batch(batch_id.as_str()))];
        decision.sends.push(self.clerk.outlet.record(Topic::Plans, batch_id.as_str(), Placed::By(batch_id.as_str()), &plan, headers)?);
        Ok(())
    }

    /// Equal bytes under another key or version, where the contract minds.
    fn repeated(&self, view: View<'_>, object: &ClassifiedObject, dataset: &Dataset) -> Result<Option<String>, StageError> {
        // A replay repeats its own bytes on purpose, and empty files never count as repeated (decisions.md 37).
        if dataset.contract.same_content_again == SameContentAgain::Accept || object.rows_physical == 0 {
            return Ok(None);
        }
        let Some(first) = view.get(&content_key(object))? else { return Ok(None) };
        let first = String::from_utf8_lossy(&first).into_owned();
        Ok((first != identity(&object.admitted)).then_some(first))
    }
}

fn content_key(object: &ClassifiedObject) -> Vec<u8> {
    format!("content/{}/{}", object.dataset, object.sha256).into_bytes()
}

fn identity(object: &Admitted) -> String {
    format!("{}/{}", object.bucket, object.key)
}

/// A batch as it is sealed.
fn sealed(dataset: &str, shard: i32, batch: &OpenBatch, trigger: Trigger, now: Timestamp) -> SealedTwin {
    SealedTwin {
        format_version: 1,
        dataset: dataset.to_owned(),
        shard,
        seq: batch.seq,
        contract_hash: batch.class.contract_hash.clone(),
        schema_version: batch.class.schema_version.0,
        trigger: trigger.as_str().to_owned(),
        sealed_at: now.millis(),
        bytes: batch.bytes,
    }
}

/// The line while one decision is made, and the measure it is held against.
struct Gate<'a> {
    line: Line,
    transform: &'a Measure,
}

#[async_trait]
impl Stage for Assemble {
    const NAME: StageName = StageName::Assemble;
    type Input = Arrival;
    type Known = ();
    type Facts = Facts;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<Arrival, CodecError> {
        Ok(Arrival::Object(Box::new(self.clerk.outlet.codec.decode(value)?)))
    }

    fn weight(&self, _: &Arrival) -> u64 {
        0
    }

    fn look(&self, _: View<'_>, _: &Arrival) -> Result<(), StageError> {
        Ok(())
    }

    async fn gather(&self, input: &Arrival, (): ()) -> Result<Facts, StageError> {
        Ok(match input {
            Arrival::Object(o) => {
                Facts { dataset: Some(self.catalog.version(&o.dataset, &o.contract_hash).await?), transform: self.backlog.measure().await? }
            }
            Arrival::Due { dataset, contract_hash, .. } => {
                Facts { dataset: Some(self.catalog.version(dataset, contract_hash).await?), transform: self.backlog.measure().await? }
            }
            Arrival::Room => Facts { dataset: None, transform: self.backlog.ask().await? },
        })
    }

    fn decide(&self, view: View<'_>, input: &Arrival, facts: Facts, now: Timestamp) -> Result<Verdict, StageError> {
        let mut decision = Decision::default();
        let mut gate = Gate { line: Line::load(view)?, transform: &facts.transform };
        // Whoever waits goes before what is sealed now.
        self.release(view, &mut gate, &mut decision)?;
        match (input, facts.dataset) {
            (Arrival::Due { dataset: name, shard, intake, .. }, Some(dataset)) => {
                if let Shard::Open(open) = Self::shard(view, name, *shard)?
                    && let Some(trigger) = planner::wake(&open, &self.limits(&dataset), *intake, now)
                {
                    self.seal(view, &sealed(name, *shard, &open, trigger, now), &mut None, &mut gate, &mut decision)?;
                    decision.changes.push(put(shard_key(name, *shard), &ShardTwin::of(&Shard::Empty { next_seq: open.seq + 1 })));
                }
            }
            (Arrival::Object(object), Some(dataset)) => match self.repeated(view, object, &dataset)? {
                Some(first) => decision.sends.extend(self.turn_away(object, &dataset, &first, now)?),
                None => {
                    if dataset.contract.same_content_again != SameContentAgain::Accept {
                        decision.changes.push(Change { key: content_key(object), value: Some(identity(&object.admitted).into()) });
                    }
                    self.join(view, object, &self.limits(&dataset), now, &mut gate, &mut decision)?;
                }
            },
            (Arrival::Room, _) | (_, None) => {}
        }
        decision.changes.extend(gate.line.into_changes());
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, input: &Arrival, reason: ReasonCode, detail: &str, now: Timestamp) -> Result<Decision, StageError> {
        let Arrival::Object(object) = input else {
            return Err(StageError::Broken { detail: detail.to_owned() });
        };
        let subject = Subject { dataset: Some(&object.dataset), object: &object.admitted };
        let charge = Charge { detail: detail.to_owned(), contract_hash: Some(object.contract_hash.clone()), ..Charge::default() };
        let rows = RowCounts { physical: long::count(object.rows_physical), ..RowCounts::default() };
        Ok(Decision { sends: self.clerk.quarantine(&subject, reason, charge, rows, "TransformFailed", now)?, ..Decision::default() })
    }

    fn due(&self, view: View<'_>, now: Timestamp) -> Result<Vec<Arrival>, StageError> {
        let intake = *self.intake.borrow();
        let mut due = Vec::new();
        for (dataset, shard, open) in self.open_shards(view)? {
            if intake == Intake::Draining || self.next_wake(&open) <= now {
                due.push(Arrival::Due { dataset, shard, contract_hash: open.class.contract_hash, intake });
            }
        }
        if self.backlog.ask_again() <= now && !Line::load(view)?.is_empty() {
            due.push(Arrival::Room);
        }
        Ok(due)
    }

    fn next_due(&self, view: View<'_>) -> Result<Option<Timestamp>, StageError> {
        let room = (!Line::load(view)?.is_empty()).then(|| self.backlog.ask_again());
        let draining = *self.intake.borrow() == Intake::Draining;
        let at = |(_, _, open): (String, i32, OpenBatch)| if draining { Timestamp::EPOCH } else { self.next_wake(&open) };
        Ok(self.open_shards(view)?.into_iter().map(at).chain(room).min())
    }

    fn intake(&self) -> Option<watch::Receiver<Intake>> {
        Some(self.intake.clone())
    }
}

impl Assemble {
    fn open_shards(&self, view: View<'_>) -> Result<Vec<(String, i32, OpenBatch)>, StageError> {
        let mut open = Vec::new();
        for (key, bytes) in view.scan(SHARDS)? {
            let Shard::Open(batch) = read::<ShardTwin>(&bytes, "a shard")?.into_shard() else { continue };
            let text = String::from_utf8_lossy(&key[SHARDS.len()..]).into_owned();
            let Some((dataset, shard)) = text.rsplit_once('/').and_then(|(d, s)| Some((d.to_owned(), s.parse().ok()?))) else { continue };
            open.push((dataset, shard, batch));
        }
        Ok(open)
    }

    /// By the batch's own version of the contract. A batch that was opened before the process started is due
    /// at once: looking at it loads that version.
    fn next_wake(&self, open: &OpenBatch) -> Timestamp {
        let dataset = self.catalog.loaded(&open.class.contract_hash);
        dataset.map_or(Timestamp::EPOCH, |d| planner::next_wake(open, &self.limits(&d)))
    }

    /// Sends the plans of batches whose turn it is, as far as there is room.
    fn release(&self, view: View<'_>, gate: &mut Gate<'_>, decision: &mut Decision) -> Result<(), StageError> {
        let room = gate.line.room(gate.transform);
        for batch in gate.line.release(view, room)? {
            self.plan(view, &batch, None, decision)?;
            gate.line.sent(gate.transform, 1);
        }
        Ok(())
    }

    /// A batch is complete: its plan is sent, which takes `joining` along, or it waits, and `joining` is left to be stored.
    fn seal(
        &self,
        view: View<'_>,
        batch: &SealedTwin,
        joining: &mut Option<MemberTwin>,
        gate: &mut Gate<'_>,
        decision: &mut Decision,
    ) -> Result<(), StageError> {
        if !gate.line.is_empty() || gate.line.room(gate.transform) == 0 {
            gate.line.push(batch);
            return Ok(());
        }
        gate.line.sent(gate.transform, 1);
        self.plan(view, batch, joining.take(), decision)
    }

    fn join(
        &self,
        view: View<'_>,
        object: &ClassifiedObject,
        limits: &crate::batch::limits::Limits,
        now: Timestamp,
        gate: &mut Gate<'_>,
        decision: &mut Decision,
    ) -> Result<(), StageError> {
        let (name, shard) = (object.dataset.as_str(), object.shard);
        let before = Self::shard(view, name, shard)?;
        let facts = MemberFacts {
            class: class(&object.contract_hash, u32::try_from(object.schema_version.unwrap_or(0)).unwrap_or(0)),
            bytes: long::count(object.admitted.size),
            rows: long::count(object.rows_physical),
        };
        let (steps, after) = planner::push(&before, &facts, limits, now);
        let mut joining = Some(MemberTwin {
            admitted: object.admitted.clone(),
            sha256: object.sha256.clone(),
            rows_physical: object.rows_physical,
            rows_bad: object.rows_bad,
            read_plan: PlanTwin::Own(object.read_plan.clone()),
        });
        let mut place = None;
        let mut open = match before {
            Shard::Open(open) => Some(open),
            Shard::Empty { .. } => None,
        };
        for step in steps {
            match step {
                PlanStep::Open { seq } => {
                    open = Some(OpenBatch { seq, class: facts.class.clone(), members: 0, bytes: 0, rows: 0, opened_at: now, last_at: now });
                }
                PlanStep::Join { seq, position } => {
                    place = Some((seq, member_key(name, shard, seq, position)));
                    if let Some(open) = &mut open {
                        open.bytes = open.bytes.saturating_add(facts.bytes);
                    }
                }
                PlanStep::Seal { trigger, .. } => {
                    let Some(open) = &open else { continue };
                    let batch = sealed(name, shard, open, trigger, now);
                    // Sealed before the member joined: the batch that was open goes without it.
                    let with = if place.is_some() { &mut joining } else { &mut None };
                    self.seal(view, &batch, with, gate, decision)?;
                }
            }
        }
        if let (Some((seq, key)), Some(twin)) = (place, joining) {
            let fingerprint = format!("{:032x}", xxh3_128(object.read_plan.as_bytes()));
            let plan_key = plan_key(name, shard, seq, &fingerprint);
            if view.get(&plan_key)?.is_none() {
                decision.changes.push(Change { key: plan_key, value: Some(object.read_plan.clone().into()) });
            }
            decision.changes.push(put(key, &MemberTwin { read_plan: PlanTwin::Shared { fingerprint }, ..twin }));
        }
        decision.changes.push(put(shard_key(name, shard), &ShardTwin::of(&after)));
        Ok(())
    }

    fn turn_away(
        &self,
        object: &ClassifiedObject,
        dataset: &Dataset,
        first: &str,
        now: Timestamp,
    ) -> Result<Vec<crate::broker::OutRecord>, StageError> {
        let subject = Subject { dataset: Some(&object.dataset), object: &object.admitted };
        let rows = RowCounts { physical: long::count(object.rows_physical), ..RowCounts::default() };
        let detail = format!("the same bytes came before as {first}");
        if dataset.contract.same_content_again == SameContentAgain::Quarantine {
            let charge = Charge { detail, contract_hash: Some(object.contract_hash.clone()), ..Charge::default() };
            return Ok(self.clerk.quarantine(&subject, ReasonCode::DuplicateFile, charge, rows, "ValidationFailed", now)?);
        }
        let detail = json!({ "detail": detail });
        Ok(vec![
            self.clerk.status(&subject, State::Duplicate, Some(ReasonCode::DuplicateFile), rows, now)?,
            self.clerk.event("Duplicate", &subject, Some(ReasonCode::DuplicateFile), detail, now)?,
        ])
    }
}

/// The shard of some bytes: equal bytes meet in one shard.
pub fn shard_of(sha256: &str, shards: NonZeroU32) -> i32 {
    i32::try_from(crate::batch::limits::shard_of(sha256, shards)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
