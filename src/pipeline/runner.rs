//! One worker of one stage: polls, gathers, decides, performs, commits, applies.
//!
//! ```text
//!            ┌────────── Assigned: restore, seek ◀─┐
//! open ─▶ polling ─ Records ─▶ rounds ─▶ polling ──┤
//!   ▲        │  └─ Revoked: drop state, release ───┘
//!   └─ spent ┘ (fenced, unknown outcome: a new port, recovered from the broker)
//! ```
//! A round takes the next inputs up to the limits, gathers them concurrently, decides them in
//! order and commits them as one transaction. A worker commits as soon as a drained poll is
//! processed; there is no timer in the path.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use object_store::ObjectStore;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::batch::planner::Intake;
use crate::broker::{Broker, Log, LogError, PollLimit, Polled, Record};
use crate::clock::{Clock, Jitter};
use crate::domain::backoff::Backoff;
use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::reason::Disposition;
use crate::domain::time::Timestamp;
use crate::pipeline::about::About;
use crate::pipeline::doubt::Doubt;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::perform::PerformError;
use crate::pipeline::restore::{RestoreError, restore};
use crate::pipeline::runner::commit::{Prepared, Round, Then};
use crate::pipeline::runner::gather::Gathered;
use crate::pipeline::runner::task::{Given, Task};
use crate::pipeline::tally::Tally;
use crate::pipeline::topics::{Topic, Topics};
use crate::stage::{Stage, StageError, Verdict};
use crate::state::{Overlay, StateStore, View};

mod alone;
mod commit;
mod gather;
mod task;

/// What one worker may hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records of one poll.
    pub poll: PollLimit,
    /// Inputs gathered at once.
    pub inflight_objects: usize,
    /// Referenced bytes gathered at once; one input larger than this goes alone.
    pub inflight_bytes: u64,
    /// Inputs of one transaction.
    pub transaction_objects: usize,
    /// Times a record may end the process before it is held back, at least 1 (decisions.md 9).
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            poll: PollLimit { records: 1_000, bytes: 4 << 20 },
            inflight_objects: 64,
            inflight_bytes: 256 << 20,
            transaction_objects: 500,
            attempts: 3,
        }
    }
}

/// Everything a runner needs around its stage.
#[derive(Clone)]
pub struct Surroundings {
    pub broker: Arc<dyn Broker>,
    pub lake: Arc<dyn ObjectStore>,
    pub registry: Arc<dyn crate::registry::SchemaRegistry>,
    pub outlet: Outlet,
    pub clock: Arc<dyn Clock>,
    pub limits: Limits,
    /// Names this worker: transactional id, static member id.
    pub instance: String,
    /// Names this start of the process and no other, by chance.
    pub life: u64,
    /// The turn of records that are suspected: one at a time in the whole process, so that an end names one.
    pub suspects: Arc<tokio::sync::Mutex<()>>,
    pub stop: CancellationToken,
    pub progress: Arc<crate::telemetry::progress::Progress>,
    /// `None`: nobody reads what would be counted.
    pub tally: Option<Arc<Tally>>,
}

/// A stage stopped for a reason somebody must look at.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    #[error("{stage} halted: {source}")]
    Stage {
        stage: StageName,
        #[source]
        source: StageError,
    },
    #[error("{stage} halted: {source}")]
    Restore {
        stage: StageName,
        #[source]
        source: RestoreError,
    },
    #[error("{stage} halted: {source}")]
    Perform {
        stage: StageName,
        #[source]
        source: PerformError,
    },
}

/// Why a session with one port ended.
enum SessionEnd {
    Stopped,
    /// Fenced, or an unknown outcome: open a new port and recover.
    Spent,
}

struct Owned {
    /// Position of the next input to process: where to go back to after an abort.
    next: NextOffset,
    txn_seq: u64,
    /// The log says that this life runs the partition.
    is_marked: bool,
    doubt: Doubt,
}

pub struct Runner<S: Stage> {
    stage: Arc<S>,
    around: Surroundings,
    store: Arc<dyn StateStore>,
    owned: BTreeMap<Partition, Owned>,
    jitter: Jitter,
}

impl<S: Stage> Runner<S> {
    pub fn new(stage: Arc<S>, around: Surroundings, store: Arc<dyn StateStore>, jitter: Jitter) -> Self {
        Self { stage, around, store, owned: BTreeMap::new(), jitter }
    }

