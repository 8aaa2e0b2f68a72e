//! Casts of single values by drift.md §3, exact and proven per value: text or a JSON token → a bin
//! and a typed value. The same function counts while observing and casts while reading.

use std::borrow::Cow;

use crate::format::block::JsonValue;

use super::calendar::{self, Format, Moment, Zone, layout};
use super::checks::{Checks, RuleError};
use super::number::{self, Exact, Literal, dialect, exact, literal};
use super::options::{BooleanTokens, ColumnRules};
use super::reading::{ANY_HINT, Bin, Reading, Value};
use super::shape::{PRECISION_MAX, Shape, TimeUnit, ZoneKind};

/// The dialect chosen for a whole column; `None` while observing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    #[default]
    None,
    /// Bit of [`layout`].
    Layout(u8),
    /// Decimal comma or point, with grouping and currency.
    Number { comma: bool },
    /// Index of [`PAIRS`].
    Pair(u8),
}

/// Boolean pairs of TY10, true first.
pub const PAIRS: [(&str, &str); 5] = [("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"), ("1", "0")];

/// Exact texts that mean null.
#[derive(Debug, Clone, Default)]
pub struct NullTokens {
    empty: bool,
    others: Vec<String>,
}

impl NullTokens {
    pub fn new(tokens: &[String]) -> Self {
        Self { empty: tokens.iter().any(String::is_empty), others: tokens.iter().filter(|t| !t.is_empty()).cloned().collect() }
    }

    #[inline]
    pub fn contains(&self, text: &str) -> bool {
        if text.is_empty() { self.empty } else { self.others.iter().any(|t| t == text) }
    }
}

/// Null tokens recognized in typed columns although no contract names them (TY16).
fn is_recognized_null(text: &str) -> bool {
    matches!(text, "" | "-" | "\\N") || ["null", "n/a", "na", "none"].iter().any(|t| text.eq_ignore_ascii_case(t))
}

#[derive(Debug, Clone)]
enum Target {
    Boolean(Option<BooleanTokens>),
    Int,
    Long,
    Float,
    Double,
    Decimal { precision: u8, scale: u8 },
    String,
    Bytes,
    Date,
    Timestamp { unit: TimeUnit, zone: ZoneKind },
    Enum(Vec<String>),
}

/// The cast of one scalar column, compiled from its shape and the contract's rules.
#[derive(Debug, Clone)]
pub struct Leaf {
    target: Target,
    formats: Vec<Format>,
    /// Where timestamps without a zone were written.
    zone: Zone,
    nulls: NullTokens,
    /// Null tokens the column itself declares; they hold in JSON strings too.
    own_nulls: bool,
    checks: Checks,
    pub(super) dialect: Dialect,
}

impl Leaf {
    /// `None` for arrays, maps and records.
    ///
    /// # Errors
    /// A format, pattern or time zone that cannot be used.
    pub fn new(shape: &Shape, path: &str, rules: &ColumnRules, null_tokens: &[String]) -> Result<Option<Leaf>, RuleError> {
        let target = match shape {
            Shape::Boolean => Target::Boolean(rules.booleans.clone()),
            Shape::Int => Target::Int,
            Shape::Long => Target::Long,
            Shape::Float => Target::Float,
            Shape::Double => Target::Double,
            Shape::Decimal { precision, scale } => Target::Decimal { precision: *precision, scale: *scale },
            Shape::String => Target::String,
            Shape::Bytes => Target::Bytes,
            Shape::Date => Target::Date,
            Shape::Timestamp { unit, zone } => Target::Timestamp { unit: *unit, zone: *zone },
            Shape::Enum(e) => Target::Enum(e.symbols.clone()),
            Shape::Array(_) | Shape::Map(_) | Shape::Record(_) => return Ok(None),
        };
        let mut formats = Vec::with_capacity(rules.formats.len());
        for text in &rules.formats {
            let refused = || RuleError::Format { column: path.to_owned(), format: text.clone() };
            formats.push(Format::new(text).ok_or_else(refused)?);
        }
        let zone = match &rules.timezone {
            None => Zone::UTC,
            Some(zone) => Zone::new(zone).ok_or_else(|| RuleError::Zone { column: path.to_owned(), zone: zone.clone() })?,
        };
        Ok(Some(Leaf {
            target,
            formats,
            zone,
            nulls: NullTokens::new(rules.null_tokens.as_deref().unwrap_or(null_tokens)),
            own_nulls: rules.null_tokens.is_some(),
            checks: Checks::new(path, rules)?,
            dialect: Dialect::None,
        }))
    }

