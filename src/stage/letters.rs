//! Letters, status rows and audit lines, as the stages write them.

use std::collections::BTreeMap;

use serde_json::json;

use crate::broker::{Headers, OutRecord, Record};
use crate::domain::names::StageName;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::pipeline::outlet::{Outlet, Placed};
use crate::pipeline::topics::Topic;
use crate::quarantine::remedy::remedy;
use crate::wire::codec::CodecError;
use crate::wire::long;
use crate::wire::records::{Admitted, FORMAT_VERSION, LandedObject, LifecycleEvent, ObjectStatus, QuarantineLetter};

/// Kind of the audit line that holds a file's drift record.
pub const DRIFT_CLASSIFIED: &str = "DriftClassified";

/// Raw bytes kept of an unreadable record.
pub const RAW_BYTES_MAX: usize = 64 << 10;

/// Terminal and passing states of the status table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Admitted,
    Published,
    Registered,
    Quarantined,
    Duplicate,
    Superseded,
    Ignored,
}

impl State {
    pub const ALL: [State; 7] =
        [State::Admitted, State::Published, State::Registered, State::Quarantined, State::Duplicate, State::Superseded, State::Ignored];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Admitted => "ADMITTED",
            State::Published => "PUBLISHED",
            State::Registered => "REGISTERED",
            State::Quarantined => "QUARANTINED",
            State::Duplicate => "DUPLICATE",
            State::Superseded => "SUPERSEDED",
            State::Ignored => "IGNORED",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    pub fn is_terminal(self) -> bool {
        self != State::Admitted
    }

    /// States that belong to the landing record and never overwrite the row of the version they repeat (decisions.md 6).
    fn is_of_landing_record(self) -> bool {
        matches!(self, State::Duplicate | State::Superseded | State::Ignored)
    }
}

/// Rows of one object, by where they went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    pub physical: u64,
    pub published: u64,
    pub quarantined: u64,
    pub deduplicated: u64,
}

/// One object version as status rows and letters name it.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub dataset: Option<&'a str>,
    pub object: &'a Admitted,
}

/// What a letter says beyond its subject.
#[derive(Debug, Clone, Default)]
pub struct Charge {
    pub detail: String,
    /// JSON text.
    pub evidence: Option<String>,
    pub rows: BTreeMap<String, i64>,
    /// Staged JSON Lines with every row; `None` for a whole object.
    pub row_letters: Option<String>,
    pub samples: Vec<String>,
    pub contract_hash: Option<String>,
}

/// Writes the records stages share.
#[derive(Clone)]
pub struct Clerk {
    pub outlet: Outlet,
    pub stage: StageName,
}

/// Headers every record about one object carries.
pub fn headers(dataset: Option<&str>, object: &Admitted) -> Headers {
    let mut headers: Headers =
        vec![("run_id".to_owned(), object.run_id.clone().into()), ("source".to_owned(), object.source.clone().into())];
    if let Some(dataset) = dataset {
        headers.push(("dataset".to_owned(), dataset.to_owned().into()));
    }
    if let Some(replay) = &object.replay_id {
        headers.push(("replay_id".to_owned(), replay.clone().into()));
    }
    headers
}

