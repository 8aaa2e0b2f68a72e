//! Verdicts on letters: a release is a replay of exactly what was held back, a discard closes it. Either is one
//! transaction, with a line of the audit log for each letter that says who decided, when and why.

use std::collections::{BTreeMap, HashSet};

use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::desk::{Answer, Desk, DeskError, refused};
use crate::app::docket::{LETTER, VERDICT, name_of};
use crate::app::query::LetterFilter;
use crate::app::replay_order::{Chosen, Drawn, file};
use crate::app::view::uri;
use crate::broker::OutRecord;
use crate::domain::names::{ReplayId, StageName};
use crate::domain::position::Partition;
use crate::pipeline::claim::check_in;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::quarantine::verdict::{LetterState, Verdict, objection};
use crate::replay::manifest::{FILES_MAX, ReplayFile, ReplayOptions};
use crate::wire::records::{FORMAT_VERSION, LifecycleEvent, QuarantineLetter};

/// A verdict on letters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictOrder {
    /// release or discard.
    pub verdict: String,
    /// Run id, `bucket/key` or URI.
    pub id: Option<String>,
    pub filter: LetterFilter,
    pub dry_run: bool,
    /// Release: replace what is published already.
    pub force: bool,
    /// As many as the person saw; another number is refused.
    pub expected: Option<usize>,
    pub reason: String,
    pub requested_by: String,
    /// Release: default made of the time.
    pub replay_id: Option<String>,
    pub objects_per_second: Option<u32>,
}

/// One letter and what the verdict does to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictView {
    pub uri: String,
    pub dataset: Option<String>,
    pub reason: String,
    pub run_id: String,
    pub version_id: Option<String>,
    /// Before the verdict.
    pub state: String,
    /// release, discard, or left: it stays as it is.
    pub what: String,
    pub why: String,
}

/// A letter that was chosen.
struct Held {
    partition: Partition,
    letter: QuarantineLetter,
    state: LetterState,
    /// Why it stays as it is.
    left: Option<String>,
}

impl Held {
    fn view(&self, verdict: Verdict) -> VerdictView {
        VerdictView {
            uri: uri(&self.letter.bucket, &self.letter.key),
            dataset: self.letter.dataset.clone(),
            reason: self.letter.reason.clone(),
            run_id: self.letter.run_id.clone(),
            version_id: self.letter.version_id.clone(),
            state: self.state.as_str().to_owned(),
            what: if self.left.is_some() { "left" } else { verdict.as_str() }.to_owned(),
            why: self.left.clone().unwrap_or_default(),
        }
    }

    fn file(&self) -> Option<ReplayFile> {
        file(&self.letter.bucket, &self.letter.key, self.letter.version_id.clone())
    }
}

impl Desk {
    /// # Errors
    /// `Refused` when nothing is chosen or the letters are not those the person saw; else by what did not answer.
    pub(crate) async fn decide(&self, order: VerdictOrder) -> Result<Answer, DeskError> {
        let verdict: Verdict = order.verdict.parse().map_err(|e| refused(format!("{e}")))?;
        if order.reason.trim().is_empty() {
            return Err(refused("a verdict says why: --reason-text TEXT"));
        }
        let mut held = self.held(&order, verdict).await?;
        let mut records = Vec::new();
        let mut replay_id = None;
        if verdict == Verdict::Release {
            (replay_id, records) = self.release(&order, &mut held).await?;
        }
        let count = held.iter().filter(|h| h.left.is_none()).count();
        if let Some(expected) = order.expected.filter(|n| *n != count) {
            return Err(refused(format!("{count} letters match now, {expected} did when they were counted: look again")));
        }
        let decided = !order.dry_run && count > 0;
        if decided {
            for h in held.iter().filter(|h| h.left.is_none()) {
                records.push(self.verdict_event(verdict, h, &order, replay_id.as_ref())?);
            }
            self.broker.append(records).await?;
        }
        let items = held.iter().filter_map(|h| serde_json::to_value(h.view(verdict)).ok()).collect();
        let replay_id = replay_id.filter(|_| decided).map(|id| id.to_string());
        let about = json!({ "verdict": verdict.as_str(), "decided": decided, "dry_run": order.dry_run, "letters": count,
            "left": held.len() - count, "replay_id": replay_id });
        Ok(Answer { items, about, ..Answer::default() })
    }

    /// The letters an order chooses; those the verdict does not fit are left, if they were named.
    async fn held(&self, order: &VerdictOrder, verdict: Verdict) -> Result<Vec<Held>, DeskError> {
        let filter = &order.filter;
        if order.id.is_none() && filter.dataset.is_none() && filter.reason.is_none() && filter.key.is_none() {
            return Err(refused("say which letters: a run id or object, --dataset, --reason or --key"));
        }
        let mut held = Vec::new();
        let mut seen = HashSet::new();
        let by_name = order.id.is_some();
        let unreadable = self
            .query
            .each_letter(order.id.as_deref(), |partition, letter, state| {
                let left = objection(verdict, state, by_name);
                if filter.matches(&letter, state) && (by_name || left.is_none()) && held.len() <= FILES_MAX && seen.insert(name_of(&letter))
                {
                    held.push(Held { partition, letter: slim(letter), state, left: left.map(str::to_owned) });
                }
            })
            .await?;
        if held.len() > FILES_MAX {
            return Err(refused(format!("more than {FILES_MAX} letters match; narrow the selection")));
        }
        if held.is_empty() && unreadable > 0 {
            return Err(refused(format!("no letter matches; {unreadable} letters cannot be decoded")));
        }
        Ok(held)
    }

