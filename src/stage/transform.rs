//! Transform: a pure function of the plan. Reads the members by their read plans, derives, selects,
//! adds the operational columns and writes one Parquet file per hive partition; bad rows become
//! row letters.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::NaiveDate;
use futures::StreamExt;
use serde_json::json;

use crate::broker::Record;
use crate::contract::model::{Contract, DedupeScope};
use crate::domain::names::StageName;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::lake::layout::{key, staged_file, staged_rows};
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::pipeline::work::Work;
use crate::schema::avro;
use crate::schema::dedupe::Dedupe;
use crate::schema::plan::{Expected, ReadPlan};
use crate::schema::read::RowCounts as ReadCounts;
use crate::stage::buckets::{Buckets, Found};
use crate::stage::catalog::{Catalog, Dataset};
use crate::stage::classify::file_plan;
use crate::stage::letters::{Charge, Clerk, RowCounts, State, Subject};
use crate::stage::reading::{Content, Planned, PlannedError, late_refusal};
use crate::stage::row_letters::{LetterBook, Letters};
use crate::stage::tables::{Output, Tables};
use crate::stage::{Decision, PutHow, PutObject, Stage, StageError, Verdict};
use crate::state::View;
use crate::table::columns::{Operational, Provenance};
use crate::wire::codec::CodecError;
use crate::wire::long;
use crate::wire::records::{Admitted, BatchPlan, FORMAT_VERSION, FileObject, PlanMember, StagedBatch, StagedFile, StagedMember};

/// Objects opened at once.
const OPEN_AT_ONCE: usize = 32;

pub struct Transform {
    pub catalog: Arc<Catalog>,
    pub buckets: Buckets,
    pub clerk: Clerk,
    pub work: Work,
}

/// What became of one member.
pub enum Fate {
    Staged(ReadCounts),
    Gone(String),
    /// Too many of its rows are bad, found only now (deduplication, `derive`).
    Rejected {
        reason: ReasonCode,
        detail: String,
        rows: u64,
    },
}

pub struct Member {
    fate: Fate,
    /// Rows `derive` refused, beyond those of reading.
    derive_failed: u64,
    letters: Option<Letters>,
}

/// A plan carried out, nothing of it put yet.
pub struct Staged {
    members: Vec<Member>,
    outputs: Vec<Output>,
}

/// Opened content of a member, or why there is none.
type Opened = Result<Content, String>;

#[async_trait]
impl Stage for Transform {
    const NAME: StageName = StageName::Transform;
    /// Shared with the thread that works on it.
    type Input = Arc<BatchPlan>;
    type Known = ();
    type Facts = Staged;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<Arc<BatchPlan>, CodecError> {
        self.clerk.outlet.codec.decode(value).map(Arc::new)
    }

    fn weight(&self, plan: &Arc<BatchPlan>) -> u64 {
        plan.members.iter().map(|m| long::count(m.admitted.size)).sum()
    }

    fn look(&self, _: View<'_>, _: &Arc<BatchPlan>) -> Result<(), StageError> {
        Ok(())
    }

    async fn gather(&self, plan: &Arc<BatchPlan>, (): ()) -> Result<Staged, StageError> {
        let dataset = self.catalog.version(&plan.dataset, &plan.contract_hash).await?;
        let mut opening = Vec::with_capacity(plan.members.len());
        for member in &plan.members {
            opening.push(open(self.buckets.clone(), member.admitted.clone()));
        }
        let opened: Vec<Result<Opened, StageError>> = futures::stream::iter(opening).buffered(OPEN_AT_ONCE).collect().await;
        let opened = opened.into_iter().collect::<Result<Vec<_>, _>>()?;
        let plan = Arc::clone(plan);
        self.work.run(move || carry_out(&plan, &dataset, opened)).await?
    }

