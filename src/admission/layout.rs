//! Templates of keys, such as `landing/{dataset}/{yyyy}/{MM}/{dd}/{file}` (contract.md, `layout`):
//! partition values and the business date are taken from the key, parsed and validated.
//!
//! | in braces | takes |
//! |---|---|
//! | `dataset` | the dataset's own name, literally |
//! | `yyyy` `MM` `dd` `HH` `mm` `ss` | that many digits; also joined, as in `{yyyy-MM-dd}` or `{yyyyMMdd}` |
//! | `file` | the last segment, never empty |
//! | `path` | the rest, with slashes; only at the end |
//! | any other name | text without a slash, never empty |
//!
//! `{{` and `}}` are literal braces. A value takes as much as it can: `{tenant}-{file}` reads `a-b-c` as
//! `a-b` and `c`.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use regex::Regex;

use crate::domain::names::{DatasetName, ObjectKey};
use crate::domain::reason::ReasonCode;

const TEMPLATE_BYTES_MAX: usize = 1024;

/// Why a template was refused; `at` is a byte of the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("the layout is empty")]
    Empty,
    #[error("the layout has {len} bytes, at most {TEMPLATE_BYTES_MAX} are allowed")]
    TooLong { len: usize },
    #[error("the brace opened at byte {at} is not closed")]
    Unclosed { at: usize },
    #[error("the brace at byte {at} closes nothing; a literal brace is written {{{{ or }}}}")]
    Stray { at: usize },
    #[error("{{{name}}} at byte {at} is no name; names are letters, digits and _, beginning with a letter")]
    Name { at: usize, name: String },
    #[error("{{{name}}} stands twice, again at byte {at}")]
    Repeated { at: usize, name: String },
    #[error("{{{name}}} at byte {at} directly follows another value of any length; put a literal between them")]
    Adjacent { at: usize, name: String },
    #[error("{{{name}}} at byte {at} has to be the end of the layout")]
    NotLast { at: usize, name: String },
    #[error("the date needs {missing}: a day needs its month, a month its year")]
    PartialDate { missing: &'static str },
}

/// Why a key does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutMismatch {
    #[error("the key does not have the layout {template}")]
    Shape { template: String },
    #[error("{year}-{month:02}-{day:02} in the key is not a date")]
    NoSuchDate { year: i32, month: u32, day: u32 },
    #[error("{value} in the key is no {token}")]
    NoSuchTime { token: &'static str, value: u32 },
}

impl LayoutMismatch {
    pub fn reason(&self) -> ReasonCode {
        ReasonCode::LayoutMismatch
    }
}

/// What a key said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyFacts {
    /// Values by name in the order of the template; raw text, to be escaped by [`hive_escape`] where
    /// it becomes part of a path. `dataset` is among them.
    pub values: Vec<(String, String)>,
    /// The business date, when the layout has year, month and day.
    pub date: Option<NaiveDate>,
}

impl KeyFacts {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl Token {
    const ALL: [(&'static str, Token); 6] = [
        ("yyyy", Token::Year),
        ("MM", Token::Month),
        ("dd", Token::Day),
        ("HH", Token::Hour),
        ("mm", Token::Minute),
        ("ss", Token::Second),
    ];
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Capture {
    Dataset(String),
    Token(Token),
    Text,
}

/// A compiled template.
#[derive(Debug, Clone)]
pub struct Layout {
    template: String,
    /// Anchored; group `i + 1` belongs to `captures[i]`.
    regex: Regex,
    captures: Vec<(String, Capture)>,
}

impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        self.template == other.template && self.captures == other.captures
    }
}

impl Layout {
    /// Compiles a template for one dataset.
    ///
    /// # Errors
    /// The first fault of the template, with its place.
    pub fn compile(template: &str, dataset: &DatasetName) -> Result<Self, LayoutError> {
        if template.is_empty() {
            return Err(LayoutError::Empty);
        }
        if template.len() > TEMPLATE_BYTES_MAX {
            return Err(LayoutError::TooLong { len: template.len() });
        }
        let mut draft =
            Draft { regex: String::from("^"), captures: Vec::new(), names: BTreeSet::new(), after_open_end: false, ended_by: None };
        let mut at = 0;
        while let Some(c) = template[at..].chars().next() {
            let rest = &template[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                draft.literal(c)?;
                at += 2;
            } else if c == '{' {
                let Some(len) = rest.find('}') else { return Err(LayoutError::Unclosed { at }) };
                draft.placeholder(&rest[1..len], at, dataset)?;
                at += len + 1;
            } else if c == '}' {
                return Err(LayoutError::Stray { at });
            } else {
                draft.literal(c)?;
                at += c.len_utf8();
            }
        }
        draft.finish(template)
    }

    pub fn template(&self) -> &str {
        &self.template
    }

    /// Names of the values, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.captures.iter().map(|(name, _)| name.as_str())
    }

