//! Row letters: one JSON object per refused row, with its place and source text.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::domain::reason::ReasonCode;
use crate::format::block::{Place, SOURCE_TEXT_MAX};
use crate::quarantine::letter::cut;

/// Stands where a sensitive value stood.
pub const REDACTED: &str = "***";

/// Why a row is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFinding {
    pub reason: ReasonCode,
    /// What exactly is wrong, for a person.
    pub detail: String,
    /// Column or nested path (`a.b`, `a[]`), if one is at fault.
    pub path: Option<String>,
}

/// One refused row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLetter {
    /// `bucket/key`.
    file: String,
    place: Option<Place>,
    /// Zero-based number among the file's records, where no more of its place is known.
    row: Option<u64>,
    source: SourceText,
    finding: RowFinding,
}

/// What is shown of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SourceText {
    Text {
        text: String,
        complete: bool,
    },
    /// The row cannot be shown without a sensitive value.
    Withheld,
}

/// Sensitive columns of a contract (`schema.columns.<name>.sensitive`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sensitive(BTreeSet<String>);

impl Sensitive {
    pub fn new(columns: impl IntoIterator<Item = String>) -> Self {
        Self(columns.into_iter().collect())
    }

    /// A path is sensitive with its column: `card.number` and `card[]` with `card`.
    pub fn covers(&self, path: &str) -> bool {
        self.0.iter().any(|c| path.strip_prefix(c.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{'])))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl RowLetter {
    /// A letter that shows the row's source, cut at [`SOURCE_TEXT_MAX`] bytes. Only for datasets
    /// without sensitive columns; see [`RowLetter::redacted`].
    pub fn new(file: &str, place: Option<Place>, source: &[u8], finding: RowFinding) -> Self {
        let shown = String::from_utf8_lossy(source);
        let kept = cut(&shown, SOURCE_TEXT_MAX);
        let complete = kept.len() == shown.len();
        Self { file: file.to_owned(), place, row: None, source: SourceText::Text { text: kept.to_owned(), complete }, finding }
    }

    /// A letter of a row whose number is known and nothing else of its place: it was read long ago.
    #[must_use]
    pub fn numbered(self, row: Option<u64>) -> Self {
        Self { row, ..self }
    }

    /// As [`RowLetter::new`], with sensitive columns hidden. With `cells` (column name, text) the
    /// source is told cell by cell; without them the row cannot be taken apart, so all of it is withheld.
    pub fn redacted(
        file: &str,
        place: Option<Place>,
        source: &[u8],
        cells: Option<&[(&str, Option<&str>)]>,
        mut finding: RowFinding,
        sensitive: &Sensitive,
    ) -> Self {
        if sensitive.is_empty() {
            return Self::new(file, place, source, finding);
        }
        if finding.path.as_deref().is_none_or(|p| sensitive.covers(p)) {
            // A detail quotes the value it complains about.
            finding.detail = REDACTED.to_owned();
        }
        let Some(cells) = cells else {
            return Self { file: file.to_owned(), place, row: None, source: SourceText::Withheld, finding };
        };
        let told: Map<String, Value> = cells
            .iter()
            .map(|(column, text)| {
                let shown = if sensitive.covers(column) { text.map(|_| REDACTED) } else { *text };
                ((*column).to_owned(), shown.map_or(Value::Null, Value::from))
            })
            .collect();
        Self::new(file, place, Value::Object(told).to_string().as_bytes(), finding)
    }

    pub fn reason(&self) -> ReasonCode {
        self.finding.reason
    }

    /// The letter as JSON, in the order people read it.
    pub fn json(&self) -> Value {
        let mut out = Map::new();
        out.insert("file".to_owned(), Value::from(self.file.as_str()));
        if let Some(place) = &self.place {
            out.insert("row".to_owned(), Value::from(place.row));
            out.insert("line".to_owned(), Value::from(place.line));
            out.insert("byte_offset".to_owned(), Value::from(place.byte_offset));
            out.insert("byte_len".to_owned(), Value::from(place.byte_len));
        } else if let Some(row) = self.row {
            out.insert("row".to_owned(), Value::from(row));
        }
        out.insert("reason".to_owned(), Value::from(self.finding.reason.as_str()));
        out.insert("detail".to_owned(), Value::from(cut(&self.finding.detail, SOURCE_TEXT_MAX)));
        out.insert("path".to_owned(), self.finding.path.as_deref().map_or(Value::Null, Value::from));
        match &self.source {
            SourceText::Text { text, complete } => {
                out.insert("source".to_owned(), Value::from(text.as_str()));
                out.insert("source_complete".to_owned(), Value::from(*complete));
            }
            SourceText::Withheld => {
                out.insert("source".to_owned(), Value::from(REDACTED));
                out.insert("source_complete".to_owned(), Value::from(false));
            }
        }
        Value::Object(out)
    }

    /// Appends one line of JSON Lines.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.json().to_string().as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finding(path: Option<&str>) -> RowFinding {
        RowFinding { reason: ReasonCode::RowTypeError, detail: "\"4111-1111\" is no long".to_owned(), path: path.map(str::to_owned) }
    }

    const PLACE: Place = Place { row: 4, line: 6, byte_offset: 90, byte_len: 9 };

    #[test]
    fn a_row_letter_says_where_and_why() {
        let mut line = Vec::new();
        RowLetter::new("b/k.csv", Some(PLACE), b"7,\"x\ny\"", finding(Some("card"))).write_line(&mut line);
        assert_eq!(
            String::from_utf8(line).expect("JSON is text"),
            "{\"file\":\"b/k.csv\",\"row\":4,\"line\":6,\"byte_offset\":90,\"byte_len\":9,\"reason\":\"row_type_error\",\
             \"detail\":\"\\\"4111-1111\\\" is no long\",\"path\":\"card\",\"source\":\"7,\\\"x\\ny\\\"\",\"source_complete\":true}\n"
        );
    }

    #[test]
    fn sensitive_values_never_leave() {
        let sensitive = Sensitive::new(["card".to_owned()]);
        let cells = [("id", Some("7")), ("card", Some("4111-1111")), ("note", None)];
        for (cells, path) in [(Some(&cells[..]), Some("card")), (Some(&cells[..]), None), (None, Some("card.number"))] {
            let letter = RowLetter::redacted("b/k", Some(PLACE), b"7,4111-1111,", cells, finding(path), &sensitive);
            let text = letter.json().to_string();
            assert!(!text.contains("4111"), "{text}");
        }
        let told = RowLetter::redacted("b/k", None, b"7,4111-1111,", Some(&cells), finding(Some("card")), &sensitive).json();
        assert_eq!(told["source"], r#"{"id":"7","card":"***","note":null}"#);
    }

    #[test]
    fn a_column_covers_its_paths_but_not_its_namesakes() {
        let sensitive = Sensitive::new(["card".to_owned()]);
        for (path, covered) in
            [("card", true), ("card.number", true), ("card[]", true), ("card{}", true), ("cardinal", false), ("a.card", false)]
        {
            assert_eq!(sensitive.covers(path), covered, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_bounded_line(source in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let mut line = Vec::new();
            RowLetter::new("b/k", None, &source, finding(None)).write_line(&mut line);
            prop_assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            prop_assert!(line.len() < 8 * SOURCE_TEXT_MAX);
            prop_assert!(serde_json::from_slice::<Value>(&line).is_ok());
        }
    }
}
