//! Places in topics and what may be committed.
//!
//! `Offset` is a record's own place; `NextOffset` is what gets committed, and only
//! [`Offset::next`] makes one from a record.

use std::collections::BTreeMap;
use std::fmt;

use crate::domain::names::TopicName;

/// Partition number of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: TopicName,
    pub partition: Partition,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition.0)
    }
}

/// A record's own place in its partition, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The position after this record: what is committed once it is processed.
    pub fn next(self) -> NextOffset {
        NextOffset(self.0 + 1)
    }
}

/// The offset of the next record to read: a position, never a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NextOffset(pub u64);

/// Positions of several partitions; merging takes the later one, so it is commutative and idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Positions(BTreeMap<TopicPartition, NextOffset>);

impl Positions {
    /// Moves the position of `tp` past `offset`; never backwards.
    pub fn advance(&mut self, tp: &TopicPartition, next: NextOffset) {
        match self.0.get_mut(tp) {
            Some(at) => *at = (*at).max(next),
            None => {
                self.0.insert(tp.clone(), next);
            }
        }
    }

    pub fn merge(&mut self, other: &Positions) {
        for (tp, next) in &other.0 {
            self.advance(tp, *next);
        }
    }

    pub fn get(&self, tp: &TopicPartition) -> Option<NextOffset> {
        self.0.get(tp).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, NextOffset)> {
        self.0.iter().map(|(tp, next)| (tp, *next))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positions(entries: &[(u32, u64)]) -> Positions {
        let mut p = Positions::default();
        for (partition, next) in entries {
            let tp = TopicPartition { topic: "landing".parse().expect("valid"), partition: Partition(*partition) };
            p.advance(&tp, NextOffset(*next));
        }
        p
    }

    proptest! {
        #[test]
        fn merge_is_commutative_and_idempotent(a in proptest::collection::vec((0u32..4, 0u64..50), 0..8), b in proptest::collection::vec((0u32..4, 0u64..50), 0..8)) {
            let (a, b) = (positions(&a), positions(&b));
            let mut ab = a.clone();
            ab.merge(&b);
            let mut ba = b.clone();
            ba.merge(&a);
            prop_assert_eq!(&ab, &ba);
            let once = ab.clone();
            ab.merge(&b);
            prop_assert_eq!(ab, once);
        }
    }
}
