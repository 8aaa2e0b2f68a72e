//! The draft of a commit: what the ledger alone says about a staged result.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::domain::names::{DatasetName, Generation};
use crate::publish::ledger::{self, FileEntry, FileObject, LedgerError, LiveEntry, LiveFile, ObjectId, TableEntry, VersionMark, View};
use crate::publish::name::BatchName;

/// The result of one plan, staged and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Staged {
    pub table: DatasetName,
    /// Folder of the table under the lake, without a trailing slash.
    pub location: String,
    pub batch: BatchName,
    /// Every object of the plan that may be published, also those of 0 rows.
    pub objects: Vec<StagedObject>,
    /// At most one file of a partition holds rows of one object (decisions.md 7).
    pub files: Vec<StagedFile>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StagedObject {
    pub id: ObjectId,
    pub version: VersionMark,
    pub generation: Generation,
    /// An operator asked for replacement.
    pub forced: Forced,
}

/// Whether a replay may replace what is published of the same version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forced {
    No,
    Yes,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StagedFile {
    pub staged_key: String,
    /// Escaped hive path; empty for an unpartitioned table.
    pub partition: String,
    /// Number among the files of its partition, from 0.
    pub part: u32,
    /// (index into `objects`, rows); rows > 0.
    pub rows: Vec<(usize, u64)>,
}

/// What becomes of one staged object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectOutcome {
    Published {
        generation: Generation,
    },
    /// The version is published already and nobody forced a replacement.
    Duplicate,
    /// A newer version or generation is published, or is in this very batch.
    Superseded,
}

/// A file the commit writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    pub partition: String,
    pub kind: WriteKind,
    /// Rows taken from staged files: (index into `files`, objects). For `Create` of a whole file, all of it.
    pub take: Vec<Take>,
    /// What will stand in the file, sorted; goes into the footer.
    pub objects: Vec<FileObject>,
    pub commit_seq: u64,
    /// Goes into the footer: recognizes this very write.
    pub stamp: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteKind {
    /// A key nobody has written.
    Create,
    /// The present rows, without those of `drop`. No `objects` left: a tombstone.
    Rewrite { drop: BTreeSet<ObjectId>, expect: FileEntry },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    pub file: usize,
    /// Indices into `Staged::objects`.
    pub objects: Vec<usize>,
    /// Every row of the staged file is taken.
    pub whole: bool,
}

/// A change of the ledger, keyed so that its topic compacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerChange {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// What the ledger says; [`crate::publish::decide::settle`] turns it into a plan once the keys are observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// In sorted key order, so that a crash resumes the same list.
    pub writes: Vec<Write>,
    pub changes: Vec<LedgerChange>,
    /// One per staged object.
    pub outcomes: Vec<ObjectOutcome>,
    pub commit_seq: u64,
}

/// The staged result contradicts itself or the ledger: the stage halts.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("staged file {staged_key:?} names object number {index}, of {len}")]
    ObjectIndex { staged_key: String, index: usize, len: usize },
    #[error("rows of {object:?} stand in two staged files of partition {partition:?}")]
    SplitObject { object: String, partition: String },
    #[error("{object:?} is live in {key:?}, but the ledger does not know that file or its rows")]
    LedgerTorn { object: String, key: String },
}

enum Fate {
    Publish,
    Replace(LiveEntry),
    /// This plan is in the ledger already.
    Done,
    Duplicate,
    Superseded,
}

