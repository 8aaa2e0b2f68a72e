use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::names::Generation;
use crate::publish::draft::{Forced, StagedFile, StagedObject};
use crate::publish::ledger::{FileEntry, FileObject, ObjectId, VersionMark, file_key};
use crate::publish::name::BatchName;

type Ledger = BTreeMap<Vec<u8>, Vec<u8>>;

/// A lake in memory: key → e-tag, footer and what a reader would see.
#[derive(Debug, Clone, Default)]
struct Lake {
    files: BTreeMap<String, (u64, FooterMark, Vec<FileObject>)>,
    ledger: Ledger,
    etag: u64,
}

impl Lake {
    fn observe(&self, key: &str) -> Option<Observed> {
        self.files.get(key).map(|(etag, footer, _)| Observed { etag: etag.to_string(), footer: Some(footer.clone()) })
    }

    fn decide(&self, staged: &Staged) -> Result<PublishPlan, DecideError> {
        decide(staged, &self.ledger, |key| self.observe(key))
    }

    /// What a writer would make of a put: present rows less the dropped, plus the taken.
    fn put(&mut self, put: &Put, staged: &Staged) {
        let key = &put.write.key;
        let present = self.files.get(key);
        match &put.condition {
            Condition::Absent => assert!(present.is_none(), "conditional create on a present key"),
            Condition::ETag(etag) => assert_eq!(present.map(|p| p.0.to_string()).as_ref(), Some(etag)),
        }
        let mut rows: Vec<FileObject> = match &put.write.kind {
            WriteKind::Create => Vec::new(),
            WriteKind::Rewrite { drop, .. } => {
                present.map(|p| p.2.iter().filter(|o| !drop.contains(&o.object)).cloned().collect()).unwrap_or_default()
            }
        };
        for take in &put.write.take {
            let file = &staged.files[take.file];
            for (index, count) in file.rows.iter().filter(|(i, _)| take.objects.contains(i)) {
                let o = &staged.objects[*index];
                let (version, generation) = (o.version.token.clone(), o.generation.0);
                rows.push(FileObject { object: o.id.clone(), version, generation, rows: *count });
            }
            assert_eq!(take.whole, take.objects.len() == file.rows.len());
        }
        rows.sort();
        assert_eq!(rows, put.write.objects, "the footer's list is what the writer produces");
        self.etag += 1;
        let footer = FooterMark { stamp: put.write.stamp.clone(), commit_seq: put.write.commit_seq };
        self.files.insert(key.clone(), (self.etag, footer, rows));
    }

    fn commit(&mut self, plan: &PublishPlan) {
        for change in &plan.changes {
            self.ledger.insert(change.key.clone(), change.value.clone());
        }
    }

    fn publish(&mut self, staged: &Staged) -> PublishPlan {
        let plan = self.decide(staged).expect("it publishes");
        for put in &plan.puts {
            self.put(put, staged);
        }
        self.commit(&plan);
        plan
    }

    /// (object, version, generation, partition, rows), as a glob over the lake reads it.
    fn rows(&self) -> Vec<(String, String, u32, String, u64)> {
        let mut all: Vec<_> = self
            .files
            .iter()
            .flat_map(|(key, (_, _, rows))| {
                let partition = key.split('/').nth(1).unwrap_or_default().to_owned();
                rows.iter().map(move |o| (o.object.0.clone(), o.version.clone(), o.generation, partition.clone(), o.rows))
            })
            .collect();
        all.sort();
        all
    }
}

fn object(id: &str, version: i64, generation: u32, forced: Forced) -> StagedObject {
    let version = VersionMark { token: format!("v{version}"), sequencer: None, first_landed: version };
    StagedObject { id: ObjectId(id.to_owned()), version, generation: Generation(generation), forced }
}

/// One file per partition; `rows`: (partition, index of the object, rows).
fn staged(seq: u64, objects: Vec<StagedObject>, rows: &[(&str, usize, u64)]) -> Staged {
    let mut files: Vec<StagedFile> = Vec::new();
    for (partition, index, count) in rows {
        match files.iter_mut().find(|f| f.partition == *partition) {
            Some(file) => file.rows.push((*index, *count)),
            None => files.push(StagedFile {
                staged_key: format!("_staging/{seq}-{partition}"),
                partition: (*partition).to_owned(),
                part: 0,
                rows: vec![(*index, *count)],
            }),
        }
    }
    let batch = BatchName { dataset: "orders".parse().expect("valid"), shard: 0, seq };
    Staged { table: "orders".parse().expect("valid"), location: "t".to_owned(), batch, objects, files }
}

