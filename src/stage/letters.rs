//! Letters, status rows and audit lines, as the stages write them.

use std::collections::BTreeMap;

use crate::broker::Record;
use crate::domain::names::StageName;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::wire::records::{FORMAT_VERSION, QuarantineLetter};

/// Raw bytes kept of an unreadable record.
pub const RAW_BYTES_MAX: usize = 64 << 10;

/// The letter of a record of our own topic that does not decode.
pub fn poison(record: &Record, stage: StageName, detail: &str, now: Timestamp) -> QuarantineLetter {
    let raw = record.value.as_ref().map(|v| v[..v.len().min(RAW_BYTES_MAX)].to_vec());
    QuarantineLetter {
        format_version: FORMAT_VERSION,
        dataset: record.header("dataset").map(str::to_owned),
        bucket: String::new(),
        key: record.at.to_string(),
        version_id: None,
        token: record.offset.0.to_string(),
        generation: 0,
        run_id: record.header("run_id").unwrap_or("unknown").to_owned(),
        replay_id: record.header("replay_id").map(str::to_owned),
        landing_partition: -1,
        landing_offset: -1,
        stage: stage.as_str().to_owned(),
        reason: ReasonCode::PoisonRecord.as_str().to_owned(),
        detail: format!("{} offset {}: {detail}", record.at, record.offset.0),
        evidence: "{}".to_owned(),
        remedy: "report this record: a topic of lakegate's own holds bytes this build cannot decode".to_owned(),
        whole_object: true,
        rows_quarantined: 0,
        reasons: BTreeMap::new(),
        row_letters: None,
        samples: Vec::new(),
        contract_hash: None,
        raw,
        at: now.millis(),
    }
}
