//! Records of a JSON file, block by block.

use std::io::Read;

use memchr::{memchr, memchr_iter};

use super::parse::{Hard, HardFault, Parser, Rules, Scanned, scan_value};
use crate::domain::reason::ReasonCode;
use crate::format::block::{BadRecord, Block, FileEvent, JsonValue, Place, SOURCE_TEXT_MAX, TreeBlock};
use crate::format::feed::{Feed, Ruler};
use crate::format::options::{Format, SourceOptions};
use crate::format::reader::{BLOCK_BYTES, BLOCK_ROWS, BOM, Hint, JsonStyle, Newline, ReadError, Resolved, Totals};
use crate::format::sniff::Suffix;

/// Longest record handled whatever a contract says.
const RECORD_BYTES_CAP: u64 = 512 << 20;

/// Where a stream of values stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// An array's `[`.
    Open,
    /// An element or `]`.
    First,
    /// An element.
    Element,
    /// A comma or `]`.
    Comma,
    /// Nothing but white space.
    End,
    /// An object or the end: objects follow one another.
    Object,
}

/// The reader of a file's records.
pub(in crate::format) struct JsonBody {
    style: JsonStyle,
    rules: Rules,
    record_max: usize,
    expect: Expect,
    row: u64,
    line: u64,
    /// Bad records that are JSON but no objects.
    not_records: u64,
    declared: Option<Format>,
    several_on_a_line: bool,
    mark_seen: bool,
    padding_seen: bool,
}

impl JsonBody {
    /// Settles how the objects follow one another.
    pub(in crate::format) fn open<R: Read>(
        feed: &mut Feed<R>,
        options: &SourceOptions,
        hint: &Hint,
        suffix: &Suffix,
        events: &mut Vec<FileEvent>,
    ) -> Result<(Self, Resolved), ReadError> {
        let rules = Rules::new(&options.json, &options.limits);
        let record_max = usize::try_from(options.limits.record_bytes.bytes().min(RECORD_BYTES_CAP)).unwrap_or(usize::MAX);
        let style = match hint.resolved.as_ref().and_then(|r| r.json) {
            Some(style) => style,
            None => style_of(feed, &rules, record_max)?,
        };
        let declared = declared(options, suffix);
        let format = if style == JsonStyle::Array { Format::Json } else { Format::JsonLines };
        let note = |events: &mut Vec<FileEvent>| {
            let told = declared.map_or("none", Format::as_str);
            let detail = format!("{} content, declared {told}", style.as_str());
            events.push(FileEvent { reason: ReasonCode::FormatJsonlVsArray, detail });
        };
        match style {
            JsonStyle::Array if declared == Some(Format::JsonLines) => note(events),
            JsonStyle::RsSeparated => note(events),
            JsonStyle::Concatenated if declared == Some(Format::JsonLines) => note(events),
            _ => {}
        }
        let resolved = Resolved {
            format,
            compression: feed.inflow.compression,
            encoding: feed.encoding,
            csv: None,
            header: Vec::new(),
            newline: newline_of(&feed.buf),
            skipped_lines: 0,
            skipped_bytes: 0,
            trailing_delimiter: false,
            json: Some(style),
        };
        let expect = if style == JsonStyle::Array { Expect::Open } else { Expect::Object };
        let body = Self {
            style,
            rules,
            record_max,
            expect,
            row: 0,
            line: 1,
            not_records: 0,
            declared,
            several_on_a_line: false,
            mark_seen: false,
            padding_seen: false,
        };
        Ok((body, resolved))
    }

