//! Tokens to tree. All faults of a document are found in one reading: after one, reading goes on at the next rule.
//!
//! Unlike the reference parser, comments may end with the text, CRLF is white space, and anything
//! after the document is a fault (dqdl.md §1.1).

mod conditions;
mod document;
#[cfg(test)]
mod tests;

use crate::quality::catalog::{ConditionKinds, RuleKind};
use crate::quality::lexer::{self, Spanned, Token};
use crate::quality::syntax::*;

/// Longest document that is read, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of parentheses.
pub const DEPTH_MAX: usize = 64;
/// Faults after which no more are noted.
pub const DIAGNOSTICS_MAX: usize = 100;

/// Words that no unquoted name may be.
const RESERVED: [&str; 29] = [
    "B",
    "KB",
    "MB",
    "GB",
    "TB",
    "days",
    "hours",
    "minutes",
    "where",
    "with",
    "labels",
    "Rules",
    "Analyzers",
    "Metadata",
    "DataSources",
    "DefaultLabels",
    "in",
    "not",
    "between",
    "matches",
    "and",
    "AND",
    "or",
    "OR",
    "of",
    "OF",
    "now",
    "NULL",
    "threshold",
];

/// A fault was noted; where reading goes on is the caller's matter.
#[derive(Debug)]
struct Noted;

type Parsed<T> = Result<T, Noted>;

/// Reads a DQDL document.
///
/// # Errors
/// Every fault found, in the order of the text, at most [`DIAGNOSTICS_MAX`].
pub fn parse(text: &str) -> Result<Ruleset, Vec<Diagnostic>> {
    if text.len() > TEXT_BYTES_MAX {
        let place = Place { line: 1, column: 1 };
        return Err(vec![Diagnostic::new(
            place,
            None,
            format!("the document has {} bytes, at most {TEXT_BYTES_MAX} are read", text.len()),
        )]);
    }
    let (tokens, end, faults) = lexer::tokens(text);
    let mut parser = Parser { tokens, end, at: 0, depth: 0, operators: 0, faults, rule: None, ruleset: Ruleset::default() };
    let outcome = parser.document();
    debug_assert!(outcome.is_ok() || !parser.faults.is_empty(), "a refusal is always noted");
    parser.faults.sort_by_key(|d| (d.line, d.column));
    parser.faults.truncate(DIAGNOSTICS_MAX);
    if parser.faults.is_empty() { Ok(parser.ruleset) } else { Err(parser.faults) }
}

struct Parser {
    tokens: Vec<Spanned>,
    end: Place,
    at: usize,
    depth: usize,
    /// Arithmetic operators of the condition being read.
    operators: usize,
    faults: Vec<Diagnostic>,
    /// The rule type being read, for messages.
    rule: Option<&'static str>,
    ruleset: Ruleset,
}

