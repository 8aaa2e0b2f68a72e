//! What the status table says of each dataset: when something last landed and was last published, and what is held back
//! and waits for somebody.

use std::collections::{BTreeMap, HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_128;

use crate::app::docket::named_by;
use crate::app::view::uri;
use crate::domain::time::Timestamp;
use crate::stage::letters::State;
use crate::telemetry::metrics::{DatasetGauges, UNROUTED};
use crate::wire::records::ObjectStatus;

/// Keys held back that are told apart, about 64 bytes each; what is beyond is not counted.
const OPEN_MAX: usize = 200_000;

/// Folded over the rows of the status table in the order of their partition.
#[derive(Debug, Default)]
pub struct Standing {
    datasets: BTreeMap<String, Lately>,
    /// By digest of `bucket/key`.
    open: HashMap<u128, Held>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lately {
    last_event: Option<Timestamp>,
    last_curated: Option<Timestamp>,
    /// Stands for the dataset's name in what is held.
    idx: u32,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    dataset_idx: u32,
    since: Timestamp,
    /// The newest letter.
    letter: u128,
}

impl Standing {
    /// One row. An object that is held back is open until its key is published, a replay of it ends otherwise, or its
    /// newest letter is discarded.
    pub fn take(&mut self, row: &ObjectStatus) {
        let Some(state) = State::from_word(&row.status) else { return };
        let (name, at) = (row.dataset.as_deref().unwrap_or(UNROUTED), Timestamp::from_millis(row.at));
        let is_live = row.replay_id.is_none();
        let known = u32::try_from(self.datasets.len()).unwrap_or(u32::MAX);
        let lately = self.datasets.entry(name.to_owned()).or_insert(Lately { idx: known, ..Lately::default() });
        if is_live {
            lately.last_event = lately.last_event.max(Some(Timestamp::from_millis(row.first_landed)));
        }
        let key = xxh3_128(uri(&row.bucket, &row.key).as_bytes());
        match state {
            State::Published | State::Registered => {
                lately.last_curated = lately.last_curated.max(Some(at));
                self.open.remove(&key);
            }
            State::Quarantined => {
                let letter = named_by(row);
                if self.open.len() < OPEN_MAX || self.open.contains_key(&key) {
                    self.open.entry(key).or_insert(Held { dataset_idx: lately.idx, since: at, letter }).letter = letter;
                }
            }
            State::Duplicate | State::Superseded if !is_live => drop(self.open.remove(&key)),
            State::Admitted | State::Duplicate | State::Superseded | State::Ignored => {}
        }
    }

    /// Letters that were discarded after the rows taken so far.
    pub fn discard(&mut self, letters: &HashSet<u128>) {
        if !letters.is_empty() {
            self.open.retain(|_, held| !letters.contains(&held.letter));
        }
    }

    /// When the oldest of what is open was held back.
    pub fn oldest_open(&self) -> Option<Timestamp> {
        self.open.values().map(|held| held.since).min()
    }

    /// The figures of every dataset a row named.
    pub fn gauges(&self) -> BTreeMap<String, DatasetGauges> {
        let mut by_idx: HashMap<u32, (u64, Option<Timestamp>)> = HashMap::new();
        for held in self.open.values() {
            let (n, oldest) = by_idx.entry(held.dataset_idx).or_default();
            *n += 1;
            *oldest = Some(oldest.map_or(held.since, |o| o.min(held.since)));
        }
        let told = |lately: &Lately| {
            let (unresolved, oldest_unresolved) = by_idx.get(&lately.idx).copied().unwrap_or_default();
            DatasetGauges { last_event: lately.last_event, last_curated: lately.last_curated, unresolved, oldest_unresolved }
        };
        self.datasets.iter().map(|(name, lately)| (name.clone(), told(lately))).collect()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A row of the status table, landed a millisecond before.
    pub(crate) fn row(key: &str, status: State, at: i64, replay: Option<&str>) -> ObjectStatus {
        ObjectStatus {
            format_version: 1,
            dataset: Some("orders".to_owned()),
            bucket: "raw".to_owned(),
            key: key.to_owned(),
            version_id: None,
            etag: None,
            token: "t".to_owned(),
            size: None,
            generation: 0,
            run_id: "r".to_owned(),
            replay_id: replay.map(str::to_owned),
            landing_partition: 0,
            landing_offset: 0,
            stage: "validate".to_owned(),
            status: status.as_str().to_owned(),
            reason: None,
            rows_in: 0,
            rows_published: 0,
            rows_quarantined: 0,
            rows_deduplicated: 0,
            source: "raw".to_owned(),
            first_landed: at - 1,
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::row;
    use super::*;

    fn told(rows: &[ObjectStatus]) -> DatasetGauges {
        let mut standing = Standing::default();
        rows.iter().for_each(|r| standing.take(r));
        standing.gauges()["orders"]
    }

    #[test]
    fn what_is_held_back_is_open_until_its_key_is_published() {
        let held =
            [row("a", State::Quarantined, 10, None), row("b", State::Quarantined, 20, None), row("a", State::Quarantined, 30, Some("r"))];
        let gauges = told(&held);
        assert_eq!((gauges.unresolved, gauges.oldest_unresolved), (2, Some(Timestamp::from_millis(10))));
        let mended = [&held[..], &[row("a", State::Published, 40, Some("r"))]].concat();
        let gauges = told(&mended);
        assert_eq!((gauges.unresolved, gauges.oldest_unresolved), (1, Some(Timestamp::from_millis(20))));
        assert_eq!(gauges.last_curated, Some(Timestamp::from_millis(40)));
        assert_eq!(gauges.last_event, Some(Timestamp::from_millis(19)), "a replay is no event");
    }

    #[test]
    fn a_discarded_letter_is_open_no_more_until_its_object_is_refused_anew() {
        let held = row("a", State::Quarantined, 10, None);
        let mut standing = Standing::default();
        standing.take(&held);
        standing.discard(&HashSet::from([named_by(&row("b", State::Quarantined, 10, None))]));
        assert_eq!(standing.oldest_open(), Some(Timestamp::from_millis(10)));
        standing.discard(&HashSet::from([named_by(&held)]));
        assert_eq!((standing.oldest_open(), standing.gauges()["orders"].unresolved), (None, 0));
        let again = ObjectStatus { run_id: "second".to_owned(), ..row("a", State::Quarantined, 50, Some("r")) };
        standing.take(&again);
        standing.discard(&HashSet::from([named_by(&held)]));
        assert_eq!(standing.oldest_open(), Some(Timestamp::from_millis(50)), "the older letter's verdict is not the newer's");
    }

    #[test]
    fn a_repeated_notification_resolves_nothing_and_a_replay_that_ends_does() {
        let held = row("a", State::Quarantined, 10, None);
        assert_eq!(told(&[held.clone(), row("a", State::Duplicate, 20, None)]).unresolved, 1);
        assert_eq!(told(&[held.clone(), row("a", State::Superseded, 20, Some("r"))]).unresolved, 0);
        assert_eq!(told(&[held, row("a", State::Admitted, 20, Some("r"))]).unresolved, 1, "it may fail again");
    }
}
