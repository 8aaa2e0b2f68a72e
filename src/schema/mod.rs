//! Shapes, casts and drift (drift.md): what a file looks like against what is registered.
//!
//! ```text
//!  blocks ─▶ observe ─▶ Observation ─▶ drift::classify ─▶ Drift + ReadPlan
//!  blocks ─────────────────────────────────────────────▶ read ─▶ typed rows, bad rows
//! ```
//!
//! Both passes go through the same casts ([`leaf`], [`cast`]), so their counts agree.
//! Pure: no registry is asked here. Errors and findings are values. Deliberately absent: semantic
//! drift against a baseline profile (drift.md §2.5), and files of which only a schema is observed.

pub mod arrow;
pub mod avro;
pub mod builder;
pub mod calendar;
pub mod cast;
pub mod checks;
pub mod dedupe;
pub mod distinct;
pub mod drift;
pub mod evolve;
mod execute;
pub mod facts;
pub mod finding;
pub mod fingerprint;
pub mod infer;
pub mod leaf;
pub mod matching;
pub mod number;
pub mod observe;
pub mod options;
pub mod plan;
pub mod read;
pub mod reading;
pub mod record;
pub mod resolve;
pub mod shape;
pub mod source_text;
pub mod typing;
pub mod union;

#[cfg(test)]
mod testing;
