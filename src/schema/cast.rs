//! Casts of whole columns, nested ones included: a tree of [`Leaf`]s that walks a value and asks a
//! [`Judge`] what becomes of each reading. Observing and reading differ only in their judge.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::format::block::JsonValue;

use super::checks::RuleError;
use super::leaf::{Leaf, NullTokens};
use super::matching::{Matched, Matcher};
use super::options::ColumnRules;
use super::reading::{Bin, Reading, Value};
use super::shape::{Field, RecordShape, Shape};

/// What the plan, or the observer, does with a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Keep,
    Null,
    /// The registered default of the field.
    Default,
}

/// Where a reading came from, for examples and originals.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    Text(&'a str),
    Json(&'a JsonValue),
    /// The record has no such field.
    Nothing,
}

impl Source<'_> {
    /// The text as it stood in the file; JSON values as compact JSON, strings bare.
    pub fn text(&self) -> String {
        match self {
            Source::Text(text) => (*text).to_owned(),
            Source::Json(JsonValue::String(text)) => text.to_string(),
            Source::Json(value) => super::leaf::json_text(value),
            Source::Nothing => String::new(),
        }
    }
}

/// Decides about readings, one call per node and value.
pub trait Judge {
    fn judge(&mut self, node: usize, bin: Bin, hint: u64, value: &Value<'_>, source: Source<'_>) -> Fate;

    /// A key no registered field answers to, or one whose field another key of the record already took.
    fn unknown(&mut self, record: usize, key: &str, value: &JsonValue);

    /// A key led to a field.
    fn matched(&mut self, node: usize, key: &str, how: Matched);
}

/// One registered column or nested part of one.
#[derive(Debug, Clone)]
pub struct Caster {
    /// Place in [`Casters::nodes`].
    pub node: usize,
    default: Option<Value<'static>>,
    /// What an unknown symbol of an enum becomes (EN2).
    symbol: Option<String>,
    nulls: NullTokens,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Leaf(Box<Leaf>),
    Array(Box<Caster>),
    Map(Box<Caster>),
    Record(Box<RecordCaster>),
}

/// Fields of a record and how names lead to them.
#[derive(Debug, Clone)]
pub struct RecordCaster {
    /// Place in [`Casters::nodes`]; of the top, [`TOP`].
    pub node: usize,
    pub fields: Vec<Caster>,
    pub matcher: Matcher,
}

/// Node of the record itself.
pub const TOP: usize = 0;

/// What is known about a node without looking at values.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeInfo {
    /// `a.b`, `a[]`, `a{}`; empty at the top.
    pub path: String,
    pub shape: Shape,
    pub nullable: bool,
    pub has_default: bool,
    /// Place of the top-level field this belongs to.
    pub column: usize,
    /// A field of a record, not an item.
    pub is_field: bool,
}

/// All casters of one record shape, nodes numbered in preorder.
#[derive(Debug, Clone)]
pub struct Casters {
    pub top: RecordCaster,
    pub nodes: Vec<NodeInfo>,
}

impl Casters {
    /// Compiles the casts into `shape`. `null_tokens` hold in text tables; a column's own replace them.
    ///
    /// # Errors
    /// A rule of a column that cannot be used.
    pub fn new(shape: &RecordShape, columns: &BTreeMap<String, ColumnRules>, null_tokens: &[String]) -> Result<Self, RuleError> {
        let top_info = NodeInfo {
            path: String::new(),
            shape: Shape::Record(RecordShape::new(shape.name.clone(), Vec::new())),
            nullable: false,
            has_default: false,
            column: 0,
            is_field: false,
        };
        let mut build = Build { columns, null_tokens, nodes: vec![top_info] };
        let top = build.record(shape, "", TOP, None)?;
        Ok(Self { top, nodes: build.nodes })
    }
}

struct Build<'a> {
    columns: &'a BTreeMap<String, ColumnRules>,
    null_tokens: &'a [String],
    nodes: Vec<NodeInfo>,
}