fn seen(id: &str, version: i64, generation: u32, partition: &str, rows: u64) -> (String, String, u32, String, u64) {
    (id.to_owned(), format!("v{version}"), generation, partition.to_owned(), rows)
}

fn published(generation: u32) -> ObjectOutcome {
    ObjectOutcome::Published { generation: Generation(generation) }
}

#[test]
fn fresh_objects_are_created_whole() {
    let mut lake = Lake::default();
    let plan =
        lake.publish(&staged(0, vec![object("a", 1, 0, Forced::No), object("b", 1, 0, Forced::No)], &[("d=1", 0, 3), ("d=1", 1, 4)]));
    assert_eq!(plan.outcomes, [published(0), published(0)]);
    assert_eq!((plan.puts.len(), plan.commit_seq, plan.rewrites()), (1, 1, false));
    assert!(plan.puts[0].write.take[0].whole);
    assert_eq!(lake.rows(), [seen("a", 1, 0, "d=1", 3), seen("b", 1, 0, "d=1", 4)]);
}

#[test]
fn each_object_is_judged_by_the_ledger() {
    use ObjectOutcome::{Duplicate, Superseded};
    let cases = [
        ("same version and generation, another plan", 5, 2, Forced::Yes, Superseded),
        ("older generation", 5, 1, Forced::Yes, Superseded),
        ("replay without force", 5, 3, Forced::No, Duplicate),
        ("forced replay", 5, 3, Forced::Yes, published(3)),
        ("older version", 4, 9, Forced::Yes, Superseded),
        ("newer version needs no force", 6, 0, Forced::No, published(0)),
    ];
    for (name, version, generation, forced, expected) in cases {
        let mut lake = Lake::default();
        lake.publish(&staged(0, vec![object("a", 5, 2, Forced::No)], &[("d=1", 0, 3)]));
        let plan = lake.publish(&staged(1, vec![object("a", version, generation, forced)], &[("d=1", 0, 7)]));
        assert_eq!(plan.outcomes, [expected], "{name}");
        let stays = !matches!(expected, ObjectOutcome::Published { .. });
        let rows = if stays { seen("a", 5, 2, "d=1", 3) } else { seen("a", version, generation, "d=1", 7) };
        assert_eq!(lake.rows(), [rows], "{name}");
        if stays {
            assert!(plan.puts.is_empty() && plan.changes.is_empty() && plan.commit_seq == 1, "{name}");
        }
    }
}

#[test]
fn a_replacement_swaps_under_the_same_key_and_keeps_its_neighbors() {
    let mut lake = Lake::default();
    lake.publish(&staged(0, vec![object("a", 1, 0, Forced::No), object("b", 1, 0, Forced::No)], &[("d=1", 0, 3), ("d=1", 1, 4)]));
    let before: Vec<String> = lake.files.keys().cloned().collect();
    let plan = lake.publish(&staged(1, vec![object("a", 1, 1, Forced::Yes)], &[("d=1", 0, 2)]));
    assert!(plan.rewrites());
    assert_eq!(lake.files.keys().cloned().collect::<Vec<_>>(), before, "no new key: readers swap atomically");
    assert_eq!(lake.rows(), [seen("a", 1, 1, "d=1", 2), seen("b", 1, 0, "d=1", 4)]);
}

#[test]
fn an_object_that_moves_leaves_a_tombstone_and_reaches_a_new_key() {
    let mut lake = Lake::default();
    lake.publish(&staged(0, vec![object("a", 1, 0, Forced::No)], &[("d=1", 0, 3)]));
    let plan = lake.publish(&staged(1, vec![object("a", 1, 1, Forced::Yes)], &[("d=2", 0, 3)]));
    assert_eq!(plan.puts.iter().filter(|p| p.write.is_tombstone()).count(), 1);
    assert_eq!(plan.puts.len(), 2);
    assert!(plan.puts.is_sorted_by(|a, b| a.write.key < b.write.key));
    assert_eq!(lake.rows(), [seen("a", 1, 1, "d=2", 3)]);
    lake.publish(&staged(2, vec![object("a", 1, 2, Forced::Yes)], &[]));
    assert_eq!(lake.rows(), [], "a generation of no rows empties the table");
    assert_eq!(lake.files.len(), 2, "tombstones stay, so that a late create fails");
    let again = lake.publish(&staged(3, vec![object("a", 1, 3, Forced::Yes)], &[("d=1", 0, 1)]));
    assert_eq!((again.outcomes, lake.rows()), (vec![published(3)], vec![seen("a", 1, 3, "d=1", 1)]));
}

