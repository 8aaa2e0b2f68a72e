//! A record becomes a task: its value fetched from where it lies, its writer's schema learnt, decoded. What cannot be
//! is poison, and poison becomes a letter.

use std::sync::Arc;

use tracing::warn;

use crate::broker::Record;
use crate::clock::sleep;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::reason::{Disposition, ReasonCode};
use crate::domain::time::{Span, Timestamp};
use crate::pipeline::about::About;
use crate::pipeline::claim;
use crate::pipeline::outlet::Placed;
use crate::pipeline::runner::Runner;
use crate::pipeline::topics::Topic;
use crate::stage::{Decision, OnPoison, Stage, StageError, letters};

/// Times a schema is asked for again that a registry does not have.
const SCHEMA_MISSED_MAX: u32 = 3;

pub(super) struct Task<I> {
    pub(super) partition: Partition,
    /// Position once this input is processed; `None` for an input that was due by time.
    pub(super) next: Option<NextOffset>,
    pub(super) given: Given<I>,
}

/// What a task was given.
pub(super) enum Given<I> {
    Input(Arc<I>, About),
    /// A record that does not decode.
    Unreadable(Poison),
    /// A record that ended the process too often.
    Condemned(I, Poison),
}

/// A record of our own topic that cannot be processed.
pub(super) struct Poison {
    pub(super) record: Record,
    pub(super) detail: String,
}

impl<S: Stage> Runner<S> {
    pub(super) async fn task(&self, record: Record) -> Task<S::Input> {
        let (partition, next) = (record.at.partition, Some(record.offset.next()));
        let given = match self.checked_out(record).await {
            Ok(record) => self.decoded(record, |input, record| Given::Input(Arc::new(input), About::new(record.headers))),
            Err(poison) => Given::Unreadable(poison),
        };
        Task { partition, next, given }
    }

    /// The record with its value, wherever that lies, and its writer's schema known.
    pub(super) async fn checked_out(&self, mut record: Record) -> Result<Record, Poison> {
        loop {
            match claim::check_out(&self.around.lake, &record).await {
                Ok(value) => {
                    record.value = value;
                    self.learn(record.value.as_deref().unwrap_or_default()).await;
                    return Ok(record);
                }
                Err(object_store::Error::NotFound { path, .. }) => {
                    return Err(Poison { record, detail: format!("its claim check {path} is gone") });
                }
                Err(e) => {
                    warn!(stage = S::NAME.as_str(), error = %e, "claim check not readable yet");
                    sleep(self.around.clock.as_ref(), Span::from_secs(1)).await;
                }
            }
        }
    }

    /// Asks for the schema of a record that a later build wrote: one that registered it after this process began. What
    /// one server of a registry took, another may know a moment later.
    async fn learn(&self, value: &[u8]) {
        let codec = &self.around.outlet.codec;
        let mut missed = 0;
        while let Some(id) = codec.unknown(value) {
            match self.around.registry.by_id(id).await {
                Ok(schema) if codec.learn(id, &schema).is_ok() => return,
                Err(e) if e.disposition() == Disposition::Retry => {
                    warn!(stage = S::NAME.as_str(), error = %e, "a record's schema cannot be asked for yet");
                }
                _ if missed < SCHEMA_MISSED_MAX => missed += 1,
                // There is none that could be read: decoding says so.
                _ => return codec.give_up(id),
            }
            sleep(self.around.clock.as_ref(), Span::from_secs(1)).await;
        }
    }

    pub(super) fn decoded(&self, record: Record, given: impl FnOnce(S::Input, Record) -> Given<S::Input>) -> Given<S::Input> {
        match self.stage.decode(&record, record.value.as_deref().unwrap_or_default()) {
            Ok(input) => given(input, record),
            Err(e) => Given::Unreadable(Poison { detail: e.to_string(), record }),
        }
    }

    /// Letters for a record that ended the process too often: of what hangs on it, and of its raw bytes.
    pub(super) fn condemned(&self, input: &S::Input, poison: &Poison, now: Timestamp) -> Result<Decision, StageError> {
        let mut decision = match S::ON_POISON {
            OnPoison::Quarantine => self.stage.refuse(input, ReasonCode::PoisonRecord, &poison.detail, now)?,
            OnPoison::SetAside => Decision::default(),
            OnPoison::Halt => {
                let Poison { record, detail } = poison;
                return Err(StageError::Broken { detail: format!("the record at {} offset {} {detail}", record.at, record.offset.0) });
            }
        };
        decision.sends.extend(self.poisoned(poison, now)?.sends);
        Ok(decision)
    }

    /// A letter for a record of our own topic that cannot be processed, with its raw bytes.
    pub(super) fn poisoned(&self, poison: &Poison, now: Timestamp) -> Result<Decision, StageError> {
        let letter = letters::poison(&poison.record, S::NAME, &poison.detail, now);
        let key = poison.record.at.to_string();
        let send = self.around.outlet.record(Topic::Quarantine, &key, Placed::By(&key), &letter, Vec::new())?;
        let [run_id, dataset, source, replay_id] = ["run_id", "dataset", "source", "replay_id"].map(|n| poison.record.header(n));
        warn!(stage = S::NAME.as_str(), at = %poison.record.at, offset = poison.record.offset.0, run_id, dataset, source, replay_id, reason = %ReasonCode::PoisonRecord, "record quarantined");
        Ok(Decision { sends: vec![send], ..Decision::default() })
    }
}
