//! One pass over an object's rows: every batch is read once for all rules.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray};
use arrow::record_batch::RecordBatch;

use crate::domain::time::Timestamp;
use crate::quality::columns::Columns;
use crate::quality::condition::{self, Test, TextTest, Want};
use crate::quality::datatype::Cast;
use crate::quality::measure::{Compliance, Groups, Moments, Nulls, Together};
use crate::quality::plan::{Leaf, Measure, Plan};
use crate::quality::report::Report;
use crate::quality::rows::RowSet;
use crate::schema::distinct::TOUCHED;
use crate::schema::fingerprint::of_rows;

/// What a `where` left out so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filtered {
    /// Rows it kept.
    pub rows: u64,
    pub skipped: RowSet,
    pub fault: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    Rows(u64),
    Nulls(Nulls),
    Groups(Groups),
    Moments(Moments),
    Together(Together),
    /// In characters.
    Lengths(Moments),
    Compliance(Compliance),
    /// The column cannot be read in the shape the measure needs.
    Unreadable(String),
}

/// What one row of a column is asked.
#[derive(Debug, Clone)]
enum RowTest {
    Number(Test<f64>),
    Text(TextTest),
    Instant(Test<i64>),
    /// Hours before `now_ms`, rounded to two decimals.
    Age {
        test: Test<f64>,
        now_ms: i64,
    },
    Length(Test<f64>),
    Cast(Cast),
}

impl RowTest {
    fn of(leaf: &Leaf, now: Timestamp) -> Option<Self> {
        Some(match &leaf.want {
            Want::Number(test) if leaf.kind == crate::quality::catalog::RuleKind::ColumnLength => RowTest::Length(test.clone()),
            Want::Number(test) => RowTest::Number(test.clone()),
            Want::Text(test) => RowTest::Text(test.clone()),
            // Impossible dates were found when the plan was compiled.
            Want::Date { comparison, offset_minutes } => RowTest::Instant(condition::date_test(comparison, now, *offset_minutes).ok()?),
            Want::Age(test) => RowTest::Age { test: test.clone(), now_ms: now.millis() },
            Want::Cast(cast) => RowTest::Cast(cast.clone()),
            Want::Nothing | Want::Columns(_) => return None,
        })
    }
}

/// The pass over one object's rows. Rows are numbered from zero in the order they are pushed.
#[derive(Clone)]
pub struct Evaluation {
    pub(crate) plan: Plan,
    pub(crate) rows: u64,
    pub(crate) filters: Vec<Filtered>,
    pub(crate) states: Vec<State>,
    /// A batch did not have the columns of the plan; every rule fails with this.
    pub(crate) fault: Option<String>,
    tests: Vec<Option<RowTest>>,
}

impl std::fmt::Debug for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluation").field("rows", &self.rows).field("rules", &self.plan.n_rules()).finish_non_exhaustive()
    }
}

impl Evaluation {
    /// Begins a pass; `now` is what `now()` and ages are reckoned from, so that a repeated pass gives the same report.
    pub fn new(plan: &Plan, now: Timestamp) -> Self {
        let states = plan.0.measures.iter().map(|m| match m.measure {
            Measure::Rows => State::Rows(0),
            Measure::Nulls { .. } => State::Nulls(Nulls::default()),
            Measure::Groups { .. } => State::Groups(Groups::default()),
            Measure::Moments { .. } => State::Moments(Moments::default()),
            Measure::Together { .. } => State::Together(Together::default()),
            Measure::Lengths { .. } => State::Lengths(Moments::default()),
            Measure::Compliance { .. } => State::Compliance(Compliance::default()),
        });
        Self {
            rows: 0,
            filters: vec![Filtered::default(); plan.0.filters.len()],
            states: states.collect(),
            fault: None,
            tests: plan.0.leaves.iter().map(|leaf| RowTest::of(leaf, now)).collect(),
            plan: plan.clone(),
        }
    }

    /// Makes room for so many rows where values are told apart: growing to a size that is known costs copies.
    pub fn reserve(&mut self, rows: usize) {
        for state in &mut self.states {
            if let State::Groups(groups) = state {
                groups.groups.reserve(rows);
            }
        }
    }

