//! Check: the contract's rules over the staged batch, per source object. What is held back is
//! filtered out of the staged files here; publish never filters (decisions.md 1).

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Map, Value, json};

use crate::broker::Record;
use crate::domain::names::StageName;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::lake::layout::{hive_unescape, key, staged_file, staged_rows};
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::pipeline::work::Work;
use crate::quality::report::{ObjectVerdict, Report};
use crate::quarantine::row::{RowFinding, RowLetter};
use crate::stage::ahead::ahead;
use crate::stage::catalog::{Catalog, Dataset};
use crate::stage::judging::{Judge, is_judged};
use crate::stage::letters::{Charge, Clerk, RowCounts, Subject};
use crate::stage::spool::{Sink, Written};
use crate::stage::{Decision, PutHow, PutObject, Stage, StageError, Verdict};
use crate::state::View;
use crate::table::footer::Footer;
use crate::table::parquet::{TableFile, TableWriter};
use crate::wire::codec::CodecError;
use crate::wire::records::{FORMAT_VERSION, FileObject, QualityReport, StagedBatch, StagedFile};

/// Rows read at a time.
const BATCH_ROWS: usize = 64 << 10;

/// Staged files fetched at once.
const FILES_AT_ONCE: usize = 16;

/// Row letters that travel in the record itself.
const SAMPLES_MAX: usize = 20;

pub struct Check {
    pub catalog: Arc<Catalog>,
    pub lake: Arc<dyn ObjectStore>,
    pub clerk: Clerk,
    pub work: Work,
}

/// What the rules said of one object.
pub struct Judged {
    verdict: ObjectVerdict,
    report: Option<Report>,
    letters: Option<HeldRows>,
}

struct HeldRows {
    written: Written,
    samples: Vec<String>,
    rows: u64,
}

/// A staged file without the rows that are held back; `None`: nothing of it is left.
pub struct Filtered {
    index: usize,
    left: Option<(Written, u64, Vec<FileObject>)>,
}

pub struct Facts {
    members: BTreeMap<usize, Judged>,
    filtered: Vec<Filtered>,
}

fn broken(e: impl std::fmt::Display) -> StageError {
    StageError::Broken { detail: e.to_string() }
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The hive path's values as columns: rules may speak of them, the file does not hold them.
fn with_partition(batch: &RecordBatch, partition: &str) -> Result<RecordBatch, StageError> {
    let mut fields: Vec<_> = batch.schema_ref().fields().iter().cloned().collect();
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    for (name, value) in partition.split('/').filter_map(|p| p.split_once('=')) {
        let name = hive_unescape(name);
        if fields.iter().any(|f| *f.name() == name) || crate::table::columns::OPERATIONAL.contains(&name.as_str()) {
            continue;
        }
        let value = (value != crate::lake::layout::HIVE_NULL).then(|| hive_unescape(value));
        fields.push(Arc::new(arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Utf8, true)));
        columns.push(Arc::new(StringArray::from_iter(std::iter::repeat_n(value.as_deref(), batch.num_rows()))));
    }
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).map_err(broken)
}

/// What is read of a staged file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Columns {
    /// The data's own, not ours, and those of the path: what rules speak of.
    Judged,
    /// As they lie in the file.
    All,
}

/// One staged file, its rows and whose they are.
struct Opened<'a> {
    file: &'a StagedFile,
    bytes: Bytes,
}

impl Opened<'_> {
    /// Every batch, cut at the borders of objects: member, rows.
    fn pieces(&self, columns: Columns, mut each: impl FnMut(usize, &RecordBatch) -> Result<(), StageError>) -> Result<(), StageError> {
        let table = TableFile::open(self.bytes.clone()).map_err(broken)?;
        let judged = (columns == Columns::Judged)
            .then(|| table.schema().fields().iter().map(|f| f.name().clone()).filter(|name| is_judged(name)).collect::<Vec<_>>());
        let mut owners = self.file.objects.iter().map(|o| (usize::try_from(o.member).unwrap_or(usize::MAX), count(o.rows)));
        let (mut member, mut left) = owners.next().unwrap_or((usize::MAX, 0));
        let mut batches = table.read(judged.as_deref(), BATCH_ROWS).map_err(broken)?;
        let next = || {
            let Some(batch) = batches.next().transpose().map_err(broken)? else { return Ok(None) };
            if columns == Columns::Judged { with_partition(&batch, &self.file.partition).map(Some) } else { Ok(Some(batch)) }
        };
        ahead(next, |batch| {
            let mut at = 0;
            while at < batch.num_rows() {
                while left == 0 {
                    (member, left) =
                        owners.next().ok_or_else(|| broken(format!("{} holds more rows than its record counts", self.file.key)))?;
                }
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(batch.num_rows() - at);
                each(member, &batch.slice(at, n))?;
                at += n;
                left -= n as u64;
            }
            Ok(())
        })
    }
}

