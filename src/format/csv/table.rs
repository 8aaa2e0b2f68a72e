//! The table a file holds: which records belong to it and which are headers, footers or another table.

use super::dialect::is_value_of;
use crate::domain::reason::ReasonCode;
use crate::format::reader::{ExpectedKind, ReadError};

/// Width, header and what the last lines were like.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) width: usize,
    /// Header cells as in the file; empty without a header.
    header: Vec<Vec<u8>>,
    /// Header cells joined by the delimiter: how an unquoted repetition looks.
    header_line: Vec<u8>,
    /// Kind by column; `String` where nothing is registered.
    kinds: Vec<ExpectedKind>,
    trailing: bool,
    /// The line before was a record like all others: nothing needs to be looked at twice.
    pub(super) calm: bool,
    blank_before: bool,
    /// The record before looked like the header of another table of this width.
    suspect: Option<usize>,
}

/// First words of lines that sum a table up.
const FOOTER_WORDS: [&str; 14] = [
    "total",
    "totals",
    "grand total",
    "sum",
    "subtotal",
    "footer",
    "trailer",
    "eof",
    "end",
    "count",
    "rows",
    "record count",
    "row count",
    "end of file",
];

impl Table {
    pub(super) fn new(width: usize, header: Vec<Vec<u8>>, delimiter: &[u8], kinds: Vec<ExpectedKind>, trailing: bool) -> Self {
        let header_line = header.join(delimiter);
        Self { width, header, header_line, kinds, trailing, calm: true, blank_before: false, suspect: None }
    }

    #[inline]
    pub(super) fn repeats_header(&self, record: &[u8]) -> bool {
        record.len() == self.header_line.len() && record == self.header_line && !self.header.is_empty()
    }

    #[inline]
    pub(super) fn starts_like_header(&self, cell: &[u8]) -> bool {
        self.header.first().is_some_and(|name| name == cell)
    }

    pub(super) fn blank_line(&mut self) {
        self.blank_before = true;
        self.suspect = None;
        self.calm = false;
    }

    pub(super) fn bad_line(&mut self) {
        self.blank_before = false;
        self.suspect = None;
        self.calm = true;
    }

    /// What is wrong with a record, as a row of this table.
    ///
    /// # Errors
    /// Refused with `multi_table` when a second table starts.
    pub(super) fn fault(
        &mut self,
        fields: &[&[u8]],
        count: usize,
        terminated: bool,
        at_end: bool,
        line: u64,
    ) -> Result<Option<(ReasonCode, String)>, ReadError> {
        let blank_before = std::mem::replace(&mut self.blank_before, false);
        let suspect = self.suspect.take();
        self.calm = true;
        let second =
            |width: usize| ReadError::refused(ReasonCode::MultiTable, format!("a second table of {width} columns above line {line}"));
        let header = &self.header;
        let repeats = |n: usize| !header.is_empty() && header.len() == n && header.iter().zip(fields).all(|(h, f)| h == f);
        if repeats(count) || (self.trailing && count == self.width + 1 && repeats(self.width)) {
            return Ok(Some((ReasonCode::RepeatedHeader, "the header again".to_owned())));
        }
        let fits = count == self.width || (self.trailing && count == self.width + 1 && fields.last().is_some_and(|f| f.is_empty()));
        if fits {
            if at_end && self.is_summary(fields) {
                return Ok(Some((ReasonCode::FooterRow, "the last record sums the table up".to_owned())));
            }
            if blank_before && self.is_other_header(fields) {
                return Err(second(count));
            }
            return Ok(None);
        }
        if suspect == Some(count) {
            return Err(second(count));
        }
        if blank_before && count >= 2 && looks_like_header(fields) {
            self.suspect = Some(count);
            self.calm = false;
        }
        let detail = format!("{count} fields, where the table has {}", self.width);
        let reason = if is_footer(fields) && at_end {
            ReasonCode::FooterRow
        } else if !terminated && count < self.width {
            ReasonCode::TruncatedTail
        } else {
            ReasonCode::RaggedRows
        };
        Ok(Some((reason, detail)))
    }

    /// A full-width last record with a footer's word and gaps.
    fn is_summary(&self, fields: &[&[u8]]) -> bool {
        self.width > 1 && is_footer(fields) && fields[1..].iter().any(|f| f.is_empty())
    }

    /// A header of the same width as this one, where typed columns are registered.
    fn is_other_header(&self, fields: &[&[u8]]) -> bool {
        let typed = self.kinds.iter().zip(fields).filter(|(k, _)| !matches!(k, ExpectedKind::String | ExpectedKind::Other));
        let mut n_typed = 0;
        for (kind, field) in typed {
            n_typed += 1;
            if is_value_of(*kind, &String::from_utf8_lossy(field)) {
                return false;
            }
        }
        n_typed >= 1 && fields.len() >= 2 && looks_like_header(fields)
    }
}

/// The first cell is a word of [`FOOTER_WORDS`], alone or before a colon or a number; or a comment.
fn is_footer(fields: &[&[u8]]) -> bool {
    let first = String::from_utf8_lossy(fields.first().copied().unwrap_or_default());
    let first = first.trim().trim_matches('"').to_lowercase();
    if first.starts_with('#') || first.starts_with("--") || first.starts_with("===") {
        return true;
    }
    let word = first.split([':', '=']).next().unwrap_or_default().trim();
    FOOTER_WORDS.contains(&word) || FOOTER_WORDS.iter().any(|w| first.strip_prefix(w).is_some_and(|r| r.starts_with(' ')))
}

/// All cells are names: not empty, not repeated, starting with a letter, no numbers.
pub(super) fn looks_like_header(fields: &[&[u8]]) -> bool {
    let name = |f: &[u8]| f.len() <= 64 && f.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_' || *b >= 0x80);
    fields.len() <= 1024 && fields.iter().enumerate().all(|(i, f)| name(f) && !fields[..i].contains(f))
}
