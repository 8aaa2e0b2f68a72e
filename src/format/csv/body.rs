//! Records of a CSV file, block by block.

use std::io::Read;

use memchr::{memchr, memchr_iter, memrchr};

use super::plain::Separators;
use super::record::{Breaks, Field, Grammar, Scan};
use super::table::Table;
use super::tail::{is_padding, trim_tail};
use crate::domain::reason::ReasonCode;
use crate::format::block::{BadRecord, Block, FileEvent, Place, SOURCE_TEXT_MAX, TextBlock, TextCell};
use crate::format::encoding::undecoded_len;
use crate::format::feed::{Feed, Ruler};
use crate::format::options::{Encoding, SourceOptions};
use crate::format::reader::{BLOCK_BYTES, BLOCK_ROWS, BOM, Hint, ReadError, Resolved, Totals};

/// Longest record handled whatever a contract says: spans are 32 bits wide.
const RECORD_BYTES_CAP: u64 = 512 << 20;

/// Look-ahead for closing quotes that may come to nothing, in records of the longest size.
const WASTED_RECORDS_MAX: u64 = 16;

/// The reader of a file's records, after its header.
pub(in crate::format) struct CsvBody {
    grammar: Grammar,
    table: Table,
    field_max: usize,
    record_max: usize,
    columns_max: usize,
    fallback: Option<Encoding>,
    /// Everything handed out so far reads the same in every fallback.
    ascii_so_far: bool,
    row: u64,
    /// Line number of the first byte of the feed.
    line: u64,
    /// Bytes looked at for a closing quote that never came.
    wasted: u64,
    fields: Vec<Field>,
    /// Most cells of a block so far.
    n_cells: usize,
    mark_seen: bool,
}

/// What scanning a block ended on.
enum Stop {
    /// At a record the buffer does not hold as a whole.
    Short,
    /// At a record longer than any may be, without a line break so far.
    Oversized,
    Done,
}

impl CsvBody {
    /// Settles dialect and header and leaves the feed at the first record.
    ///
    /// # Errors
    /// Refused: `duplicate_header`, `nul_byte`, `encoding_invalid`, `too_many_columns`, `oversized_field` of the header.
    pub(in crate::format) fn open<R: Read>(
        feed: &mut Feed<R>,
        options: &SourceOptions,
        hint: &Hint,
        events: &mut Vec<FileEvent>,
    ) -> Result<(Self, Resolved), ReadError> {
        let fallback = options.csv.encoding_fallback.filter(|e| *e != Encoding::Utf8);
        fall_back(feed, fallback, events);
        trim_tail(feed, events);
        let settled = super::header::settle(feed, options, hint, events)?;
        let resolved = settled.resolved;
        feed.drop_front(settled.used);
        let body = Self {
            grammar: settled.grammar,
            table: settled.table,
            field_max: usize::try_from(options.limits.field_bytes.bytes().min(RECORD_BYTES_CAP)).unwrap_or(usize::MAX),
            record_max: usize::try_from(options.limits.record_bytes.bytes().min(RECORD_BYTES_CAP)).unwrap_or(usize::MAX),
            columns_max: options.limits.columns,
            fallback,
            ascii_so_far: true,
            row: 0,
            line: 1 + settled.lines,
            wasted: 0,
            fields: Vec::new(),
            n_cells: 0,
            mark_seen: false,
        };
        Ok((body, resolved))
    }

