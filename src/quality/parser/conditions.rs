//! Conditions and their operands: which kind it is shows in the first operand (dqdl.md §1.2).

use super::{Parsed, Parser};
use crate::quality::catalog::{ConditionKinds, RuleKind};
use crate::quality::lexer::Token;
use crate::quality::syntax::*;

/// What a condition's operands are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OperandKind {
    Number,
    Text,
    Date,
    Duration,
    Size,
}

/// Arithmetic operators in one condition; each may deepen the tree by one.
const OPERATORS_MAX: usize = 128;

const TIME_UNITS: [&str; 3] = ["days", "hours", "minutes"];
const SIZE_UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
const TEXT_WORDS: [&str; 4] = ["EMPTY", "empty", "WHITESPACES_ONLY", "whitespaces_only"];
const NULL_WORDS: [&str; 2] = ["NULL", "null"];

impl Parser {
    pub(super) fn any_condition(&mut self, kind: RuleKind) -> Parsed<Condition> {
        let ahead = if self.is_word("not") { 1 } else { 0 };
        if matches!(self.peek_at(ahead), Some(Token::Word(w)) if w == "matches") {
            return self.matches(ahead == 1);
        }
        // `in $list` is always about strings.
        if matches!(self.peek_at(ahead), Some(Token::Word(w)) if w == "in")
            && let Some(Token::Variable(name)) = self.peek_at(ahead + 1)
        {
            let name = name.clone();
            self.at += ahead + 1;
            let place = self.place();
            match self.ruleset.variable(&name) {
                Some(VariableValue::List(_)) => {}
                Some(VariableValue::Text(_)) => {
                    self.note(place, format!("variable `{name}` is a string, `in` needs a list"));
                }
                None => {
                    self.note(place, format!("variable `{name}` is not defined"));
                }
            }
            self.advance();
            return Ok(Condition::Text(TextCondition::InVariable { negated: ahead == 1, name }));
        }
        match self.operand_kind(kind) {
            OperandKind::Number => self.comparison(Self::expression, true).map(Condition::Number),
            OperandKind::Text => self.comparison(Self::text, false).map(|c| Condition::Text(TextCondition::Compare(c))),
            OperandKind::Date => self.comparison(Self::date, true).map(Condition::Date),
            OperandKind::Duration => self.comparison(Self::duration, true).map(Condition::Duration),
            OperandKind::Size => self.comparison(Self::size, true).map(Condition::Size),
        }
    }

    pub(super) fn threshold(&mut self) -> Parsed<Comparison<Expression>> {
        self.comparison(Self::expression, true)
    }

    fn matches(&mut self, negated: bool) -> Parsed<Condition> {
        self.at += if negated { 2 } else { 1 };
        let pattern = match self.peek() {
            Some(Token::Variable(_)) => self.text()?,
            _ => TextOperand::Quoted(self.quoted("a quoted pattern")?),
        };
        Ok(Condition::Text(TextCondition::Matches { negated, pattern }))
    }

    /// Looks past the operator, and in a list past leading NULLs, for an operand that shows its kind.
    fn operand_kind(&self, kind: RuleKind) -> OperandKind {
        match kind.signature().condition {
            ConditionKinds::Size => return OperandKind::Size,
            ConditionKinds::Duration => return OperandKind::Duration,
            _ => {}
        }
        let mut ahead = 0;
        while matches!(self.peek_at(ahead), Some(Token::Word(w)) if ["not", "between", "in"].contains(&w.as_str()))
            || matches!(self.peek_at(ahead), Some(Token::Sign("=" | "!=" | ">" | ">=" | "<" | "<=" | "[" | "(")))
        {
            ahead += 1;
        }
        let mut skipped = false;
        while matches!(self.peek_at(ahead), Some(Token::Word(w)) if NULL_WORDS.contains(&w.as_str()))
            && (matches!(self.peek_at(ahead + 1), Some(Token::Sign(",")))
                || matches!(self.peek_at(ahead + 1), Some(Token::Word(w)) if w == "and"))
        {
            skipped = true;
            ahead += 2;
        }
        let kinds = kind.signature().condition;
        let found = match self.peek_at(ahead) {
            Some(Token::Text(_) | Token::Variable(_)) => OperandKind::Text,
            Some(Token::Word(w)) if TEXT_WORDS.contains(&w.as_str()) => OperandKind::Text,
            // A date in a rule that knows strings only is a string.
            Some(Token::Date(_) | Token::Time(_)) if matches!(kinds, ConditionKinds::Text | ConditionKinds::TextOrNone) => {
                OperandKind::Text
            }
            Some(Token::Date(_) | Token::Time(_)) => OperandKind::Date,
            Some(Token::Word(w)) if w == "now" => OperandKind::Date,
            Some(Token::Number(_)) if self.unit_at(ahead + 1, &TIME_UNITS) => OperandKind::Duration,
            Some(Token::Number(_)) if self.unit_at(ahead + 1, &SIZE_UNITS) => OperandKind::Size,
            _ => OperandKind::Number,
        };
        // A list that begins with a date and goes on with other strings is a list of strings.
        if found == OperandKind::Date && !skipped && self.list_has_text(ahead) { OperandKind::Text } else { found }
    }

