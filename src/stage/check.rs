//! Check: the contract's rules over the staged batch, per source object. What is held back is
//! filtered out of the staged files here; publish never filters (decisions.md 1).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Map, Value, json};

use crate::broker::Record;
use crate::domain::names::StageName;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::lake::layout::{key, staged_file, staged_rows};
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::pipeline::work::Work;
use crate::quality::report::{ObjectVerdict, Report, Scope};
use crate::stage::catalog::{Catalog, Dataset};
use crate::stage::filtering::{Columns, Opened, Remainder, filter};
use crate::stage::judging::{Judge, Judgement};
use crate::stage::letters::{Charge, Clerk, RowCounts, Subject};
use crate::stage::{Decision, PutHow, PutObject, Stage, StageError, Verdict};
use crate::state::View;
use crate::wire::codec::CodecError;
use crate::wire::long;
use crate::wire::records::{FORMAT_VERSION, QualityReport, StagedBatch, StagedFile};

/// Staged files fetched at once.
const FILES_AT_ONCE: usize = 16;

pub struct Check {
    pub catalog: Arc<Catalog>,
    pub lake: Arc<dyn ObjectStore>,
    pub clerk: Clerk,
    pub work: Work,
}

/// A batch judged, and its files without what is held back.
#[derive(Default)]
pub struct Facts {
    judgement: Judgement,
    remainder: Remainder,
}

fn broken(e: impl std::fmt::Display) -> StageError {
    StageError::Broken { detail: e.to_string() }
}

/// Judges every object, then filters the files that hold rows of what is held back.
fn judge(batch: &StagedBatch, dataset: &Dataset, files: &[Bytes]) -> Result<Facts, StageError> {
    let opened: Vec<Opened<'_>> = batch.files.iter().zip(files).map(|(file, bytes)| Opened { file, bytes: bytes.clone() }).collect();
    let mut judge = Judge::new(dataset, Timestamp::from_millis(batch.sealed_at)).map_err(broken)?;
    let schemas = opened.iter().map(Opened::judged_schema).collect::<Result<Vec<_>, StageError>>()?;
    judge.expect(&schemas);
    for (index, member) in batch.members.iter().enumerate() {
        match member.rows_staged {
            0 if member.verdict == "staged" => judge.touch(index),
            rows => judge.announce(index, long::count(rows)),
        }
    }
    for file in &opened {
        file.pieces(Columns::Judged, |member, rows| judge.push(member, rows).map_err(broken))?;
    }
    let judgement = judge.finish().map_err(broken)?;
    let remainder = filter(batch, dataset, &opened, &judgement.objects)?;
    Ok(Facts { judgement, remainder })
}

#[async_trait]
impl Stage for Check {
    const NAME: StageName = StageName::Check;
    /// Shared with the thread that works on it.
    type Input = Arc<StagedBatch>;
    type Known = ();
    type Facts = Facts;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<Arc<StagedBatch>, CodecError> {
        self.clerk.outlet.codec.decode(value).map(Arc::new)
    }

    fn weight(&self, batch: &Arc<StagedBatch>) -> u64 {
        batch.files.iter().map(|f| long::count(f.bytes)).sum()
    }

    fn look(&self, _: View<'_>, _: &Arc<StagedBatch>) -> Result<(), StageError> {
        Ok(())
    }

    async fn gather(&self, batch: &Arc<StagedBatch>, (): ()) -> Result<Facts, StageError> {
        let dataset = self.catalog.version(&batch.dataset, &batch.contract_hash).await?;
        if dataset.contract.quality.rules.is_none() {
            return Ok(Facts::default());
        }
        let mut fetching = Vec::with_capacity(batch.files.len());
        for file in &batch.files {
            fetching.push(fetch(Arc::clone(&self.lake), file.key.clone()));
        }
        let files: Vec<Result<Bytes, StageError>> = futures::stream::iter(fetching).buffered(FILES_AT_ONCE).collect().await;
        let files = files.into_iter().collect::<Result<Vec<_>, _>>()?;
        let batch = Arc::clone(batch);
        self.work.run(move || judge(&batch, &dataset, &files)).await?
    }

