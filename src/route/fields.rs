//! An event as patterns see it: a sorted list of leaves, each knowing which array elements it lies
//! in, so that two fields under one array can be asked for the same element (events.md §1.6).

use std::net::IpAddr;

use serde_json::Value;

use super::address;
use super::number::Numeral;

/// Leaves and levels read of one event; beyond them an event matches as if they were absent.
const FIELDS_MAX: usize = 100_000;
const DEPTH_MAX: usize = 160;

/// A value of a leaf.
#[derive(Debug, Clone, PartialEq)]
pub enum Leaf {
    Text {
        text: String,
        /// Text that looks like an address is compared as one.
        address: Option<IpAddr>,
    },
    Number(Numeral),
    Bool(bool),
    Null,
}

impl Leaf {
    /// A leaf as a person wrote it.
    pub fn shown(&self) -> String {
        match self {
            Leaf::Text { text, .. } => crate::event::facts::quote(text),
            Leaf::Number(Numeral::Comparable(value)) => value.to_string(),
            Leaf::Number(Numeral::Spelled(text)) => text.clone(),
            Leaf::Bool(value) => value.to_string(),
            Leaf::Null => "null".to_owned(),
        }
    }

    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Leaf::Text { address: address::parse(text), text: text.clone() }),
            Value::Number(number) => Some(Leaf::Number(Numeral::of(number))),
            Value::Bool(value) => Some(Leaf::Bool(*value)),
            Value::Null => Some(Leaf::Null),
            Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// Which element of which array: pairs of array number and index, outermost first.
pub type Membership = Vec<(u32, u32)>;

/// One leaf of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Steps joined by `.`; `"a.b"` and `a` → `b` are the same path.
    pub path: String,
    pub leaf: Leaf,
    pub membership: Membership,
}

/// All leaves of an event, sorted by path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields {
    fields: Vec<Field>,
}

impl Fields {
    /// Flattens an event. Anything but an object has no fields; `[]` and `{}` leave none.
    pub fn of(event: &Value) -> Self {
        let mut flattener = Flattener { fields: Vec::new(), path: String::new(), membership: Vec::new(), n_arrays: 0 };
        if let Value::Object(_) = event {
            flattener.value(event, 0);
        }
        let mut fields = flattener.fields;
        fields.sort_by(|a, b| a.path.cmp(&b.path));
        Self { fields }
    }

    /// The leaves at one path, in the order of the event.
    pub fn at(&self, path: &str) -> &[Field] {
        let start = self.fields.partition_point(|f| f.path.as_str() < path);
        let n = self.fields[start..].partition_point(|f| f.path == path);
        &self.fields[start..start + n]
    }
}

struct Flattener {
    fields: Vec<Field>,
    path: String,
    membership: Membership,
    n_arrays: u32,
}

impl Flattener {
    fn value(&mut self, value: &Value, depth: usize) {
        if depth > DEPTH_MAX || self.fields.len() >= FIELDS_MAX {
            return;
        }
        match value {
            Value::Object(map) => {
                let base = self.path.len();
                for (name, inner) in map {
                    if depth > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(name);
                    self.value(inner, depth + 1);
                    self.path.truncate(base);
                }
            }
            Value::Array(elements) => {
                let array = self.n_arrays;
                self.n_arrays = self.n_arrays.saturating_add(1);
                for (idx, element) in (0u32..).zip(elements) {
                    // Plain values of one array do not bind an element: two conditions on the same
                    // path may be met by different ones.
                    let binds = element.is_object() || element.is_array();
                    if binds {
                        self.membership.push((array, idx));
                    }
                    self.value(element, depth + 1);
                    if binds {
                        self.membership.pop();
                    }
                }
            }
            plain => {
                if let Some(leaf) = Leaf::of(plain) {
                    self.fields.push(Field { path: self.path.clone(), leaf, membership: self.membership.clone() });
                }
            }
        }
    }
}

/// `so_far` and the field's memberships together; `None` when they name two elements of one array.
pub fn consistent(so_far: &Membership, field: &Membership) -> Option<Membership> {
    let mut merged = so_far.clone();
    for (array, idx) in field {
        match so_far.iter().find(|(a, _)| a == array) {
            Some((_, bound)) if bound != idx => return None,
            Some(_) => {}
            None => merged.push((*array, *idx)),
        }
    }
    merged.sort_unstable();
    Some(merged)
}
