//! Bytes of a landed file → blocks of records with their places, and what was wrong with the rest.
//!
//! Both, not `Result`: a bad record is a value. Deliberately absent: types. A cell is text (CSV)
//! or a tree (JSON) until [`crate::schema`] says what it should be.

pub mod block;
pub mod options;
