//! lakegate: the gate between a landing bucket and a trusted data lake. *Landed is not trusted.*
//!
//! ```text
//!  source ─▶ bridge ─▶ validate ─▶ classify ─▶ assemble ─▶ transform ─▶ check ─▶ publish
//!                         └───────────┴──── quarantine ◀────────┴─────────┘
//! ```
//!
//! The modules stand floor by floor; a file imports its own floor's siblings only where
//! ARCHITECTURE.md allows it, and any floor below. `tests/architecture.rs` holds that.

// Floor 0: words.
pub mod domain;

// Floor 1: pure cores. No I/O, no clock, no async.
pub mod admission;
pub mod batch;
pub mod contract;
pub mod event;
pub mod expression;
pub mod format;
pub mod publish;
pub mod quality;
pub mod quarantine;
pub mod replay;
pub mod route;
pub mod schema;
pub mod sweep;
pub mod table;

// Floor 2: seams. Floor 3: their implementations, in the seam's folder.
pub mod broker;
pub mod claim;
pub mod clock;
pub mod lake;
pub mod registry;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod wire;

// Floor 4: the pipeline.
pub mod pipeline;
pub mod stage;

// Floor 5: the shell.
pub mod app;
pub mod cli;
pub mod config;
