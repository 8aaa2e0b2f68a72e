//! Which dialect a sample is written in: the registered columns are the prior, consistency comes second.

use std::borrow::Cow;
use std::ops::Range;

use super::record::{Breaks, Grammar, Scan};
use crate::domain::reason::ReasonCode;
use crate::format::block::FileEvent;
use crate::format::options::{CsvDialect, CsvOptions};
use crate::format::reader::{ExpectedColumn, ExpectedKind, Newline};

/// Bytes of a file that detection looks at.
pub(super) const SAMPLE_BYTES: usize = 128 << 10;

/// Records that one candidate is tried on.
const TRIAL_RECORDS: usize = 200;

/// Broken records after which a candidate is given up.
const TRIAL_FAULTS: usize = 20;

/// Lines among which the header may stand.
pub(super) const PREAMBLE_LINES: usize = 30;

/// Single delimiters in the order of preference; the strong ones first.
const DELIMITERS: [&str; 9] = [",", ";", "\t", "|", "\u{1}", "^", "~", ":", " "];
const STRONG: usize = 5;
const LONG_DELIMITERS: [&str; 12] = ["||", "|~|", "~|~", "^|^", "|^|", "::", "~~", ";;", "##", "@@", "$$", "\t|\t"];

/// A record of a sample.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) start: usize,
    /// Line breaks before it.
    pub(super) lines_before: u64,
    /// In the trial's cells.
    cells: Range<usize>,
}

impl Line {
    pub(super) fn width(&self) -> usize {
        self.cells.len()
    }
}

/// A sample read in one dialect.
#[derive(Debug, Clone, Default)]
pub(super) struct Trial<'s> {
    pub(super) lines: Vec<Line>,
    /// Of all lines, one behind the other.
    cells: Vec<Cow<'s, str>>,
    /// Where the first broken record starts, and the line breaks before it.
    pub(super) first_fault: Option<(usize, u64)>,
    faults: usize,
    quoted: usize,
    lf: usize,
    crlf: usize,
}

/// The dialect of a file and its sample read in it.
pub(super) struct Choice<'s> {
    pub(super) dialect: CsvDialect,
    pub(super) grammar: Grammar,
    pub(super) trial: Trial<'s>,
    pub(super) newline: Newline,
}

/// A grammar that scanning can rely on: no empty delimiter, single-byte marks.
pub(super) fn grammar_of(dialect: &CsvDialect, breaks: Breaks) -> Grammar {
    let delimiter = if dialect.delimiter.is_empty() { "," } else { dialect.delimiter.as_str() };
    let mark = |b: Option<u8>| b.filter(|b| b.is_ascii() && !matches!(b, b'\n' | b'\r' | 0) && *b != delimiter.as_bytes()[0]);
    Grammar { delimiter: delimiter.as_bytes().to_vec(), quote: mark(dialect.quote), escape: mark(dialect.escape), breaks }
}

/// Settles the dialect of `sample` (which starts behind any `sep=` line).
pub(super) fn choose<'s>(
    sample: &'s [u8],
    ended: bool,
    options: &CsvOptions,
    sep: Option<&str>,
    expected: &[ExpectedColumn],
    events: &mut Vec<FileEvent>,
) -> Choice<'s> {
    let declared = options.declared.clone();
    let mut start = declared.clone().unwrap_or_default();
    if let Some(sep) = sep {
        sep.clone_into(&mut start.delimiter);
    }
    let breaks = if memchr::memchr(b'\n', sample).is_none() && memchr::memchr(b'\r', sample).is_some() { Breaks::Cr } else { Breaks::Lf };
    let read = |dialect: &CsvDialect| Trial::read(&grammar_of(dialect, breaks), sample, ended);
    let mut dialect = start;
    let mut trial = read(&dialect);
    if options.autodetect_on_mismatch || declared.is_none() {
        if sep.is_none() && !trial.fits(expected) {
            let mut best = trial.score(expected, &dialect.delimiter) + 0.5;
            for delimiter in DELIMITERS.iter().chain(&LONG_DELIMITERS) {
                if *delimiter == dialect.delimiter || memchr::memmem::find(sample, delimiter.as_bytes()).is_none() {
                    continue;
                }
                let other = CsvDialect { delimiter: (*delimiter).to_owned(), ..dialect.clone() };
                let tried = read(&other);
                let score = tried.score(expected, delimiter);
                if score > best {
                    (best, dialect, trial) = (score, other, tried);
                }
            }
        }
        for (quote, escape) in [(b'"', None), (b'\'', None), (b'"', Some(b'\\')), (b'\'', Some(b'\\'))] {
            let other = CsvDialect { quote: Some(quote), escape, ..dialect.clone() };
            let escapes = escape.is_none_or(|e| memchr::memmem::find(sample, &[e, quote]).is_some());
            if other == dialect || !escapes || memchr::memchr(quote, sample).is_none() {
                continue;
            }
            let tried = read(&other);
            let (before, after) = (trial.defects(), tried.defects());
            let wrapped = trial.quoted == 0 && tried.quoted >= tried.lines.len().max(2) && after <= before;
            if after < before || wrapped {
                (dialect, trial) = (other, tried);
            }
        }
    }
    if let Some(declared) = &declared {
        note_changes(declared, &dialect, events);
    }
    let newline = match breaks {
        Breaks::Cr => Newline::Cr,
        Breaks::Lf if trial.crlf > 0 && trial.lf > 0 => Newline::Mixed,
        Breaks::Lf if trial.crlf > 0 => Newline::CrLf,
        Breaks::Lf => Newline::Lf,
    };
    if matches!(newline, Newline::Cr | Newline::Mixed) {
        events.push(FileEvent { reason: ReasonCode::NewlineDialect, detail: format!("lines end with {}", newline.as_str()) });
    }
    let grammar = grammar_of(&dialect, breaks);
    Choice { dialect, grammar, trial, newline }
}

