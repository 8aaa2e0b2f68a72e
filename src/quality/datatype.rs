//! What Spark would cast: the types of ColumnDataType, over strings and over typed columns (decisions.md 45).

use arrow::datatypes::DataType;
use chrono::{NaiveDate, NaiveTime};

/// Castable to `target`, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    pub target: CastTarget,
    pub negated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CastTarget {
    Boolean,
    /// With a strftime format, or Spark's own reading; partial formats are completed by the first day or year 2000.
    Date {
        format: Option<DateFormat>,
    },
    Timestamp,
    Integer,
    Long,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateFormat {
    /// Parts in order: `d`, `M` or `y`.
    parts: [Option<char>; 3],
    separator: char,
}

impl DateFormat {
    fn read(text: &str) -> Option<Self> {
        const ORDERS: [&str; 7] = ["dd MM yyyy", "MM dd yyyy", "yyyy MM dd", "MM yyyy", "yyyy MM", "dd MM", "MM dd"];
        for separator in ['-', '/'] {
            let order = ORDERS.iter().find(|o| o.replace(' ', &separator.to_string()) == text);
            if let Some(order) = order {
                let mut parts = [None; 3];
                for (slot, part) in parts.iter_mut().zip(order.split(' ')) {
                    *slot = part.chars().next();
                }
                return Some(Self { parts, separator });
            }
        }
        None
    }

    fn accepts(&self, text: &str) -> bool {
        let (mut day, mut month, mut year) = (1, 1, 2000);
        let mut found = text.split(self.separator);
        for part in self.parts.iter().flatten() {
            let Some(digits) = found.next().filter(|t| t.bytes().all(|b| b.is_ascii_digit())) else { return false };
            let (slot, width): (&mut i32, usize) = match part {
                'd' => (&mut day, 2),
                'M' => (&mut month, 2),
                _ => (&mut year, 4),
            };
            if digits.len() != width {
                return false;
            }
            let Ok(number) = digits.parse() else { return false };
            *slot = number;
        }
        found.next().is_none() && NaiveDate::from_ymd_opt(year, month.unsigned_abs(), day.unsigned_abs()).is_some()
    }
}

impl CastTarget {
    /// The type of this name, in any case, with the tag `format` if it is a date.
    ///
    /// # Errors
    /// Names of no type and formats that are none of the fourteen.
    pub fn named(name: &str, format: Option<&str>) -> Result<Self, String> {
        let upper = name.trim().to_ascii_uppercase();
        Ok(match upper.as_str() {
            "BOOLEAN" => CastTarget::Boolean,
            "DATE" => {
                let format = match format {
                    None => None,
                    Some(text) => Some(DateFormat::read(text).ok_or_else(|| format!("date format \"{text}\" is not supported"))?),
                };
                CastTarget::Date { format }
            }
            "TIMESTAMP" => CastTarget::Timestamp,
            "INTEGER" | "INT" => CastTarget::Integer,
            "LONG" | "BIGINT" => CastTarget::Long,
            "DOUBLE" | "FLOAT" => CastTarget::Double,
            "STRING" => CastTarget::String,
            _ => {
                let inside = upper.strip_prefix("DECIMAL").and_then(|t| t.trim().strip_prefix('(')).and_then(|t| t.strip_suffix(')'));
                let sizes = inside.map(|t| t.split_once(',').unwrap_or((t, "0")));
                let sizes = sizes.and_then(|(p, s)| Some((p.trim().parse::<u8>().ok()?, s.trim().parse::<u8>().ok()?)));
                match sizes {
                    Some((precision @ 1..=38, scale)) if scale <= precision => CastTarget::Decimal { precision, scale },
                    _ => return Err(format!("\"{name}\" is not a type ColumnDataType knows")),
                }
            }
        })
    }

    /// Whether values of a column that holds no strings can be cast, whatever they are; `None` asks the text.
    pub fn accepts_type(&self, column: &DataType) -> Option<bool> {
        let numeric = column.is_numeric() || *column == DataType::Boolean;
        let temporal = matches!(column, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..));
        match self {
            CastTarget::String => Some(true),
            _ if !numeric && !temporal => None,
            CastTarget::Date { .. } => Some(temporal),
            CastTarget::Timestamp => Some(temporal || numeric),
            // A day is no number for Spark, a point in time is.
            CastTarget::Boolean | CastTarget::Integer | CastTarget::Long | CastTarget::Double => {
                Some(numeric || matches!(column, DataType::Timestamp(..)))
            }
            CastTarget::Decimal { .. } if numeric => None,
            CastTarget::Decimal { .. } => Some(matches!(column, DataType::Timestamp(..))),
        }
    }

    pub fn accepts_text(&self, text: &str) -> bool {
        let text = text.trim();
        match self {
            CastTarget::String => true,
            CastTarget::Boolean => {
                ["t", "true", "y", "yes", "1", "f", "false", "n", "no", "0"].iter().any(|word| text.eq_ignore_ascii_case(word))
            }
            CastTarget::Date { format: Some(format) } => format.accepts(text),
            CastTarget::Date { format: None } => date(text),
            CastTarget::Timestamp => timestamp(text),
            CastTarget::Integer => whole(text).is_some_and(|n| i32::try_from(n).is_ok()),
            CastTarget::Long => whole(text).is_some_and(|n| i64::try_from(n).is_ok()),
            CastTarget::Double => text.trim_end_matches(['d', 'D', 'f', 'F']).parse::<f64>().is_ok() || text.parse::<f64>().is_ok(),
            CastTarget::Decimal { precision, scale } => decimal(text, *precision, *scale),
        }
    }
}

