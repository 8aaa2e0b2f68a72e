//! What the tests of this room share: shapes, blocks and whole files in a few words.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::reason::ReasonCode;
use crate::format::block::{BadRecord, Block, JsonValue, Place, TextBlock, TextCell, TreeBlock};
use crate::format::options::SourceOptions;

use super::drift::{Drift, DriftInput, Pending, RegisteredSchema, classify};
use super::observe::{Observation, Observer, Yardstick};
use super::options::SchemaOptions;
use super::plan::ReadPlan;
use super::read::{BadRow, RowCounts, TypedBlock, TypedReader};
use super::shape::{EnumShape, Field, Item, RecordShape, Shape, TimeUnit, ZoneKind};
use super::typing::Typing;

/// `id:long! age:int? tags:array<string>? kind:enum(A|B=A)!`; `!` must have a value, `?` may be null.
pub(crate) fn record(text: &str) -> RecordShape {
    let fields = text
        .split_whitespace()
        .map(|word| {
            let (name, ty) = word.split_once(':').expect("name:type");
            let nullable = ty.ends_with('?');
            let shape = shape(ty.trim_end_matches(['?', '!']));
            if nullable { Field::nullable(name, shape) } else { Field::required(name, shape) }
        })
        .collect();
    RecordShape::new("t", fields)
}

fn shape(ty: &str) -> Shape {
    let item = |inner: &str| Box::new(Item { shape: shape(inner), nullable: true });
    let inside = |prefix: &str, end: char| ty.strip_prefix(prefix).and_then(|t| t.strip_suffix(end));
    if let Some(inner) = inside("array<", '>') {
        return Shape::Array(item(inner));
    }
    if let Some(inner) = inside("map<", '>') {
        return Shape::Map(item(inner));
    }
    if let Some(inner) = inside("record<", '>') {
        let fields = inner.split(',').filter_map(|f| f.split_once('=')).map(|(n, t)| Field::nullable(n, shape(t))).collect();
        return Shape::Record(RecordShape::new("inner", fields));
    }
    if let Some(inner) = inside("decimal(", ')') {
        let (p, s) = inner.split_once(',').expect("p,s");
        return Shape::Decimal { precision: p.parse().expect("digits"), scale: s.parse().expect("digits") };
    }
    if let Some(inner) = inside("enum(", ')') {
        let (symbols, default) = inner.split_once('=').map_or((inner, None), |(s, d)| (s, Some(d.to_owned())));
        return Shape::Enum(EnumShape { name: "E".to_owned(), symbols: symbols.split('|').map(str::to_owned).collect(), default });
    }
    match ty {
        "boolean" => Shape::Boolean,
        "int" => Shape::Int,
        "long" => Shape::Long,
        "float" => Shape::Float,
        "double" => Shape::Double,
        "string" => Shape::String,
        "bytes" => Shape::Bytes,
        "date" => Shape::Date,
        "millis" => Shape::Timestamp { unit: TimeUnit::Millis, zone: ZoneKind::Zoned },
        "micros" => Shape::Timestamp { unit: TimeUnit::Micros, zone: ZoneKind::Zoned },
        "naive" => Shape::Timestamp { unit: TimeUnit::Micros, zone: ZoneKind::Naive },
        other => panic!("no type {other}"),
    }
}

fn place(row: u64) -> Place {
    Place { row, line: row + 1, byte_offset: row * 10, byte_len: 9 }
}

/// A small file as a reader would hand it on.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub header: Vec<String>,
    pub blocks: Vec<Block>,
}

/// Cells are split at `|`; a line `!` is a ragged record.
pub(crate) fn text_file(header: &str, lines: &[String]) -> File {
    let header: Vec<String> = header.split('|').map(str::to_owned).collect();
    let mut blocks = Vec::new();
    let mut row = 0;
    for chunk in lines.chunks(7) {
        let mut block = TextBlock { width: header.len(), ..TextBlock::default() };
        for line in chunk {
            if line == "!" {
                let detail = "cells".to_owned();
                block.bad.push(BadRecord { place: place(row), reason: ReasonCode::RaggedRows, detail, source: b"!".to_vec() });
            } else {
                let cells: Vec<&str> = line.split('|').collect();
                assert_eq!(cells.len(), header.len(), "{line}");
                for cell in cells {
                    block.cells.push(TextCell { start: block.text.len() as u32, len: cell.len() as u32 });
                    block.text.push_str(cell);
                }
                block.places.push(place(row));
            }
            row += 1;
        }
        blocks.push(Block::Text(block));
    }
    File { header, blocks }
}