impl Build<'_> {
    fn record(&mut self, shape: &RecordShape, path: &str, node: usize, column: Option<usize>) -> Result<RecordCaster, RuleError> {
        let mut fields = Vec::with_capacity(shape.fields.len());
        for (at, field) in shape.fields.iter().enumerate() {
            let at_path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
            fields.push(self.caster(field, at_path, column.unwrap_or(at), true)?);
        }
        Ok(RecordCaster { node, fields, matcher: Matcher::new(&shape.fields, path, self.columns) })
    }

    fn caster(&mut self, field: &Field, path: String, column: usize, is_field: bool) -> Result<Caster, RuleError> {
        let node = self.nodes.len();
        self.nodes.push(NodeInfo {
            path: path.clone(),
            shape: field.shape.clone(),
            nullable: field.nullable,
            has_default: field.default.as_ref().is_some_and(|d| !d.is_null()),
            column,
            is_field,
        });
        let none = ColumnRules::default();
        let rules = self.columns.get(&path).unwrap_or(&none);
        let nulls = NullTokens::new(rules.null_tokens.as_deref().unwrap_or(self.null_tokens));
        let item = |shape: &Shape, nullable| Field { nullable, ..Field::required("item", shape.clone()) };
        let kind = match &field.shape {
            Shape::Array(i) => Kind::Array(Box::new(self.caster(&item(&i.shape, i.nullable), format!("{path}[]"), column, false)?)),
            Shape::Map(i) => Kind::Map(Box::new(self.caster(&item(&i.shape, i.nullable), format!("{path}{{}}"), column, false)?)),
            Shape::Record(record) => Kind::Record(Box::new(self.record(record, &path, node, Some(column))?)),
            scalar => match Leaf::new(scalar, &path, rules, self.null_tokens)? {
                Some(leaf) => Kind::Leaf(Box::new(leaf)),
                None => unreachable!("arrays, maps and records were matched above"),
            },
        };
        let default = field.default.as_ref().filter(|d| !d.is_null()).map(|json| default_value(&field.shape, json));
        let symbol = match &field.shape {
            Shape::Enum(e) => e.default.clone(),
            _ => None,
        };
        Ok(Caster { node, default, symbol, nulls, kind })
    }
}

impl RecordCaster {
    /// Reads one object: a value per field, in registered order.
    pub fn read<'a>(&'a self, entries: &'a [(Box<str>, JsonValue)], judge: &mut dyn Judge) -> Vec<Value<'a>> {
        let mut slots: Vec<Option<(&'a JsonValue, &'a str, Matched)>> = vec![None; self.fields.len()];
        for (key, value) in entries {
            let Some((at, how)) = self.matcher.find(key) else {
                judge.unknown(self.node, key, value);
                continue;
            };
            judge.matched(self.fields[at].node, key, how);
            match slots[at] {
                Some((other, other_key, taken)) if how < taken => {
                    judge.unknown(self.node, other_key, other);
                    slots[at] = Some((value, key, how));
                }
                Some(_) => judge.unknown(self.node, key, value),
                None => slots[at] = Some((value, key, how)),
            }
        }
        let mut values = Vec::with_capacity(self.fields.len());
        for (field, slot) in self.fields.iter().zip(slots) {
            values.push(match slot {
                Some((value, _, _)) => field.read_json(value, judge),
                None => field.absent(judge),
            });
        }
        values
    }
}

