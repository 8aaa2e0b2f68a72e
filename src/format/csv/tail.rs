//! The end of a file: padding that is no record.

use std::io::Read;

use crate::domain::reason::ReasonCode;
use crate::format::block::FileEvent;
use crate::format::feed::Feed;

/// Nothing but line breaks, NUL bytes and ^Z.
pub(super) fn is_padding(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| matches!(b, 0 | 0x1a | b'\n' | b'\r'))
}

/// Cuts NUL bytes and ^Z off the end of the file: padding is no record (drift.md §2.6).
pub(super) fn trim_tail<R: Read>(feed: &mut Feed<R>, events: &mut Vec<FileEvent>) {
    if !feed.ended {
        return;
    }
    let pad = |b: &u8| matches!(*b, 0 | 0x1a);
    let mut found = None;
    loop {
        let len = feed.buf.len();
        let line = feed.buf.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |i| i + 1);
        let content = feed.buf[..line].iter().rposition(|b| !pad(b)).map_or(0, |i| i + 1);
        let at_line_start = content == 0 || matches!(feed.buf[content - 1], b'\n' | b'\r');
        if content == line || (line < len && !at_line_start) {
            break;
        }
        found = Some(feed.buf[content]);
        feed.buf.truncate(content);
    }
    if let Some(byte) = found {
        let (reason, name) = if byte == 0 { (ReasonCode::NulByte, "NUL bytes") } else { (ReasonCode::ControlChar, "^Z") };
        events.push(FileEvent { reason, detail: format!("{name} at the end of the file are padding") });
    }
}