    /// See [`crate::format::reader::FileReader::next_block`].
    pub(in crate::format) fn next_block<R: Read>(
        &mut self,
        feed: &mut Feed<R>,
        resolved: &mut Resolved,
        events: &mut Vec<FileEvent>,
    ) -> Result<Option<Block>, ReadError> {
        let mut target = BLOCK_BYTES;
        loop {
            feed.fill(target)?;
            if self.ascii_so_far && fall_back(feed, self.fallback, events) {
                resolved.encoding = feed.encoding;
                if let Some(csv) = &mut resolved.csv {
                    csv.encoding = feed.encoding;
                }
            }
            trim_tail(feed, events);
            if feed.buf.is_empty() && feed.ended {
                return Ok(None);
            }
            let mut block = TextBlock { width: self.table.width, ..TextBlock::default() };
            if !self.read_plain(feed, &mut block, events)? {
                match self.read_scanned(feed, &mut block, events)? {
                    Stop::Done => {}
                    Stop::Short if block.places.is_empty() && block.bad.is_empty() => {
                        target = feed.buf.len() + feed.buf.len().max(BLOCK_BYTES)
                    }
                    Stop::Oversized if block.places.is_empty() && block.bad.is_empty() => self.skip_line(feed, &mut block, events)?,
                    Stop::Short | Stop::Oversized => {}
                }
            }
            if !block.places.is_empty() || !block.bad.is_empty() {
                self.ascii_so_far = self.ascii_so_far && (self.fallback.is_none() || block.text.is_ascii());
                return Ok(Some(Block::Text(block)));
            }
        }
    }

    /// Adds what only the whole file shows.
    pub(in crate::format) fn finish(&self, totals: &Totals, events: &mut Vec<FileEvent>) {
        if totals.physical_rows == 0 {
            let detail = format!("{} columns and no record", self.table.width);
            events.push(FileEvent { reason: ReasonCode::HeaderOnly, detail });
        }
    }

    /// The fast path: a buffer without quotes and NULs, in UTF-8, whose records lines are. The text of
    /// the block is the buffer itself. `false`: not such a buffer, nothing was read.
    fn read_plain<R: Read>(&mut self, feed: &mut Feed<R>, block: &mut TextBlock, events: &mut Vec<FileEvent>) -> Result<bool, ReadError> {
        let escapes = self.grammar.quote.is_none() && self.grammar.escape.is_some();
        if self.grammar.delimiter.len() != 1 || self.grammar.breaks != Breaks::Lf || escapes {
            return Ok(false);
        }
        if self.grammar.quote.is_some_and(|q| memchr(q, &feed.buf).is_some()) || memchr(0, &feed.buf).is_some() {
            return Ok(false);
        }
        // The last line break may be the last byte of the file: only the end of the file tells.
        let cut = match feed.ended {
            true => feed.buf.len(),
            false => match memrchr(b'\n', &feed.buf[..feed.buf.len() - 1]) {
                Some(i) => i + 1,
                None => return Ok(false),
            },
        };
        let encoding = feed.encoding;
        let offset = feed.offset;
        let last = feed.ended;
        let text = match String::from_utf8(feed.take_front(cut)) {
            Ok(text) => text,
            Err(e) => {
                let mut bytes = e.into_bytes();
                bytes.append(&mut feed.buf);
                feed.buf = bytes;
                feed.offset = offset;
                return Ok(false);
            }
        };
        let used = self.split_plain(&text, Ruler::new(encoding, offset), last, block, events)?;
        self.n_cells = self.n_cells.max(block.cells.len() + block.cells.len() / 16);
        block.text = text;
        if used < block.text.len() {
            // Too many rows for one block: the rest goes back.
            let mut rest = block.text.as_bytes()[used..].to_vec();
            block.text.truncate(used);
            rest.append(&mut feed.buf);
            feed.buf = rest;
            feed.offset = offset + undecoded_len(encoding, block.text.as_bytes());
        }
        Ok(true)
    }