/// Judges every object, then filters the files that hold rows of what is held back.
fn judge(batch: &StagedBatch, dataset: &Dataset, files: &[Bytes]) -> Result<Facts, StageError> {
    let opened: Vec<Opened<'_>> = batch.files.iter().zip(files).map(|(file, bytes)| Opened { file, bytes: bytes.clone() }).collect();
    let mut judge = Judge::new(dataset, Timestamp::from_millis(batch.sealed_at)).map_err(broken)?;
    let mut members: BTreeMap<usize, Judged> = BTreeMap::new();
    for (index, member) in batch.members.iter().enumerate() {
        if member.verdict == "staged" && member.rows_staged == 0 {
            judge.touch(index);
        }
    }
    for file in &opened {
        file.pieces(Columns::Judged, |member, rows| judge.push(member, rows).map_err(broken))?;
    }
    for (member, (report, verdict)) in judge.finish() {
        members.insert(member, Judged { verdict, report, letters: None });
    }
    let filtered = filter(batch, dataset, &opened, &mut members)?;
    Ok(Facts { members, filtered })
}

/// What is left of each file that holds rows of somebody held back.
fn filter(
    batch: &StagedBatch,
    dataset: &Dataset,
    opened: &[Opened<'_>],
    members: &mut BTreeMap<usize, Judged>,
) -> Result<Vec<Filtered>, StageError> {
    let mut seen: BTreeMap<usize, u64> = BTreeMap::new();
    let mut books: BTreeMap<usize, (Sink, Vec<String>, u64)> = BTreeMap::new();
    let mut filtered = Vec::new();
    for (index, file) in opened.iter().enumerate() {
        let touched = file.file.objects.iter().any(|o| {
            let judged = usize::try_from(o.member).ok().and_then(|m| members.get(&m));
            judged.is_some_and(|j| !matches!(j.verdict, ObjectVerdict::Accept { .. }))
        });
        if !touched {
            for o in &file.file.objects {
                *seen.entry(usize::try_from(o.member).unwrap_or(usize::MAX)).or_default() += count(o.rows);
            }
            continue;
        }
        let footer = TableFile::open(file.bytes.clone()).map_err(broken)?;
        let mut writer = TableWriter::new(Sink::default(), footer.schema().clone(), dataset.parquet()).map_err(broken)?;
        let held_footer = footer.footer().ok_or_else(|| broken("a staged file has no footer of ours"))?;
        let mut left: Vec<FileObject> = Vec::new();
        file.pieces(Columns::All, |member, rows| {
            let start = seen.entry(member).or_default();
            let first = *start;
            *start += rows.num_rows() as u64;
            let kept = match members.get(&member).map(|j| &j.verdict) {
                None | Some(ObjectVerdict::Accept { .. }) => rows.clone(),
                Some(ObjectVerdict::Reject { .. }) => return Ok(()),
                Some(ObjectVerdict::AcceptMinusRows { rows: bad, by_rule, .. }) => {
                    let keep: BooleanArray = (0..rows.num_rows()).map(|i| Some(!bad.contains(first + i as u64))).collect();
                    let book = books.entry(member).or_default();
                    for i in (0..rows.num_rows()).filter(|i| !keep.value(*i)) {
                        let rules: Vec<&str> =
                            by_rule.iter().filter(|(_, set)| set.contains(first + i as u64)).map(|(text, _)| text.as_str()).collect();
                        hold(book, batch, member, rows, i, &rules)?;
                    }
                    arrow::compute::filter_record_batch(rows, &keep).map_err(broken)?
                }
            };
            if kept.num_rows() > 0 {
                writer.write(&kept).map_err(broken)?;
                let (m, n) = (i32::try_from(member).unwrap_or(i32::MAX), signed(kept.num_rows() as u64));
                match left.last_mut() {
                    Some(last) if last.member == m => last.rows += n,
                    _ => left.push(FileObject { member: m, rows: n }),
                }
            }
            Ok(())
        })?;
        let objects = left
            .iter()
            .map(|o| crate::stage::transform::footer_object(&batch.members[usize::try_from(o.member).unwrap_or(0)].admitted, count(o.rows)))
            .collect();
        let rows = writer.rows();
        let sink = writer.finish(&Footer { objects, ..held_footer }).map_err(broken)?;
        let left = if rows > 0 { Some((sink.finish().map_err(broken)?, rows, left)) } else { None };
        filtered.push(Filtered { index, left });
    }
    for (member, (sink, samples, rows)) in books {
        if let Some(judged) = members.get_mut(&member) {
            judged.letters = Some(HeldRows { written: sink.finish().map_err(broken)?, samples, rows });
        }
    }
    Ok(filtered)
}

/// One row letter: every failing rule, the row as it would have been published.
fn hold(
    book: &mut (Sink, Vec<String>, u64),
    batch: &StagedBatch,
    member: usize,
    rows: &RecordBatch,
    i: usize,
    rules: &[&str],
) -> Result<(), StageError> {
    let admitted = &batch.members[member].admitted;
    let number = rows.column_by_name("_source_row").and_then(|c| c.as_any().downcast_ref::<Int64Array>().map(|a| a.value(i)));
    let mut shown = Map::new();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()).filter(|(f, _)| is_judged(f.name())) {
        let options = FormatOptions::default();
        let text = ArrayFormatter::try_new(column.as_ref(), &options).map_err(broken)?;
        shown.insert(field.name().clone(), if column.is_null(i) { Value::Null } else { Value::from(text.value(i).to_string()) });
    }
    let detail = format!("row {}: {}", number.unwrap_or(-1), rules.join("; "));
    let finding = RowFinding { reason: ReasonCode::QualityRule, detail, path: None };
    let letter =
        RowLetter::new(&format!("{}/{}", admitted.bucket, admitted.key), None, Value::Object(shown).to_string().as_bytes(), finding);
    let mut line = Vec::new();
    letter.write_line(&mut line);
    book.0.write_all(&line).map_err(broken)?;
    if book.1.len() < SAMPLES_MAX && line.len() <= 4096 {
        book.1.push(letter.json().to_string());
    }
    book.2 += 1;
    Ok(())
}

