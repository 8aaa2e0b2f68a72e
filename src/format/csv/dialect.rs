//! Which dialect a sample is written in.

use crate::format::reader::ExpectedKind;

/// Whether a text may be a value of a kind. An empty text is null, which fits every kind.
pub(super) fn is_value_of(kind: ExpectedKind, text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() {
        return true;
    }
    match kind {
        ExpectedKind::String | ExpectedKind::Other => true,
        ExpectedKind::Number => is_number(text),
        ExpectedKind::Boolean => {
            matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "t" | "f" | "y" | "n" | "0" | "1")
        }
        ExpectedKind::Temporal => is_temporal(text),
    }
}

pub(super) fn is_number(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b"+-.,eE' ".contains(&b)) && {
        let plain: String = text.chars().filter(|c| !matches!(c, ',' | '\'' | ' ')).collect();
        text.parse::<f64>().is_ok() || plain.parse::<f64>().is_ok() || text.replace(',', ".").parse::<f64>().is_ok()
    }
}

pub(super) fn is_temporal(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let first = text.bytes().next().unwrap_or_default();
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    (4..=26).contains(&digits)
        && (first.is_ascii_digit() || first.is_ascii_alphabetic())
        && letters <= 12
        && text.len() <= 48
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/.:+ ,_[]".contains(&b))
}