    /// Draws up the replay of what is held back, and leaves what cannot be released.
    async fn release(&self, order: &VerdictOrder, held: &mut [Held]) -> Result<(Option<ReplayId>, Vec<OutRecord>), DeskError> {
        let files: BTreeMap<ReplayFile, usize> = held.iter().enumerate().filter_map(|(n, h)| Some((h.file()?, n))).collect();
        let known = self.known(&files.into_keys().collect::<Vec<_>>()).await?;
        for h in held.iter_mut().filter(|h| h.left.is_none()) {
            h.left = match h.file() {
                None => Some("it names no object that could be replayed; mend its sender, and discard it".to_owned()),
                Some(file) => known
                    .get(&file)
                    .filter(|(_, row)| row.token != h.letter.token)
                    .map(|_| "another version of the object landed since: that one counts; discard this letter".to_owned()),
            };
        }
        let mut files: Vec<ReplayFile> = held.iter().filter(|h| h.left.is_none()).filter_map(Held::file).collect();
        files.sort();
        files.dedup();
        if files.is_empty() {
            return Ok((None, Vec::new()));
        }
        let datasets: HashSet<&Option<String>> = held.iter().filter(|h| h.left.is_none()).map(|h| &h.letter.dataset).collect();
        let dataset = if datasets.len() == 1 { datasets.into_iter().next().cloned().flatten() } else { None };
        let chosen = Chosen {
            dataset,
            replay_id: None,
            reason: Some(order.reason.clone()),
            options: ReplayOptions { force: order.force, dry_run: order.dry_run, skip_if_published: !order.force },
            objects_per_second: order.objects_per_second,
            files,
        };
        let Drawn { mut record, planned, .. } = self.draw(chosen, order.replay_id.clone(), None, order.requested_by.clone()).await?;
        let stays: BTreeMap<&ReplayFile, String> =
            planned.files.iter().filter(|f| !f.action.is_replay()).map(|f| (&f.file, f.action.to_string())).collect();
        for h in held.iter_mut().filter(|h| h.left.is_none()) {
            h.left = h.file().and_then(|file| stays.get(&file).cloned());
        }
        if order.dry_run || held.iter().all(|h| h.left.is_some()) {
            return Ok((None, Vec::new()));
        }
        if let Some((path, bytes)) = check_in(&mut record) {
            self.query.lake.put(&path, PutPayload::from(bytes)).await?;
        }
        Ok((Some(planned.replay_id.clone()), vec![record]))
    }

    fn verdict_event(
        &self,
        verdict: Verdict,
        held: &Held,
        order: &VerdictOrder,
        replay_id: Option<&ReplayId>,
    ) -> Result<OutRecord, DeskError> {
        let letter = &held.letter;
        let detail = json!({ "reason": order.reason, "requested_by": order.requested_by, "letter": letter.reason,
            "state": held.state.as_str(), "force": order.force });
        let event = LifecycleEvent {
            format_version: FORMAT_VERSION,
            kind: verdict.kind().to_owned(),
            stage: StageName::Letters.as_str().to_owned(),
            dataset: letter.dataset.clone(),
            bucket: Some(letter.bucket.clone()),
            key: Some(letter.key.clone()),
            batch_id: None,
            replay_id: replay_id.map(ToString::to_string),
            run_ids: vec![letter.run_id.clone()],
            reason: Some(letter.reason.clone()),
            detail: detail.to_string(),
            at: self.clock.now().millis(),
        };
        let mut headers = vec![
            ("run_id".to_owned(), letter.run_id.clone().into()),
            (VERDICT.to_owned(), verdict.as_str().into()),
            (LETTER.to_owned(), name_of(letter).into()),
        ];
        headers.extend(letter.dataset.iter().map(|d| ("dataset".to_owned(), d.clone().into())));
        let key = uri(&letter.bucket, &letter.key);
        // Beside its letter, wherever that was placed.
        Ok(self.query.outlet.record(Topic::Lifecycle, &key, Placed::On(held.partition), &event, headers)?)
    }

    /// Objects whose newest letter is of the dataset, and of the reason if one is given; none that was discarded.
    pub(crate) async fn held_back(&self, dataset: &str, reason: Option<&str>) -> Result<Vec<ReplayFile>, DeskError> {
        let mut newest: BTreeMap<(Partition, ReplayFile), bool> = BTreeMap::new();
        self.query
            .each_letter(None, |partition, letter, state| {
                if letter.dataset.as_deref() != Some(dataset) {
                    return;
                }
                let matches = reason.is_none_or(|r| letter.reason == r || letter.reasons.contains_key(r));
                if let Some(file) = file(&letter.bucket, &letter.key, letter.version_id) {
                    newest.insert((partition, file), matches && state != LetterState::Discarded);
                }
            })
            .await?;
        Ok(newest.into_iter().filter_map(|((_, file), matches)| matches.then_some(file)).collect())
    }
}

/// What a verdict needs of a letter: many are held at once.
fn slim(letter: QuarantineLetter) -> QuarantineLetter {
    QuarantineLetter { detail: String::new(), evidence: String::new(), remedy: String::new(), samples: Vec::new(), raw: None, ..letter }
}
