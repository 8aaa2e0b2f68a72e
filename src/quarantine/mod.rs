//! Letters and their remedies.

pub mod remedy;