#[async_trait]
impl Stage for Check {
    const NAME: StageName = StageName::Check;
    type Input = StagedBatch;
    type Known = ();
    type Facts = Facts;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<StagedBatch, CodecError> {
        self.clerk.outlet.codec.decode(value)
    }

    fn weight(&self, batch: &StagedBatch) -> u64 {
        batch.files.iter().map(|f| count(f.bytes)).sum()
    }

    fn look(&self, _: View<'_>, _: &StagedBatch) -> Result<(), StageError> {
        Ok(())
    }

    async fn gather(&self, batch: &StagedBatch, (): ()) -> Result<Facts, StageError> {
        let dataset = self.catalog.version(&batch.dataset, &batch.contract_hash).await?;
        if dataset.contract.quality.rules.is_none() {
            return Ok(Facts { members: BTreeMap::new(), filtered: Vec::new() });
        }
        let mut fetching = Vec::with_capacity(batch.files.len());
        for file in &batch.files {
            fetching.push(fetch(Arc::clone(&self.lake), file.key.clone()));
        }
        let files: Vec<Result<Bytes, StageError>> = futures::stream::iter(fetching).buffered(FILES_AT_ONCE).collect().await;
        let files = files.into_iter().collect::<Result<Vec<_>, _>>()?;
        let batch = batch.clone();
        self.work.run(move || judge(&batch, &dataset, &files)).await?
    }

