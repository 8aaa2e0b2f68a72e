//! Numbers as text: exact literals, and dialects with separators and currencies (decisions.md 32).
//!
//! No value goes through a double on its way to an integer or a decimal. Percent is never a number.

use std::borrow::Cow;

/// Most digits before the point that are looked at; anything longer overflows every type.
const WHOLE_MAX: i64 = 40;

/// A decimal literal taken apart: `[+-] digits [. digits] [e [+-] digits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal<'a> {
    pub negative: bool,
    pub whole: &'a str,
    pub fraction: &'a str,
    /// Saturating.
    pub exponent: i64,
    /// Neither a point nor an exponent was written.
    pub plain: bool,
}

/// Takes a literal apart; `None` if the text is not one from end to end.
pub fn literal(text: &str) -> Option<Literal<'_>> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let bytes = body.as_bytes();
    let whole_end = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    let mut at = whole_end;
    let mut fraction = "";
    if bytes.get(at) == Some(&b'.') {
        let start = at + 1;
        let end = start + bytes[start..].iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len() - start);
        fraction = &body[start..end];
        at = end;
    }
    if whole_end == 0 && fraction.is_empty() {
        return None;
    }
    let mut exponent = 0i64;
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let mut start = at + 1;
        let down = bytes.get(start) == Some(&b'-');
        if down || bytes.get(start) == Some(&b'+') {
            start += 1;
        }
        let digits = &bytes[start..];
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for d in digits {
            exponent = exponent.saturating_mul(10).saturating_add(i64::from(d - b'0')).min(1_000_000);
        }
        exponent = if down { -exponent } else { exponent };
        at = bytes.len();
    }
    (at == bytes.len()).then_some(Literal { negative, whole: &body[..whole_end], fraction, exponent, plain: whole_end == bytes.len() })
}

/// A literal's exact value: `whole . fraction`, leading zeros of the one and trailing zeros of the other removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exact {
    pub negative: bool,
    pub whole: String,
    pub fraction: String,
}

/// Writes the exponent out; `None` when more than forty digits stand before the point.
pub fn exact(literal: &Literal<'_>) -> Option<Exact> {
    let all: String = [literal.whole, literal.fraction].concat();
    let significant = all.trim_start_matches('0');
    let leading = all.len() - significant.len();
    if significant.is_empty() {
        return Some(Exact { negative: literal.negative, whole: String::new(), fraction: String::new() });
    }
    // Position of the point inside `significant`.
    let point = literal.whole.len() as i64 - leading as i64 + literal.exponent;
    let significant = significant.trim_end_matches('0');
    let len = significant.len() as i64;
    if point > WHOLE_MAX {
        return None;
    }
    let (whole, fraction) = if point <= 0 {
        let zeros = usize::try_from(-point).unwrap_or(0).min(64);
        (String::new(), ["0".repeat(zeros).as_str(), significant].concat())
    } else if point >= len {
        let zeros = usize::try_from(point - len).unwrap_or(0);
        ([significant, "0".repeat(zeros).as_str()].concat(), String::new())
    } else {
        let (w, f) = significant.split_at(usize::try_from(point).unwrap_or(0));
        (w.to_owned(), f.to_owned())
    };
    Some(Exact { negative: literal.negative, whole, fraction })
}

