//! Takes the keys of a section one by one; every refusal becomes a [`Problem`], none stops the reading.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;

use super::file::{Entry, Node, Value};
use super::overlay::variable;
use super::problem::{Origin, Problem};
use super::secret::SecretRef;
use crate::contract::fault::nearest;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::domain::units::ByteSize;

/// One resolved value, for `config show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    pub key: String,
    /// `None`: not set, and there is no default.
    pub value: Option<String>,
    pub origin: Origin,
}

/// What all sections share while they are read.
#[derive(Debug, Default)]
pub struct Reading {
    /// Handed in: secrets may stand there.
    pub environment: BTreeMap<String, String>,
    pub problems: Vec<Problem>,
    pub shown: Vec<Shown>,
}

/// Why a value is not what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub message: String,
    pub remedy: Option<String>,
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    pub value: T,
    pub origin: Origin,
}

/// The keys of one section.
#[derive(Debug)]
pub struct Section<'a> {
    /// `lake`, or `source[0]`.
    name: String,
    origin: Option<Origin>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The section of this name under `root`; empty if it is not there.
    pub fn open(root: &'a [Entry], name: &str, reading: &mut Reading) -> Self {
        match root.iter().find(|e| e.key == name) {
            None => Self { name: name.to_owned(), origin: None, entries: &[], known: Vec::new() },
            Some(entry) => Self::of(name.to_owned(), &entry.node, reading),
        }
    }

    /// The section that stands in `node`.
    pub fn of(name: String, node: &'a Node, reading: &mut Reading) -> Self {
        let origin = Some(node.origin.clone());
        let entries = match &node.value {
            Value::Table(entries) => entries.as_slice(),
            other => {
                let (message, remedy) = (format!("wants a table, found {}", other.kind()), Some(format!("write [{name}]")));
                reading.problems.push(Problem { origin: origin.clone(), key: name.clone(), message, remedy });
                &[]
            }
        };
        Self { name, origin, entries, known: Vec::new() }
    }

    /// Whether somebody said this key, whatever they said.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|e| e.key == key)
    }

    /// Name of a key for people.
    pub fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    /// Notes a fault of the section as a whole.
    pub fn refuse(&self, message: impl Into<String>, remedy: impl Into<String>, reading: &mut Reading) {
        let (origin, key) = (self.origin.clone(), self.name.clone());
        reading.problems.push(Problem { origin, key, message: message.into(), remedy: Some(remedy.into()) });
    }

    /// Where a key was said, whatever its value is.
    pub fn place(&self, key: &str) -> Option<&'a Origin> {
        self.entries.iter().find(|e| e.key == key).map(|e| &e.node.origin)
    }

    /// Notes a fault of a key that was said; one that was not has none.
    pub fn refuse_key(&self, key: &str, message: impl Into<String>, remedy: impl Into<String>, reading: &mut Reading) {
        let Some(origin) = self.place(key).cloned() else { return };
        let (key, message, remedy) = (self.path(key), message.into(), Some(remedy.into()));
        reading.problems.push(Problem { origin: Some(origin), key, message, remedy });
    }

    /// Refuses one of two keys that is said without the other.
    pub fn pair(&self, keys: [&'static str; 2], reading: &mut Reading) {
        let [one, other] = keys;
        let remedy = format!("say both {one} and {other}, or neither");
        match (self.place(one), self.place(other)) {
            (Some(_), None) => self.refuse_key(one, format!("{other} is missing"), remedy, reading),
            (None, Some(_)) => self.refuse_key(other, format!("{one} is missing"), remedy, reading),
            _ => {}
        }
    }

    /// The value of a key, if somebody said it and `read` accepts it.
    pub fn said<T>(
        &mut self,
        key: &'static str,
        reading: &mut Reading,
        read: impl FnOnce(&Value) -> Result<T, Refused>,
    ) -> Option<Said<T>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|e| e.key == key)?;
        let origin = entry.node.origin.clone();
        match read(&entry.node.value) {
            Ok(value) => Some(Said { value, origin }),
            Err(Refused { message, remedy }) => {
                reading.problems.push(Problem { origin: Some(origin), key: self.path(key), message, remedy });
                None
            }
        }
    }

    /// Like [`Section::said`], and shown; a key nobody said is shown as not set.
    pub fn optional<T: Display>(
        &mut self,
        key: &'static str,
        reading: &mut Reading,
        read: impl FnOnce(&Value) -> Result<T, Refused>,
    ) -> Option<Said<T>> {
        let said = self.said(key, reading, read);
        let (value, origin) = said.as_ref().map_or((None, Origin::Default), |s| (Some(s.value.to_string()), s.origin.clone()));
        self.show(key, value, origin, reading);
        said
    }

    /// The value of a key, or its default; shown.
    pub fn or<T: Display>(
        &mut self,
        key: &'static str,
        default: T,
        reading: &mut Reading,
        read: impl FnOnce(&Value) -> Result<T, Refused>,
    ) -> T {
        self.or_said(key, Said { value: default, origin: Origin::Default }, reading, read).value
    }

    /// Like [`Section::or`], where another setting is the default.
    pub fn or_said<T: Display>(
        &mut self,
        key: &'static str,
        default: Said<T>,
        reading: &mut Reading,
        read: impl FnOnce(&Value) -> Result<T, Refused>,
    ) -> Said<T> {
        let said = self.said(key, reading, read).unwrap_or(default);
        self.show(key, Some(said.value.to_string()), said.origin.clone(), reading);
        said
    }

    /// The value of a key that must be said; shown.
    pub fn required<T: Display>(
        &mut self,
        key: &'static str,
        reading: &mut Reading,
        read: impl FnOnce(&Value) -> Result<T, Refused>,
    ) -> Option<Said<T>> {
        if !self.has(key) {
            self.refuse(format!("{key} is missing"), format!("add {key} = …"), reading);
        }
        self.optional(key, reading, read)
    }

    /// A secret, fetched from where its reference points; shown as `***` with that reference.
    pub fn secret(&mut self, key: &'static str, reading: &mut Reading) -> Option<Secret> {
        let reference = self.said(key, reading, parsed::<SecretRef>)?;
        let shown = Some(format!("*** ({})", reference.value));
        self.show(key, shown, reference.origin.clone(), reading);
        match reference.value.resolve(&reading.environment) {
            Ok(secret) => Some(secret),
            Err(e) => {
                let (origin, key) = (Some(reference.origin), self.path(key));
                reading.problems.push(Problem { origin, key, message: e.to_string(), remedy: None });
                None
            }
        }
    }

    fn show(&self, key: &str, value: Option<String>, origin: Origin, reading: &mut Reading) {
        reading.shown.push(Shown { key: self.path(key), value, origin });
    }

    /// Refuses every key that nobody took.
    pub fn finish(self, reading: &mut Reading) {
        for entry in self.entries.iter().filter(|e| !self.known.contains(&e.key.as_str())) {
            let spelled = |key: &str| match entry.origin {
                Origin::Environment { .. } => variable(&self.name, key),
                _ => key.to_owned(),
            };
            let remedy = match nearest(&entry.key, self.known.iter().copied()) {
                Some(word) => format!("did you mean {}?", spelled(word)),
                None => format!("known here: {}", self.known.iter().map(|k| spelled(k)).collect::<Vec<_>>().join(", ")),
            };
            let (origin, key) = (Some(entry.origin.clone()), self.path(&entry.key));
            reading.problems.push(Problem { origin, key, message: "unknown key".to_owned(), remedy: Some(remedy) });
        }
    }
}