impl Parser {
    // -- tokens ---------------------------------------------------------------------------------

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|s| &s.token)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|s| &s.token)
    }

    fn place(&self) -> Place {
        self.tokens.get(self.at).map_or(self.end, |s| s.place)
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(s)) if *s == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w == word)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        if found {
            self.advance();
        }
        found
    }

    fn take_word(&mut self, words: &[&str]) -> bool {
        let found = words.iter().any(|w| self.is_word(w));
        if found {
            self.advance();
        }
        found
    }

    fn note(&mut self, place: Place, message: impl Into<String>) -> Noted {
        if self.faults.len() < DIAGNOSTICS_MAX {
            let fault = Diagnostic::new(place, self.rule, message);
            self.faults.push(fault);
        }
        Noted
    }

    fn expected<T>(&mut self, what: &str) -> Parsed<T> {
        let found = self.peek().map_or_else(|| "the end of the text".to_owned(), Token::shown);
        let place = self.place();
        Err(self.note(place, format!("expected {what}, found {found}")))
    }

    fn need_sign(&mut self, sign: &str) -> Parsed<()> {
        if self.take_sign(sign) { Ok(()) } else { self.expected(&format!("`{sign}`")) }
    }

    /// A quoted string of any shape, as it stands between the quotes.
    fn quoted(&mut self, what: &str) -> Parsed<String> {
        match self.peek() {
            Some(Token::Text(t) | Token::Date(t) | Token::Time(t)) => {
                let text = t.clone();
                self.advance();
                Ok(text)
            }
            _ => self.expected(what),
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            let place = self.place();
            return Err(self.note(place, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// `[ item, item ]`, going on after the next comma when an item is refused.
    fn items<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.need_sign("[")?;
        let mut items = Vec::new();
        if self.take_sign("]") {
            return Ok(items);
        }
        loop {
            let start = self.at;
            self.depth = 0;
            let read = item(self);
            self.depth = 0;
            if let Ok(read) = read {
                items.push(read);
                if !self.is_sign(",") && !self.is_sign("]") {
                    let _ = self.expected::<()>("`,` or `]` after a rule");
                    self.recover(start);
                }
            } else {
                self.recover(start);
            }
            self.rule = None;
            if self.take_sign("]") {
                return Ok(items);
            }
            if !self.take_sign(",") {
                // Recovery came to the end of the text; what is missing was already noted, or is the bracket.
                return if self.faults.is_empty() { self.expected("`]`") } else { Err(Noted) };
            }
            if self.is_sign("]") {
                return self.expected("a rule after `,`");
            }
        }
    }

    /// Moves to the comma or bracket that ends the item begun at `start`.
    fn recover(&mut self, start: usize) {
        let fault_at = self.at;
        self.at = start;
        let mut open = 0usize;
        while let Some(token) = self.peek() {
            match token {
                Token::Sign("[" | "(" | "{") => open += 1,
                Token::Sign("]" | ")" | "}") if open > 0 => open -= 1,
                Token::Sign("]") if self.at >= fault_at => return,
                Token::Sign(",") if open == 0 && self.at >= fault_at => return,
                // A rule begins after a comma although a bracket is still open: the bracket was the fault.
                Token::Sign(",")
                    if self.at >= fault_at && matches!(self.peek_at(1), Some(Token::Word(w)) if RuleKind::named(w).is_some()) =>
                {
                    return;
                }
                _ => {}
            }
            self.advance();
        }
    }

    // -- rules ----------------------------------------------------------------------------------

    fn ruled(&mut self) -> Parsed<Node> {
        self.either(Connective::Or)
    }

    /// `and` binds tighter than `or`; legs of one connective are one composite.
    fn either(&mut self, connective: Connective) -> Parsed<Node> {
        let place = self.place();
        let words = match connective {
            Connective::Or => ["or", "OR"],
            Connective::And => ["and", "AND"],
        };
        let mut legs = Vec::new();
        loop {
            legs.push(match connective {
                Connective::Or => self.either(Connective::And)?,
                Connective::And => self.leg()?,
            });
            if !self.take_word(&words) {
                break;
            }
        }
        if legs.len() == 1 {
            return legs.pop().ok_or(Noted);
        }
        Ok(Node::Composite(Composite { connective, legs, labels: Vec::new(), place }))
    }

    fn leg(&mut self) -> Parsed<Node> {
        if !self.take_sign("(") {
            return self.rule().map(Node::Rule);
        }
        let mut node = self.deeper(Self::ruled)?;
        self.need_sign(")")?;
        if self.is_word("labels") {
            let place = self.place();
            let found = self.labels()?;
            let labels = match &mut node {
                Node::Rule(rule) => &mut rule.labels,
                Node::Composite(composite) => &mut composite.labels,
            };
            if labels.is_empty() {
                *labels = found;
            } else {
                return Err(self.note(place, "labels are given twice"));
            }
        }
        Ok(node)
    }

    fn rule_kind(&mut self) -> Parsed<RuleKind> {
        let place = self.place();
        let Some(Token::Word(word)) = self.peek().cloned() else { return self.expected("a rule type") };
        let Some(kind) = RuleKind::named(&word) else {
            let near = RuleKind::ALL.iter().find(|k| k.name().eq_ignore_ascii_case(&word));
            let hint = near.map_or_else(String::new, |k| format!("; did you mean `{}`?", k.name()));
            return Err(self.note(place, format!("`{word}` is not a rule type{hint}")));
        };
        self.advance();
        self.rule = Some(kind.name());
        Ok(kind)
    }

    fn rule(&mut self) -> Parsed<Rule> {
        let place = self.place();
        let kind = self.rule_kind()?;
        let signature = kind.signature();
        if kind == RuleKind::AllStatistics {
            return Err(self.note(place, "stands under Analyzers only"));
        }
        let parameters = self.parameters(kind)?;
        let condition = self.condition(kind)?;
        let mut rule = Rule { kind, parameters, condition, filter: None, labels: Vec::new(), threshold: None, tags: Vec::new(), place };
        if self.is_word("where") {
            let at = self.place();
            self.advance();
            let text = self.quoted("a quoted SQL predicate after `where`")?;
            if text.trim().is_empty() {
                self.note(at, "the text of `where` is empty");
            }
            if !signature.takes_where {
                self.note(at, "takes no `where`");
            }
            rule.filter = Some(text);
        }
        if self.is_word("labels") {
            rule.labels = self.labels()?;
        }
        while self.is_word("with") {
            self.with(&mut rule)?;
        }
        Ok(rule)
    }

    fn with(&mut self, rule: &mut Rule) -> Parsed<()> {
        let place = self.place();
        self.advance();
        let name = match self.peek() {
            Some(Token::Word(name)) => name.clone(),
            _ => return self.expected("`threshold` or the name of a tag after `with`"),
        };
        self.advance();
        let is_tag = self.is_sign("=") && matches!(self.peek_at(1), Some(Token::Text(_) | Token::Date(_) | Token::Time(_)));
        if name == "threshold" && !is_tag {
            let threshold = self.threshold()?;
            if !rule.kind.signature().takes_threshold {
                self.note(place, "takes no `with threshold`");
            }
            if rule.threshold.replace(threshold).is_some() {
                self.note(place, "`with threshold` is given twice");
            }
            return Ok(());
        }
        if !self.take_sign("=") {
            return self.expected("`=` after the name of a tag (tags know no other operator)");
        }
        let value = self.quoted("a quoted value")?;
        if rule.tags.iter().any(|t| t.name == name) {
            self.note(place, format!("tag `{name}` is given twice"));
        }
        rule.tags.push(Tag { name, value });
        Ok(())
    }

    fn analyzer(&mut self) -> Parsed<Analyzer> {
        let place = self.place();
        let kind = self.rule_kind()?;
        if !kind.is_analyzer() {
            return Err(self.note(place, "has no metric and cannot be an analyzer"));
        }
        let parameters = self.parameters(kind)?;
        if !self.is_sign(",") && !self.is_sign("]") {
            return self.expected("`,` or `]`: an analyzer has parameters only");
        }
        Ok(Analyzer { kind, parameters, place })
    }

    fn parameters(&mut self, kind: RuleKind) -> Parsed<Vec<Parameter>> {
        let start = self.place();
        let mut parameters = Vec::new();
        loop {
            let connector = match self.peek() {
                Some(Token::Word(w)) if w == "of" || w == "OF" => Some(Connector::Of),
                // `and` before a rule type or a parenthesis joins rules, not parameters.
                Some(Token::Word(w)) if (w == "and" || w == "AND") && self.parameter_follows() => Some(Connector::And),
                _ => None,
            };
            if connector.is_some() {
                self.advance();
            }
            let place = self.place();
            let value = match self.peek() {
                Some(Token::Text(text)) => ParameterValue::Text(text.clone()),
                Some(Token::Date(_) | Token::Time(_)) => {
                    return Err(self.note(place, "a string shaped like a date or a time cannot be a parameter"));
                }
                Some(Token::Word(word)) if !RESERVED.contains(&word.as_str()) => ParameterValue::Text(word.clone()),
                Some(Token::Variable(name)) => {
                    let name = name.clone();
                    match self.ruleset.variable(&name) {
                        Some(VariableValue::Text(_)) => {}
                        Some(VariableValue::List(_)) => {
                            self.note(place, format!("variable `{name}` is a list, a parameter needs a string"));
                        }
                        None => {
                            self.note(place, format!("variable `{name}` is not defined"));
                        }
                    }
                    ParameterValue::Variable(name)
                }
                _ if connector.is_some() => return self.expected("a parameter"),
                _ => break,
            };
            self.advance();
            parameters.push(Parameter { connector, value });
        }
        let signature = kind.signature();
        if parameters.len() < signature.parameters_min || parameters.len() > signature.parameters_max {
            let wanted = match (signature.parameters_min, signature.parameters_max) {
                (0, 0) => "no parameter".to_owned(),
                (1, 1) => "one parameter".to_owned(),
                (min, max) if min == max => format!("{min} parameters"),
                (min, max) => format!("{min} to {max} parameters"),
            };
            return Err(self.note(start, format!("takes {wanted}, found {}", parameters.len())));
        }
        Ok(parameters)
    }

    fn parameter_follows(&self) -> bool {
        match self.peek_at(1) {
            Some(Token::Text(_) | Token::Variable(_)) => true,
            Some(Token::Word(word)) => RuleKind::named(word).is_none() && !RESERVED.contains(&word.as_str()),
            _ => false,
        }
    }

    /// The condition, of a kind the rule type takes.
    fn condition(&mut self, kind: RuleKind) -> Parsed<Option<Condition>> {
        let kinds = kind.signature().condition;
        let place = self.place();
        let begins = matches!(self.peek(), Some(Token::Sign("=" | "!=" | ">" | ">=" | "<" | "<=")))
            || ["between", "not", "in", "matches"].iter().any(|w| self.is_word(w));
        let optional = matches!(kinds, ConditionKinds::None | ConditionKinds::NumberOrNone | ConditionKinds::TextOrNone);
        if !begins {
            return if optional { Ok(None) } else { self.expected("a condition") };
        }
        let condition = self.any_condition(kind)?;
        let fits = matches!(
            (kinds, &condition),
            (ConditionKinds::Number | ConditionKinds::NumberOrNone | ConditionKinds::NumberTextOrDate, Condition::Number(_))
                | (ConditionKinds::Text | ConditionKinds::TextOrNone | ConditionKinds::NumberTextOrDate, Condition::Text(_))
                | (ConditionKinds::Date | ConditionKinds::NumberTextOrDate, Condition::Date(_))
                | (ConditionKinds::Duration, Condition::Duration(_))
                | (ConditionKinds::Size, Condition::Size(_))
        );
        if !fits {
            let wanted = match kinds {
                ConditionKinds::None => "no condition",
                ConditionKinds::Number | ConditionKinds::NumberOrNone => "a number condition",
                ConditionKinds::NumberTextOrDate => "a number, string or date condition",
                ConditionKinds::Text | ConditionKinds::TextOrNone => "a string condition",
                ConditionKinds::Duration => "a duration condition (days, hours, minutes)",
                ConditionKinds::Date => "a date condition",
                ConditionKinds::Size => "a size condition (B, KB, MB, GB, TB)",
            };
            return Err(self.note(place, format!("takes {wanted}")));
        }
        Ok(Some(condition))
    }
}
