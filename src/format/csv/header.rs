//! The header of a file, what stands above it, and what to do without one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::dialect::{Choice, Line, PREAMBLE_LINES, SAMPLE_BYTES, Trial, choose, fold, grammar_of, is_number, is_row_of, is_temporal};
use super::record::{Breaks, Grammar, Scan};
use super::table::Table;
use crate::domain::reason::ReasonCode;
use crate::format::block::FileEvent;
use crate::format::feed::Feed;
use crate::format::options::{CsvDialect, Format, Limits, SourceOptions};
use crate::format::reader::{ExpectedColumn, ExpectedKind, Hint, Newline, ReadError, Resolved};

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

/// Where the header or the first record stands.
struct Top {
    start: usize,
    lines_before: u64,
    header: bool,
}

/// Settles dialect, preamble and header on the bytes at the front of the feed.
///
/// # Errors
/// Refused: a header that cannot name columns (see [`read_header`]).
pub(super) fn settle<R: Read>(
    feed: &mut Feed<R>,
    options: &SourceOptions,
    hint: &Hint,
    events: &mut Vec<FileEvent>,
) -> Result<Settled, ReadError> {
    let expected = hint.expected.as_deref().unwrap_or_default();
    if let Some(resolved) = &hint.resolved {
        return settle_as_before(feed, options, resolved, expected);
    }
    let (sep, sep_len) = sep_line(&feed.buf);
    let rest = &feed.buf[sep_len..];
    let sample = &rest[..rest.len().min(SAMPLE_BYTES)];
    let whole = feed.ended && sample.len() == rest.len();
    let Choice { mut dialect, grammar, trial, newline } = choose(sample, whole, &options.csv, sep.as_deref(), expected, events);
    let mut top = find_top(&trial, expected, &options.csv.declared, events);
    if sep.is_some() {
        events.push(FileEvent { reason: ReasonCode::Preamble, detail: "a sep= line".to_owned() });
        top.start += sep_len;
        top.lines_before += 1;
    }
    if let Some(sep) = sep.filter(|_| options.csv.declared.is_none()) {
        dialect.delimiter = sep;
    }
    dialect.header = top.header;
    dialect.encoding = feed.encoding;
    let body: Vec<&Line> =
        trial.lines.iter().filter(|l| l.start + sep_len > top.start || !top.header && l.start + sep_len == top.start).collect();
    let mut used = top.start;
    let mut lines = top.lines_before;
    let (mut cells, mut names, trailing);
    if top.header {
        let read = read_header(&feed.buf, top.start, feed.ended, &grammar, &options.limits)?;
        cells = read.cells;
        used = read.next;
        lines += read.lines;
        names = cell_names(&cells);
        trailing = is_trailing(&mut cells, &mut names, &trial, &body);
        settle_names(&mut names, expected, events)?;
    } else {
        cells = Vec::new();
        let width = if body.iter().any(|l| l.width() == expected.len()) { expected.len() } else { trial.width().max(1) };
        trailing = width > 1
            && !body.is_empty()
            && (expected.is_empty() || width == expected.len() + 1)
            && body.iter().all(|l| l.width() == width && trial.cells(l)[width - 1].is_empty());
        names = positional_names(width - usize::from(trailing), expected);
    }
    if trailing {
        let detail = "every record ends with one delimiter more than it has columns".to_owned();
        events.push(FileEvent { reason: ReasonCode::DelimiterDialect, detail });
    }
    if names.len() > options.limits.columns {
        let detail = format!("{} columns; at most {} are read", names.len(), options.limits.columns);
        return Err(ReadError::refused(ReasonCode::TooManyColumns, detail));
    }
    let table = Table::new(names.len(), cells, &grammar.delimiter, kinds(&names, expected), trailing);
    let resolved = Resolved {
        format: Format::Csv,
        compression: feed.inflow.compression,
        encoding: feed.encoding,
        csv: Some(dialect),
        header: names,
        newline,
        skipped_lines: top.lines_before,
        skipped_bytes: top.start as u64,
        trailing_delimiter: trailing,
        json: None,
    };
    Ok(Settled { grammar, table, resolved, used, lines })
}

/// The same reading as once before.
fn settle_as_before<R: Read>(
    feed: &Feed<R>,
    options: &SourceOptions,
    resolved: &Resolved,
    expected: &[ExpectedColumn],
) -> Result<Settled, ReadError> {
    let dialect = resolved.csv.clone().unwrap_or_default();
    let breaks = if resolved.newline == Newline::Cr { Breaks::Cr } else { Breaks::Lf };
    let grammar = grammar_of(&dialect, breaks);
    let mut used = usize::try_from(resolved.skipped_bytes).unwrap_or(usize::MAX).min(feed.buf.len());
    let mut lines = resolved.skipped_lines;
    let mut cells = Vec::new();
    if dialect.header {
        let read = read_header(&feed.buf, used, feed.ended, &grammar, &options.limits)?;
        cells = read.cells;
        cells.truncate(resolved.header.len());
        used = read.next;
        lines += read.lines;
    }
    let kinds = kinds(&resolved.header, expected);
    let table = Table::new(resolved.header.len(), cells, &grammar.delimiter, kinds, resolved.trailing_delimiter);
    Ok(Settled { grammar, table, resolved: resolved.clone(), used, lines })
}