#[test]
fn dropped_objects_do_not_take_their_batch_along() {
    let mut lake = Lake::default();
    lake.publish(&staged(0, vec![object("a", 1, 1, Forced::No)], &[("d=1", 0, 3)]));
    let plan =
        lake.publish(&staged(1, vec![object("a", 1, 0, Forced::No), object("b", 1, 0, Forced::No)], &[("d=1", 0, 9), ("d=1", 1, 4)]));
    assert_eq!(plan.outcomes, [ObjectOutcome::Superseded, published(0)]);
    assert!(!plan.puts[0].write.take[0].whole, "the staged file is filtered");
    assert_eq!(lake.rows(), [seen("a", 1, 1, "d=1", 3), seen("b", 1, 0, "d=1", 4)]);
}

#[test]
fn of_two_versions_in_one_batch_the_newest_is_published() {
    let mut lake = Lake::default();
    let both = vec![object("a", 2, 0, Forced::No), object("a", 1, 0, Forced::No)];
    let plan = lake.publish(&staged(0, both, &[("d=1", 0, 3), ("d=1", 1, 4)]));
    assert_eq!(plan.outcomes, [published(0), ObjectOutcome::Superseded]);
    assert_eq!(lake.rows(), [seen("a", 2, 0, "d=1", 3)]);
}

#[test]
fn the_same_plan_after_its_commit_is_a_no_op() {
    let mut lake = Lake::default();
    let first = staged(0, vec![object("a", 1, 0, Forced::No)], &[("d=1", 0, 3)]);
    lake.publish(&first);
    let before = lake.clone();
    let plan = lake.publish(&first);
    assert_eq!(plan.outcomes, [published(0)]);
    assert!(plan.puts.is_empty() && plan.changes.is_empty());
    assert_eq!((lake.ledger, lake.etag), (before.ledger, before.etag));
}

#[test]
fn what_nobody_explains_fences_the_worker() {
    let mut lake = Lake::default();
    let first = staged(0, vec![object("a", 1, 0, Forced::No)], &[("d=1", 0, 3)]);
    let forced = staged(1, vec![object("a", 1, 1, Forced::Yes)], &[("d=1", 0, 2)]);
    lake.publish(&first);
    let key = lake.files.keys().next().cloned().expect("one file");

    let zombie = decide(&first, &Ledger::new(), |k| lake.observe(k));
    assert!(zombie.expect("the footer is ours").puts.is_empty(), "an empty ledger with our own stamp is a crash, not a stranger");
    let no_footer = |_: &str| Some(Observed { etag: "x".to_owned(), footer: None });
    assert!(matches!(decide(&first, &Ledger::new(), no_footer), Err(DecideError::Fence(Fence::Foreign { .. }))));
    assert!(matches!(decide(&forced, &lake.ledger, no_footer), Err(DecideError::Fence(Fence::Foreign { .. }))));
    let vanished = decide(&forced, &lake.ledger, |_| None);
    assert!(matches!(vanished, Err(DecideError::Fence(Fence::Vanished { key: k })) if k == key));
    let stale = lake.ledger.clone();
    lake.publish(&forced);
    lake.publish(&staged(2, vec![object("a", 1, 2, Forced::Yes)], &[("d=1", 0, 1)]));
    let other = staged(9, vec![object("a", 1, 5, Forced::Yes)], &[("d=1", 0, 2)]);
    assert!(matches!(decide(&other, &stale, |k| lake.observe(k)), Err(DecideError::Fence(Fence::Ahead { found: 3, ours: 2, .. }))));
}

