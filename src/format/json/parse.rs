//! One JSON value at a time (RFC 8259), on bytes.
//!
//! Two sorts of faults: a *hard* one leaves unknown where the value ends; after a *soft* one (a
//! duplicate key, a lone surrogate, NaN) the rest is still parsed, so the record's end is known.

use std::collections::HashSet;

use memchr::memchr2;

use crate::domain::reason::ReasonCode;
use crate::format::block::JsonValue;
use crate::format::options::{JsonOptions, Limits, OnBigNumber, OnOddity};

/// Deepest nesting whatever a contract says: parsing and dropping use the stack.
const DEPTH_CAP: usize = 256;

/// Objects up to this many keys are searched for duplicates without a set.
const FEW_KEYS: usize = 16;

/// Kinds of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::format) enum Scanned {
    Object,
    Array,
    Scalar,
}

/// Why no value could be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hard {
    pub(super) at: usize,
    pub(super) why: HardFault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HardFault {
    Syntax(&'static str),
    /// The bytes end inside the value.
    Truncated,
    Depth,
}

/// What is wrong with a value whose end is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Soft {
    pub(super) reason: ReasonCode,
    pub(super) detail: String,
    /// The contract wants the whole file refused for it.
    pub(super) file: bool,
}

/// What a contract says about values.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    depth: usize,
    field_max: u64,
    columns: usize,
    json: JsonOptions,
}

impl Rules {
    pub(super) fn new(json: &JsonOptions, limits: &Limits) -> Self {
        Self { depth: limits.json_depth.min(DEPTH_CAP), field_max: limits.field_bytes.bytes(), columns: limits.columns, json: json.clone() }
    }
}

/// A parser at one place of a text.
pub(super) struct Parser<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    rules: &'a Rules,
    depth: usize,
    pub(super) soft: Option<Soft>,
}

/// Kind and end of the value at the start of `text`, under the default rules.
pub(in crate::format) fn scan_value(text: &[u8]) -> Option<(Scanned, usize)> {
    let rules = Rules::new(&JsonOptions::default(), &Limits::default());
    let mut parser = Parser::new(text, 0, &rules);
    let kind = match parser.value().ok()? {
        JsonValue::Object(_) => Scanned::Object,
        JsonValue::Array(_) => Scanned::Array,
        _ => Scanned::Scalar,
    };
    Some((kind, parser.at))
}