impl Clerk {
    /// A row of the status table.
    pub fn status(
        &self,
        of: &Subject<'_>,
        state: State,
        reason: Option<ReasonCode>,
        rows: RowCounts,
        now: Timestamp,
    ) -> Result<OutRecord, CodecError> {
        let o = of.object;
        let placed = format!("{}/{}", o.bucket, o.key);
        let key = if state.is_of_landing_record() {
            format!("{placed}#landing/{}/{}", o.landing_partition, o.landing_offset)
        } else {
            format!("{placed}#{}#{}", o.token, o.generation)
        };
        let row = ObjectStatus {
            format_version: FORMAT_VERSION,
            dataset: of.dataset.map(str::to_owned),
            bucket: o.bucket.clone(),
            key: o.key.clone(),
            version_id: o.version_id.clone(),
            etag: o.etag.clone(),
            token: o.token.clone(),
            size: Some(o.size),
            generation: o.generation,
            run_id: o.run_id.clone(),
            replay_id: o.replay_id.clone(),
            landing_partition: o.landing_partition,
            landing_offset: o.landing_offset,
            stage: self.stage.as_str().to_owned(),
            status: state.as_str().to_owned(),
            reason: reason.map(|r| r.as_str().to_owned()),
            rows_in: long::of(rows.physical),
            rows_published: long::of(rows.published),
            rows_quarantined: long::of(rows.quarantined),
            rows_deduplicated: long::of(rows.deduplicated),
            source: o.source.clone(),
            first_landed: o.first_landed,
            at: now.millis(),
        };
        self.outlet.record(Topic::Status, &key, Placed::By(&placed), &row, headers(of.dataset, o))
    }

    /// A letter: why an object, or some of its rows, was held back.
    pub fn letter(&self, of: &Subject<'_>, reason: ReasonCode, charge: Charge, now: Timestamp) -> Result<OutRecord, CodecError> {
        let o = of.object;
        let placed = format!("{}/{}", o.bucket, o.key);
        let letter = QuarantineLetter {
            format_version: FORMAT_VERSION,
            dataset: of.dataset.map(str::to_owned),
            bucket: o.bucket.clone(),
            key: o.key.clone(),
            version_id: o.version_id.clone(),
            token: o.token.clone(),
            generation: o.generation,
            run_id: o.run_id.clone(),
            replay_id: o.replay_id.clone(),
            landing_partition: o.landing_partition,
            landing_offset: o.landing_offset,
            stage: self.stage.as_str().to_owned(),
            reason: reason.as_str().to_owned(),
            detail: charge.detail,
            evidence: charge.evidence.unwrap_or_else(|| "{}".to_owned()),
            remedy: remedy(reason).to_owned(),
            whole_object: charge.row_letters.is_none(),
            rows_quarantined: charge.rows.values().sum(),
            reasons: charge.rows,
            row_letters: charge.row_letters,
            samples: charge.samples,
            contract_hash: charge.contract_hash,
            raw: None,
            at: now.millis(),
        };
        self.outlet.record(Topic::Quarantine, &placed, Placed::By(&placed), &letter, headers(of.dataset, o))
    }

    /// A line of the audit log about one object; `detail` shows itself as JSON.
    pub fn event(
        &self,
        kind: &str,
        of: &Subject<'_>,
        reason: Option<ReasonCode>,
        detail: impl std::fmt::Display,
        now: Timestamp,
    ) -> Result<OutRecord, CodecError> {
        let o = of.object;
        let event = LifecycleEvent {
            format_version: FORMAT_VERSION,
            kind: kind.to_owned(),
            stage: self.stage.as_str().to_owned(),
            dataset: of.dataset.map(str::to_owned),
            bucket: Some(o.bucket.clone()),
            key: Some(o.key.clone()),
            batch_id: None,
            replay_id: o.replay_id.clone(),
            run_ids: vec![o.run_id.clone()],
            reason: reason.map(|r| r.as_str().to_owned()),
            detail: detail.to_string(),
            at: now.millis(),
        };
        let placed = format!("{}/{}", o.bucket, o.key);
        self.outlet.record(Topic::Lifecycle, &placed, Placed::By(&placed), &event, headers(of.dataset, o))
    }