/// A first line `sep=;` (spreadsheets): its delimiter and its length with the line break.
fn sep_line(bytes: &[u8]) -> (Option<String>, usize) {
    let Some(end) = memchr::memchr2(b'\n', b'\r', &bytes[..bytes.len().min(16)]) else { return (None, 0) };
    let line = bytes[..end].strip_prefix(b"\"").and_then(|l| l.strip_suffix(b"\"")).unwrap_or(&bytes[..end]);
    let sep = match line.get(..4) {
        Some(word) if word.eq_ignore_ascii_case(b"sep=") => std::str::from_utf8(&line[4..]).ok().filter(|s| s.chars().count() == 1),
        _ => None,
    };
    match sep {
        Some(sep) => (Some(sep.to_owned()), end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 }),
        None => (None, 0),
    }
}

/// Finds the header among the first lines, or finds that there is none (drift.md §2.6: never eat the
/// first data row).
fn find_top(trial: &Trial<'_>, expected: &[ExpectedColumn], declared: &Option<CsvDialect>, events: &mut Vec<FileEvent>) -> Top {
    let Some(first) = trial.lines.first() else {
        return Top { start: 0, lines_before: 0, header: declared.as_ref().is_none_or(|d| d.header) };
    };
    let broken = trial.first_fault.filter(|(start, _)| *start < first.start);
    let says_header = declared.as_ref().map(|d| d.header);
    let (best, matched) = if expected.is_empty() { (0, 0) } else { trial.header(expected) };
    let known = matched * 2 >= expected.len() && matched > 0;
    let fits = |line: &Line| is_row_of(trial.cells(line), expected);
    let (index, header) = if known {
        (best, true)
    } else if !expected.is_empty() && fits(first) {
        (0, false)
    } else {
        let width = trial.width();
        let top = skip_narrow(trial, width);
        let line = &trial.lines[top];
        let header = match says_header {
            Some(says) => says && !(!expected.is_empty() && top > 0 && fits(line)),
            None => looks_named(trial.cells(line)),
        };
        (top, header)
    };
    if header && says_header == Some(false) {
        events.push(FileEvent { reason: ReasonCode::RepeatedHeader, detail: "a header, where none is declared".to_owned() });
    }
    if !header && says_header == Some(true) {
        let detail = "no header: columns are taken by position".to_owned();
        events.push(FileEvent { reason: ReasonCode::MissingHeader, detail });
    }
    if index > 0 {
        events.push(FileEvent { reason: ReasonCode::Preamble, detail: format!("{index} lines above the table are skipped") });
    }
    // A broken first line is above the table only if the names stand below it; else it belongs to it.
    if let (Some((start, lines_before)), false, 0) = (broken, known, index) {
        return Top { start, lines_before, header };
    }
    let line = &trial.lines[index];
    Top { start: line.start, lines_before: line.lines_before, header }
}

/// The first line of the table's width, below titles and comments that are much narrower.
fn skip_narrow(trial: &Trial<'_>, width: usize) -> usize {
    let narrow = |l: &Line| l.width() <= (width / 2).max(1) || trial.cells(l).first().is_some_and(|c| c.starts_with('#'));
    if width < 2 {
        return 0;
    }
    let top = trial.lines.iter().take(PREAMBLE_LINES).take_while(|l| l.width() != width && narrow(l)).count();
    match trial.lines.get(top) {
        Some(line) if line.width() == width => top,
        _ => 0,
    }
}

