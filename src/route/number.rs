//! Numbers as patterns compare them: by decimal value, where a double tells it (decisions.md 52).

use serde_json::Number;

/// A JSON number, judged once.
#[derive(Debug, Clone, PartialEq)]
pub enum Numeral {
    /// Its exact decimal value survives a double's shortest round trip.
    Comparable(f64),
    /// Any other: equal only to its own spelling, and it meets no numeric test.
    Spelled(String),
}

impl Numeral {
    pub fn of(number: &Number) -> Self {
        Self::parse(number.as_str())
    }

    fn parse(text: &str) -> Self {
        let spelled = || Numeral::Spelled(text.to_owned());
        let Ok(double) = text.parse::<f64>() else { return spelled() };
        if !double.is_finite() {
            return spelled();
        }
        // `{:e}` prints the shortest text that reads back as the same double.
        match (Decimal::parse(text), Decimal::parse(&format!("{double:e}"))) {
            (Some(exact), Some(shortest)) if exact == shortest => Numeral::Comparable(double),
            _ => spelled(),
        }
    }

    /// The value, when it may be compared.
    pub fn value(&self) -> Option<f64> {
        match self {
            Numeral::Comparable(value) => Some(*value),
            Numeral::Spelled(_) => None,
        }
    }

    /// Equal by value, else by spelling.
    pub fn equals(&self, other: &Numeral) -> bool {
        match (self, other) {
            (Numeral::Comparable(a), Numeral::Comparable(b)) => a == b,
            (Numeral::Spelled(a), Numeral::Spelled(b)) => a == b,
            _ => false,
        }
    }
}

/// Sign, digits without zeros at either end, and the power of ten of the last digit.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |t| (true, t));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = format!("{whole}{fraction}");
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let kept = digits.trim_end_matches('0').len();
        exponent = exponent.checked_add(i64::try_from(digits.len() - kept).ok()?)?;
        digits.truncate(kept);
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        Some(Self { negative, digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(a: &str, b: &str) -> bool {
        Numeral::parse(a).equals(&Numeral::parse(b))
    }

    #[test]
    fn numbers_are_equal_by_value_where_a_double_tells_it() {
        for (a, b, same) in [
            ("300", "300.0", true),
            ("300", "3.0e2", true),
            ("0.1", "1e-1", true),
            ("-0", "0", true),
            ("-0.0", "0e99", true),
            ("1e400", "1e400", true),
            ("1e400", "1e401", false),
            ("9007199254740993", "9007199254740993", true),
            ("9007199254740993", "9007199254740993.0", false),
            ("9007199254740993", "9007199254740992", false),
            ("50000000000000", "5e13", true),
            ("0.30000000000000004", "0.3", false),
        ] {
            assert_eq!(equal(a, b), same, "{a} {b}");
        }
    }

    #[test]
    fn what_no_double_holds_has_no_value() {
        for text in ["9007199254740993", "1e400", "0.1000000000000000055511151231257827", "123456789012345678901234567890"] {
            assert_eq!(Numeral::parse(text).value(), None, "{text}");
        }
        assert_eq!(Numeral::parse("1e22").value(), Some(1e22));
        assert_eq!(Numeral::parse("0.1").value(), Some(0.1));
    }
}
