//! Classify: the file's schema from its data, compared with the registry's; the drift decision.
//!
//! An evolution goes through an intent: the decision is committed first, the schema registered
//! then, and the same record is gathered again, so the decision record survives a crash
//! (decisions.md 9).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::broker::Record;
use crate::contract::model::Contract;
use crate::domain::names::{SchemaId, StageName, Subject as SubjectName};
use crate::domain::position::Partition;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::format::block::FileRefusal;
use crate::format::reader::ReadError;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::pipeline::work::Work;
use crate::registry::{Registered, RegistryError, SchemaRegistry};
use crate::schema::avro;
use crate::schema::drift::RegisteredSchema;
use crate::schema::finding::Action;
use crate::stage::assemble::{shard_of, shard_text};
use crate::stage::buckets::{Buckets, Found};
use crate::stage::catalog::{Catalog, Dataset};
use crate::stage::evolutions::{Evolutions, count, counted};
use crate::stage::letters::{Charge, Clerk, DRIFT_CLASSIFIED, RowCounts, State, Subject, headers};
use crate::stage::reading::{Against, Content, FilePlan, Observed, Question, observe};
use crate::stage::{Decision, Stage, StageError, Step, Verdict};
use crate::state::{Change, View};
use crate::wire::codec::CodecError;
use crate::wire::long;
use crate::wire::records::{ClassifiedObject, FORMAT_VERSION, ValidatedObject};

/// A version of a contract by its hash, and the registered schema that files of it are compared with.
pub type Compared = (String, Option<SchemaId>);

/// Contracts times registered schemas that are held ready.
const READY_MAX: usize = 1_000;

pub struct Classify {
    pub catalog: Arc<Catalog>,
    pub buckets: Buckets,
    pub registry: Arc<dyn SchemaRegistry>,
    pub clerk: Clerk,
    pub work: Work,
    /// Made ready, by contract and registered schema; what either names never changes.
    pub against: Mutex<HashMap<Compared, Arc<Against>>>,
    pub versions: RoundVersions,
    pub evolutions: Evolutions,
}

/// Versions of subjects as the round that is being gathered found them: a registry is asked once a round for each subject,
/// not once a file. A round looks at all its inputs before it gathers any.
#[derive(Default)]
pub struct RoundVersions(Mutex<HashMap<SubjectName, Arc<[Registered]>>>);

impl RoundVersions {
    async fn of(&self, subject: &SubjectName, registry: &dyn SchemaRegistry) -> Result<Arc<[Registered]>, RegistryError> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(subject) {
            return Ok(Arc::clone(known));
        }
        let found: Arc<[Registered]> = registry.versions(subject).await?.into();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(subject.clone(), Arc::clone(&found));
        Ok(found)
    }

    fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A decision waiting for its schema to be registered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Intent {
    format_version: u32,
    schema: String,
    accepted: Accepted,
}

/// A file that may go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accepted {
    action: String,
    sha256: String,
    shard: i32,
    rows_physical: i64,
    rows_bad: i64,
    decision: Box<RawValue>,
    read_plan: String,
    schema_version: Option<i32>,
}

/// A file that may not.
pub struct Rejected {
    reason: ReasonCode,
    detail: String,
    evidence: Option<Box<RawValue>>,
    rows: u64,
}

pub enum Facts {
    Gone(String),
    Accepted(Accepted),
    /// The schema must be registered first.
    Evolves {
        intent: Intent,
        subject: SubjectName,
        budget: Budget,
    },
    Rejected(Rejected),
}

impl From<FileRefusal> for Facts {
    fn from(refusal: FileRefusal) -> Self {
        Facts::Rejected(Rejected { reason: refusal.reason, detail: refusal.detail, evidence: None, rows: 0 })
    }
}

/// What the day's limit on schema versions needs to know.
#[derive(Debug, Default)]
pub struct Budget {
    /// The subject has no version yet: its first one is no evolution.
    is_first: bool,
    max: Option<u32>,
    /// Evolutions that other partitions counted, by day; empty without a limit.
    elsewhere: BTreeMap<NaiveDate, u32>,
}

/// What gathering needs of the state.
pub struct Known {
    intent: Option<Intent>,
    partition: Partition,
}

fn intent_key(input: &ValidatedObject) -> Vec<u8> {
    format!("intent/{}/{}", input.admitted.landing_partition, input.admitted.landing_offset).into_bytes()
}

