//! What may be removed of our own staging area: objects past the horizon that nothing names any more.
//!
//! Staged files belong to a batch and are kept as long as its plan is open anywhere between transform and
//! publish, whether or not a record names them yet: a transform that was aborted runs again and finds them.
//! Row letters and claim checks are kept as long as a record in the log names them. Published files are
//! none of its business.

use std::collections::HashSet;

use crate::domain::time::{Span, Timestamp};

/// Where everything lies that may be swept.
pub const PREFIX: &str = "_staging";

/// Younger objects may belong to a transaction that is not committed yet; no horizon is shorter.
pub const HORIZON_MIN: Span = Span::from_secs(3600);

/// An object of the staging area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub key: String,
    pub bytes: u64,
    pub modified: Timestamp,
}

/// What open plans and the records of the log name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    keys: HashSet<String>,
    /// Folders of open batches, ending in `/`.
    folders: HashSet<String>,
}

impl Live {
    /// A record names this object.
    pub fn name(&mut self, key: &str) {
        self.keys.insert(key.to_owned());
    }

    /// A plan is open: its folder stays, whatever lies in it.
    pub fn open(&mut self, folder: &str) {
        self.folders.insert(folder.to_owned());
    }

    pub fn len(&self) -> usize {
        self.keys.len() + self.folders.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn holds(&self, key: &str) -> bool {
        let folder = key.rfind('/').map_or("", |at| &key[..=at]);
        self.keys.contains(key) || self.folders.contains(folder)
    }
}

/// What becomes of one staged object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// An open plan or a record names it.
    Live,
    /// Nothing names it, but it is not past the horizon.
    Young,
    /// Nothing names it.
    Orphan,
}

/// Judges one object of a listing that was made before `live` was gathered.
pub fn judge(object: &Staged, live: &Live, now: Timestamp, horizon: Span) -> Fate {
    if live.holds(&object.key) {
        return Fate::Live;
    }
    let is_ours = object.key.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('/'));
    // A key from elsewhere would be a fault of the listing: it stays.
    if !is_ours || now < object.modified.plus(horizon.max(HORIZON_MIN)) { Fate::Young } else { Fate::Orphan }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Span = Span::from_secs(86_400);

    fn staged(key: &str, modified: i64) -> Staged {
        Staged { key: key.to_owned(), bytes: 1, modified: Timestamp::from_millis(modified) }
    }

    #[test]
    fn only_old_objects_that_nothing_names_go() {
        let mut live = Live::default();
        live.open("_staging/orders/orders-0-000000000007/");
        live.name("_staging/orders/rows/aa.jsonl");
        live.name("_staging/claims/11");
        let now = Timestamp::from_millis(10 * DAY.millis());
        let young = now.millis() - DAY.millis();
        let cases = [
            ("a file of an open plan, though no record names it", "_staging/orders/orders-0-000000000007/d.parquet", 0, Fate::Live),
            ("a file of a plan that ended", "_staging/orders/orders-0-000000000006/d.parquet", 0, Fate::Orphan),
            ("a young one", "_staging/orders/orders-0-000000000006/e.parquet", young, Fate::Young),
            ("a batch whose number begins alike", "_staging/orders/orders-0-0000000000071/d.parquet", 0, Fate::Orphan),
            ("rows a letter names", "_staging/orders/rows/aa.jsonl", 0, Fate::Live),
            ("rows no letter names", "_staging/orders/rows/ab.jsonl", 0, Fate::Orphan),
            ("a claim check of a record", "_staging/claims/11", 0, Fate::Live),
            ("a claim check of a record that is gone", "_staging/claims/12", 0, Fate::Orphan),
            ("a published file", "curated/orders/x.parquet", 0, Fate::Young),
            ("a neighbour of the prefix", "_staging2/x", 0, Fate::Young),
        ];
        for (what, key, modified, fate) in cases {
            assert_eq!(judge(&staged(key, modified), &live, now, Span::from_secs(7 * 86_400)), fate, "{what}");
        }
    }

    #[test]
    fn no_horizon_is_shorter_than_a_transaction_may_take() {
        let object = staged("_staging/claims/1", 0);
        let soon = Timestamp::from_millis(HORIZON_MIN.millis() - 1);
        assert_eq!(judge(&object, &Live::default(), soon, Span::ZERO), Fate::Young);
        assert_eq!(judge(&object, &Live::default(), Timestamp::EPOCH.plus(HORIZON_MIN), Span::ZERO), Fate::Orphan);
    }
}
