//! Finds delimiters and line feeds 64 bytes at a time, without a branch per byte.

/// Positions of a delimiter byte and of LF, rising.
pub(super) struct Separators<'a> {
    bytes: &'a [u8],
    delimiter: u64,
    /// One bit per byte of the 64 at `base` that is still to be answered.
    mask: u64,
    base: usize,
    next: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;

impl<'a> Separators<'a> {
    pub(super) fn new(bytes: &'a [u8], delimiter: u8) -> Self {
        Self { bytes, delimiter: u64::from(delimiter) * ONES, mask: 0, base: 0, next: 0 }
    }

    #[inline]
    fn mask_of(&self, chunk: &[u8; 64]) -> u64 {
        let mut mask = 0;
        for (i, word) in chunk.chunks_exact(8).enumerate() {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            let word = u64::from_le_bytes(eight);
            let found = zero_bytes(word ^ self.delimiter) | zero_bytes(word ^ (u64::from(b'\n') * ONES));
            // Gathers the lowest bit of each byte into the highest byte; no two products collide.
            mask |= ((found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
        }
        mask
    }
}

/// 0x80 in every byte that is zero, exactly.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    !(((word & LOW) + LOW) | word | LOW)
}

impl Iterator for Separators<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            let rest = self.bytes.get(self.next..).filter(|rest| !rest.is_empty())?;
            self.base = self.next;
            self.next += 64;
            self.mask = match rest.first_chunk::<64>() {
                Some(chunk) => self.mask_of(chunk),
                None => {
                    let mut chunk = [0; 64];
                    chunk[..rest.len()].copy_from_slice(rest);
                    self.mask_of(&chunk)
                }
            };
        }
        let i = self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(self.base + i)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_separator_is_found_once(bytes in proptest::collection::vec(prop_oneof![Just(b','), Just(b'\n'), Just(b'-'), 1u8..], 0..300)) {
            let expected: Vec<usize> = (0..bytes.len()).filter(|i| matches!(bytes[*i], b',' | b'\n')).collect();
            prop_assert_eq!(Separators::new(&bytes, b',').collect::<Vec<_>>(), expected);
        }
    }
}