#[test]
fn staged_results_that_contradict_themselves_halt() {
    let mut split = staged(0, vec![object("a", 1, 0, Forced::No)], &[("d=1", 0, 3)]);
    split.files.push(StagedFile { part: 1, ..split.files[0].clone() });
    assert!(matches!(Draft::new(&split, &Ledger::new()), Err(DraftError::SplitObject { .. })));
    let outside = staged(0, vec![], &[("d=1", 0, 3)]);
    assert!(matches!(Draft::new(&outside, &Ledger::new()), Err(DraftError::ObjectIndex { index: 0, len: 0, .. })));
    let mut lake = Lake::default();
    lake.publish(&staged(0, vec![object("a", 1, 0, Forced::No)], &[("d=1", 0, 3)]));
    lake.ledger.retain(|k, _| !k.starts_with(b"file/"));
    let forced = staged(1, vec![object("a", 1, 1, Forced::Yes)], &[("d=1", 0, 2)]);
    assert!(matches!(Draft::new(&forced, &lake.ledger), Err(DraftError::LedgerTorn { .. })));
}

#[test]
fn the_ledger_and_the_footers_tell_the_same() {
    let mut lake = Lake::default();
    lake.publish(&staged(0, vec![object("a", 1, 0, Forced::No)], &[("d=1", 0, 3), ("d=2", 0, 1)]));
    lake.publish(&staged(1, vec![object("a", 2, 0, Forced::No)], &[("d=2", 0, 5)]));
    for (key, (_, footer, rows)) in &lake.files {
        let entry: FileEntry = crate::publish::ledger::read(&lake.ledger, &file_key("orders", key)).expect("readable").expect("known");
        assert_eq!((&entry.stamp, entry.commit_seq, &entry.objects), (&footer.stamp, footer.commit_seq, rows));
    }
}

/// (object, version, generation, forced, partitions as bits)
type Step = Vec<(u8, i64, u32, bool, u8)>;

fn batch_of(seq: u64, step: &Step) -> Staged {
    let objects: Vec<StagedObject> =
        step.iter().map(|(o, v, g, f, _)| object(&format!("o{o}"), *v, *g, if *f { Forced::Yes } else { Forced::No })).collect();
    let rows: Vec<(String, usize, u64)> = step
        .iter()
        .enumerate()
        .flat_map(|(i, (.., bits))| (0..3).filter(move |b| bits & (1 << b) != 0).map(move |b| (format!("d={b}"), i, seq * 10 + 1)))
        .collect();
    let rows: Vec<(&str, usize, u64)> = rows.iter().map(|(p, i, n)| (p.as_str(), *i, *n)).collect();
    staged(seq, objects, &rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// A crash after any put, then the same plan again: equal to an undisturbed run, and no reader
    /// sees an object twice in a partition on the way.
    #[test]
    fn crashes_change_nothing(steps in proptest::collection::vec(
        proptest::collection::vec((0u8..4, 1i64..3, 0u32..4, any::<bool>(), 0u8..8), 1..5), 1..12), crash in 0usize..6) {
        let (mut calm, mut stormy) = (Lake::default(), Lake::default());
        for (seq, step) in steps.iter().enumerate() {
            let staged = batch_of(seq as u64, step);
            let calm_plan = calm.publish(&staged);
            let cut = stormy.decide(&staged).expect("first run");
            for put in cut.puts.iter().take(crash) {
                stormy.put(put, &staged);
                let mut owners: Vec<(String, String)> = stormy.rows().into_iter().map(|r| (r.0, r.3)).collect();
                let all = owners.len();
                owners.dedup();
                prop_assert_eq!(owners.len(), all, "an object twice in a partition");
            }
            let again = stormy.publish(&staged);
            prop_assert_eq!(again.done.len(), cut.puts.len().min(crash));
            prop_assert_eq!(&again.outcomes, &calm_plan.outcomes);
            prop_assert_eq!(&again.changes, &calm_plan.changes);
        }
        prop_assert_eq!(calm.rows(), stormy.rows());
        prop_assert_eq!(calm.ledger, stormy.ledger);
    }

    #[test]
    fn broken_ledger_values_halt_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let staged = staged(0, vec![object("a", 1, 0, Forced::No)], &[("d=1", 0, 3)]);
        let key = crate::publish::ledger::live_key("orders", &staged.objects[0].id);
        let ledger = Ledger::from([(key, bytes)]);
        prop_assert!(matches!(Draft::new(&staged, &ledger), Err(DraftError::Ledger(_))));
    }
}