impl Classify {
    /// What files of a contract are compared with; a rule of the contract that cannot be used refuses them all.
    fn against(
        &self,
        hash: &str,
        contract: &Contract,
        latest: Option<&Registered>,
    ) -> Result<Result<Arc<Against>, FileRefusal>, StageError> {
        let mut ready = self.against.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (hash.to_owned(), latest.map(|l| l.id));
        if let Some(known) = ready.get(&at) {
            return Ok(Ok(Arc::clone(known)));
        }
        let parsed = |latest: &Registered| {
            let shape = avro::record_from_text(&latest.schema);
            let shape = shape.map_err(|e| StageError::Broken { detail: format!("registered schema {}: {e}", latest.id.0) })?;
            Ok::<_, StageError>(RegisteredSchema { version: latest.version.0, shape })
        };
        let against = match Against::new(contract, latest.map(parsed).transpose()?) {
            Ok(against) => Arc::new(against),
            Err(refusal) => return Ok(Err(refusal)),
        };
        if ready.len() >= READY_MAX {
            ready.clear();
        }
        ready.insert(at, Arc::clone(&against));
        Ok(Ok(against))
    }

    async fn pass(
        &self,
        input: &ValidatedObject,
        dataset: &Arc<Dataset>,
        against: &Arc<Against>,
        evolution_refused: bool,
    ) -> Result<Result<Observed, Facts>, StageError> {
        let content = match self.buckets.read(&input.admitted).await? {
            Found::Gone(why) => return Ok(Err(Facts::Gone(why))),
            Found::There(found) => Content::of(found).await?,
        };
        let (dataset, against, key) = (Arc::clone(dataset), Arc::clone(against), input.admitted.key.clone());
        let observed = self
            .work
            .on(long::count(input.admitted.size))
            .run(move || observe(content, &Question { contract: &dataset.contract, against: &against, evolution_refused, key: &key }))
            .await?;
        match observed {
            Ok(observed) => Ok(Ok(observed)),
            Err(ReadError::Refused(refusal)) => Ok(Err(refusal.into())),
            Err(ReadError::Input(e)) => Err(StageError::Store(object_store::Error::Generic { store: "landing", source: Box::new(e) })),
        }
    }

    fn judged(&self, input: &ValidatedObject, dataset: &Dataset, observed: &Observed) -> Facts {
        let drift = &observed.drift;
        let sha256 = hex::encode(observed.totals.sha256);
        let record = observed.record(
            &format!("{}/{}", input.admitted.bucket, input.admitted.key),
            input.admitted.version_id.clone(),
            &dataset.contract,
        );
        let decision = serde_json::value::to_raw_value(&record).expect("a decision record is plain data");
        let Some(plan) = observed.file_plan().filter(|_| drift.action != Action::Quarantine && drift.rows_reject.is_none()) else {
            let (reason, detail) = match &drift.rows_reject {
                Some(rows) => (rows.reason, format!("{} of {} rows are bad", rows.quarantined, rows.physical)),
                None => (drift.reason, summary(drift)),
            };
            return Facts::Rejected(Rejected { reason, detail, evidence: Some(decision), rows: drift.physical_rows });
        };
        Facts::Accepted(Accepted {
            action: drift.action.as_str().to_owned(),
            shard: shard_of(&sha256, dataset.batch_limits().shards),
            sha256,
            rows_physical: long::of(drift.physical_rows),
            rows_bad: long::of(drift.quarantined_rows),
            decision,
            read_plan: plan.text(),
            schema_version: drift.registered_version.and_then(|v| i32::try_from(v).ok()),
        })
    }
}

/// The breaking findings in one sentence.
fn summary(drift: &crate::schema::drift::Drift) -> String {
    let mut parts: Vec<String> = drift
        .findings
        .iter()
        .filter(|f| f.breaking)
        .map(|f| {
            let change = if f.from.is_empty() && f.to.is_empty() { String::new() } else { format!(" ({} → {})", f.from, f.to) };
            format!("{} {}{change}", f.code.as_str(), f.path)
        })
        .collect();
    parts.truncate(10);
    parts.join("; ")
}

fn unreachable(e: RegistryError) -> StageError {
    match e.disposition() {
        crate::domain::reason::Disposition::Retry => StageError::Registry { detail: e.to_string() },
        _ => StageError::Broken { detail: e.to_string() },
    }
}

#[async_trait]
impl Stage for Classify {
    const NAME: StageName = StageName::Classify;
    type Input = ValidatedObject;
    type Known = Known;
    type Facts = Facts;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<ValidatedObject, CodecError> {
        self.clerk.outlet.codec.decode(value)
    }

    /// The readers stream: what they hold does not grow with the file.
    fn weight(&self, input: &ValidatedObject) -> u64 {
        long::count(input.admitted.size).min(8 << 20)
    }