impl<'a> Parser<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize, rules: &'a Rules) -> Self {
        Self { bytes, at, rules, depth: 0, soft: None }
    }

    pub(super) fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The value at the current place, which moves behind it.
    ///
    /// # Errors
    /// Hard faults only; a soft one stays in `soft`, the first of them.
    pub(super) fn value(&mut self) -> Result<JsonValue, Hard> {
        self.skip_space();
        match self.bytes.get(self.at) {
            None => self.fail(HardFault::Truncated),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(JsonValue::String(self.string()?)),
            Some(b't') => self.word("true", JsonValue::Bool(true)),
            Some(b'f') => self.word("false", JsonValue::Bool(false)),
            Some(b'n') if !self.bytes[self.at..].starts_with(b"na") => self.word("null", JsonValue::Null),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I' | b'n' | b'i' | b'+') => self.number(),
            Some(_) => self.fail(HardFault::Syntax("no value starts so")),
        }
    }

    fn fail<T>(&self, why: HardFault) -> Result<T, Hard> {
        Err(Hard { at: self.at, why })
    }

    fn note(&mut self, reason: ReasonCode, detail: String, on: OnOddity) {
        if self.soft.as_ref().is_none_or(|s| !s.file && on == OnOddity::RejectFile) {
            self.soft = Some(Soft { reason, detail, file: on == OnOddity::RejectFile });
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<JsonValue, Hard>) -> Result<JsonValue, Hard> {
        if self.depth >= self.rules.depth {
            return self.fail(HardFault::Depth);
        }
        self.depth += 1;
        self.at += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<JsonValue, Hard> {
        let mut entries = Vec::new();
        self.skip_space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(JsonValue::Object(entries));
        }
        loop {
            self.skip_space();
            match self.bytes.get(self.at) {
                Some(b'"') => {}
                None => return self.fail(HardFault::Truncated),
                Some(_) => return self.fail(HardFault::Syntax("a key in double quotes is missing")),
            }
            let key = self.string()?;
            self.skip_space();
            match self.bytes.get(self.at) {
                Some(b':') => self.at += 1,
                None => return self.fail(HardFault::Truncated),
                Some(_) => return self.fail(HardFault::Syntax("a colon is missing")),
            }
            let value = self.value()?;
            entries.push((key, value));
            if self.ends(b'}')? {
                break;
            }
        }
        if self.depth == 1 && entries.len() > self.rules.columns {
            let detail = format!("{} keys; at most {} are read", entries.len(), self.rules.columns);
            self.note(ReasonCode::TooManyColumns, detail, OnOddity::QuarantineRow);
        }
        Ok(JsonValue::Object(self.unique(entries)))
    }

    fn array(&mut self) -> Result<JsonValue, Hard> {
        let mut items = Vec::new();
        self.skip_space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(JsonValue::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.ends(b']')? {
                return Ok(JsonValue::Array(items));
            }
        }
    }

    /// Behind an entry: `true` at the closing mark, `false` at a comma.
    fn ends(&mut self, close: u8) -> Result<bool, Hard> {
        self.skip_space();
        match self.bytes.get(self.at) {
            None => self.fail(HardFault::Truncated),
            Some(b) if *b == close => {
                self.at += 1;
                Ok(true)
            }
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => self.fail(HardFault::Syntax("neither a comma nor the closing bracket")),
        }
    }

    /// Keys compare byte by byte: case and normalization variants are different keys.
    fn unique(&mut self, entries: Vec<(Box<str>, JsonValue)>) -> Vec<(Box<str>, JsonValue)> {
        let repeated = if entries.len() <= FEW_KEYS {
            entries.iter().enumerate().find(|(i, (key, _))| entries[..*i].iter().any(|(k, _)| k == key)).map(|(_, (key, _))| key.clone())
        } else {
            let mut seen = HashSet::with_capacity(entries.len());
            entries.iter().find(|(key, _)| !seen.insert(key)).map(|(key, _)| key.clone())
        };
        let Some(key) = repeated else { return entries };
        let on = self.rules.json.duplicate_keys;
        if on != OnOddity::Accept {
            self.note(ReasonCode::JsonDuplicateKey, format!("key {:?} stands twice", cut(&key)), on);
            return entries;
        }
        // The last one wins, at the place of the first.
        let mut places = std::collections::HashMap::new();
        let mut kept: Vec<(Box<str>, JsonValue)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match places.get(&key) {
                Some(i) => kept[*i] = (key, value),
                None => {
                    places.insert(key.clone(), kept.len());
                    kept.push((key, value));
                }
            }
        }
        kept
    }

    fn word(&mut self, word: &'static str, value: JsonValue) -> Result<JsonValue, Hard> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        if word.as_bytes().starts_with(rest) {
            self.at = self.bytes.len();
            return self.fail(HardFault::Truncated);
        }
        self.fail(HardFault::Syntax("an unknown word"))
    }

    fn number(&mut self) -> Result<JsonValue, Hard> {
        let start = self.at;
        let signed = matches!(self.bytes.get(start), Some(b'-' | b'+'));
        let rest = &self.bytes[start + usize::from(signed)..];
        for word in ["NaN", "Infinity", "Inf", "nan", "infinity", "inf", "NAN", "INF"] {
            if rest.starts_with(word.as_bytes()) {
                self.at = start + usize::from(signed) + word.len();
                let text = String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned();
                let on = self.rules.json.non_finite;
                if on != OnOddity::Accept {
                    self.note(ReasonCode::JsonSyntax, format!("{text} is no JSON number"), on);
                }
                return Ok(JsonValue::Number(text.into()));
            }
        }
        if self.bytes.get(start) == Some(&b'+') {
            return self.fail(HardFault::Syntax("a number with a plus sign"));
        }
        let digits = |from: usize| from + self.bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut at = start + usize::from(signed);
        let whole = digits(at);
        if whole == at {
            let why = if whole == self.bytes.len() { HardFault::Truncated } else { HardFault::Syntax("a number without digits") };
            return self.fail(why);
        }
        if self.bytes[at] == b'0' && whole > at + 1 {
            return self.fail(HardFault::Syntax("a number with a leading zero"));
        }
        at = whole;
        if self.bytes.get(at) == Some(&b'.') {
            let end = digits(at + 1);
            if end == at + 1 {
                let why = if end == self.bytes.len() { HardFault::Truncated } else { HardFault::Syntax("no digit after the point") };
                return self.fail(why);
            }
            at = end;
        }
        if matches!(self.bytes.get(at), Some(b'e' | b'E')) {
            let from = at + 1 + usize::from(matches!(self.bytes.get(at + 1), Some(b'-' | b'+')));
            let end = digits(from.min(self.bytes.len()));
            if end == from || from > self.bytes.len() {
                let why = if from >= self.bytes.len() { HardFault::Truncated } else { HardFault::Syntax("no digit in the exponent") };
                return self.fail(why);
            }
            at = end;
        }
        self.at = at;
        let text = String::from_utf8_lossy(&self.bytes[start..at]).into_owned();
        self.check_number(&text);
        Ok(JsonValue::Number(text.into()))
    }

    fn check_number(&mut self, text: &str) {
        if text.len() as u64 > self.rules.field_max {
            let detail = format!("a number of {} bytes; at most {} are read", text.len(), self.rules.field_max);
            self.note(ReasonCode::OversizedField, detail, OnOddity::QuarantineRow);
        }
        let on = match self.rules.json.big_number {
            OnBigNumber::KeepExactText => return,
            OnBigNumber::QuarantineRow => OnOddity::QuarantineRow,
            OnBigNumber::RejectFile => OnOddity::RejectFile,
        };
        if !survives_double(text) {
            self.note(ReasonCode::NumericOverflow, format!("{} does not survive a double", cut(text)), on);
        }
    }

    /// The string at the current place.
    fn string(&mut self) -> Result<Box<str>, Hard> {
        let start = self.at + 1;
        let mut out: Vec<u8> = Vec::new();
        let mut from = start;
        loop {
            let Some(found) = memchr2(b'"', b'\\', &self.bytes[from..]) else {
                // A raw control character decides before the missing end does.
                self.refuse_control(from, self.bytes.len())?;
                self.at = self.bytes.len();
                return self.fail(HardFault::Truncated);
            };
            let at = from + found;
            self.refuse_control(from, at)?;
            if self.bytes[at] == b'"' {
                let text = if out.is_empty() {
                    self.checked(self.bytes[from..at].to_vec())
                } else {
                    out.extend_from_slice(&self.bytes[from..at]);
                    self.checked(out)
                };
                self.at = at + 1;
                return Ok(text);
            }
            out.extend_from_slice(&self.bytes[from..at]);
            self.at = at;
            from = self.escape(at, &mut out)?;
        }
    }

    /// A line break or any other raw control character cannot stand in a string.
    fn refuse_control(&mut self, from: usize, to: usize) -> Result<(), Hard> {
        match self.bytes[from..to].iter().position(|b| *b < 0x20) {
            Some(i) => {
                self.at = from + i;
                self.fail(HardFault::Syntax("a raw control character in a string"))
            }
            None => Ok(()),
        }
    }

    fn checked(&mut self, bytes: Vec<u8>) -> Box<str> {
        if bytes.len() as u64 > self.rules.field_max {
            let detail = format!("a string of {} bytes; at most {} are read", bytes.len(), self.rules.field_max);
            self.note(ReasonCode::OversizedField, detail, OnOddity::QuarantineRow);
        }
        match String::from_utf8(bytes) {
            Ok(text) => text.into_boxed_str(),
            Err(e) => {
                let detail = format!("byte {} of a string is not UTF-8", e.utf8_error().valid_up_to());
                self.note(ReasonCode::EncodingInvalid, detail, OnOddity::QuarantineRow);
                Box::from("")
            }
        }
    }

    /// The escape at `at`; answers where the text goes on.
    fn escape(&mut self, at: usize, out: &mut Vec<u8>) -> Result<usize, Hard> {
        let Some(kind) = self.bytes.get(at + 1) else { return self.fail(HardFault::Truncated) };
        let plain = match kind {
            b'"' | b'\\' | b'/' => *kind,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(at, out),
            _ => return self.fail(HardFault::Syntax("an unknown escape")),
        };
        out.push(plain);
        Ok(at + 2)
    }

    fn unicode(&mut self, at: usize, out: &mut Vec<u8>) -> Result<usize, Hard> {
        let high = self.hex(at)?;
        let mut next = at + 6;
        let mut code = u32::from(high);
        if (0xd800..0xdc00).contains(&high) {
            let rest = &self.bytes[next.min(self.bytes.len())..];
            if rest.len() < 6 && (rest.is_empty() || rest[0] == b'\\' && rest.get(1).is_none_or(|b| *b == b'u')) {
                return self.fail(HardFault::Truncated);
            }
            if rest.starts_with(b"\\u") {
                let low = self.hex(next)?;
                if (0xdc00..0xe000).contains(&low) {
                    code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
                    next += 6;
                }
            }
        }
        match char::from_u32(code) {
            Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => self.note(ReasonCode::JsonSyntax, format!("lone surrogate \\u{code:04x}"), OnOddity::QuarantineRow),
        }
        Ok(next)
    }

    fn hex(&self, at: usize) -> Result<u16, Hard> {
        let rest = &self.bytes[(at + 2).min(self.bytes.len())..];
        let digits = &rest[..rest.len().min(4)];
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return self.fail(HardFault::Syntax("four hexadecimal digits must follow \\u"));
        }
        if digits.len() < 4 {
            return self.fail(HardFault::Truncated);
        }
        Ok(digits.iter().fold(0, |n, d| n << 4 | char::from(*d).to_digit(16).unwrap_or(0) as u16))
    }
}

/// Whether a double's shortest round trip has the same decimal value (decisions.md 52).
fn survives_double(text: &str) -> bool {
    match text.parse::<f64>() {
        Ok(double) if double.is_finite() => decimal(text) == decimal(&format!("{double:e}")),
        _ => false,
    }
}

/// Significant digits without zeros on either side, and the exponent of the first of them.
fn decimal(text: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0').to_owned();
    if digits.is_empty() {
        return (false, digits, 0);
    }
    let exponent = exponent.parse::<i64>().unwrap_or(i64::MAX / 2);
    (negative, digits, exponent.saturating_add(whole.len() as i64 - leading as i64))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_that_survive_a_double_are_kept_under_strict_rules() {
        for text in ["0", "-0", "0.1", "2.50", "1e3", "9007199254740992", "123456789012345680000", "5e-324"] {
            assert!(survives_double(text), "{text}");
        }
        for text in ["9007199254740993", "1e400", "0.1000000000000000055", "123456789012345678901", "1e-400"] {
            assert!(!survives_double(text), "{text}");
        }
    }
}
