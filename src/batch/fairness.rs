//! Deficit round robin over datasets: whose sealed batch is emitted next, by bytes.
//!
//! A dataset that lands huge files gets its share of bytes, not of turns, and one with a thousand
//! small batches cannot starve the others (engine.md §6).

use std::collections::{BTreeMap, VecDeque};

use crate::domain::names::DatasetName;

/// A sealed batch that waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub shard: u32,
    pub seq: u64,
    pub bytes: u64,
}

/// The queue of one worker. Batches of one dataset leave in the order they came.
#[derive(Debug, Clone)]
pub struct Fairness {
    quantum: u64,
    turns: VecDeque<DatasetName>,
    queues: BTreeMap<DatasetName, Queue>,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    deficit: u64,
    waiting: VecDeque<Waiting>,
}

impl Fairness {
    /// `quantum`: bytes a dataset gains per round; at least 1. A good one is `max_bytes` of a batch.
    pub fn new(quantum: u64) -> Self {
        Self { quantum: quantum.max(1), turns: VecDeque::new(), queues: BTreeMap::new() }
    }

    /// A queue that was stored: whose turn it is, each dataset's credit, and its next batches. A dataset without
    /// any has no turn.
    pub fn resume(quantum: u64, turns: impl IntoIterator<Item = (DatasetName, u64, Vec<Waiting>)>) -> Self {
        let mut line = Self::new(quantum);
        for (dataset, deficit, waiting) in turns {
            for batch in waiting {
                line.push(&dataset, batch);
            }
            if let Some(queue) = line.queues.get_mut(&dataset) {
                queue.deficit = deficit;
            }
        }
        line
    }

    /// Datasets that wait, from the one whose turn it is, with their credit: what [`Fairness::resume`] takes.
    pub fn turns(&self) -> impl Iterator<Item = (&DatasetName, u64)> {
        self.turns.iter().map(|d| (d, self.queues.get(d).map_or(0, |q| q.deficit)))
    }

    /// Lines a batch up behind the others of its dataset.
    pub fn push(&mut self, dataset: &DatasetName, waiting: Waiting) {
        let queue = self.queues.entry(dataset.clone()).or_insert_with(|| {
            self.turns.push_back(dataset.clone());
            Queue::default()
        });
        queue.waiting.push_back(waiting);
    }

    /// Batches in line.
    pub fn len(&self) -> usize {
        self.queues.values().map(|q| q.waiting.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The batch whose turn it is. An empty batch costs one byte, so a turn always ends.
    pub fn pop(&mut self) -> Option<(DatasetName, Waiting)> {
        self.skip_idle_rounds();
        loop {
            let dataset = self.turns.front()?.clone();
            let queue = self.queues.get_mut(&dataset)?;
            let cost = queue.waiting.front().map(|w| w.bytes.max(1))?;
            if queue.deficit < cost {
                queue.deficit = queue.deficit.saturating_add(self.quantum);
                self.turns.rotate_left(1);
                continue;
            }
            queue.deficit -= cost;
            let waiting = queue.waiting.pop_front()?;
            if queue.waiting.is_empty() {
                // Credit does not outlive the queue: an idle dataset saves nothing up.
                self.queues.remove(&dataset);
                self.turns.pop_front();
            }
            return Some((dataset, waiting));
        }
    }

    /// Grants whole rounds at once where nobody could pay before, so that `pop` turns at most twice
    /// around, however small the quantum.
    fn skip_idle_rounds(&mut self) {
        let quantum = self.quantum;
        let rounds = |q: &Queue| q.waiting.front().map(|w| w.bytes.max(1).saturating_sub(q.deficit).div_ceil(quantum));
        let idle = self.queues.values().filter_map(rounds).min().unwrap_or(0).saturating_sub(1);
        for queue in self.queues.values_mut() {
            queue.deficit = queue.deficit.saturating_add(idle.saturating_mul(quantum));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DatasetName {
        text.parse().expect("a dataset name")
    }

    fn waiting(seq: u64, bytes: u64) -> Waiting {
        Waiting { shard: 0, seq, bytes }
    }

    #[test]
    fn a_crowd_of_small_batches_does_not_starve_a_large_one() {
        let mut line = Fairness::new(100);
        for seq in 0..1000 {
            line.push(&name("small"), waiting(seq, 1));
        }
        line.push(&name("large"), waiting(0, 100));
        let position = std::iter::from_fn(|| line.pop()).position(|(d, _)| d == name("large")).expect("it comes");
        assert!(position <= 100, "the large batch came after {position} others");
    }

    #[test]
    fn bytes_are_shared_evenly_whatever_the_sizes() {
        let mut line = Fairness::new(100);
        for seq in 0..400 {
            line.push(&name("a"), waiting(seq, 10));
            line.push(&name("b"), waiting(seq, 90));
        }
        let (mut a, mut b) = (0u64, 0u64);
        while a + b < 6000 {
            let (dataset, batch) = line.pop().expect("both still wait");
            if dataset == name("a") { a += batch.bytes } else { b += batch.bytes }
        }
        assert!(a.abs_diff(b) <= 200, "{a} bytes against {b}");
    }

    #[test]
    fn a_tiny_quantum_and_a_huge_batch_do_not_spin() {
        let mut line = Fairness::new(0);
        line.push(&name("a"), waiting(0, u64::MAX));
        line.push(&name("b"), waiting(0, u64::MAX - 1));
        assert_eq!(line.pop().map(|(d, _)| d), Some(name("b")));
        assert_eq!(line.pop().map(|(d, _)| d), Some(name("a")));
        assert_eq!(line.pop(), None);
        assert!(line.is_empty());
    }

    proptest! {
        #[test]
        fn a_queue_stored_between_any_two_turns_gives_the_same_order(sizes in proptest::collection::vec((0u8..4, 0u64..500), 0..60), quantum in 1u64..300) {
            let mut whole = Fairness::new(quantum);
            for (seq, (dataset, bytes)) in sizes.iter().enumerate() {
                whole.push(&name(&format!("d{dataset}")), waiting(seq as u64, *bytes));
            }
            let mut stored = whole.clone();
            loop {
                let turns: Vec<_> = stored.turns().map(|(d, deficit)| (d.clone(), deficit, Vec::from_iter(stored.queues[d].waiting.iter().copied()))).collect();
                stored = Fairness::resume(quantum, turns);
                let next = whole.pop();
                prop_assert_eq!(stored.pop(), next.clone());
                if next.is_none() {
                    break;
                }
            }
        }

        #[test]
        fn nothing_is_lost_and_each_dataset_keeps_its_order(sizes in proptest::collection::vec((0u8..4, 0u64..500), 0..100), quantum in 0u64..300) {
            let mut line = Fairness::new(quantum);
            for (seq, (dataset, bytes)) in sizes.iter().enumerate() {
                line.push(&name(&format!("d{dataset}")), waiting(seq as u64, *bytes));
            }
            prop_assert_eq!(line.len(), sizes.len());
            let mut came: BTreeMap<DatasetName, Vec<u64>> = BTreeMap::new();
            while let Some((dataset, batch)) = line.pop() {
                came.entry(dataset).or_default().push(batch.seq);
            }
            prop_assert_eq!(came.values().map(Vec::len).sum::<usize>(), sizes.len());
            prop_assert!(came.values().all(|seqs| seqs.is_sorted()));
        }
    }
}
