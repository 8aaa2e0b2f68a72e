//! What one pass keeps: counts, nulls, groups, moments, lengths, compliance. Every state merges with that
//! of the rows that follow: `merge(a, b)` equals the state over `a` then `b`.

use crate::quality::rows::RowSet;
use crate::schema::distinct::Distinct;

/// Offending values kept per rule.
pub const SAMPLES_MAX: usize = 10;

/// An offending value with its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub row: u64,
    pub value: String,
}

fn merge_samples(mine: &mut Vec<Sample>, theirs: &[Sample], by: u64) {
    let room = SAMPLES_MAX.saturating_sub(mine.len());
    mine.extend(theirs.iter().take(room).map(|s| Sample { row: s.row + by, value: s.value.clone() }));
}

/// Rows in which at least one of the columns is NULL.
#[derive(Debug, Clone, Default)]
pub struct Nulls {
    pub rows: u64,
    pub null_rows: RowSet,
}

impl Nulls {
    /// Share of rows without NULL.
    pub fn completeness(&self) -> f64 {
        (self.rows - self.null_rows.count()) as f64 / self.rows as f64
    }

    pub fn merge(&mut self, other: &Self, by: u64) {
        self.rows += other.rows;
        self.null_rows.union_shifted(&other.null_rows, by);
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Group {
    pub first: u64,
    pub count: u64,
}

/// Exact frequencies by 128-bit fingerprint. Memory grows with the distinct values of one object.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    pub groups: Distinct<Group>,
    /// Rows whose key is not all NULL.
    pub rows: u64,
    pub null_rows: u64,
    /// Every member of a group of two or more.
    pub duplicates: RowSet,
    pub samples: Vec<Sample>,
}

impl Groups {
    pub fn push(&mut self, key: u128, row: u64, shown: impl FnOnce() -> String) {
        self.rows += 1;
        if let Some(group) = self.groups.meet(key, Group { first: row, count: 1 }) {
            group.count += 1;
            self.duplicates.insert(group.first);
            self.duplicates.insert(row);
            if self.samples.len() < SAMPLES_MAX {
                self.samples.push(Sample { row, value: shown() });
            }
        }
    }

    fn singles(&self) -> u64 {
        self.rows - self.duplicates.count()
    }

    /// Values that occur once ÷ rows.
    pub fn uniqueness(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.singles() as f64 / self.rows as f64)
    }

    /// Values that occur once ÷ distinct values.
    pub fn unique_value_ratio(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.singles() as f64 / self.groups.len() as f64)
    }

    /// NULL counts as one value (dqdl.md §1.4).
    pub fn distinct(&self) -> u64 {
        self.groups.len() as u64 + u64::from(self.null_rows > 0)
    }

    /// Natural logarithm, NULL ignored; summed in ascending order of counts, so that it does not depend on hashing.
    pub fn entropy(&self) -> Option<f64> {
        let mut counts: Vec<u64> = self.groups.iter().map(|(_, group)| group.count).collect();
        counts.sort_unstable();
        let rows = self.rows as f64;
        let sum: f64 = counts.iter().map(|c| *c as f64 / rows).map(|p| -p * p.ln()).sum();
        (self.rows > 0).then_some(sum.max(0.0))
    }

    pub fn merge(&mut self, other: &Self, by: u64) {
        self.rows += other.rows;
        self.null_rows += other.null_rows;
        self.duplicates.union_shifted(&other.duplicates, by);
        for (key, theirs) in other.groups.iter() {
            let theirs = Group { first: theirs.first + by, count: theirs.count };
            if let Some(mine) = self.groups.meet(key, theirs) {
                mine.count += theirs.count;
                self.duplicates.insert(mine.first);
                self.duplicates.insert(theirs.first);
            }
        }
        merge_samples(&mut self.samples, &other.samples, by);
    }
}

/// Count, sum, mean, spread and range of the values that are not NULL.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    pub n: u64,
    pub sum: f64,
    mean: f64,
    m2: f64,
    pub min: f64,
    pub max: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { n: 0, sum: 0.0, mean: 0.0, m2: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Moments {
    pub fn push(&mut self, value: f64) {
        self.n += 1;
        self.sum += value;
        let delta = value - self.mean;
        self.mean += delta / self.n as f64;
        self.m2 += delta * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    pub fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }

    /// Of the population.
    pub fn variance(&self) -> f64 {
        self.m2 / self.n as f64
    }

    /// Chan's rule.
    pub fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        let (a, b) = (self.n as f64, other.n as f64);
        let delta = other.mean - self.mean;
        self.m2 += other.m2 + delta * delta * a * b / (a + b);
        self.mean += delta * b / (a + b);
        self.n += other.n;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Two columns over the rows complete in both.
#[derive(Debug, Clone, Copy, Default)]
pub struct Together {
    pub n: u64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Together {
    pub fn push(&mut self, x: f64, y: f64) {
        self.merge(&Self { n: 1, x, y, xx: 0.0, yy: 0.0, xy: 0.0 });
    }

    /// Pearson's; not defined where a column does not vary.
    pub fn correlation(&self) -> Option<f64> {
        let spread = (self.xx * self.yy).sqrt();
        (self.n > 0 && spread > 0.0).then(|| (self.xy / spread).clamp(-1.0, 1.0))
    }

    pub fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        let (a, b) = (self.n as f64, other.n as f64);
        let (dx, dy) = (other.x - self.x, other.y - self.y);
        let weight = a * b / (a + b);
        self.xx += other.xx + dx * dx * weight;
        self.yy += other.yy + dy * dy * weight;
        self.xy += other.xy + dx * dy * weight;
        self.x += dx * b / (a + b);
        self.y += dy * b / (a + b);
        self.n += other.n;
    }
}

/// Rows tested one by one.
#[derive(Debug, Clone, Default)]
pub struct Compliance {
    pub rows: u64,
    pub failing: RowSet,
    pub samples: Vec<Sample>,
}

impl Compliance {
    pub fn fail(&mut self, row: u64, shown: impl FnOnce() -> String) {
        self.failing.insert(row);
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(Sample { row, value: shown() });
        }
    }

    /// Share of rows that comply; 1 where there are none.
    pub fn share(&self) -> f64 {
        if self.rows == 0 { 1.0 } else { (self.rows - self.failing.count()) as f64 / self.rows as f64 }
    }

    pub fn merge(&mut self, other: &Self, by: u64) {
        self.rows += other.rows;
        self.failing.union_shifted(&other.failing, by);
        merge_samples(&mut self.samples, &other.samples, by);
    }
}