    /// Text stays text and nothing is checked: only nulls have to be counted.
    pub fn is_plain_text(&self) -> bool {
        matches!(self.target, Target::String) && self.checks.is_empty()
    }

    #[inline]
    pub fn is_null(&self, text: &str) -> bool {
        self.nulls.contains(text)
    }

    /// Reads a cell of a text table.
    #[inline]
    pub fn read_text<'a>(&self, text: &'a str) -> Reading<'a> {
        if self.nulls.contains(text) {
            return Reading::new(Bin::Null, Value::Null);
        }
        let reading = self.scalar(text);
        self.checked(reading, text)
    }

    /// Reads a JSON value.
    pub fn read_json<'a>(&self, value: &'a JsonValue) -> Reading<'a> {
        match value {
            JsonValue::Null => Reading::new(Bin::Null, Value::Null),
            JsonValue::String(text) => {
                if self.own_nulls && self.nulls.contains(text) {
                    return Reading::new(Bin::Null, Value::Null);
                }
                let mut reading = self.scalar(text);
                let numeric = self.is_number() || matches!(self.target, Target::Boolean(_));
                if numeric && reading.bin == Bin::Exact {
                    reading.bin = Bin::StringLiteral;
                }
                self.checked(reading, text)
            }
            JsonValue::Number(token) => {
                let reading = match &self.target {
                    Target::String => Reading::new(Bin::Token, Value::Text(Cow::Borrowed(token))),
                    Target::Boolean(_) => self.scalar(token),
                    Target::Enum(_) => self.scalar(token),
                    Target::Bytes | Target::Date | Target::Timestamp { .. } => Reading::bad(Bin::Bad),
                    _ => self.number(token).unwrap_or_else(|| Reading::bad(Bin::Bad)),
                };
                self.checked(reading, token)
            }
            JsonValue::Bool(truth) => {
                let text = if *truth { "true" } else { "false" };
                match &self.target {
                    Target::Boolean(_) => self.checked(Reading::hinted(Bin::Exact, Value::Bool(*truth), 1), text),
                    Target::String => self.checked(Reading::new(Bin::Token, Value::Text(Cow::Borrowed(text))), text),
                    _ => Reading::bad(Bin::Bad),
                }
            }
            JsonValue::Array(_) | JsonValue::Object(_) => match self.target {
                Target::String => Reading::new(Bin::Reshape, Value::Text(Cow::Owned(json_text(value)))),
                _ => Reading::bad(Bin::Structure),
            },
        }
    }

    fn is_number(&self) -> bool {
        matches!(self.target, Target::Int | Target::Long | Target::Float | Target::Double | Target::Decimal { .. })
    }

    fn scale(&self) -> u8 {
        if let Target::Decimal { scale, .. } = self.target { scale } else { 0 }
    }

    #[inline]
    fn checked<'a>(&self, mut reading: Reading<'a>, source: &str) -> Reading<'a> {
        if self.checks.is_empty() || reading.value == Value::Null {
            return reading;
        }
        // What a dialect means is known only for the whole column: range and list are not asked there.
        if matches!(reading.bin, Bin::NumberDialect | Bin::DateDialect | Bin::BooleanDialect) {
            return reading;
        }
        if let Some(bin) = self.checks.broken(&reading.value, source, self.scale()) {
            reading.bin = bin;
        }
        reading
    }

    #[inline]
    fn scalar<'a>(&self, text: &'a str) -> Reading<'a> {
        match &self.target {
            Target::String => return Reading::new(Bin::Exact, Value::Text(Cow::Borrowed(text))),
            Target::Bytes => return Reading::new(Bin::Exact, Value::Bytes(Cow::Borrowed(text.as_bytes()))),
            Target::Enum(symbols) => return enumerated(text, symbols),
            _ => {}
        }
        let trimmed = trim(text);
        let reading = match &self.target {
            Target::Boolean(tokens) => self.boolean(trimmed, tokens.as_ref()),
            Target::Date | Target::Timestamp { .. } => self.moment(trimmed),
            _ => self.number(trimmed).unwrap_or_else(|| self.number_dialect(trimmed)),
        };
        if reading.bin == Bin::Bad && is_recognized_null(trimmed) {
            return Reading::new(Bin::NullToken, Value::Null);
        }
        reading
    }

    fn boolean(&self, text: &str, tokens: Option<&BooleanTokens>) -> Reading<'static> {
        if let Some(tokens) = tokens {
            if tokens.truthy.iter().any(|t| t == text) {
                return Reading::hinted(Bin::Exact, Value::Bool(true), 0);
            }
            if tokens.falsy.iter().any(|t| t == text) {
                return Reading::hinted(Bin::Exact, Value::Bool(false), 0);
            }
        }
        let found = PAIRS.iter().position(|(t, f)| text.eq_ignore_ascii_case(t) || text.eq_ignore_ascii_case(f));
        let Some(pair) = found else { return Reading::bad(Bin::Bad) };
        let truth = Value::Bool(text.eq_ignore_ascii_case(PAIRS[pair].0));
        if pair == 0 && tokens.is_none() {
            return Reading::hinted(Bin::Exact, truth, 1);
        }
        let value = if self.dialect == Dialect::Pair(pair as u8) { truth } else { Value::Null };
        Reading::hinted(Bin::BooleanDialect, value, 1 << pair)
    }

    /// A plain literal, or `None`.
    #[inline]
    fn number(&self, text: &str) -> Option<Reading<'static>> {
        match self.target {
            Target::Int | Target::Long => self.integer(text),
            Target::Float | Target::Double => self.floating(text),
            Target::Decimal { precision, scale } => decimal(text, precision, scale),
            _ => None,
        }
    }

    #[inline]
    fn integer(&self, text: &str) -> Option<Reading<'static>> {
        let narrow = matches!(self.target, Target::Int);
        if let Some(n) = number::short_integer(text) {
            let bin = if narrow && i32::try_from(n).is_err() { Bin::Wide } else { Bin::Exact };
            return Some(Reading::new(bin, Value::Int(n)));
        }
        let parts = literal(text)?;
        let Some(value) = exact(&parts) else { return Some(Reading::bad(Bin::Overflow)) };
        let Some(n) = value.truncated().and_then(|n| i64::try_from(n).ok()) else {
            return Some(Reading::bad(Bin::Overflow));
        };
        let wide = narrow && i32::try_from(n).is_err();
        let bin = match (value.fraction.is_empty(), wide) {
            (true, true) => Bin::Wide,
            (false, true) => Bin::WideDigits,
            (true, false) if parts.plain => Bin::Exact,
            (true, false) => Bin::Integral,
            (false, false) => Bin::Fractional,
        };
        // `1.234` may be a grouped integer; the column decides (TY11a).
        Some(Reading::hinted(bin, Value::Int(n), floating_hint(&parts)))
    }

    fn floating(&self, text: &str) -> Option<Reading<'static>> {
        let parts = literal(text)?;
        let Ok(value) = text.parse::<f64>() else { return Some(Reading::bad(Bin::Bad)) };
        let lost = value == 0.0 && [parts.whole, parts.fraction].iter().any(|d| d.bytes().any(|b| b != b'0'));
        if !value.is_finite() || lost || (parts.plain && !number::is_exact_double(&parts, value)) {
            return Some(Reading::bad(Bin::Overflow));
        }
        let hint = floating_hint(&parts);
        if matches!(self.target, Target::Float) {
            let narrow = value as f32;
            let vanished = narrow == 0.0 && value != 0.0;
            if !narrow.is_finite() || vanished || (parts.plain && f64::from(narrow) != value) {
                return Some(Reading::hinted(Bin::Wide, Value::Double(value), hint));
            }
        }
        Some(Reading::hinted(Bin::Exact, Value::Double(value), hint))
    }

    /// Text that is no literal but a number in some dialect whose value the type can hold.
    fn number_dialect(&self, text: &str) -> Reading<'static> {
        let mut hint = dialect::sight(text);
        for (comma, bits) in [(false, dialect::POINT), (true, dialect::COMMA)] {
            if hint & bits == 0 {
                continue;
            }
            let held = self
                .in_dialect(text, comma)
                .is_some_and(|r| matches!(r.bin, Bin::Exact | Bin::Integral | Bin::Fractional | Bin::ScaleZeros | Bin::ScaleDigits));
            if !held {
                hint &= !bits;
            }
        }
        if hint & (dialect::POINT | dialect::COMMA) == 0 {
            return Reading::bad(Bin::Bad);
        }
        let value = match self.dialect {
            Dialect::Number { comma } => self.in_dialect(text, comma).map_or(Value::Null, |r| r.value),
            _ => Value::Null,
        };
        Reading::hinted(Bin::NumberDialect, value, hint)
    }

    fn in_dialect(&self, text: &str, comma: bool) -> Option<Reading<'static>> {
        self.number(&dialect::plain(text, comma)?)
    }

    fn moment(&self, text: &str) -> Reading<'static> {
        if self.formats.is_empty() {
            if let Some(moment) = calendar::iso(text) {
                return self.placed(&moment, Declared::No, 1 << layout::ISO);
            }
        } else if let Some((moment, hint)) = self.formats.iter().find_map(|f| f.parse_hinted(text)) {
            return self.placed(&moment, Declared::Yes, hint);
        }
        let sighting = layout::sight(text);
        let hint = sighting.hint();
        if hint == 0 {
            return Reading::bad(Bin::Bad);
        }
        let value = match self.dialect {
            Dialect::Layout(chosen) => sighting.under(chosen).map_or(Value::Null, |m| self.placed(&m, Declared::Yes, hint).value),
            _ => Value::Null,
        };
        Reading::hinted(Bin::DateDialect, value, hint)
    }

    fn placed(&self, moment: &Moment, declared: Declared, hint: u64) -> Reading<'static> {
        let declared = declared == Declared::Yes;
        let Target::Timestamp { unit, zone } = self.target else {
            let bin = match (moment.time, moment.is_midnight()) {
                (None, _) => Bin::Exact,
                (Some(_), true) if declared => Bin::Exact,
                (Some(_), true) => Bin::Midnight,
                (Some(_), false) => Bin::WithTime,
            };
            return Reading::hinted(bin, Value::Date(moment.days), hint);
        };
        const SECOND: i64 = 1_000_000;
        let micros = moment.wall_micros();
        let at_home = |micros: i64| self.zone.offset_of_wall(micros).map(|o| micros - i64::from(o) * SECOND);
        let (micros, zone_fits) = match (zone, moment.offset) {
            (ZoneKind::Zoned, Some(offset)) => (micros - i64::from(offset) * SECOND, true),
            (ZoneKind::Zoned, None) => match at_home(micros) {
                Some(utc) => (utc, declared || moment.time.is_none()),
                // No clock there showed this time.
                None => return Reading::bad(Bin::Bad),
            },
            (ZoneKind::Naive, None) => (micros, true),
            (ZoneKind::Naive, Some(offset)) => {
                let utc = micros - i64::from(offset) * SECOND;
                (utc + i64::from(self.zone.offset_at(utc)) * SECOND, declared)
            }
        };
        let (value, lost, kept_digits) = match unit {
            TimeUnit::Millis => (micros.div_euclid(1000), micros.rem_euclid(1000) != 0 || moment.finer, 3),
            TimeUnit::Micros => (micros, moment.finer, 6),
        };
        let bin = if !zone_fits {
            Bin::Zone
        } else if lost {
            Bin::SubDigits
        } else if moment.digits > kept_digits {
            Bin::SubZeros
        } else if moment.time.is_none() && !declared {
            Bin::Midnight
        } else {
            Bin::Exact
        };
        Reading::hinted(bin, Value::Timestamp(value), hint)
    }
}

