//! One file through validate, classify, transform and the rules, offline: what `run` would do with it.
//!
//! Uses the contract's own schema, never a registry, and writes nothing.

use std::fs::File;
use std::path::Path;

use serde::Serialize;

use crate::admission::{ignored, key, suffix};
use crate::domain::names::ObjectKey;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::expression::derive::Derive;
use crate::format::reader::ReadError;
use crate::quality::report::{ObjectVerdict, Report};
use crate::quarantine::remedy::remedy;
use crate::route::pattern::Pattern;
use crate::schema::avro;
use crate::schema::drift::RegisteredSchema;
use crate::schema::finding::{Action, FindingCode};
use crate::schema::record::{DecisionRecord, RowsRecord};
use crate::stage::catalog::Dataset;
use crate::stage::judging::Judge;
use crate::stage::reading::{Against, Planned, PlannedError, Question, late_refusal, observe};

/// Bad rows shown.
const SHOWN_MAX: usize = 20;

/// The verdict of a file (decisions.md 25).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileVerdict {
    Accept,
    AcceptWithDrift,
    Reject,
}

/// A row that would not land.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    pub row: u64,
    pub line: u64,
    pub byte_offset: u64,
    pub reason: String,
    pub detail: String,
}

/// Everything `lakegate check` says.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    pub file: String,
    pub dataset: String,
    pub verdict: FileVerdict,
    pub reason: String,
    pub detail: String,
    pub remedy: Option<String>,
    pub rows: RowsRecord,
    pub decision: Option<DecisionRecord>,
    /// The rule report, as in `dq-results`.
    pub quality: Option<serde_json::Value>,
    pub bad_rows: Vec<BadLine>,
}

/// The check could not be made: says nothing about the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("{file} cannot be read")]
    File {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the contract's schema cannot be used: {detail}")]
    Schema { detail: String },
    #[error("{detail}")]
    Broken { detail: String },
}

struct Refusal {
    reason: ReasonCode,
    detail: String,
}

/// Checks `file` under `dataset`; with `event_key` (URL-encoded, as an event carries it) the key's rules too.
///
/// # Errors
/// When file or contract cannot be used; a refused file is a verdict.
pub fn check(file: &Path, dataset: &Dataset, event_key: Option<&str>, now: Timestamp) -> Result<Checked, CheckError> {
    let name = file.display().to_string();
    let mut checked = Checked {
        file: name.clone(),
        dataset: dataset.name().to_owned(),
        verdict: FileVerdict::Accept,
        reason: ReasonCode::Valid.as_str().to_owned(),
        detail: String::new(),
        remedy: None,
        rows: RowsRecord::default(),
        decision: None,
        quality: None,
        bad_rows: Vec::new(),
    };
    if let Some(event_key) = event_key
        && let Err(refusal) = key_rules(event_key, dataset)
    {
        return Ok(rejected(checked, refusal.reason, refusal.detail));
    }
    let open = || File::open(file).map_err(|source| CheckError::File { file: name.clone(), source });
    let registered = match dataset.contract.avro_text() {
        None => None,
        Some(text) => Some(RegisteredSchema {
            version: 1,
            shape: avro::record_from_text(text).map_err(|e| CheckError::Schema { detail: e.to_string() })?,
        }),
    };
    let against = match Against::new(&dataset.contract, registered) {
        Ok(against) => against,
        Err(refusal) => return Ok(rejected(checked, refusal.reason, refusal.detail)),
    };
    let question = Question { contract: &dataset.contract, against: &against, evolution_refused: false, key: event_key.unwrap_or(&name) };
    let observed = match observe(open()?, &question) {
        Ok(observed) => observed,
        Err(ReadError::Refused(r)) => return Ok(rejected(checked, r.reason, r.detail)),
        Err(ReadError::Input(source)) => return Err(CheckError::File { file: name, source }),
    };
    let drift = &observed.drift;
    checked.decision = Some(observed.record(&name, None, &dataset.contract));
    checked.rows = RowsRecord::predicted(drift);
    let Some(plan) = observed.file_plan().filter(|_| drift.action != Action::Quarantine && drift.rows_reject.is_none()) else {
        let detail =
            drift.findings.iter().filter(|f| f.breaking).map(|f| format!("{} {}", f.code.as_str(), f.path)).collect::<Vec<_>>().join("; ");
        let reason = drift.rows_reject.as_ref().map_or(drift.reason, |r| r.reason);
        return Ok(rejected(checked, reason, detail));
    };
    let broken = |detail: String| CheckError::Broken { detail };
    let mut judge = Judge::new(dataset, now).map_err(broken)?;
    judge.touch(0);
    let (mut failed, mut n_bad) = (0u64, 0u64);
    let expected = plan.plan.expected;
    let planned = Planned::new(plan).map_err(|e| broken(e.to_string()))?;
    let counts = planned.read(open()?, &expected, &dataset.contract.source, &mut None, |block, _| {
        for bad in &block.bad {
            n_bad += 1;
            if checked.bad_rows.len() < SHOWN_MAX {
                let place = bad.place;
                checked.bad_rows.push(BadLine {
                    row: place.row,
                    line: place.line,
                    byte_offset: place.byte_offset,
                    reason: bad.reason.to_string(),
                    detail: bad.detail.clone(),
                });
            }
        }
        let mut batch = block.batch.clone();
        if !dataset.contract.transform.derive.is_empty() {
            let derive = Derive::compile(&dataset.contract.transform.derive, batch.schema_ref())
                .map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
            let derived = derive.apply(&batch).map_err(|e| e.to_string())?;
            failed += derived.failed.iter().map(|f| f.row_idx).collect::<std::collections::BTreeSet<_>>().len() as u64;
            batch = derived.batch;
        }
        let kept: Vec<usize> =
            (0..batch.num_columns()).filter(|i| crate::stage::judging::is_judged(batch.schema_ref().field(*i).name())).collect();
        if batch.num_rows() == 0 {
            return Ok(());
        }
        judge.push(0, &batch.project(&kept).map_err(|e| e.to_string())?)
    });
    let counts = match counts {
        Ok(counts) => counts,
        Err(PlannedError::Read(ReadError::Refused(r))) => return Ok(rejected(checked, r.reason, r.detail)),
        Err(PlannedError::Read(ReadError::Input(source))) => return Err(CheckError::File { file: name, source }),
        Err(PlannedError::Broken(detail)) => return Err(broken(detail)),
    };
    if let Some((reason, detail)) = late_refusal(&dataset.contract, &counts, failed) {
        return Ok(rejected(checked, reason, detail));
    }
    let mut held = 0;
    // A batch of one: rules of either scope speak of this file.
    let mut judgement = judge.finish().map_err(broken)?;
    checked.quality = judgement.batch.as_ref().map(Report::to_json);
    if let Some(judged) = judgement.objects.remove(&0) {
        match judged.verdict {
            ObjectVerdict::Accept { .. } => {}
            ObjectVerdict::AcceptMinusRows { rows, .. } => held = rows.count(),
            ObjectVerdict::Reject { .. } => {
                return Ok(rejected(checked, ReasonCode::QualityRule, judged.failures));
            }
        }
    }
    let quarantined = counts.quarantined + failed + held;
    checked.rows = RowsRecord {
        physical: counts.physical,
        landed: counts.physical - quarantined - counts.deduplicated,
        quarantined,
        deduplicated: counts.deduplicated,
    };
    let telling = drift.findings.iter().any(|f| f.code != FindingCode::Ty15a);
    if telling || quarantined > 0 || counts.deduplicated > 0 || drift.action != Action::Accept {
        checked.verdict = FileVerdict::AcceptWithDrift;
        drift.reason.as_str().clone_into(&mut checked.reason);
    }
    Ok(checked)
}