    /// Takes values and date from a key.
    ///
    /// # Errors
    /// The key has another shape, or its digits are no date or time.
    pub fn read(&self, key: &ObjectKey) -> Result<KeyFacts, LayoutMismatch> {
        let shape = || LayoutMismatch::Shape { template: self.template.clone() };
        let groups = self.regex.captures(key.as_str()).ok_or_else(shape)?;
        let mut facts = KeyFacts::default();
        let (mut year, mut month, mut day) = (None, None, None);
        for (idx, (name, capture)) in self.captures.iter().enumerate() {
            let text = groups.get(idx + 1).ok_or_else(shape)?.as_str();
            if let Capture::Token(token) = capture {
                let value: u32 = text.parse().map_err(|_| shape())?;
                match token {
                    Token::Year => year = Some(value),
                    Token::Month => month = Some(value),
                    Token::Day => day = Some(value),
                    Token::Hour if value > 23 => return Err(LayoutMismatch::NoSuchTime { token: "hour", value }),
                    Token::Minute if value > 59 => return Err(LayoutMismatch::NoSuchTime { token: "minute", value }),
                    Token::Second if value > 59 => return Err(LayoutMismatch::NoSuchTime { token: "second", value }),
                    Token::Hour | Token::Minute | Token::Second => {}
                }
            }
            facts.values.push((name.clone(), text.to_owned()));
        }
        if let Some(year) = year {
            // Without day or month the first stands in, so that month 13 is refused all the same.
            let year = i32::try_from(year).map_err(|_| shape())?;
            let (m, d) = (month.unwrap_or(1), day.unwrap_or(1));
            let date =
                NaiveDate::from_ymd_opt(year, m, d).filter(|_| year > 0).ok_or(LayoutMismatch::NoSuchDate { year, month: m, day: d })?;
            facts.date = day.is_some().then_some(date);
        }
        Ok(facts)
    }
}

struct Draft {
    regex: String,
    captures: Vec<(String, Capture)>,
    names: BTreeSet<String>,
    /// The last piece takes text of any length.
    after_open_end: bool,
    /// A piece that has to be the last one.
    ended_by: Option<(usize, String)>,
}

impl Draft {
    fn literal(&mut self, c: char) -> Result<(), LayoutError> {
        self.check_end()?;
        self.regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
        self.after_open_end = false;
        Ok(())
    }

    fn check_end(&self) -> Result<(), LayoutError> {
        match &self.ended_by {
            Some((at, name)) => Err(LayoutError::NotLast { at: *at, name: name.clone() }),
            None => Ok(()),
        }
    }

    fn placeholder(&mut self, name: &str, at: usize, dataset: &DatasetName) -> Result<(), LayoutError> {
        self.check_end()?;
        if name == "dataset" {
            self.capture(name, at, &regex::escape(dataset.as_str()), Capture::Dataset(dataset.as_str().to_owned()))?;
            self.after_open_end = false;
            return Ok(());
        }
        if let Some(pieces) = date_tokens(name) {
            for piece in pieces {
                match piece {
                    Ok((word, token)) => self.capture(word, at, &format!("[0-9]{{{}}}", word.len()), Capture::Token(token))?,
                    Err(separator) => self.regex.push_str(&regex::escape(separator.encode_utf8(&mut [0; 4]))),
                }
            }
            self.after_open_end = false;
            return Ok(());
        }
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            return Err(LayoutError::Name { at, name: name.to_owned() });
        }
        if self.after_open_end {
            return Err(LayoutError::Adjacent { at, name: name.to_owned() });
        }
        match name {
            "path" => self.capture(name, at, ".+", Capture::Text)?,
            _ => self.capture(name, at, "[^/]+", Capture::Text)?,
        }
        if matches!(name, "path" | "file") {
            self.ended_by = Some((at, name.to_owned()));
        }
        self.after_open_end = true;
        Ok(())
    }

    fn capture(&mut self, name: &str, at: usize, regex: &str, capture: Capture) -> Result<(), LayoutError> {
        if !self.names.insert(name.to_owned()) {
            return Err(LayoutError::Repeated { at, name: name.to_owned() });
        }
        self.regex.push('(');
        self.regex.push_str(regex);
        self.regex.push(')');
        self.captures.push((name.to_owned(), capture));
        Ok(())
    }

    fn finish(mut self, template: &str) -> Result<Layout, LayoutError> {
        let has = |token: Token| self.captures.iter().any(|(_, c)| *c == Capture::Token(token));
        if has(Token::Day) && !has(Token::Month) {
            return Err(LayoutError::PartialDate { missing: "{MM}" });
        }
        if has(Token::Month) && !has(Token::Year) {
            return Err(LayoutError::PartialDate { missing: "{yyyy}" });
        }
        self.regex.push('$');
        let regex = regex::RegexBuilder::new(&self.regex)
            .dot_matches_new_line(true)
            .build()
            .map_err(|_| LayoutError::TooLong { len: template.len() })?;
        Ok(Layout { template: template.to_owned(), regex, captures: self.captures })
    }
}

/// `yyyy-MM-dd` as tokens and separators; `None` if anything else stands in it.
fn date_tokens(name: &str) -> Option<Vec<Result<(&'static str, Token), char>>> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some((word, token)) = Token::ALL.iter().find(|(word, _)| rest.starts_with(word)) {
            pieces.push(Ok((*word, *token)));
            rest = &rest[word.len()..];
        } else if matches!(c, '-' | '_' | '.' | 'T') {
            pieces.push(Err(c));
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    pieces.iter().any(Result::is_ok).then_some(pieces)
}

/// Escapes a value for a hive-partitioned path (`name=value`), as Hive's `FileUtils` does; the empty
/// value is Hive's default partition.
pub fn hive_escape(value: &str) -> String {
    if value.is_empty() {
        return "__HIVE_DEFAULT_PARTITION__".to_owned();
    }
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        let special = matches!(c, '"' | '#' | '%' | '\'' | '*' | '/' | ':' | '=' | '?' | '\\' | '{' | '}' | '[' | ']' | '^' | '\u{7f}');
        if special || u32::from(c) < 0x20 {
            escaped.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}
