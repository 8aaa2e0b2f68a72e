//! Executes a read plan: blocks → typed rows and bad rows. The same plan over the same bytes gives the
//! same result; counts that differ from the plan's mean the file is another one (decisions.md 38).

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, MapBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

use crate::domain::reason::ReasonCode;
use crate::format::block::{BadRecord, Block, Place, SOURCE_TEXT_MAX};

use super::dedupe::{Dedupe, Verdict};
use super::finding::FindingCode;
use super::matching::unique_names;
use super::plan::Expected;
use super::typing::{Cast, PlanError, Typing, Work};

/// Typed rows could not be put together: a broken promise of this program, never the file's fault.
#[derive(Debug, thiserror::Error)]
#[error("typed rows could not be put together")]
pub struct AssembleError(#[from] ArrowError);

/// One row that does not land.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    pub place: Place,
    pub reason: ReasonCode,
    /// `None`: the record could not be read, or it is a duplicate.
    pub code: Option<FindingCode>,
    /// Path of the value at fault; empty for the row as a whole.
    pub path: String,
    pub detail: String,
    /// Source text, at most [`SOURCE_TEXT_MAX`] bytes: as it stood for unreadable records, put together
    /// from the cells else, values of sensitive columns redacted.
    pub source: Vec<u8>,
}

/// Typed rows of one block.
#[derive(Debug, Clone)]
pub struct TypedBlock {
    /// Registered columns, evolved columns, `<column>__raw` columns, `_rescued`.
    pub batch: RecordBatch,
    /// Physical row number per row of `batch`.
    pub rows: Vec<u64>,
    /// Record of the block per row of `batch`.
    pub(super) at: Vec<usize>,
    /// In file order.
    pub bad: Vec<BadRow>,
    /// Exact duplicates dropped.
    pub n_deduplicated: u64,
}

/// Place and source text of a typed row, by its number in the batch.
pub type Origin<'a> = &'a dyn Fn(usize) -> (Place, Vec<u8>);

/// Counts over all blocks: `physical = landed + quarantined + deduplicated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowCounts {
    pub physical: u64,
    pub landed: u64,
    /// Unreadable, bad by value, and duplicates that are quarantined.
    pub quarantined: u64,
    pub deduplicated: u64,
    /// Of the quarantined, those found by deduplication; the plan does not predict them.
    pub by_duplicates: u64,
    /// Conflicting rows where the contract rejects the file for one.
    pub rejecting: u64,
}

impl RowCounts {
    /// Whether reading found what observing predicted.
    pub fn agree_with(&self, expected: &Expected) -> bool {
        self.physical == expected.physical && expected.quarantined.is_none_or(|n| n == self.quarantined - self.by_duplicates)
    }

    /// More than `beta` of the rows are quarantined, for whatever reason (decisions.md 27).
    pub fn is_beyond(&self, beta: f64) -> bool {
        self.rejecting > 0 || (self.quarantined > 0 && self.quarantined as f64 > beta * self.physical as f64)
    }
}

/// Reads the blocks of one file by its plan. `new`, then every block in file order, then `counts`.
pub struct TypedReader {
    typing: Arc<Typing>,
    dedupe: Option<Dedupe>,
    counts: RowCounts,
}

impl TypedReader {
    /// `header` is the reader's header, empty for JSON; `rows` are expected.
    ///
    /// # Errors
    /// The plan is of another file.
    pub fn new(typing: &Arc<Typing>, header: &[String], rows: u64) -> Result<Self, PlanError> {
        if unique_names(header) != typing.header {
            return Err(PlanError::Header);
        }
        let mut dedupe = typing.dedupe.clone();
        if let Some(dedupe) = &mut dedupe {
            dedupe.reserve(rows);
        }
        Ok(Self { typing: Arc::clone(typing), dedupe, counts: RowCounts::default() })
    }

    /// Looks for duplicates among the rows of other files too.
    pub fn share(&mut self, dedupe: Dedupe) {
        self.dedupe = Some(dedupe);
    }

    /// What [`TypedReader::share`] lent, with the rows of this file.
    pub fn into_dedupe(self) -> Option<Dedupe> {
        self.dedupe
    }

    /// Counts so far.
    pub fn counts(&self) -> RowCounts {
        self.counts
    }

    /// Types the next block on one thread.
    #[cfg(test)]
    pub fn push(&mut self, block: &Block) -> Result<TypedBlock, AssembleError> {
        let cast = self.typing.cast(block);
        self.settle(block, cast)
    }

