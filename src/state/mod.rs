//! The state seam: a worker's local store, one keyspace per input partition.
//!
//! The store is a cache of the changelog: it is written after the commit, together with the
//! changelog position, in one atomic batch, so its position is never ahead of its data. Losing it
//! costs a restore, never a row. State need not fit in memory.
//!
//! Changes are plain key/value puts and removals; [`View`] shows what a decision may see: the
//! store under the changes of the transaction being prepared.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::domain::position::{NextOffset, Partition};

pub mod folder;
pub mod memory;

/// The local store failed; its content can be rebuilt, so the runner wipes and restores.
#[derive(Debug, thiserror::Error)]
#[error("the local store failed: {detail}")]
pub struct StateError {
    pub detail: String,
}

/// Entries of one partition in key order.
pub type Entries = Vec<(Vec<u8>, Bytes)>;

/// One change: a put, or a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: Vec<u8>,
    pub value: Option<Bytes>,
}

/// A worker's store. Synchronous: point reads are cheap, and decisions must not await.
pub trait StateStore: Send + Sync {
    fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, StateError>;
    /// Entries whose key starts with `prefix`, from `from` on (inclusive), at most `limit`, in key order.
    fn scan(&self, partition: Partition, prefix: &[u8], from: &[u8], limit: usize) -> Result<Entries, StateError>;
    /// Changelog position the store has reached; `None`: nothing was ever applied.
    fn position(&self, partition: Partition) -> Result<Option<NextOffset>, StateError>;
    /// Applies all changes and moves the position, atomically.
    fn apply(&self, partition: Partition, changes: &[Change], changelog_next: NextOffset) -> Result<(), StateError>;
    /// Forgets everything of the partition.
    fn wipe(&self, partition: Partition) -> Result<(), StateError>;
}

/// Changes prepared and not yet committed.
#[derive(Debug, Default, Clone)]
pub struct Overlay {
    changed: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl Overlay {
    pub fn record(&mut self, change: Change) {
        self.changed.insert(change.key, change.value);
    }

    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// The net change of each key, in key order. A key that was added and removed again before it
    /// ever reached the store leaves no trace.
    pub fn net(&self, store: &dyn StateStore, partition: Partition) -> Result<Vec<Change>, StateError> {
        let mut net = Vec::with_capacity(self.changed.len());
        for (key, value) in &self.changed {
            if value.is_some() || store.get(partition, key)?.is_some() {
                net.push(Change { key: key.clone(), value: value.clone() });
            }
        }
        Ok(net)
    }
}

/// What a decision sees of one partition's state.
#[derive(Clone, Copy)]
pub struct View<'a> {
    store: &'a dyn StateStore,
    overlay: &'a Overlay,
    partition: Partition,
}

impl<'a> View<'a> {
    pub fn new(store: &'a dyn StateStore, overlay: &'a Overlay, partition: Partition) -> Self {
        Self { store, overlay, partition }
    }

    pub fn partition(&self) -> Partition {
        self.partition
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.overlay.changed.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(self.partition, key),
        }
    }

    /// All entries whose key starts with `prefix`, in key order; the caller's design bounds them.
    pub fn scan(&self, prefix: &[u8]) -> Result<Entries, StateError> {
        self.scan_first(prefix, usize::MAX)
    }

    /// The first `limit` entries whose key starts with `prefix`, in key order.
    pub fn scan_first(&self, prefix: &[u8], limit: usize) -> Result<Entries, StateError> {
        let changed = || self.overlay.changed.range(prefix.to_vec()..).take_while(|(k, _)| k.starts_with(prefix));
        let removed = changed().filter(|(_, v)| v.is_none()).count();
        let stored = self.store.scan(self.partition, prefix, prefix, limit.saturating_add(removed))?;
        let mut merged: BTreeMap<Vec<u8>, Bytes> = stored.into_iter().collect();
        for (key, value) in changed() {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::memory::MemoryStore;
    use super::*;

    const P: Partition = Partition(0);

    fn put(key: &str, value: &str) -> Change {
        Change { key: key.into(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
    }

    fn removal(key: &str) -> Change {
        Change { key: key.into(), value: None }
    }

    #[test]
    fn a_view_shows_the_store_under_the_overlay() {
        let store = MemoryStore::default();
        store.apply(P, &[put("a/1", "old"), put("a/2", "two"), put("b/1", "b")], NextOffset(3)).unwrap();
        let mut overlay = Overlay::default();
        overlay.record(put("a/1", "new"));
        overlay.record(removal("a/2"));
        overlay.record(put("a/3", "three"));
        let view = View::new(&store, &overlay, P);
        assert_eq!(view.get(b"a/1").unwrap().unwrap(), "new");
        assert_eq!(view.get(b"a/2").unwrap(), None);
        let keys: Vec<Vec<u8>> = view.scan(b"a/").unwrap().into_iter().map(|(k, _)| k).collect();
        assert_eq!(keys, [b"a/1".to_vec(), b"a/3".to_vec()]);
        let first = |n| view.scan_first(b"a/", n).unwrap().into_iter().map(|(k, _)| k).collect::<Vec<_>>();
        assert_eq!(first(1), keys[..1]);
        assert_eq!(first(2), keys, "a removed entry takes nobody's place");
    }

    #[test]
    fn what_came_and_went_in_one_transaction_leaves_no_change() {
        let store = MemoryStore::default();
        store.apply(P, &[put("kept", "x")], NextOffset(1)).unwrap();
        let mut overlay = Overlay::default();
        overlay.record(put("passing", "x"));
        overlay.record(removal("passing"));
        overlay.record(removal("kept"));
        assert_eq!(overlay.net(&store, P).unwrap(), [removal("kept")]);
    }
}
