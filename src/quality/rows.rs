//! Sets of rows by zero-based input position, one bit per row.

/// Positions of rows. Equal sets compare equal whatever way they were filled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowSet {
    /// The last word is never zero.
    words: Vec<u64>,
}

impl RowSet {
    pub fn insert(&mut self, row: u64) {
        let word = (row / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (row % 64);
    }

    pub fn contains(&self, row: u64) -> bool {
        self.words.get((row / 64) as usize).is_some_and(|w| w & (1 << (row % 64)) != 0)
    }

    pub fn count(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Positions in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().enumerate().flat_map(|(idx, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = u64::from(rest.trailing_zeros());
                rest &= rest - 1;
                Some(idx as u64 * 64 + bit)
            })
        })
    }

    pub fn union_with(&mut self, other: &RowSet) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    pub fn intersect_with(&mut self, other: &RowSet) {
        self.words.truncate(other.words.len());
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine &= theirs;
        }
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    /// Adds the rows of an input that follows `by` rows of this one.
    pub fn union_shifted(&mut self, other: &RowSet, by: u64) {
        if by.is_multiple_of(64) && by / 64 >= self.words.len() as u64 && !other.is_empty() {
            self.words.resize((by / 64) as usize, 0);
            self.words.extend_from_slice(&other.words);
            return;
        }
        for row in other.iter() {
            self.insert(row + by);
        }
    }
}

impl FromIterator<u64> for RowSet {
    fn from_iter<I: IntoIterator<Item = u64>>(rows: I) -> Self {
        let mut set = Self::default();
        rows.into_iter().for_each(|row| set.insert(row));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_row_set_is_a_set(a in prop::collection::btree_set(0u64..300, 0..40), b in prop::collection::btree_set(0u64..300, 0..40), by in 0u64..200) {
            let set = |rows: &BTreeSet<u64>| rows.iter().copied().collect::<RowSet>();
            let (mut union, mut both, mut shifted) = (set(&a), set(&a), set(&a));
            union.union_with(&set(&b));
            both.intersect_with(&set(&b));
            shifted.union_shifted(&set(&b), by);
            prop_assert_eq!(union, set(&a.union(&b).copied().collect()));
            prop_assert_eq!(both, set(&a.intersection(&b).copied().collect()));
            prop_assert_eq!(shifted, set(&a.iter().copied().chain(b.iter().map(|r| r + by)).collect()));
            prop_assert_eq!(set(&a).iter().collect::<BTreeSet<_>>(), a.clone());
            prop_assert_eq!(set(&a).count(), a.len() as u64);
        }
    }
}
