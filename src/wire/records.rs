//! Serde twins of `schemas/*.avsc`, nothing else. A golden test holds the two together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `format_version` of every record this build writes.
pub const FORMAT_VERSION: i32 = 1;

/// A record that travels on a topic.
pub trait Record: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static {
    /// Name of the record and of its file under `schemas/`.
    const NAME: &'static str;
    /// The Avro schema, as committed.
    const SCHEMA: &'static str;
}

macro_rules! records {
    ($($name:ident),*) => {
        $(impl Record for $name {
            const NAME: &'static str = stringify!($name);
            const SCHEMA: &'static str = include_str!(concat!("../../schemas/", stringify!($name), ".avsc"));
        })*

        /// Name and schema of every record, for registration.
        pub const ALL: &[(&str, &str)] = &[$(($name::NAME, $name::SCHEMA)),*];
    };
}

records!(
    LandedObject,
    ValidatedObject,
    ClassifiedObject,
    BatchPlan,
    StagedBatch,
    PublishedBatch,
    QuarantineLetter,
    ObjectStatus,
    LifecycleEvent,
    ReplayRequest,
    ReplayControl,
    QualityReport
);

/// One object version that was announced or found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LandedObject {
    pub format_version: i32,
    /// Null: no contract routes it.
    pub dataset: Option<String>,
    pub bucket: String,
    pub key: String,
    pub version_id: Option<String>,
    pub etag: Option<String>,
    pub size: Option<i64>,
    pub sequencer: Option<String>,
    pub sequencer_family: Option<String>,
    pub last_modified: Option<i64>,
    pub event_time: Option<i64>,
    pub event_name: String,
    pub removed: bool,
    pub source: String,
    /// event, listing or replay.
    pub origin: String,
    pub landed_at: i64,
    pub replay: Option<ReplayMark>,
}

/// Set on what a replay landed again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayMark {
    pub replay_id: String,
    pub index: i32,
    pub force: bool,
    pub reason: String,
    pub first_landed: Option<i64>,
}

/// An object version admitted to the pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidatedObject {
    pub format_version: i32,
    pub dataset: String,
    pub contract_hash: String,
    /// Sniffed from the first bytes.
    pub format: String,
    pub admitted: Admitted,
}

/// An object version that passed validation, as every later record carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Admitted {
    /// Partition of the landing record it came from.
    pub landing_partition: i32,
    /// Offset of the landing record it came from.
    pub landing_offset: i64,
    pub bucket: String,
    pub key: String,
    pub version_id: Option<String>,
    pub etag: Option<String>,
    /// Bytes as stored.
    pub size: i64,
    /// Identifies the version among all versions of its key.
    pub token: String,
    /// 0 for live traffic, one more for every admitted replay.
    pub generation: i32,
    pub run_id: String,
    pub replay_id: Option<String>,
    /// A forced replay: replaces what is published.
    pub forced: bool,
    /// A newer version of a key that was admitted before.
    pub overwrites: bool,
    pub source: String,
    /// Milliseconds since the epoch.
    pub first_landed: i64,
    pub event_time: Option<i64>,
    /// ISO date from the key's layout, else of first landing.
    pub ingest_date: String,
    /// Values the contract's layout takes from the key.
    pub partition_values: BTreeMap<String, String>,
    pub late: bool,
}

/// An object whose drift was decided, with the plan to read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassifiedObject {
    pub format_version: i32,
    pub dataset: String,
    pub contract_hash: String,
    pub admitted: Admitted,
    /// Of the stored bytes.
    pub sha256: String,
    pub shard: i32,
    /// accept, coerce or accept_and_evolve.
    pub action: String,
    pub rows_physical: i64,
    /// Rows the read plan sends to row quarantine.
    pub rows_bad: i64,
    /// Of the contract's subject.
    pub schema_version: Option<i32>,
    /// The decision record, JSON (drift.md 2.8).
    pub decision: String,
    /// How transform reads it, JSON.
    pub read_plan: String,
}

/// A sealed batch: transform is a pure function of this record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchPlan {
    pub format_version: i32,
    pub batch_id: String,
    pub dataset: String,
    pub shard: i32,
    pub seq: i64,
    /// Becomes processed_at_utc.
    pub sealed_at: i64,
    pub trigger: String,
    pub contract_hash: String,
    pub schema_version: Option<i32>,
    /// Distinct read plans of the members.
    pub read_plans: Vec<String>,
    pub members: Vec<PlanMember>,
}

/// One object of the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanMember {
    pub admitted: Admitted,
    pub sha256: String,
    /// Index into read_plans.
    pub read_plan: i32,
    pub rows_physical: i64,
    pub rows_bad: i64,
}

/// A plan's staged result; on `checked` with the verdicts filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagedBatch {
    pub format_version: i32,
    pub batch_id: String,
    pub dataset: String,
    pub shard: i32,
    pub seq: i64,
    pub sealed_at: i64,
    pub contract_hash: String,
    pub files: Vec<StagedFile>,
    pub members: Vec<StagedMember>,
}

