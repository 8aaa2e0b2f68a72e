//! Source text of rows: the cells put together again, values of sensitive columns redacted.

use super::leaf::json_text;
use super::read::TypedBlock;
use crate::format::block::{Block, JsonValue, Place, SOURCE_TEXT_MAX};

/// Puts rows together for letters; apart from the reader of rows, so that both may be used on different threads.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// Per header place: redacted.
    pub by_place: Vec<bool>,
    /// Keys of JSON records that are redacted.
    pub by_key: Vec<String>,
}

impl SourceText {
    /// Place and source text of a row that landed, for whoever refuses it later. `block` is the one it was typed from.
    pub fn origin(&self, block: &Block, typed: &TypedBlock, row_idx: usize) -> (Place, Vec<u8>) {
        let at = typed.at[row_idx];
        (block.places()[at], self.of(block, at))
    }

    /// Record `i` of a block as text, put together again.
    pub fn of(&self, block: &Block, i: usize) -> Vec<u8> {
        let mut out = String::new();
        match block {
            Block::Text(block) => {
                for p in 0..block.width {
                    if p > 0 {
                        out.push(',');
                    }
                    let text = if self.by_place.get(p).is_some_and(|s| *s) { "[redacted]" } else { block.cell(i, p) };
                    if text.contains([',', '"', '\n', '\r']) {
                        out.push('"');
                        out.push_str(&text.replace('"', "\"\""));
                        out.push('"');
                    } else {
                        out.push_str(text);
                    }
                    if out.len() > SOURCE_TEXT_MAX {
                        break;
                    }
                }
            }
            Block::Tree(block) => {
                let shown = |(key, value): &(Box<str>, JsonValue)| {
                    let hidden = self.by_key.iter().any(|s| **s == **key);
                    (key.clone(), if hidden { JsonValue::String("[redacted]".into()) } else { value.clone() })
                };
                out = json_text(&JsonValue::Object(block.records[i].iter().map(shown).collect()));
            }
        }
        let mut bytes = out.into_bytes();
        bytes.truncate(SOURCE_TEXT_MAX);
        bytes
    }
}
