//! One JSON value at a time.

/// Kinds of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    Object,
    Array,
    Scalar,
}

/// Kind and end of the value at the start of `text`.
pub fn scan_value(_text: &[u8]) -> Option<(Scanned, usize)> {
    None
}
