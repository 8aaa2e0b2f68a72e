//! One event pattern: compiled strictly, matched with array consistency, explained.
//!
//! Behavior follows AWS's own matcher where its documentation differs (events.md §1.6).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::condition::{Case, Condition};
use super::fields::{self, Field, Fields, Leaf, Membership};
use crate::event::facts;

/// Alternatives all `$or` of one pattern may multiply to (EventBridge's limit).
pub const ALTERNATIVES_MAX: usize = 1000;
/// Objects inside objects of a pattern.
const DEPTH_MAX: usize = 64;
/// Comparisons one alternative may cost on one event: far above any real event, it bounds arrays
/// of arrays made to explode. Beyond it the alternative does not match.
const STEPS_MAX: usize = 250_000;

/// Names that cannot be fields inside `$or`, because they read like operators there.
const RESERVED_IN_OR: [&str; 23] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
];

/// One fault of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct PatternError {
    /// JSON path from `$`, such as `$.detail.object.key[0].prefix`.
    pub path: String,
    pub message: String,
}

impl PatternError {
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// What one field is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    pub path: String,
    conditions: Arc<[Condition]>,
    /// The leaf array as it was written.
    written: Arc<str>,
}

/// A compiled pattern: alternatives (`$or` multiplied out), each a list of terms by path.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    alternatives: Vec<Vec<Term>>,
}

impl Pattern {
    /// Compiles a pattern; all faults at once.
    ///
    /// # Errors
    /// One [`PatternError`] for each fault: a leaf that is no array, empty objects and arrays, unknown
    /// or doubled operators, and what the operators refuse.
    pub fn compile(pattern: &Value) -> Result<Self, Vec<PatternError>> {
        let Value::Object(map) = pattern else {
            return Err(vec![PatternError::at("$", format!("a pattern is an object, found {}", facts::shape(pattern)))]);
        };
        let mut compiler = Compiler { errors: Vec::new() };
        let mut alternatives = Vec::new();
        compiler.object(&mut alternatives, map, &Spot { fields: "", json: "$", in_or: false, depth: 0 });
        if !compiler.errors.is_empty() {
            return Err(compiler.errors);
        }
        let alternatives = alternatives.into_iter().map(|a: Draft| a.into_values().collect()).collect();
        Ok(Self { alternatives })
    }

    /// Whether the event meets the pattern.
    pub fn matches(&self, event: &Value) -> bool {
        self.matches_fields(&Fields::of(event))
    }

    /// As [`Pattern::matches`], for an event flattened before.
    pub fn matches_fields(&self, event: &Fields) -> bool {
        self.alternatives.iter().any(|terms| run(terms, event).is_ok())
    }

    /// Why the event does not meet the pattern: the first failing field of the alternative that came
    /// farthest.
    pub fn explain(&self, event: &Value) -> Explanation {
        let event = Fields::of(event);
        let mut farthest: Option<(usize, &Term)> = None;
        for terms in &self.alternatives {
            let Err(idx) = run(terms, &event) else { return Explanation::Matches };
            if farthest.is_none_or(|(best, _)| idx > best) {
                farthest = terms.get(idx).map(|t| (idx, t)).or(farthest);
            }
        }
        let Some((_, term)) = farthest else { return Explanation::Matches };
        let present = event.at(&term.path);
        Explanation::Fails {
            path: term.path.clone(),
            wanted: term.written.to_string(),
            found: if present.is_empty() {
                Found::Absent
            } else if present.iter().any(|f| term.conditions.iter().any(|c| c.matches(&f.leaf))) {
                Found::OtherElement
            } else {
                Found::Values(present.iter().take(8).map(|f| f.leaf.shown()).collect())
            },
        }
    }

    /// Whether the pattern speaks of the whole envelope (a top-level `source`, `detail-type` or
    /// `detail`) and not of `detail` alone (decisions.md 41).
    pub fn is_of_envelope(&self) -> bool {
        self.alternatives.iter().flatten().any(|t| matches!(t.path.split('.').next(), Some("source" | "detail-type" | "detail")))
    }

