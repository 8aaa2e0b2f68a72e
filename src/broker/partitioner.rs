//! The partition of a key, computed here and passed explicitly: librdkafka's and Java's defaults
//! differ, and mixing them on one topic silently breaks co-partitioning.

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::position::Partition;

/// xxh3 (64 bits, seed 0) of the key, modulo the number of partitions.
pub fn partition_of(key: &[u8], partitions: u32) -> Partition {
    let n = u64::from(partitions.max(1));
    Partition(u32::try_from(xxh3_64(key) % n).expect("a remainder of a u32 fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_pinned() {
        // State lives on these partitions: a change here loses it.
        let golden: Vec<u32> = ["", "a", "b/k", "orders/0"].iter().map(|k| partition_of(k.as_bytes(), 32).0).collect();
        assert_eq!(golden, [2, 31, 17, 22]);
        assert_eq!(partition_of(b"x", 0), Partition(0));
    }
}