    /// A line of the audit log about a batch, naming its run ids (decisions.md 6).
    pub fn batch_event(
        &self,
        kind: &str,
        dataset: &str,
        batch_id: &str,
        objects: &[&Admitted],
        detail: serde_json::Value,
        now: Timestamp,
    ) -> Result<OutRecord, CodecError> {
        let event = LifecycleEvent {
            format_version: FORMAT_VERSION,
            kind: kind.to_owned(),
            stage: self.stage.as_str().to_owned(),
            dataset: Some(dataset.to_owned()),
            bucket: None,
            key: None,
            batch_id: Some(batch_id.to_owned()),
            replay_id: None,
            run_ids: objects.iter().map(|o| o.run_id.clone()).collect(),
            reason: None,
            detail: detail.to_string(),
            at: now.millis(),
        };
        self.outlet.record(
            Topic::Lifecycle,
            batch_id,
            Placed::By(batch_id),
            &event,
            vec![("dataset".to_owned(), dataset.to_owned().into())],
        )
    }

    /// Everything that says "this whole object is held back": letter, terminal status, audit line.
    pub fn quarantine(
        &self,
        of: &Subject<'_>,
        reason: ReasonCode,
        charge: Charge,
        rows: RowCounts,
        kind: &str,
        now: Timestamp,
    ) -> Result<Vec<OutRecord>, CodecError> {
        tracing::info!(stage = self.stage.as_str(), dataset = of.dataset, source = of.object.source, replay_id = of.object.replay_id, object = %format!("{}/{}", of.object.bucket, of.object.key), run_id = of.object.run_id, reason = %reason, "object quarantined");
        let detail = json!({ "reason": reason.as_str(), "detail": charge.detail });
        Ok(vec![
            self.letter(of, reason, charge, now)?,
            self.status(of, State::Quarantined, Some(reason), rows, now)?,
            self.event(kind, of, Some(reason), detail.clone(), now)?,
            self.event("Quarantined", of, Some(reason), detail, now)?,
        ])
    }
}

/// A landing record as an object that was not admitted: for the letters and rows of validate.
pub fn unadmitted(landed: &LandedObject, partition: i32, offset: i64, token: String, run_id: String) -> Admitted {
    Admitted {
        landing_partition: partition,
        landing_offset: offset,
        bucket: landed.bucket.clone(),
        key: landed.key.clone(),
        version_id: landed.version_id.clone(),
        etag: landed.etag.clone(),
        size: landed.size.unwrap_or(0),
        token,
        generation: 0,
        run_id,
        replay_id: landed.replay.as_ref().map(|r| r.replay_id.clone()),
        forced: landed.replay.as_ref().is_some_and(|r| r.force),
        overwrites: false,
        source: landed.source.clone(),
        first_landed: landed.replay.as_ref().and_then(|r| r.first_landed).unwrap_or(landed.landed_at),
        event_time: landed.event_time,
        ingest_date: String::new(),
        partition_values: BTreeMap::new(),
        late: false,
    }
}

/// The letter of a record of our own topic that does not decode.
pub fn poison(record: &Record, stage: StageName, detail: &str, now: Timestamp) -> QuarantineLetter {
    let raw = record.value.as_ref().map(|v| v[..v.len().min(RAW_BYTES_MAX)].to_vec());
    QuarantineLetter {
        format_version: FORMAT_VERSION,
        dataset: record.header("dataset").map(str::to_owned),
        bucket: String::new(),
        key: record.at.to_string(),
        version_id: None,
        token: record.offset.0.to_string(),
        generation: 0,
        run_id: record.header("run_id").unwrap_or("unknown").to_owned(),
        replay_id: record.header("replay_id").map(str::to_owned),
        landing_partition: -1,
        landing_offset: -1,
        stage: stage.as_str().to_owned(),
        reason: ReasonCode::PoisonRecord.as_str().to_owned(),
        detail: format!("{} offset {}: {detail}", record.at, record.offset.0),
        evidence: "{}".to_owned(),
        remedy: remedy(ReasonCode::PoisonRecord).to_owned(),
        whole_object: true,
        rows_quarantined: 0,
        reasons: BTreeMap::new(),
        row_letters: None,
        samples: Vec::new(),
        contract_hash: None,
        raw,
        at: now.millis(),
    }
}
