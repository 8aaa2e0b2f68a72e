//! Transform: a pure function of the plan. Reads the members by their read plans, derives, selects,
//! adds the operational columns and writes one Parquet file per hive partition; bad rows become
//! row letters.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use chrono::NaiveDate;
use futures::StreamExt;
use serde_json::json;

use crate::broker::Record;
use crate::contract::model::Contract;
use crate::domain::names::StageName;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::expression::derive::Derive;
use crate::lake::layout::{key, staged_file, staged_rows};
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::pipeline::work::Work;
use crate::quarantine::row::{RowFinding, RowLetter};
use crate::schema::read::{BadRow, RowCounts as ReadCounts, TypedBlock};
use crate::stage::buckets::{Buckets, Found};
use crate::stage::catalog::{Catalog, Dataset};
use crate::stage::classify::file_plan;
use crate::stage::letters::{Charge, Clerk, RowCounts, State, Subject};
use crate::stage::reading::{Content, FilePlan, PlannedError, read};
use crate::stage::spool::{Sink, Written};
use crate::stage::{Decision, PutHow, PutObject, Stage, StageError, Verdict};
use crate::state::View;
use crate::table::columns::{Provenance, extend};
use crate::table::footer::{Footer, FooterObject};
use crate::table::parquet::{ParquetOptions, TableWriter};
use crate::table::partition::split;
use crate::wire::codec::CodecError;
use crate::wire::records::{Admitted, BatchPlan, FORMAT_VERSION, FileObject, PlanMember, StagedBatch, StagedFile, StagedMember};

/// Objects opened at once.
const OPEN_AT_ONCE: usize = 32;

/// Hive partitions of one plan at most: each holds an open writer.
const PARTITIONS_MAX: usize = 2_000;

/// Rows of one file that wait before its writer is opened.
const TABLE_WAITING_MAX: usize = 4 << 20;

/// Rows of all files of a plan that wait.
const WAITING_MAX: usize = 48 << 20;

/// Rows of an object's letter that travel in the record itself.
const SAMPLES_MAX: usize = 20;

/// A longer letter is not sampled.
const SAMPLE_BYTES_MAX: usize = 4096;

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

/// A member's bad rows.
pub struct Letters {
    written: Written,
    samples: Vec<String>,
    reasons: BTreeMap<String, i64>,
}

pub struct Member {
    fate: Fate,
    /// Rows `derive` refused, beyond those of reading.
    derive_failed: u64,
    letters: Option<Letters>,
}

pub struct Output {
    partition: String,
    written: Written,
    rows: u64,
    /// Member index and rows, in file order.
    objects: Vec<(usize, u64)>,
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
    type Input = BatchPlan;
    type Known = ();
    type Facts = Staged;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<BatchPlan, CodecError> {
        self.clerk.outlet.codec.decode(value)
    }

    fn weight(&self, plan: &BatchPlan) -> u64 {
        plan.members.iter().map(|m| u64::try_from(m.admitted.size).unwrap_or(0)).sum()
    }

    fn look(&self, _: View<'_>, _: &BatchPlan) -> Result<(), StageError> {
        Ok(())
    }

    async fn gather(&self, plan: &BatchPlan, (): ()) -> Result<Staged, StageError> {
        let dataset = self.catalog.version(&plan.dataset, &plan.contract_hash).await?;
        let read_plans: Vec<FilePlan> = plan.read_plans.iter().map(|p| file_plan(p)).collect::<Result<_, _>>()?;
        let mut opening = Vec::with_capacity(plan.members.len());
        for member in &plan.members {
            opening.push(open(self.buckets.clone(), member.admitted.clone()));
        }
        let opened: Vec<Result<Opened, StageError>> = futures::stream::iter(opening).buffered(OPEN_AT_ONCE).collect().await;
        let opened = opened.into_iter().collect::<Result<Vec<_>, _>>()?;
        let plan = plan.clone();
        self.work.run(move || carry_out(&plan, &dataset, &read_plans, opened)).await?
    }