impl Caster {
    /// The record lacks the field.
    pub fn absent(&self, judge: &mut dyn Judge) -> Value<'static> {
        self.settle(Reading::new(Bin::Absent, Value::Null), Source::Nothing, judge)
    }

    /// Reads a cell of a text table. Nested columns hold JSON text.
    pub fn read_text<'a>(&'a self, text: &'a str, judge: &mut dyn Judge) -> Value<'a> {
        match &self.kind {
            Kind::Leaf(leaf) => self.settle(leaf.read_text(text), Source::Text(text), judge),
            _ if self.nulls.contains(text) => self.settle(Reading::new(Bin::Null, Value::Null), Source::Text(text), judge),
            _ => owned(self.read_nested_text(text, judge)),
        }
    }

    /// Reads a JSON value.
    pub fn read_json<'a>(&'a self, value: &'a JsonValue, judge: &mut dyn Judge) -> Value<'a> {
        let source = Source::Json(value);
        if matches!(value, JsonValue::Null) {
            return self.settle(Reading::new(Bin::Null, Value::Null), source, judge);
        }
        // Parts are read first and always, so that observing and reading see the same bins.
        let reading = match (&self.kind, value) {
            (Kind::Leaf(leaf), _) => leaf.read_json(value),
            (_, JsonValue::String(text)) => return owned(self.read_nested_text(text, judge)),
            (Kind::Array(item), JsonValue::Array(items)) => {
                Reading::new(Bin::Exact, Value::Array(items.iter().map(|i| item.read_json(i, judge)).collect()))
            }
            (Kind::Array(_), JsonValue::Object(entries)) if entries.is_empty() => Reading::new(Bin::Reshape, Value::Array(Vec::new())),
            (Kind::Array(item), scalar) => Reading::new(Bin::Reshape, Value::Array(vec![item.read_json(scalar, judge)])),
            (Kind::Map(item), JsonValue::Object(entries)) => {
                let read = entries.iter().map(|(k, v)| (Cow::Borrowed(&**k), item.read_json(v, judge))).collect();
                Reading::new(Bin::Exact, Value::Map(read))
            }
            (Kind::Record(record), JsonValue::Object(entries)) => Reading::new(Bin::Exact, Value::Record(record.read(entries, judge))),
            (Kind::Map(_) | Kind::Record(_), JsonValue::Array(items)) if items.is_empty() => Reading::new(Bin::Reshape, Value::Null),
            (Kind::Map(_) | Kind::Record(_), _) => Reading::bad(Bin::Structure),
        };
        self.settle(reading, source, judge)
    }

    /// Text where structure is registered: JSON text, or empty for null (ST2).
    fn read_nested_text(&self, text: &str, judge: &mut dyn Judge) -> Value<'static> {
        let source = Source::Text(text);
        let trimmed = text.trim();
        let structured = match &self.kind {
            Kind::Array(_) => trimmed.starts_with('['),
            _ => trimmed.starts_with('{'),
        };
        if trimmed.is_empty() || (trimmed == "[]" && !structured) {
            return owned(self.settle(Reading::new(Bin::Reshape, Value::Null), source, judge));
        }
        if structured && let Some(parsed) = parse_json(trimmed) {
            let inside = match (&self.kind, &parsed) {
                (Kind::Array(item), JsonValue::Array(items)) => {
                    Value::Array(items.iter().map(|i| owned(item.read_json(i, judge))).collect())
                }
                (Kind::Map(item), JsonValue::Object(entries)) => {
                    Value::Map(entries.iter().map(|(k, v)| (Cow::Owned(k.to_string()), owned(item.read_json(v, judge)))).collect())
                }
                (Kind::Record(record), JsonValue::Object(entries)) => owned(Value::Record(record.read(entries, judge))),
                _ => Value::Null,
            };
            return self.settle(Reading::new(Bin::Reshape, inside), source, judge);
        }
        if let Kind::Array(item) = &self.kind {
            let one = JsonValue::String(text.into());
            let value = owned(item.read_json(&one, judge));
            return self.settle(Reading::new(Bin::Reshape, Value::Array(vec![value])), source, judge);
        }
        owned(self.settle(Reading::bad(Bin::Structure), source, judge))
    }

    fn settle<'a>(&self, reading: Reading<'a>, source: Source<'_>, judge: &mut dyn Judge) -> Value<'a> {
        match judge.judge(self.node, reading.bin, reading.hint, &reading.value, source) {
            Fate::Keep => reading.value,
            Fate::Null => Value::Null,
            Fate::Default => self.default_for(reading.bin),
        }
    }

    /// What stands in for a reading: the symbol for unknown codes, else the registered default, else null.
    pub fn default_for(&self, bin: Bin) -> Value<'static> {
        match (bin, &self.symbol) {
            (Bin::Code, Some(symbol)) => Value::Text(Cow::Owned(symbol.clone())),
            _ => self.default.clone().unwrap_or(Value::Null),
        }
    }
}