    /// The part of an EventBridge envelope this pattern is matched against.
    pub fn subject<'v>(&self, envelope: &'v Value) -> &'v Value {
        if self.is_of_envelope() { envelope } else { envelope.get("detail").unwrap_or(envelope) }
    }

    /// Which buckets and key prefixes can match at all, one for each alternative.
    pub fn reaches(&self) -> Vec<Reach> {
        self.alternatives.iter().map(|terms| Reach::of(terms)).collect()
    }
}

/// Buckets and key prefixes outside which an alternative cannot match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// `None`: any bucket.
    pub buckets: Option<BTreeSet<String>>,
    /// Never empty; the empty prefix reaches every key.
    pub prefixes: BTreeSet<String>,
}

impl Reach {
    fn of(terms: &[Term]) -> Self {
        let conditions =
            |path: &str| terms.iter().find(|t| t.path.strip_prefix("detail.").unwrap_or(&t.path) == path).map(|t| t.conditions.as_ref());
        let exact = |c: &Condition| match c {
            // An address may be spelled in several ways.
            Condition::Exact(Leaf::Text { text, address: None }) | Condition::Text(text) => Some(text.clone()),
            _ => None,
        };
        let prefix = |c: &Condition| match c {
            Condition::Prefix(text, Case::Exact) => text.clone(),
            Condition::Wildcard(wildcard) => wildcard.prefix().to_owned(),
            other => exact(other).unwrap_or_default(),
        };
        Self {
            buckets: conditions("bucket.name").and_then(|cs| cs.iter().map(exact).collect()),
            prefixes: conditions("object.key").map_or_else(|| BTreeSet::from([String::new()]), |cs| cs.iter().map(prefix).collect()),
        }
    }

    pub fn covers(&self, bucket: &str, key: &str) -> bool {
        self.buckets.as_ref().is_none_or(|b| b.contains(bucket)) && self.prefixes.iter().any(|p| key.starts_with(p.as_str()))
    }
}

/// Outcome of [`Pattern::explain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    Matches,
    Fails {
        /// Path of the first failing field.
        path: String,
        /// The leaf array of the pattern.
        wanted: String,
        found: Found,
    },
}

/// What an event had at the failing field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Absent,
    /// At most eight values, as JSON.
    Values(Vec<String>),
    /// The value is there, but in another array element than the fields before it.
    OtherElement,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation::Fails { path, wanted, found } = self else { return f.write_str("matches") };
        write!(f, "{path} must be {wanted}, ")?;
        match found {
            Found::Absent => f.write_str("but it is absent"),
            Found::Values(values) => write!(f, "but it is {}", values.join(", ")),
            Found::OtherElement => f.write_str("and is so only in another array element than the fields before it"),
        }
    }
}

/// Paths of one alternative while it is compiled; sorted, because the matcher decides absence
/// relative to the fields before it in this order.
type Draft = BTreeMap<String, Term>;

struct Spot<'p> {
    /// Path of fields, without `$`.
    fields: &'p str,
    /// JSON path for errors.
    json: &'p str,
    in_or: bool,
    depth: usize,
}

struct Compiler {
    errors: Vec<PatternError>,
}

