//! Projections: letters and quality reports as files in the lake. The topics are the authority;
//! these files are written by consumers of them, again and again to the same keys (decisions.md 19).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};

use crate::broker::Record;
use crate::domain::names::StageName;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::lake::layout::{hive_escape, key, letter, letter_rows, quality_report};
use crate::pipeline::outlet::Outlet;
use crate::stage::{Decision, OnPoison, Payload, PutHow, PutObject, Stage, StageError, Verdict};
use crate::state::View;
use crate::wire::codec::CodecError;
use crate::wire::long;
use crate::wire::records::{QualityReport, QuarantineLetter};

/// Writes `quarantine/…`.
pub struct Letters {
    pub lake: Arc<dyn ObjectStore>,
    pub outlet: Outlet,
}

/// Writes `dq-results/…`.
pub struct Reports {
    pub outlet: Outlet,
}

fn date(millis: i64) -> String {
    Timestamp::from_millis(millis).date().to_string()
}

/// JSON within JSON, for people to read; text that is no JSON stays text.
fn unfolded(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// One safe path segment of any text.
fn segment(text: &str) -> String {
    let escaped = hive_escape(text);
    if escaped.is_empty() || escaped.starts_with('.') { format!("_{escaped}") } else { escaped }
}

/// The letter as people read it.
pub fn letter_json(l: &QuarantineLetter, rows: Option<&str>) -> Value {
    json!({
        "format_version": l.format_version, "dataset": l.dataset, "object": format!("{}/{}", l.bucket, l.key), "version_id": l.version_id,
        "version": l.token, "generation": l.generation, "run_id": l.run_id, "replay_id": l.replay_id, "stage": l.stage, "reason": l.reason,
        "detail": l.detail, "remedy": l.remedy, "whole_object": l.whole_object, "rows_quarantined": l.rows_quarantined, "reasons": l.reasons,
        "rows": rows, "samples": l.samples.iter().map(|s| unfolded(s)).collect::<Vec<_>>(), "evidence": unfolded(&l.evidence),
        "contract_hash": l.contract_hash, "raw_base16": l.raw.as_ref().map(hex::encode),
        "at": Timestamp::from_millis(l.at).to_string(),
    })
}

fn pretty(value: &Value) -> Payload {
    let mut text = serde_json::to_vec_pretty(value).expect("a value always serializes");
    text.push(b'\n');
    Payload::Bytes(text.into())
}

fn replace(to: &str, payload: Payload) -> PutObject {
    PutObject { to: key(to), payload, how: PutHow::Replace }
}

#[async_trait]
impl Stage for Letters {
    const NAME: StageName = StageName::Letters;
    const ON_POISON: OnPoison = OnPoison::SetAside;
    type Input = QuarantineLetter;
    type Known = ();
    /// Row letters, if they are still staged.
    type Facts = Option<Bytes>;

    fn decode(&self, _: &Record, value: &[u8]) -> Result<QuarantineLetter, CodecError> {
        self.outlet.codec.decode(value)
    }

    fn weight(&self, letter: &QuarantineLetter) -> u64 {
        long::count(letter.rows_quarantined) * 256
    }

    fn look(&self, _: View<'_>, _: &QuarantineLetter) -> Result<(), StageError> {
        Ok(())
    }

    async fn gather(&self, letter: &QuarantineLetter, (): ()) -> Result<Option<Bytes>, StageError> {
        let Some(staged) = &letter.row_letters else { return Ok(None) };
        match self.lake.get(&key(staged)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn decide(&self, _: View<'_>, l: &QuarantineLetter, rows: Option<Bytes>, _: Timestamp) -> Result<Verdict, StageError> {
        let dataset = segment(l.dataset.as_deref().unwrap_or("_unknown"));
        let (date, reason, run, stage) = (date(l.at), segment(&l.reason), segment(&l.run_id), segment(&l.stage));
        let mut decision = Decision::default();
        let mut at = None;
        if let Some(rows) = rows {
            let to = letter_rows(&dataset, &date, &reason, &run, &stage);
            decision.puts.push(replace(&to, Payload::Bytes(rows)));
            at = Some(to);
        }
        decision.puts.push(replace(&letter(&dataset, &date, &reason, &run, &stage), pretty(&letter_json(l, at.as_deref()))));
        Ok(Verdict::Done(decision))
    }

    fn refuse(&self, _: &QuarantineLetter, _: ReasonCode, detail: &str, _: Timestamp) -> Result<Decision, StageError> {
        Err(StageError::Broken { detail: detail.to_owned() })
    }

    fn due(&self, _: View<'_>, _: Timestamp) -> Result<Vec<QuarantineLetter>, StageError> {
        Ok(Vec::new())
    }

    fn next_due(&self, _: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(None)
    }
}

#[async_trait]
impl Stage for Reports {
    const NAME: StageName = StageName::Reports;
    const ON_POISON: OnPoison = OnPoison::SetAside;
    type Input = QualityReport;
    type Known = ();
    type Facts = ();

    fn decode(&self, _: &Record, value: &[u8]) -> Result<QualityReport, CodecError> {
        self.outlet.codec.decode(value)
    }

    fn weight(&self, report: &QualityReport) -> u64 {
        report.report.len() as u64
    }

    fn look(&self, _: View<'_>, _: &QualityReport) -> Result<(), StageError> {
        Ok(())
    }

    async fn gather(&self, _: &QualityReport, (): ()) -> Result<(), StageError> {
        Ok(())
    }

    fn decide(&self, _: View<'_>, r: &QualityReport, (): (), _: Timestamp) -> Result<Verdict, StageError> {
        let to = quality_report(&segment(&r.dataset), &date(r.at), &r.batch_id);
        let json = json!({
            "format_version": r.format_version, "dataset": r.dataset, "batch_id": r.batch_id, "at": Timestamp::from_millis(r.at).to_string(),
            "outcome": r.outcome, "passed": r.passed, "failed": r.failed, "not_evaluated": r.not_evaluated, "report": unfolded(&r.report),
        });
        Ok(Verdict::Done(Decision { puts: vec![replace(&to, pretty(&json))], ..Decision::default() }))
    }

    fn refuse(&self, _: &QualityReport, _: ReasonCode, detail: &str, _: Timestamp) -> Result<Decision, StageError> {
        Err(StageError::Broken { detail: detail.to_owned() })
    }

    fn due(&self, _: View<'_>, _: Timestamp) -> Result<Vec<QualityReport>, StageError> {
        Ok(Vec::new())
    }

    fn next_due(&self, _: View<'_>) -> Result<Option<Timestamp>, StageError> {
        Ok(None)
    }
}
