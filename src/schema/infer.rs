//! Types of columns nobody registered, from all of their values.
//!
//! What is inferred can be read: every value seen is exact under the inferred shape (property). A
//! type is chosen only if it keeps the text's meaning: `007` and `1_000` stay text.

use std::collections::HashMap;

use crate::format::block::JsonValue;

use super::calendar;
use super::matching::avro_name;
use super::number::{is_exact_double, literal, short_integer};
use super::shape::{DEPTH_MAX, Field, Item, RecordShape, Shape, TimeUnit, ZoneKind};

/// Candidate types of text that all values seen so far allow, as bits.
mod is {
    pub const INTEGER: u8 = 1;
    pub const NUMBER: u8 = 2;
    pub const BOOLEAN: u8 = 4;
    pub const DATE: u8 = 8;
    pub const ZONED: u8 = 16;
    pub const NAIVE: u8 = 32;
    pub const ANY: u8 = 63;
}

/// Evidence about one unregistered column or key.
#[derive(Debug, Clone)]
pub struct Inference {
    /// Values other than null.
    pub n_values: u64,
    pub n_nulls: u64,
    /// First values as text, at most [`EXAMPLES_MAX`], with their rows.
    pub examples: Vec<(u64, String)>,
    text: u8,
    number: u8,
    /// Most digits of a fraction of a second.
    digits: u8,
    n_texts: u64,
    n_numbers: u64,
    n_booleans: u64,
    n_arrays: u64,
    n_objects: u64,
    item: Option<Box<Inference>>,
    fields: Vec<(Box<str>, Inference)>,
    places: HashMap<Box<str>, usize>,
    /// Keys were left out because there were too many.
    pub exploded: bool,
    /// Cells of a text table, where digits may be a number; a JSON string never is one.
    carrier_is_text: bool,
}

/// Examples kept per column.
pub const EXAMPLES_MAX: usize = 16;
/// Characters kept per example.
pub const EXAMPLE_CHARS: usize = 80;

impl Default for Inference {
    fn default() -> Self {
        Self {
            n_values: 0,
            n_nulls: 0,
            examples: Vec::new(),
            text: is::ANY,
            number: is::INTEGER | is::NUMBER,
            digits: 0,
            n_texts: 0,
            n_numbers: 0,
            n_booleans: 0,
            n_arrays: 0,
            n_objects: 0,
            item: None,
            fields: Vec::new(),
            places: HashMap::new(),
            exploded: false,
            carrier_is_text: false,
        }
    }
}

