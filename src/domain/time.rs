//! Points in time and spans. There is deliberately no `now()` here: see [`crate::clock`].

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const EPOCH: Timestamp = Timestamp(0);
    /// The far end of time; a wait until then is a wait for an event.
    pub const NEVER: Timestamp = Timestamp(i64::MAX);

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Later by `span`, saturating.
    pub const fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// Span since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Span {
        let d = self.0.saturating_sub(earlier.0);
        Span(if d < 0 { 0 } else { d })
    }

    /// The UTC day this point lies in.
    pub fn date(self) -> NaiveDate {
        DateTime::<Utc>::from_timestamp_millis(self.0).map_or(NaiveDate::MAX, |t| t.date_naive())
    }

    /// Parses RFC 3339 (`2026-01-02T03:04:05Z`, any offset, any fraction; truncated to milliseconds).
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|t| Self(t.timestamp_millis()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(t) => f.write_str(&t.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// A length of time in milliseconds, never negative.
///
/// Text forms: `250ms`, `30s`, `5m`, `12h`, `7d`, `2w`, and ISO-8601 (`P7D`, `PT1H30M`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Span {
    pub const ZERO: Span = Span(0);

    pub const fn from_millis(millis: i64) -> Self {
        Self(if millis < 0 { 0 } else { millis })
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    pub fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.unsigned_abs())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        for (unit, name) in UNITS {
            if self.0 >= unit && self.0 % unit == 0 {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

/// A span's text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration; write 250ms, 30s, 5m, 12h, 7d or ISO-8601 such as P7D")]
pub struct SpanError {
    pub text: String,
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let refused = || SpanError { text: text.to_owned() };
        let trimmed = text.trim();
        let millis = if let Some(iso) = trimmed.strip_prefix('P') { iso_8601(iso) } else { suffixed(trimmed) };
        millis.map(Span).ok_or_else(refused)
    }
}

fn suffixed(text: &str) -> Option<i64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = text[..split].parse().ok()?;
    let unit = match text[split..].trim() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Weeks, days, hours, minutes and seconds; years and months have no fixed length and are refused.
fn iso_8601(text: &str) -> Option<i64> {
    let mut total = 0i64;
    let mut digits = String::new();
    let mut in_time = false;
    let mut any = false;
    for c in text.chars() {
        match c {
            '0'..='9' => digits.push(c),
            'T' if !in_time && digits.is_empty() => in_time = true,
            _ => {
                let unit = match (in_time, c) {
                    (false, 'W') => 7 * 86_400_000,
                    (false, 'D') => 86_400_000,
                    (true, 'H') => 3_600_000,
                    (true, 'M') => 60_000,
                    (true, 'S') => 1000,
                    _ => return None,
                };
                let number: i64 = digits.parse().ok()?;
                digits.clear();
                total = total.checked_add(number.checked_mul(unit)?)?;
                any = true;
            }
        }
    }
    (any && digits.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_parse_and_print() {
        let cases = [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
            ("P7D", 604_800_000),
            ("PT1H30M", 5_400_000),
            ("P1DT1S", 86_401_000),
        ];
        for (text, millis) in cases {
            assert_eq!(text.parse::<Span>().map(Span::millis), Ok(millis), "{text}");
        }
        for text in ["", "7", "d", "7 parsecs", "P", "PT", "P1M", "P1Y", "-3s", "1.5h", "99999999999999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text:?} must be refused");
        }
        assert_eq!(Span::from_secs(5400).to_string(), "90m");
        assert_eq!(Span::from_millis(250).to_string(), "250ms");
    }

    #[test]
    fn timestamps_print_as_rfc_3339() {
        let t = Timestamp::parse_rfc3339("2026-01-02T03:04:05.678+01:00").expect("valid");
        assert_eq!(t.to_string(), "2026-01-02T02:04:05.678Z");
        assert_eq!(t.date(), NaiveDate::from_ymd_opt(2026, 1, 2).expect("valid"));
        assert_eq!(Timestamp::EPOCH.since(t), Span::ZERO);
    }
}