    /// Runs until stopped.
    ///
    /// # Errors
    /// A [`Halt`]: a promise of our own is broken, or positions and state disagree.
    pub async fn run(mut self) -> Result<(), Halt> {
        let group = S::NAME.as_str();
        let input = self.around.outlet.topics.name(Topics::input(S::NAME));
        let mut attempt = 0;
        while !self.around.stop.is_cancelled() {
            let opened = self.around.broker.worker(group, &input, &self.around.instance).await;
            let ended = match opened {
                Ok(mut log) => {
                    self.around.progress.joined(S::NAME, self.around.clock.now());
                    let ended = self.session(log.as_mut()).await;
                    if !matches!(ended, Ok(SessionEnd::Spent)) {
                        // A halt is told, not counted: the input did not end the process.
                        self.sign_off(log.as_mut(), |_| true).await;
                    }
                    ended
                }
                Err(e) => self.spent_or_halt(e),
            };
            self.owned.clear();
            self.around.progress.parted(S::NAME);
            match ended {
                Ok(SessionEnd::Stopped) => break,
                Ok(SessionEnd::Spent) => {
                    attempt += 1;
                    warn!(stage = group, attempt, "worker reopens its port and recovers");
                    self.pause(attempt).await;
                }
                Err(halt) => {
                    error!(stage = group, reason = %halt, "stage halted");
                    self.around.progress.halted(S::NAME, halt.to_string());
                    return Err(halt);
                }
            }
        }
        info!(stage = group, "stage stopped");
        Ok(())
    }

    fn halt(&self, source: StageError) -> Halt {
        Halt::Stage { stage: S::NAME, source }
    }

    async fn pause(&mut self, attempt: u32) {
        let wait = Backoff::default().wait(attempt, self.jitter.unit());
        let until = self.around.clock.now().plus(wait);
        tokio::select! {
            biased;
            () = self.around.stop.cancelled() => {}
            () = self.around.clock.sleep_until(until) => {}
        }
    }

