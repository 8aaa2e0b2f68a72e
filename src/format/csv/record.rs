//! Where a record of delimited text ends, and where its fields stand.

use memchr::{memchr, memchr2, memchr3};

/// Delimiters, quotes and line ends of a file, ready for scanning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grammar {
    pub(super) delimiter: Vec<u8>,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) breaks: Breaks,
}

/// What ends a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaks {
    /// LF, with or without a CR before it.
    Lf,
    /// CR, CRLF or LF: files of which no line ends with LF.
    Cr,
}

/// One field of a record, as a span of the scanned bytes without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) quoted: bool,
    /// Doubled quotes or escapes are still inside.
    pub(super) escaped: bool,
}

/// How scanning a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// `end` is where its content ends, `next` where the next record starts; `next == end` without a line break.
    Record { end: usize, next: usize },
    /// The line has no content at all.
    Blank { next: usize },
    /// Something follows a closing quote that is neither a delimiter nor a line break.
    Malformed { at: usize },
    /// A quote is open at the end of the file.
    Unterminated,
    /// The bytes end before the record does (or it cannot be told that they do not).
    NeedMore,
}

impl Grammar {
    /// Fields of one record are pushed onto `fields`, at most `fields_max` of them; the count of all
    /// is returned. `ended`: nothing follows `bytes`.
    pub(super) fn scan(&self, bytes: &[u8], start: usize, ended: bool, fields_max: usize, fields: &mut Vec<Field>) -> (Scan, usize) {
        fields.clear();
        let mut count = 0;
        let mut at = start;
        loop {
            let (field, mut at_end) = match self.scan_field(bytes, at, ended) {
                Ok(found) => found,
                Err(scan) => return (scan, count),
            };
            count += 1;
            if count <= fields_max {
                fields.push(field);
            }
            if at_end < bytes.len() && bytes[at_end..].starts_with(&self.delimiter) {
                at = at_end + self.delimiter.len();
                continue;
            }
            let next = match self.line_break(bytes, at_end, ended) {
                Ok(len) => at_end + len,
                Err(scan) => return (scan, count),
            };
            if next == bytes.len() && !ended {
                return (Scan::NeedMore, count);
            }
            // Without a line break, a CR at the very end still belongs to one that was cut.
            if next == at_end && !field.quoted && self.breaks == Breaks::Lf && at_end > field.start && bytes[at_end - 1] == b'\r' {
                at_end -= 1;
                if let Some(last) = fields.last_mut().filter(|_| count <= fields_max) {
                    last.end = at_end;
                }
            }
            if count == 1 && at_end == start && !field.quoted {
                return (Scan::Blank { next: next.max(at_end) }, 0);
            }
            return (Scan::Record { end: at_end, next }, count);
        }
    }

    /// Length of the line break at `at`: 0 at the end of the file.
    fn line_break(&self, bytes: &[u8], at: usize, ended: bool) -> Result<usize, Scan> {
        match (bytes.get(at), bytes.get(at + 1)) {
            (None, _) if ended => Ok(0),
            (None, _) => Err(Scan::NeedMore),
            (Some(b'\n'), _) => Ok(1),
            (Some(b'\r'), Some(b'\n')) => Ok(2),
            (Some(b'\r'), None) if !ended => Err(Scan::NeedMore),
            (Some(b'\r'), None) => Ok(1),
            (Some(b'\r'), _) if self.breaks == Breaks::Cr => Ok(1),
            _ => Err(Scan::Malformed { at }),
        }
    }

    /// One field and where it ends, quotes included.
    fn scan_field(&self, bytes: &[u8], at: usize, ended: bool) -> Result<(Field, usize), Scan> {
        match self.quote {
            Some(quote) if bytes.get(at) == Some(&quote) => self.scan_quoted(bytes, at + 1, quote, ended),
            _ => self.scan_plain(bytes, at, ended),
        }
    }

