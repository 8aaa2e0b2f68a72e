//! Where a record stands in a trace (W3C Trace Context, level 2, `traceparent`).

use std::fmt;
use std::str::FromStr;

/// A trace and the span that led here, as they travel in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(String);

/// A text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case, neither id all zeros")]
pub struct TraceParentError;

impl TraceParent {
    /// The header's name, in HTTP and on topics.
    pub const HEADER: &'static str = "traceparent";

    /// A trace that begins here, sampled; the ids are digests of whatever it is about, so a rerun begins the same one.
    pub fn begin(trace: u128, span: u64) -> Self {
        Self(format!("00-{:032x}-{:016x}-01", trace.max(1), span.max(1)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    /// Accepts what a later version would send, as far as this one understands it, and keeps that.
    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let mut parts = text.splitn(5, '-');
        let mut hex = |digits: usize| {
            let part = parts.next().unwrap_or_default();
            let fits = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            fits.then_some(part).ok_or(TraceParentError)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_zero = |id: &str| id.bytes().all(|b| b == b'0');
        if version == "ff" || (version == "00" && parts.next().is_some()) || is_zero(trace) || is_zero(span) {
            return Err(TraceParentError);
        }
        Ok(Self(format!("00-{trace}-{span}-{flags}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_the_standard_allows_is_kept() {
        assert_eq!(GOOD.parse::<TraceParent>().unwrap().as_str(), GOOD);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-else";
        assert_eq!(later.parse::<TraceParent>().unwrap().as_str(), GOOD);
        let begun = TraceParent::begin(0, 0);
        assert_eq!(begun.as_str().parse(), Ok(begun), "even of a digest of zeros");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(TraceParentError), "{text}");
        }
    }
}
