//! Publish: the idempotent commit to the curated table, and its ledger.
//!
//! look drafts the commit from the ledger; gather observes the keys it names and makes the bytes;
//! decide drafts again, and if nothing moved settles against what stands there. Publish may only
//! retry or halt: after its first put there is no way back (decisions.md 9, 10).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;

use crate::broker::Record;
use crate::contract::model::OnOverwrite as ContractOverwrite;
use crate::domain::names::{Generation, StageName};
use crate::domain::object::{ObjectRef, ObjectVersion};
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::lake::layout::key;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::pipeline::work::Work;
use crate::publish::decide::{Condition, FooterMark, Observed, settle};
use crate::publish::draft::{Draft, Forced, ObjectOutcome, Staged, StagedFile, StagedObject, Write, WriteKind};
use crate::publish::ledger::{ObjectId, OnOverwrite, VersionMark, View as LedgerView};
use crate::publish::name::BatchName;
use crate::stage::catalog::{Catalog, Dataset};
use crate::stage::letters::{Clerk, RowCounts, State, Subject};
use crate::stage::{Decision, OnPoison, Payload, PutHow, PutObject, Stage, StageError, Verdict};
use crate::state::{Change, StateError, View};
use crate::table::footer::{Footer, FooterObject};
use crate::table::parquet::TableFile;
use crate::table::rewrite::{Part, RewriteError, compose, seal};
use crate::wire::codec::CodecError;
use crate::wire::long;
use crate::wire::records::{Admitted, FORMAT_VERSION, PublishedBatch, PublishedObject, StagedBatch};

/// Final files made at once.
const FILES_AT_ONCE: usize = 16;

pub struct Publish {
    pub catalog: Arc<Catalog>,
    pub lake: Arc<dyn ObjectStore>,
    pub clerk: Clerk,
    pub work: Work,
}

/// A draft of the commit, and what it was drafted from.
pub struct Drafted {
    dataset: Arc<Dataset>,
    staged: Staged,
    draft: Draft,
}

/// What was found and made for one draft.
pub struct Facts {
    drafted: Drafted,
    observed: BTreeMap<String, Observed>,
    contents: BTreeMap<String, Bytes>,
}

/// The local store as the ledger's view; a failed read is kept and reported afterwards.
struct Ledger<'a> {
    view: View<'a>,
    failed: RefCell<Option<StateError>>,
}

impl LedgerView for Ledger<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.view
            .get(key)
            .unwrap_or_else(|e| {
                *self.failed.borrow_mut() = Some(e);
                None
            })
            .map(|v| v.to_vec())
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = self.view.scan(prefix).unwrap_or_else(|e| {
            *self.failed.borrow_mut() = Some(e);
            Vec::new()
        });
        found.into_iter().map(|(k, v)| (k, v.to_vec())).collect()
    }
}

fn drafted(view: View<'_>, staged: &Staged) -> Result<Draft, StageError> {
    let ledger = Ledger { view, failed: RefCell::new(None) };
    let draft = Draft::new(staged, &ledger);
    if let Some(failed) = ledger.failed.into_inner() {
        return Err(failed.into());
    }
    draft.map_err(|e| StageError::Broken { detail: e.to_string() })
}

fn broken(e: impl std::fmt::Display) -> StageError {
    StageError::Broken { detail: e.to_string() }
}

/// Whether a member's rows may be published.
fn is_accepted(verdict: &str) -> bool {
    verdict == "accepted" || verdict == "accepted_minus_rows"
}

fn policy(dataset: &Dataset) -> OnOverwrite {
    match dataset.contract.on_overwrite {
        ContractOverwrite::Append => OnOverwrite::Append,
        ContractOverwrite::Replace | ContractOverwrite::Quarantine => OnOverwrite::Replace,
    }
}

fn object_id(object: &Admitted, policy: OnOverwrite) -> Result<(ObjectId, ObjectVersion), StageError> {
    let at = ObjectRef { bucket: object.bucket.parse().map_err(broken)?, key: object.key.parse().map_err(broken)? };
    let version = ObjectVersion {
        version_id: object.version_id.clone(),
        etag: object.etag.clone(),
        size: u64::try_from(object.size).ok(),
        ..ObjectVersion::default()
    };
    Ok((ObjectId::new(&at, &version, policy), version))
}

