//! Where the embedded log keeps its bytes: ordered keys, atomic batches. In a folder (fjall) or in
//! memory; the log above does not know which.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::RwLock;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

/// A batch of puts and removals, applied whole or not at all.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) puts: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) removals: Vec<Vec<u8>>,
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The journal is synced before a commit returns: survives power loss.
    #[default]
    Sync,
    /// The journal is left to the operating system: survives the process, not the machine.
    Buffer,
}

type ShelfError = Box<dyn std::error::Error + Send + Sync>;

pub(super) enum Shelf {
    Memory(RwLock<BTreeMap<Vec<u8>, Bytes>>),
    Folder { database: Database, keyspace: Keyspace, persist: PersistMode },
}

impl Shelf {
    pub(super) fn memory() -> Self {
        Shelf::Memory(RwLock::new(BTreeMap::new()))
    }

    pub(super) fn folder(path: &Path, durability: Durability) -> Result<Self, ShelfError> {
        let database = Database::builder(path).max_journaling_size(128 << 20).open()?;
        let keyspace = database.keyspace("log", KeyspaceCreateOptions::default)?;
        let persist = match durability {
            Durability::Sync => PersistMode::SyncData,
            Durability::Buffer => PersistMode::Buffer,
        };
        Ok(Shelf::Folder { database, keyspace, persist })
    }

    pub(super) fn apply(&self, batch: Batch) -> Result<(), ShelfError> {
        match self {
            Shelf::Memory(map) => {
                let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
                for key in &batch.removals {
                    map.remove(key);
                }
                map.extend(batch.puts.into_iter().map(|(k, v)| (k, Bytes::from(v))));
                Ok(())
            }
            Shelf::Folder { database, keyspace, persist } => {
                let mut write = database.batch().durability(Some(*persist));
                for key in batch.removals {
                    write.remove(keyspace, key);
                }
                for (key, value) in batch.puts {
                    write.insert(keyspace, key, value);
                }
                Ok(write.commit()?)
            }
        }
    }

    /// Entries with `from <= key < to`, at most `limit`, in key order.
    pub(super) fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, ShelfError> {
        match self {
            Shelf::Memory(map) => {
                let map = map.read().unwrap_or_else(PoisonError::into_inner);
                let range = map.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
                Ok(range.take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
            }
            Shelf::Folder { keyspace, .. } => {
                let mut found = Vec::new();
                for guard in keyspace.range(from..to).take(limit) {
                    let (key, value) = guard.into_inner()?;
                    found.push((key.to_vec(), Bytes::copy_from_slice(&value)));
                }
                Ok(found)
            }
        }
    }

    /// The last key with `from <= key < to`.
    pub(super) fn last_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, ShelfError> {
        match self {
            Shelf::Memory(map) => {
                let map = map.read().unwrap_or_else(PoisonError::into_inner);
                Ok(map.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))).next_back().map(|(k, _)| k.clone()))
            }
            Shelf::Folder { keyspace, .. } => match keyspace.range(from..to).next_back() {
                Some(guard) => Ok(Some(guard.key()?.to_vec())),
                None => Ok(None),
            },
        }
    }
}
