//! A store in a folder (fjall): state that need not fit in memory.
//!
//! Nothing is synced here: after power loss a suffix may be missing, and the position goes back
//! with it, so the restore rolls forward from the changelog.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::domain::position::{NextOffset, Partition};
use crate::state::{Change, Entries, StateError, StateStore};

/// Key of the changelog position; data keys are prefixed with `d`, so it cannot collide.
const POSITION: &[u8] = b"p";

pub struct FolderStore {
    database: Database,
    keyspaces: Mutex<std::collections::HashMap<Partition, Keyspace>>,
}

impl FolderStore {
    /// # Errors
    /// When the folder cannot be created or what lies there cannot be opened.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let database = Database::builder(folder).max_journaling_size(128 << 20).open().map_err(failed)?;
        Ok(Self { database, keyspaces: Mutex::new(std::collections::HashMap::new()) })
    }

    fn keyspace(&self, partition: Partition) -> Result<Keyspace, StateError> {
        let mut keyspaces = self.keyspaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = keyspaces.get(&partition) {
            return Ok(found.clone());
        }
        let opened = self.database.keyspace(&format!("p{}", partition.0), KeyspaceCreateOptions::default).map_err(failed)?;
        keyspaces.insert(partition, opened.clone());
        Ok(opened)
    }
}

fn failed(error: impl std::fmt::Display) -> StateError {
    StateError { detail: error.to_string() }
}

fn data_key(key: &[u8]) -> Vec<u8> {
    [b"d", key].concat()
}

impl StateStore for FolderStore {
    fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let found = self.keyspace(partition)?.get(data_key(key)).map_err(failed)?;
        Ok(found.map(|v| Bytes::copy_from_slice(&v)))
    }

    fn scan(&self, partition: Partition, prefix: &[u8], from: &[u8], limit: usize) -> Result<Entries, StateError> {
        let prefix = data_key(prefix);
        let mut entries = Entries::new();
        for guard in self.keyspace(partition)?.range(data_key(from)..).take(limit) {
            let (key, value) = guard.into_inner().map_err(failed)?;
            if !key.starts_with(&prefix) {
                break;
            }
            entries.push((key[1..].to_vec(), Bytes::copy_from_slice(&value)));
        }
        Ok(entries)
    }

    fn position(&self, partition: Partition) -> Result<Option<NextOffset>, StateError> {
        let found = self.keyspace(partition)?.get(POSITION).map_err(failed)?;
        Ok(found.and_then(|v| v.as_ref().try_into().ok()).map(|b| NextOffset(u64::from_be_bytes(b))))
    }

    fn apply(&self, partition: Partition, changes: &[Change], changelog_next: NextOffset) -> Result<(), StateError> {
        let keyspace = self.keyspace(partition)?;
        let mut batch = self.database.batch();
        for change in changes {
            match &change.value {
                Some(value) => batch.insert(&keyspace, data_key(&change.key), value.as_ref()),
                None => batch.remove(&keyspace, data_key(&change.key)),
            }
        }
        batch.insert(&keyspace, POSITION, changelog_next.0.to_be_bytes());
        batch.commit().map_err(failed)
    }

    fn wipe(&self, partition: Partition) -> Result<(), StateError> {
        self.keyspace(partition)?.clear().map_err(failed)
    }
}