impl Compiler {
    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.errors.push(PatternError::at(path, message));
    }

    fn object(&mut self, drafts: &mut Vec<Draft>, map: &Map<String, Value>, spot: &Spot<'_>) {
        if map.is_empty() {
            return self.refuse(spot.json, "the object is empty");
        }
        if spot.depth > DEPTH_MAX {
            return self.refuse(spot.json, format!("the pattern is nested more than {DEPTH_MAX} levels"));
        }
        for (name, value) in map {
            let json = format!("{}.{name}", spot.json);
            if name == "$or" {
                self.or(drafts, value, &Spot { json: &json, ..*spot });
                continue;
            }
            if spot.in_or && (RESERVED_IN_OR.contains(&name.as_str()) || name == "ip-address-not-in-range") {
                self.refuse(&json, format!("{name} is an operator; inside $or it cannot be a field"));
                continue;
            }
            let fields = if spot.fields.is_empty() { name.clone() } else { format!("{}.{name}", spot.fields) };
            match value {
                Value::Object(inner) => {
                    self.object(drafts, inner, &Spot { fields: &fields, json: &json, in_or: spot.in_or, depth: spot.depth + 1 });
                }
                Value::Array(elements) => self.leaf(drafts, value, elements, fields, &json),
                other => self.refuse(&json, format!("must be an array of alternatives or an object, found {}", facts::shape(other))),
            }
        }
    }

    fn leaf(&mut self, drafts: &mut Vec<Draft>, written: &Value, elements: &[Value], path: String, json: &str) {
        if elements.is_empty() {
            return self.refuse(json, "the array is empty");
        }
        let mut conditions = Vec::with_capacity(elements.len());
        for (idx, element) in elements.iter().enumerate() {
            match Condition::compile(element, &format!("{json}[{idx}]")) {
                Ok(condition) => conditions.push(condition),
                Err(fault) => self.errors.push(fault),
            }
        }
        let term = Term { path: path.clone(), conditions: conditions.into(), written: written.to_string().into() };
        if drafts.is_empty() {
            drafts.push(Draft::new());
        }
        for draft in drafts {
            // The last of two spellings of one path wins, as with duplicate JSON keys.
            draft.insert(path.clone(), term.clone());
        }
    }

    fn or(&mut self, drafts: &mut Vec<Draft>, value: &Value, spot: &Spot<'_>) {
        let Value::Array(branches) = value else { return self.refuse(spot.json, "$or takes an array of at least two objects") };
        if branches.len() < 2 {
            return self.refuse(spot.json, "$or takes an array of at least two objects");
        }
        let before = if drafts.is_empty() { vec![Draft::new()] } else { std::mem::take(drafts) };
        for (idx, branch) in branches.iter().enumerate() {
            let json = format!("{}[{idx}]", spot.json);
            let Value::Object(map) = branch else {
                self.refuse(&json, format!("only objects stand in $or, found {}", facts::shape(branch)));
                continue;
            };
            if drafts.len() + before.len() > ALTERNATIVES_MAX {
                return self.refuse(spot.json, format!("the $or of the pattern multiply to more than {ALTERNATIVES_MAX} alternatives"));
            }
            let mut own = before.clone();
            self.object(&mut own, map, &Spot { fields: spot.fields, json: &json, in_or: true, depth: spot.depth + 1 });
            drafts.append(&mut own);
        }
        if drafts.len() > ALTERNATIVES_MAX {
            self.refuse(spot.json, format!("the $or of the pattern multiply to more than {ALTERNATIVES_MAX} alternatives"));
            drafts.truncate(1);
        }
    }
}

/// Walks the terms by path, carrying every consistent choice of array elements. `Err` is the place
/// of the first term no choice meets.
fn run(terms: &[Term], event: &Fields) -> Result<(), usize> {
    let found: Vec<&[Field]> = terms.iter().map(|t| event.at(&t.path)).collect();
    let mut choices: BTreeSet<Membership> = BTreeSet::from([Membership::new()]);
    let mut n_steps = 0usize;
    for (idx, (term, present)) in terms.iter().zip(&found).enumerate() {
        let bound_later = arrays(found.get(idx + 1..).unwrap_or_default());
        let wants_absence = term.conditions.contains(&Condition::Exists(false));
        let meeting: Vec<&Field> = present.iter().filter(|f| term.conditions.iter().any(|c| c.matches(&f.leaf))).collect();
        let mut next = BTreeSet::new();
        for choice in &choices {
            n_steps = n_steps.saturating_add(present.len() + 1);
            if n_steps > STEPS_MAX {
                return Err(idx);
            }
            // Absent means absent from the elements chosen so far.
            if wants_absence && present.iter().all(|f| fields::consistent(choice, &f.membership).is_none()) {
                next.insert(choice.clone());
            }
            for field in &meeting {
                if let Some(mut merged) = fields::consistent(choice, &field.membership) {
                    // Arrays no later field lies in cannot conflict any more.
                    merged.retain(|(array, _)| bound_later.contains(array));
                    next.insert(merged);
                }
            }
        }
        if next.is_empty() {
            return Err(idx);
        }
        choices = next;
    }
    Ok(())
}

fn arrays(fields: &[&[Field]]) -> BTreeSet<u32> {
    fields.iter().flat_map(|f| f.iter()).flat_map(|f| &f.membership).map(|(array, _)| *array).collect()
}
