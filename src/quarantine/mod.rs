//! Letters: what was refused, where, why, and what a person can do about it.
//!
//! Deliberately absent: writing them (the topics are the authority, `quarantine/` is a projection,
//! decisions.md 19) and any clock.

pub mod budget;
pub mod letter;
pub mod remedy;
pub mod row;
pub mod verdict;
