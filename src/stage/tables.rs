//! The tables of one plan while they are written: rows derived, selected, extended and split by hive
//! partition, one Parquet file per partition and schema.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::contract::model::Contract;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::expression::derive::Derive;
use crate::quarantine::row::{REDACTED, RowFinding, RowLetter};
use crate::schema::read::{Origin, TypedBlock};
use crate::stage::catalog::Dataset;
use crate::stage::row_letters::LetterBook;
use crate::stage::spool::{Sink, Written};
use crate::stage::{Payload, StageError};
use crate::table::columns::{Operational, extend, with_operational};
use crate::table::footer::{Footer, FooterObject};
use crate::table::parquet::{ParquetOptions, TableWriter};
use crate::table::partition::{file_schema, split};
use crate::table::rewrite::{Part, compose};
use crate::wire::records::{Admitted, BatchPlan};

/// Hive partitions of one plan at most: each holds an open writer.
const PARTITIONS_MAX: usize = 2_000;

/// Rows of one file that wait before its writer is opened.
const TABLE_WAITING_MAX: usize = 4 << 20;

/// Rows of all files of a plan that wait.
const WAITING_MAX: usize = 48 << 20;

/// One finished file.
pub struct Output {
    pub partition: String,
    pub written: Written,
    pub rows: u64,
    /// Member index and rows, in file order.
    pub objects: Vec<(usize, u64)>,
}

/// The files of one plan while they are written.
pub struct Tables<'a> {
    contract: &'a Contract,
    parquet: ParquetOptions,
    sealed_at: Timestamp,
    /// Compiled once per input schema: members of one plan share it but for raw columns.
    derives: Vec<(SchemaRef, Arc<Derive>)>,
    /// By the schema before the operational columns; as few as `derives`.
    forms: Vec<(SchemaRef, Arc<Form>)>,
    open: BTreeMap<(String, Arc<str>), OpenTable>,
    waiting_bytes: usize,
}

