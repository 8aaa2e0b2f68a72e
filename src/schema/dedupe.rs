//! Duplicates within a file, on typed values (decisions.md 37): after casts and row quarantine, first
//! wins, a null key part never matches.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use xxhash_rust::xxh3::xxh3_128;

use super::plan::{OnConflict, OnExact, PlannedDedupe};

/// What becomes of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Land,
    /// An exact duplicate that is dropped.
    Drop,
    /// An exact duplicate that is quarantined.
    Repeated,
    /// Another row of the same key came before.
    Conflicting,
}

/// Rows seen so far, by fingerprint: 32 bytes and a little per distinct key of the file.
pub struct Dedupe {
    plan: PlannedDedupe,
    key: Vec<usize>,
    n_registered: usize,
    seen: HashMap<u128, u128>,
    converters: Option<(RowConverter, RowConverter)>,
    /// Conflicts seen where the contract rejects the file for one.
    pub rejecting: u64,
}

impl Dedupe {
    /// `None` if a key column is not among the batch's columns: then nothing can match.
    /// Rows are compared over the first `n_registered` columns.
    pub fn new(plan: &PlannedDedupe, names: &[String], n_registered: usize) -> Option<Self> {
        let key: Option<Vec<usize>> = plan.key.iter().map(|k| names.iter().position(|n| n == k)).collect();
        let key = key.filter(|k| !k.is_empty())?;
        Some(Self { plan: plan.clone(), key, n_registered, seen: HashMap::new(), converters: None, rejecting: 0 })
    }

    /// Judges the rows of a batch in file order.
    ///
    /// # Errors
    /// Arrow cannot compare a column's type.
    pub fn judge(&mut self, batch: &RecordBatch) -> Result<Vec<Verdict>, ArrowError> {
        let key: Vec<ArrayRef> = self.key.iter().map(|c| batch.column(*c).clone()).collect();
        let all: Vec<ArrayRef> = batch.columns().iter().take(self.n_registered).cloned().collect();
        let (key_rows, all_rows) = {
            let (keys, rows) = match &mut self.converters {
                Some(converters) => converters,
                none => none.insert((converter(&key)?, converter(&all)?)),
            };
            (keys.convert_columns(&key)?, rows.convert_columns(&all)?)
        };
        let mut verdicts = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            if key.iter().any(|c| c.is_null(row)) {
                verdicts.push(Verdict::Land);
                continue;
            }
            let digest = xxh3_128(all_rows.row(row).as_ref());
            let verdict = match self.seen.entry(xxh3_128(key_rows.row(row).as_ref())) {
                Entry::Vacant(slot) => {
                    slot.insert(digest);
                    Verdict::Land
                }
                Entry::Occupied(first) => {
                    let exact = *first.get() == digest;
                    self.duplicate(exact)
                }
            };
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    fn duplicate(&mut self, exact: bool) -> Verdict {
        match (exact, self.plan.exact, self.plan.conflicting) {
            (true, OnExact::Drop, _) => Verdict::Drop,
            (true, OnExact::Keep, _) => Verdict::Land,
            (true, OnExact::QuarantineRest, _) => Verdict::Repeated,
            (false, _, OnConflict::Keep) => Verdict::Land,
            (false, _, OnConflict::KeepFirstQuarantineRest) => Verdict::Conflicting,
            (false, _, OnConflict::RejectFile) => {
                self.rejecting += 1;
                Verdict::Conflicting
            }
        }
    }
}

fn converter(columns: &[ArrayRef]) -> Result<RowConverter, ArrowError> {
    RowConverter::new(columns.iter().map(|c| SortField::new(c.data_type().clone())).collect())
}