fn note_changes(declared: &CsvDialect, found: &CsvDialect, events: &mut Vec<FileEvent>) {
    let mark = |b: Option<u8>| b.map_or("none".to_owned(), |b| format!("{:?}", char::from(b)));
    if declared.delimiter != found.delimiter {
        let detail = format!("{:?} instead of {:?}", found.delimiter, declared.delimiter);
        events.push(FileEvent { reason: ReasonCode::DelimiterDialect, detail });
    }
    if declared.quote != found.quote {
        let detail = format!("{} instead of {}", mark(found.quote), mark(declared.quote));
        events.push(FileEvent { reason: ReasonCode::QuoteDialect, detail });
    }
    if declared.escape != found.escape {
        let detail = format!("{} instead of {}", mark(found.escape), mark(declared.escape));
        events.push(FileEvent { reason: ReasonCode::EscapeDialect, detail });
    }
}

impl<'s> Trial<'s> {
    pub(super) fn read(grammar: &Grammar, sample: &'s [u8], ended: bool) -> Self {
        let mut trial = Trial::default();
        let mut fields = Vec::new();
        let (mut at, mut lines_before) = (0, 0);
        let newline = if grammar.breaks == Breaks::Cr { b'\r' } else { b'\n' };
        while at < sample.len() && trial.lines.len() < TRIAL_RECORDS && trial.faults < TRIAL_FAULTS {
            let (scan, _) = grammar.scan(sample, at, ended, usize::MAX, &mut fields);
            let next = match scan {
                Scan::Record { end, next } => {
                    match next - end {
                        1 => trial.lf += 1,
                        2 => trial.crlf += 1,
                        _ => {}
                    }
                    trial.quoted += fields.iter().filter(|f| f.quoted).count();
                    let text = |f: &super::record::Field| {
                        if !f.escaped {
                            return String::from_utf8_lossy(&sample[f.start..f.end]);
                        }
                        let mut out = Vec::new();
                        grammar.unquote(sample, *f, &mut out);
                        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
                    };
                    let first = trial.cells.len();
                    trial.cells.extend(fields.iter().map(text));
                    trial.lines.push(Line { start: at, lines_before, cells: first..trial.cells.len() });
                    next
                }
                Scan::Blank { next } => next,
                Scan::NeedMore => break,
                Scan::Malformed { .. } | Scan::Unterminated => {
                    trial.faults += 1;
                    trial.first_fault = trial.first_fault.or(Some((at, lines_before)));
                    memchr::memchr(newline, &sample[at..]).map_or(sample.len(), |i| at + i + 1)
                }
            };
            lines_before += memchr::memchr_iter(newline, &sample[at..next]).count() as u64;
            at = next;
        }
        trial
    }

    pub(super) fn cells(&self, line: &Line) -> &[Cow<'s, str>] {
        &self.cells[line.cells.clone()]
    }

    /// The most frequent width; the larger of two equally frequent ones.
    pub(super) fn width(&self) -> usize {
        let mut widths: Vec<usize> = self.lines.iter().map(Line::width).collect();
        widths.sort_unstable();
        let runs = widths.chunk_by(|a, b| a == b);
        runs.max_by_key(|run| run.len()).map_or(0, |run| run[0])
    }

    fn defects(&self) -> usize {
        let width = self.width();
        self.faults + self.lines.iter().filter(|l| l.width() != width).count()
    }

    /// The line that names most of the registered columns, and how many.
    pub(super) fn header(&self, expected: &[ExpectedColumn]) -> (usize, usize) {
        let names: Vec<String> = expected.iter().map(|c| fold(&c.name)).collect();
        let mut best = (0, 0);
        for (i, line) in self.lines.iter().take(PREAMBLE_LINES).enumerate() {
            let cells: Vec<String> = self.cells(line).iter().take(names.len() * 4 + 64).map(|c| fold(c)).collect();
            let matched = names.iter().filter(|n| cells.contains(n)).count();
            if matched > best.1 {
                best = (i, matched);
            }
            if matched == names.len() {
                break;
            }
        }
        best
    }