impl Draft {
    /// Keys that gather has to observe before the draft can be settled.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.writes.iter().map(|w| w.key.as_str())
    }

    /// Drafts the commit of a staged result (decisions.md 4, 5, 7, 10; engine.md §8.7, keys mode).
    ///
    /// # Errors
    /// When the ledger cannot be read, or the staged result contradicts itself or the ledger.
    pub fn new(staged: &Staged, view: &dyn View) -> Result<Self, DraftError> {
        check_shape(staged)?;
        let fates = fates(staged, view)?;
        let table = staged.table.as_str();
        let head: TableEntry = ledger::read(view, &ledger::table_key(table))?.unwrap_or_default();
        let outcomes: Vec<ObjectOutcome> = staged.objects.iter().zip(&fates).map(|(o, f)| f.outcome(o.generation)).collect();
        let active = |i: usize| matches!(fates[i], Fate::Publish | Fate::Replace(_));
        if !(0..fates.len()).any(active) {
            return Ok(Self { writes: Vec::new(), changes: Vec::new(), outcomes, commit_seq: head.commit_seq });
        }
        let commit_seq = head.commit_seq.saturating_add(1);
        let mut rewrites = rewrites(staged, &fates, view)?;
        let mut creates: BTreeMap<String, Write> = BTreeMap::new();
        for (number, file) in staged.files.iter().enumerate() {
            let mut fresh = Vec::new();
            for (index, rows) in file.rows.iter().filter(|(i, _)| active(*i)) {
                let object = file_object(&staged.objects[*index], *rows);
                match rewrites.values_mut().find(|w| w.partition == file.partition && w.drops(&object.object)) {
                    Some(write) => write.take(number, *index, object),
                    None => fresh.push((*index, object)),
                }
            }
            if fresh.is_empty() {
                continue;
            }
            let key = staged.batch.final_key(&staged.location, &file.partition, file.part);
            let (objects, held) = fresh.into_iter().unzip();
            creates.insert(key.clone(), Write::create(key, &file.partition, Take { file: number, objects, whole: false }, held));
        }
        let mut writes: Vec<Write> = rewrites.into_values().chain(creates.into_values()).collect();
        writes.sort_by(|a, b| a.key.cmp(&b.key));
        for write in &mut writes {
            for take in &mut write.take {
                take.whole = take.objects.len() == staged.files[take.file].rows.len();
            }
            write.seal(commit_seq, &staged.batch);
        }
        let changes = changes(staged, &fates, &writes, commit_seq);
        Ok(Self { writes, changes, outcomes, commit_seq })
    }
}

impl Fate {
    fn outcome(&self, generation: Generation) -> ObjectOutcome {
        match self {
            Fate::Publish | Fate::Replace(_) | Fate::Done => ObjectOutcome::Published { generation },
            Fate::Duplicate => ObjectOutcome::Duplicate,
            Fate::Superseded => ObjectOutcome::Superseded,
        }
    }
}

fn file_object(object: &StagedObject, rows: u64) -> FileObject {
    FileObject { object: object.id.clone(), version: object.version.token.clone(), generation: object.generation.0, rows }
}

fn check_shape(staged: &Staged) -> Result<(), DraftError> {
    let mut seen = BTreeSet::new();
    for file in &staged.files {
        for (index, _) in &file.rows {
            let len = staged.objects.len();
            let Some(object) = staged.objects.get(*index) else {
                return Err(DraftError::ObjectIndex { staged_key: file.staged_key.clone(), index: *index, len });
            };
            if !seen.insert((file.partition.as_str(), *index)) {
                return Err(DraftError::SplitObject { object: object.id.0.clone(), partition: file.partition.clone() });
            }
        }
    }
    Ok(())
}

/// Judges each object by the ledger; of two entries of one object in a batch, only the newest goes on.
fn fates(staged: &Staged, view: &dyn View) -> Result<Vec<Fate>, LedgerError> {
    let mut newest: BTreeMap<&ObjectId, usize> = BTreeMap::new();
    for (i, object) in staged.objects.iter().enumerate() {
        let best = newest.entry(&object.id).or_insert(i);
        let held = &staged.objects[*best];
        if object.version.compare(&held.version).then(object.generation.cmp(&held.generation)).is_gt() {
            *best = i;
        }
    }
    let batch = staged.batch.id();
    let mut fates = Vec::with_capacity(staged.objects.len());
    for (i, object) in staged.objects.iter().enumerate() {
        if newest.get(&object.id) != Some(&i) {
            fates.push(Fate::Superseded);
            continue;
        }
        let live: Option<LiveEntry> = ledger::read(view, &ledger::live_key(staged.table.as_str(), &object.id))?;
        fates.push(match live {
            None => Fate::Publish,
            Some(live) => judge(object, live, batch.as_str()),
        });
    }
    Ok(fates)
}

fn judge(object: &StagedObject, live: LiveEntry, batch: &str) -> Fate {
    match object.version.compare(&live.version) {
        std::cmp::Ordering::Less => Fate::Superseded,
        std::cmp::Ordering::Greater => Fate::Replace(live),
        std::cmp::Ordering::Equal if live.generation == object.generation.0 && live.batch == batch => Fate::Done,
        std::cmp::Ordering::Equal if live.generation >= object.generation.0 => Fate::Superseded,
        std::cmp::Ordering::Equal => match object.forced {
            Forced::Yes => Fate::Replace(live),
            Forced::No => Fate::Duplicate,
        },
    }
}

