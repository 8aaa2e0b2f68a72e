//! From a decision to the facts it is counted by: read from the records it sends, where they say it, so that no stage
//! counts and nothing is counted that is not written.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use tracing::warn;

use crate::broker::OutRecord;
use crate::domain::names::{StageName, TopicName};
use crate::domain::time::Timestamp;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::topics::Topic;
use crate::stage::letters::{DRIFT_CLASSIFIED, State};
use crate::stage::{Decision, Payload};
use crate::telemetry::fact::{DriftAction, DriftClass, EventWord, Fact, Outcome, Routing, RuleOutcome};
use crate::telemetry::metrics::Metrics;
use crate::wire::codec::CodecError;
use crate::wire::long;
use crate::wire::records::{
    BatchPlan, LandedObject, LifecycleEvent, ObjectStatus, PublishedBatch, QualityReport, QuarantineLetter, Record,
};

/// Topics whose records are counted.
const COUNTED: [Topic; 7] =
    [Topic::Landing, Topic::Status, Topic::Lifecycle, Topic::Quarantine, Topic::Plans, Topic::Published, Topic::QualityReports];

/// The counters of one process, and what is needed to read its records.
pub struct Tally {
    pub metrics: Arc<Metrics>,
    outlet: Outlet,
    names: Vec<(TopicName, Topic)>,
    /// Listings that stand beside notifications: what they find first was missed.
    reconciling: BTreeSet<String>,
}

/// The part of a drift record that is counted.
#[derive(Deserialize)]
struct Drifted {
    kinds: Vec<String>,
    action: String,
}

impl Tally {
    /// `reconciling`: listings that stand beside notifications about the same buckets.
    pub fn new(metrics: Arc<Metrics>, outlet: Outlet, reconciling: BTreeSet<String>) -> Self {
        let names = COUNTED.into_iter().map(|topic| (outlet.topics.name(topic), topic)).collect();
        Self { metrics, outlet, names, reconciling }
    }

    /// What `decision` will have done once it is committed.
    pub fn facts(&self, stage: StageName, decision: &Decision) -> Vec<Fact> {
        let mut facts = decision.facts.clone();
        let bytes = if stage == StageName::Publish { decision.puts.iter().map(|p| weight(&p.payload)).sum() } else { 0 };
        for record in &decision.sends {
            self.read(stage, record, bytes, &mut facts);
        }
        facts
    }

    /// What records of a notification will have done once they are committed.
    pub fn landings(&self, records: &[OutRecord]) -> Vec<Fact> {
        let mut facts = Vec::new();
        records.iter().for_each(|record| self.read(StageName::Bridge, record, 0, &mut facts));
        facts
    }

    /// Counts what was committed.
    pub fn tell(&self, facts: &[Fact], now: Timestamp) {
        facts.iter().for_each(|fact| self.metrics.tell(fact, now));
    }

    fn read(&self, stage: StageName, record: &OutRecord, put_bytes: u64, facts: &mut Vec<Fact>) {
        let Some((_, topic)) = self.names.iter().find(|(name, _)| *name == record.to.topic) else { return };
        let Some(value) = record.value.as_deref() else { return };
        // What was encoded a moment ago decodes; if it did not, a counter would be wrong and nothing else.
        if let Err(e) = self.read_value(stage, *topic, value, put_bytes, facts) {
            warn!(stage = stage.as_str(), topic = %record.to.topic, error = %e, "a record of our own is not counted");
        }
    }

