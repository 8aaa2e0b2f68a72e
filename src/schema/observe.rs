//! One pass over a file: what every column holds, measured against what is registered.
//!
//! Observing takes no decision. Memory is bounded: facts per node, examples per bin, unknown keys and
//! sets of marks up to a limit, whatever the file holds.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::domain::reason::ReasonCode;
use crate::format::block::{BadRecord, Block, JsonValue, TextBlock, TreeBlock};
use crate::format::options::SourceOptions;

use super::avro::record_to_json;
use super::calendar::Format;
use super::cast::{Casters, Fate, Judge, Kind, NodeInfo, Source, TOP};
use super::checks::{Checks, RuleError};
use super::facts::{Facts, Mark, Signatures};
use super::infer::Inference;
use super::leaf::NullTokens;
use super::matching::{Matched, Matcher, unique_names};
use super::number::literal;
use super::options::{ColumnRules, SchemaOptions};
use super::reading::{ANY_HINT, Bin, Value};
use super::resolve::{Resolve, measured};
use super::shape::{Field, RecordShape, Shape, TimeUnit, ZoneKind};

/// What kind of file the blocks came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Cells are text and have no types of their own.
    Text,
    Json,
}

/// A column or key no registered field answers to.
#[derive(Debug, Clone)]
pub struct UnknownColumn {
    /// Node of the record it stands in.
    pub record: usize,
    pub key: String,
    /// Dotted path with the name as observed.
    pub path: String,
    /// Place of its facts.
    pub node: usize,
    pub inference: Inference,
    /// Node of the field another name of the file already answers for (AD6).
    pub collides: Option<usize>,
    /// Place in the header.
    pub position: Option<usize>,
    checks: Checks,
    nulls: NullTokens,
    must: bool,
    last_value_row: u64,
}

/// All facts of one file.
#[derive(Debug, Clone)]
pub struct Observation {
    pub carrier: Carrier,
    /// The shape the file was measured against; in onboarding only what the contract's rules imply.
    pub expected: Arc<RecordShape>,
    /// Its Avro schema.
    pub schema: Arc<Json>,
    /// Nothing was registered.
    pub onboarding: bool,
    pub header: Vec<String>,
    /// Per header place the node of its field, if one answers.
    pub header_nodes: Vec<Option<usize>>,
    /// A registered name stands twice, literally.
    pub repeated_names: Vec<String>,
    pub nodes: Arc<[NodeInfo]>,
    pub facts: Vec<Facts>,
    pub unknown: Vec<UnknownColumn>,
    /// Keys beyond the limit, by record path; their values count as unregistered.
    pub exploded: Vec<String>,
    /// Records that could be read.
    pub rows: u64,
    /// Records that could not, by reason, with the first of each.
    pub bad: BTreeMap<&'static str, BadFacts>,
    pub signatures: Signatures,
}

/// Bad records of one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFacts {
    pub reason: ReasonCode,
    pub rows: u64,
    pub first: BadRecord,
}

impl Observation {
    /// Records that could not be read.
    pub fn bad_rows(&self) -> u64 {
        self.bad.values().map(|b| b.rows).sum()
    }

    /// Good and bad records.
    pub fn physical_rows(&self) -> u64 {
        self.rows + self.bad_rows()
    }
}

/// What files are measured against: the same for all files of a contract and a registered version.
pub struct Yardstick {
    expected: Arc<RecordShape>,
    schema: Arc<Json>,
    onboarding: bool,
    casters: Casters,
    nodes: Arc<[NodeInfo]>,
    /// Path per node.
    paths: Vec<String>,
    /// Null is a violation, per node.
    must: Vec<bool>,
    rules: BTreeMap<String, ColumnRules>,
    required: Vec<String>,
    nulls: Vec<String>,
    keys_max: usize,
    nested_keys_max: usize,
}

impl Yardstick {
    /// # Errors
    /// A rule of the contract that cannot be used (`contract lint` finds it first).
    pub fn new(registered: Option<&RecordShape>, options: &SchemaOptions, source: &SourceOptions) -> Result<Self, RuleError> {
        let expected = registered.map_or_else(|| implied_shape(options), |shape| measured(shape, &options.resolve));
        let nulls = &source.csv.null_tokens;
        let casters = Casters::new(&expected, &options.columns, nulls)?;
        Ok(Self {
            onboarding: registered.is_none(),
            nodes: casters.nodes.as_slice().into(),
            paths: casters.nodes.iter().map(|n| n.path.clone()).collect(),
            must: casters.nodes.iter().map(|n| is_must(n, options)).collect(),
            rules: options.columns.clone(),
            required: required_names(options),
            nulls: nulls.clone(),
            keys_max: if registered.is_some() { options.policy.max_new_columns + 1 } else { source.limits.columns },
            nested_keys_max: options.policy.max_new_columns,
            schema: Arc::new(record_to_json(&expected)),
            expected: Arc::new(expected),
            casters,
        })
    }
}

