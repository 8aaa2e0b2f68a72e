//! How far each stage is: counters the shell reads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::names::StageName;
use crate::domain::time::Timestamp;

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