    fn decide(&self, _: View<'_>, batch: &Arc<StagedBatch>, facts: Facts, now: Timestamp) -> Result<Verdict, StageError> {
        let mut decision = Decision::default();
        let mut checked = StagedBatch::clone(batch);
        let mut gone: Vec<usize> = Vec::new();
        let Facts { judgement, mut remainder } = facts;
        for filtered in remainder.files {
            let file = &mut checked.files[filtered.index];
            match filtered.left {
                None => gone.push(filtered.index),
                Some((written, rows, objects)) => {
                    let to = staged_file(&batch.dataset, &batch.batch_id, &written.digest);
                    decision.puts.push(PutObject { to: key(&to), payload: written.payload, how: PutHow::Replace });
                    *file = StagedFile {
                        key: to,
                        digest: written.digest,
                        bytes: long::of(written.bytes),
                        partition: file.partition.clone(),
                        rows: long::of(rows),
                        objects,
                    };
                }
            }
        }
        let mut index = 0;
        checked.files.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
        let mut reports: Vec<(String, Report)> = Vec::new();
        let mut objects = judgement.objects;
        for (index, member) in checked.members.iter_mut().enumerate().filter(|(_, m)| m.verdict == "staged") {
            "accepted".clone_into(&mut member.verdict);
            let Some(judged) = objects.remove(&index) else { continue };
            let subject_of = member.admitted.clone();
            let subject = Subject { dataset: Some(&batch.dataset), object: &subject_of };
            match &judged.verdict {
                ObjectVerdict::Accept { .. } => {}
                ObjectVerdict::AcceptMinusRows { .. } => {
                    let Some(letters) = remainder.letters.remove(&index) else { continue };
                    let held = letters.rows();
                    "accepted_minus_rows".clone_into(&mut member.verdict);
                    member.rows_held = held;
                    member.reasons.insert(ReasonCode::QualityRule.as_str().to_owned(), held);
                    let to = staged_rows(&batch.dataset, &letters.written.digest);
                    decision.puts.push(PutObject { to: key(&to), payload: letters.written.payload, how: PutHow::Replace });
                    let charge = Charge {
                        detail: format!("{held} of {} rows fail quality rules", member.rows_staged),
                        rows: letters.reasons,
                        row_letters: Some(to),
                        samples: letters.samples,
                        evidence: judged.evidence(),
                        contract_hash: Some(batch.contract_hash.clone()),
                    };
                    decision.sends.push(self.clerk.letter(&subject, ReasonCode::QualityRule, charge, now)?);
                }
                ObjectVerdict::Reject { .. } => {
                    "rejected".clone_into(&mut member.verdict);
                    member.rows_held = member.rows_staged;
                    let charge = Charge {
                        detail: judged.failures.clone(),
                        evidence: judged.evidence(),
                        contract_hash: Some(batch.contract_hash.clone()),
                        ..Charge::default()
                    };
                    let rows = RowCounts {
                        physical: long::count(member.rows_physical),
                        quarantined: long::count(member.rows_physical),
                        ..RowCounts::default()
                    };
                    decision.sends.extend(self.clerk.quarantine(&subject, ReasonCode::QualityRule, charge, rows, "DQFailed", now)?);
                }
            }
            reports.extend(judged.report.map(|r| (format!("{}/{}", subject_of.bucket, subject_of.key), r)));
        }
        let passed: Vec<_> = checked.members.iter().filter(|m| m.verdict.starts_with("accepted")).map(|m| &m.admitted).collect();
        decision.sends.push(self.clerk.batch_event(
            "DQPassed",
            &batch.dataset,
            &batch.batch_id,
            &passed,
            json!({ "objects": passed.len() }),
            now,
        )?);
        if !reports.is_empty() {
            decision.sends.push(self.report(batch, &reports, judgement.batch.as_ref(), now)?);
        }
        let headers = vec![("dataset".to_owned(), batch.dataset.clone().into())];
        decision.sends.push(self.clerk.outlet.record(Topic::Checked, &batch.dataset, Placed::By(&batch.dataset), &checked, headers)?);
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, batch: &Arc<StagedBatch>, reason: ReasonCode, detail: &str, now: Timestamp) -> Result<Decision, StageError> {
        let mut decision = Decision::default();
        for member in batch.members.iter().filter(|m| m.verdict == "staged") {
            let subject = Subject { dataset: Some(&batch.dataset), object: &member.admitted };
            let charge = Charge { detail: detail.to_owned(), contract_hash: Some(batch.contract_hash.clone()), ..Charge::default() };
            let rows = RowCounts {
                physical: long::count(member.rows_physical),
                quarantined: long::count(member.rows_physical),
                ..RowCounts::default()
            };
            decision.sends.extend(self.clerk.quarantine(&subject, reason, charge, rows, "DQFailed", now)?);
        }
        Ok(decision)
    }

    fn due(&self, _: View<'_>, _: Timestamp) -> Result<Vec<Arc<StagedBatch>>, StageError> {
        Ok(Vec::new())
    }

    fn next_due(&self, _: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(None)
    }
}

async fn fetch(lake: Arc<dyn ObjectStore>, at: String) -> Result<Bytes, StageError> {
    match lake.get(&key(&at)).await {
        Ok(found) => Ok(found.bytes().await?),
        Err(object_store::Error::NotFound { .. }) => Err(broken(format!("staged file {at} is gone"))),
        Err(e) => Err(e.into()),
    }
}

impl Check {
    /// Objects with something to say, and the batch's figures merged from all of them.
    fn report(
        &self,
        batch: &StagedBatch,
        reports: &[(String, Report)],
        merged: Option<&Report>,
        now: Timestamp,
    ) -> Result<crate::broker::OutRecord, StageError> {
        // Rules of scope object count once for each, rules of scope batch once.
        let tally = |outcome: &str| {
            let of_objects: u64 = reports.iter().map(|(_, r)| r.count(outcome)).sum();
            of_objects + merged.map_or(0, |r| r.count_in(Scope::Batch, outcome))
        };
        let (passed, failed, not_evaluated) = (tally("passed"), tally("failed"), tally("not_evaluated"));
        let outcome = if failed > 0 {
            "failed"
        } else if passed > 0 {
            "passed"
        } else {
            "not_evaluated"
        };
        let telling: Map<String, Value> = reports
            .iter()
            .filter(|(_, r)| r.count("failed") + r.count("not_evaluated") > 0)
            .map(|(o, r)| (o.clone(), r.to_json()))
            .collect();
        let record = QualityReport {
            format_version: FORMAT_VERSION,
            batch_id: batch.batch_id.clone(),
            dataset: batch.dataset.clone(),
            at: now.millis(),
            outcome: outcome.to_owned(),
            passed: long::of(passed),
            failed: long::of(failed),
            not_evaluated: long::of(not_evaluated),
            report: json!({ "batch": merged.map(Report::to_json), "objects": telling }).to_string(),
        };
        let headers = vec![("dataset".to_owned(), batch.dataset.clone().into())];
        Ok(self.clerk.outlet.record(Topic::QualityReports, &batch.batch_id, Placed::By(&batch.batch_id), &record, headers)?)
    }
}
