//! Replays: what is asked for, and what would happen to each file.
//!
//! Deliberately absent: re-publishing (one task owner does that, decisions.md 12), rates and progress.

pub mod manifest;
pub mod plan;
pub mod request;
