//! Contract facts every value of a column must meet: range, pattern, list (contract.md, `schema.columns`).

use std::collections::BTreeSet;

use regex::Regex;

use super::options::ColumnRules;
use super::reading::{Bin, Value};

/// A rule of a column cannot be used; `contract lint` finds the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("column {column}: pattern {pattern:?} is not a regular expression")]
    Pattern { column: String, pattern: String },
    #[error("column {column}: format {format:?} is neither RFC3339 nor strftime")]
    Format { column: String, format: String },
    #[error("column {column}: time zone {zone:?} is neither a region of the IANA database nor an offset such as +01:00")]
    Zone { column: String, zone: String },
}

/// The checks of one column, compiled.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    min: Option<f64>,
    max: Option<f64>,
    /// Matches the whole text; string columns only.
    pattern: Option<Regex>,
    allowed: Option<BTreeSet<String>>,
}

impl Checks {
    /// # Errors
    /// [`RuleError::Pattern`] if the pattern does not compile.
    pub fn new(column: &str, rules: &ColumnRules) -> Result<Self, RuleError> {
        let pattern = match &rules.pattern {
            None => None,
            Some(text) => Some(
                Regex::new(&format!("^(?:{text})$"))
                    .map_err(|_| RuleError::Pattern { column: column.to_owned(), pattern: text.clone() })?,
            ),
        };
        let allowed = rules.allowed_values.as_ref().map(|list| list.iter().cloned().collect());
        Ok(Self { min: rules.min, max: rules.max, pattern, allowed })
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.min.is_none() && self.max.is_none() && self.pattern.is_none() && self.allowed.is_none()
    }

    /// The bin of the first check the value breaks. `source` is the text as it stood in the file.
    pub fn broken(&self, value: &Value<'_>, source: &str, scale: u8) -> Option<Bin> {
        if let Some(allowed) = &self.allowed
            && !allowed.contains(source)
            && !(matches!(value, Value::Int(_) | Value::Double(_) | Value::Decimal(_) | Value::Bool(_)) && allowed.contains(source.trim()))
        {
            return Some(Bin::Code);
        }
        if let (Some(pattern), Value::Text(text)) = (&self.pattern, value)
            && !pattern.is_match(text)
        {
            return Some(Bin::Pattern);
        }
        let number = match value {
            Value::Int(n) => *n as f64,
            Value::Double(n) => *n,
            Value::Decimal(n) => *n as f64 / 10f64.powi(i32::from(scale)),
            _ => return None,
        };
        (self.min.is_some_and(|min| number < min) || self.max.is_some_and(|max| number > max)).then_some(Bin::Range)
    }
}