/// Watches the blocks of one file. `new`, then every block in file order, then `finish`.
pub struct Observer {
    against: Arc<Yardstick>,
    columns: Vec<TextColumn>,
    tally: Tally,
    seed: Observation,
}

/// What a header place is read as.
#[derive(Debug, Clone, Copy)]
enum TextColumn {
    /// Place among the registered fields.
    Known(usize),
    /// Place among the unknown columns.
    Unknown(usize),
}

impl Observer {
    /// `header` is the names of a text table in order, empty for JSON.
    ///
    /// # Errors
    /// A rule of the contract that cannot be used for a column nobody registered.
    pub fn new(against: &Arc<Yardstick>, header: &[String]) -> Result<Self, RuleError> {
        let mut tally = Tally {
            facts: vec![Facts::default(); against.nodes.len()],
            paths: against.paths.clone(),
            must: against.must.clone(),
            against: Arc::clone(against),
            unknown: Vec::new(),
            places: HashMap::new(),
            exploded: Vec::new(),
            signatures: Signatures::default(),
            row: 0,
        };
        let carrier = if header.is_empty() { Carrier::Json } else { Carrier::Text };
        let mut seed = Observation {
            carrier,
            onboarding: against.onboarding,
            header: unique_names(header),
            header_nodes: Vec::new(),
            repeated_names: Vec::new(),
            nodes: Arc::clone(&against.nodes),
            facts: Vec::new(),
            unknown: Vec::new(),
            exploded: Vec::new(),
            rows: 0,
            bad: BTreeMap::new(),
            signatures: Signatures::default(),
            expected: Arc::clone(&against.expected),
            schema: Arc::clone(&against.schema),
        };
        let columns = resolve_header(header, &against.casters, &mut tally, &mut seed)?;
        if carrier == Carrier::Json && against.onboarding {
            // So that a row without a required key is known even before the key is first seen.
            for name in &against.required {
                if against.casters.top.matcher.find(name).is_none() {
                    tally.add_unknown(TOP, name, None, None)?;
                }
            }
        }
        Ok(Self { against: Arc::clone(against), columns, tally, seed })
    }

    /// Adds the next block. A block of the other kind than the header announced is not looked at.
    pub fn push(&mut self, block: &Block) {
        match block {
            Block::Text(block) => {
                self.bad(&block.bad);
                self.text(block);
                self.seed.rows += block.rows() as u64;
            }
            Block::Tree(block) => {
                self.bad(&block.bad);
                self.tree(block);
                self.seed.rows += block.records.len() as u64;
            }
        }
        self.tally.signatures.settle();
    }

    /// The facts of all blocks.
    pub fn finish(self) -> Observation {
        let Tally { facts, unknown, exploded, signatures, .. } = self.tally;
        let mut done = Observation { facts, unknown, exploded, signatures, ..self.seed };
        if done.carrier == Carrier::Text {
            for field in &self.against.casters.top.fields {
                let is_there = done.header_nodes.contains(&Some(field.node));
                // No cell was visited: the column is absent from every row.
                if !is_there {
                    done.facts[field.node].add_absent(done.rows);
                }
            }
        }
        done
    }

    fn bad(&mut self, bad: &[BadRecord]) {
        for record in bad {
            self.seed
                .bad
                .entry(record.reason.as_str())
                .or_insert_with(|| BadFacts { reason: record.reason, rows: 0, first: record.clone() })
                .rows += 1;
        }
    }

    fn text(&mut self, block: &TextBlock) {
        let n_columns = block.width.min(self.columns.len());
        for (position, column) in self.columns.iter().take(n_columns).enumerate() {
            match *column {
                TextColumn::Known(at) => {
                    let field = &self.against.casters.top.fields[at];
                    match &field.kind {
                        Kind::Leaf(leaf) => self.tally.scan(field.node, leaf, block, position),
                        _ => {
                            for (i, place) in block.places.iter().enumerate() {
                                self.tally.row = place.row;
                                field.read_text(block.cell(i, position), &mut self.tally);
                            }
                        }
                    }
                }
                TextColumn::Unknown(at) => self.tally.scan_unknown(at, block, position),
            }
        }
    }

    fn tree(&mut self, block: &TreeBlock) {
        for (record, place) in block.records.iter().zip(&block.places) {
            self.tally.row = place.row;
            self.against.casters.top.read(record, &mut self.tally);
            self.tally.close_row();
        }
    }
}