    fn read_value(&self, stage: StageName, topic: Topic, value: &[u8], put_bytes: u64, facts: &mut Vec<Fact>) -> Result<(), CodecError> {
        match topic {
            Topic::Landing if stage == StageName::Bridge => facts.push(landed(self.decoded(value)?)),
            Topic::Status => facts.extend(self.status(self.decoded(value)?)),
            Topic::Lifecycle if stage == StageName::Classify => facts.extend(drifted(self.decoded(value)?)),
            Topic::Quarantine => {
                let letter: QuarantineLetter = self.decoded(value)?;
                if let (true, Ok(reason)) = (letter.whole_object, letter.reason.parse()) {
                    facts.push(Fact::Quarantined { dataset: letter.dataset, reason });
                }
            }
            Topic::Plans => {
                let plan: BatchPlan = self.decoded(value)?;
                facts.extend(plan.trigger.parse().ok().map(|trigger| Fact::BatchClosed { dataset: plan.dataset, trigger }));
            }
            Topic::Published => {
                let batch: PublishedBatch = self.decoded(value)?;
                let files = (batch.created.len() + batch.rewritten.len()) as u64;
                facts.push(Fact::Published { dataset: batch.dataset, files, bytes: put_bytes });
            }
            Topic::QualityReports => {
                let report: QualityReport = self.decoded(value)?;
                let outcomes = [
                    (RuleOutcome::Passed, report.passed),
                    (RuleOutcome::Failed, report.failed),
                    (RuleOutcome::NotEvaluated, report.not_evaluated),
                ];
                let told =
                    outcomes.map(|(outcome, n)| Fact::RulesEnded { dataset: report.dataset.clone(), outcome, rules: long::count(n) });
                facts.extend(told);
            }
            _ => {}
        }
        Ok(())
    }

    fn decoded<R: Record>(&self, value: &[u8]) -> Result<R, CodecError> {
        self.outlet.codec.decode(value)
    }

    fn status(&self, row: ObjectStatus) -> Option<Fact> {
        let outcome = match State::from_word(&row.status)? {
            State::Admitted => {
                let missed = row.replay_id.is_none() && self.reconciling.contains(&row.source);
                return Some(Fact::Admitted { dataset: row.dataset, bytes: row.size.map_or(0, long::count), missed });
            }
            State::Published => Outcome::Curated,
            State::Registered => Outcome::Registered,
            State::Quarantined => Outcome::Quarantined,
            State::Duplicate => Outcome::Duplicate,
            State::Superseded => Outcome::Superseded,
            State::Ignored => Outcome::Ignored,
        };
        // Rows of an object that ended otherwise went nowhere.
        let counts = matches!(outcome, Outcome::Curated | Outcome::Registered | Outcome::Quarantined);
        let rows = |n: i64| if counts { long::count(n) } else { 0 };
        Some(Fact::Ended {
            outcome,
            rows_curated: rows(row.rows_published),
            rows_quarantined: rows(row.rows_quarantined),
            landed: row.replay_id.is_none().then_some(Timestamp::from_millis(row.first_landed)),
            dataset: row.dataset,
        })
    }
}

fn weight(payload: &Payload) -> u64 {
    match payload {
        Payload::Bytes(bytes) => bytes.len() as u64,
        Payload::Spool(spool) => spool.bytes,
    }
}

fn landed(object: LandedObject) -> Fact {
    let event = if object.removed { EventWord::Removed } else { EventWord::Created };
    let routing = if object.dataset.is_some() { Routing::Routed } else { Routing::Unrouted };
    Fact::Landed { source: object.source, event, routing }
}

/// One fact for each class that was found, or for none.
fn drifted(event: LifecycleEvent) -> Vec<Fact> {
    if event.kind != DRIFT_CLASSIFIED {
        return Vec::new();
    }
    let Ok(Drifted { kinds, action }) = serde_json::from_str(&event.detail) else { return Vec::new() };
    let action = match action.as_str() {
        // The decision stood, and something else held the file back: the day's budget of versions.
        _ if event.reason.is_some() => DriftAction::Quarantined,
        "quarantine" => DriftAction::Quarantined,
        "accept_and_evolve" => DriftAction::Evolved,
        _ => DriftAction::Accepted,
    };
    let classes = [DriftClass::Additive, DriftClass::Type, DriftClass::Structural, DriftClass::Semantic, DriftClass::Contract];
    let mut found: Vec<DriftClass> = classes.into_iter().filter(|class| kinds.iter().any(|k| k == class.as_str())).collect();
    if found.is_empty() {
        found.push(DriftClass::None);
    }
    found.into_iter().map(|class| Fact::Drift { dataset: event.dataset.clone(), class, action }).collect()
}

#[cfg(test)]
mod tests;