    fn look(&self, view: View<'_>, input: &ValidatedObject) -> Result<Known, StageError> {
        self.versions.begin();
        let parse = |bytes: Bytes| serde_json::from_slice(&bytes).map_err(|e| StageError::Broken { detail: format!("intent: {e}") });
        Ok(Known { intent: view.get(&intent_key(input))?.map(parse).transpose()?, partition: view.partition() })
    }

    async fn gather(&self, input: &ValidatedObject, Known { intent, partition }: Known) -> Result<Facts, StageError> {
        let dataset = self.catalog.version(&input.dataset, &input.contract_hash).await?;
        let subject = &dataset.contract.subject;
        let versions = self.versions.of(subject, self.registry.as_ref()).await.map_err(unreachable)?;
        if let Some(intent) = intent {
            // The step was performed if the schema is there; if not, it is asked for again below.
            if let Some(found) = versions.iter().find(|v| same_schema(&v.schema, &intent.schema)) {
                let mut accepted = intent.accepted;
                accepted.schema_version = i32::try_from(found.version.0).ok();
                return Ok(Facts::Accepted(accepted));
            }
        }
        let against = match self.against(&input.contract_hash, &dataset.contract, versions.last())? {
            Ok(against) => against,
            Err(refusal) => return Ok(refusal.into()),
        };
        let mut observed = match self.pass(input, &dataset, &against, false).await? {
            Ok(observed) => observed,
            Err(facts) => return Ok(facts),
        };
        let mut evolves = evolved_text(&observed, &input.dataset);
        if let Some(schema) = &evolves {
            let refused = match self.registry.accepts(subject, schema).await {
                Ok(()) => false,
                Err(RegistryError::Incompatible { .. } | RegistryError::SchemaInvalid { .. }) => true,
                Err(e) => return Err(unreachable(e)),
            };
            if refused {
                observed = match self.pass(input, &dataset, &against, true).await? {
                    Ok(observed) => observed,
                    Err(facts) => return Ok(facts),
                };
                evolves = None;
            }
        }
        match (self.judged(input, &dataset, &observed), evolves) {
            (Facts::Accepted(accepted), Some(schema)) => {
                let max = dataset.contract.max_versions_per_day;
                let elsewhere = match max {
                    None => BTreeMap::new(),
                    Some(_) => self.evolutions.elsewhere(partition, subject).await?,
                };
                let budget = Budget { is_first: versions.is_empty(), max, elsewhere };
                Ok(Facts::Evolves { intent: Intent { format_version: 1, schema, accepted }, subject: subject.clone(), budget })
            }
            (facts, _) => Ok(facts),
        }
    }

    fn decide(&self, view: View<'_>, input: &ValidatedObject, facts: Facts, now: Timestamp) -> Result<Verdict, StageError> {
        let subject = Subject { dataset: Some(&input.dataset), object: &input.admitted };
        let mut decision = Decision::default();
        let intended = view.get(&intent_key(input))?.is_some();
        if intended {
            decision.changes.push(Change { key: intent_key(input), value: None });
        }
        let facts = if intended { facts } else { within_budget(view, facts, now)? };
        match facts {
            Facts::Evolves { intent, subject, budget } => {
                let schema = intent.schema.clone();
                let value = serde_json::to_vec(&intent).expect("an intent is plain data");
                let mut changes = vec![Change { key: intent_key(input), value: Some(value.into()) }];
                // An intent that stands already was counted with it.
                if !intended && !budget.is_first {
                    changes.extend(count(view, now.date(), &subject)?);
                }
                return Ok(Verdict::Intend { changes, step: Step::RegisterSchema { subject, schema } });
            }
            Facts::Gone(why) => {
                let detail = json!({ "detail": why });
                decision.sends.push(self.clerk.status(
                    &subject,
                    State::Superseded,
                    Some(ReasonCode::ObjectGone),
                    RowCounts::default(),
                    now,
                )?);
                decision.sends.push(self.clerk.event("Superseded", &subject, Some(ReasonCode::ObjectGone), detail, now)?);
            }
            Facts::Rejected(rejected) => {
                let charge = Charge {
                    detail: rejected.detail,
                    evidence: rejected.evidence.as_ref().map(|e| e.get().to_owned()),
                    contract_hash: Some(input.contract_hash.clone()),
                    ..Charge::default()
                };
                let rows = RowCounts { physical: rejected.rows, quarantined: rejected.rows, ..RowCounts::default() };
                if let Some(evidence) = rejected.evidence {
                    decision.sends.push(self.clerk.event(DRIFT_CLASSIFIED, &subject, Some(rejected.reason), evidence, now)?);
                }
                decision.sends.extend(self.clerk.quarantine(&subject, rejected.reason, charge, rows, "ValidationFailed", now)?);
            }
            Facts::Accepted(accepted) => {
                decision.sends.push(self.clerk.event(DRIFT_CLASSIFIED, &subject, None, &accepted.decision, now)?);
                let record = ClassifiedObject {
                    format_version: FORMAT_VERSION,
                    dataset: input.dataset.clone(),
                    contract_hash: input.contract_hash.clone(),
                    admitted: input.admitted.clone(),
                    sha256: accepted.sha256,
                    shard: accepted.shard,
                    action: accepted.action,
                    rows_physical: accepted.rows_physical,
                    rows_bad: accepted.rows_bad,
                    schema_version: accepted.schema_version,
                    decision: accepted.decision.get().to_owned(),
                    read_plan: accepted.read_plan,
                };
                let placed = shard_text(&record.dataset, record.shard);
                let headers = headers(Some(&record.dataset), &record.admitted);
                decision.sends.push(self.clerk.outlet.record(Topic::Classified, &placed, Placed::By(&placed), &record, headers)?);
            }
        }
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, input: &ValidatedObject, reason: ReasonCode, detail: &str, now: Timestamp) -> Result<Decision, StageError> {
        let subject = Subject { dataset: Some(&input.dataset), object: &input.admitted };
        let charge = Charge { detail: detail.to_owned(), contract_hash: Some(input.contract_hash.clone()), ..Charge::default() };
        Ok(Decision {
            sends: self.clerk.quarantine(&subject, reason, charge, RowCounts::default(), "ValidationFailed", now)?,
            ..Decision::default()
        })
    }

