//! Staged files opened for judging, and what is left of those that hold rows of what is held back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::domain::reason::ReasonCode;
use crate::lake::layout::hive_unescape;
use crate::quality::report::ObjectVerdict;
use crate::quality::rows::RowSet;
use crate::quarantine::row::{REDACTED, RowFinding, RowLetter, Sensitive};
use crate::stage::StageError;
use crate::stage::ahead::ahead;
use crate::stage::catalog::Dataset;
use crate::stage::judging::{Judged, is_judged};
use crate::stage::row_letters::{LetterBook, Letters};
use crate::stage::spool::{Sink, Written};
use crate::stage::tables::footer_object;
use crate::table::footer::Footer;
use crate::table::parquet::{TableFile, TableWriter};
use crate::wire::long;
use crate::wire::records::{FileObject, StagedBatch, StagedFile};

/// Rows read at a time.
const BATCH_ROWS: usize = 64 << 10;

/// A staged file without the rows that are held back; `None`: nothing of it is left.
pub struct Filtered {
    /// Place in the batch's files.
    pub index: usize,
    pub left: Option<(Written, u64, Vec<FileObject>)>,
}

fn broken(e: impl std::fmt::Display) -> StageError {
    StageError::Broken { detail: e.to_string() }
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
pub enum Columns {
    /// The data's own, not ours, and those of the path: what rules speak of.
    Judged,
    /// As they lie in the file.
    All,
}

/// One staged file, its rows and whose they are.
pub struct Opened<'a> {
    pub file: &'a StagedFile,
    pub bytes: Bytes,
}

impl Opened<'_> {
    /// Every batch, cut at the borders of objects: member, rows.
    ///
    /// # Errors
    /// The file is not what its record says.
    pub fn pieces(&self, columns: Columns, mut each: impl FnMut(usize, &RecordBatch) -> Result<(), StageError>) -> Result<(), StageError> {
        let table = TableFile::open(self.bytes.clone()).map_err(broken)?;
        let judged = (columns == Columns::Judged)
            .then(|| table.schema().fields().iter().map(|f| f.name().clone()).filter(|name| is_judged(name)).collect::<Vec<_>>());
        let mut owners = self.file.objects.iter().map(|o| (usize::try_from(o.member).unwrap_or(usize::MAX), long::count(o.rows)));
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

    /// The columns rules are judged over.
    ///
    /// # Errors
    /// The file is no staged file of ours.
    pub fn judged_schema(&self) -> Result<SchemaRef, StageError> {
        let whole = TableFile::open(self.bytes.clone()).map_err(broken)?.schema().clone();
        let kept: Vec<usize> = whole.fields().iter().enumerate().filter(|(_, f)| is_judged(f.name())).map(|(i, _)| i).collect();
        let judged = RecordBatch::new_empty(Arc::new(whole.project(&kept).map_err(broken)?));
        Ok(with_partition(&judged, &self.file.partition)?.schema())
    }
}

/// Files and letters that come of the verdicts.
#[derive(Default)]
pub struct Remainder {
    /// Only files that are not left as they were.
    pub files: Vec<Filtered>,
    /// Rows held back, by member.
    pub letters: BTreeMap<usize, Letters>,
}

/// Takes what is held back out of the files.
///
/// # Errors
/// A staged file is not what its record says, or cannot be written again.
pub fn filter(
    batch: &StagedBatch,
    dataset: &Dataset,
    opened: &[Opened<'_>],
    judged: &BTreeMap<usize, Judged>,
) -> Result<Remainder, StageError> {
    let columns = &dataset.contract.schema.columns;
    let sensitive = Sensitive::new(columns.iter().filter(|(_, c)| c.sensitive).map(|(name, _)| name.clone()));
    let mut sieve = Sieve { batch, dataset, judged, sensitive, seen: BTreeMap::new(), books: BTreeMap::new() };
    let mut remainder = Remainder::default();
    for (index, file) in opened.iter().enumerate() {
        let touched = file.file.objects.iter().any(|o| {
            let judged = usize::try_from(o.member).ok().and_then(|m| judged.get(&m));
            judged.is_some_and(|j| !matches!(j.verdict, ObjectVerdict::Accept { .. }))
        });
        if touched {
            remainder.files.push(Filtered { index, left: sieve.file(file)? });
            continue;
        }
        for o in &file.file.objects {
            *sieve.seen.entry(usize::try_from(o.member).unwrap_or(usize::MAX)).or_default() += long::count(o.rows);
        }
    }
    for (member, book) in sieve.books {
        if let Some(letters) = book.finish().map_err(broken)? {
            remainder.letters.insert(member, letters);
        }
    }
    Ok(remainder)
}

struct Sieve<'a> {
    batch: &'a StagedBatch,
    dataset: &'a Dataset,
    judged: &'a BTreeMap<usize, Judged>,
    sensitive: Sensitive,
    /// Rows of each member in the files so far: verdicts count them through.
    seen: BTreeMap<usize, u64>,
    books: BTreeMap<usize, LetterBook>,
}