/// What rows of one schema become.
struct Form {
    /// With the operational columns.
    extended: SchemaRef,
    /// Of the files: without the partition columns.
    file: SchemaRef,
    /// Tells files of different columns apart.
    names: Arc<str>,
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
    pub fn new(dataset: &'a Dataset, sealed_at: Timestamp) -> Self {
        Self {
            contract: &dataset.contract,
            parquet: dataset.parquet(),
            sealed_at,
            derives: Vec::new(),
            forms: Vec::new(),
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

    fn form(&mut self, schema: &SchemaRef) -> Arc<Form> {
        if let Some((_, known)) = self.forms.iter().find(|(s, _)| s == schema) {
            return Arc::clone(known);
        }
        let extended = with_operational(schema);
        let file = file_schema(&extended, &self.contract.transform.partition_by);
        let names = file.fields().iter().map(|f| format!("{}\u{1}{}", f.name(), f.data_type())).collect::<Vec<_>>().join("\u{2}");
        let form = Arc::new(Form { extended, file, names: names.into() });
        self.forms.push((Arc::clone(schema), Arc::clone(&form)));
        form
    }

    /// Derived, selected and extended rows, and how many `derive` refused; those go to the letters.
    ///
    /// # Errors
    /// A broken promise of ours, or a contract that cannot be carried out.
    pub fn prepare(
        &mut self,
        typed: &TypedBlock,
        origin: Origin<'_>,
        operational: &mut Operational,
        letters: &mut LetterBook,
    ) -> Result<(RecordBatch, u64), String> {
        debug_assert!(operational.from().processed_at == self.sealed_at, "every member of a plan is processed at its seal time");
        let mut batch = typed.batch.clone();
        let mut rows = std::borrow::Cow::Borrowed(typed.rows.as_slice());
        let mut failed = 0;
        if !self.contract.transform.derive.is_empty() {
            let derived = self.derive(&batch.schema())?.apply(&batch).map_err(|e| e.to_string())?;
            batch = derived.batch;
            if !derived.failed.is_empty() {
                let sensitive = self.contract.schema.columns.values().any(|c| c.sensitive);
                let mut keep = vec![true; batch.num_rows()];
                for failure in &derived.failed {
                    if std::mem::replace(&mut keep[failure.row_idx], false) {
                        failed += 1;
                        // What the engine says may quote the value.
                        let why = if sensitive { REDACTED } else { &failure.detail };
                        let detail = format!("derive.{}: {why}", failure.column);
                        let finding = RowFinding { reason: ReasonCode::DeriveFailed, detail, path: Some(failure.column.clone()) };
                        let (place, source) = origin(failure.row_idx);
                        letters.put(&RowLetter::new(letters.file(), Some(place), &source, finding))?;
                    }
                }
                rows = rows.iter().zip(&keep).filter(|(_, k)| **k).map(|(r, _)| *r).collect::<Vec<_>>().into();
                batch = arrow::compute::filter_record_batch(&batch, &keep.into()).map_err(|e| e.to_string())?;
            }
        }
        if let Some(select) = &self.contract.transform.select {
            batch = selected(&batch, select, &self.contract.transform.partition_by)?;
        }
        let form = self.form(batch.schema_ref());
        let extended = extend(&batch, &form.extended, &rows, operational).map_err(|e| e.to_string())?;
        Ok((extended, failed))
    }

    /// Takes prepared rows of one member, in file order.
    ///
    /// # Errors
    /// More partitions than can be open, or a file that cannot be written.
    pub fn write(&mut self, member: usize, batch: &RecordBatch) -> Result<(), String> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let form = self.forms.iter().find(|(_, form)| form.extended == *batch.schema_ref());
        let (_, form) = form.ok_or_else(|| "rows are written that were not prepared".to_owned())?;
        for (partition, rows) in split(batch, &self.contract.transform.partition_by, &form.file).map_err(|e| e.to_string())? {
            // Rows of two schemas never share a file: raw columns are there only where they were needed.
            let at = (partition, Arc::clone(&form.names));
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

    /// # Errors
    /// A file cannot be finished.
    pub fn finish(self, plan: &BatchPlan) -> Result<Vec<Output>, StageError> {
        let broken = |detail: String| StageError::Broken { detail };
        let mut outputs = Vec::new();
        for ((partition, _), mut table) in self.open {
            table.flush(self.parquet).map_err(broken)?;
            let Some(writer) = table.writer else { continue };
            let objects = table.objects.iter().map(|(m, rows)| footer_object(&plan.members[*m].admitted, *rows));
            let footer = staged_footer(plan, objects.collect());
            let rows = writer.rows();
            let sink = writer.finish(&footer).map_err(|e| broken(e.to_string()))?;
            let written = sink.finish().map_err(|e| broken(e.to_string()))?;
            outputs.push(Output { partition, written, rows, objects: table.objects });
        }
        Ok(outputs)
    }
}

impl Output {
    /// The file without the rows of these members; `None`: nothing is left of it.
    ///
    /// # Errors
    /// The file just written cannot be read.
    pub fn without(self, members: &BTreeSet<usize>, plan: &BatchPlan, options: ParquetOptions) -> Result<Option<Self>, StageError> {
        if !self.objects.iter().any(|(m, _)| members.contains(m)) {
            return Ok(Some(self));
        }
        let objects: Vec<(usize, u64)> = self.objects.iter().filter(|(m, _)| !members.contains(m)).copied().collect();
        if objects.is_empty() {
            return Ok(None);
        }
        let broken = |e: String| StageError::Broken { detail: e };
        let file = match &self.written.payload {
            Payload::Bytes(bytes) => bytes.clone(),
            Payload::Spool(spool) => std::fs::read(&spool.path).map_err(|e| broken(e.to_string()))?.into(),
        };
        let refused: Vec<FooterObject> = members.iter().map(|m| footer_object(&plan.members[*m].admitted, 0)).collect();
        let same = |a: &FooterObject, b: &FooterObject| (&a.object, &a.token, a.generation) == (&b.object, &b.token, b.generation);
        let part = Part { file, keep: Box::new(move |o| !refused.iter().any(|r| same(r, o))) };
        let bytes = compose(vec![part], options, |objects| staged_footer(plan, objects)).map_err(|e| broken(e.to_string()))?;
        let mut sink = Sink::default();
        sink.write_all(&bytes).map_err(|e| broken(e.to_string()))?;
        let written = sink.finish().map_err(|e| broken(e.to_string()))?;
        Ok(Some(Output { written, rows: objects.iter().map(|(_, rows)| rows).sum(), objects, ..self }))
    }
}

fn staged_footer(plan: &BatchPlan, objects: Vec<FooterObject>) -> Footer {
    Footer {
        format_version: Footer::FORMAT_VERSION,
        dataset: plan.dataset.clone(),
        batch_id: plan.batch_id.clone(),
        commit_seq: 0,
        stamp: String::new(),
        objects,
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
        let original = name.strip_suffix("__raw").is_some_and(|c| select.iter().any(|s| s == c)) || name == crate::schema::typing::RESCUED;
        if !kept.contains(&i) && (original || partition_by.contains(name)) {
            kept.push(i);
        }
    }
    batch.project(&kept).map_err(|e| e.to_string())
}