    /// See [`crate::format::reader::FileReader::next_block`].
    pub(in crate::format) fn next_block<R: Read>(
        &mut self,
        feed: &mut Feed<R>,
        events: &mut Vec<FileEvent>,
    ) -> Result<Option<Block>, ReadError> {
        let mut target = BLOCK_BYTES;
        loop {
            feed.fill(target)?;
            if feed.buf.is_empty() && feed.ended {
                return self.end().map(|()| None);
            }
            let bytes = std::mem::take(&mut feed.buf);
            let mut ruler = Ruler::new(feed.encoding, feed.offset);
            let mut block = TreeBlock::default();
            let mut at = 0;
            let result = match self.style {
                JsonStyle::Lines => self.read_chunks(&bytes, b'\n', feed.ended, &mut at, &mut ruler, &mut block, events),
                JsonStyle::RsSeparated => self.read_chunks(&bytes, 0x1e, feed.ended, &mut at, &mut ruler, &mut block, events),
                JsonStyle::Array | JsonStyle::Concatenated => self.read_stream(&bytes, feed.ended, &mut at, &mut ruler, &mut block, events),
            };
            feed.buf = bytes;
            feed.drop_front(at);
            result?;
            if block.places.is_empty() && block.bad.is_empty() {
                if at == 0 && feed.buf.len() > self.record_max && matches!(self.style, JsonStyle::Lines | JsonStyle::RsSeparated) {
                    self.skip_chunk(feed, &mut block, events)?;
                    if block.bad.is_empty() {
                        continue;
                    }
                } else {
                    target = if at == 0 { feed.buf.len() + feed.buf.len().max(BLOCK_BYTES) } else { BLOCK_BYTES.max(feed.buf.len() + 1) };
                    continue;
                }
            }
            return Ok(Some(Block::Tree(block)));
        }
    }

    /// Adds what only the whole file shows.
    ///
    /// # Errors
    /// Refused with `json_not_records` if nothing in the file is an object.
    pub(in crate::format) fn finish(&self, totals: &Totals, events: &mut Vec<FileEvent>) -> Result<(), ReadError> {
        if totals.physical_rows > 0 && self.not_records == totals.physical_rows {
            return Err(ReadError::refused(ReasonCode::JsonNotRecords, "no value of the file is an object"));
        }
        let unlike_array = self.style == JsonStyle::Lines && self.declared == Some(Format::Json) && totals.physical_rows > 1;
        let unlike_document = self.style == JsonStyle::Concatenated && self.declared != Some(Format::JsonLines) && totals.physical_rows > 1;
        if unlike_array || unlike_document || self.several_on_a_line {
            let told = self.declared.map_or("none", Format::as_str);
            let several = if self.several_on_a_line { ", several objects on a line" } else { "" };
            let detail = format!("{} content{several}, declared {told}", self.style.as_str());
            events.push(FileEvent { reason: ReasonCode::FormatJsonlVsArray, detail });
        }
        Ok(())
    }

    /// The file ended: it may not end inside an array.
    fn end(&self) -> Result<(), ReadError> {
        match self.expect {
            Expect::Object | Expect::End => Ok(()),
            _ => Err(ReadError::refused(ReasonCode::JsonTruncated, format!("line {}: the array has no end", self.line))),
        }
    }