fn wanted<T>(what: &str, found: &Value) -> Result<T, Refused> {
    Err(Refused { message: format!("wants {what}, found {}", found.kind()), remedy: None })
}

/// Text that is not empty.
///
/// # Errors
/// Anything else.
pub fn text(value: &Value) -> Result<String, Refused> {
    match value {
        Value::Text(text) | Value::Word(text) if !text.is_empty() => Ok(text.clone()),
        Value::Text(_) | Value::Word(_) => Err(Refused { message: "is empty".to_owned(), remedy: None }),
        Value::Integer(_) | Value::Bool(_) => {
            Err(Refused { message: format!("wants text, found {}", value.kind()), remedy: Some("put it in quotes".to_owned()) })
        }
        other => wanted("text", other),
    }
}

/// Text through a `FromStr`.
///
/// # Errors
/// Anything else, and what the type refuses.
pub fn parsed<T: FromStr>(value: &Value) -> Result<T, Refused>
where
    T::Err: Display,
{
    text(value)?.parse().map_err(|e: T::Err| Refused { message: e.to_string(), remedy: None })
}

/// A duration of at least a millisecond, with its unit.
///
/// # Errors
/// Anything else.
pub fn span(value: &Value) -> Result<Span, Refused> {
    match value {
        Value::Text(_) | Value::Word(_) => {}
        Value::Integer(_) => {
            let remedy = Some("write \"30s\", \"5m\", \"7d\"".to_owned());
            return Err(Refused { message: "a duration needs its unit".to_owned(), remedy });
        }
        other => return wanted("a duration such as \"30s\"", other),
    }
    match parsed::<Span>(value)? {
        Span::ZERO => Err(Refused { message: "is no time at all".to_owned(), remedy: Some("write \"1ms\" or more".to_owned()) }),
        span => Ok(span),
    }
}