    fn due(&self, _: View<'_>, _: Timestamp) -> Result<Vec<ValidatedObject>, StageError> {
        Ok(Vec::new())
    }

    fn next_due(&self, _: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(None)
    }
}

/// Refuses an evolution beyond the day's limit.
fn within_budget(view: View<'_>, facts: Facts, now: Timestamp) -> Result<Facts, StageError> {
    let Facts::Evolves { intent, subject, budget } = facts else { return Ok(facts) };
    let day = now.date();
    let Some(max) = budget.max.filter(|_| !budget.is_first) else { return Ok(Facts::Evolves { intent, subject, budget }) };
    let n = counted(view, day, &subject)? + budget.elsewhere.get(&day).copied().unwrap_or(0);
    if n < max {
        return Ok(Facts::Evolves { intent, subject, budget });
    }
    let accepted = intent.accepted;
    Ok(Facts::Rejected(Rejected {
        reason: ReasonCode::SchemaBudget,
        detail: format!("it needs another version of {subject}, which had {n} new ones on {day}; at most {max} are allowed"),
        evidence: Some(accepted.decision),
        rows: long::count(accepted.rows_physical),
    }))
}

/// The schema to register, named after the dataset if it is the first.
fn evolved_text(observed: &Observed, dataset: &str) -> Option<String> {
    let mut shape = observed.drift.evolved.clone()?;
    observed.drift.plan.as_ref()?;
    if shape.name.is_empty() {
        shape.name = crate::schema::matching::avro_name(dataset);
    }
    Some(avro::record_to_text(&shape))
}

fn same_schema(a: &str, b: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    matches!((parse(a), parse(b)), (Some(a), Some(b)) if a == b)
}

/// For the plan's own reader of records.
pub fn file_plan(text: &str) -> Result<FilePlan, StageError> {
    serde_json::from_str(text).map_err(|e| StageError::Broken { detail: format!("read plan: {e}") })
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::registry::embedded::EmbeddedRegistry;

    #[tokio::test]
    async fn a_registry_is_asked_once_a_round_for_a_subject() {
        let registry = EmbeddedRegistry::new(Arc::new(InMemory::new()));
        let [a, b]: [SubjectName; 2] = ["a-value", "b-value"].map(|s| s.parse().expect("a subject"));
        let record = |fields: &str| format!(r#"{{"type":"record","name":"A","fields":[{fields}]}}"#);
        registry.register(&a, &record("")).await.expect("registered");
        let versions = RoundVersions::default();
        let known = async |subject: &SubjectName| versions.of(subject, &registry).await.expect("known").len();
        assert_eq!((known(&a).await, known(&b).await), (1, 0));
        registry.register(&a, &record(r#"{"name":"n","type":["null","long"],"default":null}"#)).await.expect("registered");
        assert_eq!(known(&a).await, 1, "the round goes on with what it found");
        versions.begin();
        assert_eq!(known(&a).await, 2);
    }
}
