//! Batch plans: the durable boundary between deciding and doing.

use chrono::NaiveDate;

use crate::batch::planner::Trigger;
use crate::domain::names::{BatchId, DatasetName, Generation, ReplayId, RunId, SchemaId, SchemaVersion};
use crate::domain::object::{ObjectRef, ObjectVersion};
use crate::domain::time::Timestamp;

/// One sealed batch: transform is a pure function of it (decisions.md 2). All members share the
/// contract and the schema version.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchPlan {
    pub batch_id: BatchId,
    pub dataset: DatasetName,
    pub shard: u32,
    /// Counts the plans of one shard, from 0, without gaps.
    pub seq: u64,
    /// Becomes `processed_at_utc` of every row.
    pub sealed_at: Timestamp,
    pub trigger: Trigger,
    /// Version of the contract every stage loads from now on (decisions.md 20).
    pub contract_hash: String,
    pub schema_version: SchemaVersion,
    pub schema_id: SchemaId,
    /// In order of arrival; never empty.
    pub members: Vec<PlanMember>,
}

/// One object version in a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanMember {
    pub object: ObjectRef,
    pub version: ObjectVersion,
    pub generation: Generation,
    pub run_id: RunId,
    pub replay_id: Option<ReplayId>,
    /// Replaces what an earlier generation published.
    pub forced: bool,
    /// Decision record of classify: JSON, opaque here.
    pub decision: String,
    /// Rows that classify expects to land; a differing count halts the stage (decisions.md 38).
    pub rows: u64,
    /// Stored bytes of the object.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, lower-case hex.
    pub content_sha256: String,
    /// Pinned at admission: the key's date by `layout`, else the day of first landing.
    pub ingest_date: NaiveDate,
    /// Partition values taken from the key, in the contract's order.
    pub partition_values: Vec<(String, String)>,
    pub first_landed: Timestamp,
}

impl BatchPlan {
    /// Rows all members are expected to land.
    pub fn rows(&self) -> u64 {
        self.members.iter().fold(0, |n, m| n.saturating_add(m.rows))
    }

    /// Stored bytes of all members.
    pub fn bytes(&self) -> u64 {
        self.members.iter().fold(0, |n, m| n.saturating_add(m.bytes))
    }
}