    fn decide(&self, _: View<'_>, plan: &BatchPlan, staged: Staged, now: Timestamp) -> Result<Verdict, StageError> {
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
                bytes: i64::try_from(output.written.bytes).unwrap_or(i64::MAX),
                partition: output.partition,
                rows: signed(output.rows),
                objects: output
                    .objects
                    .into_iter()
                    .map(|(m, rows)| FileObject { member: i32::try_from(m).unwrap_or(i32::MAX), rows: signed(rows) })
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

    fn refuse(&self, plan: &BatchPlan, reason: ReasonCode, detail: &str, now: Timestamp) -> Result<Decision, StageError> {
        let mut decision = Decision::default();
        for member in &plan.members {
            let subject = Subject { dataset: Some(&plan.dataset), object: &member.admitted };
            let charge = Charge { detail: detail.to_owned(), contract_hash: Some(plan.contract_hash.clone()), ..Charge::default() };
            let rows = unsigned(member.rows_physical);
            let rows = RowCounts { physical: rows, quarantined: rows, ..RowCounts::default() };
            decision.sends.extend(self.clerk.quarantine(&subject, reason, charge, rows, "TransformFailed", now)?);
        }
        Ok(decision)
    }

    fn due(&self, _: View<'_>, _: Timestamp) -> Result<Vec<BatchPlan>, StageError> {
        Ok(Vec::new())
    }

    fn next_due(&self, _: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(None)
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
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
        rows_physical: signed(counts.physical),
        rows_staged: signed(counts.physical - quarantined - counts.deduplicated),
        rows_quarantined: signed(quarantined),
        rows_deduplicated: signed(counts.deduplicated),
        rows_held: 0,
        verdict: verdict.to_owned(),
        reasons: done.letters.as_ref().map(|l| l.reasons.clone()).unwrap_or_default(),
    }
}

/// Carries the plan out: CPU and nothing else.
fn carry_out(plan: &BatchPlan, dataset: &Dataset, read_plans: &[FilePlan], opened: Vec<Opened>) -> Result<Staged, StageError> {
    let mut tables = Tables::new(dataset, Timestamp::from_millis(plan.sealed_at));
    let mut members = Vec::with_capacity(opened.len());
    for (index, (member, opened)) in plan.members.iter().zip(opened).enumerate() {
        let file_plan = usize::try_from(member.read_plan)
            .ok()
            .and_then(|i| read_plans.get(i))
            .ok_or_else(|| StageError::Broken { detail: "a plan names a read plan it does not carry".to_owned() })?;
        members.push(match opened {
            Err(why) => Member { fate: Fate::Gone(why), derive_failed: 0, letters: None },
            Ok(content) => transform_member(plan, index, member, file_plan, &dataset.contract, content, &mut tables)?,
        });
    }
    let outputs = tables.finish(plan)?;
    Ok(Staged { members, outputs })
}

fn transform_member(
    plan: &BatchPlan,
    index: usize,
    member: &PlanMember,
    file_plan: &FilePlan,
    contract: &Contract,
    content: Content,
    tables: &mut Tables<'_>,
) -> Result<Member, StageError> {
    let provenance = provenance(plan, &member.admitted);
    let mut letters = LetterBook::new(&member.admitted);
    let mut derive_failed = 0;
    // Only deduplication can reject a file this late: then nothing is written before the last row is read.
    let mut waiting = file_plan.plan.dedupe.is_some().then(Vec::new);
    let counts = read(content, file_plan, &contract.source, |block| {
        let TypedBlock { batch, rows, bad, .. } = block;
        for row in bad {
            letters.add(&row)?;
        }
        let (batch, failed) = tables.prepare(&batch, &rows, &provenance, &mut letters)?;
        derive_failed += failed;
        match &mut waiting {
            Some(waiting) => waiting.push(batch),
            None => tables.write(index, &batch)?,
        }
        Ok(())
    });
    let counts = match counts {
        Ok(counts) => counts,
        Err(PlannedError::Read(crate::format::reader::ReadError::Input(e))) => {
            return Err(StageError::Store(object_store::Error::Generic { store: "landing", source: Box::new(e) }));
        }
        Err(e) => return Err(StageError::Broken { detail: format!("{}/{}: {e}", member.admitted.bucket, member.admitted.key) }),
    };
    let beyond = counts.is_beyond(contract.schema.policy.max_bad_row_ratio);
    let letters = letters.finish().map_err(|detail| StageError::Broken { detail })?;
    if beyond && waiting.is_some() {
        let detail = format!("{} of {} rows are bad or conflicting", counts.quarantined, counts.physical);
        return Ok(Member {
            fate: Fate::Rejected { reason: ReasonCode::DuplicateRows, detail, rows: counts.physical },
            derive_failed: 0,
            letters,
        });
    }
    for batch in waiting.into_iter().flatten() {
        tables.write(index, &batch).map_err(|detail| StageError::Broken { detail })?;
    }
    Ok(Member { fate: Fate::Staged(counts), derive_failed, letters })
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

/// Bad rows of one member as JSON Lines.
struct LetterBook {
    /// `bucket/key`.
    file: String,
    sink: Sink,
    samples: Vec<String>,
    reasons: BTreeMap<String, i64>,
}

impl LetterBook {
    fn new(object: &Admitted) -> Self {
        Self { file: format!("{}/{}", object.bucket, object.key), sink: Sink::default(), samples: Vec::new(), reasons: BTreeMap::new() }
    }

    fn add(&mut self, row: &BadRow) -> Result<(), String> {
        let path = Some(row.path.clone()).filter(|p| !p.is_empty());
        let finding = RowFinding { reason: row.reason, detail: row.detail.clone(), path };
        self.put(&RowLetter::new(&self.file, Some(row.place), &row.source, finding))
    }

    fn put(&mut self, letter: &RowLetter) -> Result<(), String> {
        let mut line = Vec::new();
        letter.write_line(&mut line);
        *self.reasons.entry(letter.reason().as_str().to_owned()).or_default() += 1;
        self.sink.write_all(&line).map_err(|e| format!("row letters: {e}"))?;
        if self.samples.len() < SAMPLES_MAX && line.len() <= SAMPLE_BYTES_MAX {
            self.samples.push(letter.json().to_string());
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<Letters>, String> {
        if self.sink.is_empty() {
            return Ok(None);
        }
        let written = self.sink.finish().map_err(|e| format!("row letters: {e}"))?;
        Ok(Some(Letters { written, samples: self.samples, reasons: self.reasons }))
    }
}

/// The files of one plan while they are written.
struct Tables<'a> {
    contract: &'a Contract,
    parquet: ParquetOptions,
    sealed_at: Timestamp,
    /// Compiled once per input schema: members of one plan share it but for raw columns.
    derives: Vec<(SchemaRef, Arc<Derive>)>,
    open: BTreeMap<(String, String), OpenTable>,
    waiting_bytes: usize,
}

/// One file of the plan. Rows wait here while they are few: a plan may touch hundreds of partitions,
/// and an open writer costs far more memory than the rows of a small one.
#[derive(Default)]
struct OpenTable {
    writer: Option<TableWriter<Sink>>,
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
    objects: Vec<(usize, u64)>,
}

impl OpenTable {
    /// Moves what waits into the writer, opened now if it is not.
    fn flush(&mut self, parquet: ParquetOptions) -> Result<(), String> {
        self.waiting_bytes = 0;
        for rows in std::mem::take(&mut self.waiting) {
            if self.writer.is_none() {
                self.writer = Some(TableWriter::new(Sink::default(), rows.schema(), parquet).map_err(|e| e.to_string())?);
            }
            if let Some(writer) = &mut self.writer {
                writer.write(&rows).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

impl<'a> Tables<'a> {
    fn new(dataset: &'a Dataset, sealed_at: Timestamp) -> Self {
        Self {
            contract: &dataset.contract,
            parquet: dataset.parquet(),
            sealed_at,
            derives: Vec::new(),
            open: BTreeMap::new(),
            waiting_bytes: 0,
        }
    }

    fn derive(&mut self, schema: &SchemaRef) -> Result<Arc<Derive>, String> {
        if let Some((_, known)) = self.derives.iter().find(|(s, _)| s == schema) {
            return Ok(Arc::clone(known));
        }
        let compiled = Derive::compile(&self.contract.transform.derive, schema)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let compiled = Arc::new(compiled);
        self.derives.push((Arc::clone(schema), Arc::clone(&compiled)));
        Ok(compiled)
    }

    /// Derived, selected and extended rows; those `derive` refuses go to the letters.
    fn prepare(
        &mut self,
        batch: &RecordBatch,
        rows: &[u64],
        from: &Provenance,
        letters: &mut LetterBook,
    ) -> Result<(RecordBatch, u64), String> {
        debug_assert!(from.processed_at == self.sealed_at, "every member of a plan is processed at its seal time");
        let mut batch = batch.clone();
        let mut rows = std::borrow::Cow::Borrowed(rows);
        let mut failed = 0;
        if !self.contract.transform.derive.is_empty() {
            let derived = self.derive(&batch.schema())?.apply(&batch).map_err(|e| e.to_string())?;
            batch = derived.batch;
            if !derived.failed.is_empty() {
                let mut keep = vec![true; batch.num_rows()];
                for failure in &derived.failed {
                    if std::mem::replace(&mut keep[failure.row_idx], false) {
                        failed += 1;
                        let detail = format!("row {}: derive.{}: {}", rows[failure.row_idx], failure.column, failure.detail);
                        let finding = RowFinding { reason: ReasonCode::DeriveFailed, detail, path: Some(failure.column.clone()) };
                        letters.put(&RowLetter::new(&letters.file, None, b"", finding))?;
                    }
                }
                rows = rows.iter().zip(&keep).filter(|(_, k)| **k).map(|(r, _)| *r).collect::<Vec<_>>().into();
                batch = arrow::compute::filter_record_batch(&batch, &keep.into()).map_err(|e| e.to_string())?;
            }
        }
        if let Some(select) = &self.contract.transform.select {
            batch = selected(&batch, select, &self.contract.transform.partition_by)?;
        }
        let extended = extend(&batch, &rows, from).map_err(|e| e.to_string())?;
        Ok((extended, failed))
    }

    fn write(&mut self, member: usize, batch: &RecordBatch) -> Result<(), String> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        for (partition, rows) in split(batch, &self.contract.transform.partition_by).map_err(|e| e.to_string())? {
            // Rows of two schemas never share a file: raw columns are there only where they were needed.
            let names =
                rows.schema_ref().fields().iter().map(|f| format!("{}\u{1}{}", f.name(), f.data_type())).collect::<Vec<_>>().join("\u{2}");
            let at = (partition, names);
            if !self.open.contains_key(&at) && self.open.len() >= PARTITIONS_MAX {
                return Err(format!(
                    "one batch would open more than {PARTITIONS_MAX} partitions; choose coarser partition_by columns or smaller batches"
                ));
            }
            let table = self.open.entry(at).or_default();
            let n = rows.num_rows() as u64;
            match table.objects.last_mut() {
                Some((last, count)) if *last == member => *count += n,
                _ => table.objects.push((member, n)),
            }
            let bytes = rows.get_array_memory_size();
            table.waiting.push(rows);
            table.waiting_bytes += bytes;
            self.waiting_bytes += bytes;
            if table.waiting_bytes > TABLE_WAITING_MAX {
                self.waiting_bytes -= table.waiting_bytes;
                table.flush(self.parquet)?;
            }
        }
        if self.waiting_bytes > WAITING_MAX {
            self.waiting_bytes = 0;
            self.open.values_mut().try_for_each(|table| table.flush(self.parquet))?;
        }
        Ok(())
    }

    fn finish(self, plan: &BatchPlan) -> Result<Vec<Output>, StageError> {
        let broken = |detail: String| StageError::Broken { detail };
        let mut outputs = Vec::new();
        for ((partition, _), mut table) in self.open {
            table.flush(self.parquet).map_err(broken)?;
            let Some(writer) = table.writer else { continue };
            let footer = Footer {
                format_version: Footer::FORMAT_VERSION,
                dataset: plan.dataset.clone(),
                batch_id: plan.batch_id.clone(),
                commit_seq: 0,
                stamp: String::new(),
                objects: table.objects.iter().map(|(m, rows)| footer_object(&plan.members[*m].admitted, *rows)).collect(),
            };
            let rows = writer.rows();
            let sink = writer.finish(&footer).map_err(|e| broken(e.to_string()))?;
            let written = sink.finish().map_err(|e| broken(e.to_string()))?;
            outputs.push(Output { partition, written, rows, objects: table.objects });
        }
        Ok(outputs)
    }
}

/// A member as footers name it.
pub fn footer_object(object: &Admitted, rows: u64) -> FooterObject {
    FooterObject {
        object: format!("{}/{}", object.bucket, object.key),
        token: object.token.clone(),
        generation: u32::try_from(object.generation).unwrap_or(0),
        run_id: object.run_id.clone(),
        rows,
    }
}

/// `select`, in its order; partition columns and kept originals always stay.
fn selected(batch: &RecordBatch, select: &[String], partition_by: &[String]) -> Result<RecordBatch, String> {
    let schema = batch.schema();
    let mut kept: Vec<usize> = Vec::new();
    for name in select {
        match schema.index_of(name) {
            Ok(i) => kept.push(i),
            Err(_) if crate::table::columns::OPERATIONAL.contains(&name.as_str()) => {}
            Err(_) => return Err(format!("select names {name}, which is neither a column nor derived")),
        }
    }
    for (i, field) in schema.fields().iter().enumerate() {
        let name = field.name();
        let original = name.strip_suffix("__raw").is_some_and(|c| select.iter().any(|s| s == c)) || name == crate::schema::read::RESCUED;
        if !kept.contains(&i) && (original || partition_by.contains(name)) {
            kept.push(i);
        }
    }
    batch.project(&kept).map_err(|e| e.to_string())
}
