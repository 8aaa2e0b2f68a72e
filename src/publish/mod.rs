//! What publish may do: a pure decision over its ledger and what stands in the lake.
//!
//! ```text
//!  staged result + ledger ─▶ Draft ─ keys() ─▶ (gather observes) ─▶ settle ─▶ PublishPlan
//! ```
//!
//! Keys mode of engine.md §8.7. Deliberately absent: writing Parquet, e-tags of files not yet
//! written, and any quarantine: publish may only retry or halt (decisions.md 9).

pub mod decide;
pub mod draft;
pub mod ledger;
pub mod name;
