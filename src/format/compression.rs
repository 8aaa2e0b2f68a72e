//! Stored bytes → decompressed bytes: magic bytes decide, checksums are checked, bombs are stopped.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};

use super::block::{FileEvent, FileRefusal};
use super::options::{Compression, Limits};
use super::reader::ReadError;
use crate::domain::reason::ReasonCode;

/// Bytes read from the input at once.
const CHUNK: usize = 64 << 10;

/// The first chunk: most files are small, and clearing a large buffer costs more than reading them.
const FIRST_CHUNK: usize = 8 << 10;

/// Windows of zstd frames above 2^27 bytes (128 MiB) are refused, as zstd itself does by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The stored bytes, counted and hashed as they pass. Chunks are filled to the brim, so what the
/// layers above see does not depend on how the input cuts its reads.
pub(super) struct Stored<R> {
    input: R,
    hasher: Sha256,
    read: u64,
    buf: Vec<u8>,
    at: usize,
    ended: bool,
    /// An error of the input, kept apart from what decoders say about the bytes.
    fault: Option<io::Error>,
}

impl<R: Read> Stored<R> {
    fn new(input: R) -> Self {
        Self { input, hasher: Sha256::new(), read: 0, buf: Vec::new(), at: 0, ended: false, fault: None }
    }

    /// Bytes consumed by the layer above.
    fn consumed(&self) -> u64 {
        self.read - (self.buf.len() - self.at) as u64
    }

    fn refill(&mut self) -> io::Result<()> {
        let chunk = if self.read == 0 { FIRST_CHUNK } else { CHUNK };
        self.buf.resize(chunk, 0);
        self.at = 0;
        let mut len = 0;
        while len < chunk && !self.ended {
            match self.input.read(&mut self.buf[len..]) {
                Ok(0) => self.ended = true,
                Ok(n) => len += n.min(chunk - len),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let kind = e.kind();
                    self.buf.truncate(len);
                    self.fault = Some(e);
                    return Err(io::Error::from(kind));
                }
            }
        }
        self.buf.truncate(len);
        self.hasher.update(&self.buf);
        self.read += len as u64;
        Ok(())
    }
}