impl Sieve<'_> {
    fn file(&mut self, file: &Opened<'_>) -> Result<Option<(Written, u64, Vec<FileObject>)>, StageError> {
        let opened = TableFile::open(file.bytes.clone()).map_err(broken)?;
        let mut writer = TableWriter::new(Sink::default(), opened.schema().clone(), self.dataset.parquet()).map_err(broken)?;
        let footer = opened.footer().ok_or_else(|| broken("a staged file has no footer of ours"))?;
        let mut left: Vec<FileObject> = Vec::new();
        file.pieces(Columns::All, |member, rows| {
            let kept = self.kept(member, rows)?;
            if kept.num_rows() > 0 {
                writer.write(&kept).map_err(broken)?;
                let (m, n) = (i32::try_from(member).unwrap_or(i32::MAX), i64::try_from(kept.num_rows()).unwrap_or(i64::MAX));
                match left.last_mut() {
                    Some(last) if last.member == m => last.rows += n,
                    _ => left.push(FileObject { member: m, rows: n }),
                }
            }
            Ok(())
        })?;
        let member = |o: &FileObject| &self.batch.members[usize::try_from(o.member).unwrap_or(0)].admitted;
        let objects = left.iter().map(|o| footer_object(member(o), long::count(o.rows))).collect();
        let rows = writer.rows();
        let sink = writer.finish(&Footer { objects, ..footer }).map_err(broken)?;
        if rows == 0 {
            return Ok(None);
        }
        Ok(Some((sink.finish().map_err(broken)?, rows, left)))
    }

    /// The rows that stay; those that do not, but for rows of a whole object, are written down.
    fn kept(&mut self, member: usize, rows: &RecordBatch) -> Result<RecordBatch, StageError> {
        let seen = self.seen.entry(member).or_default();
        let first = *seen;
        *seen += rows.num_rows() as u64;
        match self.judged.get(&member).map(|j| &j.verdict) {
            None | Some(ObjectVerdict::Accept { .. }) => Ok(rows.clone()),
            Some(ObjectVerdict::Reject { .. }) => Ok(rows.slice(0, 0)),
            Some(ObjectVerdict::AcceptMinusRows { rows: bad, by_rule, .. }) => {
                let keep: BooleanArray = (0..rows.num_rows()).map(|i| Some(!bad.contains(first + i as u64))).collect();
                for i in (0..rows.num_rows()).filter(|i| !keep.value(*i)) {
                    self.hold(member, rows, i, first, by_rule)?;
                }
                arrow::compute::filter_record_batch(rows, &keep).map_err(broken)
            }
        }
    }

    /// One row letter: every failing rule, the row as it would have been published.
    fn hold(&mut self, member: usize, rows: &RecordBatch, i: usize, first: u64, by_rule: &[(String, RowSet)]) -> Result<(), StageError> {
        let number =
            rows.column_by_name("_source_row").and_then(|c| c.as_any().downcast_ref::<Int64Array>().map(|a| long::count(a.value(i))));
        let mut shown = Map::new();
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()).filter(|(f, _)| is_judged(f.name())) {
            let options = FormatOptions::default();
            let text = ArrayFormatter::try_new(column.as_ref(), &options).map_err(broken)?;
            let value = match (column.is_null(i), self.sensitive.covers(field.name())) {
                (true, _) => Value::Null,
                (false, true) => Value::from(REDACTED),
                (false, false) => Value::from(text.value(i).to_string()),
            };
            shown.insert(field.name().clone(), value);
        }
        let rules: Vec<&str> = by_rule.iter().filter(|(_, set)| set.contains(first + i as u64)).map(|(text, _)| text.as_str()).collect();
        let finding = RowFinding { reason: ReasonCode::QualityRule, detail: rules.join("; "), path: None };
        let book = self.books.entry(member).or_insert_with(|| LetterBook::new(&self.batch.members[member].admitted));
        let letter = RowLetter::new(book.file(), None, Value::Object(shown).to_string().as_bytes(), finding).numbered(number);
        book.put(&letter).map_err(broken)
    }
}
