//! Conditions ready to be tested against values: numbers, strings, dates, ages, casts.
//!
//! NULL follows one rule (dqdl.md §1.4): it fails every operator except `!=` and `not in`, and naming NULL
//! turns it: `in [.., NULL]` accepts it, `not in [.., NULL]` and `!= NULL` refuse it.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use crate::domain::time::Timestamp;
use crate::quality::catalog::RuleKind;
use crate::quality::datatype::{Cast, CastTarget};
use crate::quality::lexer::time_of_day;
use crate::quality::pattern::Pattern;
use crate::quality::syntax::*;

/// Why a rule gives no verdict on its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// The rule is at fault: it fails.
    Broken(String),
    /// The engine or its inputs are: it is not evaluated.
    NotEvaluated(String),
}

/// A comparison with known operands.
#[derive(Debug, Clone, PartialEq)]
pub enum Test<T> {
    /// Without operand it is NULL.
    Compare {
        operator: Operator,
        operand: Option<T>,
    },
    /// Both ends excluded; negated, both included.
    Between {
        negated: bool,
        low: T,
        high: T,
    },
    In {
        negated: bool,
        items: Vec<T>,
        null: bool,
    },
}

impl<T: PartialOrd> Test<T> {
    pub fn holds(&self, value: &T) -> bool {
        match self {
            Test::Compare { operator, operand: Some(operand) } => match operator {
                Operator::Equal => value == operand,
                Operator::NotEqual => value != operand,
                Operator::Greater => value > operand,
                Operator::GreaterOrEqual => value >= operand,
                Operator::Less => value < operand,
                Operator::LessOrEqual => value <= operand,
            },
            Test::Compare { operator, operand: None } => *operator == Operator::NotEqual,
            Test::Between { negated, low, high } => (low < value && value < high) != *negated,
            Test::In { negated, items, .. } => items.contains(value) != *negated,
        }
    }

    pub fn holds_null(&self) -> bool {
        match self {
            Test::Compare { operator, operand } => match operand {
                Some(_) => *operator == Operator::NotEqual,
                None => *operator == Operator::Equal,
            },
            Test::Between { .. } => false,
            Test::In { negated, null, .. } => negated != null,
        }
    }

    pub fn holds_option(&self, value: Option<T>) -> bool {
        value.map_or_else(|| self.holds_null(), |v| self.holds(&v))
    }

    /// Resolves every operand; `None` is NULL, which has an identity but no order.
    fn resolve<S>(comparison: &Comparison<S>, mut value: impl FnMut(&S) -> Result<Option<T>, Hindrance>) -> Result<Self, Hindrance> {
        let unordered = || Hindrance::Broken("NULL has no order: only `=`, `!=` and `in` may name it".to_owned());
        Ok(match comparison {
            Comparison::Compare { operator, operand } => {
                let operand = value(operand)?;
                if operand.is_none() && !matches!(operator, Operator::Equal | Operator::NotEqual) {
                    return Err(unordered());
                }
                Test::Compare { operator: *operator, operand }
            }
            Comparison::Between { negated, low, high } => {
                Test::Between { negated: *negated, low: value(low)?.ok_or_else(unordered)?, high: value(high)?.ok_or_else(unordered)? }
            }
            Comparison::In { negated, items } => {
                let mut known = Vec::with_capacity(items.len());
                let mut null = false;
                for item in items {
                    match value(item)? {
                        Some(item) => known.push(item),
                        None => null = true,
                    }
                }
                Test::In { negated: *negated, items: known, null }
            }
        })
    }
}

/// A string condition with known operands.
#[derive(Debug, Clone)]
pub enum TextTest {
    In { negated: bool, items: BTreeSet<String>, null: bool, whitespace: bool },
    Matches { negated: bool, pattern: Pattern },
}

impl TextTest {
    pub fn holds(&self, value: &str) -> bool {
        match self {
            TextTest::In { negated, items, whitespace, .. } => {
                let blank = *whitespace && !value.is_empty() && value.chars().all(char::is_whitespace);
                (blank || items.contains(value)) != *negated
            }
            TextTest::Matches { negated, pattern } => pattern.matches(value) != *negated,
        }
    }

    pub fn holds_null(&self) -> bool {
        match self {
            TextTest::In { negated, null, .. } => negated != null,
            TextTest::Matches { .. } => false,
        }
    }
}