/// The part before the point, as Spark casts `1.5` to 1.
fn whole(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    if !fraction.bytes().chain(digits.bytes()).all(|b| b.is_ascii_digit()) || digits.is_empty() {
        return None;
    }
    whole.parse().ok()
}

fn decimal(text: &str, precision: u8, scale: u8) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()),
        None => (unsigned, Some(0)),
    };
    let (Some(exponent), Ok(value)) = (exponent, mantissa.parse::<f64>()) else { return false };
    let plain = mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    // Digits before the point after rounding to `scale`; a double is exact enough to count them.
    plain && (value * 10f64.powi(exponent)) < 10f64.powi(i32::from(precision) - i32::from(scale))
}

/// `y`, `y-M`, `y-M-d`, the last with anything after a space or `T`.
fn date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let number = |text: &str, widths: std::ops::RangeInclusive<usize>| {
        (widths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u32>().ok()).flatten()
    };
    let Some(year) = parts.next().and_then(|t| number(t, 4..=7)) else { return false };
    let month = match parts.next() {
        None => Some(1),
        Some(t) => number(t, 1..=2),
    };
    let day = match parts.next() {
        None => Some(1),
        Some(t) => number(t.split([' ', 'T']).next().unwrap_or(t), 1..=2),
    };
    let (Some(month), Some(day), Ok(year)) = (month, day, i32::try_from(year)) else { return false };
    NaiveDate::from_ymd_opt(year, month, day).is_some()
}

fn timestamp(text: &str) -> bool {
    let Some((day, time)) = text.split_once([' ', 'T']) else { return date(text) };
    let time = time.trim_end_matches('Z');
    let clock = time.split(['+', '-']).next().unwrap_or(time).trim();
    date(day) && ["%H:%M:%S%.f", "%H:%M"].iter().any(|f| NaiveTime::parse_from_str(clock, f).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cast_as_spark_casts_them() {
        for (name, format, yes, no) in [
            ("boolean", None, vec!["true", "Y", "0", " f "], vec!["2", "", "ja"]),
            (
                "DATE",
                None,
                vec!["2024-01-02", "2024-1-2", "2024", "2024-02", "2024-01-02T03:04"],
                vec!["2024-13-01", "02/01/2024", "x", ""],
            ),
            ("DATE", Some("dd-MM-yyyy"), vec!["31-12-2024"], vec!["2024-12-31", "31/12/2024", "32-12-2024", "1-12-2024"]),
            ("DATE", Some("yyyy/MM"), vec!["2024/12"], vec!["2024/13", "2024/12/01", "2024"]),
            ("DATE", Some("MM-dd"), vec!["02-29"], vec!["29-02"]),
            ("TIMESTAMP", None, vec!["2024-01-02 03:04:05.678", "2024-01-02", "2024-01-02T03:04Z"], vec!["03:04", "2024-01-02 25:00"]),
            ("Integer", None, vec!["1", "-2147483648", "+5", "1.9"], vec!["2147483648", "x", "", "1e3", "."]),
            ("LONG", None, vec!["9223372036854775807"], vec!["9223372036854775808"]),
            ("FLOAT", None, vec!["1", "1e3", "-.5", "NaN", "1.5d"], vec!["x", ""]),
            ("DECIMAL(4,2)", None, vec!["12.34", "99.99", "-1.23456"], vec!["100", "x", ""]),
        ] {
            let target = CastTarget::named(name, format).expect(name);
            yes.iter().for_each(|t| assert!(target.accepts_text(t), "{t:?} is a {name} {format:?}"));
            no.iter().for_each(|t| assert!(!target.accepts_text(t), "{t:?} is no {name} {format:?}"));
        }
        for (name, format) in [("DATE", Some("yyyy.MM.dd")), ("TEXT", None), ("DECIMAL(0,0)", None), ("DECIMAL(3,4)", None)] {
            assert!(CastTarget::named(name, format).is_err(), "{name} {format:?}");
        }
    }
}