    fn decide(&self, _: View<'_>, plan: &Arc<BatchPlan>, staged: Staged, now: Timestamp) -> Result<Verdict, StageError> {
        let mut decision = Decision::default();
        let mut members = Vec::new();
        for (member, done) in plan.members.iter().zip(&staged.members) {
            self.tell(plan, member, done, now, &mut decision)?;
            members.push(staged_member(member, done));
        }
        let mut files = Vec::new();
        for output in staged.outputs {
            let to = staged_file(&plan.dataset, &plan.batch_id, &output.written.digest);
            decision.puts.push(PutObject { to: key(&to), payload: output.written.payload, how: PutHow::Replace });
            files.push(StagedFile {
                key: to,
                digest: output.written.digest,
                bytes: long::of(output.written.bytes),
                partition: output.partition,
                rows: long::of(output.rows),
                objects: output
                    .objects
                    .into_iter()
                    .map(|(m, rows)| FileObject { member: i32::try_from(m).unwrap_or(i32::MAX), rows: long::of(rows) })
                    .collect(),
            });
        }
        let rows: i64 = files.iter().map(|f| f.rows).sum();
        let admitted: Vec<&Admitted> = plan.members.iter().map(|m| &m.admitted).collect();
        let detail = json!({ "files": files.len(), "rows": rows, "trigger": plan.trigger, "objects": admitted.len() });
        decision.sends.push(self.clerk.batch_event("TransformSucceeded", &plan.dataset, &plan.batch_id, &admitted, detail, now)?);
        let record = StagedBatch {
            format_version: FORMAT_VERSION,
            batch_id: plan.batch_id.clone(),
            dataset: plan.dataset.clone(),
            shard: plan.shard,
            seq: plan.seq,
            sealed_at: plan.sealed_at,
            contract_hash: plan.contract_hash.clone(),
            files,
            members,
        };
        let headers = vec![("dataset".to_owned(), plan.dataset.clone().into())];
        decision.sends.push(self.clerk.outlet.record(Topic::Staged, &plan.batch_id, Placed::By(&plan.batch_id), &record, headers)?);
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, plan: &Arc<BatchPlan>, reason: ReasonCode, detail: &str, now: Timestamp) -> Result<Decision, StageError> {
        let mut decision = Decision::default();
        for member in &plan.members {
            let subject = Subject { dataset: Some(&plan.dataset), object: &member.admitted };
            let charge = Charge { detail: detail.to_owned(), contract_hash: Some(plan.contract_hash.clone()), ..Charge::default() };
            let rows = long::count(member.rows_physical);
            let rows = RowCounts { physical: rows, quarantined: rows, ..RowCounts::default() };
            decision.sends.extend(self.clerk.quarantine(&subject, reason, charge, rows, "TransformFailed", now)?);
        }
        Ok(decision)
    }

    fn due(&self, _: View<'_>, _: Timestamp) -> Result<Vec<Arc<BatchPlan>>, StageError> {
        Ok(Vec::new())
    }

    fn next_due(&self, _: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(None)
    }
}

async fn open(buckets: Buckets, object: Admitted) -> Result<Opened, StageError> {
    match buckets.read(&object).await? {
        Found::Gone(why) => Ok(Err(why)),
        Found::There(found) => Ok(Ok(Content::of(found).await?)),
    }
}

impl Transform {
    /// Letters, status and audit lines of one member.
    fn tell(
        &self,
        plan: &BatchPlan,
        member: &PlanMember,
        done: &Member,
        now: Timestamp,
        decision: &mut Decision,
    ) -> Result<(), StageError> {
        let subject = Subject { dataset: Some(&plan.dataset), object: &member.admitted };
        let mut charge = Charge { contract_hash: Some(plan.contract_hash.clone()), ..Charge::default() };
        if let Some(letters) = &done.letters {
            let to = staged_rows(&plan.dataset, &letters.written.digest);
            decision.puts.push(PutObject { to: key(&to), payload: letters.written.payload.clone(), how: PutHow::Replace });
            charge.row_letters = Some(to);
            charge.samples.clone_from(&letters.samples);
            charge.rows.clone_from(&letters.reasons);
        }
        match &done.fate {
            Fate::Staged(_) if charge.row_letters.is_some() => {
                let reason =
                    charge.rows.iter().max_by_key(|(_, n)| **n).and_then(|(code, _)| code.parse().ok()).unwrap_or(ReasonCode::RowTypeError);
                charge.detail = format!("{} of {} rows held back", charge.rows.values().sum::<i64>(), member.rows_physical);
                decision.sends.push(self.clerk.letter(&subject, reason, charge, now)?);
            }
            Fate::Staged(_) => {}
            Fate::Gone(why) => {
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
            Fate::Rejected { reason, detail, rows } => {
                // The letter speaks of the whole object; its bad rows are the evidence.
                charge.detail.clone_from(detail);
                charge.row_letters = None;
                let rows = RowCounts { physical: *rows, quarantined: *rows, ..RowCounts::default() };
                decision.sends.extend(self.clerk.quarantine(&subject, *reason, charge, rows, "TransformFailed", now)?);
            }
        }
        Ok(())
    }
}

fn staged_member(member: &PlanMember, done: &Member) -> StagedMember {
    let (counts, verdict) = match &done.fate {
        Fate::Staged(counts) => (*counts, "staged"),
        Fate::Gone(_) => (ReadCounts::default(), "gone"),
        Fate::Rejected { .. } => (ReadCounts::default(), "rejected"),
    };
    let quarantined = counts.quarantined + done.derive_failed;
    StagedMember {
        admitted: member.admitted.clone(),
        rows_physical: long::of(counts.physical),
        rows_staged: long::of(counts.physical - quarantined - counts.deduplicated),
        rows_quarantined: long::of(quarantined),
        rows_deduplicated: long::of(counts.deduplicated),
        rows_held: 0,
        verdict: verdict.to_owned(),
        reasons: done.letters.as_ref().map(|l| l.reasons.clone()).unwrap_or_default(),
    }
}

/// Carries the plan out: CPU and nothing else.
fn carry_out(plan: &BatchPlan, dataset: &Dataset, opened: Vec<Opened>) -> Result<Staged, StageError> {
    let read_plans = plan.read_plans.iter().map(|text| ready(text)).collect::<Result<Vec<Planned>, _>>()?;
    let seen = match dataset.contract.dedupe_scope {
        DedupeScope::Batch => across(&read_plans)?,
        DedupeScope::File | DedupeScope::Table => None,
    };
    let tables = Tables::new(dataset, Timestamp::from_millis(plan.sealed_at));
    let mut carrying = Carrying { plan, contract: &dataset.contract, tables, seen };
    let mut members = Vec::with_capacity(opened.len());
    for (index, (member, opened)) in plan.members.iter().zip(opened).enumerate() {
        let planned = usize::try_from(member.read_plan)
            .ok()
            .and_then(|i| read_plans.get(i))
            .ok_or_else(|| StageError::Broken { detail: "a plan names a read plan it does not carry".to_owned() })?;
        members.push(match opened {
            Err(why) => Member { fate: Fate::Gone(why), derive_failed: 0, letters: None },
            Ok(content) => carrying.member(index, member, planned, content)?,
        });
    }
    let refused: BTreeSet<usize> =
        members.iter().enumerate().filter(|(_, m)| matches!(m.fate, Fate::Rejected { .. })).map(|(index, _)| index).collect();
    let mut outputs = Vec::new();
    for output in carrying.tables.finish(plan)? {
        outputs.extend(output.without(&refused, plan, dataset.parquet())?);
    }
    Ok(Staged { members, outputs })
}

fn ready(text: &str) -> Result<Planned, StageError> {
    Planned::new(file_plan(text)?).map_err(|e| StageError::Broken { detail: e.to_string() })
}

/// Where duplicates are looked for, of a whole batch.
fn across(read_plans: &[Planned]) -> Result<Option<Dedupe>, StageError> {
    let shape = |p: &ReadPlan| avro::record_from_json(&p.schema).map_err(|e| StageError::Broken { detail: e.to_string() });
    let files = read_plans.iter().map(|p| Ok((p.plan(), shape(p.plan())?))).collect::<Result<Vec<_>, StageError>>()?;
    Ok(Dedupe::across(&files))
}

/// A plan being carried out, member by member.
struct Carrying<'a> {
    plan: &'a BatchPlan,
    contract: &'a Contract,
    tables: Tables<'a>,
    /// Rows of the members so far, where duplicates are looked for across them.
    seen: Option<Dedupe>,
}