/// Columns the contract itself types: formats and boolean tokens say what they are.
fn implied_shape(options: &SchemaOptions) -> RecordShape {
    let target = |(name, choice): (&String, &Resolve)| choice.target().map(|shape| Field::nullable(name, shape.clone()));
    let mut fields: Vec<Field> = options.resolve.iter().filter_map(target).collect();
    for (name, rules) in &options.columns {
        if name.contains(['.', '[', '{']) || fields.iter().any(|f| f.name == *name) {
            continue;
        }
        let formats: Vec<Format> = rules.formats.iter().filter_map(|f| Format::new(f)).collect();
        let shape = if !formats.is_empty() || rules.event_time {
            if formats.is_empty() || formats.iter().any(Format::has_time) {
                Shape::Timestamp { unit: TimeUnit::Micros, zone: ZoneKind::Zoned }
            } else {
                Shape::Date
            }
        } else if rules.booleans.is_some() {
            Shape::Boolean
        } else {
            continue;
        };
        fields.push(Field::nullable(name, shape));
    }
    RecordShape::new("", fields)
}

/// Names that must have a value: required columns and the identity as written (decisions.md 39).
fn required_names(options: &SchemaOptions) -> Vec<String> {
    let mut names = options.required.clone();
    for name in &options.identity {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Whether null at this node is a violation (NU).
pub(super) fn is_must(node: &NodeInfo, options: &SchemaOptions) -> bool {
    let declared = node.is_field && (options.is_required(&node.path) || options.identity.contains(&node.path));
    declared || (!node.path.is_empty() && !node.nullable && !node.has_default)
}

fn resolve_header(header: &[String], casters: &Casters, tally: &mut Tally, seed: &mut Observation) -> Result<Vec<TextColumn>, RuleError> {
    let matcher: &Matcher = &casters.top.matcher;
    let found: Vec<Option<(usize, Matched)>> = header.iter().map(|name| matcher.find(name)).collect();
    let mut columns = Vec::with_capacity(header.len());
    for (position, name) in header.iter().enumerate() {
        // Among names for one field the strongest match wins, then the first.
        let field = found[position].map(|(at, _)| at);
        let winner = field.and_then(|at| {
            let rivals = found.iter().enumerate().filter_map(|(p, f)| f.filter(|f| f.0 == at).map(|f| (f.1, p)));
            rivals.min().map(|(_, p)| p)
        });
        match (field, winner) {
            (Some(at), Some(best)) if best == position => {
                let node = casters.top.fields[at].node;
                if let Some((_, how)) = found[position] {
                    tally.facts[node].add_name(name, how);
                }
                seed.header_nodes.push(Some(node));
                columns.push(TextColumn::Known(at));
            }
            (other, _) => {
                let collides = other.map(|at| casters.top.fields[at].node);
                if let (Some(node), Some((_, how))) = (collides, found[position]) {
                    tally.facts[node].add_name(name, how);
                    if how == Matched::Exact {
                        seed.repeated_names.push(name.clone());
                    }
                }
                seed.header_nodes.push(None);
                let key = seed.header[position].clone();
                columns.push(TextColumn::Unknown(tally.add_unknown(TOP, &key, Some(position), collides)?));
            }
        }
    }
    Ok(columns)
}

/// Everything that is counted; the observing [`Judge`].
struct Tally {
    facts: Vec<Facts>,
    /// Path per node.
    paths: Vec<String>,
    /// Null is a violation, per node.
    must: Vec<bool>,
    unknown: Vec<UnknownColumn>,
    /// Record node → key → place in `unknown`.
    places: HashMap<usize, HashMap<Box<str>, usize>>,
    exploded: Vec<String>,
    signatures: Signatures,
    row: u64,
    against: Arc<Yardstick>,
}

impl Tally {
    fn add_unknown(&mut self, record: usize, key: &str, position: Option<usize>, collides: Option<usize>) -> Result<usize, RuleError> {
        let prefix = &self.paths[record];
        let path = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        let none = ColumnRules::default();
        let rules = if collides.is_some() { &none } else { self.against.rules.get(&path).unwrap_or(&none) };
        let must = collides.is_none() && self.against.required.contains(&path);
        let node = self.facts.len();
        self.unknown.push(UnknownColumn {
            record,
            key: key.to_owned(),
            node,
            inference: Inference::default(),
            collides,
            position,
            checks: Checks::new(&path, rules)?,
            nulls: NullTokens::new(rules.null_tokens.as_deref().unwrap_or(&self.against.nulls)),
            must,
            last_value_row: u64::MAX,
            path: path.clone(),
        });
        self.facts.push(Facts::default());
        self.paths.push(path);
        self.must.push(must);
        let at = self.unknown.len() - 1;
        if position.is_none() {
            self.places.entry(record).or_default().insert(key.into(), at);
        }
        Ok(at)
    }

    /// One column of a text table against its cast: the hot loop of observation.
    fn scan(&mut self, node: usize, leaf: &super::leaf::Leaf, block: &TextBlock, position: usize) {
        let n = block.rows();
        let mut n_exact = 0u64;
        let mut hints = ANY_HINT;
        if leaf.is_plain_text() {
            for i in 0..n {
                if leaf.is_null(block.cell(i, position)) {
                    self.note(node, Bin::Null, ANY_HINT, &Value::Null, block.places[i].row, String::new);
                } else {
                    n_exact += 1;
                }
            }
        } else {
            for i in 0..n {
                let text = block.cell(i, position);
                let reading = leaf.read_text(text);
                if reading.bin == Bin::Exact {
                    n_exact += 1;
                    hints &= reading.hint;
                } else {
                    self.note(node, reading.bin, reading.hint, &reading.value, block.places[i].row, || text.to_owned());
                }
            }
        }
        self.facts[node].add_exact(n_exact, hints);
    }

    fn scan_unknown(&mut self, at: usize, block: &TextBlock, position: usize) {
        let mut column = std::mem::take(&mut self.unknown[at].inference);
        for i in 0..block.rows() {
            let text = block.cell(i, position);
            let row = block.places[i].row;
            if self.unknown[at].nulls.contains(text) {
                column.n_nulls += 1;
                if self.unknown[at].must {
                    self.note(self.unknown[at].node, Bin::Null, ANY_HINT, &Value::Null, row, String::new);
                }
                continue;
            }
            column.push_text(row, text);
            if !self.unknown[at].checks.is_empty() {
                self.check_unknown(at, row, text);
            }
        }
        self.unknown[at].inference = column;
    }

    /// Contract facts of a column whose type is still open. What does not apply to the type it turns
    /// out to have is left out by the decision: patterns of numbers, ranges of text.
    fn check_unknown(&mut self, at: usize, row: u64, text: &str) {
        let checks = &self.unknown[at].checks;
        let node = self.unknown[at].node;
        let as_text = checks.broken(&Value::Text(Cow::Borrowed(text)), text, 0);
        let trimmed = text.trim_matches([' ', '\t']);
        let number = literal(trimmed).and_then(|_| trimmed.parse::<f64>().ok());
        let as_number = number.and_then(|n| checks.broken(&Value::Double(n), text, 0));
        for bin in [as_text, as_number.filter(|b| Some(*b) != as_text)].into_iter().flatten() {
            self.note(node, bin, ANY_HINT, &Value::Null, row, || text.to_owned());
        }
    }

    fn note(&mut self, node: usize, bin: Bin, hint: u64, value: &Value<'_>, row: u64, text: impl FnOnce() -> String) {
        let first = self.facts[node].add(bin, hint, value, row, text);
        let matters = match bin {
            Bin::Exact | Bin::SubZeros => false,
            Bin::Null | Bin::Absent => self.must[node],
            _ => true,
        };
        if first && matters {
            self.signatures.mark(row, Mark::new(node, bin));
        }
    }

    /// Required keys nobody registered that this row lacks.
    fn close_row(&mut self) {
        for at in 0..self.unknown.len() {
            if self.unknown[at].must && self.unknown[at].last_value_row != self.row {
                self.note(self.unknown[at].node, Bin::Null, ANY_HINT, &Value::Null, self.row, String::new);
            }
        }
    }
}

impl Judge for Tally {
    fn judge(&mut self, node: usize, bin: Bin, hint: u64, value: &Value<'_>, source: Source<'_>) -> Fate {
        self.note(node, bin, hint, value, self.row, || source.text());
        Fate::Keep
    }

    fn unknown(&mut self, record: usize, key: &str, value: &JsonValue) {
        let known = self.places.get(&record).and_then(|keys| keys.get(key)).copied();
        let at = match known {
            Some(at) => at,
            None if self.places.get(&record).is_some_and(|keys| keys.len() >= self.against.keys_max) => {
                let path = &self.paths[record];
                if !self.exploded.contains(path) {
                    self.exploded.push(path.clone());
                }
                return;
            }
            None => match self.add_unknown(record, key, None, None) {
                Ok(at) => at,
                // The rules of this path were compiled with no column to use them: nothing to check.
                Err(_) => return,
            },
        };
        let nested_keys_max = self.against.nested_keys_max;
        let column = &mut self.unknown[at];
        column.inference.push_json(self.row, value, nested_keys_max);
        if matches!(value, JsonValue::Null) {
            return;
        }
        column.last_value_row = self.row;
        if !column.checks.is_empty() && !matches!(value, JsonValue::Array(_) | JsonValue::Object(_)) {
            let row = self.row;
            self.check_unknown(at, row, &Source::Json(value).text());
        }
    }

    fn matched(&mut self, node: usize, key: &str, how: Matched) {
        self.facts[node].add_name(key, how);
    }
}
