//! Text encodings → UTF-8, without ever inventing U+FFFD.
//!
//! What cannot be decoded becomes bytes that are no UTF-8 (a lone surrogate in three bytes, else
//! `0xff`), so the record that holds it is found bad by the same check as in a UTF-8 file.

use super::options::Encoding;

/// Stands for what has no character.
const UNDECODABLE: u8 = 0xff;

/// Bytes 0x80 to 0x9f of windows-1252; 0 where nothing is assigned.
const CP1252: [u16; 32] = [
    0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0, 0, 0x2018, 0x2019,
    0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e, 0x0178,
];

/// Encoding by byte order mark, with the mark's length.
pub(super) fn by_mark(head: &[u8]) -> Option<(Encoding, usize)> {
    if head.starts_with(&[0xef, 0xbb, 0xbf]) {
        Some((Encoding::Utf8, 3))
    } else if head.starts_with(&[0xff, 0xfe, 0, 0]) {
        Some((Encoding::Utf32Le, 4))
    } else if head.starts_with(&[0, 0, 0xfe, 0xff]) {
        Some((Encoding::Utf32Be, 4))
    } else if head.starts_with(&[0xff, 0xfe]) {
        Some((Encoding::Utf16Le, 2))
    } else if head.starts_with(&[0xfe, 0xff]) {
        Some((Encoding::Utf16Be, 2))
    } else {
        None
    }
}

/// Encoding by where NUL bytes stand: text has them in every second (or three of four) places only
/// when it is UTF-16 (or UTF-32).
pub(super) fn by_nul_pattern(head: &[u8]) -> Option<Encoding> {
    let head = &head[..head.len().min(4096) & !3];
    if head.len() < 8 {
        return by_nul_pattern_short(head);
    }
    let mut nuls = [0usize; 4];
    for quad in head.chunks_exact(4) {
        for (n, b) in nuls.iter_mut().zip(quad) {
            *n += usize::from(*b == 0);
        }
    }
    let quads = head.len() / 4;
    let many = |n: usize| n * 5 > quads * 2;
    let few = |n: usize| n * 20 <= quads;
    match nuls {
        [a, b, c, d] if few(a) && many(b) && c == quads && d == quads => Some(Encoding::Utf32Le),
        [a, b, c, d] if few(d) && many(c) && a == quads && b == quads => Some(Encoding::Utf32Be),
        [a, b, c, d] if few(a) && few(c) && many(b) && many(d) => Some(Encoding::Utf16Le),
        [a, b, c, d] if few(b) && few(d) && many(a) && many(c) => Some(Encoding::Utf16Be),
        _ => None,
    }
}

/// With one quad only, all of it must fit.
fn by_nul_pattern_short(quad: &[u8]) -> Option<Encoding> {
    match quad {
        [a, 0, c, 0] if *a != 0 && *c != 0 => Some(Encoding::Utf16Le),
        [0, b, 0, d] if *b != 0 && *d != 0 => Some(Encoding::Utf16Be),
        _ => None,
    }
}

/// Decodes all of `pending` that is complete onto `out` and leaves the rest there; at the end of the
/// file nothing is left.
pub(super) fn decode(encoding: Encoding, pending: &mut Vec<u8>, end: bool, out: &mut Vec<u8>) {
    let used = match encoding {
        Encoding::Utf8 => {
            out.extend_from_slice(pending);
            pending.len()
        }
        Encoding::Latin1 => {
            for b in pending.iter() {
                push_char(out, u32::from(*b));
            }
            pending.len()
        }
        Encoding::Cp1252 => {
            for b in pending.iter() {
                let code = if (0x80..0xa0).contains(b) { u32::from(CP1252[usize::from(*b - 0x80)]) } else { u32::from(*b) };
                if code == 0 && *b != 0 { out.push(UNDECODABLE) } else { push_char(out, code) }
            }
            pending.len()
        }
        Encoding::Utf16Le => utf16(pending, end, out, u16::from_le_bytes),
        Encoding::Utf16Be => utf16(pending, end, out, u16::from_be_bytes),
        Encoding::Utf32Le => utf32(pending, out, u32::from_le_bytes),
        Encoding::Utf32Be => utf32(pending, out, u32::from_be_bytes),
    };
    pending.drain(..used);
    if end {
        out.extend(pending.drain(..).map(|_| UNDECODABLE));
    }
}

fn utf16(pending: &[u8], end: bool, out: &mut Vec<u8>, unit: fn([u8; 2]) -> u16) -> usize {
    let units = pending.len() / 2;
    let at = |i: usize| unit([pending[2 * i], pending[2 * i + 1]]);
    let mut i = 0;
    while i < units {
        let high = at(i);
        if (0xd800..0xdc00).contains(&high) {
            if i + 1 == units && !end {
                break;
            }
            let low = if i + 1 < units { at(i + 1) } else { 0 };
            if (0xdc00..0xe000).contains(&low) {
                push_char(out, 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(low) - 0xdc00));
                i += 2;
                continue;
            }
        }
        push_char(out, u32::from(high));
        i += 1;
    }
    2 * i
}

fn utf32(pending: &[u8], out: &mut Vec<u8>, unit: fn([u8; 4]) -> u32) -> usize {
    let quads = pending.len() / 4;
    for quad in pending.chunks_exact(4) {
        let code = unit([quad[0], quad[1], quad[2], quad[3]]);
        // Four undecodable bytes keep the arithmetic of `undecoded_len` exact.
        if code > 0x10_ffff { out.extend_from_slice(&[UNDECODABLE; 4]) } else { push_char(out, code) }
    }
    4 * quads
}

/// Writes a code point; a surrogate in its three-byte form, which is no UTF-8.
fn push_char(out: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(c) if c.is_ascii() => out.push(code as u8),
        Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend_from_slice(&[0xe0 | (code >> 12) as u8, 0x80 | (code >> 6 & 0x3f) as u8, 0x80 | (code & 0x3f) as u8]),
    }
}

/// Bytes that `decoded` took up in the file.
pub(super) fn undecoded_len(encoding: Encoding, decoded: &[u8]) -> u64 {
    let per_char: fn(u8) -> u64 = match encoding {
        Encoding::Utf8 => return decoded.len() as u64,
        Encoding::Latin1 | Encoding::Cp1252 => |_| 1,
        Encoding::Utf16Le | Encoding::Utf16Be => |lead| match lead {
            UNDECODABLE => 1,
            0xf0.. => 4,
            _ => 2,
        },
        Encoding::Utf32Le | Encoding::Utf32Be => |lead| if lead == UNDECODABLE { 1 } else { 4 },
    };
    decoded.iter().filter(|b| !(0x80..0xc0).contains(*b)).map(|b| per_char(*b)).sum()
}
