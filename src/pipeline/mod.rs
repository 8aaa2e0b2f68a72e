//! The engine: every stage runs through the one [`runner`], every effect through the one [`perform`].
//!
//! ```text
//! poll ─▶ look ─▶ gather (concurrent) ─▶ decide (in order) ─▶ puts ─▶ one commit ─▶ local store
//! ```
//! Nothing is awaited inside the commit but the broker itself.

pub mod about;
pub mod claim;
pub mod doubt;
pub mod outlet;
pub mod perform;
pub mod restore;
pub mod runner;
pub mod tally;
pub mod topics;
pub mod work;