/// What a rule asks of a value or of a metric.
#[derive(Debug, Clone)]
pub enum Want {
    Nothing,
    Number(Test<f64>),
    Text(TextTest),
    /// Operands are resolved against `now`; `offset_minutes` is that of the tag `timeZone`.
    Date {
        comparison: Comparison<DateOperand>,
        offset_minutes: i64,
    },
    /// Hours.
    Age(Test<f64>),
    Cast(Cast),
    Columns(Pattern),
}

/// The text of a parameter or `=` operand: backslashes stay, except before a quote.
pub fn plain(raw: &str) -> String {
    raw.replace("\\\"", "\"")
}

/// The text of an `in` operand: a backslash gives the character after it.
fn unescaped(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    text
}

pub fn parameter(ruleset: &Ruleset, parameter: &Parameter) -> String {
    match &parameter.value {
        ParameterValue::Text(text) => plain(text),
        ParameterValue::Variable(name) => variable_text(ruleset, name),
    }
}

fn variable_text(ruleset: &Ruleset, name: &str) -> String {
    match ruleset.variable(name) {
        Some(VariableValue::Text(text)) => plain(text),
        _ => String::new(),
    }
}

/// What `rule` asks for, as far as no schema is needed to know.
///
/// # Errors
/// Unsupported patterns, impossible dates, unknown types, numbers that need a history.
pub fn want(ruleset: &Ruleset, rule: &Rule) -> Result<Want, Hindrance> {
    if rule.kind == RuleKind::ColumnNamesMatchPattern {
        let text = rule.parameters.first().map(|p| parameter(ruleset, p)).unwrap_or_default();
        return Pattern::compile(&text).map(Want::Columns).map_err(Hindrance::Broken);
    }
    match &rule.condition {
        None => Ok(Want::Nothing),
        Some(Condition::Number(comparison)) => number_test(comparison).map(Want::Number),
        Some(Condition::Text(condition)) if rule.kind == RuleKind::ColumnDataType => cast(ruleset, rule, condition).map(Want::Cast),
        Some(Condition::Text(condition)) => text_test(ruleset, condition).map(Want::Text),
        Some(Condition::Date(comparison)) => {
            let offset_minutes = match rule.tags.iter().find(|t| t.name == "timeZone") {
                None => 0,
                Some(tag) => offset(&tag.value).ok_or_else(|| {
                    Hindrance::Broken(format!("time zone \"{}\" is not supported; write UTC or an offset such as +02:00", tag.value))
                })?,
            };
            date_test(comparison, Timestamp::EPOCH, offset_minutes)?;
            Ok(Want::Date { comparison: comparison.clone(), offset_minutes })
        }
        Some(Condition::Duration(comparison)) => {
            Test::resolve(comparison, |d| Ok(Some(d.amount as f64 * (d.unit.millis() as f64 / 3_600_000.0)))).map(Want::Age)
        }
        Some(Condition::Size(_)) => Ok(Want::Nothing),
    }
}

pub fn number_test(comparison: &Comparison<Expression>) -> Result<Test<f64>, Hindrance> {
    Test::resolve(comparison, |expression| match expression {
        Expression::Null => Ok(None),
        expression => {
            let value = evaluate(expression)?;
            if value.is_finite() { Ok(Some(value)) } else { Err(Hindrance::Broken(format!("`{expression}` is not a finite number"))) }
        }
    })
}

fn evaluate(expression: &Expression) -> Result<f64, Hindrance> {
    match expression {
        Expression::Number(number) => Ok(*number),
        Expression::Null => Err(Hindrance::Broken("NULL stands in an expression".to_owned())),
        Expression::Binary { operator, left, right } => {
            let (left, right) = (evaluate(left)?, evaluate(right)?);
            Ok(match operator {
                Arithmetic::Add => left + right,
                Arithmetic::Subtract => left - right,
                Arithmetic::Multiply => left * right,
                Arithmetic::Divide => left / right,
            })
        }
        call @ Expression::Call { .. } if needs_history(call) => {
            Err(Hindrance::NotEvaluated(format!("`{call}` needs stored metrics of earlier runs, which this engine does not keep")))
        }
        Expression::Call { name, .. } => Err(Hindrance::Broken(format!("the function `{name}` is only known over `last(k)`"))),
    }
}

fn needs_history(expression: &Expression) -> bool {
    match expression {
        Expression::Number(_) | Expression::Null => false,
        Expression::Binary { left, right, .. } => needs_history(left) || needs_history(right),
        Expression::Call { name, arguments } => name == "last" || arguments.iter().any(needs_history),
    }
}