    fn unit_at(&self, ahead: usize, units: &[&str]) -> bool {
        matches!(self.peek_at(ahead), Some(Token::Word(w)) if units.contains(&w.as_str()))
    }

    fn list_has_text(&self, mut ahead: usize) -> bool {
        if ahead == 0 || !matches!(self.peek_at(ahead - 1), Some(Token::Sign("["))) {
            return false;
        }
        loop {
            match self.peek_at(ahead) {
                Some(Token::Text(_)) => return true,
                None | Some(Token::Sign("]")) => return false,
                _ => ahead += 1,
            }
        }
    }

    /// Operator and operands; `ordered` operands may be compared by `>` and `between`.
    fn comparison<T>(&mut self, mut operand: impl FnMut(&mut Self) -> Parsed<T>, ordered: bool) -> Parsed<Comparison<T>> {
        self.operators = 0;
        let place = self.place();
        let operator = match self.peek() {
            Some(Token::Sign("=")) => Some(Operator::Equal),
            Some(Token::Sign("!=")) => Some(Operator::NotEqual),
            Some(Token::Sign(">")) => Some(Operator::Greater),
            Some(Token::Sign(">=")) => Some(Operator::GreaterOrEqual),
            Some(Token::Sign("<")) => Some(Operator::Less),
            Some(Token::Sign("<=")) => Some(Operator::LessOrEqual),
            _ => None,
        };
        if let Some(operator) = operator {
            self.advance();
            if !ordered && !matches!(operator, Operator::Equal | Operator::NotEqual) {
                return Err(self.note(place, format!("strings have no order: `{operator}` compares numbers and dates only")));
            }
            return Ok(Comparison::Compare { operator, operand: operand(self)? });
        }
        let negated = self.take_word(&["not"]);
        if self.take_word(&["between"]) {
            if !ordered {
                return Err(self.note(place, "strings have no order: `between` compares numbers and dates only"));
            }
            let low = operand(self)?;
            if !self.take_word(&["and", "AND"]) {
                return self.expected("`and` between the two ends");
            }
            return Ok(Comparison::Between { negated, low, high: operand(self)? });
        }
        if !self.take_word(&["in"]) {
            return self.expected("an operator");
        }
        self.need_sign("[")?;
        let mut items = vec![operand(self)?];
        while self.take_sign(",") {
            items.push(operand(self)?);
        }
        self.need_sign("]")?;
        Ok(Comparison::In { negated, items })
    }

    fn text(&mut self) -> Parsed<TextOperand> {
        let place = self.place();
        let operand = match self.peek() {
            Some(Token::Text(t) | Token::Date(t) | Token::Time(t)) => TextOperand::Quoted(t.clone()),
            Some(Token::Word(w)) if NULL_WORDS.contains(&w.as_str()) => TextOperand::Null,
            Some(Token::Word(w)) if w.eq_ignore_ascii_case("empty") && TEXT_WORDS.contains(&w.as_str()) => TextOperand::Empty,
            Some(Token::Word(w)) if TEXT_WORDS.contains(&w.as_str()) => TextOperand::WhitespacesOnly,
            Some(Token::Variable(name)) => {
                let name = name.clone();
                match self.ruleset.variable(&name) {
                    Some(VariableValue::Text(_)) => {}
                    Some(VariableValue::List(_)) => {
                        self.note(place, format!("variable `{name}` is a list; write `in ${name}`"));
                    }
                    None => {
                        self.note(place, format!("variable `{name}` is not defined"));
                    }
                }
                TextOperand::Variable(name)
            }
            _ => return self.expected("a string, NULL, EMPTY or WHITESPACES_ONLY"),
        };
        self.advance();
        Ok(operand)
    }

    fn expression(&mut self) -> Parsed<Expression> {
        self.deeper(|p| {
            let mut left = p.atom()?;
            loop {
                let operator = match p.peek() {
                    Some(Token::Sign("+")) => Arithmetic::Add,
                    Some(Token::Sign("-")) => Arithmetic::Subtract,
                    Some(Token::Sign("*")) => Arithmetic::Multiply,
                    Some(Token::Sign("/")) => Arithmetic::Divide,
                    _ => return Ok(left),
                };
                p.operators += 1;
                if p.operators > OPERATORS_MAX {
                    let place = p.place();
                    return Err(p.note(place, format!("a condition of more than {OPERATORS_MAX} arithmetic operators")));
                }
                p.advance();
                let right = p.atom()?;
                left = Expression::Binary { operator, left: Box::new(left), right: Box::new(right) };
            }
        })
    }

