//! Bytes of a landed file → blocks of records with their places, and what was wrong with the rest.
//!
//! Both, not `Result`: a bad record is a value. Deliberately absent: types. A cell is text (CSV)
//! or a tree (JSON) until [`crate::schema`] says what it should be.
//!
//! ```text
//!  stored bytes ─▶ compression ─▶ encoding ─▶ feed ─▶ sniff ─▶ csv | json ─▶ blocks
//!      └ SHA-256      └ bombs        └ BOM      └ bounded buffer
//! ```

pub mod block;
mod compression;
mod csv;
mod encoding;
mod feed;
mod json;
pub mod options;
pub mod reader;
pub mod resolved;
mod sniff;

#[cfg(test)]
mod tests;
