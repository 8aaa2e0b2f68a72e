//! DQDL text to tokens with places. Never stops at a fault: it is noted and the text read on.

use crate::quality::syntax::{Diagnostic, Place};

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A quoted string, as it stands between the quotes.
    Text(String),
    /// A quoted string in the shape `yyyy-MM-dd`.
    Date(String),
    /// A quoted string in the shape `9:30 AM` or `21:45`.
    Time(String),
    /// `[A-Za-z0-9_.]+` that is no number.
    Word(String),
    /// `12` or `1.5`.
    Number(String),
    /// `$name`.
    Variable(String),
    /// Punctuation and operators.
    Sign(&'static str),
}

impl Token {
    /// The token as a message names it.
    pub fn shown(&self) -> String {
        match self {
            Token::Text(t) | Token::Date(t) | Token::Time(t) => {
                let head: String = t.chars().take(40).collect();
                format!("\"{head}{}\"", if head.len() < t.len() { "..." } else { "" })
            }
            Token::Word(t) | Token::Number(t) => format!("`{}`", t.chars().take(40).collect::<String>()),
            Token::Variable(t) => format!("`${}`", t.chars().take(40).collect::<String>()),
            Token::Sign(s) => format!("`{s}`"),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Spanned {
    pub token: Token,
    pub place: Place,
}

const SIGNS: [&str; 18] = ["!=", ">=", "<=", "=", ">", "<", "+", "-", "*", "/", "(", ")", "[", "]", "{", "}", ",", ":"];

/// Reads all tokens; the last place is the end of the text.
pub fn tokens(text: &str) -> (Vec<Spanned>, Place, Vec<Diagnostic>) {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), place: Place { line: 1, column: 1 } };
    let mut found = Vec::new();
    let mut faults = Vec::new();
    while let Some(c) = reader.rest.chars().next() {
        let place = reader.place;
        if c.is_whitespace() {
            reader.take(c.len_utf8());
        } else if c == '#' {
            let len = reader.rest.find('\n').unwrap_or(reader.rest.len());
            reader.take(len);
        } else if c == '"' {
            match quoted_len(reader.rest) {
                Some(len) => {
                    let inner = &reader.rest[1..len - 1];
                    found.push(Spanned { token: quoted(inner), place });
                    reader.take(len);
                }
                None => {
                    faults.push(Diagnostic::new(place, None, "this string has no closing quote"));
                    reader.take(reader.rest.len());
                }
            }
        } else if is_word(c) {
            let len = reader.rest.find(|c| !is_word(c)).unwrap_or(reader.rest.len());
            let word = reader.rest[..len].to_owned();
            found.push(Spanned { token: if is_number(&word) { Token::Number(word) } else { Token::Word(word) }, place });
            reader.take(len);
        } else if c == '$' {
            let after = &reader.rest[1..];
            let len = after.find(|c| !is_word(c)).unwrap_or(after.len());
            if len == 0 {
                faults.push(Diagnostic::new(place, None, "`$` is followed by no variable name"));
            } else {
                found.push(Spanned { token: Token::Variable(after[..len].to_owned()), place });
            }
            reader.take(1 + len);
        } else if let Some(sign) = SIGNS.iter().find(|s| reader.rest.starts_with(**s)) {
            found.push(Spanned { token: Token::Sign(sign), place });
            reader.take(sign.len());
        } else {
            faults.push(Diagnostic::new(place, None, format!("{c:?} has no meaning here")));
            // One fault for a run of such characters.
            let len = reader.rest.find(|n| n != c).unwrap_or(reader.rest.len());
            reader.take(len);
        }
    }
    (found, reader.place, faults)
}

struct Reader<'a> {
    rest: &'a str,
    place: Place,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) {
        let (taken, rest) = self.rest.split_at(len);
        for c in taken.chars() {
            if c == '\n' {
                self.place.line += 1;
                self.place.column = 1;
            } else {
                self.place.column += 1;
            }
        }
        self.rest = rest;
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

fn is_number(word: &str) -> bool {
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    match word.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(word),
    }
}

/// Bytes of the string that `text` starts with, both quotes included.
fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn quoted(inner: &str) -> Token {
    if is_date(inner) {
        Token::Date(inner.to_owned())
    } else if is_time(inner) {
        Token::Time(inner.to_owned())
    } else {
        Token::Text(inner.to_owned())
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.bytes().enumerate().all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() })
}

fn is_time(text: &str) -> bool {
    time_of_day(text).is_some()
}

/// Minutes since midnight of `9:30 AM` (1-12) or `21:45` (0-23).
pub fn time_of_day(text: &str) -> Option<u32> {
    let (clock, half) = match text.split_once(' ') {
        Some((clock, half @ ("AM" | "PM" | "am" | "pm"))) => (clock, Some(half)),
        Some(_) => return None,
        None => (text, None),
    };
    let (hour, minute) = clock.split_once(':')?;
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) || minute.len() != 2 || hour.is_empty() || hour.len() > 2 {
        return None;
    }
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    if minute > 59 {
        return None;
    }
    match half {
        None => (hour < 24).then_some(hour * 60 + minute),
        Some(_) if !(1..=12).contains(&hour) => None,
        Some(half) => Some((hour % 12 + if half.eq_ignore_ascii_case("pm") { 12 } else { 0 }) * 60 + minute),
    }
}