impl Exact {
    /// The part before the point; `None` beyond 38 digits.
    pub fn truncated(&self) -> Option<i128> {
        let magnitude = digits(&self.whole)?;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// Unscaled decimal with `scale` digits after the point, rounded half to even; `None` beyond 38 digits.
    pub fn scaled(&self, scale: u8) -> Option<i128> {
        let scale = usize::from(scale);
        let kept = self.fraction.len().min(scale);
        let text = [self.whole.as_str(), &self.fraction[..kept], "0".repeat(scale - kept).as_str()].concat();
        let mut magnitude = digits(&text)?;
        let rest = &self.fraction[kept..];
        if let Some(first) = rest.bytes().next() {
            let half = first == b'5' && rest.len() == 1;
            let up = first > b'5' || (first == b'5' && rest.len() > 1) || (half && magnitude % 2 == 1);
            magnitude += i128::from(up);
        }
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

fn digits(text: &str) -> Option<i128> {
    match text.trim_start_matches('0') {
        "" => Some(0),
        t if t.len() <= 38 => t.parse().ok(),
        _ => None,
    }
}

/// An integer of at most 18 digits without plus sign: nearly every integer there is.
#[inline]
pub fn short_integer(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (negative, body) = match bytes.first()? {
        b'-' => (true, &bytes[1..]),
        _ => (false, bytes),
    };
    if body.is_empty() || body.len() > 18 {
        return None;
    }
    let mut n = 0i64;
    for b in body {
        let d = b.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        n = n * 10 + i64::from(d);
    }
    Some(if negative { -n } else { n })
}

/// Whether a plain integer literal is exactly a double.
pub fn is_exact_double(literal: &Literal<'_>, value: f64) -> bool {
    let stripped = literal.whole.trim_start_matches('0');
    if stripped.len() <= 15 {
        return true;
    }
    match stripped.parse::<i128>() {
        // 2^100 and below: the comparison in i128 is exact.
        Ok(n) if n < 1 << 100 => value.abs() as i128 == n,
        _ => false,
    }
}

/// Number dialects: decimal point or comma, each with one grouping by three. Three bits per decimal sign.
pub mod dialect {
    use super::Cow;

    /// Decimal point, with any of its three groupings: `,` space `'`.
    pub const POINT: u64 = 0b000_111;
    /// Decimal comma, with any of its three groupings: `.` space `'`.
    pub const COMMA: u64 = 0b111_000;

    const SYMBOLS: &[&str] = &["€", "$", "£", "¥", "₹", "₽", "₩", "₺", "₪", "₫", "฿", "₴", "zł", "kr", "R$", "CHF"];

    /// Removes one leading or trailing currency symbol or ISO code.
    fn without_currency(text: &str) -> Option<(&str, Option<&str>)> {
        let text = text.trim();
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        let is_code = |c: &str| c.len() == 3 && c.bytes().all(|b| b.is_ascii_uppercase());
        let lead =
            SYMBOLS.iter().find(|s| rest.starts_with(**s)).map(|s| s.len()).or_else(|| rest.get(..3).filter(|c| is_code(c)).map(str::len));
        let tail = SYMBOLS
            .iter()
            .find(|s| rest.ends_with(**s))
            .map(|s| rest.len() - s.len())
            .or_else(|| rest.len().checked_sub(3).filter(|at| rest.get(*at..).is_some_and(is_code)));
        match (lead, tail) {
            (None, None) => Some((text, None)),
            (Some(at), None) if !sign => Some((rest[at..].trim_start(), Some(&rest[..at]))),
            // `-€5`: the sign is put back by the caller through `negative`.
            (Some(_), None) => None,
            (None, Some(at)) => {
                let symbol = &rest[at..];
                let end = text.len() - symbol.len();
                Some((text[..end].trim_end(), Some(symbol)))
            }
            (Some(_), Some(_)) => None,
        }
    }

    fn is_space(c: char) -> bool {
        matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}')
    }

    fn is_apostrophe(c: char) -> bool {
        matches!(c, '\'' | '\u{2019}')
    }

    /// Whether `body` is a number with this decimal sign and grouping.
    fn fits(body: &str, decimal: char, group: impl Fn(char) -> bool) -> bool {
        let body = body.strip_prefix(['-', '+']).unwrap_or(body);
        let (whole, fraction) = match body.split_once(decimal) {
            Some((w, f)) => (w, Some(f)),
            None => (body, None),
        };
        if fraction.is_some_and(|f| f.is_empty() || !f.bytes().all(|b| b.is_ascii_digit())) {
            return false;
        }
        let mut parts = whole.split(&group);
        let first = parts.next().unwrap_or_default();
        if first.is_empty() || !first.bytes().all(|b| b.is_ascii_digit()) {
            return false;
        }
        let mut grouped = false;
        for part in parts {
            grouped = true;
            if part.len() != 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return false;
            }
        }
        !grouped || first.len() <= 3
    }

    /// Dialects the text is a number in; bits above the sixth name the currency, all set without one.
    pub fn sight(text: &str) -> u64 {
        let Some((body, symbol)) = without_currency(text) else { return 0 };
        let mut mask = 0u64;
        for (at, decimal, other) in [(0, '.', ','), (3, ',', '.')] {
            mask |= u64::from(fits(body, decimal, |c| c == other)) << at;
            mask |= u64::from(fits(body, decimal, is_space)) << (at + 1);
            mask |= u64::from(fits(body, decimal, is_apostrophe)) << (at + 2);
        }
        if mask == 0 {
            return 0;
        }
        mask | currency(symbol)
    }

    /// Two different currencies leave no common bit, none goes with any.
    fn currency(symbol: Option<&str>) -> u64 {
        let Some(symbol) = symbol else { return !(POINT | COMMA) };
        let hash = symbol.bytes().fold(0u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        1 << (6 + hash % 58)
    }

    /// Whether a column's combined hint still has both a dialect and one currency.
    pub fn decimals(hint: u64) -> (bool, bool) {
        let one_currency = hint & !(POINT | COMMA) != 0;
        (one_currency && hint & POINT != 0, one_currency && hint & COMMA != 0)
    }

    /// The text as a plain literal, read with a decimal comma or point.
    pub fn plain(text: &str, comma: bool) -> Option<Cow<'static, str>> {
        let hint = sight(text);
        let (point_fits, comma_fits) = decimals(hint);
        if !(if comma { comma_fits } else { point_fits }) {
            return None;
        }
        let (body, _) = without_currency(text)?;
        let decimal = if comma { ',' } else { '.' };
        let out: String = body
            .chars()
            .filter_map(|c| match c {
                '0'..='9' | '-' | '+' => Some(c),
                c if c == decimal => Some('.'),
                _ => None,
            })
            .collect();
        Some(Cow::Owned(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals_are_taken_apart_exactly() {
        let value = |t: &str| literal(t).and_then(|l| exact(&l)).map(|e| (e.truncated(), e.fraction));
        let cases = [
            ("12", Some((Some(12), ""))),
            ("-007.50", Some((Some(-7), "5"))),
            ("1e3", Some((Some(1000), ""))),
            ("12.5e1", Some((Some(125), ""))),
            ("125e-1", Some((Some(12), "5"))),
            (".5", Some((Some(0), "5"))),
            ("5.", Some((Some(5), ""))),
            ("0.00012e2", Some((Some(0), "012"))),
            ("9007199254740993", Some((Some(9_007_199_254_740_993), ""))),
            ("0e999999999999", Some((Some(0), ""))),
            ("1e400", None),
            ("", None),
            ("-", None),
            (".", None),
            ("1e", None),
            ("1_000", None),
            ("NaN", None),
            ("0x1F", None),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), expected.map(|(w, f)| (w, f.to_owned())), "{text}");
        }
    }

    #[test]
    fn scaling_rounds_half_to_even() {
        let scaled = |t: &str, s| literal(t).and_then(|l| exact(&l)).and_then(|e| e.scaled(s));
        for (text, scale, expected) in
            [("1.5", 0, 2), ("2.5", 0, 2), ("2.51", 0, 3), ("-1.005", 2, -100), ("12.3", 2, 1230), ("0.999", 2, 100), ("7", 3, 7000)]
        {
            assert_eq!(scaled(text, scale), Some(expected), "{text}");
        }
    }

    #[test]
    fn number_dialects_are_sighted() {
        use dialect::{decimals, plain, sight};
        let cases = [
            ("1,5", (false, true)),
            ("1.234,50", (false, true)),
            ("1,234.50", (true, false)),
            ("1,234", (true, true)),
            ("1 234,5", (false, true)),
            ("1'234.5", (true, false)),
            ("€ 12,50", (false, true)),
            ("12.50 USD", (true, false)),
            ("1,23,456", (false, false)),
            ("12,3456,789", (false, false)),
            ("5%", (false, false)),
            ("abc", (false, false)),
            ("USD", (false, false)),
        ];
        for (text, expected) in cases {
            assert_eq!(decimals(sight(text)), expected, "{text}");
        }
        assert_eq!(plain("1.234,50", true).as_deref(), Some("1234.50"));
        assert_eq!(plain("-1 234,5 €", true).as_deref(), Some("-1234.5"));
        assert_eq!(plain("1,5", false), None);
        assert_eq!(decimals(sight("€ 1,5") & sight("$ 1,5")), (false, false), "two currencies are not one dialect");
        assert_eq!(decimals(sight("€ 1,5") & sight("2,5")), (false, true));
        assert_eq!(decimals(sight("1 234,5") & sight("1'234,5")), (false, false), "two groupings are not one dialect");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,40}|[-+0-9.,eE' ]{0,60}") {
            if let Some(e) = literal(&text).and_then(|l| exact(&l)) {
                let _ = (e.truncated(), e.scaled(38), e.scaled(0));
            }
            let _ = (dialect::plain(&text, true), dialect::plain(&text, false));
        }

        #[test]
        fn integers_are_exact(n in any::<i64>()) {
            let text = n.to_string();
            let e = exact(&literal(&text).expect("literal")).expect("fits");
            prop_assert_eq!(e.truncated(), Some(i128::from(n)));
            if text.len() <= 18 { prop_assert_eq!(short_integer(&text), Some(n)); }
        }
    }
}