fn text_test(ruleset: &Ruleset, condition: &TextCondition) -> Result<TextTest, Hindrance> {
    let (negated, operands, in_list) = match condition {
        TextCondition::Matches { negated, pattern } => {
            let text = match pattern {
                TextOperand::Quoted(text) => plain(text),
                TextOperand::Variable(name) => variable_text(ruleset, name),
                other => return Err(Hindrance::Broken(format!("`{other}` is not a pattern"))),
            };
            return Ok(TextTest::Matches { negated: *negated, pattern: Pattern::compile(&text).map_err(Hindrance::Broken)? });
        }
        TextCondition::InVariable { negated, name } => {
            let items = match ruleset.variable(name) {
                Some(VariableValue::List(items)) => items.iter().map(|t| unescaped(t)).collect(),
                _ => BTreeSet::new(),
            };
            return Ok(TextTest::In { negated: *negated, items, null: false, whitespace: false });
        }
        TextCondition::Compare(comparison) => match comparison {
            Comparison::Compare { operator, .. } => (*operator == Operator::NotEqual, comparison.operands(), false),
            Comparison::In { negated, .. } => (*negated, comparison.operands(), true),
            Comparison::Between { .. } => return Err(Hindrance::Broken("strings have no order".to_owned())),
        },
    };
    let (mut items, mut null, mut whitespace) = (BTreeSet::new(), false, false);
    for operand in operands {
        match operand {
            TextOperand::Quoted(text) => {
                items.insert(if in_list { unescaped(text) } else { plain(text) });
            }
            TextOperand::Variable(name) => {
                items.insert(variable_text(ruleset, name));
            }
            TextOperand::Null => null = true,
            TextOperand::Empty => {
                items.insert(String::new());
            }
            TextOperand::WhitespacesOnly => whitespace = true,
        }
    }
    Ok(TextTest::In { negated, items, null, whitespace })
}

fn cast(ruleset: &Ruleset, rule: &Rule, condition: &TextCondition) -> Result<Cast, Hindrance> {
    let TextCondition::Compare(Comparison::Compare { operator, operand }) = condition else {
        return Err(Hindrance::Broken("knows `=` and `!=` only".to_owned()));
    };
    let name = match operand {
        TextOperand::Quoted(text) => plain(text),
        TextOperand::Variable(name) => variable_text(ruleset, name),
        other => return Err(Hindrance::Broken(format!("`{other}` is not a type"))),
    };
    let format = rule.tags.iter().find(|t| t.name == "format").map(|t| t.value.as_str());
    let target = CastTarget::named(&name, format).map_err(Hindrance::Broken)?;
    Ok(Cast { target, negated: *operator == Operator::NotEqual })
}

/// Dates as milliseconds; `now` is cut to its minute.
///
/// # Errors
/// Dates that are on no calendar.
pub fn date_test(comparison: &Comparison<DateOperand>, now: Timestamp, offset_minutes: i64) -> Result<Test<i64>, Hindrance> {
    const DAY: i64 = 86_400_000;
    let now = now.millis() - now.millis().rem_euclid(60_000);
    Test::resolve(comparison, |operand| {
        Ok(match operand {
            DateOperand::Null => None,
            DateOperand::Now => Some(now),
            DateOperand::NowAnd { amount, unit } => Some(now.saturating_add(amount.saturating_mul(unit.millis()))),
            DateOperand::Date(text) => {
                let date = NaiveDate::parse_from_str(text, "%Y-%m-%d");
                let date = date.map_err(|_| Hindrance::Broken(format!("\"{text}\" is on no calendar")))?;
                Some(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())
            }
            DateOperand::Time(text) => {
                let minutes = time_of_day(text).ok_or_else(|| Hindrance::Broken(format!("\"{text}\" is no time of day")))?;
                let there = now.saturating_add(offset_minutes * 60_000);
                Some((there - there.rem_euclid(DAY)).saturating_add((i64::from(minutes) - offset_minutes) * 60_000))
            }
        })
    })
}

/// Minutes east of UTC.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "UTC" | "GMT" | "Z") {
        return Some(0);
    }
    let text = text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT")).unwrap_or(text);
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':')?;
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours <= 18 && minutes < 60).then_some(sign * (i64::from(hours) * 60 + i64::from(minutes)))
}