    fn atom(&mut self) -> Parsed<Expression> {
        if self.take_sign("(") {
            let inner = self.expression()?;
            self.need_sign(")")?;
            return Ok(inner);
        }
        let negative = self.is_sign("-");
        if negative {
            self.advance();
        }
        let place = self.place();
        match self.peek().cloned() {
            Some(Token::Number(text)) => {
                self.advance();
                match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => Ok(Expression::Number(if negative { -number } else { number })),
                    _ => Err(self.note(place, "this number is too large")),
                }
            }
            _ if negative => self.expected("a number after `-`"),
            Some(Token::Word(w)) if NULL_WORDS.contains(&w.as_str()) => {
                self.advance();
                Ok(Expression::Null)
            }
            Some(Token::Word(name)) if matches!(self.peek_at(1), Some(Token::Sign("("))) => {
                self.at += 2;
                let mut arguments = Vec::new();
                if !self.take_sign(")") {
                    arguments.push(self.expression()?);
                    while self.take_sign(",") {
                        arguments.push(self.expression()?);
                    }
                    self.need_sign(")")?;
                }
                Ok(Expression::Call { name, arguments })
            }
            _ => self.expected("a number (written `12`, `-12` or `1.5`)"),
        }
    }

    fn whole(&mut self) -> Parsed<i64> {
        let place = self.place();
        match self.peek().cloned() {
            Some(Token::Number(text)) => {
                self.advance();
                text.parse::<i64>().map_err(|_| self.note(place, format!("`{text}` is not a whole number in range")))
            }
            _ => self.expected("a whole number"),
        }
    }

    fn time_unit(&mut self) -> Parsed<TimeUnit> {
        let unit = match self.peek() {
            Some(Token::Word(w)) if w == "days" => TimeUnit::Days,
            Some(Token::Word(w)) if w == "hours" => TimeUnit::Hours,
            Some(Token::Word(w)) if w == "minutes" => TimeUnit::Minutes,
            _ => return self.expected("`days`, `hours` or `minutes`"),
        };
        self.advance();
        Ok(unit)
    }

    fn now(&mut self) -> Parsed<()> {
        if !self.take_word(&["now"]) {
            return self.expected("`now()`");
        }
        self.need_sign("(")?;
        self.need_sign(")")
    }

    fn date(&mut self) -> Parsed<DateOperand> {
        match self.peek().cloned() {
            Some(Token::Date(text)) => {
                self.advance();
                Ok(DateOperand::Date(text))
            }
            Some(Token::Time(text)) => {
                self.advance();
                Ok(DateOperand::Time(text))
            }
            Some(Token::Word(w)) if NULL_WORDS.contains(&w.as_str()) => {
                self.advance();
                Ok(DateOperand::Null)
            }
            Some(Token::Sign("(")) => {
                self.advance();
                self.now()?;
                let sign = match self.peek() {
                    Some(Token::Sign("+")) => 1,
                    Some(Token::Sign("-")) => -1,
                    _ => return self.expected("`+` or `-` after `now()`"),
                };
                self.advance();
                let amount = sign * self.whole()?;
                let unit = self.time_unit()?;
                self.need_sign(")")?;
                Ok(DateOperand::NowAnd { amount, unit })
            }
            Some(Token::Word(w)) if w == "now" => {
                self.now()?;
                if self.is_sign("-") || self.is_sign("+") {
                    return self.expected("parentheses around `now()` and an offset: `(now() - 3 days)`");
                }
                Ok(DateOperand::Now)
            }
            _ => self.expected("a date"),
        }
    }

    fn duration(&mut self) -> Parsed<Duration> {
        let negative = self.take_sign("-");
        let amount = self.whole()?;
        let unit = self.time_unit()?;
        Ok(Duration { amount: if negative { -amount } else { amount }, unit })
    }

    fn size(&mut self) -> Parsed<Size> {
        let amount = self.whole()?.unsigned_abs();
        let unit = match self.peek() {
            Some(Token::Word(w)) if SIZE_UNITS.contains(&w.as_str()) => match w.as_str() {
                "KB" => SizeUnit::KB,
                "MB" => SizeUnit::MB,
                "GB" => SizeUnit::GB,
                "TB" => SizeUnit::TB,
                _ => SizeUnit::B,
            },
            _ => return Ok(Size { amount, unit: SizeUnit::B }),
        };
        self.advance();
        Ok(Size { amount, unit })
    }
}
