//! JSON files: records are objects, numbers keep their text, errors are found line by line.

mod body;
mod parse;

pub(super) use body::JsonBody;
pub(super) use parse::{Scanned, scan_value};
