//! The name of a process in a cluster: kept and locked in its state folder (decisions.md 16).

use std::path::Path;

use uuid::Uuid;

use crate::claim::{self, Claim, ClaimError};

/// A state folder of this process. Its name is part of the transactional ids, so a restart fences what was left open.
#[derive(Debug)]
pub struct Instance {
    pub name: String,
    /// Held for the life of the process.
    _claim: Claim,
}

/// Claims `folder`, created if it is not there.
///
/// # Errors
/// Those of [`claim::claim`].
pub fn claim(folder: &Path) -> Result<Instance, ClaimError> {
    let claim = claim::claim(folder)?;
    let unusable = |source| ClaimError::Folder { folder: folder.display().to_string(), source };
    let file = folder.join("instance");
    let known = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(unusable(e)),
    };
    if !known.is_empty() {
        return Ok(Instance { name: known, _claim: claim });
    }
    let fresh = Uuid::new_v4().simple().to_string();
    std::fs::write(&file, &fresh).map_err(unusable)?;
    Ok(Instance { name: fresh, _claim: claim })
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