/// One rewrite per live file that holds rows of a replaced object, still without their new rows.
fn rewrites(staged: &Staged, fates: &[Fate], view: &dyn View) -> Result<BTreeMap<String, Write>, DraftError> {
    let mut writes: BTreeMap<String, Write> = BTreeMap::new();
    for (object, fate) in staged.objects.iter().zip(fates) {
        let Fate::Replace(live) = fate else { continue };
        for key in live.files.keys() {
            let torn = || DraftError::LedgerTorn { object: object.id.0.clone(), key: key.clone() };
            if !writes.contains_key(key) {
                let entry: FileEntry = ledger::read(view, &ledger::file_key(staged.table.as_str(), key))?.ok_or_else(torn)?;
                writes.insert(key.clone(), Write::rewrite(key, entry));
            }
            let write = writes.get_mut(key).expect("it was inserted above");
            if !write.drop(&object.id) {
                return Err(torn());
            }
        }
    }
    Ok(writes)
}

impl Write {
    fn create(key: String, partition: &str, take: Take, objects: Vec<FileObject>) -> Self {
        let partition = partition.to_owned();
        Self { key, partition, kind: WriteKind::Create, take: vec![take], objects, commit_seq: 0, stamp: String::new() }
    }

    fn rewrite(key: &str, expect: FileEntry) -> Self {
        Self {
            key: key.to_owned(),
            partition: expect.partition.clone(),
            objects: expect.objects.clone(),
            kind: WriteKind::Rewrite { drop: BTreeSet::new(), expect },
            take: Vec::new(),
            commit_seq: 0,
            stamp: String::new(),
        }
    }

    /// Leaves an object's present rows out; false if it has none here.
    fn drop(&mut self, object: &ObjectId) -> bool {
        let before = self.objects.len();
        self.objects.retain(|o| o.object != *object);
        if let WriteKind::Rewrite { drop, .. } = &mut self.kind {
            drop.insert(object.clone());
        }
        self.objects.len() < before
    }

    fn drops(&self, object: &ObjectId) -> bool {
        matches!(&self.kind, WriteKind::Rewrite { drop, .. } if drop.contains(object))
    }

    fn take(&mut self, file: usize, index: usize, object: FileObject) {
        match self.take.iter_mut().find(|t| t.file == file) {
            Some(take) => take.objects.push(index),
            None => self.take.push(Take { file, objects: vec![index], whole: false }),
        }
        self.objects.push(object);
    }

    fn seal(&mut self, commit_seq: u64, batch: &BatchName) {
        self.objects.sort();
        self.commit_seq = commit_seq;
        self.stamp = stamp(&self.key, commit_seq, batch, &self.objects);
    }

    /// The last row of the file goes: it becomes an empty Parquet file under the same key.
    pub fn is_tombstone(&self) -> bool {
        self.objects.is_empty()
    }
}

/// Digest over what a write means: key, commit number, batch and the rows per object and generation.
fn stamp(key: &str, commit_seq: u64, batch: &BatchName, objects: &[FileObject]) -> String {
    let mut hasher = Sha256::new();
    for text in [key, batch.id().as_str()] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hasher.update(commit_seq.to_be_bytes());
    for object in objects {
        for text in [&object.object.0, &object.version] {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
        hasher.update(object.generation.to_be_bytes());
        hasher.update(object.rows.to_be_bytes());
    }
    hex::encode(hasher.finalize())
}

fn changes(staged: &Staged, fates: &[Fate], writes: &[Write], commit_seq: u64) -> Vec<LedgerChange> {
    let table = staged.table.as_str();
    let batch = staged.batch.id();
    let mut changes = Vec::with_capacity(writes.len() + fates.len() + 1);
    for write in writes {
        let entry =
            FileEntry { partition: write.partition.clone(), commit_seq, stamp: write.stamp.clone(), objects: write.objects.clone() };
        changes.push(LedgerChange { key: ledger::file_key(table, &write.key), value: ledger::encode(&entry) });
    }
    for (object, fate) in staged.objects.iter().zip(fates) {
        if !matches!(fate, Fate::Publish | Fate::Replace(_)) {
            continue;
        }
        // Sealed writes are sorted, and name an object once.
        let held = |w: &Write| w.objects.binary_search_by(|o| o.object.cmp(&object.id)).ok().map(|at| w.objects[at].rows);
        let files =
            writes.iter().filter_map(|w| held(w).map(|rows| (w.key.clone(), LiveFile { partition: w.partition.clone(), rows }))).collect();
        let live = LiveEntry { version: object.version.clone(), generation: object.generation.0, batch: batch.as_str().to_owned(), files };
        changes.push(LedgerChange { key: ledger::live_key(table, &object.id), value: ledger::encode(&live) });
    }
    let head = TableEntry { commit_seq, last_batch: batch.as_str().to_owned() };
    changes.push(LedgerChange { key: ledger::table_key(table), value: ledger::encode(&head) });
    changes
}
