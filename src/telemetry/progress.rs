//! How far each stage is: what the shell, the metrics and the health of the process read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::names::StageName;
use crate::domain::time::{Span, Timestamp};

/// One stage's figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageProgress {
    /// Inputs processed since start.
    pub processed: u64,
    /// Transactions committed since start.
    pub transactions: u64,
    pub last: Option<Timestamp>,
    /// Why it halted, if it did.
    pub halted: Option<String>,
    /// Since when it holds or waits for partitions; `None`: it has no port to the log.
    pub joined: Option<Timestamp>,
    /// Partitions it holds.
    pub partitions: usize,
    /// Since when it works on what it does now; `None`: it waits.
    pub busy: Option<Timestamp>,
    /// How far it is behind, as it was last measured.
    pub backlog: Option<Backlog>,
    /// When it was last seen with nothing waiting.
    pub idle: Option<Timestamp>,
}

impl StageProgress {
    /// When it last committed or had nothing waiting; before that, when it joined.
    pub fn moved(&self) -> Option<Timestamp> {
        self.last.max(self.idle).or(self.joined)
    }
}

/// Records a stage has not processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    pub records: u64,
    /// Age of the oldest.
    pub oldest: Span,
    pub measured: Timestamp,
}

/// How the last look at changed contracts went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContractsProgress {
    /// When contracts were last put in force after the start.
    pub reloaded: Option<Timestamp>,
    /// Why the contracts as they lie there now are not in force; empty when they are.
    pub faults: Vec<String>,
}

/// Figures of all stages of this process.
#[derive(Debug, Default)]
pub struct Progress {
    stages: Mutex<BTreeMap<StageName, StageProgress>>,
    contracts: Mutex<ContractsProgress>,
}

impl Progress {
    fn update(&self, stage: StageName, f: impl FnOnce(&mut StageProgress)) {
        f(self.stages.lock().unwrap_or_else(PoisonError::into_inner).entry(stage).or_default());
    }

    /// A transaction over `inputs` inputs was committed.
    pub fn processed(&self, stage: StageName, inputs: u64, now: Timestamp) {
        self.update(stage, |s| {
            s.processed += inputs;
            s.transactions += 1;
            s.last = Some(now);
        });
    }

    pub fn halted(&self, stage: StageName, why: String) {
        self.update(stage, |s| s.halted = Some(why));
    }

    /// The stage has a port to the log.
    pub fn joined(&self, stage: StageName, now: Timestamp) {
        self.update(stage, |s| s.joined = Some(now));
    }

    /// Its port is gone.
    pub fn parted(&self, stage: StageName) {
        self.update(stage, |s| {
            s.joined = None;
            s.partitions = 0;
        });
    }

    /// It holds so many partitions.
    pub fn holds(&self, stage: StageName, partitions: usize) {
        self.update(stage, |s| s.partitions = partitions);
    }

    /// It works on something until the guard goes. Waiting, for records or for something outside, is no work.
    pub fn works(self: &Arc<Self>, stage: StageName, now: Timestamp) -> Work {
        self.update(stage, |s| s.busy = Some(now));
        Work { progress: Arc::clone(self), stage }
    }

    /// It was measured.
    pub fn measured(&self, stage: StageName, backlog: Backlog) {
        self.update(stage, |s| {
            s.backlog = Some(backlog);
            if backlog.records == 0 {
                s.idle = Some(backlog.measured);
            }
        });
    }

    /// Changed contracts are in force.
    pub fn contracts_reloaded(&self, now: Timestamp) {
        *self.contracts.lock().unwrap_or_else(PoisonError::into_inner) = ContractsProgress { reloaded: Some(now), faults: Vec::new() };
    }

    /// Changed contracts are not in force; none: the ones in force lie there again.
    pub fn contracts_refused(&self, faults: Vec<String>) {
        self.contracts.lock().unwrap_or_else(PoisonError::into_inner).faults = faults;
    }

    pub fn contracts(&self) -> ContractsProgress {
        self.contracts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn snapshot(&self) -> BTreeMap<StageName, StageProgress> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A piece of work in progress.
#[derive(Debug)]
pub struct Work {
    progress: Arc<Progress>,
    stage: StageName,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.progress.update(self.stage, |s| s.busy = None);
    }
}
