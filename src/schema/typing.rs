//! A read plan made ready: blocks → cast values, the same for every file that is read by the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};

use crate::format::block::{Block, TextBlock, TreeBlock};

use super::arrow::{arrow_field, map_type};
use super::avro::{self, AvroError};
use super::builder::ColumnBuilder;
use super::cast::{Caster, Casters, Fate, Judge, Kind, Source};
use super::checks::RuleError;
use super::dedupe::Dedupe;
use super::execute::{Fault, Hand, Table};
use super::options::ColumnRules;
use super::plan::{Disposition, PLAN_VERSION, ReadPlan};
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

/// A read plan made ready: what is the same for every file that is read by it.
pub struct Typing {
    pub(super) header: Vec<String>,
    casters: Casters,
    table: Table,
    positions: Vec<Option<usize>>,
    rescued_positions: Vec<(usize, String)>,
    /// Per column the place of its raw column.
    raw_of: Vec<Option<usize>>,
    n_raw: usize,
    rescued: bool,
    shape: RecordShape,
    pub(super) schema: SchemaRef,
    /// Of a file that was not begun.
    pub(super) dedupe: Option<Dedupe>,
    pub(super) source_text: SourceText,
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
        let mut work = Work::new(self, block);
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

/// Values of one block, cast by [`Typing::cast`], for [`TypedReader::settle`].
pub struct Cast(pub(super) Work);

/// Columns under construction.
pub(super) struct Work {
    pub(super) builders: Vec<ColumnBuilder>,
    pub(super) raw: Vec<Vec<Option<String>>>,
    pub(super) rescued: Option<Vec<Vec<(String, String)>>>,
    /// By record of the block; few.
    pub(super) faults: BTreeMap<usize, Fault>,
}

impl Work {
    fn new(typing: &Typing, block: &Block) -> Self {
        let n_rows = block.places().len();
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