/// A size of at least `min`: `"128 MiB"` or plain bytes.
pub fn size(min: ByteSize) -> impl FnOnce(&Value) -> Result<ByteSize, Refused> {
    move |value| {
        let size = match value {
            Value::Integer(i) => match u64::try_from(*i) {
                Ok(bytes) => ByteSize(bytes),
                Err(_) => return wanted("a size such as \"128 MiB\"", value),
            },
            other => parsed(other)?,
        };
        if size < min {
            return Err(Refused { message: format!("{size} is less than {min}"), remedy: None });
        }
        Ok(size)
    }
}

/// A whole number in a range.
pub fn count(min: u64, max: u64) -> impl FnOnce(&Value) -> Result<u64, Refused> {
    move |value| {
        let number = match value {
            Value::Integer(i) => Some(i128::from(*i)),
            Value::Word(word) => word.trim().parse().ok(),
            _ => None,
        };
        let Some(number) = number else { return wanted("a whole number", value) };
        match u64::try_from(number).ok().filter(|n| (min..=max).contains(n)) {
            Some(n) => Ok(n),
            None => Err(Refused { message: format!("{number} is not between {min} and {max}"), remedy: None }),
        }
    }
}

/// `true` or `false`.
///
/// # Errors
/// Anything else.
pub fn truth(value: &Value) -> Result<bool, Refused> {
    match value {
        Value::Bool(b) => Ok(*b),
        Value::Word(word) if word == "true" || word == "false" => Ok(word == "true"),
        other => wanted("true or false", other),
    }
}

/// Values of a type, as a list, or separated by commas in a variable or flag.
///
/// # Errors
/// Anything else, and an empty list.
pub fn list<T: FromStr>(value: &Value) -> Result<List<T>, Refused>
where
    T::Err: Display,
{
    let items = match value {
        Value::List(nodes) => nodes.iter().map(|n| parsed(&n.value)).collect::<Result<Vec<T>, _>>()?,
        Value::Word(word) => word.split(',').map(|w| parsed(&Value::Word(w.trim().to_owned()))).collect::<Result<_, _>>()?,
        other => return wanted("a list", other),
    };
    if items.is_empty() {
        return Err(Refused { message: "names nothing".to_owned(), remedy: Some("leave it out for the default".to_owned()) });
    }
    Ok(List(items))
}

/// Values that print separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: Display> Display for List<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let items: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&items.join(", "))
    }
}