    /// Splits whole lines; answers how many bytes were used.
    fn split_plain(
        &mut self,
        text: &str,
        mut ruler: Ruler,
        last: bool,
        block: &mut TextBlock,
        events: &mut Vec<FileEvent>,
    ) -> Result<usize, ReadError> {
        let bytes = text.as_bytes();
        let width = self.table.width;
        let long = self.field_max.min(self.record_max);
        // The last record of the file may be a footer.
        let calm_until = match last {
            true => bytes.iter().rposition(|b| !matches!(b, 0x1a | b'\n' | b'\r')).map_or(0, |i| i + 1),
            false => bytes.len(),
        };
        let mut first = 0;
        let mut record_start = 0;
        let mut field_start = 0;
        block.cells.reserve(self.n_cells.max(bytes.len() / 12) + width);
        for at in Separators::new(bytes, self.grammar.delimiter[0]) {
            if bytes[at] != b'\n' {
                block.cells.push(span(field_start, at));
                field_start = at + 1;
                continue;
            }
            let end = if at > record_start && bytes[at - 1] == b'\r' { at - 1 } else { at };
            block.cells.push(span(field_start, end.max(field_start)));
            let len = end - record_start;
            let plain =
                block.cells.len() - first == width && len <= long && self.table.calm && bytes[record_start] != BOM[0] && at < calm_until;
            if plain && !self.table.repeats_header(&bytes[record_start..end]) {
                block.places.push(ruler.place(bytes, self.row, self.line, record_start, end));
                self.row += 1;
            } else {
                let at_end = last && is_padding(&bytes[at + 1..]);
                self.judge_plain(bytes, (record_start, end), first, (true, at_end), &mut ruler, block, events)?;
            }
            self.line += 1;
            first = block.cells.len();
            record_start = at + 1;
            field_start = record_start;
            if block.places.len() + block.bad.len() >= BLOCK_ROWS {
                return Ok(record_start);
            }
        }
        if record_start < bytes.len() {
            let end = if bytes.ends_with(b"\r") { bytes.len() - 1 } else { bytes.len() };
            block.cells.push(span(field_start, end.max(field_start)));
            let terminated = end < bytes.len();
            self.judge_plain(bytes, (record_start, end), first, (terminated, true), &mut ruler, block, events)?;
        }
        Ok(bytes.len())
    }

    /// A line that is not obviously a good record: its cells are the last ones of the block.
    #[allow(clippy::too_many_arguments)]
    fn judge_plain(
        &mut self,
        bytes: &[u8],
        (mut start, end): (usize, usize),
        first: usize,
        (terminated, at_end): (bool, bool),
        ruler: &mut Ruler,
        block: &mut TextBlock,
        events: &mut Vec<FileEvent>,
    ) -> Result<(), ReadError> {
        if bytes[start..end].starts_with(BOM) {
            self.note_mark(events);
            start += BOM.len();
            let cell = &mut block.cells[first];
            cell.start += BOM.len() as u32;
            cell.len = cell.len.saturating_sub(BOM.len() as u32);
        }
        let count = block.cells.len() - first;
        if start == end && (self.table.width != 1 || !terminated) {
            block.cells.truncate(first);
            self.table.blank_line();
            return Ok(());
        }
        let cut = |c: &TextCell| &bytes[c.start as usize..(c.start + c.len) as usize];
        let fields: Vec<&[u8]> = block.cells[first..].iter().take(self.columns_max + 2).map(cut).collect();
        let fault = self.fault(&fields, count, end - start, terminated, at_end)?;
        let place = ruler.place(bytes, self.row, self.line, start, end);
        self.row += 1;
        match fault {
            None => {
                block.cells.truncate(first + self.table.width);
                block.places.push(place);
            }
            Some((reason, detail)) => {
                block.cells.truncate(first);
                block.bad.push(BadRecord::new(place, reason, detail, &bytes[start..end]));
            }
        }
        Ok(())
    }

    /// What is wrong with a record of `count` fields; `fields` are the first of them.
    fn fault(
        &mut self,
        fields: &[&[u8]],
        count: usize,
        len: usize,
        terminated: bool,
        at_end: bool,
    ) -> Result<Option<(ReasonCode, String)>, ReadError> {
        if len > self.record_max {
            return Ok(Some((ReasonCode::OversizedRecord, format!("{len} bytes; at most {} are read", self.record_max))));
        }
        if let Some(i) = fields.iter().position(|f| f.len() > self.field_max) {
            let detail = format!("field {} has {} bytes; at most {} are read", i + 1, fields[i].len(), self.field_max);
            return Ok(Some((ReasonCode::OversizedField, detail)));
        }
        if let Some(i) = fields.iter().position(|f| memchr(0, f).is_some()) {
            return Ok(Some((ReasonCode::NulByte, format!("field {} holds a NUL byte", i + 1))));
        }
        self.table.fault(fields, count, terminated, at_end, self.line)
    }