impl<R: Read> Stored<R> {
    /// Appends at most `max` bytes; 0 at the end.
    fn append(&mut self, out: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(max);
        out.extend_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// Appends at most `max` bytes of what a decoder gives.
fn decoded(decoder: &mut impl Read, out: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    let len = out.len();
    out.resize(len + max.min(CHUNK), 0);
    let result = decoder.read(&mut out[len..]);
    out.truncate(len + *result.as_ref().unwrap_or(&0));
    result
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(out.len());
        out[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Stored<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buf.len() && !self.ended {
            self.refill()?;
        }
        Ok(&self.buf[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.buf.len());
    }
}

enum Codec<R: Read> {
    Plain(Stored<R>),
    Gzip(Box<GzDecoder<Stored<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Stored<R>>>),
    /// Only while a gzip member is exchanged for the next one, and after an error.
    Spent,
}

/// The decompressed stream.
pub(super) struct Inflow<R: Read> {
    codec: Codec<R>,
    pub(super) compression: Compression,
    pub(super) decompressed: u64,
    pub(super) event: Option<FileEvent>,
    limit: u64,
    ratio: u64,
    ratio_above: u64,
}

impl<R: Read> Inflow<R> {
    /// Looks at the magic bytes and prepares the decoder.
    pub(super) fn open(input: R, limits: &Limits) -> Result<Self, ReadError> {
        let mut stored = Stored::new(input);
        let head = match stored.fill_buf() {
            Ok(head) => &head[..head.len().min(16)],
            Err(e) => return Err(ReadError::Input(stored.fault.take().unwrap_or(e))),
        };
        if let Some(name) = unsupported(head) {
            return Err(refuse(ReasonCode::UnsupportedCompression, format!("{name} content; only gzip and zstd are read")));
        }
        let compression = magic(head);
        let codec = match compression {
            Compression::None => Codec::Plain(stored),
            Compression::Gzip => Codec::Gzip(Box::new(GzDecoder::new(stored))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(ReadError::Input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(ReadError::Input)?;
                Codec::Zstd(Box::new(decoder))
            }
        };
        Ok(Self {
            codec,
            compression,
            decompressed: 0,
            event: None,
            limit: limits.decompressed_bytes.bytes(),
            ratio: limits.compression_ratio,
            ratio_above: limits.ratio_applies_above.bytes(),
        })
    }

    /// Appends the next bytes, at most `max`; 0 at the end of the file.
    ///
    /// # Errors
    /// Refused: truncated or corrupt compression, bombs (drift.md §2.11). Input: the input itself.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, max: usize) -> Result<usize, ReadError> {
        loop {
            let result = match &mut self.codec {
                Codec::Plain(stored) => stored.append(out, max),
                Codec::Gzip(decoder) => decoded(decoder, out, max),
                Codec::Zstd(decoder) => decoded(decoder, out, max),
                Codec::Spent => Ok(0),
            };
            match result {
                Ok(0) => {
                    if !self.next_member()? {
                        return Ok(0);
                    }
                }
                Ok(n) => {
                    self.decompressed += n as u64;
                    self.check_bomb()?;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.explain(e)),
            }
        }
    }

    /// Counts and digest of the stored bytes: valid at the end of the stream.
    pub(super) fn stored(&self) -> (u64, [u8; 32]) {
        match self.stored_ref() {
            Some(stored) => (stored.read, stored.hasher.clone().finalize().into()),
            None => (0, [0; 32]),
        }
    }

    fn stored_ref(&self) -> Option<&Stored<R>> {
        match &self.codec {
            Codec::Plain(stored) => Some(stored),
            Codec::Gzip(decoder) => Some(decoder.get_ref()),
            Codec::Zstd(decoder) => Some(decoder.get_ref()),
            Codec::Spent => None,
        }
    }

    /// After a gzip member: the next one, or the end. Zero padding is tolerated, other bytes are an event.
    fn next_member(&mut self) -> Result<bool, ReadError> {
        if !matches!(self.codec, Codec::Gzip(_)) {
            return Ok(false);
        }
        let Codec::Gzip(decoder) = std::mem::replace(&mut self.codec, Codec::Spent) else { return Ok(false) };
        let mut stored = decoder.into_inner();
        let mut trailing = 0u64;
        loop {
            let have = match stored.fill_buf() {
                Ok(have) => have,
                Err(e) => return Err(ReadError::Input(stored.fault.take().unwrap_or(e))),
            };
            if have.is_empty() {
                break;
            }
            if trailing == 0 && have[0] == 0x1f && (have.len() == 1 || have[1] == 0x8b) {
                self.codec = Codec::Gzip(Box::new(GzDecoder::new(stored)));
                return Ok(true);
            }
            let zeros = if trailing == 0 { have.iter().take_while(|b| **b == 0).count() } else { 0 };
            let n = if zeros > 0 { zeros } else { have.len() };
            if zeros == 0 {
                trailing += n as u64;
            }
            stored.consume(n);
        }
        if trailing > 0 {
            let detail = format!("{trailing} bytes after the last gzip member are ignored");
            self.event = Some(FileEvent { reason: ReasonCode::CompressionMismatch, detail });
        }
        self.codec = Codec::Plain(stored);
        Ok(false)
    }

    fn check_bomb(&self) -> Result<(), ReadError> {
        if self.compression == Compression::None {
            return Ok(());
        }
        if self.decompressed > self.limit {
            return Err(refuse(ReasonCode::DecompressionBomb, format!("more than {} bytes come out of the compressed file", self.limit)));
        }
        let consumed = self.stored_ref().map_or(0, Stored::consumed).max(1);
        if self.decompressed > self.ratio_above && self.decompressed / consumed > self.ratio {
            let detail = format!("{} bytes came out of {consumed}: more than {} to 1", self.decompressed, self.ratio);
            return Err(refuse(ReasonCode::DecompressionBomb, detail));
        }
        Ok(())
    }

    /// What a decoder's error means for the file.
    fn explain(&mut self, error: io::Error) -> ReadError {
        let fault = match &mut self.codec {
            Codec::Plain(stored) => stored.fault.take(),
            Codec::Gzip(decoder) => decoder.get_mut().fault.take(),
            Codec::Zstd(decoder) => decoder.get_mut().fault.take(),
            Codec::Spent => None,
        };
        if let Some(fault) = fault {
            return ReadError::Input(fault);
        }
        if self.compression == Compression::None {
            return ReadError::Input(error);
        }
        let at = self.decompressed;
        let text = error.to_string();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            refuse(ReasonCode::TruncatedCompression, format!("the compressed stream ends early, after {at} decompressed bytes"))
        } else if text.contains("too much memory") {
            refuse(ReasonCode::UnsupportedCompression, format!("the zstd window is larger than 2^{ZSTD_WINDOW_LOG_MAX} bytes"))
        } else {
            refuse(ReasonCode::CorruptCompression, format!("{text}, after {at} decompressed bytes"))
        }
    }
}

fn refuse(reason: ReasonCode, detail: String) -> ReadError {
    ReadError::Refused(FileRefusal { reason, detail })
}

/// Compression by magic bytes.
pub(super) fn magic(head: &[u8]) -> Compression {
    let skippable = head.len() >= 4 && (0x50..=0x5f).contains(&head[0]) && head[1..4] == [0x2a, 0x4d, 0x18];
    if head.starts_with(&[0x1f, 0x8b]) {
        Compression::Gzip
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
        Compression::Zstd
    } else {
        Compression::None
    }
}

/// Containers that are recognized in order to be refused by name.
pub(super) fn unsupported(head: &[u8]) -> Option<&'static str> {
    const MAGICS: [(&[u8], &str); 9] = [
        (b"PK\x03\x04", "zip"),
        (b"PK\x05\x06", "zip"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"\xff\x06\x00\x00sNaPpY", "snappy"),
        (b"\x1f\x9d", "compress"),
        (b"Rar!\x1a\x07", "rar"),
        (b"LZIP\x01", "lzip"),
    ];
    if head.len() >= 10 && head.starts_with(b"BZh") && head[3].is_ascii_digit() && &head[4..10] == b"1AY&SY" {
        return Some("bzip2");
    }
    MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name)
}