    async fn session(&mut self, log: &mut dyn Log) -> Result<SessionEnd, Halt> {
        let mut intake = self.stage.intake();
        loop {
            self.around.progress.holds(S::NAME, self.owned.len());
            let until = self.next_due()?;
            let stop = self.around.stop.clone();
            let polled = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(SessionEnd::Stopped),
                () = changed(&mut intake) => Ok(Polled::Idle),
                polled = log.poll(self.poll_limit(), until) => polled,
            };
            match polled {
                Ok(Polled::Assigned(partitions)) => {
                    self.rebalanced();
                    for (partition, committed) in partitions {
                        if let Some(end) = self.take(log, partition, committed).await? {
                            return Ok(end);
                        }
                    }
                }
                Ok(Polled::Revoked(partitions)) => {
                    self.rebalanced();
                    self.sign_off(log, |p| partitions.contains(&p)).await;
                    self.owned.retain(|p, _| !partitions.contains(p));
                    if let Err(e) = log.release(&partitions).await {
                        return self.spent_or_halt(e);
                    }
                }
                Ok(Polled::Lost(partitions)) => {
                    self.rebalanced();
                    self.owned.retain(|p, _| !partitions.contains(p));
                }
                Ok(Polled::Records(records)) => {
                    if let Some(end) = self.process(log, records).await? {
                        return Ok(end);
                    }
                }
                Ok(Polled::Idle) => {}
                Err(e) => return self.spent_or_halt(e),
            }
            let due = self.due_tasks()?;
            if !due.is_empty() {
                if let Some(end) = self.sign_on(log).await? {
                    return Ok(end);
                }
                if let Some(end) = self.rounds(log, due).await? {
                    return Ok(end);
                }
            }
        }
    }

    fn rebalanced(&self) {
        if let Some(tally) = &self.around.tally {
            tally.metrics.rebalanced(S::NAME);
        }
    }

    fn spent_or_halt(&self, error: LogError) -> Result<SessionEnd, Halt> {
        match error {
            LogError::Fenced | LogError::Unreachable { .. } => Ok(SessionEnd::Spent),
            other => Err(self.halt(other.into())),
        }
    }

    /// Restores an assigned partition and starts to read it; a broker that is not there ends the session, not the stage.
    async fn take(&mut self, log: &mut dyn Log, partition: Partition, committed: Option<NextOffset>) -> Result<Option<SessionEnd>, Halt> {
        let topics = &self.around.outlet.topics;
        let changelog = topics.at(Topic::Changelog(S::NAME), partition);
        let input = topics.at(Topics::input(S::NAME), partition);
        let reader = self.around.broker.reader();
        let restored = match restore(reader.as_ref(), self.store.as_ref(), &changelog, &input, committed).await {
            Ok(restored) => restored,
            Err(RestoreError::Log(e)) if e.disposition() == Disposition::Retry => {
                warn!(stage = S::NAME.as_str(), error = %e, "partition not restored yet");
                return Ok(Some(SessionEnd::Spent));
            }
            Err(source) => return Err(Halt::Restore { stage: S::NAME, source }),
        };
        debug!(
            stage = S::NAME.as_str(),
            partition = partition.0,
            position = restored.next.0,
            applied = restored.applied,
            "partition restored"
        );
        match log.seek(partition, restored.next).await {
            Ok(()) => {
                let range_end = NextOffset(restored.next.0 + self.around.limits.transaction_objects as u64).min(restored.input_end);
                let doubt = Doubt::of(restored.last.as_ref(), self.around.life, restored.next, range_end);
                if matches!(doubt, Doubt::Alone { .. }) {
                    warn!(stage = S::NAME.as_str(), partition = partition.0, position = restored.next.0, ?doubt, "inputs run one by one");
                }
                let txn_seq = restored.last.map_or(0, |m| m.txn_seq);
                self.owned.insert(partition, Owned { next: restored.next, txn_seq, is_marked: false, doubt });
                Ok(None)
            }
            // It moved on while it was being restored; the next poll says so.
            Err(LogError::Fenced) => Ok(None),
            Err(e) => self.spent_or_halt(e).map(Some),
        }
    }

    /// Processes polled records; [`Runner::alone`] those in doubt.
    async fn process(&mut self, log: &mut dyn Log, records: Vec<Record>) -> Result<Option<SessionEnd>, Halt> {
        if let Some(end) = self.sign_on(log).await? {
            return Ok(Some(end));
        }
        if self.is_any_alone() {
            return self.one_by_one(log, records).await;
        }
        let mut tasks = VecDeque::with_capacity(records.len());
        for record in records {
            tasks.push_back(self.task(record).await);
        }
        self.rounds(log, tasks).await
    }

    fn due_tasks(&self) -> Result<VecDeque<Task<S::Input>>, Halt> {
        let now = self.around.clock.now();
        let overlay = Overlay::default();
        let mut tasks = VecDeque::new();
        for partition in self.owned.keys().copied() {
            let view = View::new(self.store.as_ref(), &overlay, partition);
            let due = self.stage.due(view, now).map_err(|e| self.halt(e))?;
            tasks.extend(due.into_iter().map(|input| Task {
                partition,
                next: None,
                given: Given::Input(Arc::new(input), About::default()),
            }));
        }
        Ok(tasks)
    }

    fn next_due(&self) -> Result<Timestamp, Halt> {
        let overlay = Overlay::default();
        let mut until = Timestamp::NEVER;
        for partition in self.owned.keys().copied() {
            let view = View::new(self.store.as_ref(), &overlay, partition);
            if let Some(at) = self.stage.next_due(view).map_err(|e| self.halt(e))? {
                until = until.min(at);
            }
        }
        Ok(until)
    }

    /// Processes all tasks, or says why the session is over. An interruption leaves the rest to be polled again.
    async fn rounds(&mut self, log: &mut dyn Log, mut tasks: VecDeque<Task<S::Input>>) -> Result<Option<SessionEnd>, Halt> {
        let mut attempt = 0;
        while !tasks.is_empty() {
            tasks.retain(|t| self.owned.contains_key(&t.partition));
            let size = self.round_size(&tasks);
            let round = tasks.make_contiguous();
            match self.round(log, &round[..size]).await? {
                Round::Done(0) => attempt += 1,
                Round::Done(n) | Round::Stepped(n) => {
                    attempt = 0;
                    tasks.drain(..n);
                    // The next stage was woken by this one and waits on its thread: it goes first.
                    tokio::task::yield_now().await;
                    continue;
                }
                Round::Later(n) => {
                    tasks.drain(..n);
                    attempt = if n > 0 { 1 } else { attempt + 1 };
                }
                Round::Interrupted => {
                    if self.around.stop.is_cancelled() {
                        return Ok(Some(SessionEnd::Stopped));
                    }
                    return self.rewind(log).await.map(|()| None);
                }
                Round::Spent => return Ok(Some(SessionEnd::Spent)),
            }
            self.pause(attempt).await;
            if self.around.stop.is_cancelled() {
                return Ok(Some(SessionEnd::Stopped));
            }
        }
        Ok(None)
    }

    /// Reads every owned partition again from what is processed.
    async fn rewind(&self, log: &mut dyn Log) -> Result<(), Halt> {
        for (partition, owned) in &self.owned {
            match log.seek(*partition, owned.next).await {
                Ok(()) | Err(LogError::Fenced) => {}
                Err(e) => return Err(self.halt(e.into())),
            }
        }
        Ok(())
    }

    /// How many of the next tasks fit one round.
    fn round_size(&self, tasks: &VecDeque<Task<S::Input>>) -> usize {
        let limits = self.around.limits;
        let mut bytes = 0u64;
        let mut n = 0;
        for task in tasks.iter().take(limits.transaction_objects) {
            if let Given::Input(input, _) = &task.given {
                bytes = bytes.saturating_add(self.stage.weight(input));
            }
            if n > 0 && bytes > limits.inflight_bytes {
                break;
            }
            n += 1;
        }
        n
    }

    async fn round(&mut self, log: &mut dyn Log, tasks: &[Task<S::Input>]) -> Result<Round, Halt> {
        let _work = self.around.progress.works(S::NAME, self.around.clock.now());
        let tally = self.around.tally.clone();
        let _round = tally.as_ref().map(|t| t.metrics.round(S::NAME, tasks.len()));
        let facts = {
            let gathered = self.gather(tasks)?;
            tokio::select! {
                biased;
                () = self.around.stop.cancelled() => return Ok(Round::Interrupted),
                () = log.interrupted() => return Ok(Round::Interrupted),
                facts = gathered => facts,
            }
        };
        let prepared = self.decide(tasks, facts)?;
        self.settle(log, prepared).await
    }

    fn decide(&self, tasks: &[Task<S::Input>], facts: Vec<Gathered<S>>) -> Result<Prepared, Halt> {
        let now = self.around.clock.now();
        let mut prepared = Prepared::default();
        for (task, facts) in tasks.iter().zip(facts) {
            let overlay = prepared.overlays.entry(task.partition).or_default();
            let view = View::new(self.store.as_ref(), overlay, task.partition);
            let verdict = match (&task.given, facts) {
                (Given::Input(input, _), Some(Ok(facts))) => self.stage.decide(view, input, facts, now),
                (Given::Input(input, about), Some(Err(e))) => match e.disposition() {
                    Disposition::Retry => {
                        let [run_id, dataset, source, replay_id] = ["run_id", "dataset", "source", "replay_id"].map(|n| about.text(n));
                        warn!(stage = S::NAME.as_str(), run_id, dataset, source, replay_id, error = %e, "input is gathered again later");
                        prepared.then = Then::Later;
                        break;
                    }
                    Disposition::Quarantine(code) => self.stage.refuse(input, code, &e.to_string(), now).map(Verdict::Done),
                    Disposition::Halt => Err(e),
                },
                (Given::Unreadable(poison), _) => self.poisoned(poison, now).map(Verdict::Done),
                (Given::Condemned(input, poison), _) => self.condemned(input, poison, now).map(Verdict::Done),
                (Given::Input(..), None) => Err(StageError::Broken { detail: "an input was not gathered".to_owned() }),
            };
            match verdict.map_err(|e| self.halt(e))? {
                Verdict::Done(mut decision) => {
                    if let Given::Input(_, about) = &task.given {
                        about.hand_on(&mut decision.sends);
                    }
                    prepared.facts.extend(self.around.tally.iter().flat_map(|t| t.facts(S::NAME, &decision)));
                    decision.changes.into_iter().for_each(|c| overlay.record(c));
                    prepared.puts.extend(decision.puts);
                    prepared.sends.extend(decision.sends);
                    if let Some(next) = task.next {
                        prepared.nexts.insert(task.partition, next);
                    }
                    prepared.done += 1;
                }
                Verdict::Again => break,
                Verdict::Intend { changes, step } => {
                    changes.into_iter().for_each(|c| overlay.record(c));
                    prepared.then = Then::Perform(step);
                    break;
                }
            }
        }
        Ok(prepared)
    }
}

/// Returns once for each change; never, where there is nothing to watch any more.
async fn changed(intake: &mut Option<watch::Receiver<Intake>>) {
    if let Some(watched) = intake
        && watched.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
