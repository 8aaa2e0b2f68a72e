//! Facts about one node over all rows, and the rows whose readings may cost them their place.

use std::collections::{BTreeMap, HashMap};

use super::infer::example;
use super::leaf::precision_of;
use super::matching::Matched;
use super::reading::{ANY_HINT, BIN_COUNT, Bin, Value};

/// Examples kept per bin.
const EXAMPLES_PER_BIN: usize = 3;

/// Observed names kept per field.
const NAMES_MAX: usize = 8;

/// One value of a bin, for the person who reads the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub bin: Bin,
    pub row: u64,
    pub text: String,
}

/// What was seen at one node. All counts are rows: a row with ten bad items counts once.
#[derive(Debug, Clone)]
pub struct Facts {
    counts: [u64; BIN_COUNT],
    last_row: [u64; BIN_COUNT],
    /// Rows with a value other than null.
    pub value_rows: u64,
    last_value_row: u64,
    pub examples: Vec<Example>,
    /// *And* of the hints of all values.
    pub hint: u64,
    /// Most digits a decimal needed.
    pub precision: u8,
    /// Names other than the registered one that led here.
    pub names: BTreeMap<String, Matched>,
    /// The registered name itself was seen.
    pub named_exactly: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            counts: [0; BIN_COUNT],
            last_row: [u64::MAX; BIN_COUNT],
            value_rows: 0,
            last_value_row: u64::MAX,
            examples: Vec::new(),
            hint: ANY_HINT,
            precision: 0,
            names: BTreeMap::new(),
            named_exactly: false,
        }
    }
}

impl Facts {
    /// Rows with at least one reading in the bin.
    pub fn rows(&self, bin: Bin) -> u64 {
        self.counts[bin as usize]
    }

    /// Rows where the node was null or absent.
    pub fn null_rows(&self) -> u64 {
        self.rows(Bin::Null) + self.rows(Bin::Absent)
    }

    /// The column or key was there in no row at all.
    pub fn is_missing(&self) -> bool {
        self.value_rows == 0 && self.rows(Bin::Null) == 0
    }

    pub fn first_example(&self, bin: Bin) -> Option<&Example> {
        self.examples.iter().find(|e| e.bin == bin)
    }

    /// Adds `n` exact values of one column at once.
    pub(super) fn add_exact(&mut self, n: u64, hint: u64) {
        self.counts[Bin::Exact as usize] += n;
        self.value_rows += n;
        self.hint &= hint;
    }

    /// The column was missing from all `n` rows of a text table.
    pub(super) fn add_absent(&mut self, n: u64) {
        self.counts[Bin::Absent as usize] += n;
    }

    /// Adds one reading; whether it is the row's first in this bin.
    pub(super) fn add(&mut self, bin: Bin, hint: u64, value: &Value<'_>, row: u64, text: impl FnOnce() -> String) -> bool {
        let at = bin as usize;
        let first = self.last_row[at] != row;
        if first {
            self.last_row[at] = row;
            self.counts[at] += 1;
        }
        if bin.has_value() {
            if self.last_value_row != row {
                self.last_value_row = row;
                self.value_rows += 1;
            }
            if bin != Bin::NullToken {
                self.hint &= hint;
            }
            if let Value::Decimal(unscaled) = value {
                self.precision = self.precision.max(precision_of(*unscaled));
            }
        }
        // The counts tell how many examples of the bin there are, so the list is not searched.
        if first && bin != Bin::Exact && self.counts[at] <= EXAMPLES_PER_BIN as u64 {
            self.examples.push(Example { bin, row, text: example(&text()) });
        }
        first
    }

    pub(super) fn add_name(&mut self, name: &str, how: Matched) {
        if how == Matched::Exact {
            self.named_exactly = true;
        } else if self.names.len() < NAMES_MAX && !self.names.contains_key(name) {
            self.names.insert(name.to_owned(), how);
        }
    }
}

/// A node and a bin in one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u32);

impl Mark {
    pub fn new(node: usize, bin: Bin) -> Self {
        Mark(((node as u32) << 8) | bin as u32)
    }

    pub fn node(self) -> usize {
        (self.0 >> 8) as usize
    }

    pub fn bin(self) -> Bin {
        Bin::ALL[(self.0 & 0xff) as usize]
    }
}

/// Distinct sets of marks told apart; rows beyond are only counted.
const SIGNATURES_MAX: usize = 16_384;

/// How many rows have which set of marks. From it follows, for any plan, how many rows it quarantines.
#[derive(Debug, Clone, Default)]
pub struct Signatures {
    counts: HashMap<Box<[Mark]>, u64>,
    /// Rows whose set came after [`SIGNATURES_MAX`] others.
    pub uncounted: u64,
    pending: Vec<(u64, Mark)>,
}

impl Signatures {
    pub(super) fn mark(&mut self, row: u64, mark: Mark) {
        self.pending.push((row, mark));
    }

    /// Closes the rows marked so far; called between blocks.
    pub(super) fn settle(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable();
        pending.dedup();
        let mut set: Vec<Mark> = Vec::new();
        let mut repeated: Vec<Mark> = Vec::new();
        let mut n_repeated = 0u64;
        for rows in pending.chunk_by(|a, b| a.0 == b.0) {
            set.clear();
            set.extend(rows.iter().map(|(_, mark)| *mark));
            if set != repeated {
                self.count(&repeated, n_repeated);
                std::mem::swap(&mut set, &mut repeated);
                n_repeated = 0;
            }
            n_repeated += 1;
        }
        self.count(&repeated, n_repeated);
        pending.clear();
        self.pending = pending;
    }

    fn count(&mut self, set: &[Mark], n: u64) {
        if n == 0 {
            return;
        }
        if let Some(count) = self.counts.get_mut(set) {
            *count += n;
        } else if self.counts.len() < SIGNATURES_MAX {
            self.counts.insert(set.into(), n);
        } else {
            self.uncounted += n;
        }
    }

    /// Rows with at least one mark that `refuses`.
    pub fn rows_with(&self, refuses: impl Fn(Mark) -> bool) -> u64 {
        self.counts.iter().filter(|(set, _)| set.iter().any(|m| refuses(*m))).map(|(_, n)| n).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_once_whatever_refuses_them() {
        let mut s = Signatures::default();
        let (a, b) = (Mark::new(1, Bin::Bad), Mark::new(2, Bin::Null));
        for row in 0..10 {
            s.mark(row, a);
        }
        for row in 5..15 {
            s.mark(row, b);
            s.mark(row, b);
        }
        s.settle();
        assert_eq!(s.rows_with(|m| m == a), 10);
        assert_eq!(s.rows_with(|m| m == b), 10);
        assert_eq!(s.rows_with(|_| true), 15);
        assert_eq!((a.node(), a.bin()), (1, Bin::Bad));
    }
}