    fn scan_quoted(&self, bytes: &[u8], start: usize, quote: u8, ended: bool) -> Result<(Field, usize), Scan> {
        let open = if ended { Scan::Unterminated } else { Scan::NeedMore };
        let mut at = start;
        let mut escaped = false;
        loop {
            let found = match self.escape {
                Some(escape) if escape != quote => memchr2(quote, escape, &bytes[at..]),
                _ => memchr(quote, &bytes[at..]),
            };
            let Some(found) = found else { return Err(open) };
            let i = at + found;
            if bytes[i] != quote {
                if i + 1 >= bytes.len() {
                    return Err(open);
                }
                escaped = true;
                at = i + 2;
                continue;
            }
            match bytes.get(i + 1) {
                Some(b) if *b == quote => {
                    escaped = true;
                    at = i + 2;
                }
                None if !ended => return Err(Scan::NeedMore),
                _ => {
                    // A delimiter cut by the end of the bytes cannot be told from rubbish yet.
                    if !ended && bytes.len() - (i + 1) < self.delimiter.len() {
                        return Err(Scan::NeedMore);
                    }
                    return Ok((Field { start, end: i, quoted: true, escaped }, i + 1));
                }
            }
        }
    }

    fn scan_plain(&self, bytes: &[u8], start: usize, ended: bool) -> Result<(Field, usize), Scan> {
        let delimiter = self.delimiter[0];
        let escape = if self.quote.is_none() { self.escape } else { None };
        let mut at = start;
        let mut escaped = false;
        loop {
            let rest = &bytes[at.min(bytes.len())..];
            let found = match (self.breaks, escape) {
                (Breaks::Lf, None) => memchr2(delimiter, b'\n', rest),
                (Breaks::Lf, Some(escape)) => memchr3(delimiter, b'\n', escape, rest),
                (Breaks::Cr, None) => memchr3(delimiter, b'\n', b'\r', rest),
                (Breaks::Cr, Some(escape)) => rest.iter().position(|b| *b == delimiter || *b == escape || matches!(b, b'\n' | b'\r')),
            };
            let Some(found) = found else {
                return if ended {
                    Ok((Field { start, end: bytes.len(), quoted: false, escaped }, bytes.len()))
                } else {
                    Err(Scan::NeedMore)
                };
            };
            let i = at + found;
            let byte = bytes[i];
            if byte == delimiter && bytes[i..].starts_with(&self.delimiter) {
                return Ok((Field { start, end: i, quoted: false, escaped }, i));
            }
            if Some(byte) == escape {
                escaped = true;
                at = i + 2;
            } else if byte == b'\n' && self.breaks == Breaks::Lf {
                let end = if i > start && bytes[i - 1] == b'\r' { i - 1 } else { i };
                return Ok((Field { start, end, quoted: false, escaped }, end));
            } else if matches!(byte, b'\n' | b'\r') && byte != delimiter {
                return Ok((Field { start, end: i, quoted: false, escaped }, i));
            } else if !ended && bytes.len() - i < self.delimiter.len() {
                return Err(Scan::NeedMore);
            } else {
                at = i + 1;
            }
        }
    }

    /// Text of a field after unquoting, appended to `text`.
    pub(super) fn unquote(&self, bytes: &[u8], field: Field, out: &mut Vec<u8>) {
        let content = &bytes[field.start..field.end];
        if !field.escaped {
            out.extend_from_slice(content);
            return;
        }
        let mut i = 0;
        while i < content.len() {
            let byte = content[i];
            let next = content.get(i + 1).copied();
            let doubled = field.quoted && Some(byte) == self.quote && next == self.quote;
            let escape = Some(byte) == self.escape && next.is_some();
            // An escape protects what has a meaning; before anything else it is data itself.
            let protects = escape
                && (next == self.quote
                    || next == self.escape
                    || (!field.quoted && matches!(next, Some(b'\n' | b'\r')))
                    || (!field.quoted && next == self.delimiter.first().copied()));
            if doubled || protects {
                out.extend(next);
                i += 2;
            } else {
                out.push(byte);
                i += 1;
            }
        }
    }
}
