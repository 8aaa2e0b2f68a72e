//! Whose a state folder is: one process at a time, whatever its broker (decisions.md 16, 17).

use std::fs::{File, TryLockError};
use std::path::Path;

/// A folder is this process's as long as this lives.
#[derive(Debug)]
pub struct Claim {
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
pub fn claim(folder: &Path) -> Result<Claim, ClaimError> {
    let unusable = |source| ClaimError::Folder { folder: folder.display().to_string(), source };
    std::fs::create_dir_all(folder).map_err(unusable)?;
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(Claim { _lock: lock }),
        Err(TryLockError::WouldBlock) => Err(ClaimError::InUse { folder: folder.display().to_string() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}
