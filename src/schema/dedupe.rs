//! Duplicates on typed values (decisions.md 37): after casts and row quarantine, first wins, a null key
//! part never matches. Within one file, or across the files of a batch in the order of its plan.

use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use super::arrow::arrow_field;
use super::distinct::{Distinct, TOUCHED};
use super::fingerprint::{fingerprints, of_rows};
use super::plan::{OnConflict, OnExact, PlannedDedupe, ReadPlan};
use super::shape::RecordShape;
use super::union::Union;

/// Rows that room is made for before any was seen.
pub const RESERVED_ROWS_MAX: usize = 4 << 20;

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

/// Rows seen so far, by fingerprint: 48 to 64 bytes per distinct key.
#[derive(Clone)]
pub struct Dedupe {
    plan: PlannedDedupe,
    compared: Union,
    key: Vec<usize>,
    /// Of a key: the first row that had it.
    seen: Distinct<u128>,
    /// Across files: keys of the files before the one being read.
    n_kept: usize,
    /// Conflicts seen in this file where the contract rejects the file for one.
    pub rejecting: u64,
}

/// Columns of one file that its rows are compared over: those registered before it, in onboarding all, and the key.
fn compared(plan: &ReadPlan, shape: &RecordShape) -> Schema {
    let n = if plan.n_registered == 0 { shape.fields.len() } else { plan.n_registered };
    let key = plan.dedupe.iter().flat_map(|d| &d.key);
    let late = key.filter_map(|k| shape.fields.iter().skip(n).find(|f| f.name == *k));
    Schema::new(shape.fields.iter().take(n).chain(late).map(arrow_field).collect::<Vec<_>>())
}

impl Dedupe {
    /// Within one file. `None`: nothing can match, since nothing is asked or a key column does not exist.
    pub fn within(plan: &ReadPlan, shape: &RecordShape) -> Option<Self> {
        Self::new(plan.dedupe.as_ref()?, Union::of([&compared(plan, shape)]))
    }

    /// Makes room for so many rows, at most [`RESERVED_ROWS_MAX`]: growing to a size that is known costs copies,
    /// and what is reserved and not used is not touched.
    pub fn reserve(&mut self, rows: u64) {
        self.seen.reserve(usize::try_from(rows).unwrap_or(usize::MAX).min(RESERVED_ROWS_MAX));
    }

    /// Across files, read in this order; [`Dedupe::keep`] or [`Dedupe::forget`] after each. Rows are compared
    /// over the columns any of them had registered; what a file lacks is null.
    pub fn across(files: &[(&ReadPlan, RecordShape)]) -> Option<Self> {
        let schemas: Vec<Schema> = files.iter().map(|(plan, shape)| compared(plan, shape)).collect();
        Self::new(files.iter().find_map(|(plan, _)| plan.dedupe.as_ref())?, Union::of(&schemas))
    }

    fn new(plan: &PlannedDedupe, compared: Union) -> Option<Self> {
        let key: Option<Vec<usize>> = plan.key.iter().map(|k| compared.schema().index_of(k).ok()).collect();
        let key = key.filter(|k| !k.is_empty())?;
        Some(Self { plan: plan.clone(), compared, key, seen: Distinct::default(), n_kept: 0, rejecting: 0 })
    }

    /// The file's rows land: the next file's duplicates of them do not.
    pub fn keep(&mut self) {
        self.rejecting = 0;
        self.n_kept = self.seen.len();
    }

    /// The file does not land: its rows were never first.
    pub fn forget(&mut self) {
        self.rejecting = 0;
        self.seen.truncate(self.n_kept);
    }

