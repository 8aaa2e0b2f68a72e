//! Replays: what is asked for, what would happen to each file, and how far it is.
//!
//! Deliberately absent: re-publishing (one task owner does that, decisions.md 12).

pub mod manifest;
pub mod plan;
pub mod progress;
pub mod request;
