//! Lays the environment and the flags over the file; what is said later replaces what was said before.

use std::collections::BTreeMap;

use super::file::{Entry, Node, Value};
use super::problem::{Origin, Problem};

/// What the variables of settings begin with; the section and the key follow, in capitals.
pub const PREFIX: &str = "LAKEGATE__";

/// A setting said by a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Such as `--lake`.
    pub flag: &'static str,
    /// Such as `("lake", "url")`.
    pub key: (&'static str, &'static str),
    pub value: String,
}

/// The variable of a setting.
pub fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase())
}

/// Environment over file, flags over both. Variables that do not begin with [`PREFIX`] are others'.
pub fn overlay(file: Vec<Entry>, environment: &BTreeMap<String, String>, flags: &[Flag], problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut root = file;
    for (name, value) in environment {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let origin = Origin::Environment { variable: name.clone() };
        let mut refuse = |message: &str, remedy: &str| {
            let (origin, key) = (Some(origin.clone()), String::new());
            problems.push(Problem { origin, key, message: message.to_owned(), remedy: Some(remedy.to_owned()) });
        };
        let parts: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        match parts.as_slice() {
            [section, ..] if section == super::sources::SECTION => {
                refuse("sources are a list", "write them as [[source]] in the file, or use --landing, --notices, --webhook");
            }
            [_, _] if value.contains('\u{fffd}') => refuse("is not UTF-8", "write the value in UTF-8"),
            [section, key] if !section.is_empty() && !key.is_empty() => put(&mut root, section, key, value, origin),
            _ => refuse("names no setting", "variables are named LAKEGATE__SECTION__KEY"),
        }
    }
    for Flag { flag, key: (section, key), value } in flags {
        put(&mut root, section, key, value, Origin::Flag { flag });
    }
    root
}

/// Sets one key of a section. A section that is no table stays as it is: its reader refuses it.
fn put(root: &mut Vec<Entry>, section: &str, key: &str, value: &str, origin: Origin) {
    let at = root.iter().position(|e| e.key == section).unwrap_or_else(|| {
        let node = Node { origin: origin.clone(), value: Value::Table(Vec::new()) };
        root.push(Entry { key: section.to_owned(), origin: origin.clone(), node });
        root.len() - 1
    });
    let Value::Table(entries) = &mut root[at].node.value else { return };
    entries.retain(|e| e.key != key);
    let node = Node { origin: origin.clone(), value: Value::Word(value.to_owned()) };
    entries.push(Entry { key: key.to_owned(), origin, node });
}
