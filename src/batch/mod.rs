//! Micro-batches: which objects become one plan, when it is sealed, and whose turn it is.
//!
//! A shard's open batch is a handful of numbers, not a list: members lie in the state store, so
//! memory is not the batch and a crash loses nothing (engine.md §6). Deliberately absent: any
//! clock, the members themselves while a batch is open, and back-pressure (the pipeline's).

pub mod fairness;
pub mod limits;
pub mod planner;
