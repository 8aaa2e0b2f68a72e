//! The sliding buffer between the byte layers and the record readers.

use std::io::Read;

use super::block::Place;
use super::compression::Inflow;
use super::encoding::{decode, undecoded_len};
use super::options::Encoding;
use super::reader::ReadError;

/// Decoded bytes from a known place on. Readers fill it to a size that depends on the content only,
/// so blocks do not depend on how the input cuts its reads.
pub(super) struct Feed<R: Read> {
    pub(super) inflow: Inflow<R>,
    pub(super) buf: Vec<u8>,
    /// Where `buf` starts in the decompressed, undecoded stream.
    pub(super) offset: u64,
    /// Nothing comes after `buf`.
    pub(super) ended: bool,
    pub(super) encoding: Encoding,
    pending: Vec<u8>,
}

impl<R: Read> Feed<R> {
    pub(super) fn new(inflow: Inflow<R>) -> Self {
        Self { inflow, buf: Vec::new(), offset: 0, ended: false, encoding: Encoding::Utf8, pending: Vec::new() }
    }

    /// Reads until `buf` holds at least `target` bytes or the file ends.
    pub(super) fn fill(&mut self, target: usize) -> Result<(), ReadError> {
        if self.offset > 0 && !self.ended {
            // Not the first block: the file is not small.
            self.buf.reserve(target.saturating_sub(self.buf.len()));
        }
        while self.buf.len() < target && !self.ended {
            let wanted = target - self.buf.len();
            if self.encoding == Encoding::Utf8 {
                self.ended = self.inflow.append(&mut self.buf, wanted)? == 0;
            } else {
                self.ended = self.inflow.append(&mut self.pending, wanted)? == 0;
                decode(self.encoding, &mut self.pending, self.ended, &mut self.buf);
            }
        }
        Ok(())
    }

    /// Drops `len` bytes from the front.
    pub(super) fn drop_front(&mut self, len: usize) {
        self.offset += undecoded_len(self.encoding, &self.buf[..len]);
        self.buf.drain(..len);
    }

    /// Takes the first `len` bytes out, as they lie, without copying them.
    pub(super) fn take_front(&mut self, len: usize) -> Vec<u8> {
        self.offset += undecoded_len(self.encoding, &self.buf[..len]);
        let rest = self.buf.split_off(len);
        std::mem::replace(&mut self.buf, rest)
    }

    /// Reads everything not yet handed on in another encoding. Only from UTF-8, where the buffer
    /// holds the bytes as stored.
    pub(super) fn switch_encoding(&mut self, encoding: Encoding) {
        debug_assert!(self.encoding == Encoding::Utf8, "only undecoded bytes can be decoded again");
        if encoding == Encoding::Utf8 {
            return;
        }
        self.encoding = encoding;
        self.pending = std::mem::take(&mut self.buf);
        decode(encoding, &mut self.pending, self.ended, &mut self.buf);
    }
}

/// Places of rising positions of a buffer in the undecoded stream.
pub(super) struct Ruler {
    pub(super) encoding: Encoding,
    at: usize,
    offset: u64,
}

impl Ruler {
    /// `offset`: where the buffer starts.
    pub(super) fn new(encoding: Encoding, offset: u64) -> Self {
        Self { encoding, at: 0, offset }
    }

    /// The place of `bytes[start..end]`; never before the one asked for last.
    pub(super) fn place(&mut self, bytes: &[u8], row: u64, line: u64, start: usize, end: usize) -> Place {
        self.offset += undecoded_len(self.encoding, &bytes[self.at..start]);
        self.at = start;
        let len = undecoded_len(self.encoding, &bytes[start..end]);
        Place { row, line, byte_offset: self.offset, byte_len: u32::try_from(len).unwrap_or(u32::MAX) }
    }
}
