//! What one element of a leaf array asks of a value: an exact value or one operator
//! (events.md §1.6), compiled strictly.

use serde_json::{Map, Value};

use super::address::Cidr;
use super::fields::Leaf;
use super::number::Numeral;
use super::pattern::PatternError;
use super::wildcard::Wildcard;
use crate::event::facts;

const OPERATORS: [&str; 9] = ["exactly", "prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "exists", "cidr"];

/// Whether letters' case counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Exact,
    /// Texts are folded with Unicode lower case before they are compared.
    Ignored,
}

/// One compiled element.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Exact(Leaf),
    /// `exactly`: text, never an address.
    Text(String),
    Prefix(String, Case),
    Suffix(String, Case),
    EqualsIgnoreCase(String),
    Wildcard(Wildcard),
    AnythingBut(Vec<Condition>),
    Numeric(Range),
    Exists(bool),
    Cidr(Cidr),
}

/// A range of numbers; an absent bound is open to infinity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    low: Option<Bound>,
    high: Option<Bound>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    value: f64,
    included: bool,
}

impl Range {
    fn contains(&self, value: f64) -> bool {
        self.low.is_none_or(|b| value > b.value || (b.included && value == b.value))
            && self.high.is_none_or(|b| value < b.value || (b.included && value == b.value))
    }
}

pub(super) fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

impl Condition {
    /// Whether a present value meets the condition. `exists: false` is never met by one.
    pub fn matches(&self, leaf: &Leaf) -> bool {
        match (self, leaf) {
            (Condition::Exists(wanted), _) => *wanted,
            (Condition::AnythingBut(refused), leaf) => !refused.iter().any(|c| c.matches(leaf)),
            (Condition::Exact(Leaf::Text { address: Some(wanted), .. }), Leaf::Text { address: Some(found), .. }) => wanted == found,
            (Condition::Exact(Leaf::Text { text: wanted, .. }), Leaf::Text { text, .. }) => wanted == text,
            (Condition::Exact(Leaf::Number(wanted)), Leaf::Number(found)) => wanted.equals(found),
            (Condition::Exact(Leaf::Bool(wanted)), Leaf::Bool(found)) => wanted == found,
            (Condition::Exact(Leaf::Null), Leaf::Null) => true,
            (Condition::Text(wanted), Leaf::Text { text, .. }) => wanted == text,
            (Condition::Prefix(prefix, Case::Exact), Leaf::Text { text, .. }) => text.starts_with(prefix.as_str()),
            (Condition::Prefix(prefix, Case::Ignored), Leaf::Text { text, .. }) => fold(text).starts_with(prefix.as_str()),
            (Condition::Suffix(suffix, Case::Exact), Leaf::Text { text, .. }) => text.ends_with(suffix.as_str()),
            (Condition::Suffix(suffix, Case::Ignored), Leaf::Text { text, .. }) => fold(text).ends_with(suffix.as_str()),
            (Condition::EqualsIgnoreCase(wanted), Leaf::Text { text, .. }) => fold(text) == *wanted,
            (Condition::Wildcard(wildcard), Leaf::Text { text, .. }) => wildcard.matches(text),
            (Condition::Numeric(range), Leaf::Number(number)) => number.value().is_some_and(|v| range.contains(v)),
            (Condition::Cidr(block), Leaf::Text { address: Some(address), .. }) => block.contains(*address),
            _ => false,
        }
    }

    /// Compiles one element of a leaf array; `path` is its JSON path for errors.
    pub(super) fn compile(element: &Value, path: &str) -> Result<Self, PatternError> {
        match element {
            Value::Object(map) => operator(map, path),
            Value::Array(_) => {
                Err(PatternError::at(path, "an array inside a leaf array; values are text, numbers, true, false, null or an operator"))
            }
            plain => Leaf::of(plain).map(Condition::Exact).ok_or_else(|| PatternError::at(path, "not a value")),
        }
    }
}

fn operator(map: &Map<String, Value>, path: &str) -> Result<Condition, PatternError> {
    let mut entries = map.iter();
    let (Some((name, value)), None) = (entries.next(), entries.next()) else {
        return Err(PatternError::at(path, format!("an operator object has exactly one key, this one has {}", map.len())));
    };
    let path = format!("{path}.{name}");
    match name.as_str() {
        "exactly" => text(value, &path).map(|t| Condition::Text(t.to_owned())),
        "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => text_operator(name, value, &path),
        "anything-but" => anything_but(value, &path),
        "numeric" => numeric(value, &path),
        "exists" => match value {
            Value::Bool(wanted) => Ok(Condition::Exists(*wanted)),
            _ => Err(PatternError::at(&path, "exists takes true or false")),
        },
        "cidr" => Cidr::parse(text(value, &path)?).map(Condition::Cidr).map_err(|why| PatternError::at(&path, why)),
        other => {
            let near = OPERATORS.iter().find(|o| o.replace('-', "") == other.to_lowercase().replace(['-', '_'], ""));
            let hint = near.map_or_else(|| format!("operators are {}", OPERATORS.join(", ")), |o| format!("did you mean {o}?"));
            Err(PatternError::at(&path, format!("{} is not an operator; {hint}", facts::quote(other))))
        }
    }
}

fn text<'v>(value: &'v Value, path: &str) -> Result<&'v str, PatternError> {
    value.as_str().ok_or_else(|| PatternError::at(path, format!("takes text, found {}", facts::shape(value))))
}