/// The checked batch as the publish core sees it.
fn staged(batch: &StagedBatch, dataset: &Dataset) -> Result<Staged, StageError> {
    let policy = policy(dataset);
    let mut places: BTreeMap<i32, usize> = BTreeMap::new();
    let mut objects = Vec::new();
    for (index, member) in batch.members.iter().enumerate().filter(|(_, m)| is_accepted(&m.verdict)) {
        let (id, version) = object_id(&member.admitted, policy)?;
        places.insert(i32::try_from(index).unwrap_or(i32::MAX), objects.len());
        objects.push(StagedObject {
            id,
            version: VersionMark::new(&version, Timestamp::from_millis(member.admitted.first_landed)),
            generation: Generation(u32::try_from(member.admitted.generation).unwrap_or(0)),
            forced: if member.admitted.forced { Forced::Yes } else { Forced::No },
        });
    }
    let mut parts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut files = Vec::new();
    for file in &batch.files {
        let part = parts.entry(&file.partition).or_default();
        let rows = file.objects.iter().map(|o| {
            let place = places
                .get(&o.member)
                .copied()
                .ok_or_else(|| broken(format!("{} holds rows of an object that was not accepted", file.key)))?;
            Ok((place, long::count(o.rows)))
        });
        files.push(StagedFile {
            staged_key: file.key.clone(),
            partition: file.partition.clone(),
            part: *part,
            rows: rows.collect::<Result<Vec<_>, StageError>>()?,
        });
        *part += 1;
    }
    let batch = BatchName {
        dataset: batch.dataset.parse().map_err(broken)?,
        shard: u32::try_from(batch.shard).unwrap_or(0),
        seq: long::count(batch.seq),
    };
    let table = batch.dataset.clone();
    Ok(Staged { table, location: dataset.contract.publish.location.trim_matches('/').to_owned(), batch, objects, files })
}

/// An object as the ledger names it, from a footer.
fn id_in_footer(object: &FooterObject, policy: OnOverwrite) -> ObjectId {
    match policy {
        OnOverwrite::Replace => ObjectId(object.object.clone()),
        OnOverwrite::Append => ObjectId(format!("{}\u{1}{}", object.object, object.token)),
    }
}