/// A value that borrows nothing.
pub fn owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Null => Value::Null,
        Value::Bool(b) => Value::Bool(b),
        Value::Int(n) => Value::Int(n),
        Value::Double(n) => Value::Double(n),
        Value::Decimal(n) => Value::Decimal(n),
        Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
        Value::Date(n) => Value::Date(n),
        Value::Timestamp(n) => Value::Timestamp(n),
        Value::Array(items) => Value::Array(items.into_iter().map(owned).collect()),
        Value::Map(entries) => Value::Map(entries.into_iter().map(|(k, v)| (Cow::Owned(k.into_owned()), owned(v))).collect()),
        Value::Record(values) => Value::Record(values.into_iter().map(owned).collect()),
    }
}

/// JSON text as a tree; serde_json stops at a depth of 128.
fn parse_json(text: &str) -> Option<JsonValue> {
    serde_json::from_str::<Json>(text).ok().map(tree)
}

fn tree(json: Json) -> JsonValue {
    match json {
        Json::Null => JsonValue::Null,
        Json::Bool(b) => JsonValue::Bool(b),
        Json::Number(n) => JsonValue::Number(n.to_string().into()),
        Json::String(s) => JsonValue::String(s.into()),
        Json::Array(items) => JsonValue::Array(items.into_iter().map(tree).collect()),
        Json::Object(map) => JsonValue::Object(map.into_iter().map(|(k, v)| (k.into(), tree(v))).collect()),
    }
}

/// A default in Avro's JSON form as a value of the shape; what does not fit is null.
fn default_value(shape: &Shape, json: &Json) -> Value<'static> {
    match (shape, json) {
        (Shape::Boolean, Json::Bool(b)) => Value::Bool(*b),
        (Shape::Int | Shape::Long, Json::Number(n)) => n.as_i64().map_or(Value::Null, Value::Int),
        (Shape::Float | Shape::Double, Json::Number(n)) => n.as_f64().map_or(Value::Null, Value::Double),
        (Shape::Date, Json::Number(n)) => n.as_i64().and_then(|n| i32::try_from(n).ok()).map_or(Value::Null, Value::Date),
        (Shape::Timestamp { .. }, Json::Number(n)) => n.as_i64().map_or(Value::Null, Value::Timestamp),
        (Shape::String | Shape::Enum(_), Json::String(s)) => Value::Text(Cow::Owned(s.clone())),
        // Avro writes bytes as text of code points 0 to 255.
        (Shape::Bytes, Json::String(s)) => Value::Bytes(Cow::Owned(s.chars().map(|c| c as u32 as u8).collect())),
        (Shape::Decimal { .. }, Json::String(s)) => {
            let bytes: Vec<u8> = s.chars().map(|c| c as u32 as u8).collect();
            if bytes.is_empty() || bytes.len() > 16 {
                return Value::Null;
            }
            let negative = bytes[0] & 0x80 != 0;
            Value::Decimal(bytes.iter().fold(if negative { -1i128 } else { 0 }, |n, b| (n << 8) | i128::from(*b)))
        }
        (Shape::Array(item), Json::Array(items)) => Value::Array(items.iter().map(|j| default_value(&item.shape, j)).collect()),
        (Shape::Map(item), Json::Object(map)) => {
            Value::Map(map.iter().map(|(k, j)| (Cow::Owned(k.clone()), default_value(&item.shape, j))).collect())
        }
        (Shape::Record(record), Json::Object(map)) => Value::Record(
            record
                .fields
                .iter()
                .map(|f| map.get(&f.name).or(f.default.as_ref()).map_or(Value::Null, |j| default_value(&f.shape, j)))
                .collect(),
        ),
        _ => Value::Null,
    }
}