    /// Any buffer, record by record. Consumes what it could tell apart.
    fn read_scanned<R: Read>(&mut self, feed: &mut Feed<R>, block: &mut TextBlock, events: &mut Vec<FileEvent>) -> Result<Stop, ReadError> {
        let bytes = std::mem::take(&mut feed.buf);
        let mut text = Vec::with_capacity(bytes.len());
        let mut ruler = Ruler::new(feed.encoding, feed.offset);
        let mut at = 0;
        let mut fields = std::mem::take(&mut self.fields);
        let result = loop {
            if at == bytes.len() || block.places.len() + block.bad.len() >= BLOCK_ROWS {
                break Ok(Stop::Done);
            }
            match self.read_record(&bytes, &mut at, feed.ended, &mut fields, &mut text, &mut ruler, block, events) {
                Ok(None) => {}
                Ok(Some(stop)) => break Ok(stop),
                Err(e) => break Err(e),
            }
        };
        self.fields = fields;
        block.text = String::from_utf8(text).expect("cells are cut from checked text at single-byte marks");
        feed.buf = bytes;
        feed.drop_front(at);
        result
    }

    /// One record, bad record or blank line at `at`, which moves behind it.
    #[allow(clippy::too_many_arguments)]
    fn read_record(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        ended: bool,
        fields: &mut Vec<Field>,
        text: &mut Vec<u8>,
        ruler: &mut Ruler,
        block: &mut TextBlock,
        events: &mut Vec<FileEvent>,
    ) -> Result<Option<Stop>, ReadError> {
        let mut start = *at;
        if !ended && bytes.len() - start < BOM.len() {
            return Ok(Some(Stop::Short));
        }
        if bytes[start..].starts_with(BOM) {
            start += BOM.len();
            if start == bytes.len() {
                if ended {
                    self.note_mark(events);
                    *at = start;
                    return Ok(None);
                }
                return Ok(Some(Stop::Short));
            }
        }
        let (scan, count) = self.grammar.scan(bytes, start, ended, self.columns_max + 2, fields);
        let (end, next, count) = match scan {
            Scan::Record { end, next } => (end, next, count),
            Scan::Blank { next } if self.table.width == 1 => (start, next, 1),
            Scan::Blank { next } => {
                self.table.blank_line();
                self.line += 1;
                *at = next;
                return Ok(None);
            }
            Scan::NeedMore if bytes.len() - start <= self.record_max => return Ok(Some(Stop::Short)),
            Scan::NeedMore | Scan::Malformed { .. } | Scan::Unterminated => {
                return self.give_up_line(bytes, at, start, scan, ended, ruler, block);
            }
        };
        if start > *at {
            self.note_mark(events);
        }
        let lines = self.count_lines(&bytes[start..next], fields);
        if count != self.table.width && lines > 1 && self.second_line_fits(bytes, start, ended) {
            return self.give_up_line(bytes, at, start, Scan::Malformed { at: end }, ended, ruler, block);
        }
        let terminated = next > end;
        let fault = match std::str::from_utf8(&bytes[start..end]) {
            Err(e) => {
                Some((ReasonCode::EncodingInvalid, format!("byte {} of the record is not {}", e.valid_up_to(), ruler.encoding.as_str())))
            }
            Ok(_) if self.is_plain(bytes, &fields[..], count, (start, end)) && !(ended && is_padding(&bytes[next..])) => None,
            Ok(_) => {
                let seen: Vec<&[u8]> = fields.iter().map(|f| &bytes[f.start..f.end]).collect();
                self.fault(&seen, count, end - start, terminated, ended && is_padding(&bytes[next..]))?
            }
        };
        let place = ruler.place(bytes, self.row, self.line, start, end);
        self.row += 1;
        match fault {
            Some((reason, detail)) => block.bad.push(BadRecord::new(place, reason, detail, &bytes[start..end])),
            None => {
                for field in fields.iter().take(self.table.width) {
                    let from = text.len();
                    self.grammar.unquote(bytes, *field, text);
                    block.cells.push(span(from, text.len()));
                }
                block.places.push(place);
            }
        }
        self.line += lines;
        *at = next;
        Ok(None)
    }