/// Cells that look like names rather than values, where nothing is declared.
fn looks_named(cells: &[Cow<'_, str>]) -> bool {
    let dated = |c: &str| is_temporal(c) && c.starts_with(|c: char| c.is_ascii_digit());
    cells.iter().all(|c| !c.is_empty() && !is_number(c) && !dated(c))
}

struct HeaderLine {
    cells: Vec<Vec<u8>>,
    next: usize,
    lines: u64,
}

/// # Errors
/// Refused: `nul_byte`, `encoding_invalid`, `too_many_columns`, `oversized_field`, `malformed_quote`, `oversized_record`.
fn read_header(bytes: &[u8], start: usize, ended: bool, grammar: &Grammar, limits: &Limits) -> Result<HeaderLine, ReadError> {
    let mut fields = Vec::new();
    let (scan, count) = grammar.scan(bytes, start, ended, limits.columns + 2, &mut fields);
    let (end, next) = match scan {
        Scan::Record { end, next } => (end, next),
        Scan::Blank { next } => (next, next),
        Scan::NeedMore => return Err(ReadError::refused(ReasonCode::OversizedRecord, "the header has no end")),
        Scan::Malformed { .. } | Scan::Unterminated => {
            return Err(ReadError::refused(ReasonCode::MalformedQuote, "a quote in the header has no proper end"));
        }
    };
    if count > limits.columns + 1 {
        let detail = format!("{count} columns; at most {} are read", limits.columns);
        return Err(ReadError::refused(ReasonCode::TooManyColumns, detail));
    }
    let record = &bytes[start..end];
    if memchr::memchr(0, record).is_some() {
        return Err(ReadError::refused(ReasonCode::NulByte, "the header holds a NUL byte"));
    }
    if let Err(e) = std::str::from_utf8(record) {
        let detail = format!("byte {} of the header is no text of the file's encoding", e.valid_up_to());
        return Err(ReadError::refused(ReasonCode::EncodingInvalid, detail));
    }
    if let Some(i) = fields.iter().position(|f| (f.end - f.start) as u64 > limits.field_bytes.bytes()) {
        return Err(ReadError::refused(ReasonCode::OversizedField, format!("the name of column {} is too long", i + 1)));
    }
    let cell = |f: &super::record::Field| {
        let mut out = Vec::new();
        grammar.unquote(bytes, *f, &mut out);
        out
    };
    let newline = if grammar.breaks == Breaks::Cr { b'\r' } else { b'\n' };
    let lines = memchr::memchr_iter(newline, &bytes[start..next]).count() as u64;
    Ok(HeaderLine { cells: fields.iter().map(cell).collect(), next, lines })
}

fn cell_names(cells: &[Vec<u8>]) -> Vec<String> {
    cells.iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect()
}

/// A constant extra empty field at the end of all records, with or without a delimiter at the end of
/// the header, is dialect.
fn is_trailing(cells: &mut Vec<Vec<u8>>, names: &mut Vec<String>, trial: &Trial<'_>, body: &[&Line]) -> bool {
    let named = names.len() - usize::from(names.len() > 1 && names.last().is_some_and(String::is_empty));
    let extra = |l: &&Line| l.width() == named + 1 && trial.cells(l)[named].is_empty();
    if body.is_empty() || !body.iter().all(extra) {
        return false;
    }
    cells.truncate(named);
    names.truncate(named);
    true
}

/// Tells unnamed and repeated columns apart without colliding.
///
/// # Errors
/// Refused with `duplicate_header` if a registered name stands twice.
fn settle_names(names: &mut [String], expected: &[ExpectedColumn], events: &mut Vec<FileEvent>) -> Result<(), ReadError> {
    let registered: BTreeSet<String> = expected.iter().map(|c| fold(&c.name)).collect();
    let mut taken: BTreeSet<String> = names.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    for (i, name) in names.iter_mut().enumerate() {
        if name.trim().is_empty() {
            let free = free_name("column", i + 1, &taken);
            events.push(FileEvent { reason: ReasonCode::HeaderUnnamed, detail: format!("column {} is called {free}", i + 1) });
            taken.insert(free.clone());
            *name = free;
        } else if seen.contains(name) {
            if registered.contains(&fold(name)) {
                return Err(ReadError::refused(ReasonCode::DuplicateHeader, format!("{name:?} stands twice in the header")));
            }
            let free = free_name(name, 1, &taken);
            events.push(FileEvent {
                reason: ReasonCode::DuplicateHeader,
                detail: format!("column {}, {name:?} again, is called {free}", i + 1),
            });
            taken.insert(free.clone());
            *name = free;
        }
        seen.insert(name.clone());
    }
    Ok(())
}

fn free_name(stem: &str, from: usize, taken: &BTreeSet<String>) -> String {
    (from..).map(|n| format!("{stem}_{n}")).find(|n| !taken.contains(n)).expect("a finite set leaves a number free")
}

fn positional_names(width: usize, expected: &[ExpectedColumn]) -> Vec<String> {
    if width == expected.len() {
        return expected.iter().map(|c| c.name.clone()).collect();
    }
    (1..=width).map(|n| format!("column_{n}")).collect()
}

fn kinds(names: &[String], expected: &[ExpectedColumn]) -> Vec<ExpectedKind> {
    let registered: BTreeMap<String, ExpectedKind> = expected.iter().map(|c| (fold(&c.name), c.kind)).collect();
    names.iter().map(|n| registered.get(&fold(n)).copied().unwrap_or(ExpectedKind::String)).collect()
}