/// Cuts an example at [`EXAMPLE_CHARS`] characters.
pub fn example(text: &str) -> String {
    match text.char_indices().nth(EXAMPLE_CHARS) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

impl Inference {
    /// Adds a cell of a text table that is not null.
    #[inline]
    pub fn push_text(&mut self, row: u64, text: &str) {
        self.n_values += 1;
        self.n_texts += 1;
        self.carrier_is_text = true;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push((row, example(text)));
        }
        if self.text != 0 {
            self.text &= self.candidates(text, self.text);
        }
    }

    /// Adds a JSON value, null included. At most `keys_max` distinct keys per object are told apart.
    pub fn push_json(&mut self, row: u64, value: &JsonValue, keys_max: usize) {
        self.json(row, value, keys_max, 0);
    }

    fn json(&mut self, row: u64, value: &JsonValue, keys_max: usize, depth: usize) {
        if matches!(value, JsonValue::Null) {
            self.n_nulls += 1;
            return;
        }
        self.n_values += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push((row, example(&super::cast::Source::Json(value).text())));
        }
        match value {
            JsonValue::Null => {}
            JsonValue::Bool(_) => self.n_booleans += 1,
            JsonValue::Number(token) => {
                self.n_numbers += 1;
                self.number &= numeric(token);
            }
            JsonValue::String(text) => {
                self.n_texts += 1;
                if self.text != 0 {
                    self.text &= self.candidates(text, self.text);
                }
            }
            JsonValue::Array(items) => {
                self.n_arrays += 1;
                if depth >= DEPTH_MAX {
                    self.exploded = true;
                    return;
                }
                let inner = self.item.get_or_insert_with(Box::default);
                for item in items {
                    inner.json(row, item, keys_max, depth + 1);
                }
            }
            JsonValue::Object(entries) => {
                self.n_objects += 1;
                if depth >= DEPTH_MAX {
                    self.exploded = true;
                    return;
                }
                for (key, value) in entries {
                    let at = match self.places.get(key) {
                        Some(at) => *at,
                        None if self.fields.len() >= keys_max => {
                            self.exploded = true;
                            continue;
                        }
                        None => {
                            self.places.insert(key.clone(), self.fields.len());
                            self.fields.push((key.clone(), Inference::default()));
                            self.fields.len() - 1
                        }
                    };
                    self.fields[at].1.json(row, value, keys_max, depth + 1);
                }
            }
        }
    }

    /// Some key inside has values no type follows from.
    pub fn has_untyped_parts(&self) -> bool {
        self.fields.iter().any(|(_, f)| (f.n_values > 0 && f.shape("").is_none()) || f.has_untyped_parts())
            || self.item.as_ref().is_some_and(|i| i.has_untyped_parts())
    }

    /// Candidates of one text among those `left`.
    fn candidates(&mut self, text: &str, left: u8) -> u8 {
        let trimmed = text.trim_matches([' ', '\t']);
        let mut found = 0;
        if left & (is::INTEGER | is::NUMBER) != 0 {
            found |= numeric(trimmed);
        }
        if found == 0
            && left & (is::DATE | is::ZONED | is::NAIVE) != 0
            && let Some(moment) = calendar::iso(trimmed)
        {
            self.digits = self.digits.max(moment.digits);
            found |= match (moment.time, moment.offset) {
                _ if moment.finer => 0,
                (None, _) => is::DATE,
                (Some(_), Some(_)) => is::ZONED,
                (Some(_), None) => is::NAIVE,
            };
        }
        if found == 0 && left & is::BOOLEAN != 0 && (trimmed.eq_ignore_ascii_case("true") || trimmed.eq_ignore_ascii_case("false")) {
            found |= is::BOOLEAN;
        }
        found
    }

    /// The type of the values seen; `None` without any value a type follows from (AD3).
    /// `name` names nested records.
    pub fn shape(&self, name: &str) -> Option<Shape> {
        let kinds = [self.n_texts, self.n_numbers, self.n_booleans, self.n_arrays, self.n_objects];
        if kinds.iter().filter(|n| **n > 0).count() > 1 || self.exploded {
            // Mixed types in one field, or a record used as a map: JSON text (drift.md §2.7).
            return Some(Shape::String);
        }
        if self.n_texts > 0 {
            return Some(self.text_shape());
        }
        if self.n_numbers > 0 {
            return Some(match self.number {
                n if n & is::INTEGER != 0 => Shape::Long,
                n if n & is::NUMBER != 0 => Shape::Double,
                _ => Shape::String,
            });
        }
        if self.n_booleans > 0 {
            return Some(Shape::Boolean);
        }
        if self.n_arrays > 0 {
            let item = self.item.as_ref()?.shape(name)?;
            return Some(Shape::Array(Box::new(Item { shape: item, nullable: true })));
        }
        if self.n_objects > 0 {
            let fields = self.nested_fields(name);
            return (!fields.is_empty()).then(|| Shape::Record(RecordShape::new(avro_name(name), fields)));
        }
        None
    }

    fn nested_fields(&self, name: &str) -> Vec<Field> {
        let mut fields: Vec<Field> = Vec::new();
        for (key, inference) in &self.fields {
            let field = avro_name(key);
            // Keys that become one name share a column, and only text holds whatever they hold.
            if let Some(taken) = fields.iter_mut().find(|f| f.name == field) {
                taken.shape = Shape::String;
                continue;
            }
            if let Some(shape) = inference.shape(&format!("{name}_{field}")) {
                fields.push(Field::nullable(field, shape));
            }
        }
        fields
    }

    fn text_shape(&self) -> Shape {
        let zone = |zone| Shape::Timestamp { unit: if self.digits > 3 { TimeUnit::Micros } else { TimeUnit::Millis }, zone };
        match self.text {
            t if t & is::INTEGER != 0 && self.carrier_is_text => Shape::Long,
            t if t & is::NUMBER != 0 && self.carrier_is_text => Shape::Double,
            t if t & is::BOOLEAN != 0 && self.carrier_is_text => Shape::Boolean,
            t if t & is::DATE != 0 => Shape::Date,
            t if t & is::ZONED != 0 => zone(ZoneKind::Zoned),
            t if t & is::NAIVE != 0 => zone(ZoneKind::Naive),
            _ => Shape::String,
        }
    }
}

/// INTEGER, NUMBER or both; neither for text whose spelling would be lost.
#[inline]
fn numeric(text: &str) -> u8 {
    let bytes = text.as_bytes();
    let body = if bytes.first() == Some(&b'-') { &bytes[1..] } else { bytes };
    match body {
        [] => return 0,
        [b'0', b'0'..=b'9', ..] => return 0,
        [first, ..] if !first.is_ascii_digit() => return 0,
        _ => {}
    }
    if let Some(n) = short_integer(text) {
        return if n.unsigned_abs() <= 1 << 53 { is::INTEGER | is::NUMBER } else { is::INTEGER | exact_number(text) };
    }
    if bytes.iter().all(|b| b.is_ascii_digit() || *b == b'-') {
        return if text.parse::<i64>().is_ok() { is::INTEGER | exact_number(text) } else { 0 };
    }
    match literal(text) {
        Some(parts) if !parts.whole.is_empty() => exact_number(text),
        _ => 0,
    }
}

/// NUMBER if a double holds the literal.
fn exact_number(text: &str) -> u8 {
    let (Some(parts), Ok(value)) = (literal(text), text.parse::<f64>()) else { return 0 };
    let lost = value == 0.0 && [parts.whole, parts.fraction].iter().any(|d| d.bytes().any(|b| b != b'0'));
    let fits = value.is_finite() && !lost && (!parts.plain || is_exact_double(&parts, value));
    if fits { is::NUMBER } else { 0 }
}
