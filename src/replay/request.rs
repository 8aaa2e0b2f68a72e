//! What a replay may be asked for with: a manifest, offsets, or letters in quarantine.

use std::str::FromStr;

use crate::domain::names::{DatasetName, ReplayId};
use crate::domain::position::{NextOffset, Offset, Partition};
use crate::domain::reason::ReasonCode;
use crate::replay::manifest::{Manifest, ReplayOptions};

/// Records of one offset range; larger ones are asked for in pieces.
pub const RANGE_MAX: u64 = 10_000_000;

/// A checked request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayRequest {
    Manifest(Manifest),
    /// Landing records of a range; read by an independent consumer, never by rewinding a group.
    Offsets {
        replay_id: ReplayId,
        ranges: Vec<OffsetRange>,
        options: ReplayOptions,
    },
    /// Objects whose newest letter matches.
    Quarantine {
        replay_id: ReplayId,
        dataset: DatasetName,
        reason: Option<ReasonCode>,
        options: ReplayOptions,
    },
}

impl ReplayRequest {
    pub fn replay_id(&self) -> &ReplayId {
        match self {
            ReplayRequest::Manifest(manifest) => &manifest.replay_id,
            ReplayRequest::Offsets { replay_id, .. } | ReplayRequest::Quarantine { replay_id, .. } => replay_id,
        }
    }

    pub fn options(&self) -> ReplayOptions {
        match self {
            ReplayRequest::Manifest(manifest) => manifest.options,
            ReplayRequest::Offsets { options, .. } | ReplayRequest::Quarantine { options, .. } => *options,
        }
    }
}

/// Records `from` up to, not including, `to` of one partition. Text form: `3:100..200`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetRange {
    pub partition: Partition,
    pub from: Offset,
    pub to: NextOffset,
}

/// An offset range was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OffsetRangeError {
    #[error("{text:?} is not an offset range; write PARTITION:FROM..TO, such as 3:100..200 (200 is not replayed)")]
    Form { text: String },
    #[error("{text:?} is empty: FROM must be smaller than TO")]
    Empty { text: String },
    #[error("{text:?} spans {records} records, at most {RANGE_MAX} are allowed")]
    TooLong { text: String, records: u64 },
}

impl FromStr for OffsetRange {
    type Err = OffsetRangeError;

    fn from_str(text: &str) -> Result<Self, OffsetRangeError> {
        let owned = || text.chars().take(100).collect::<String>();
        let parts = || -> Option<(u32, u64, u64)> {
            let (partition, range) = text.trim().split_once(':')?;
            let (from, to) = range.split_once("..")?;
            Some((partition.parse().ok()?, from.parse().ok()?, to.parse().ok()?))
        };
        let (partition, from, to) = parts().ok_or_else(|| OffsetRangeError::Form { text: owned() })?;
        let records = to.saturating_sub(from);
        if records == 0 {
            return Err(OffsetRangeError::Empty { text: owned() });
        }
        if records > RANGE_MAX {
            return Err(OffsetRangeError::TooLong { text: owned(), records });
        }
        Ok(Self { partition: Partition(partition), from: Offset(from), to: NextOffset(to) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_parse_and_say_what_is_wrong() {
        let range = OffsetRange { partition: Partition(3), from: Offset(100), to: NextOffset(200) };
        assert_eq!("3:100..200".parse(), Ok(range));
        for text in ["", "3", "3:1", "3:1..", "a:1..2", "3:-1..2", "3:1...2"] {
            assert!(matches!(text.parse::<OffsetRange>(), Err(OffsetRangeError::Form { .. })), "{text:?}");
        }
        assert!(matches!("0:5..5".parse::<OffsetRange>(), Err(OffsetRangeError::Empty { .. })));
        assert!(matches!("0:9..5".parse::<OffsetRange>(), Err(OffsetRangeError::Empty { .. })));
        assert!(matches!("0:0..10000001".parse::<OffsetRange>(), Err(OffsetRangeError::TooLong { records: 10_000_001, .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            if let Ok(range) = text.parse::<OffsetRange>() {
                prop_assert!(range.from.0 < range.to.0);
            }
        }
    }
}
