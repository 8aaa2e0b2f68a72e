//! Limits of one batch, resolved from a contract (contract.md, `transform.batch`).

use std::num::NonZeroU32;

use sha2::{Digest, Sha256};

use crate::domain::time::Span;
use crate::domain::units::ByteSize;

/// When a batch is full or old enough. A single object larger than a limit is a batch of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of source objects, not of messages. Default 128 MiB: one Parquet row group's worth.
    pub max_bytes: ByteSize,
    /// Source objects. Default 1000, so that a plan stays one record.
    pub max_files: u64,
    /// Rows counted by classify. Default 5 000 000.
    pub max_rows: u64,
    /// Longest a batch stays open after its first member. Default 30 s.
    pub linger: Span,
    /// Seals after so long without an arrival; zero turns it off. Default 2 s (decisions.md 21).
    pub quiet: Span,
    /// Shards of the dataset. Default 4 (decisions.md 14).
    pub shards: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: ByteSize::mib(128),
            max_files: 1000,
            max_rows: 5_000_000,
            linger: Span::from_secs(30),
            quiet: Span::from_secs(2),
            shards: NonZeroU32::MIN.saturating_add(3),
        }
    }
}

/// Shard of a dataset: a function of the content hash, so that equal bytes meet in one shard
/// (decisions.md 14). Any text works; it is hashed again, so that its alphabet does not matter.
pub fn shard_of(content_sha256: &str, shards: NonZeroU32) -> u32 {
    let digest = Sha256::digest(content_sha256.as_bytes());
    let head = digest.iter().take(8).fold(0u64, |n, byte| (n << 8) | u64::from(*byte));
    let shard = head % u64::from(shards.get());
    u32::try_from(shard).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_documented_ones() {
        let limits = Limits::default();
        assert_eq!(limits.max_bytes.to_string(), "128 MiB");
        assert_eq!((limits.max_files, limits.max_rows, limits.shards.get()), (1000, 5_000_000, 4));
        assert_eq!((limits.linger.to_string(), limits.quiet.to_string()), ("30s".to_owned(), "2s".to_owned()));
    }

    #[test]
    fn equal_content_meets_in_one_shard_and_shards_fill_evenly() {
        let four = Limits::default().shards;
        assert_eq!(shard_of("abc", four), shard_of("abc", four));
        let mut counts = [0u32; 4];
        for n in 0..4000 {
            counts[shard_of(&format!("{n:064x}"), four) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
        assert_eq!(shard_of("anything", NonZeroU32::MIN), 0);
    }
}