    /// A record that is obviously good, so that nothing about it needs to be collected.
    fn is_plain(&self, bytes: &[u8], fields: &[Field], count: usize, (start, end): (usize, usize)) -> bool {
        count == self.table.width
            && self.table.calm
            && end - start <= self.field_max.min(self.record_max)
            && memchr(0, &bytes[start..end]).is_none()
            && fields.first().is_some_and(|f| !self.table.starts_like_header(&bytes[f.start..f.end]))
    }

    /// The record at `start` has no end that can be trusted: its first line is bad, reading goes on
    /// with the next line. Look-ahead is paid from a budget (drift.md §2.6, unterminated quote).
    #[allow(clippy::too_many_arguments)]
    fn give_up_line(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        start: usize,
        scan: Scan,
        ended: bool,
        ruler: &mut Ruler,
        block: &mut TextBlock,
    ) -> Result<Option<Stop>, ReadError> {
        let (end, next) = match self.first_break(&bytes[start..], ended) {
            Some((end, next)) => (start + end, start + next),
            None if ended => (bytes.len(), bytes.len()),
            None if bytes.len() - start <= self.record_max => return Ok(Some(Stop::Short)),
            None => return Ok(Some(Stop::Oversized)),
        };
        let looked_at = match scan {
            Scan::Malformed { at } => at,
            _ => bytes.len(),
        };
        self.wasted += looked_at.saturating_sub(next) as u64;
        if self.wasted > WASTED_RECORDS_MAX * self.record_max as u64 {
            let detail = format!("line {}: quotes without an end, too many to recover from", self.line);
            return Err(ReadError::refused(ReasonCode::MalformedQuote, detail));
        }
        let (reason, detail) = match scan {
            Scan::Unterminated if next == end => (ReasonCode::TruncatedTail, "the last record ends inside a quoted field".to_owned()),
            Scan::Malformed { at } if at < end => {
                (ReasonCode::MalformedQuote, format!("neither delimiter nor line break after the closing quote, byte {}", at - start))
            }
            _ => (ReasonCode::MalformedQuote, "a quote opened in this line has no proper end".to_owned()),
        };
        let place = ruler.place(bytes, self.row, self.line, start, end);
        self.row += 1;
        self.line += 1;
        self.table.bad_line();
        block.bad.push(BadRecord::new(place, reason, detail, &bytes[start..end]));
        *at = next;
        Ok(None)
    }

    /// Whether the line after the first one is a record of the right width by itself.
    fn second_line_fits(&self, bytes: &[u8], start: usize, ended: bool) -> bool {
        let Some((_, next)) = self.first_break(&bytes[start..], ended) else { return false };
        let second = &bytes[start + next..];
        let end = self.first_break(second, ended).map_or(second.len(), |(_, next)| next);
        let mut fields = Vec::new();
        let (scan, count) = self.grammar.scan(&second[..end], 0, true, 0, &mut fields);
        matches!(scan, Scan::Record { .. }) && count == self.table.width
    }

    /// End and successor of the line at the start of `bytes`.
    fn first_break(&self, bytes: &[u8], ended: bool) -> Option<(usize, usize)> {
        let i = match self.grammar.breaks {
            Breaks::Lf => memchr(b'\n', bytes)?,
            Breaks::Cr => memchr::memchr2(b'\r', b'\n', bytes)?,
        };
        if bytes[i] == b'\n' {
            let end = if i > 0 && bytes[i - 1] == b'\r' { i - 1 } else { i };
            return Some((end, i + 1));
        }
        match bytes.get(i + 1) {
            Some(b'\n') => Some((i, i + 2)),
            None if !ended => None,
            _ => Some((i, i + 1)),
        }
    }

