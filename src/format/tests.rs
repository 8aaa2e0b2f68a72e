//! Bytes in → rows, bad rows, events or a refusal.

mod bytes;
mod csv;
mod json;
mod laws;

use std::io::Read;

use super::block::{Block, FileEvent, JsonValue, Place};
use super::options::{Format, SourceOptions};
use super::reader::{ExpectedColumn, ExpectedKind, Hint, ReadError, Resolved, Totals, open};
use crate::domain::reason::ReasonCode;

/// Everything that came out of one file.
#[derive(Debug, Clone, PartialEq)]
struct Read1 {
    /// Cells or, for JSON, each record as text.
    rows: Vec<Vec<String>>,
    places: Vec<Place>,
    bad: Vec<(u64, ReasonCode)>,
    sources: Vec<String>,
    events: Vec<ReasonCode>,
    resolved: Resolved,
    totals: Totals,
}

/// A reader that hands out `step` bytes at a time.
struct Steps<'a>(&'a [u8], usize);

impl Read for Steps<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.1.min(out.len()).min(self.0.len());
        out[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

fn read_in_steps(bytes: &[u8], step: usize, options: &SourceOptions, hint: &Hint) -> Result<Read1, ReasonCode> {
    let refusal = |e: ReadError| match e {
        ReadError::Refused(refusal) => refusal.reason,
        ReadError::Input(e) => panic!("a slice cannot fail: {e}"),
    };
    let mut reader = open(Steps(bytes, step), options, hint).map_err(refusal)?;
    let (mut rows, mut places, mut bad, mut sources) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    while let Some(block) = reader.next_block().map_err(refusal)? {
        let records = match block {
            Block::Text(block) => {
                assert_eq!(block.cells.len(), block.places.len() * block.width, "cells are rows × width");
                rows.extend((0..block.rows()).map(|r| (0..block.width).map(|c| block.cell(r, c).to_owned()).collect::<Vec<_>>()));
                places.extend(block.places);
                block.bad
            }
            Block::Tree(block) => {
                assert_eq!(block.records.len(), block.places.len());
                rows.extend(block.records.into_iter().map(|r| vec![json_text(&JsonValue::Object(r))]));
                places.extend(block.places);
                block.bad
            }
        };
        sources.extend(records.iter().map(|b| String::from_utf8_lossy(&b.source).into_owned()));
        bad.extend(records.into_iter().map(|b| (b.place.row, b.reason)));
    }
    let totals = reader.totals();
    assert_eq!(totals.physical_rows, (rows.len() + bad.len()) as u64, "no row is lost");
    assert_eq!(totals.bad_rows, bad.len() as u64);
    let mut numbers: Vec<u64> = places.iter().map(|p| p.row).chain(bad.iter().map(|b| b.0)).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..totals.physical_rows), "rows are numbered without gaps: {numbers:?}");
    let events = reader.events().iter().map(|e: &FileEvent| e.reason).collect();
    Ok(Read1 { rows, places, bad, sources, events, resolved: reader.resolved().clone(), totals })
}

fn read(bytes: &[u8], options: &SourceOptions, hint: &Hint) -> Result<Read1, ReasonCode> {
    read_in_steps(bytes, usize::MAX, options, hint)
}

/// Under a contract whose registered columns are `id` (number), `name` (string), `at` (temporal).
fn visits() -> Hint {
    let column = |name: &str, kind| ExpectedColumn { name: name.to_owned(), kind };
    let columns = vec![column("id", ExpectedKind::Number), column("name", ExpectedKind::String), column("at", ExpectedKind::Temporal)];
    Hint { expected: Some(columns.into()), ..Hint::default() }
}

fn only(formats: &[Format]) -> SourceOptions {
    SourceOptions { formats: formats.to_vec(), ..SourceOptions::default() }
}

fn json_text(value: &JsonValue) -> String {
    match value {
        JsonValue::Null => "null".to_owned(),
        JsonValue::Bool(b) => b.to_string(),
        JsonValue::Number(n) => n.to_string(),
        JsonValue::String(s) => format!("{s:?}"),
        JsonValue::Array(items) => format!("[{}]", items.iter().map(json_text).collect::<Vec<_>>().join(",")),
        JsonValue::Object(entries) => {
            format!("{{{}}}", entries.iter().map(|(k, v)| format!("{k:?}:{}", json_text(v))).collect::<Vec<_>>().join(","))
        }
    }
}

/// Rows in one text: cells joined by `|`, rows by a space.
fn show(rows: &[Vec<String>]) -> String {
    rows.iter().map(|r| r.join("|")).collect::<Vec<_>>().join(" ")
}
