//! What a file of ours says of itself, in its Parquet footer: enough to rebuild the ledger.

use serde::{Deserialize, Serialize};

/// Key of the footer's metadata entry.
pub const KEY: &str = "lakegate";

/// Our entry of a Parquet footer. `batch_id` names the commit that wrote the file last: the plan
/// that created it, or the plan whose replacement rewrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    pub format_version: u32,
    pub dataset: String,
    pub batch_id: String,
    /// Commit of the table that wrote the file; 0 while it is staged.
    pub commit_seq: u64,
    /// Recognizes this very write of this very key (`publish::ledger`); empty while it is staged.
    pub stamp: String,
    /// Rows of each object, contiguous, in file order.
    pub objects: Vec<FooterObject>,
}

/// One object's rows within a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FooterObject {
    /// `bucket/key`.
    pub object: String,
    pub token: String,
    pub generation: u32,
    pub run_id: String,
    pub rows: u64,
}

impl Footer {
    pub const FORMAT_VERSION: u32 = 1;

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text and numbers always serialize")
    }

    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
