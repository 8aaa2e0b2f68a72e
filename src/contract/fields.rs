//! Reads the keys of a mapping into typed values; every refusal becomes a [`Fault`], none stops the reading.

use std::str::FromStr;

use super::fault::{Fault, nearest};
use super::keys::{Key, Kind};
use super::tree::{Entry, Node, Value};
use crate::domain::time::{Span, Timestamp};
use crate::domain::units::ByteSize;

/// Collects the faults of one file.
#[derive(Debug)]
pub struct Faults {
    pub file: String,
    pub list: Vec<Fault>,
}

impl Faults {
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new() }
    }

    /// Notes a fault at a place.
    pub fn at(&mut self, place: (usize, usize), path: &str, message: impl Into<String>, remedy: Option<String>) {
        self.list.push(Fault {
            file: self.file.clone(),
            line: place.0,
            column: place.1,
            path: path.to_owned(),
            message: message.into(),
            remedy,
        });
    }

    fn wrong_kind(&mut self, item: &Item<'_>, wanted: &str) {
        self.at(item.place(), &item.path, format!("wants {wanted}, found {}", item.node.kind()), None);
    }
}

/// A value with the path that leads to it.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    pub node: &'a Node,
    pub path: String,
}

/// The keys of one mapping, taken one by one: all of `keys`, and no other.
#[derive(Debug)]
pub struct Fields<'a> {
    pub path: String,
    pub place: (usize, usize),
    entries: &'a [Entry],
    keys: &'static [Key],
    taken: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Opens a mapping that may have these keys; anything else is a fault.
    pub fn open(item: &Item<'a>, keys: &'static [Key], faults: &mut Faults) -> Option<Self> {
        let Value::Map(entries) = &item.node.value else {
            faults.wrong_kind(item, "a mapping");
            return None;
        };
        Some(Self { path: item.path.clone(), place: item.place(), entries, keys, taken: Vec::new() })
    }

    /// The value under `key`; a null counts as absent.
    pub fn take(&mut self, key: &'static str) -> Option<Item<'a>> {
        debug_assert!(self.keys.iter().any(|k| k.name == key), "{key} stands in no list of keys");
        self.taken.push(key);
        let entry = self.entries.iter().find(|e| e.key == key)?;
        if entry.node.value == Value::Null {
            return None;
        }
        Some(Item { node: &entry.node, path: join(&self.path, key) })
    }

    /// The mapping under `key`.
    pub fn section(&mut self, key: &'static str, faults: &mut Faults) -> Option<Fields<'a>> {
        let keys = self.keys.iter().find_map(|k| match k.kind {
            Kind::Section(keys) if k.name == key => Some(keys),
            _ => None,
        });
        let keys = keys.expect("a section is listed as one");
        let item = self.take(key)?;
        Fields::open(&item, keys, faults)
    }

    /// Sets `into` from the value under `key`, if it is there and `read` accepts it.
    pub fn set<T>(&mut self, key: &'static str, into: &mut T, faults: &mut Faults, read: impl FnOnce(&Item<'a>, &mut Faults) -> Option<T>) {
        if let Some(item) = self.take(key)
            && let Some(value) = read(&item, faults)
        {
            *into = value;
        }
    }

    /// Like [`Fields::set`] for a value that may be absent.
    pub fn set_some<T>(
        &mut self,
        key: &'static str,
        into: &mut Option<T>,
        faults: &mut Faults,
        read: impl FnOnce(&Item<'a>, &mut Faults) -> Option<T>,
    ) {
        self.set(key, into, faults, |item, faults| read(item, faults).map(Some));
    }

    /// Refuses every key that is none.
    pub fn finish(self, faults: &mut Faults) {
        debug_assert!(self.keys.iter().all(|k| self.taken.contains(&k.name)), "{}: a listed key is not read", self.path);
        let known = || self.keys.iter().map(|k| k.name);
        for entry in self.entries.iter().filter(|e| known().all(|k| k != e.key)) {
            let remedy = match nearest(&entry.key, known()) {
                Some(word) => format!("did you mean {word}?"),
                None => format!("known here: {}", known().collect::<Vec<_>>().join(", ")),
            };
            faults.at((entry.line, entry.column), &join(&self.path, &entry.key), "unknown key", Some(remedy));
        }
    }
}

/// `path.key`, or just `key` at the top.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl<'a> Item<'a> {
    pub fn place(&self) -> (usize, usize) {
        (self.node.line, self.node.column)
    }

    /// Entries of a mapping whose keys are free, in their order.
    pub fn entries(&self, faults: &mut Faults) -> Vec<(&'a str, Item<'a>)> {
        let Value::Map(entries) = &self.node.value else {
            faults.wrong_kind(self, "a mapping");
            return Vec::new();
        };
        entries.iter().map(|e| (e.key.as_str(), Item { node: &e.node, path: join(&self.path, &e.key) })).collect()
    }

    /// Items of a list.
    pub fn items(&self, faults: &mut Faults) -> Option<Vec<Item<'a>>> {
        let Value::List(nodes) = &self.node.value else {
            faults.wrong_kind(self, "a list");
            return None;
        };
        Some(nodes.iter().enumerate().map(|(i, node)| Item { node, path: format!("{}[{i}]", self.path) }).collect())
    }

    /// Text that is not empty.
    pub fn name(&self, faults: &mut Faults) -> Option<String> {
        let text = self.text(faults)?;
        if text.is_empty() {
            faults.at(self.place(), &self.path, "is empty", None);
            return None;
        }
        Some(text)
    }

    pub fn text(&self, faults: &mut Faults) -> Option<String> {
        let Value::Text(text) = &self.node.value else {
            let quoted = matches!(self.node.value, Value::Bool(_) | Value::Integer(_) | Value::Float { .. } | Value::Null);
            let remedy = quoted.then(|| "put it in quotes".to_owned());
            faults.at(self.place(), &self.path, format!("wants text, found {}", self.node.kind()), remedy);
            return None;
        };
        Some(text.clone())
    }

    /// Text, or the spelling of a number or boolean.
    pub fn token(&self, faults: &mut Faults) -> Option<String> {
        match &self.node.value {
            Value::Integer(i) => Some(i.to_string()),
            Value::Bool(b) => Some(b.to_string()),
            Value::Float { spelling, .. } => Some(spelling.clone()),
            _ => self.text(faults),
        }
    }

    pub fn names(&self, faults: &mut Faults) -> Option<Vec<String>> {
        Some(self.items(faults)?.iter().filter_map(|item| item.name(faults)).collect())
    }

    pub fn tokens(&self, faults: &mut Faults) -> Option<Vec<String>> {
        Some(self.items(faults)?.iter().filter_map(|item| item.token(faults)).collect())
    }

    pub fn flag(&self, faults: &mut Faults) -> Option<bool> {
        let Value::Bool(flag) = self.node.value else {
            faults.wrong_kind(self, "true or false");
            return None;
        };
        Some(flag)
    }

    /// A finite number.
    pub fn number(&self, faults: &mut Faults) -> Option<f64> {
        match self.node.value {
            Value::Integer(i) => Some(i as f64),
            Value::Float { value, .. } if value.is_finite() => Some(value),
            _ => {
                faults.wrong_kind(self, "a finite number");
                None
            }
        }
    }

    /// A number from 0 to 1.
    pub fn ratio(&self, faults: &mut Faults) -> Option<f64> {
        let ratio = self.number(faults)?;
        if (0.0..=1.0).contains(&ratio) {
            return Some(ratio);
        }
        let remedy = (ratio > 1.0 && ratio <= 100.0).then(|| format!("for {ratio} percent write {}", ratio / 100.0));
        faults.at(self.place(), &self.path, format!("{ratio} is not between 0 and 1"), remedy);
        None
    }

    /// A whole number in a range.
    pub fn count(&self, min: u64, max: u64, faults: &mut Faults) -> Option<u64> {
        let Value::Integer(i) = self.node.value else {
            faults.wrong_kind(self, "a whole number");
            return None;
        };
        match u64::try_from(i).ok().filter(|n| (min..=max).contains(n)) {
            Some(n) => Some(n),
            None => {
                faults.at(self.place(), &self.path, format!("{i} is not between {min} and {max}"), None);
                None
            }
        }
    }

    /// A size of at least `min` bytes: `128 MiB` or plain bytes.
    pub fn size(&self, min: u64, faults: &mut Faults) -> Option<ByteSize> {
        let size = match &self.node.value {
            Value::Integer(i) => u64::try_from(*i).ok().map(ByteSize),
            Value::Text(text) => match text.parse() {
                Ok(size) => Some(size),
                Err(e) => return self.refuse(e, faults),
            },
            _ => {
                faults.wrong_kind(self, "a size such as 128 MiB");
                return None;
            }
        };
        match size.filter(|s| s.bytes() >= min) {
            Some(size) => Some(size),
            None => {
                faults.at(self.place(), &self.path, format!("is smaller than {min} bytes"), None);
                None
            }
        }
    }

    /// A duration: `30s`, `7d`, `P7D`.
    pub fn span(&self, faults: &mut Faults) -> Option<Span> {
        match &self.node.value {
            Value::Text(text) => self.parsed::<Span>(text, faults),
            Value::Integer(_) | Value::Float { .. } => {
                faults.at(self.place(), &self.path, "a duration needs its unit", Some("write 30s, 5m, 7d".to_owned()));
                None
            }
            _ => {
                faults.wrong_kind(self, "a duration such as 30s");
                None
            }
        }
    }

    /// A point in time, RFC 3339, or a day (its UTC midnight).
    pub fn timestamp(&self, faults: &mut Faults) -> Option<Timestamp> {
        let text = self.text(faults)?;
        let found = Timestamp::parse_rfc3339(&text).or_else(|| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")));
        if found.is_none() {
            let remedy = "write 2026-01-02T03:04:05Z or 2026-01-02".to_owned();
            faults.at(self.place(), &self.path, format!("{text:?} is not a point in time"), Some(remedy));
        }
        found
    }

    /// One of the listed words.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)], faults: &mut Faults) -> Option<T> {
        let text = match &self.node.value {
            Value::Bool(b) => b.to_string(),
            _ => self.text(faults)?,
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let mut remedy = format!("allowed: {}", all.join(", "));
        if let Some(word) = nearest(&text, all.iter().copied()) {
            remedy = format!("did you mean {word}? {remedy}");
        }
        faults.at(self.place(), &self.path, format!("{text:?} is not known"), Some(remedy));
        None
    }

    /// Text through a `FromStr`.
    pub fn parsed<T: FromStr>(&self, text: &str, faults: &mut Faults) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        text.parse().map_err(|e| self.refuse::<()>(e, faults)).ok()
    }

    fn refuse<T>(&self, error: impl std::fmt::Display, faults: &mut Faults) -> Option<T> {
        faults.at(self.place(), &self.path, error.to_string(), None);
        None
    }
}