    /// Puts the rows of the next block together, looks for duplicates and counts.
    ///
    /// # Errors
    /// [`AssembleError`]: a broken promise of this module.
    pub fn settle(&mut self, block: &Block, Cast(work): Cast) -> Result<TypedBlock, AssembleError> {
        let places = block.places();
        let mut bad: Vec<BadRow> = block.bad().iter().map(|r| self.unreadable(r)).collect();
        for (i, fault) in &work.faults {
            bad.push(BadRow {
                place: places[*i],
                reason: fault.reason,
                code: fault.code,
                path: fault.path.clone(),
                detail: fault.detail.clone(),
                source: self.typing.source_text.of(block, *i),
            });
        }
        self.assemble(block, work, bad)
    }

    fn assemble(&mut self, block: &Block, mut work: Work, mut bad: Vec<BadRow>) -> Result<TypedBlock, AssembleError> {
        let places = block.places();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.typing.schema.fields().len());
        for builder in &mut work.builders {
            columns.push(builder.finish()?);
        }
        for raw in work.raw {
            columns.push(Arc::new(StringArray::from(raw)));
        }
        if let Some(rescued) = work.rescued {
            columns.push(rescued_array(&rescued)?);
        }
        let mut batch = if columns.is_empty() {
            // No column at all: rows still count.
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(places.len()));
            RecordBatch::try_new_with_options(self.typing.schema.clone(), columns, &options)?
        } else {
            RecordBatch::try_new(self.typing.schema.clone(), columns)?
        };
        let mut rows: Vec<usize> = (0..places.len()).collect();
        if !work.faults.is_empty() {
            let keep: BooleanArray = rows.iter().map(|i| Some(!work.faults.contains_key(i))).collect();
            rows.retain(|i| !work.faults.contains_key(i));
            batch = filter_record_batch(&batch, &keep)?;
        }
        let mut n_deduplicated = 0;
        if let Some(dedupe) = &mut self.dedupe {
            let verdicts = dedupe.judge(&batch)?;
            if verdicts.iter().any(|v| *v != Verdict::Land) {
                for (i, verdict) in rows.iter().zip(&verdicts) {
                    let reason = match verdict {
                        Verdict::Land => continue,
                        Verdict::Drop => {
                            n_deduplicated += 1;
                            continue;
                        }
                        Verdict::Repeated => ReasonCode::DuplicateRows,
                        Verdict::Conflicting => ReasonCode::ConflictingDuplicate,
                    };
                    self.counts.by_duplicates += 1;
                    let source = self.typing.source_text.of(block, *i);
                    let detail = "another row of the same key came first".to_owned();
                    bad.push(BadRow { place: places[*i], reason, code: None, path: String::new(), detail, source });
                }
                let keep: BooleanArray = verdicts.iter().map(|v| Some(*v == Verdict::Land)).collect();
                let mut kept = verdicts.iter();
                rows.retain(|_| kept.next() == Some(&Verdict::Land));
                batch = filter_record_batch(&batch, &keep)?;
            }
        }
        bad.sort_by_key(|b| b.place.row);
        self.counts.physical += (places.len() + block.bad().len()) as u64;
        self.counts.landed += rows.len() as u64;
        self.counts.quarantined += bad.len() as u64;
        self.counts.deduplicated += n_deduplicated;
        self.counts.rejecting = self.dedupe.as_ref().map_or(0, |d| d.rejecting);
        debug_assert_eq!(
            self.counts.physical,
            self.counts.landed + self.counts.quarantined + self.counts.deduplicated,
            "every record lands, is quarantined or is deduplicated"
        );
        Ok(TypedBlock { batch, rows: rows.iter().map(|i| places[*i].row).collect(), at: rows, bad, n_deduplicated })
    }

    fn unreadable(&self, record: &BadRecord) -> BadRow {
        let mut source = record.source.clone();
        source.truncate(SOURCE_TEXT_MAX);
        if self.typing.source_text.by_place.iter().any(|s| *s) {
            source = b"[redacted]".to_vec();
        }
        BadRow { place: record.place, reason: record.reason, code: None, path: String::new(), detail: record.detail.clone(), source }
    }
}

fn rescued_array(rows: &[Vec<(String, String)>]) -> Result<ArrayRef, ArrowError> {
    let names = arrow::array::MapFieldNames { entry: "entries".to_owned(), key: "keys".to_owned(), value: "values".to_owned() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for entries in rows {
        for (path, text) in entries {
            builder.keys().append_value(path);
            builder.values().append_value(text);
        }
        builder.append(!entries.is_empty())?;
    }
    Ok(Arc::new(builder.finish()))
}
