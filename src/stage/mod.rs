//! Stages: what each does with one input. The engine around them is [`crate::pipeline`].
//!
//! `look` and `decide` are synchronous and see the state; `gather` awaits and only reads;
//! nothing here writes anything.

pub mod ahead;
pub mod assemble;
pub mod backlog;
pub mod bridge;
pub mod buckets;
pub mod catalog;
pub mod check;
pub mod classify;
pub mod evolutions;
pub mod filtering;
pub mod inbox;
pub mod judging;
pub mod letters;
pub mod line;
pub mod project;
pub mod publish;
pub mod reading;
pub mod replay;
pub mod row_letters;
pub mod spool;
pub mod tables;
pub mod transform;
pub mod validate;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use tokio::sync::watch;

use crate::batch::planner::Intake;
use crate::broker::{LogError, OutRecord};
use crate::domain::names::StageName;
use crate::domain::reason::{Disposition, ReasonCode};
use crate::domain::time::Timestamp;
use crate::pipeline::work::Panicked;
use crate::state::{Change, StateError, View};
use crate::telemetry::fact::Fact;
use crate::wire::codec::CodecError;

/// Bytes of an object to put.
#[derive(Debug, Clone)]
pub enum Payload {
    Bytes(Bytes),
    /// A finished file of ours on local disk, for what is too large to hold; removed with the last clone.
    Spool(std::sync::Arc<Spool>),
}

/// A temporary file that removes itself.
#[derive(Debug)]
pub struct Spool {
    pub path: std::path::PathBuf,
    pub bytes: u64,
}

impl Drop for Spool {
    fn drop(&mut self) {
        // The file may be gone already; nothing is lost either way.
        drop(std::fs::remove_file(&self.path));
    }
}

/// How a put treats what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutHow {
    /// The key is a function of the content (or of the record): writing it again changes nothing.
    Replace,
    /// Nothing may stand there.
    Create,
    /// Exactly this version must stand there.
    Match { etag: String },
}

/// One object to put before the commit.
#[derive(Debug, Clone)]
pub struct PutObject {
    pub to: Path,
    pub payload: Payload,
    pub how: PutHow,
}

/// An external step that answers something: asked for by a committed intent, performed once the
/// intent is durable, idempotent (decisions.md 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    RegisterSchema { subject: crate::domain::names::Subject, schema: String },
}

/// What a decision asks for.
#[derive(Debug, Default)]
pub struct Decision {
    pub puts: Vec<PutObject>,
    pub sends: Vec<OutRecord>,
    pub changes: Vec<Change>,
    /// What is counted once this is committed and stands in no record it sends.
    pub facts: Vec<Fact>,
}

/// How a decision ends.
#[derive(Debug)]
pub enum Verdict {
    Done(Decision),
    /// The facts are stale (another decision of this round changed what they rest on): gather again.
    Again,
    /// Commit these changes without moving the position, perform the step, gather and decide again.
    Intend {
        changes: Vec<Change>,
        step: Step,
    },
}

/// Something a stage could not do.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("the object store did not answer: {0}")]
    Store(#[from] object_store::Error),
    #[error("the schema registry did not answer: {detail}")]
    Registry { detail: String },
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The input is at fault, found outside `decide`.
    #[error("{detail}")]
    Refused { reason: ReasonCode, detail: String },
    /// A promise of our own is broken.
    #[error("{detail}")]
    Broken { detail: String },
}

impl StageError {
    pub fn disposition(&self) -> Disposition {
        match self {
            StageError::Store(_) | StageError::Registry { .. } => Disposition::Retry,
            StageError::Log(e) => e.disposition(),
            StageError::Panicked(_) => Disposition::Quarantine(ReasonCode::PoisonRecord),
            StageError::Refused { reason, .. } => Disposition::Quarantine(*reason),
            StageError::State(_) | StageError::Codec(_) | StageError::Broken { .. } => Disposition::Halt,
        }
    }
}

/// What becomes of a record that ended the process again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPoison {
    /// Everything that hangs on it is refused.
    Quarantine,
    /// A letter keeps its bytes; no object hangs on it.
    SetAside,
    /// It may have been performed in part: somebody has to look.
    Halt,
}

/// One stage. Static dispatch: `Runner<S>`.
#[async_trait]
pub trait Stage: Send + Sync + 'static {
    const NAME: StageName;
    const ON_POISON: OnPoison = OnPoison::Quarantine;
    /// A record of the input topic, or a timer of the stage's own making.
    type Input: Send + Sync + 'static;
    /// What gathering needs to know of the state.
    type Known: Send + 'static;
    /// What was found outside.
    type Facts: Send + 'static;

    /// Decodes a value of the input topic.
    fn decode(&self, record: &crate::broker::Record, value: &[u8]) -> Result<Self::Input, CodecError>;

    /// Bytes of referenced data that gathering this input holds in memory at most; back-pressure counts them.
    fn weight(&self, input: &Self::Input) -> u64;

    fn look(&self, view: View<'_>, input: &Self::Input) -> Result<Self::Known, StageError>;

    async fn gather(&self, input: &Self::Input, known: Self::Known) -> Result<Self::Facts, StageError>;

    fn decide(&self, view: View<'_>, input: &Self::Input, facts: Self::Facts, now: Timestamp) -> Result<Verdict, StageError>;

    /// What becomes of an input that cannot be gathered for a reason of its own.
    fn refuse(&self, input: &Self::Input, reason: ReasonCode, detail: &str, now: Timestamp) -> Result<Decision, StageError>;

    /// Inputs that are due by time; they pass through look, gather and decide without a position.
    fn due(&self, view: View<'_>, now: Timestamp) -> Result<Vec<Self::Input>, StageError>;

    /// When `due` will next have something.
    fn next_due(&self, view: View<'_>) -> Result<Option<Timestamp>, StageError>;

    /// A change of it makes the runner ask for what is due again, before a record or a time does.
    fn intake(&self) -> Option<watch::Receiver<Intake>> {
        None
    }
}