    fn decide(&self, _: View<'_>, batch: &StagedBatch, facts: Facts, now: Timestamp) -> Result<Verdict, StageError> {
        let mut decision = Decision::default();
        let mut checked = batch.clone();
        let mut gone: Vec<usize> = Vec::new();
        for filtered in facts.filtered {
            let file = &mut checked.files[filtered.index];
            match filtered.left {
                None => gone.push(filtered.index),
                Some((written, rows, objects)) => {
                    let to = staged_file(&batch.dataset, &batch.batch_id, &written.digest);
                    decision.puts.push(PutObject { to: key(&to), payload: written.payload, how: PutHow::Replace });
                    *file = StagedFile {
                        key: to,
                        digest: written.digest,
                        bytes: signed(written.bytes),
                        partition: file.partition.clone(),
                        rows: signed(rows),
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
        let mut members = facts.members;
        for (index, member) in checked.members.iter_mut().enumerate().filter(|(_, m)| m.verdict == "staged") {
            "accepted".clone_into(&mut member.verdict);
            let Some(judged) = members.remove(&index) else { continue };
            let subject_of = member.admitted.clone();
            let subject = Subject { dataset: Some(&batch.dataset), object: &subject_of };
            match &judged.verdict {
                ObjectVerdict::Accept { .. } => {}
                ObjectVerdict::AcceptMinusRows { .. } => {
                    let Some(letters) = judged.letters else { continue };
                    "accepted_minus_rows".clone_into(&mut member.verdict);
                    member.rows_held = signed(letters.rows);
                    member.reasons.insert(ReasonCode::QualityRule.as_str().to_owned(), signed(letters.rows));
                    let to = staged_rows(&batch.dataset, &letters.written.digest);
                    decision.puts.push(PutObject { to: key(&to), payload: letters.written.payload, how: PutHow::Replace });
                    let charge = Charge {
                        detail: format!("{} of {} rows fail quality rules", letters.rows, member.rows_staged),
                        rows: BTreeMap::from([(ReasonCode::QualityRule.as_str().to_owned(), signed(letters.rows))]),
                        row_letters: Some(to),
                        samples: letters.samples,
                        evidence: judged.report.as_ref().map(|r| r.to_json().to_string()),
                        contract_hash: Some(batch.contract_hash.clone()),
                    };
                    decision.sends.push(self.clerk.letter(&subject, ReasonCode::QualityRule, charge, now)?);
                }
                ObjectVerdict::Reject { .. } => {
                    "rejected".clone_into(&mut member.verdict);
                    member.rows_held = member.rows_staged;
                    let detail = judged.report.as_ref().map_or_else(|| "a hard rule failed".to_owned(), crate::stage::judging::failures);
                    let charge = Charge {
                        detail,
                        evidence: judged.report.as_ref().map(|r| r.to_json().to_string()),
                        contract_hash: Some(batch.contract_hash.clone()),
                        ..Charge::default()
                    };
                    let rows = RowCounts {
                        physical: count(member.rows_physical),
                        quarantined: count(member.rows_physical),
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
            decision.sends.push(self.report(batch, &reports, now)?);
        }
        let headers = vec![("dataset".to_owned(), batch.dataset.clone().into())];
        decision.sends.push(self.clerk.outlet.record(Topic::Checked, &batch.dataset, Placed::By(&batch.dataset), &checked, headers)?);
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, batch: &StagedBatch, reason: ReasonCode, detail: &str, now: Timestamp) -> Result<Decision, StageError> {
        let mut decision = Decision::default();
        for member in batch.members.iter().filter(|m| m.verdict == "staged") {
            let subject = Subject { dataset: Some(&batch.dataset), object: &member.admitted };
            let charge = Charge { detail: detail.to_owned(), contract_hash: Some(batch.contract_hash.clone()), ..Charge::default() };
            let rows =
                RowCounts { physical: count(member.rows_physical), quarantined: count(member.rows_physical), ..RowCounts::default() };
            decision.sends.extend(self.clerk.quarantine(&subject, reason, charge, rows, "DQFailed", now)?);
        }
        Ok(decision)
    }

    fn due(&self, _: View<'_>, _: Timestamp) -> Result<Vec<StagedBatch>, StageError> {
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
    fn report(&self, batch: &StagedBatch, reports: &[(String, Report)], now: Timestamp) -> Result<crate::broker::OutRecord, StageError> {
        let tally = |outcome: &str| reports.iter().map(|(_, r)| r.count(outcome)).sum::<u64>();
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
        // Merging copies what was measured, which for one large object is its whole table of values.
        let merged = match reports {
            [(_, only)] => Some(only.to_json()),
            all => Report::merge_all(all.iter().map(|(_, r)| r)).map(|r| r.to_json()),
        };
        let record = QualityReport {
            format_version: FORMAT_VERSION,
            batch_id: batch.batch_id.clone(),
            dataset: batch.dataset.clone(),
            at: now.millis(),
            outcome: outcome.to_owned(),
            passed: signed(passed),
            failed: signed(failed),
            not_evaluated: signed(not_evaluated),
            report: json!({ "batch": merged, "objects": telling }).to_string(),
        };
        let headers = vec![("dataset".to_owned(), batch.dataset.clone().into())];
        Ok(self.clerk.outlet.record(Topic::QualityReports, &batch.batch_id, Placed::By(&batch.batch_id), &record, headers)?)
    }
}