impl Carrying<'_> {
    fn member(&mut self, index: usize, member: &PlanMember, planned: &Planned, content: Content) -> Result<Member, StageError> {
        let mut operational = Operational::new(provenance(self.plan, &member.admitted));
        let mut letters = LetterBook::new(&member.admitted);
        let mut derive_failed = 0;
        let expected = Expected {
            physical: long::count(member.rows_physical),
            quarantined: planned.plan().expected.quarantined.map(|_| long::count(member.rows_bad)),
        };
        let counts = planned.read(content, &expected, &self.contract.source, &mut self.seen, |block, origin| {
            for row in &block.bad {
                letters.add(row)?;
            }
            let (batch, failed) = self.tables.prepare(block, origin, &mut operational, &mut letters)?;
            derive_failed += failed;
            self.tables.write(index, &batch)
        });
        let counts = match counts {
            Ok(counts) => counts,
            Err(PlannedError::Read(crate::format::reader::ReadError::Input(e))) => {
                return Err(StageError::Store(object_store::Error::Generic { store: "landing", source: Box::new(e) }));
            }
            Err(e) => return Err(StageError::Broken { detail: format!("{}/{}: {e}", member.admitted.bucket, member.admitted.key) }),
        };
        let letters = letters.finish().map_err(|detail| StageError::Broken { detail })?;
        let refusal = late_refusal(self.contract, &counts, derive_failed);
        if let Some(seen) = &mut self.seen {
            if refusal.is_some() { seen.forget() } else { seen.keep() }
        }
        Ok(match refusal {
            Some((reason, detail)) => Member { fate: Fate::Rejected { reason, detail, rows: counts.physical }, derive_failed: 0, letters },
            None => Member { fate: Fate::Staged(counts), derive_failed, letters },
        })
    }
}

fn provenance(plan: &BatchPlan, object: &Admitted) -> Provenance {
    Provenance {
        run_id: object.run_id.clone(),
        dataset: plan.dataset.clone(),
        processed_at: Timestamp::from_millis(plan.sealed_at),
        ingest_date: object.ingest_date.parse().unwrap_or(NaiveDate::default()),
        replay_id: object.replay_id.clone(),
        source_object: format!("{}/{}", object.bucket, object.key),
        generation: object.generation,
    }
}

#[cfg(test)]
mod tests;