fn text_operator(name: &str, value: &Value, path: &str) -> Result<Condition, PatternError> {
    match (name, value) {
        ("prefix" | "suffix", Value::Object(map)) => {
            let mut entries = map.iter();
            let (Some((inner, value)), None) = (entries.next(), entries.next()) else {
                return Err(PatternError::at(path, "takes text or one equals-ignore-case"));
            };
            if inner != "equals-ignore-case" {
                return Err(PatternError::at(path, format!("takes text or equals-ignore-case, found {}", facts::quote(inner))));
            }
            let folded = fold(text(value, &format!("{path}.{inner}"))?);
            Ok(if name == "prefix" { Condition::Prefix(folded, Case::Ignored) } else { Condition::Suffix(folded, Case::Ignored) })
        }
        ("prefix", value) => text(value, path).map(|t| Condition::Prefix(t.to_owned(), Case::Exact)),
        ("suffix", value) => text(value, path).map(|t| Condition::Suffix(t.to_owned(), Case::Exact)),
        ("wildcard", value) => Wildcard::parse(text(value, path)?).map(Condition::Wildcard).map_err(|why| PatternError::at(path, why)),
        (_, value) => text(value, path).map(|t| Condition::EqualsIgnoreCase(fold(t))),
    }
}

/// Text, a number, a list of one kind, or one of four operators with text or a list of texts. The
/// field must be present; null and true satisfy it.
fn anything_but(value: &Value, path: &str) -> Result<Condition, PatternError> {
    let refused = match value {
        Value::Object(map) => {
            let mut entries = map.iter();
            let (Some((name, inner)), None) = (entries.next(), entries.next()) else {
                return Err(PatternError::at(path, "takes exactly one operator"));
            };
            let path = format!("{path}.{name}");
            if !matches!(name.as_str(), "prefix" | "suffix" | "wildcard" | "equals-ignore-case") {
                return Err(PatternError::at(&path, "anything-but takes prefix, suffix, wildcard or equals-ignore-case"));
            }
            let one = |value: &Value, path: &str| {
                if text(value, path)?.is_empty() && matches!(name.as_str(), "prefix" | "suffix") {
                    return Err(PatternError::at(path, "an empty text would refuse every text"));
                }
                text_operator(name, value, path)
            };
            each(inner, &path, one)?
        }
        value => {
            let refused = each(value, path, |value, path| match value {
                Value::String(t) => Ok(Condition::Text(t.clone())),
                Value::Number(n) => match Numeral::of(n) {
                    comparable @ Numeral::Comparable(_) => Ok(Condition::Exact(Leaf::Number(comparable))),
                    Numeral::Spelled(text) => Err(PatternError::at(path, format!("{text} is beyond what a double holds exactly"))),
                },
                other => Err(PatternError::at(path, format!("anything-but takes text or numbers, found {}", facts::shape(other)))),
            })?;
            let n_texts = refused.iter().filter(|c| matches!(c, Condition::Text(_))).count();
            if n_texts != 0 && n_texts != refused.len() {
                return Err(PatternError::at(path, "a list in anything-but is all text or all numbers"));
            }
            refused
        }
    };
    Ok(Condition::AnythingBut(refused))
}

/// One value, or the elements of a list that is not empty.
fn each(
    value: &Value,
    path: &str,
    mut one: impl FnMut(&Value, &str) -> Result<Condition, PatternError>,
) -> Result<Vec<Condition>, PatternError> {
    let Value::Array(elements) = value else { return one(value, path).map(|c| vec![c]) };
    if elements.is_empty() {
        return Err(PatternError::at(path, "the list is empty"));
    }
    elements.iter().enumerate().map(|(idx, element)| one(element, &format!("{path}[{idx}]"))).collect()
}

fn numeric(value: &Value, path: &str) -> Result<Condition, PatternError> {
    let refused = |why: &str| Err(PatternError::at(path, why));
    let Value::Array(terms) = value else { return refused("numeric takes a list such as [\">\", 0, \"<=\", 5]") };
    let mut bounds = Vec::new();
    for pair in terms.chunks(2) {
        let [Value::String(comparison), Value::Number(number)] = pair else {
            return refused("numeric takes pairs of a comparison and a number");
        };
        let Some(value) = Numeral::of(number).value() else {
            return Err(PatternError::at(path, format!("{number} is beyond what a double holds exactly")));
        };
        bounds.push((comparison.as_str(), value));
    }
    let bound = |comparison: &str, value| Some(Bound { value, included: comparison.ends_with('=') });
    let range = match bounds.as_slice() {
        [("=", value)] => Range { low: bound("=", *value), high: bound("=", *value) },
        [(low @ (">" | ">="), value)] => Range { low: bound(low, *value), high: None },
        [(high @ ("<" | "<="), value)] => Range { low: None, high: bound(high, *value) },
        [(low @ (">" | ">="), from), (high @ ("<" | "<="), to)] => {
            if from >= to {
                return refused("the lower bound of a range is smaller than the upper one");
            }
            Range { low: bound(low, *from), high: bound(high, *to) }
        }
        [(other, _)] => return Err(PatternError::at(path, format!("{} is not =, <, <=, > or >=", facts::quote(other)))),
        _ => return refused("a range is a lower bound (> or >=) and then an upper bound (< or <=)"),
    };
    Ok(Condition::Numeric(range))
}