/// One Parquet file of one hive partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagedFile {
    pub key: String,
    pub digest: String,
    pub bytes: i64,
    /// Hive path such as ingest_date=2026-01-02, empty without partition_by.
    pub partition: String,
    pub rows: i64,
    pub objects: Vec<FileObject>,
}

/// Rows of one member, contiguous, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileObject {
    pub member: i32,
    pub rows: i64,
}

/// One object of the batch and where its rows went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagedMember {
    pub admitted: Admitted,
    pub rows_physical: i64,
    pub rows_staged: i64,
    pub rows_quarantined: i64,
    pub rows_deduplicated: i64,
    /// Held back by quality rules.
    pub rows_held: i64,
    /// staged, accepted, accepted_minus_rows or rejected.
    pub verdict: String,
    /// Rows by reason code.
    pub reasons: BTreeMap<String, i64>,
}

/// One commit to a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedBatch {
    pub format_version: i32,
    pub batch_id: String,
    pub dataset: String,
    pub table: String,
    pub commit_seq: i64,
    pub published_at: i64,
    pub created: Vec<String>,
    pub rewritten: Vec<String>,
    pub objects: Vec<PublishedObject>,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedObject {
    pub bucket: String,
    pub key: String,
    pub token: String,
    pub generation: i32,
    pub run_id: String,
    pub rows: i64,
    pub outcome: String,
}

/// Why an object, or some of its rows, or a notification was held back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuarantineLetter {
    pub format_version: i32,
    pub dataset: Option<String>,
    pub bucket: String,
    pub key: String,
    pub version_id: Option<String>,
    pub token: String,
    pub generation: i32,
    pub run_id: String,
    pub replay_id: Option<String>,
    pub landing_partition: i32,
    pub landing_offset: i64,
    pub stage: String,
    pub reason: String,
    pub detail: String,
    /// JSON.
    pub evidence: String,
    pub remedy: String,
    /// False: only the counted rows.
    pub whole_object: bool,
    pub rows_quarantined: i64,
    /// Rows by reason code.
    pub reasons: BTreeMap<String, i64>,
    /// Staged JSON Lines with every row.
    pub row_letters: Option<String>,
    /// Up to 20 rows, JSON.
    pub samples: Vec<String>,
    pub contract_hash: Option<String>,
    /// Raw bytes of an unreadable notification, at most 64 KiB.
    #[serde(with = "apache_avro::serde_avro_bytes_opt")]
    pub raw: Option<Vec<u8>>,
    pub at: i64,
}

/// One row of the status table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectStatus {
    pub format_version: i32,
    pub dataset: Option<String>,
    pub bucket: String,
    pub key: String,
    pub version_id: Option<String>,
    pub etag: Option<String>,
    pub token: String,
    pub size: Option<i64>,
    pub generation: i32,
    pub run_id: String,
    pub replay_id: Option<String>,
    pub landing_partition: i32,
    pub landing_offset: i64,
    pub stage: String,
    pub status: String,
    pub reason: Option<String>,
    pub rows_in: i64,
    pub rows_published: i64,
    pub rows_quarantined: i64,
    pub rows_deduplicated: i64,
    pub source: String,
    pub first_landed: i64,
    pub at: i64,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifecycleEvent {
    pub format_version: i32,
    pub kind: String,
    pub stage: String,
    pub dataset: Option<String>,
    pub bucket: Option<String>,
    pub key: Option<String>,
    pub batch_id: Option<String>,
    pub replay_id: Option<String>,
    pub run_ids: Vec<String>,
    pub reason: Option<String>,
    /// JSON.
    pub detail: String,
    pub at: i64,
}

/// A replay that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayRequest {
    pub format_version: i32,
    pub replay_id: String,
    pub reason: String,
    pub dataset: Option<String>,
    pub requested_at: i64,
    pub requested_by: String,
    pub force: bool,
    pub skip_if_published: bool,
    pub pin_contract: Option<String>,
    /// Landed again at most so fast; null: as fast as validate takes them.
    pub objects_per_second: Option<i32>,
    pub items: Vec<ReplayItem>,
}

/// An order to a replay that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayControl {
    pub format_version: i32,
    pub replay_id: String,
    /// pause, resume or cancel.
    pub action: String,
    pub requested_at: i64,
    pub requested_by: String,
    pub reason: String,
}

/// One object to replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayItem {
    pub index: i32,
    pub bucket: String,
    pub key: String,
    pub version_id: Option<String>,
    pub etag: Option<String>,
    pub size: Option<i64>,
    pub first_landed: Option<i64>,
    /// Landing partition of origin.
    pub partition: i32,
}

/// Outcome of a dataset's rules on one batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityReport {
    pub format_version: i32,
    pub batch_id: String,
    pub dataset: String,
    pub at: i64,
    /// passed, failed or not_evaluated.
    pub outcome: String,
    pub passed: i64,
    pub failed: i64,
    pub not_evaluated: i64,
    /// JSON, per object and merged.
    pub report: String,
}