    /// Measures a batch of the plan's schema.
    pub fn push(&mut self, batch: &RecordBatch) {
        let first = self.rows;
        self.rows += batch.num_rows() as u64;
        let plan = self.plan.clone();
        let plan = &plan.0;
        if !batch.schema_ref().fields().iter().map(|f| f.name()).eq(plan.column_names.iter()) {
            self.fault = Some("the rows do not have the columns the rules were compiled for".to_owned());
            return;
        }
        let masks: Vec<Option<BooleanArray>> =
            plan.filters.iter().zip(&mut self.filters).map(|(p, f)| mask(p.as_ref(), f, batch, first)).collect();
        let columns = Columns::new(batch);
        for (measured, state) in plan.measures.iter().zip(&mut self.states) {
            let mask = match measured.filter {
                None => None,
                Some(filter) => match &masks[filter] {
                    Some(mask) => Some(mask),
                    // The filter is at fault, and with it every rule that uses it.
                    None => continue,
                },
            };
            let selected = Selected { n_rows: batch.num_rows(), mask, first };
            if take(&measured.measure, state, &self.tests, &columns, selected).is_none() {
                *state = State::Unreadable("the type of the column cannot be read by this rule".to_owned());
            }
        }
    }

    /// Adds what was measured over rows that follow these.
    ///
    /// Both must come of plans that agree; otherwise nothing can be said of the two together.
    pub fn merge(&mut self, other: &Evaluation) {
        if !self.plan.agrees_with(&other.plan) {
            self.rows += other.rows;
            self.fault = Some("objects of different columns cannot be judged together".to_owned());
            return;
        }
        let by = self.rows;
        for (mine, theirs) in self.filters.iter_mut().zip(&other.filters) {
            mine.rows += theirs.rows;
            mine.skipped.union_shifted(&theirs.skipped, by);
            mine.fault = mine.fault.take().or_else(|| theirs.fault.clone());
        }
        for (mine, theirs) in self.states.iter_mut().zip(&other.states) {
            match (mine, theirs) {
                (State::Rows(a), State::Rows(b)) => *a += b,
                (State::Nulls(a), State::Nulls(b)) => a.merge(b, by),
                (State::Groups(a), State::Groups(b)) => a.merge(b, by),
                (State::Moments(a), State::Moments(b)) | (State::Lengths(a), State::Lengths(b)) => a.merge(b),
                (State::Together(a), State::Together(b)) => a.merge(b),
                (State::Compliance(a), State::Compliance(b)) => a.merge(b, by),
                (mine, State::Unreadable(why)) => *mine = State::Unreadable(why.clone()),
                (State::Unreadable(_), _) => {}
                _ => debug_assert!(false, "plans that agree have the same measures"),
            }
        }
        self.fault = self.fault.take().or_else(|| other.fault.clone());
        self.rows += other.rows;
    }

    /// Judges what was measured.
    pub fn finish(self) -> Report {
        Report::of(Arc::new(self))
    }
}

fn mask(predicate: &dyn crate::quality::plan::RowPredicate, kept: &mut Filtered, batch: &RecordBatch, first: u64) -> Option<BooleanArray> {
    let answered = predicate.mask(batch).and_then(|mask| {
        if mask.len() == batch.num_rows() { Ok(mask) } else { Err(format!("`where` answered {} of {} rows", mask.len(), batch.num_rows())) }
    });
    match answered {
        Ok(mask) => {
            let mask = if mask.null_count() > 0 { arrow::compute::prep_null_mask_filter(&mask) } else { mask };
            kept.rows += mask.true_count() as u64;
            for row in (!mask.values()).set_indices() {
                kept.skipped.insert(first + row as u64);
            }
            Some(mask)
        }
        Err(why) => {
            kept.fault = Some(why);
            None
        }
    }
}

/// The rows of a batch that a measure looks at.
#[derive(Clone, Copy)]
struct Selected<'a> {
    n_rows: usize,
    mask: Option<&'a BooleanArray>,
    first: u64,
}

impl Selected<'_> {
    fn len(&self) -> u64 {
        self.mask.map_or(self.n_rows, BooleanArray::true_count) as u64
    }

    #[inline]
    fn each(&self, mut row: impl FnMut(usize)) {
        match self.mask {
            None => (0..self.n_rows).for_each(row),
            Some(mask) => mask.values().set_indices().for_each(&mut row),
        }
    }
}

/// `None`: a column cannot be read in the shape the measure needs.
fn take(measure: &Measure, state: &mut State, tests: &[Option<RowTest>], columns: &Columns<'_>, rows: Selected<'_>) -> Option<()> {
    match (measure, state) {
        (Measure::Rows, State::Rows(n)) => *n += rows.len(),
        (Measure::Nulls { columns: keys }, State::Nulls(nulls)) => {
            nulls.rows += rows.len();
            for key in keys {
                if columns.nulls(*key).is_some() {
                    rows.each(|row| {
                        if columns.is_null(*key, row) {
                            nulls.null_rows.insert(rows.first + row as u64);
                        }
                    });
                }
            }
        }
        (Measure::Groups { columns: keys }, State::Groups(groups)) => take_groups(keys, groups, columns, rows)?,
        (Measure::Moments { column }, State::Moments(moments)) => {
            let numbers = columns.numbers(*column)?;
            rows.each(|row| {
                if numbers.is_valid(row) {
                    moments.push(numbers.value(row));
                }
            });
        }
        (Measure::Lengths { column }, State::Lengths(moments)) => {
            let lengths = columns.lengths(*column)?;
            rows.each(|row| moments.push(lengths[row]));
        }
        (Measure::Together { x, y }, State::Together(together)) => {
            let (xs, ys) = (columns.numbers(*x)?, columns.numbers(*y)?);
            rows.each(|row| {
                if xs.is_valid(row) && ys.is_valid(row) {
                    together.push(xs.value(row), ys.value(row));
                }
            });
        }
        (Measure::Compliance { column, leaf }, State::Compliance(compliance)) => {
            take_compliance(*column, tests.get(*leaf)?.as_ref()?, compliance, columns, rows)?;
        }
        _ => return None,
    }
    Some(())
}

