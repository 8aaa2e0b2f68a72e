//! The name of a process in a cluster: kept and locked in its state folder (decisions.md 16).

use std::fs::{File, TryLockError};
use std::path::Path;

use uuid::Uuid;

/// A state folder of this process. Its name is part of the transactional ids, so a restart fences what was left open.
#[derive(Debug)]
pub struct Instance {
    pub name: String,
    /// Held for the life of the process.
    _lock: File,
}

/// A state folder could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("the state folder {folder} is in use by another lakegate process; stop it, or give this one its own --state")]
    InUse { folder: String },
    #[error("the state folder {folder} cannot be used")]
    Folder {
        folder: String,
        #[source]
        source: std::io::Error,
    },
}

/// Claims `folder`, created if it is not there.
///
/// # Errors
/// `InUse` when another process has it, `Folder` when it cannot be written.
pub fn claim(folder: &Path) -> Result<Instance, ClaimError> {
    let name = folder.display().to_string();
    let unusable = |source| ClaimError::Folder { folder: name.clone(), source };
    std::fs::create_dir_all(folder).map_err(unusable)?;
    // The lock of the embedded log: a folder belongs to one process, whatever its broker is.
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(ClaimError::InUse { folder: name }),
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    let file = folder.join("instance");
    let known = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(unusable(e)),
    };
    if !known.is_empty() {
        return Ok(Instance { name: known, _lock: lock });
    }
    let fresh = Uuid::new_v4().simple().to_string();
    std::fs::write(&file, &fresh).map_err(unusable)?;
    Ok(Instance { name: fresh, _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_name_and_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = claim(folder.path()).unwrap();
        assert!(matches!(claim(folder.path()), Err(ClaimError::InUse { .. })));
        let name = first.name.clone();
        drop(first);
        assert_eq!(claim(folder.path()).unwrap().name, name);
    }
}
