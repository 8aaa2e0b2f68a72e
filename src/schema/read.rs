//! Executes a read plan: blocks → typed rows and bad rows. The same plan over the same bytes gives the
//! same result; counts that differ from the plan's mean the file is another one (decisions.md 38).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, MapBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::domain::reason::ReasonCode;
use crate::format::block::{BadRecord, Block, Place, SOURCE_TEXT_MAX, TextBlock, TreeBlock};

use super::arrow::{arrow_field, map_type};
use super::avro::{self, AvroError};
use super::builder::ColumnBuilder;
use super::cast::{Caster, Casters, Fate, Judge, Kind, Source};
use super::checks::RuleError;
use super::dedupe::{Dedupe, Verdict};
use super::execute::{Fault, Hand, Table};
use super::finding::FindingCode;
use super::matching::unique_names;
use super::options::ColumnRules;
use super::plan::{Disposition, Expected, PLAN_VERSION, ReadPlan};
use super::reading::Value;
use super::shape::{Field, RecordShape, Shape};
use super::source_text::SourceText;

/// Name of the map of unregistered values.
pub const RESCUED: &str = "_rescued";

/// A plan cannot be executed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the plan is of version {found}, this program knows {PLAN_VERSION}")]
    Version { found: u32 },
    #[error("the file's header differs from the one the plan was made for")]
    Header,
    #[error("the plan's schema cannot be used")]
    Schema(#[source] AvroError),
    #[error("a rule of the plan cannot be used")]
    Rule(#[source] RuleError),
    #[error("the plan names {word:?}, which is unknown here")]
    Word { word: String },
}

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

/// A read plan made ready: what is the same for every file that is read by it.
pub struct Typing {
    header: Vec<String>,
    casters: Casters,
    table: Table,
    positions: Vec<Option<usize>>,
    rescued_positions: Vec<(usize, String)>,
    /// Per column the place of its raw column.
    raw_of: Vec<Option<usize>>,
    n_raw: usize,
    rescued: bool,
    shape: RecordShape,
    schema: SchemaRef,
    /// Of a file that was not begun.
    dedupe: Option<Dedupe>,
    source_text: SourceText,
}

impl Typing {
    /// # Errors
    /// The plan is of another version or damaged.
    pub fn new(plan: &ReadPlan) -> Result<Self, PlanError> {
        if !(1..=PLAN_VERSION).contains(&plan.plan_version) {
            return Err(PlanError::Version { found: plan.plan_version });
        }
        let shape = avro::record_from_json(&plan.schema).map_err(PlanError::Schema)?;
        if plan.positions.len() != shape.fields.len() || plan.n_registered > shape.fields.len() {
            return Err(PlanError::Header);
        }
        let in_header = |p: usize| p < plan.header.len();
        if !plan.positions.iter().flatten().all(|p| in_header(*p)) || !plan.rescued_positions.iter().all(|(p, _)| in_header(*p)) {
            return Err(PlanError::Header);
        }
        let rules = plan.columns.iter().map(|(path, r)| (path.clone(), ColumnRules::from(r))).collect();
        let mut casters = Casters::new(&shape, &rules, &plan.null_tokens).map_err(PlanError::Rule)?;
        let table = Table::new(&mut casters, plan)?;
        let mut fields: Vec<ArrowField> = shape.fields.iter().map(arrow_field).collect();
        let mut raw_of = vec![None; shape.fields.len()];
        for (at, raw) in plan.raw_columns.iter().enumerate() {
            let column = raw.strip_suffix("__raw").and_then(|name| shape.fields.iter().position(|f| f.name == name));
            let Some(column) = column else { return Err(PlanError::Word { word: raw.clone() }) };
            raw_of[column] = Some(at);
            fields.push(ArrowField::new(raw, DataType::Utf8, true));
        }
        if plan.rescued {
            fields.push(ArrowField::new(RESCUED, map_type(DataType::Utf8), true));
        }
        let dedupe = Dedupe::within(plan, &shape);
        let is_sensitive = |name: &String| plan.columns.get(name).is_some_and(|c| c.sensitive);
        let mut sensitive: Vec<bool> = plan.header.iter().map(is_sensitive).collect();
        for (field, position) in shape.fields.iter().zip(&plan.positions) {
            if let Some(p) = position {
                sensitive[*p] |= is_sensitive(&field.name);
            }
        }
        let by_key = table.sensitive.clone();
        Ok(Self {
            header: plan.header.clone(),
            casters,
            table,
            positions: plan.positions.clone(),
            rescued_positions: plan.rescued_positions.clone(),
            raw_of,
            n_raw: plan.raw_columns.len(),
            rescued: plan.rescued,
            shape,
            schema: Arc::new(Schema::new(fields)),
            dedupe,
            source_text: SourceText { by_place: sensitive, by_key },
        })
    }

    /// Puts rows together for letters.
    pub fn source_text(&self) -> &SourceText {
        &self.source_text
    }

    /// Casts every value of a block: what of its typing depends on nothing before it.
    pub fn cast(&self, block: &Block) -> Cast {
        let n_rows = match block {
            Block::Text(b) => b.places.len(),
            Block::Tree(b) => b.places.len(),
        };
        let mut work = Work::new(self, block, n_rows);
        match block {
            Block::Text(block) => self.text(block, &mut work),
            Block::Tree(block) => self.tree(block, &mut work),
        }
        Cast(work)
    }

    fn text(&self, block: &TextBlock, work: &mut Work) {
        for (at, field) in self.casters.top.fields.iter().enumerate() {
            let position = self.positions[at].filter(|p| *p < block.width);
            let mut hand = Hand::new(&self.table, &self.casters);
            for i in 0..block.rows() {
                let value = match position {
                    None => field.absent(&mut hand),
                    Some(p) => self.cell(field, block.cell(i, p), &mut hand),
                };
                work.builders[at].push(&value);
                if hand.is_touched() {
                    let source = || position.map(|p| block.cell(i, p).to_owned()).unwrap_or_default();
                    work.settle(&mut hand, i, self.raw_of[at], source);
                }
            }
        }
        if let Some(rescued) = &mut work.rescued {
            for (position, path) in self.rescued_positions.iter().filter(|(p, _)| *p < block.width) {
                for (i, entries) in rescued.iter_mut().enumerate() {
                    let text = block.cell(i, *position);
                    if !text.is_empty() {
                        entries.push((path.clone(), text.to_owned()));
                    }
                }
            }
        }
    }

    #[inline]
    fn cell<'a>(&'a self, field: &'a Caster, text: &'a str, hand: &mut Hand<'_>) -> Value<'a> {
        if let Kind::Leaf(leaf) = &field.kind {
            let reading = leaf.read_text(text);
            // Nearly every cell: exact, or a null nobody minds.
            if self.table.of(field.node, reading.bin) == Disposition::Keep {
                return reading.value;
            }
            return match hand.judge(field.node, reading.bin, reading.hint, &reading.value, Source::Text(text)) {
                Fate::Keep => reading.value,
                Fate::Null => Value::Null,
                Fate::Default => field.default_for(reading.bin),
            };
        }
        field.read_text(text, hand)
    }

    fn tree(&self, block: &TreeBlock, work: &mut Work) {
        for (i, record) in block.records.iter().enumerate() {
            let mut hand = Hand::new(&self.table, &self.casters);
            let values = self.casters.top.read(record, &mut hand);
            for (builder, value) in work.builders.iter_mut().zip(&values) {
                builder.push(value);
            }
            for column in std::mem::take(&mut hand.raw_columns) {
                if let Some(raw) = self.raw_of[column] {
                    let found = record.iter().find(|(k, _)| self.casters.top.matcher.find(k).is_some_and(|(at, _)| at == column));
                    work.raw[raw][i] = found.map(|(_, v)| Source::Json(v).text());
                }
            }
            if let Some(rescued) = &mut work.rescued {
                rescued[i].append(&mut hand.rescued);
            }
            if let Some(fault) = hand.fault.take() {
                work.faults.entry(i).or_insert(fault);
            }
        }
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

    /// Types the next block.
    ///
    /// # Errors
    /// [`AssembleError`]: a broken promise of this module.
    pub fn push(&mut self, block: &Block) -> Result<TypedBlock, AssembleError> {
        let cast = self.typing.cast(block);
        self.settle(block, cast)
    }

    /// Puts the rows of the next block together, looks for duplicates and counts.
    ///
    /// # Errors
    /// [`AssembleError`]: a broken promise of this module.
    pub fn settle(&mut self, block: &Block, Cast(work): Cast) -> Result<TypedBlock, AssembleError> {
        let (unreadable, places) = match block {
            Block::Text(b) => (&b.bad, &b.places),
            Block::Tree(b) => (&b.bad, &b.places),
        };
        let mut bad: Vec<BadRow> = unreadable.iter().map(|r| self.unreadable(r)).collect();
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
        self.assemble(block, places, work, bad)
    }

    fn assemble(&mut self, block: &Block, places: &[Place], mut work: Work, mut bad: Vec<BadRow>) -> Result<TypedBlock, AssembleError> {
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
        let n_unreadable = match block {
            Block::Text(b) => b.bad.len(),
            Block::Tree(b) => b.bad.len(),
        };
        self.counts.physical += (places.len() + n_unreadable) as u64;
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

/// Values of one block, cast by [`Typing::cast`], for [`TypedReader::settle`].
pub struct Cast(Work);

/// Columns under construction.
struct Work {
    builders: Vec<ColumnBuilder>,
    raw: Vec<Vec<Option<String>>>,
    rescued: Option<Vec<Vec<(String, String)>>>,
    /// By record of the block; few.
    faults: BTreeMap<usize, Fault>,
}

impl Work {
    fn new(typing: &Typing, block: &Block, n_rows: usize) -> Self {
        let bytes = |position: Option<usize>| match (block, position) {
            (Block::Text(block), Some(p)) if p < block.width => (0..block.rows()).map(|row| block.cell_bytes(row, p)).sum(),
            _ => 0,
        };
        let builder = |(field, position): (&Field, &Option<usize>)| {
            let bytes = if matches!(field.shape, Shape::String | Shape::Enum(_) | Shape::Bytes) { bytes(*position) } else { 0 };
            ColumnBuilder::new(&field.shape, n_rows, bytes)
        };
        Self {
            builders: typing.shape.fields.iter().zip(&typing.positions).map(builder).collect(),
            raw: vec![vec![None; n_rows]; typing.n_raw],
            rescued: typing.rescued.then(|| vec![Vec::new(); n_rows]),
            faults: BTreeMap::new(),
        }
    }

    /// Takes what judging one cell left behind.
    fn settle(&mut self, hand: &mut Hand<'_>, i: usize, raw: Option<usize>, source: impl FnOnce() -> String) {
        if !hand.raw_columns.is_empty() {
            hand.raw_columns.clear();
            if let Some(raw) = raw {
                self.raw[raw][i] = Some(source());
            }
        }
        if let Some(rescued) = &mut self.rescued {
            rescued[i].append(&mut hand.rescued);
        } else {
            hand.rescued.clear();
        }
        if let Some(fault) = hand.fault.take() {
            self.faults.entry(i).or_insert(fault);
        }
    }
}