    /// Chunks between separators, each of which is recovered from by itself (decisions.md 28).
    #[allow(clippy::too_many_arguments)]
    fn read_chunks(
        &mut self,
        bytes: &[u8],
        separator: u8,
        ended: bool,
        at: &mut usize,
        ruler: &mut Ruler,
        block: &mut TreeBlock,
        events: &mut Vec<FileEvent>,
    ) -> Result<(), ReadError> {
        while *at < bytes.len() && block.places.len() + block.bad.len() < BLOCK_ROWS {
            let (end, next) = match memchr(separator, &bytes[*at..]) {
                Some(i) => (*at + i, *at + i + 1),
                None if ended => (bytes.len(), bytes.len()),
                None => break,
            };
            self.read_chunk(bytes, *at, end, next > end, ended, ruler, block, events)?;
            self.line += memchr_iter(b'\n', &bytes[*at..next]).count() as u64;
            *at = next;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn read_chunk(
        &mut self,
        bytes: &[u8],
        from: usize,
        to: usize,
        terminated: bool,
        ended: bool,
        ruler: &mut Ruler,
        block: &mut TreeBlock,
        events: &mut Vec<FileEvent>,
    ) -> Result<(), ReadError> {
        let space = |b: &u8| matches!(*b, b' ' | b'\t' | b'\n' | b'\r');
        let mut start = from + bytes[from..to].iter().take_while(|b| space(b)).count();
        while bytes[start..to].starts_with(BOM) {
            self.note_mark(events);
            start += BOM.len();
        }
        let mut end = to - bytes[start..to].iter().rev().take_while(|b| space(b)).count();
        if ended && bytes[to..].iter().all(|b| is_padding(*b) || space(b)) {
            let content = bytes[start..end].iter().rposition(|b| !is_padding(*b) && !space(b)).map_or(start, |i| start + i + 1);
            if bytes[content..end].iter().any(|b| is_padding(*b)) {
                self.note_padding(bytes[content], events);
                end = content;
            }
        }
        if start == end {
            return Ok(());
        }
        let line = self.line + memchr_iter(b'\n', &bytes[from..start]).count() as u64;
        let mut fault = None;
        if end - start > self.record_max {
            fault = Some((ReasonCode::OversizedRecord, format!("{} bytes; at most {} are read", end - start, self.record_max)));
        }
        let chunk_place = ruler.place(bytes, self.row, line, start, end);
        let mut parser = Parser::new(&bytes[..end], start, &self.rules);
        let mut objects = Vec::new();
        while fault.is_none() {
            parser.skip_space();
            let value_start = parser.at;
            if value_start == end {
                break;
            }
            parser.soft = None;
            match parser.value() {
                Ok(JsonValue::Object(entries)) => objects.push((value_start, parser.at, entries, parser.soft.take())),
                Ok(_) => fault = Some((ReasonCode::JsonNotRecords, "JSON, but no object".to_owned())),
                Err(Hard { why: HardFault::Truncated, .. }) if !terminated => {
                    fault = Some((ReasonCode::TruncatedTail, "the last record ends inside a value".to_owned()));
                }
                Err(hard) => fault = Some(describe(&hard, start)),
            }
        }
        if let Some((reason, detail)) = fault {
            self.not_records += u64::from(reason == ReasonCode::JsonNotRecords);
            self.row += 1;
            block.bad.push(BadRecord::new(chunk_place, reason, detail, &bytes[start..end]));
            return Ok(());
        }
        self.several_on_a_line |= objects.len() > 1;
        for (from, to, entries, soft) in objects {
            let lines = memchr_iter(b'\n', &bytes[start..from]).count() as u64;
            let place = ruler.place(bytes, self.row, line + lines, from, to);
            self.row += 1;
            match soft {
                None => {
                    block.records.push(entries);
                    block.places.push(place);
                }
                Some(soft) if soft.file => return Err(ReadError::refused(soft.reason, format!("line {}: {}", place.line, soft.detail))),
                Some(soft) => block.bad.push(BadRecord::new(place, soft.reason, soft.detail, &bytes[from..to])),
            }
        }
        Ok(())
    }

    /// Values that may span lines: any hard fault condemns the file, because what follows is unknown.
    fn read_stream(
        &mut self,
        bytes: &[u8],
        ended: bool,
        at: &mut usize,
        ruler: &mut Ruler,
        block: &mut TreeBlock,
        events: &mut Vec<FileEvent>,
    ) -> Result<(), ReadError> {
        while block.places.len() + block.bad.len() < BLOCK_ROWS {
            if !self.skip_between(bytes, ended, at, events) {
                return Ok(());
            }
            let byte = bytes[*at];
            match (self.expect, byte) {
                (Expect::Open, b'[') => self.step(at, Expect::First),
                (Expect::First | Expect::Comma, b']') => self.step(at, Expect::End),
                (Expect::Comma, b',') => self.step(at, Expect::Element),
                (Expect::Comma | Expect::Open, _) => {
                    let detail = format!("line {}: neither a comma nor the end of the array", self.line);
                    return Err(ReadError::refused(ReasonCode::JsonSyntax, detail));
                }
                (Expect::End, _) => {
                    return Err(ReadError::refused(ReasonCode::JsonSyntax, format!("line {}: something follows the array", self.line)));
                }
                (Expect::First | Expect::Element | Expect::Object, _) => {
                    if !self.read_value(bytes, ended, at, ruler, block)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, at: &mut usize, expect: Expect) {
        *at += 1;
        self.expect = expect;
    }

    /// Skips white space, marks and padding; `false` when the bytes are used up.
    fn skip_between(&mut self, bytes: &[u8], ended: bool, at: &mut usize, events: &mut Vec<FileEvent>) -> bool {
        while let Some(byte) = bytes.get(*at) {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                0xef if bytes[*at..].starts_with(BOM) => {
                    self.note_mark(events);
                    *at += BOM.len() - 1;
                }
                0xef if !ended && bytes.len() - *at < BOM.len() => return false,
                0 | 0x1a if matches!(self.expect, Expect::End | Expect::Object) => {
                    if !ended {
                        return false;
                    }
                    if !bytes[*at..].iter().all(|b| is_padding(*b) || b.is_ascii_whitespace()) {
                        return true;
                    }
                    self.note_padding(*byte, events);
                    *at = bytes.len();
                    return false;
                }
                _ => return true,
            }
            *at += 1;
        }
        false
    }

    /// One record of a stream; `false` when it needs more bytes.
    fn read_value(
        &mut self,
        bytes: &[u8],
        ended: bool,
        at: &mut usize,
        ruler: &mut Ruler,
        block: &mut TreeBlock,
    ) -> Result<bool, ReadError> {
        let start = *at;
        let mut parser = Parser::new(bytes, start, &self.rules);
        let value = match parser.value() {
            Ok(value) => value,
            Err(Hard { why: HardFault::Truncated, .. }) if !ended => {
                if bytes.len() - start > self.record_max {
                    let detail = format!("line {}: a record of more than {} bytes", self.line, self.record_max);
                    return Err(ReadError::refused(ReasonCode::OversizedRecord, detail));
                }
                return Ok(false);
            }
            Err(hard) => {
                let line = self.line + memchr_iter(b'\n', &bytes[start..hard.at.min(bytes.len())]).count() as u64;
                let (reason, detail) = match hard.why {
                    HardFault::Truncated => (ReasonCode::JsonTruncated, "the file ends inside a value".to_owned()),
                    _ => describe(&hard, start),
                };
                return Err(ReadError::refused(reason, format!("line {line}: {detail}")));
            }
        };
        // More digits may follow.
        if parser.at == bytes.len() && !ended && matches!(value, JsonValue::Number(_)) {
            return Ok(false);
        }
        let end = parser.at;
        let soft = parser.soft.take();
        let fault = match (&value, soft) {
            (JsonValue::Object(_), Some(soft)) if soft.file => {
                return Err(ReadError::refused(soft.reason, format!("line {}: {}", self.line, soft.detail)));
            }
            (JsonValue::Object(_), _) if end - start > self.record_max => {
                Some((ReasonCode::OversizedRecord, format!("{} bytes; at most {} are read", end - start, self.record_max)))
            }
            (JsonValue::Object(_), soft) => soft.map(|s| (s.reason, s.detail)),
            _ if self.row == 0 || self.expect == Expect::Object => {
                let detail = format!("line {}: JSON, but no object", self.line);
                return Err(ReadError::refused(ReasonCode::JsonNotRecords, detail));
            }
            _ => {
                self.not_records += 1;
                Some((ReasonCode::JsonNotRecords, "an element that is no object".to_owned()))
            }
        };
        let place: Place = ruler.place(bytes, self.row, self.line, start, end);
        self.row += 1;
        self.line += memchr_iter(b'\n', &bytes[start..end]).count() as u64;
        match (fault, value) {
            (None, JsonValue::Object(entries)) => {
                block.records.push(entries);
                block.places.push(place);
            }
            (fault, _) => {
                let (reason, detail) = fault.unwrap_or((ReasonCode::JsonNotRecords, String::new()));
                block.bad.push(BadRecord::new(place, reason, detail, &bytes[start..end]));
            }
        }
        if self.expect != Expect::Object {
            self.expect = Expect::Comma;
        }
        *at = end;
        Ok(true)
    }

    /// Drops a chunk longer than any record may be and keeps its start as a bad record. A tail of
    /// padding is no record.
    fn skip_chunk<R: Read>(&mut self, feed: &mut Feed<R>, block: &mut TreeBlock, events: &mut Vec<FileEvent>) -> Result<(), ReadError> {
        let separator = if self.style == JsonStyle::RsSeparated { 0x1e } else { b'\n' };
        let byte_offset = feed.offset;
        let line = self.line;
        let source = feed.buf[..feed.buf.len().min(SOURCE_TEXT_MAX)].to_vec();
        let mut padding = true;
        loop {
            let found = memchr(separator, &feed.buf);
            let end = found.unwrap_or(feed.buf.len());
            padding = padding && feed.buf[..end].iter().all(|b| is_padding(*b) || b.is_ascii_whitespace());
            self.line += memchr_iter(b'\n', &feed.buf[..end]).count() as u64;
            feed.drop_front(end);
            if found.is_some() || feed.ended && feed.buf.is_empty() {
                break;
            }
            feed.fill(BLOCK_BYTES)?;
        }
        if padding && feed.buf.is_empty() {
            self.note_padding(source[0], events);
            return Ok(());
        }
        let byte_len = u32::try_from(feed.offset - byte_offset).unwrap_or(u32::MAX);
        let place = Place { row: self.row, line, byte_offset, byte_len };
        self.row += 1;
        block.bad.push(BadRecord::new(place, ReasonCode::OversizedRecord, format!("more than {} bytes", self.record_max), &source));
        Ok(())
    }

    fn note_mark(&mut self, events: &mut Vec<FileEvent>) {
        if !std::mem::replace(&mut self.mark_seen, true) {
            let detail = format!("a byte order mark in line {}", self.line);
            events.push(FileEvent { reason: ReasonCode::EncodingBom, detail });
        }
    }

    fn note_padding(&mut self, byte: u8, events: &mut Vec<FileEvent>) {
        if !std::mem::replace(&mut self.padding_seen, true) {
            let (reason, name) = if byte == 0x1a { (ReasonCode::ControlChar, "^Z") } else { (ReasonCode::NulByte, "NUL bytes") };
            events.push(FileEvent { reason, detail: format!("{name} at the end of the file are padding") });
        }
    }
}

fn is_padding(byte: u8) -> bool {
    matches!(byte, 0 | 0x1a)
}

fn describe(hard: &Hard, start: usize) -> (ReasonCode, String) {
    let at = hard.at.saturating_sub(start);
    match hard.why {
        HardFault::Syntax(what) => (ReasonCode::JsonSyntax, format!("{what}, byte {at} of the record")),
        HardFault::Truncated => (ReasonCode::JsonSyntax, format!("the line ends inside a value, byte {at} of the record")),
        HardFault::Depth => (ReasonCode::JsonDepth, format!("nested too deep, byte {at} of the record")),
    }
}

/// What the suffix, else the contract, says about lines or array; `None` when both are welcome.
fn declared(options: &SourceOptions, suffix: &Suffix) -> Option<Format> {
    let allowed = |f: Format| options.formats.contains(&f);
    match suffix.format {
        Some(format @ (Format::Json | Format::JsonLines)) => Some(format),
        _ if allowed(Format::Json) && allowed(Format::JsonLines) => None,
        _ if allowed(Format::Json) => Some(Format::Json),
        _ => Some(Format::JsonLines),
    }
}

fn newline_of(sample: &[u8]) -> Newline {
    match memchr(b'\n', sample) {
        Some(i) if i > 0 && sample[i - 1] == b'\r' => Newline::CrLf,
        _ => Newline::Lf,
    }
}

/// How the objects follow one another, from the first of them.
fn style_of<R: Read>(feed: &mut Feed<R>, rules: &Rules, record_max: usize) -> Result<JsonStyle, ReadError> {
    loop {
        let text = feed.buf.trim_ascii_start();
        match text.first() {
            Some(0x1e) => return Ok(JsonStyle::RsSeparated),
            Some(b'[') => return Ok(JsonStyle::Array),
            Some(b'{') => {}
            _ => return Ok(JsonStyle::Lines),
        }
        let first_line = memchr(b'\n', text).unwrap_or(text.len());
        let endless = first_line == text.len() && !feed.ended;
        let object_line = || {
            text.split(|b| *b == b'\n')
                .take(200)
                .any(|l| matches!(scan_value(l), Some((Scanned::Object, end)) if l[end..].trim_ascii().is_empty()))
        };
        let mut parser = Parser::new(text, 0, rules);
        let spans = match parser.value() {
            Ok(_) => parser.at > first_line || (endless && text[parser.at..].trim_ascii_start().first() == Some(&b'{')),
            Err(Hard { why: HardFault::Truncated, .. }) if !feed.ended && text.len() <= record_max => {
                let target = feed.buf.len() * 2;
                feed.fill(target)?;
                continue;
            }
            Err(hard) => hard.at > first_line && !object_line(),
        };
        return Ok(if spans { JsonStyle::Concatenated } else { JsonStyle::Lines });
    }
}