/// Whether the contract names the format a moment was read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    Yes,
    No,
}

#[inline]
fn trim(text: &str) -> &str {
    let padded = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if padded(text.as_bytes().first()) || padded(text.as_bytes().last()) { text.trim_matches([' ', '\t']) } else { text }
}

fn enumerated<'a>(text: &'a str, symbols: &[String]) -> Reading<'a> {
    if symbols.iter().any(|s| s == text) {
        return Reading::new(Bin::Exact, Value::Text(Cow::Borrowed(text)));
    }
    if is_recognized_null(trim(text)) {
        return Reading::new(Bin::NullToken, Value::Null);
    }
    Reading::bad(Bin::Code)
}

/// Which number dialects a plain literal also is; see [`dialect`]. Written out because it runs per value.
#[inline]
fn floating_hint(parts: &Literal<'_>) -> u64 {
    if parts.plain {
        return ANY_HINT;
    }
    let groupable = parts.fraction.len() == 3 && (1..=3).contains(&parts.whole.len()) && parts.exponent == 0;
    // As a grouped integer only point-grouping under a decimal comma fits: the lowest of its three bits.
    if groupable { !dialect::COMMA | (dialect::COMMA & !(dialect::COMMA << 1)) } else { !dialect::COMMA }
}

/// Decimals of at most 18 digits that fit the scale as written: nearly every decimal there is.
#[inline]
fn short_decimal(text: &str, precision: u8, scale: u8) -> Option<Reading<'static>> {
    let parts = literal(text).filter(|p| p.exponent == 0)?;
    let beyond = usize::from(scale).checked_sub(parts.fraction.len())?;
    if parts.whole.len() + parts.fraction.len() > 18 {
        return None;
    }
    let digits = parts.whole.bytes().chain(parts.fraction.bytes());
    let magnitude = digits.fold(0i128, |n, b| n * 10 + i128::from(b - b'0'));
    // At most 18 + 38 digits would be too many for 128 bits; 18 + 20 are not.
    let unscaled = magnitude * 10i128.checked_pow(u32::try_from(beyond).ok().filter(|b| *b <= 19)?)?;
    let unscaled = if parts.negative { -unscaled } else { unscaled };
    let fits = precision_of(unscaled) <= precision;
    fits.then(|| Reading::hinted(Bin::Exact, Value::Decimal(unscaled), floating_hint(&parts)))
}

