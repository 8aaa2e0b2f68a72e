//! One file, opened once and read block by block.

use std::io::Read;

use super::block::{Block, FileEvent, FileRefusal};
use super::compression::{Inflow, magic, unsupported};
use super::csv::CsvBody;
use super::feed::Feed;
use super::json::JsonBody;
use super::options::{Compression, Encoding, Format, SourceOptions};
use super::sniff;
use crate::domain::reason::ReasonCode;

pub use super::resolved::{ExpectedColumn, ExpectedKind, Hint, JsonStyle, Newline, Resolved, Totals};

/// Text of one block, about.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// Records of one block at most.
pub(super) const BLOCK_ROWS: usize = 64 << 10;

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file as a whole cannot be read; nothing of it lands, also not what came out before.
    #[error("{}: {}", .0.reason, .0.detail)]
    Refused(FileRefusal),
    /// The input could not be read: says nothing about the file.
    #[error("the input could not be read")]
    Input(#[source] std::io::Error),
}

impl ReadError {
    pub(super) fn refused(reason: ReasonCode, detail: impl Into<String>) -> Self {
        ReadError::Refused(FileRefusal { reason, detail: detail.into() })
    }
}

/// Opens a file: detects what it is (or takes `hint.resolved` as it is) without handing out a record.
///
/// # Errors
/// Refused: compression, format, encoding, emptiness or header (drift.md §2.11). Input: the input itself.
pub fn open<R: Read + Send>(input: R, options: &SourceOptions, hint: &Hint) -> Result<FileReader<R>, ReadError> {
    let mut events = Vec::new();
    let (mut feed, suffix, kind) = begin(input, options, hint, &mut events)?;
    let (body, resolved) = match kind {
        Format::Json | Format::JsonLines => {
            let (body, resolved) = JsonBody::open(&mut feed, options, hint, &suffix, &mut events)?;
            (Body::Json(body), resolved)
        }
        _ => {
            let (body, resolved) = CsvBody::open(&mut feed, options, hint, &mut events)?;
            (Body::Csv(Box::new(body)), resolved)
        }
    };
    Ok(FileReader { feed, body, resolved, events, totals: Totals::default(), state: State::Reading })
}

/// The format of an input by its first bytes, without a look at what its records are like.
///
/// # Errors
/// As [`open`], but for what only the records show.
pub fn sniff<R: Read + Send>(input: R, options: &SourceOptions) -> Result<Format, ReadError> {
    Ok(begin(input, options, &Hint::default(), &mut Vec::new())?.2)
}

/// Compression, encoding and format, in this order.
fn begin<R: Read + Send>(
    input: R,
    options: &SourceOptions,
    hint: &Hint,
    events: &mut Vec<FileEvent>,
) -> Result<(Feed<R>, sniff::Suffix, Format), ReadError> {
    let mut feed = Feed::new(Inflow::open(input, &options.limits)?);
    sniff_encoding(&mut feed, options, hint, events)?;
    skip_blank(&mut feed)?;
    let compression = feed.inflow.compression;
    let suffix = sniff::Suffix::of(hint.suffix.as_deref().unwrap_or(""));
    if let Some(event) = suffix.compression_event(compression) {
        events.push(event);
    }
    let kind = match &hint.resolved {
        Some(resolved) => resolved.format,
        None => sniff::format(&feed.buf, feed.ended, options, &suffix, events)?,
    };
    Ok((feed, suffix, kind))
}

enum Body {
    Csv(Box<CsvBody>),
    Json(JsonBody),
}

#[derive(PartialEq, Eq)]
enum State {
    Reading,
    Ended,
}

/// A file being read. Call [`FileReader::next_block`] until it answers `None`; then the totals hold.
pub struct FileReader<R: Read> {
    feed: Feed<R>,
    body: Body,
    resolved: Resolved,
    events: Vec<FileEvent>,
    totals: Totals,
    state: State,
}

impl<R: Read> FileReader<R> {
    /// The next records, about 1 MiB of text and at most 65,536 of them; `None` at the end.
    /// A block holds at least one good or bad record.
    ///
    /// # Errors
    /// Refused: something found late condemns the file (corrupt compression, a second table, broken
    /// JSON that spans lines). Whatever was handed out before must not land. After an error there is
    /// nothing more to read, and the totals do not hold.
    pub fn next_block(&mut self) -> Result<Option<Block>, ReadError> {
        if self.state == State::Ended {
            return Ok(None);
        }
        self.state = State::Ended;
        let block = match &mut self.body {
            Body::Csv(body) => body.next_block(&mut self.feed, &mut self.resolved, &mut self.events)?,
            Body::Json(body) => body.next_block(&mut self.feed, &mut self.events)?,
        };
        match &block {
            Some(block) => self.count(block.places().len(), block.bad().len()),
            None => self.finish()?,
        }
        if block.is_some() {
            self.state = State::Reading;
        }
        Ok(block)
    }

