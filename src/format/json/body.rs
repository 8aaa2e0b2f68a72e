//! Records of a JSON file.

use std::io::Read;

use crate::domain::reason::ReasonCode;
use crate::format::block::{Block, FileEvent};
use crate::format::feed::Feed;
use crate::format::options::SourceOptions;
use crate::format::reader::{Hint, ReadError, Resolved, Totals};
use crate::format::sniff::Suffix;

pub struct JsonBody;

impl JsonBody {
    pub fn open<R: Read>(
        _feed: &mut Feed<R>,
        _options: &SourceOptions,
        _hint: &Hint,
        _suffix: &Suffix,
        _events: &mut Vec<FileEvent>,
    ) -> Result<(Self, Resolved), ReadError> {
        Err(ReadError::refused(ReasonCode::FormatMismatch, "JSON is not read yet"))
    }

    pub fn next_block<R: Read>(
        &mut self,
        _feed: &mut Feed<R>,
        _resolved: &mut Resolved,
        _events: &mut Vec<FileEvent>,
    ) -> Result<Option<Block>, ReadError> {
        Ok(None)
    }

    pub fn finish(&self, _totals: &Totals, _events: &mut Vec<FileEvent>) -> Result<(), ReadError> {
        Ok(())
    }
}