fn decimal(text: &str, precision: u8, scale: u8) -> Option<Reading<'static>> {
    if let Some(short) = short_decimal(text, precision, scale) {
        return Some(short);
    }
    let parts = literal(text)?;
    let Some(value) = exact(&parts) else { return Some(Reading::bad(Bin::Overflow)) };
    let hint = floating_hint(&parts);
    let lossy = value.fraction.len() > usize::from(scale);
    let Some(unscaled) = value.scaled(scale) else { return Some(Reading::bad(Bin::Overflow)) };
    let bin = match (precision_of(unscaled), lossy) {
        (digits, _) if digits > PRECISION_MAX => Bin::Overflow,
        (digits, true) if digits > precision => Bin::WideDigits,
        (digits, false) if digits > precision => Bin::Wide,
        (_, true) => Bin::ScaleDigits,
        (_, false) if has_zeros_beyond(&parts, &value, scale) => Bin::ScaleZeros,
        (_, false) => Bin::Exact,
    };
    Some(Reading::hinted(bin, Value::Decimal(unscaled), hint))
}

fn has_zeros_beyond(parts: &Literal<'_>, value: &Exact, scale: u8) -> bool {
    parts.fraction.len() > usize::from(scale) && value.fraction.len() <= usize::from(scale) && parts.exponent == 0
}

/// Digits an unscaled decimal needs.
pub fn precision_of(unscaled: i128) -> u8 {
    let mut digits = 1u8;
    let mut rest = unscaled.unsigned_abs() / 10;
    while rest > 0 {
        digits += 1;
        rest /= 10;
    }
    digits
}

/// Compact JSON text of a value, numbers as written.
pub fn json_text(value: &JsonValue) -> String {
    let mut out = String::new();
    print(value, &mut out);
    out
}

fn print(value: &JsonValue, out: &mut String) {
    match value {
        JsonValue::Null => out.push_str("null"),
        JsonValue::Bool(true) => out.push_str("true"),
        JsonValue::Bool(false) => out.push_str("false"),
        JsonValue::Number(token) => out.push_str(token),
        JsonValue::String(text) => quote(text, out),
        JsonValue::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                print(item, out);
            }
            out.push(']');
        }
        JsonValue::Object(entries) => {
            out.push('{');
            for (i, (key, item)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                quote(key, out);
                out.push(':');
                print(item, out);
            }
            out.push('}');
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::String(text.to_owned()).to_string());
}