    fn count(&mut self, good: usize, bad: usize) {
        self.totals.physical_rows += (good + bad) as u64;
        self.totals.bad_rows += bad as u64;
    }

    fn finish(&mut self) -> Result<(), ReadError> {
        debug_assert!(self.feed.ended && self.feed.buf.is_empty(), "a body ends where its file ends");
        match &self.body {
            Body::Csv(body) => body.finish(&self.totals, &mut self.events),
            Body::Json(body) => body.finish(&self.totals, &mut self.events)?,
        }
        if let Some(event) = self.feed.inflow.event.take() {
            self.events.push(event);
        }
        let (stored_bytes, sha256) = self.feed.inflow.stored();
        self.totals.stored_bytes = stored_bytes;
        self.totals.decompressed_bytes = self.feed.inflow.decompressed;
        self.totals.sha256 = sha256;
        Ok(())
    }

    /// What detection settled on. The encoding may still change until the end (a fallback).
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// What was noticed so far; complete at the end.
    pub fn events(&self) -> &[FileEvent] {
        &self.events
    }

    /// Counts and digest; valid once [`FileReader::next_block`] has answered `None`.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

/// Settles the encoding from marks, from NUL bytes, else from the declaration, and drops the marks.
fn sniff_encoding<R: Read>(feed: &mut Feed<R>, options: &SourceOptions, hint: &Hint, events: &mut Vec<FileEvent>) -> Result<(), ReadError> {
    feed.fill(BLOCK_BYTES)?;
    if feed.buf.is_empty() {
        return Err(ReadError::refused(ReasonCode::EmptyFile, "the file has no bytes"));
    }
    if magic(&feed.buf) != Compression::None {
        return Err(ReadError::refused(ReasonCode::NestedCompression, "gzip or zstd content inside the compressed file"));
    }
    if let Some(name) = unsupported(&feed.buf) {
        return Err(ReadError::refused(ReasonCode::NestedCompression, format!("{name} content inside the compressed file")));
    }
    let declared = options.csv.declared.as_ref().map_or(Encoding::Utf8, |d| d.encoding);
    let (encoding, mark) = super::encoding::by_mark(&feed.buf).unwrap_or_else(|| {
        let guess = match &hint.resolved {
            Some(resolved) => resolved.encoding,
            None => super::encoding::by_nul_pattern(&feed.buf).unwrap_or(match declared {
                Encoding::Cp1252 | Encoding::Latin1 => declared,
                _ => Encoding::Utf8,
            }),
        };
        (guess, 0)
    });
    if mark > 0 {
        feed.drop_front(mark);
        events.push(FileEvent { reason: ReasonCode::EncodingBom, detail: format!("{} byte order mark", encoding.as_str()) });
    }
    feed.switch_encoding(encoding);
    if encoding != declared && encoding != Encoding::Utf8 {
        let detail = format!("{} instead of {}", encoding.as_str(), declared.as_str());
        events.push(FileEvent { reason: ReasonCode::EncodingChange, detail });
    }
    while feed.buf.starts_with(BOM) {
        feed.drop_front(BOM.len());
        events.push(FileEvent { reason: ReasonCode::EncodingBom, detail: "a second byte order mark".to_owned() });
    }
    feed.fill(BLOCK_BYTES)
}

/// The UTF-8 byte order mark.
pub(super) const BOM: &[u8] = &[0xef, 0xbb, 0xbf];

/// Refuses a file of nothing but white space and padding; whole blocks of it before content are dropped.
fn skip_blank<R: Read>(feed: &mut Feed<R>) -> Result<(), ReadError> {
    let blank = |b: &u8| b.is_ascii_whitespace() || matches!(*b, 0 | 0x1a);
    while feed.buf.iter().all(blank) {
        if feed.ended {
            return Err(ReadError::refused(ReasonCode::EmptyFile, "the file holds only white space"));
        }
        if feed.inflow.decompressed > MAX_LEADING_BLANK {
            return Err(ReadError::refused(ReasonCode::EmptyFile, "the file starts with 64 MiB of white space"));
        }
        let target = feed.buf.len() + BLOCK_BYTES;
        feed.fill(target)?;
    }
    Ok(())
}

/// White space kept before the first content byte.
const MAX_LEADING_BLANK: u64 = 64 << 20;
