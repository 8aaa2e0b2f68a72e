//! CSV files: dialect, header, records.
//!
//! ```text
//!  sample ─▶ dialect ─▶ header ─▶ body: blocks without quotes at memory speed, all others by record
//! ```

mod body;
mod dialect;
mod header;
mod plain;
mod record;
mod table;
mod tail;

pub(super) use body::CsvBody;
