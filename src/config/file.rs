//! `lakegate.toml` as a tree whose every value knows its line.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};

/// Largest file read, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// A value and where it was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub origin: Origin,
    pub value: Value,
}

/// What was said.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Bool(bool),
    /// Numbers with a fraction, dates: nothing here wants one.
    Other(&'static str),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// Of a variable or a flag: it may spell a text, a number, a boolean or a list.
    Word(String),
}

/// One key of a table with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub origin: Origin,
    pub node: Node,
}

impl Value {
    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) | Value::Word(_) => "text",
            Value::Integer(_) => "a whole number",
            Value::Bool(_) => "true or false",
            Value::Other(kind) => kind,
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Reads the text; `file` only names the place in faults.
///
/// # Errors
/// Every fault of the syntax, in the order of the text.
pub fn read(file: &str, text: &str) -> Result<Vec<Entry>, Vec<Problem>> {
    let file: Arc<str> = file.into();
    let problem = |line: usize, message: String| Problem {
        origin: Some(Origin::File { file: Arc::clone(&file), line }),
        key: String::new(),
        message,
        remedy: None,
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(vec![problem(1, format!("the file has {} bytes, more than {TEXT_BYTES_MAX}", text.len()))]);
    }
    let reading = Reading { file: Arc::clone(&file), text };
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(reading.entries(root.get_ref()));
    }
    let fault = |e: &toml::de::Error| {
        let line = e.span().map_or(1, |span| reading.line(span.start));
        problem(line, format!("not TOML: {}", e.message().trim().replace('\n', "; ")))
    };
    let mut faults: Vec<(usize, Problem)> = errors.iter().map(|e| (e.span().map_or(0, |span| span.start), fault(e))).collect();
    faults.sort_by_key(|(at, _)| *at);
    Err(faults.into_iter().map(|(_, fault)| fault).collect())
}

struct Reading<'t> {
    file: Arc<str>,
    text: &'t str,
}

impl Reading<'_> {
    /// Line of a byte, from 1.
    fn line(&self, at: usize) -> usize {
        memchr::memchr_iter(b'\n', &self.text.as_bytes()[..at.min(self.text.len())]).count() + 1
    }

    fn origin<T>(&self, spanned: &Spanned<T>) -> Origin {
        Origin::File { file: Arc::clone(&self.file), line: self.line(spanned.span().start) }
    }

    fn entries(&self, table: &DeTable<'_>) -> Vec<Entry> {
        let entries = table.iter();
        entries.map(|(key, value)| Entry { key: key.get_ref().to_string(), origin: self.origin(key), node: self.node(value) }).collect()
    }

    fn node(&self, spanned: &Spanned<DeValue<'_>>) -> Node {
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).map_or(Value::Other("a number too large"), Value::Integer),
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Float(_) => Value::Other("a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.entries(table)),
        };
        Node { origin: self.origin(spanned), value }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_value_knows_its_line_and_every_fault_of_the_syntax_is_told() {
        let entries = read("l.toml", "# first\n[lake]\nurl = \"x\"\n\n[[source]]\nname = 'a'\n[[source]]\npoll = 1\n").unwrap();
        let at = |origin: &Origin| origin.to_string();
        let Value::Table(lake) = &entries[0].node.value else { panic!("a table") };
        assert_eq!((lake[0].key.as_str(), at(&lake[0].node.origin)), ("url", "l.toml:3".to_owned()));
        let Value::List(sources) = &entries[1].node.value else { panic!("a list") };
        let Value::Table(second) = &sources[1].value else { panic!("a table") };
        assert_eq!((&second[0].node.value, at(&second[0].node.origin)), (&Value::Integer(1), "l.toml:8".to_owned()));

        let faults = read("l.toml", "a = \nb = 1\nb = 2\nc = [1\n").unwrap_err();
        let places: Vec<String> = faults.iter().map(|f| at(f.origin.as_ref().unwrap())).collect();
        assert_eq!(places[0], "l.toml:1");
        assert!(faults.len() >= 2 && faults.iter().all(|f| f.message.starts_with("not TOML")), "{faults:?}");
    }

    #[test]
    fn hostile_texts_are_refused() {
        for text in
            [" ".repeat(TEXT_BYTES_MAX + 1), "a = ".to_owned() + &"[".repeat(100_000), "[a.".to_owned() + &"b.".repeat(50_000) + "c"]
        {
            drop(read("l.toml", &text));
        }
        assert!(read("l.toml", &("a = ".to_owned() + &"[".repeat(100_000))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}\"'=.,#a-c0-9\n ]{0,60}") {
            if let Err(faults) = read("l.toml", &text) {
                prop_assert!(!faults.is_empty());
            }
        }
    }
}