/// One JSON object per line; a line `!` is a record with a syntax error.
pub(crate) fn json_file(lines: &[String]) -> File {
    let mut blocks = Vec::new();
    let mut row = 0;
    for chunk in lines.chunks(7) {
        let mut block = TreeBlock::default();
        for line in chunk {
            if line == "!" {
                let detail = "syntax".to_owned();
                block.bad.push(BadRecord { place: place(row), reason: ReasonCode::JsonSyntax, detail, source: b"!".to_vec() });
            } else {
                let JsonValue::Object(entries) = tree(serde_json::from_str(line).expect(line)) else { panic!("{line}") };
                block.records.push(entries);
                block.places.push(place(row));
            }
            row += 1;
        }
        blocks.push(Block::Tree(block));
    }
    File { header: Vec::new(), blocks }
}

pub(crate) fn tree(json: serde_json::Value) -> JsonValue {
    use serde_json::Value as J;
    match json {
        J::Null => JsonValue::Null,
        J::Bool(b) => JsonValue::Bool(b),
        J::Number(n) => JsonValue::Number(n.to_string().into()),
        J::String(s) => JsonValue::String(s.into()),
        J::Array(items) => JsonValue::Array(items.into_iter().map(tree).collect()),
        J::Object(map) => JsonValue::Object(map.into_iter().map(|(k, v)| (k.into(), tree(v))).collect()),
    }
}

/// Everything that came of a file.
pub(crate) struct Outcome {
    pub drift: Drift,
    pub counts: RowCounts,
    pub blocks: Vec<TypedBlock>,
    pub bad: Vec<BadRow>,
}

pub(crate) fn observe(registered: Option<&RecordShape>, options: &SchemaOptions, source: &SourceOptions, file: &File) -> Observation {
    let yardstick = Arc::new(Yardstick::new(registered, options, source).expect("rules are valid"));
    let mut observer = Observer::new(&yardstick, &file.header).expect("rules are valid");
    for block in &file.blocks {
        observer.push(block);
    }
    observer.finish()
}

/// Observes, decides, sends the plan through its own text form and reads. Whatever the file, the two
/// passes must agree and every row must be accounted for.
pub(crate) fn run(
    registered: Option<&RecordShape>,
    pending: Option<&RecordShape>,
    options: &SchemaOptions,
    source: &SourceOptions,
    file: &File,
) -> Outcome {
    let observation = observe(registered, options, source, file);
    let registered = registered.map(|shape| RegisteredSchema { version: 7, shape: shape.clone() });
    let pending = pending.map(|shape| Pending {
        schema: RegisteredSchema { version: 8, shape: shape.clone() },
        observation: observe(Some(shape), options, source, file),
    });
    let drift = classify(&DriftInput {
        registered: registered.as_ref(),
        pending: pending.as_ref(),
        options,
        null_tokens: &source.csv.null_tokens,
        observation: &observation,
        events: &[],
        evolution_refused: false,
    });
    let (mut blocks, mut bad, mut counts) = (Vec::new(), Vec::new(), RowCounts::default());
    if let Some(plan) = &drift.plan {
        let text = serde_json::to_string(plan).expect("plans are plain data");
        let read_back: ReadPlan = serde_json::from_str(&text).expect("plans read back");
        assert_eq!(&read_back, plan, "a plan survives its text form");
        let typing = Arc::new(Typing::new(&read_back).expect("own plans can be executed"));
        let mut reader = TypedReader::new(&typing, &file.header, read_back.expected.physical).expect("own plans fit their file");
        for block in &file.blocks {
            let typed = reader.push(block).expect("typed rows fit their schema");
            bad.extend(typed.bad.iter().cloned());
            blocks.push(typed);
        }
        counts = reader.counts();
        assert!(counts.agree_with(&plan.expected), "{counts:?} against {:?}: {bad:?}", plan.expected);
        assert_eq!(counts.physical, counts.landed + counts.quarantined + counts.deduplicated);
        assert_eq!(counts.landed, blocks.iter().map(|b| b.batch.num_rows() as u64).sum::<u64>());
        assert_eq!(counts.quarantined, bad.len() as u64);
    }
    Outcome { drift, counts, blocks, bad }
}

impl Outcome {
    /// Text of every landed value of one column.
    pub(crate) fn column(&self, name: &str) -> Vec<String> {
        use arrow::util::display::{ArrayFormatter, FormatOptions};
        let options = FormatOptions::default().with_null("null");
        let mut out = Vec::new();
        for block in &self.blocks {
            let column = block.batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
            let formatter = ArrayFormatter::try_new(column, &options).expect("printable");
            out.extend((0..block.batch.num_rows()).map(|i| formatter.value(i).to_string()));
        }
        out
    }

    pub(crate) fn codes(&self) -> Vec<&'static str> {
        self.drift.findings.iter().map(|f| f.code.as_str()).collect()
    }
}

/// Column rules of one column.
pub(crate) fn rules(name: &str, rules: super::options::ColumnRules) -> BTreeMap<String, super::options::ColumnRules> {
    BTreeMap::from([(name.to_owned(), rules)])
}
