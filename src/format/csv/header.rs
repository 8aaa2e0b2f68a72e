//! The header of a file and what stands above it.

use std::io::Read;

use super::record::{Breaks, Grammar, Scan};
use super::table::Table;
use crate::format::block::FileEvent;
use crate::format::feed::Feed;
use crate::format::options::{CsvDialect, Format, SourceOptions};
use crate::format::reader::{Hint, Newline, ReadError, Resolved};

/// What opening settled.
pub(super) struct Settled {
    pub(super) grammar: Grammar,
    pub(super) table: Table,
    pub(super) resolved: Resolved,
    /// Bytes of preamble and header.
    pub(super) used: usize,
    /// Lines of preamble and header.
    pub(super) lines: u64,
}

pub(super) fn settle<R: Read>(
    feed: &mut Feed<R>,
    options: &SourceOptions,
    _hint: &Hint,
    _events: &mut Vec<FileEvent>,
) -> Result<Settled, ReadError> {
    let dialect: CsvDialect = options.csv.declared.clone().unwrap_or_default();
    let grammar =
        Grammar { delimiter: dialect.delimiter.clone().into_bytes(), quote: dialect.quote, escape: dialect.escape, breaks: Breaks::Lf };
    let mut fields = Vec::new();
    let (scan, _) = grammar.scan(&feed.buf, 0, feed.ended, options.limits.columns + 1, &mut fields);
    let used = match scan {
        Scan::Record { next, .. } | Scan::Blank { next } => next,
        _ => feed.buf.len(),
    };
    let cells: Vec<Vec<u8>> = fields
        .iter()
        .map(|f| {
            let mut out = Vec::new();
            grammar.unquote(&feed.buf, *f, &mut out);
            out
        })
        .collect();
    let header: Vec<String> = cells.iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect();
    let kinds = vec![crate::format::reader::ExpectedKind::String; header.len()];
    let table = Table::new(header.len(), cells, &grammar.delimiter, kinds, false);
    let resolved = Resolved {
        format: Format::Csv,
        compression: feed.inflow.compression,
        encoding: feed.encoding,
        csv: Some(dialect),
        header,
        newline: Newline::Lf,
        skipped_lines: 0,
        trailing_delimiter: false,
        json: None,
    };
    Ok(Settled { grammar, table, resolved, used, lines: 1 })
}
