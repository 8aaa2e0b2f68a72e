//! What `--until-idle` asks of the sources: which of them were read to their end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Which sources this process has read to their end since it started, for `--until-idle`. A source
/// another replica owns stays outstanding here.
#[derive(Debug, Default)]
pub struct ListedOnce {
    sources: Mutex<BTreeMap<String, Listed>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    NotBegun,
    /// Rounds that were complete when this process first read the source.
    Since(u64),
    Once,
}

impl ListedOnce {
    pub(super) fn of(sources: impl IntoIterator<Item = String>) -> Self {
        Self { sources: Mutex::new(sources.into_iter().map(|name| (name, Listed::NotBegun)).collect()) }
    }

    /// Names of sources not yet read to their end, sorted.
    pub fn outstanding(&self) -> Vec<String> {
        self.with(|all| all.iter().filter(|(_, l)| **l != Listed::Once).map(|(name, _)| name.clone()).collect())
    }

    /// Every source was read to its end, and what it held is committed.
    pub fn is_complete(&self) -> bool {
        self.outstanding().is_empty()
    }

    /// Another replica has read `name` to its end since this process started.
    pub fn read_elsewhere(&self, name: &str) {
        self.with(|all| {
            if let Some(listed) = all.get_mut(name) {
                *listed = Listed::Once;
            }
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Listed>) -> T) -> T {
        f(&mut self.sources.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_fresh(&self, name: &str) -> bool {
        self.with(|all| all.get(name) == Some(&Listed::NotBegun))
    }

    pub(super) fn began(&self, name: &str, rounds: u64) {
        self.with(|all| {
            if let Some(listed @ Listed::NotBegun) = all.get_mut(name) {
                *listed = Listed::Since(rounds);
            }
        });
    }

    pub(super) fn committed(&self, name: &str, rounds: u64) {
        self.with(|all| {
            if let Some(listed) = all.get_mut(name)
                && matches!(listed, Listed::Since(at) if rounds > *at)
            {
                *listed = Listed::Once;
            }
        });
    }
}