    fn count_lines(&self, record: &[u8], fields: &[Field]) -> u64 {
        if fields.iter().all(|f| !f.quoted && !f.escaped) {
            return 1;
        }
        let breaks = match self.grammar.breaks {
            Breaks::Lf => memchr_iter(b'\n', record).count(),
            Breaks::Cr => {
                let crlf = record.windows(2).filter(|w| w == b"\r\n").count();
                memchr::memchr2_iter(b'\r', b'\n', record).count() - crlf
            }
        };
        let open = !matches!(record.last(), Some(b'\n' | b'\r'));
        breaks as u64 + u64::from(open)
    }

    /// Drops a line longer than any record may be, however long it is, and keeps its start as a bad
    /// record. A tail of padding is no record.
    fn skip_line<R: Read>(&mut self, feed: &mut Feed<R>, block: &mut TextBlock, events: &mut Vec<FileEvent>) -> Result<(), ReadError> {
        let byte_offset = feed.offset;
        let source = feed.buf[..feed.buf.len().min(SOURCE_TEXT_MAX)].to_vec();
        let mut padding = true;
        loop {
            let found = self.first_break(&feed.buf, feed.ended);
            let end = found.map_or(feed.buf.len(), |(end, _)| end);
            padding = padding && is_padding(&feed.buf[..end]);
            if let Some((_, next)) = found {
                feed.drop_front(end);
                let byte_len = u32::try_from(feed.offset - byte_offset).unwrap_or(u32::MAX);
                feed.drop_front(next - end);
                let place = Place { row: self.row, line: self.line, byte_offset, byte_len };
                let detail = format!("more than {} bytes", self.record_max);
                block.bad.push(BadRecord::new(place, ReasonCode::OversizedRecord, detail, &source));
                self.row += 1;
                self.line += 1;
                self.table.bad_line();
                return Ok(());
            }
            // A CR at the end may be half of a line break.
            let keep = usize::from(!feed.ended && feed.buf.ends_with(b"\r"));
            feed.drop_front(end - keep.min(end));
            if feed.ended && feed.buf.is_empty() {
                if padding {
                    let detail = format!("{} bytes of padding at the end", feed.offset - byte_offset);
                    events.push(FileEvent { reason: ReasonCode::NulByte, detail });
                } else {
                    let byte_len = u32::try_from(feed.offset - byte_offset).unwrap_or(u32::MAX);
                    let place = Place { row: self.row, line: self.line, byte_offset, byte_len };
                    let detail = format!("more than {} bytes", self.record_max);
                    block.bad.push(BadRecord::new(place, ReasonCode::OversizedRecord, detail, &source));
                    self.row += 1;
                }
                return Ok(());
            }
            feed.fill(BLOCK_BYTES)?;
        }
    }

    fn note_mark(&mut self, events: &mut Vec<FileEvent>) {
        if !std::mem::replace(&mut self.mark_seen, true) {
            let detail = format!("a byte order mark at the start of line {}", self.line);
            events.push(FileEvent { reason: ReasonCode::EncodingBom, detail });
        }
    }
}

fn span(start: usize, end: usize) -> TextCell {
    TextCell { start: start as u32, len: (end - start) as u32 }
}

/// Decodes everything not yet handed out with the contract's fallback if it is not UTF-8
/// (decisions.md 36). What was handed out before was ASCII, so the whole file reads as decoded.
fn fall_back<R: Read>(feed: &mut Feed<R>, fallback: Option<Encoding>, events: &mut Vec<FileEvent>) -> bool {
    let Some(fallback) = fallback.filter(|_| feed.encoding == Encoding::Utf8) else { return false };
    let invalid = match std::str::from_utf8(&feed.buf) {
        Ok(_) => false,
        Err(e) => e.error_len().is_some() || feed.ended,
    };
    if invalid {
        feed.switch_encoding(fallback);
        let detail = format!("not UTF-8: read as {}", fallback.as_str());
        events.push(FileEvent { reason: ReasonCode::EncodingChange, detail });
    }
    invalid
}
