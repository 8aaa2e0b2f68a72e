//! What a round decided, and how it becomes true: puts, one commit, the local store.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryFutureExt;
use tracing::warn;

use crate::broker::{CommitError, Committed, Log, OutRecord, Transaction};
use crate::domain::position::{NextOffset, Partition};
use crate::domain::reason::Disposition;
use crate::pipeline::doubt::Doubt;
use crate::pipeline::perform::{self, PerformError};
use crate::pipeline::restore::{META_KEY, Meta};
use crate::pipeline::runner::{Halt, Owned, Runner};
use crate::pipeline::topics::{Topic, Topics};
use crate::stage::{Stage, StageError, Step};
use crate::state::{Change, Overlay};
use crate::telemetry::fact::{Fact, TransactionOutcome};

/// What was decided of a round, not yet performed.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) puts: Vec<crate::stage::PutObject>,
    pub(super) sends: Vec<OutRecord>,
    pub(super) overlays: BTreeMap<Partition, Overlay>,
    pub(super) nexts: BTreeMap<Partition, NextOffset>,
    pub(super) done: usize,
    pub(super) then: Then,
    /// Told once it is committed.
    pub(super) facts: Vec<Fact>,
}

impl Prepared {
    /// Nothing to tell anybody: timers that found nothing to do.
    fn is_nothing(&self) -> bool {
        self.nexts.is_empty() && self.puts.is_empty() && self.sends.is_empty() && self.overlays.values().all(Overlay::is_empty)
    }
}

#[derive(Default)]
pub(super) enum Then {
    #[default]
    Next,
    Later,
    Perform(Step),
}

/// How a round ended.
pub(super) enum Round {
    /// The first `n` tasks are committed; go on at once with the rest.
    Done(usize),
    /// The first `n` tasks are committed and an external step is done; the rest at once.
    Stepped(usize),
    /// The first `n` tasks are committed; the rest after a backoff.
    Later(usize),
    /// The assignment changes, or a stop: nothing is prepared.
    Interrupted,
    /// The port is spent.
    Spent,
}

impl<S: Stage> Runner<S> {
    /// Performs what was prepared: puts, commit, local store.
    pub(super) async fn settle(&mut self, log: &mut dyn Log, mut prepared: Prepared) -> Result<Round, Halt> {
        if !prepared.is_nothing() {
            match perform::puts(&self.around.lake, std::mem::take(&mut prepared.puts), &mut prepared.sends).await {
                Ok(()) => {}
                Err(e @ PerformError::Spool { .. }) => return Err(Halt::Perform { stage: S::NAME, source: e }),
                Err(e) => {
                    warn!(stage = S::NAME.as_str(), error = %e, "a put did not happen, the round is gathered again");
                    return Ok(Round::Later(0));
                }
            }
            if let Some(round) = self.commit(log, &mut prepared).await? {
                return Ok(round);
            }
        }
        match prepared.then {
            Then::Next => Ok(Round::Done(prepared.done)),
            Then::Later => Ok(Round::Later(prepared.done)),
            Then::Perform(step) => match self.step(&step).await {
                Ok(()) => Ok(Round::Stepped(prepared.done)),
                Err(e) if e.disposition() == Disposition::Retry => {
                    warn!(stage = S::NAME.as_str(), error = %e, "an external step is tried again later");
                    Ok(Round::Later(prepared.done))
                }
                Err(e) => Err(self.halt(e)),
            },
        }
    }

    /// `None`: committed and applied.
    pub(super) async fn commit(&mut self, log: &mut dyn Log, prepared: &mut Prepared) -> Result<Option<Round>, Halt> {
        let topics = Arc::clone(&self.around.outlet.topics);
        let mut transaction = Transaction { outputs: std::mem::take(&mut prepared.sends), ..Transaction::default() };
        let mut applied: Vec<(Partition, Vec<Change>, Owned)> = Vec::new();
        for (partition, overlay) in &prepared.overlays {
            let Some(owned) = self.owned.get(partition) else { continue };
            // Only a position that moves takes doubt away: timers and intents say nothing of the next record.
            let (next, doubt) = match prepared.nexts.get(partition) {
                Some(next) => (*next, owned.doubt.moved(*next)),
                None => (owned.next, owned.doubt),
            };
            let after = Owned { next, txn_seq: owned.txn_seq + 1, is_marked: owned.is_marked, doubt };
            let meta = Meta {
                format_version: 1,
                in_next: next.0,
                txn_seq: after.txn_seq,
                running: after.is_marked.then_some(self.around.life),
                in_doubt: doubt != Doubt::None,
                attempts: doubt.attempts(),
            };
            let mut changes = overlay.net(self.store.as_ref(), *partition).map_err(|e| self.halt(e.into()))?;
            changes.push(Change { key: META_KEY.to_vec(), value: Some(meta.encode()) });
            let at = topics.at(Topic::Changelog(S::NAME), *partition);
            transaction.outputs.extend(changes.iter().map(|c| OutRecord {
                to: at.clone(),
                key: c.key.clone().into(),
                value: c.value.clone(),
                headers: Vec::new(),
            }));
            transaction.positions.advance(&topics.at(Topics::input(S::NAME), *partition), next);
            applied.push((*partition, changes, after));
        }
        let outcome = log.commit(transaction).await;
        if let Some(tally) = &self.around.tally {
            tally.metrics.transaction(S::NAME, told(&outcome));
        }
        let committed = match outcome {
            Ok(committed) => committed,
            Err(CommitError::Aborted { detail }) => {
                warn!(stage = S::NAME.as_str(), detail, "transaction aborted, the round is gathered again");
                return Ok(Some(Round::Later(0)));
            }
            Err(e @ (CommitError::Fenced | CommitError::Unknown { .. })) => {
                warn!(stage = S::NAME.as_str(), error = %e, "worker gives its port up");
                return Ok(Some(Round::Spent));
            }
        };
        for (partition, changes, after) in applied {
            let changelog = topics.at(Topic::Changelog(S::NAME), partition);
            let end = committed.ends.get(&changelog).copied();
            let end =
                end.ok_or_else(|| self.halt(StageError::Broken { detail: format!("the broker did not say where {changelog} ends") }))?;
            self.store.apply(partition, &changes, end).map_err(|e| self.halt(e.into()))?;
            if let Some(owned) = self.owned.get_mut(&partition) {
                *owned = after;
            }
        }
        let now = self.around.clock.now();
        self.around.progress.processed(S::NAME, prepared.done as u64, now);
        if let Some(tally) = &self.around.tally {
            tally.tell(&prepared.facts, now);
        }
        Ok(None)
    }

    async fn step(&self, step: &Step) -> Result<(), StageError> {
        match step {
            Step::RegisterSchema { subject, schema } => {
                match self.around.registry.register(subject, schema).map_err(|e| (e.disposition(), e.to_string())).await {
                    // A refusal is an answer: the next gather asks the registry and finds it.
                    Ok(_) | Err((Disposition::Quarantine(_), _)) => Ok(()),
                    Err((Disposition::Retry, detail)) => Err(StageError::Registry { detail }),
                    Err((Disposition::Halt, detail)) => Err(StageError::Broken { detail }),
                }
            }
        }
    }
}

fn told(outcome: &Result<Committed, CommitError>) -> TransactionOutcome {
    match outcome {
        Ok(_) => TransactionOutcome::Committed,
        Err(CommitError::Aborted { .. }) => TransactionOutcome::Aborted,
        Err(CommitError::Fenced) => TransactionOutcome::Fenced,
        Err(CommitError::Unknown { .. }) => TransactionOutcome::Unknown,
    }
}