    /// The dialect needs no second thought.
    fn fits(&self, expected: &[ExpectedColumn]) -> bool {
        if expected.is_empty() {
            let width = self.width();
            return width >= 2
                && self.share(width) >= 0.5
                && self.lines.first().is_some_and(|l| !self.cells(l).iter().any(|c| c.is_empty()));
        }
        let (_, matched) = self.header(expected);
        matched * 2 >= expected.len() && (expected.len() == 1 || matched > 1 || self.width() > 1)
    }

    fn share(&self, width: usize) -> f64 {
        let n = self.lines.iter().filter(|l| l.width() == width).count();
        n as f64 / (self.lines.len() + self.faults).max(1) as f64
    }

    fn score(&self, expected: &[ExpectedColumn], delimiter: &str) -> f64 {
        if self.lines.is_empty() {
            return -1.0;
        }
        let width = self.width();
        let share = self.share(width);
        let faults = self.faults as f64 / (self.lines.len() + self.faults) as f64;
        let strong = DELIMITERS[..STRONG].contains(&delimiter) || delimiter.len() > 1;
        let mut score = -3.0 * faults;
        if expected.is_empty() {
            let first = self.cells(&self.lines[0]);
            if width < 2 || (!strong && (share < 0.95 || first.len() != width)) {
                return score;
            }
            let unnamed = first.iter().any(|c| c.is_empty());
            return score + 3.0 * share + width.min(20) as f64 * 0.02 + f64::from(u8::from(strong)) * 0.5 - f64::from(u8::from(unnamed));
        }
        let (_, matched) = self.header(expected);
        score += 10.0 * matched as f64 / expected.len() as f64;
        if width == expected.len() {
            score += 2.0;
        }
        if width > 1 || expected.len() == 1 {
            score += 3.0 * share + f64::from(u8::from(strong)) * 0.2;
            if width == expected.len() {
                score += 2.0 * self.typed(expected);
            }
        }
        score
    }

    /// Share of the typed columns' cells that are values of their kind, by position.
    fn typed(&self, expected: &[ExpectedColumn]) -> f64 {
        let (mut fit, mut all) = (0, 0);
        for line in self.lines.iter().filter(|l| l.width() == expected.len()) {
            for (cell, column) in self.cells(line).iter().zip(expected).filter(|(cell, column)| !cell.is_empty() && column.kind.is_typed())
            {
                all += 1;
                fit += usize::from(is_value_of(column.kind, cell));
            }
        }
        if all == 0 { 0.0 } else { f64::from(fit as u32) / f64::from(all as u32) }
    }
}

impl ExpectedKind {
    /// Not every text is a value of it.
    pub(super) fn is_typed(self) -> bool {
        matches!(self, ExpectedKind::Number | ExpectedKind::Boolean | ExpectedKind::Temporal)
    }
}

/// A name without cosmetic differences (drift.md §2.2): case, spaces, dashes, invisible characters.
pub(super) fn fold(name: &str) -> String {
    let trimmed = name.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}' | '\u{a0}'));
    trimmed.to_lowercase().replace([' ', '-', '\u{a0}'], "_")
}

/// Whether a record may be a row of the registered table: its width, and a value in every typed
/// column, at least one of them not empty.
pub(super) fn is_row_of(cells: &[Cow<'_, str>], expected: &[ExpectedColumn]) -> bool {
    let mut evidence = false;
    cells.len() == expected.len()
        && cells.iter().zip(expected).all(|(cell, column)| {
            evidence |= column.kind.is_typed() && !cell.trim().is_empty();
            is_value_of(column.kind, cell)
        })
        && evidence
}

/// Whether a text may be a value of a kind. An empty text is null, which fits every kind.
pub(super) fn is_value_of(kind: ExpectedKind, text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() {
        return true;
    }
    match kind {
        ExpectedKind::String | ExpectedKind::Other => true,
        ExpectedKind::Number => is_number(text),
        ExpectedKind::Boolean => {
            matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "t" | "f" | "y" | "n" | "0" | "1")
        }
        ExpectedKind::Temporal => is_temporal(text),
    }
}

pub(super) fn is_number(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b"+-.,eE' ".contains(&b)) && {
        let plain: String = text.chars().filter(|c| !matches!(c, ',' | '\'' | ' ')).collect();
        text.parse::<f64>().is_ok() || plain.parse::<f64>().is_ok() || text.replace(',', ".").parse::<f64>().is_ok()
    }
}

pub(super) fn is_temporal(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let first = text.bytes().next().unwrap_or_default();
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    (4..=26).contains(&digits)
        && (first.is_ascii_digit() || first.is_ascii_alphabetic())
        && letters <= 12
        && text.len() <= 48
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/.:+ ,_[]".contains(&b))
}
