//! Unsafe keys (drift.md §2.11). A key never becomes a local path; one that tries to is refused.

use crate::domain::names::ObjectKey;
use crate::domain::reason::ReasonCode;

/// Why a key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeKey {
    #[error("segment {segment} of the key is `..`")]
    ParentSegment {
        /// Zero-based, split at `/` and `\`.
        segment: usize,
    },
    #[error("the key holds the control character U+{code:04X} at byte {at}")]
    ControlCharacter { at: usize, code: u32 },
}

impl UnsafeKey {
    pub fn reason(&self) -> ReasonCode {
        ReasonCode::ObjectKeyUnsafe
    }
}

/// Judges a decoded key. Legal but odd keys (leading slash, empty segments, quotes, `${…}`) pass.
///
/// # Errors
/// A `..` segment, also between backslashes; NUL, CR, LF or any other control character.
pub fn judge(key: &ObjectKey) -> Result<(), UnsafeKey> {
    let text = key.as_str();
    if let Some((at, c)) = text.char_indices().find(|(_, c)| c.is_control()) {
        return Err(UnsafeKey::ControlCharacter { at, code: u32::from(c) });
    }
    match text.split(['/', '\\']).position(|segment| segment == "..") {
        Some(segment) => Err(UnsafeKey::ParentSegment { segment }),
        None => Ok(()),
    }
}
