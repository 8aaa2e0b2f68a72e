//! Sizes a contract accepts (contract.md, `source.min_bytes`).

use crate::domain::reason::ReasonCode;
use crate::domain::units::ByteSize;

/// The stored size is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeRefused {
    #[error("the object has 0 bytes")]
    Empty,
    #[error("the object has {size}, at least {min} are expected")]
    TooSmall { size: ByteSize, min: ByteSize },
    #[error("the object has {size}, at most {max} are accepted")]
    TooLarge { size: ByteSize, max: ByteSize },
}

impl SizeRefused {
    pub fn reason(&self) -> ReasonCode {
        match self {
            SizeRefused::Empty => ReasonCode::EmptyFile,
            SizeRefused::TooSmall { .. } => ReasonCode::TooSmall,
            SizeRefused::TooLarge { .. } => ReasonCode::TooLarge,
        }
    }
}

/// Judges the stored size in bytes. Nothing in it is always `Empty`, whatever the minimum says; the
/// dataset's `on_empty` decides what becomes of it (refused, unless it says accept).
///
/// # Errors
/// Empty, below `min`, above `max`.
pub fn judge(size: u64, min: ByteSize, max: Option<ByteSize>) -> Result<(), SizeRefused> {
    if size == 0 {
        return Err(SizeRefused::Empty);
    }
    let size = ByteSize(size);
    if size < min {
        return Err(SizeRefused::TooSmall { size, min });
    }
    match max {
        Some(max) if size > max => Err(SizeRefused::TooLarge { size, max }),
        _ => Ok(()),
    }
}