fn rejected(mut checked: Checked, reason: ReasonCode, detail: String) -> Checked {
    let physical = checked.rows.physical;
    checked.rows = RowsRecord { physical, landed: 0, quarantined: physical, deduplicated: 0 };
    checked.verdict = FileVerdict::Reject;
    reason.as_str().clone_into(&mut checked.reason);
    checked.remedy = Some(remedy(reason).to_owned());
    checked.detail = detail;
    checked
}

/// Unsafe key, ignored object, the contract's route, then suffix and layout (decisions.md 26).
fn key_rules(event_key: &str, dataset: &Dataset) -> Result<(), Refusal> {
    let refusal = |reason, detail: String| Refusal { reason, detail };
    let decoded = crate::event::key::decode(event_key)
        .map_err(|_| refusal(ReasonCode::ObjectKeyUnsafe, "the key's escapes are malformed".to_owned()))?;
    let object: ObjectKey = decoded.parse().map_err(|e| refusal(ReasonCode::ObjectKeyUnsafe, format!("{e}")))?;
    key::judge(&object).map_err(|e| refusal(e.reason(), e.to_string()))?;
    if let Some(what) = ignored::judge(&object, None) {
        return Err(refusal(ReasonCode::IgnoredObject, format!("{what:?}")));
    }
    if let Some(route) = &dataset.contract.route {
        let pattern = Pattern::compile(&route.pattern)
            .map_err(|faults| refusal(ReasonCode::UnknownDataset, faults.first().map_or_else(String::new, |f| f.message.clone())))?;
        let bucket = "check".parse().map_err(|e| refusal(ReasonCode::UnknownDataset, format!("{e}")))?;
        let seen = crate::event::ObjectEvent::listed(
            crate::domain::object::ObjectRef { bucket, key: object.clone() },
            crate::domain::object::ObjectVersion::default(),
        );
        let envelope = crate::event::envelope(&seen);
        if !pattern.matches(pattern.subject(&envelope)) {
            return Err(refusal(ReasonCode::UnknownDataset, "the contract's route does not match this key".to_owned()));
        }
    }
    suffix::judge(&object, &dataset.contract.suffixes).map_err(|e| refusal(e.reason(), e.to_string()))?;
    match &dataset.layout {
        None => Ok(()),
        Some(layout) => layout.read(&object).map(drop).map_err(|e| refusal(e.reason(), e.to_string())),
    }
}
