//! A store in memory: for tests, the simulation, and state that is small.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use crate::domain::position::{NextOffset, Partition};
use crate::state::{Change, Entries, StateError, StateStore};

#[derive(Debug, Default)]
pub struct MemoryStore {
    partitions: RwLock<HashMap<Partition, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<Vec<u8>, Bytes>,
    position: Option<NextOffset>,
}

impl MemoryStore {
    fn read<T>(&self, partition: Partition, f: impl FnOnce(&Kept) -> T) -> Option<T> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(&partition).map(f)
    }
}

impl StateStore for MemoryStore {
    fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.read(partition, |k| k.entries.get(key).cloned()).flatten())
    }

    fn scan(&self, partition: Partition, prefix: &[u8], from: &[u8], limit: usize) -> Result<Entries, StateError> {
        let collect = |k: &Kept| {
            k.entries
                .range(from.to_vec()..)
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(limit)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        };
        Ok(self.read(partition, collect).unwrap_or_default())
    }

    fn position(&self, partition: Partition) -> Result<Option<NextOffset>, StateError> {
        Ok(self.read(partition, |k| k.position).flatten())
    }

    fn apply(&self, partition: Partition, changes: &[Change], changelog_next: NextOffset) -> Result<(), StateError> {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let kept = partitions.entry(partition).or_default();
        for change in changes {
            match &change.value {
                Some(value) => kept.entries.insert(change.key.clone(), value.clone()),
                None => kept.entries.remove(&change.key),
            };
        }
        kept.position = Some(changelog_next);
        Ok(())
    }

    fn wipe(&self, partition: Partition) -> Result<(), StateError> {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner).remove(&partition);
        Ok(())
    }
}