impl Publish {
    async fn bytes(&self, at: &str) -> Result<Option<(Bytes, String)>, StageError> {
        match self.lake.get(&key(at)).await {
            Ok(found) => {
                let etag = found.meta.e_tag.clone().ok_or_else(|| broken(format!("{at}: the store gives no e-tags")))?;
                Ok(Some((found.bytes().await?, etag)))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Observes one key and makes what the draft wants to stand there.
    async fn prepare(
        &self,
        write: &Write,
        staged: &Staged,
        dataset: &Arc<Dataset>,
    ) -> Result<(Option<Observed>, Option<Bytes>), StageError> {
        let present = match self.lake.head(&key(&write.key)).await {
            Ok(_) => self.bytes(&write.key).await?,
            Err(object_store::Error::NotFound { .. }) => None,
            Err(e) => return Err(e.into()),
        };
        let observed = present.as_ref().map(|(bytes, etag)| {
            let footer = TableFile::open(bytes.clone()).ok().and_then(|f| f.footer());
            Observed { etag: etag.clone(), footer: footer.map(|f| FooterMark { stamp: f.stamp, commit_seq: f.commit_seq }) }
        });
        if observed.as_ref().and_then(|o| o.footer.as_ref()).is_some_and(|f| f.stamp == write.stamp) {
            return Ok((observed, None));
        }
        let mut taken = Vec::with_capacity(write.take.len());
        for take in &write.take {
            let file = &staged.files[take.file];
            let (bytes, _) =
                self.bytes(&file.staged_key).await?.ok_or_else(|| broken(format!("staged file {} is gone", file.staged_key)))?;
            let ids: Vec<ObjectId> = take.objects.iter().map(|i| staged.objects[*i].id.clone()).collect();
            taken.push((bytes, take.whole, ids));
        }
        let (write, batch) = (write.clone(), staged.batch.id().to_string());
        let present = present.map(|(bytes, _)| bytes);
        let dataset = Arc::clone(dataset);
        let content = self.work.run(move || content(&write, &batch, present, taken, &dataset)).await?.map_err(broken)?;
        Ok((observed, Some(content)))
    }

    fn outcomes(
        &self,
        batch: &StagedBatch,
        outcomes: &[ObjectOutcome],
        now: Timestamp,
        decision: &mut Decision,
    ) -> Result<Vec<PublishedObject>, StageError> {
        let mut told = Vec::new();
        let accepted = batch.members.iter().filter(|m| is_accepted(&m.verdict));
        for (member, outcome) in accepted.zip(outcomes) {
            let subject = Subject { dataset: Some(&batch.dataset), object: &member.admitted };
            let published = member.rows_staged - member.rows_held;
            let mut rows = RowCounts {
                physical: long::count(member.rows_physical),
                published: long::count(published),
                quarantined: long::count(member.rows_quarantined + member.rows_held),
                deduplicated: long::count(member.rows_deduplicated),
            };
            let (state, reason) = match outcome {
                ObjectOutcome::Published { .. } => (State::Published, None),
                ObjectOutcome::Duplicate => (State::Duplicate, Some(ReasonCode::DuplicateObject)),
                ObjectOutcome::Superseded => (State::Superseded, Some(ReasonCode::SupersededObject)),
            };
            if state != State::Published {
                rows = RowCounts { physical: rows.physical, ..RowCounts::default() };
            }
            decision.sends.push(self.clerk.status(&subject, state, reason, rows, now)?);
            told.push(PublishedObject {
                bucket: member.admitted.bucket.clone(),
                key: member.admitted.key.clone(),
                token: member.admitted.token.clone(),
                generation: member.admitted.generation,
                run_id: member.admitted.run_id.clone(),
                rows: if state == State::Published { published } else { 0 },
                outcome: state.as_str().to_owned(),
            });
        }
        Ok(told)
    }
}

/// The bytes of one final file.
fn content(
    write: &Write,
    batch: &str,
    present: Option<Bytes>,
    taken: Vec<(Bytes, bool, Vec<ObjectId>)>,
    dataset: &Dataset,
) -> Result<Bytes, RewriteError> {
    let policy = policy(dataset);
    let footer = |objects: Vec<FooterObject>| Footer {
        format_version: Footer::FORMAT_VERSION,
        dataset: dataset.name().to_owned(),
        batch_id: batch.to_owned(),
        commit_seq: write.commit_seq,
        stamp: write.stamp.clone(),
        objects,
    };
    if let (WriteKind::Create, [(file, true, _)]) = (&write.kind, taken.as_slice()) {
        let held = TableFile::open(file.clone())?.footer().ok_or(RewriteError::Foreign)?.objects;
        return seal(file, &footer(held));
    }
    let mut parts: Vec<Part> = Vec::new();
    if let (WriteKind::Rewrite { drop, .. }, Some(file)) = (&write.kind, present) {
        let drop = drop.clone();
        parts.push(Part { file, keep: Box::new(move |o| !drop.contains(&id_in_footer(o, policy))) });
    }
    for (file, whole, ids) in taken {
        parts.push(Part { file, keep: Box::new(move |o| whole || ids.contains(&id_in_footer(o, policy))) });
    }
    compose(parts, dataset.parquet(), footer)
}

#[async_trait]
impl Stage for Publish {
    const NAME: StageName = StageName::Publish;
    const ON_POISON: OnPoison = OnPoison::Halt;
    type Input = StagedBatch;
    /// `None`: the contract's version must be loaded before anything can be drafted.
    type Known = Option<Drafted>;
    type Facts = Option<Facts>;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<StagedBatch, CodecError> {
        self.clerk.outlet.codec.decode(value)
    }

    fn weight(&self, batch: &StagedBatch) -> u64 {
        batch.files.iter().map(|f| long::count(f.bytes)).sum()
    }

    fn look(&self, view: View<'_>, batch: &StagedBatch) -> Result<Option<Drafted>, StageError> {
        let Some(dataset) = self.catalog.loaded(&batch.contract_hash) else { return Ok(None) };
        let staged = staged(batch, &dataset)?;
        let draft = drafted(view, &staged)?;
        Ok(Some(Drafted { dataset, staged, draft }))
    }

    async fn gather(&self, batch: &StagedBatch, drafted: Option<Drafted>) -> Result<Option<Facts>, StageError> {
        let Some(drafted) = drafted else {
            self.catalog.version(&batch.dataset, &batch.contract_hash).await?;
            return Ok(None);
        };
        let (mut observed, mut contents) = (BTreeMap::new(), BTreeMap::new());
        let mut preparing = Vec::with_capacity(drafted.draft.writes.len());
        for write in &drafted.draft.writes {
            preparing.push(self.prepare(write, &drafted.staged, &drafted.dataset));
        }
        let prepared: Vec<Result<_, StageError>> = futures::stream::iter(preparing).buffered(FILES_AT_ONCE).collect().await;
        for (write, prepared) in drafted.draft.writes.iter().zip(prepared) {
            let (seen, content) = prepared?;
            seen.map(|s| observed.insert(write.key.clone(), s));
            content.map(|c| contents.insert(write.key.clone(), c));
        }
        Ok(Some(Facts { drafted, observed, contents }))
    }

    fn decide(&self, view: View<'_>, batch: &StagedBatch, facts: Option<Facts>, now: Timestamp) -> Result<Verdict, StageError> {
        let Some(Facts { drafted: Drafted { staged, draft, .. }, observed, mut contents }) = facts else { return Ok(Verdict::Again) };
        if drafted(view, &staged)? != draft {
            // Another batch of this very round was committed in between.
            return Ok(Verdict::Again);
        }
        let plan = settle(draft, |key| observed.get(key).cloned()).map_err(broken)?;
        let mut decision = Decision::default();
        let (mut created, mut rewritten) = (Vec::new(), Vec::new());
        for put in plan.puts {
            let content = contents.remove(&put.write.key).ok_or_else(|| broken(format!("nothing was made for {}", put.write.key)))?;
            let how = match put.condition {
                Condition::Absent => PutHow::Create,
                Condition::ETag(etag) => PutHow::Match { etag },
            };
            match put.write.kind {
                WriteKind::Create => created.push(put.write.key.clone()),
                WriteKind::Rewrite { .. } => rewritten.push(put.write.key.clone()),
            }
            decision.puts.push(PutObject { to: key(&put.write.key), payload: Payload::Bytes(content), how });
        }
        created.extend(plan.done);
        decision.changes.extend(plan.changes.into_iter().map(|c| Change { key: c.key, value: Some(c.value.into()) }));
        let objects = self.outcomes(batch, &plan.outcomes, now, &mut decision)?;
        let admitted: Vec<&Admitted> = batch.members.iter().filter(|m| is_accepted(&m.verdict)).map(|m| &m.admitted).collect();
        let detail =
            json!({ "commit_seq": plan.commit_seq, "created": created.len(), "rewritten": rewritten.len(), "objects": objects.len() });
        decision.sends.push(self.clerk.batch_event("Published", &batch.dataset, &batch.batch_id, &admitted, detail, now)?);
        let record = PublishedBatch {
            format_version: FORMAT_VERSION,
            batch_id: batch.batch_id.clone(),
            dataset: batch.dataset.clone(),
            table: batch.dataset.clone(),
            commit_seq: long::of(plan.commit_seq),
            published_at: now.millis(),
            created,
            rewritten,
            objects,
        };
        let headers = vec![("dataset".to_owned(), batch.dataset.clone().into())];
        decision.sends.push(self.clerk.outlet.record(Topic::Published, &batch.dataset, Placed::By(&batch.dataset), &record, headers)?);
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, _: &StagedBatch, _: ReasonCode, detail: &str, _: Timestamp) -> Result<Decision, StageError> {
        Err(broken(detail))
    }

    fn due(&self, _: View<'_>, _: Timestamp) -> Result<Vec<StagedBatch>, StageError> {
        Ok(Vec::new())
    }

    fn next_due(&self, _: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(None)
    }
}