    /// Judges the rows of a batch in file order.
    ///
    /// # Errors
    /// Arrow cannot compare a column's type.
    pub fn judge(&mut self, batch: &RecordBatch) -> Result<Vec<Verdict>, ArrowError> {
        let batch = self.compared.conform(batch)?;
        let prints = batch.columns().iter().map(fingerprints).collect::<Result<Vec<_>, _>>()?;
        let nulls: Vec<Option<NullBuffer>> = batch.columns().iter().map(Array::logical_nulls).collect();
        let column = |c: usize| (prints[c].as_slice(), nulls[c].as_ref());
        let n_rows = batch.num_rows();
        let keys = of_rows(&self.key.iter().map(|c| column(*c)).collect::<Vec<_>>(), n_rows);
        let digests = of_rows(&(0..prints.len()).map(column).collect::<Vec<_>>(), n_rows);
        let has_key = |row: usize| self.key.iter().all(|c| nulls[*c].as_ref().is_none_or(|n| n.is_valid(row)));
        let keyed: Vec<bool> = (0..n_rows).map(has_key).collect();
        let mut verdicts = Vec::with_capacity(n_rows);
        for first in (0..n_rows).step_by(TOUCHED) {
            let rows = first..n_rows.min(first + TOUCHED);
            self.seen.touch(keys[rows.clone()].iter().copied());
            for row in rows {
                let met = if keyed[row] { self.seen.meet(keys[row], digests[row]) } else { None };
                let exact = met.map(|first| *first == digests[row]);
                verdicts.push(exact.map_or(Verdict::Land, |exact| self.duplicate(exact)));
            }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::format::options::SourceOptions;
    use crate::schema::avro;
    use crate::schema::drift::Drift;
    use crate::schema::options::{self, ConflictingDuplicate, ExactDuplicate, SchemaOptions};
    use crate::schema::read::{RowCounts, TypedReader};
    use crate::schema::testing::{record, run, text_file};
    use crate::schema::typing::Typing;

    fn options(conflicting_duplicate: ConflictingDuplicate) -> SchemaOptions {
        let key = vec!["id".to_owned()];
        let dedupe = options::Dedupe { key, exact_duplicate: ExactDuplicate::Drop, conflicting_duplicate };
        SchemaOptions { dedupe: Some(dedupe), ..SchemaOptions::default() }
    }

    /// `landed/quarantined/deduplicated` of each file, read one after the other; the file at `refused` does not land.
    fn batch(o: &SchemaOptions, files: &[(&str, &str, &[&str])], refused: Option<usize>) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(registered, header, rows)| {
                let file = text_file(header, &rows.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
                let Drift { plan, .. } = run(Some(&record(registered)), None, o, &SourceOptions::default(), &file).drift;
                (plan.expect("the file lands"), file)
            })
            .collect();
        let plans: Vec<_> = files.iter().map(|(plan, _)| (plan, avro::record_from_json(&plan.schema).expect("own schema"))).collect();
        let mut seen = Dedupe::across(&plans);
        let mut out = Vec::new();
        for (index, (plan, file)) in files.iter().enumerate() {
            let typing = Arc::new(Typing::new(plan).expect("own plan"));
            let mut reader = TypedReader::new(&typing, &file.header, plan.expected.physical).expect("own plan");
            reader.share(seen.take().expect("a key"));
            file.blocks.iter().for_each(|block| drop(reader.push(block).expect("typed")));
            let RowCounts { physical, landed, quarantined, deduplicated, rejecting, .. } = reader.counts();
            assert_eq!(physical, landed + quarantined + deduplicated);
            assert!(reader.counts().agree_with(&plan.expected), "duplicates of other files are no surprise to the plan");
            out.push(format!("{landed}/{quarantined}/{deduplicated}{}", if rejecting > 0 { "!" } else { "" }));
            seen = reader.into_dedupe();
            let dedupe = seen.as_mut().expect("comes back");
            if refused == Some(index) { dedupe.forget() } else { dedupe.keep() }
        }
        out
    }

    #[test]
    fn the_first_of_a_batch_wins_in_the_order_of_its_plan() {
        let schema = "id:long! v:string?";
        let files: &[(&str, &str, &[&str])] =
            &[(schema, "id|v", &["1|a", "2|b", "1|a"]), (schema, "v|id", &["a|1", "x|2", "c|3"]), (schema, "id|v", &["3|c", "3|d", "4|e"])];
        let o = options(ConflictingDuplicate::KeepFirstQuarantineRest);
        assert_eq!(batch(&o, files, None), ["2/0/1", "1/1/1", "1/1/1"]);
        assert_eq!(batch(&o, files, Some(0)), ["2/0/1", "3/0/0", "1/1/1"], "what does not land was never first");
        assert_eq!(batch(&o, files, Some(1)), ["2/0/1", "1/1/1", "2/1/0"]);
        let o = options(ConflictingDuplicate::RejectFile);
        assert_eq!(batch(&o, files, None), ["2/0/1", "1/1/1!", "1/1/1!"], "a file is rejected for its own conflicts only");
    }

    #[test]
    fn files_of_two_versions_are_compared_over_the_columns_of_both() {
        let files: &[(&str, &str, &[&str])] = &[
            ("id:int! v:string?", "id|v", &["1|a", "2|b", "3|c"]),
            ("id:long! v:string? later:string?", "id|v|later", &["1|a|", "2|b|new", "4|d|"]),
        ];
        assert_eq!(batch(&options(ConflictingDuplicate::KeepFirstQuarantineRest), files, None), ["3/0/0", "1/1/1"]);
    }
}
