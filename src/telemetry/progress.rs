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

/// Figures of all stages of this process.
#[derive(Debug, Default)]
pub struct Progress {
    stages: Mutex<BTreeMap<StageName, StageProgress>>,
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

    pub fn snapshot(&self) -> BTreeMap<StageName, StageProgress> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
