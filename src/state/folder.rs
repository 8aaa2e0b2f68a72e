//! The stores of a process in one folder (fjall): state that need not fit in memory.
//!
//! One keyspace holds all of them under `<stage> 0 <partition>`: making a keyspace waits for the disk some
//! fifteen times, and ten stages of four partitions would need forty.
//!
//! Nothing is synced here: after power loss a suffix may be missing, and the position goes back
//! with it, so the restore rolls forward from the changelog.

use std::path::Path;

use bytes::{BufMut, Bytes};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition};
use crate::state::{Change, Entries, StateError, StateStore};

/// Starts the key of the changelog position; keys of data start with [`DATA`].
const POSITION: u8 = b'p';
const DATA: u8 = b'd';

/// Keys removed at a time when a partition is wiped.
const WIPED_AT_ONCE: usize = 10_000;

/// A folder of stores; one process owns it.
pub struct StateFolder {
    database: Database,
    keyspace: Keyspace,
}

impl StateFolder {
    /// # Errors
    /// When the folder cannot be created or what lies there cannot be opened.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let database = Database::builder(folder).max_journaling_size(128 << 20).open().map_err(failed)?;
        let keyspace = database.keyspace("state", KeyspaceCreateOptions::default).map_err(failed)?;
        Ok(Self { database, keyspace })
    }

    /// The store of one stage.
    pub fn store(&self, stage: StageName) -> FolderStore {
        FolderStore { database: self.database.clone(), keyspace: self.keyspace.clone(), stage: stage.as_str() }
    }
}

/// The store of one stage in a folder.
pub struct FolderStore {
    database: Database,
    keyspace: Keyspace,
    stage: &'static str,
}

fn failed(error: impl std::fmt::Display) -> StateError {
    StateError { detail: error.to_string() }
}

impl FolderStore {
    /// What every key of a partition starts with.
    fn place(&self, partition: Partition, room: usize) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.stage.len() + 6 + room);
        key.extend_from_slice(self.stage.as_bytes());
        key.push(0);
        key.put_u32(partition.0);
        key
    }

    fn data_key(&self, partition: Partition, key: &[u8]) -> Vec<u8> {
        let mut full = self.place(partition, key.len());
        full.push(DATA);
        full.extend_from_slice(key);
        full
    }

    fn position_key(&self, partition: Partition) -> Vec<u8> {
        let mut key = self.place(partition, 0);
        key.push(POSITION);
        key
    }
}

impl StateStore for FolderStore {
    fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let found = self.keyspace.get(self.data_key(partition, key)).map_err(failed)?;
        Ok(found.map(|v| Bytes::copy_from_slice(&v)))
    }

    fn scan(&self, partition: Partition, prefix: &[u8], from: &[u8], limit: usize) -> Result<Entries, StateError> {
        let full = self.data_key(partition, prefix);
        let before = full.len() - prefix.len();
        let mut entries = Entries::new();
        for guard in self.keyspace.range(self.data_key(partition, from)..).take(limit) {
            let (key, value) = guard.into_inner().map_err(failed)?;
            if !key.starts_with(&full) {
                break;
            }
            entries.push((key[before..].to_vec(), Bytes::copy_from_slice(&value)));
        }
        Ok(entries)
    }

    fn position(&self, partition: Partition) -> Result<Option<NextOffset>, StateError> {
        let found = self.keyspace.get(self.position_key(partition)).map_err(failed)?;
        Ok(found.and_then(|v| v.as_ref().try_into().ok()).map(|b| NextOffset(u64::from_be_bytes(b))))
    }

    fn apply(&self, partition: Partition, changes: &[Change], changelog_next: NextOffset) -> Result<(), StateError> {
        let mut batch = self.database.batch();
        for change in changes {
            let key = self.data_key(partition, &change.key);
            match &change.value {
                Some(value) => batch.insert(&self.keyspace, key, value.as_ref()),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.insert(&self.keyspace, self.position_key(partition), changelog_next.0.to_be_bytes());
        batch.commit().map_err(failed)
    }

    /// The position goes with the last keys: a wipe that is cut short is begun again.
    fn wipe(&self, partition: Partition) -> Result<(), StateError> {
        let place = self.place(partition, 0);
        loop {
            let mut batch = self.database.batch();
            let mut n = 0;
            for guard in self.keyspace.prefix(&place).take(WIPED_AT_ONCE) {
                batch.remove(&self.keyspace, guard.key().map_err(failed)?);
                n += 1;
            }
            batch.commit().map_err(failed)?;
            if n < WIPED_AT_ONCE {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change { key: key.into(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
    }

    fn keys(store: &FolderStore, partition: u32, prefix: &str) -> Vec<String> {
        let found = store.scan(Partition(partition), prefix.as_bytes(), prefix.as_bytes(), usize::MAX).unwrap();
        found.into_iter().map(|(k, _)| String::from_utf8(k).unwrap()).collect()
    }

    #[test]
    fn stages_and_partitions_of_one_folder_do_not_see_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let (bridge, check) = (state.store(StageName::Bridge), state.store(StageName::Check));
        bridge.apply(Partition(0), &[put("a/1", "x"), put("a/2", "y"), put("b", "z")], NextOffset(3)).unwrap();
        bridge.apply(Partition(1), &[put("a/3", "x")], NextOffset(1)).unwrap();
        check.apply(Partition(0), &[put("a/4", "x")], NextOffset(9)).unwrap();
        assert_eq!(keys(&bridge, 0, "a/"), ["a/1", "a/2"]);
        assert_eq!(keys(&bridge, 0, ""), ["a/1", "a/2", "b"]);
        assert_eq!(bridge.scan(Partition(0), b"a/", b"a/2", 1).unwrap().len(), 1);
        assert_eq!((bridge.position(Partition(0)).unwrap(), bridge.position(Partition(2)).unwrap()), (Some(NextOffset(3)), None));
        bridge.wipe(Partition(0)).unwrap();
        assert_eq!((keys(&bridge, 0, ""), bridge.position(Partition(0)).unwrap()), (vec![], None));
        assert_eq!((keys(&bridge, 1, ""), keys(&check, 0, "")), (vec!["a/3".to_owned()], vec!["a/4".to_owned()]));
    }

    #[test]
    fn a_partition_of_any_size_is_wiped_whole_and_outlives_its_process_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let many: Vec<Change> = (0..2 * WIPED_AT_ONCE + 5).map(|i| put(&format!("{i:06}"), "x")).collect();
        {
            let store = StateFolder::open(folder.path()).unwrap().store(StageName::Validate);
            store.apply(Partition(3), &many, NextOffset(7)).unwrap();
        }
        let store = StateFolder::open(folder.path()).unwrap().store(StageName::Validate);
        assert_eq!((keys(&store, 3, "").len(), store.position(Partition(3)).unwrap()), (many.len(), Some(NextOffset(7))));
        store.wipe(Partition(3)).unwrap();
        assert_eq!((keys(&store, 3, "").len(), store.position(Partition(3)).unwrap()), (0, None));
    }
}
