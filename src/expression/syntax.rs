//! Text to syntax tree: a Spark-like dialect with bounds on length, tokens and nesting.

use sqlparser::ast::{BinaryOperator, Expr};
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::expression::compile::{ExpressionError, Place, TEXT_MAX};

/// Tokens of one expression, blanks aside: bounds the depth of every chain of operators.
pub(super) const TOKENS_MAX: usize = 1000;
/// Nesting of parentheses, calls and CASE; a debug build's parser needs up to 50 KiB of stack per level.
pub(super) const NESTING_MAX: usize = 20;

/// Backticks quote names, both other quotes make texts, `div` divides integers.
#[derive(Debug)]
struct SparkLike;

impl Dialect for SparkLike {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        if !parser.parse_keyword(Keyword::DIV) {
            return None;
        }
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| Expr::BinaryOp {
            left: Box::new(left.clone()),
            op: BinaryOperator::MyIntegerDivide,
            right: Box::new(right),
        }))
    }
}

/// Parses exactly one expression.
pub(super) fn parse(text: &str) -> Result<Expr, ExpressionError> {
    if text.len() > TEXT_MAX {
        return Err(ExpressionError::new(format!("the expression has {} bytes, at most {TEXT_MAX} are allowed", text.len())));
    }
    let tokens = Tokenizer::new(&SparkLike, text).tokenize_with_location().map_err(|e| {
        let place = Place { line: e.location.line, column: e.location.column };
        ExpressionError::new(e.message).at(Some(place))
    })?;
    let count = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF)).count();
    if count == 0 {
        return Err(ExpressionError::new("the expression is empty"));
    }
    if count > TOKENS_MAX {
        return Err(ExpressionError::new(format!("the expression has {count} words and signs, at most {TOKENS_MAX} are allowed")));
    }
    let mut parser = Parser::new(&SparkLike).with_recursion_limit(NESTING_MAX).with_tokens_with_locations(tokens);
    let tree = parser.parse_expr().map_err(located)?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let place = Place { line: rest.span.start.line, column: rest.span.start.column };
        return Err(ExpressionError::new(format!("unexpected {} after the expression", rest.token)).at(Some(place)));
    }
    Ok(tree)
}

/// The parser writes the place into its text; here it becomes a value again.
fn located(error: ParserError) -> ExpressionError {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return ExpressionError::new(format!("the expression is nested deeper than {NESTING_MAX} levels"));
        }
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
    };
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return ExpressionError::new(text);
    };
    let numbers = place.split_once(", Column: ").and_then(|(line, column)| Some((line.parse().ok()?, column.trim().parse().ok()?)));
    match numbers {
        Some((line, column)) => ExpressionError::new(message).at(Some(Place { line, column })),
        None => ExpressionError::new(text),
    }
}
