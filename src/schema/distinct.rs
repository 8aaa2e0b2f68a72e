//! Distinct fingerprints in the order they were first met, each with what is kept of it.
//!
//! A million fingerprints are a million waits for memory, unless several of them are waited for at a time. So entries
//! lie one behind the other, a table holds their places only, and [`Distinct::touch`] asks for the places of the next
//! fingerprints before the first of them is looked up. Measured against `hashbrown`: docs/performance.md.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// Fingerprints worth touching at once: more would push each other out of the nearest cache.
pub const TOUCHED: usize = 64;

/// A map from 128-bit fingerprints to `V`: 16 bytes and `V` per entry, and 16 to 32 bytes of table.
#[derive(Debug, Clone)]
pub struct Distinct<V> {
    /// Open addressing, at most half full: zero, or the upper half of a hash and one more than the entry's place.
    slots: Vec<u64>,
    entries: Vec<(u128, V)>,
    seeds: Seeds,
}

impl<V> Default for Distinct<V> {
    fn default() -> Self {
        Self { slots: Vec::new(), entries: Vec::new(), seeds: *SEEDS }
    }
}

/// By chance, so that no file can be made whose values all want one slot. What comes out does not depend on them.
static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds([0, 1, 2].map(|n| RandomState::new().hash_one(n))));

#[derive(Debug, Clone, Copy)]
struct Seeds([u64; 3]);

impl Seeds {
    /// Folded products, twice, as in wyhash. Fingerprints of numbers are their bits: neither end of them alone tells them
    /// apart, and one product of a counted number is still counted in its lower bits.
    #[inline]
    fn hash(self, fingerprint: u128) -> u64 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            product as u64 ^ (product >> 64) as u64
        };
        let once = fold(fingerprint as u64 ^ self.0[0], (fingerprint >> 64) as u64 ^ self.0[1]);
        fold(once ^ self.0[2], 0x9e37_79b9_7f4a_7c15)
    }
}

const TAG: u64 = !0 << 32;

/// What a slot of the entry at `place` holds.
#[inline]
fn slot(hash: u64, place: usize) -> u64 {
    let place = u32::try_from(place + 1).expect("memory ends before: 2^32 entries take more than 100 GB");
    (hash & TAG) | u64::from(place)
}

#[inline]
fn place(slot: u64) -> usize {
    (slot & !TAG) as usize - 1
}

impl<V> Distinct<V> {
    /// Makes room for `n` more.
    pub fn reserve(&mut self, n: usize) {
        self.entries.reserve(n);
        self.grow(self.entries.len().saturating_add(n));
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Asks for the memory that [`Distinct::meet`] will look at, all of it at once; at most [`TOUCHED`] pay.
    #[inline]
    pub fn touch(&self, fingerprints: impl IntoIterator<Item = u128>) {
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let touched = fingerprints.into_iter().fold(0, |all, print| all ^ self.slots[self.seeds.hash(print) as usize & mask]);
        std::hint::black_box(touched);
    }

    /// Keeps `first` if the fingerprint is met for the first time; else what was kept then.
    #[inline]
    pub fn meet(&mut self, fingerprint: u128, first: V) -> Option<&mut V> {
        if (self.entries.len() + 1) * 2 > self.slots.len() {
            self.grow(self.entries.len() * 2 + 2);
        }
        let (hash, mask) = (self.seeds.hash(fingerprint), self.slots.len() - 1);
        let mut at = hash as usize & mask;
        loop {
            let found = self.slots[at];
            if found == 0 {
                self.slots[at] = slot(hash, self.entries.len());
                self.entries.push((fingerprint, first));
                return None;
            }
            if found & TAG == hash & TAG && self.entries[place(found)].0 == fingerprint {
                return Some(&mut self.entries[place(found)].1);
            }
            at = (at + 1) & mask;
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u128, &V)> {
        self.entries.iter().map(|(fingerprint, kept)| (*fingerprint, kept))
    }

    /// Forgets all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        while self.entries.len() > len
            && let Some((fingerprint, _)) = self.entries.pop()
        {
            let (last, mask) = (self.entries.len(), self.slots.len() - 1);
            let mut at = self.seeds.hash(fingerprint) as usize & mask;
            while place(self.slots[at]) != last {
                at = (at + 1) & mask;
            }
            // The last to come: no other went past its slot.
            self.slots[at] = 0;
        }
    }

    /// Makes the table large enough for `n` entries.
    fn grow(&mut self, n: usize) {
        let slots = n.saturating_mul(2).next_power_of_two();
        if slots > self.slots.len() {
            self.slots = vec![0; slots];
            self.place_all();
        }
    }

    fn place_all(&mut self) {
        for (place, (fingerprint, _)) in self.entries.iter().enumerate() {
            let (hash, mask) = (self.seeds.hash(*fingerprint), self.slots.len() - 1);
            let mut at = hash as usize & mask;
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot(hash, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_that_remembers_the_order(
            met in prop::collection::vec(0u128..40, 0..120), cut in 0usize..40, again in prop::collection::vec(0u128..40, 0..60), scale in prop_oneof![Just(1u128), Just(1 << 52), Just(1 << 64), Just(u128::MAX / 40)]
        ) {
            let mut distinct = Distinct::default();
            let mut model: Vec<(u128, usize)> = Vec::new();
            for (part, fingerprints) in [met, again].into_iter().enumerate() {
                distinct.reserve(part * 7);
                distinct.touch(fingerprints.iter().map(|f| f * scale));
                for (n, fingerprint) in fingerprints.into_iter().map(|f| f * scale).enumerate() {
                    let known = model.iter_mut().find(|(f, _)| *f == fingerprint);
                    prop_assert_eq!(distinct.meet(fingerprint, n).copied(), known.as_ref().map(|(_, v)| *v));
                    if known.is_none() {
                        model.push((fingerprint, n));
                    }
                }
                prop_assert_eq!(distinct.iter().map(|(f, v)| (f, *v)).collect::<Vec<_>>(), model.clone());
                distinct.truncate(cut);
                model.truncate(cut);
                prop_assert_eq!(distinct.len(), model.len());
            }
        }
    }

    /// Small integers and doubles differ in few bits; a table of them must not become a list.
    #[test]
    fn numbers_spread_over_the_table() {
        let seeds = *SEEDS;
        let hashes = |prints: Vec<u128>| prints.iter().map(|p| seeds.hash(*p) & 0xffff).collect::<BTreeSet<_>>().len();
        let expected = 20_000 * 8 / 10;
        assert!(hashes((0..20_000).collect()) > expected, "integers");
        assert!(hashes((0..20_000).map(|n| u128::from(f64::from(n).to_bits())).collect()) > expected, "doubles");
        assert!(hashes((0..20_000u128).map(|n| n << 64).collect()) > expected, "the upper half");
    }
}