fn take_groups(keys: &[usize], groups: &mut Groups, columns: &Columns<'_>, rows: Selected<'_>) -> Option<()> {
    let mut side_by_side = Vec::with_capacity(keys.len());
    for key in keys {
        side_by_side.push((columns.fingerprints(*key)?, columns.nulls(*key)));
    }
    let of_several = (keys.len() > 1).then(|| of_rows(&side_by_side, rows.n_rows));
    let prints = of_several.as_deref().or(side_by_side.first().map(|(prints, _)| *prints))?;
    let nulls: Option<Vec<_>> = side_by_side.iter().map(|(_, nulls)| *nulls).collect();
    let mut next = 0;
    rows.each(|row| {
        if row >= next {
            next = prints.len().min(row + TOUCHED);
            groups.groups.touch(prints[row..next].iter().copied());
        }
        if nulls.as_ref().is_some_and(|all| all.iter().all(|nulls| nulls.is_null(row))) {
            groups.null_rows += 1;
        } else {
            let shown = || keys.iter().map(|k| columns.shown(*k, row)).collect::<Vec<_>>().join(", ");
            groups.push(prints[row], rows.first + row as u64, shown);
        }
    });
    Some(())
}

fn take_compliance(column: usize, test: &RowTest, compliance: &mut Compliance, columns: &Columns<'_>, rows: Selected<'_>) -> Option<()> {
    match test {
        RowTest::Number(Test::Compare { operand: None, operator }) => {
            let wants_null = *operator == crate::quality::syntax::Operator::Equal;
            tally(column, compliance, columns, rows, |row| columns.is_null(column, row) == wants_null);
        }
        RowTest::Number(test) => {
            let numbers = columns.numbers(column)?;
            tally(column, compliance, columns, rows, |row| test.holds_option(numbers.is_valid(row).then(|| numbers.value(row))));
        }
        RowTest::Length(test) => {
            let lengths = columns.lengths(column)?;
            tally(column, compliance, columns, rows, |row| test.holds(&lengths[row]));
        }
        RowTest::Text(test) => {
            let texts = columns.texts(column)?;
            tally(
                column,
                compliance,
                columns,
                rows,
                |row| if texts.is_null(row) { test.holds_null() } else { test.holds(texts.value(row)) },
            );
        }
        RowTest::Instant(test) => {
            let instants = columns.instants(column)?;
            tally(column, compliance, columns, rows, |row| test.holds_option(instants.is_valid(row).then(|| instants.value(row))));
        }
        RowTest::Age { test, now_ms } => {
            let instants = columns.instants(column)?;
            tally(column, compliance, columns, rows, |row| instants.is_valid(row) && test.holds(&age_hours(*now_ms, instants.value(row))));
        }
        RowTest::Cast(cast) => {
            let of_type = cast.target.accepts_type(columns.array(column).data_type());
            let texts = if of_type.is_none() { Some(columns.texts(column)?) } else { None };
            tally(column, compliance, columns, rows, |row| {
                let castable = !columns.is_null(column, row)
                    && match texts {
                        None => of_type == Some(true),
                        Some(texts) => texts.is_valid(row) && cast.target.accepts_text(texts.value(row)),
                    };
                castable != cast.negated
            });
        }
    }
    Some(())
}

/// Rounded to two decimals (dqdl.md §1.4).
fn age_hours(now_ms: i64, value_ms: i64) -> f64 {
    (now_ms.saturating_sub(value_ms) as f64 / 36_000.0).round() / 100.0
}

#[inline]
fn tally(column: usize, compliance: &mut Compliance, columns: &Columns<'_>, rows: Selected<'_>, holds: impl Fn(usize) -> bool) {
    compliance.rows += rows.len();
    rows.each(|row| {
        if !holds(row) {
            compliance.fail(rows.first + row as u64, || columns.shown(column, row));
        }
    });
}

#[cfg(test)]
mod tests;
