//! Syntax tree to physical expression: names are resolved, types made to fit, the rest refused.

use std::cell::Cell;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion_common::ScalarValue;
use datafusion_common::config::ConfigOptions;
use datafusion_expr::type_coercion::functions::fields_with_udf;
use datafusion_expr::{Operator, ScalarUDF};
use datafusion_physical_expr::expressions::{self, BinaryExpr, Column, Literal};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use sqlparser::ast::{BinaryOperator, CastKind, CeilFloorKind, Expr, Ident, TrimWhereField, UnaryOperator, Value, ValueWithSpan};
use sqlparser::tokenizer::Span;

use crate::expression::coerce::{self, Casting, Typed};
use crate::expression::compile::{ExpressionError, Place};
use crate::expression::functions;
use crate::expression::types::{arrow_type, short, word};

/// Operators in one chain (`a or b or c …`), which nests as deep as it is long.
const CHAIN_MAX: usize = 100;
/// Levels of the syntax tree; postfixes (`is null is null`) nest without the parser's noticing.
const DEPTH_MAX: usize = 50;

type Physical = Result<Typed, ExpressionError>;

pub(super) struct Translator<'a> {
    pub(super) schema: &'a Schema,
    pub(super) casting: Casting,
    config: Arc<ConfigOptions>,
    depth: Cell<usize>,
}

/// Where a node starts: the place of its leftmost leaf. A loop, because the library's own spans
/// recurse as deep as the tree.
fn place(tree: &Expr) -> Option<Place> {
    let mut at = tree;
    loop {
        at = match at {
            Expr::Identifier(ident) => return start(ident.span),
            Expr::CompoundIdentifier(idents) => return start(idents.first()?.span),
            Expr::Value(value) => return start(value.span),
            Expr::Function(function) => return start(function.name.0.first()?.as_ident()?.span),
            Expr::BinaryOp { left, .. } => left,
            Expr::Nested(e) | Expr::IsNull(e) | Expr::IsNotNull(e) | Expr::UnaryOp { expr: e, .. } => e,
            Expr::Cast { expr, .. } | Expr::Between { expr, .. } | Expr::InList { expr, .. } | Expr::Like { expr, .. } => expr,
            _ => return None,
        };
    }
}

fn start(span: Span) -> Option<Place> {
    (span.start.line > 0).then_some(Place { line: span.start.line, column: span.start.column })
}

fn refused(what: &str) -> ExpressionError {
    ExpressionError::new(format!("{what} cannot stand in an expression over one row"))
}

impl<'a> Translator<'a> {
    pub(super) fn new(schema: &'a Schema, casting: Casting) -> Self {
        Self { schema, casting, config: Arc::new(ConfigOptions::default()), depth: Cell::new(0) }
    }

    pub(super) fn whole(&self, tree: &Expr) -> Result<(Arc<dyn PhysicalExpr>, DataType), ExpressionError> {
        let typed = self.expr(tree)?;
        Ok((typed.expr, typed.data_type))
    }

    /// Translates one node; an error without a place gets the node's.
    pub(super) fn expr(&self, tree: &Expr) -> Physical {
        if self.depth.get() >= DEPTH_MAX {
            return Err(ExpressionError::new(format!("the expression is nested deeper than {DEPTH_MAX} levels")));
        }
        self.depth.set(self.depth.get() + 1);
        let typed = match tree {
            Expr::BinaryOp { .. } => self.chain(tree),
            _ => self.node(tree),
        };
        self.depth.set(self.depth.get() - 1);
        typed.map_err(|e| if e.place.is_some() { e } else { e.at(place(tree)) })
    }

    /// A left-leaning chain of operators, without recursion along the chain.
    fn chain(&self, tree: &Expr) -> Physical {
        let (mut steps, mut first) = (Vec::new(), tree);
        while let Expr::BinaryOp { left, op, right } = first {
            steps.push((op, right.as_ref()));
            first = left;
        }
        if steps.len() > CHAIN_MAX {
            let message = format!("a chain of {} operators is too long, at most {CHAIN_MAX} are allowed; use `in (…)`", steps.len());
            return Err(ExpressionError::new(message).at(place(tree)));
        }
        let mut left = self.expr(first)?;
        for (op, right) in steps.into_iter().rev() {
            let at = place(right);
            let right = self.expr(right)?;
            left = self.binary(left, op, right).map_err(|e| e.at(at))?;
        }
        Ok(left)
    }

    fn node(&self, tree: &Expr) -> Physical {
        match tree {
            Expr::Identifier(ident) => self.column(std::slice::from_ref(ident)),
            Expr::CompoundIdentifier(idents) => self.column(idents),
            Expr::Value(value) => self.value(value),
            Expr::TypedString(typed) => {
                let text = self.value(&typed.value)?;
                text.cast(&arrow_type(&typed.data_type)?, Casting::Strict, self.schema)
            }
            Expr::Nested(inner) => self.expr(inner),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::IsNull(e) => self.wrap(expressions::is_null(self.expr(e)?.expr)),
            Expr::IsNotNull(e) => self.wrap(expressions::is_not_null(self.expr(e)?.expr)),
            Expr::IsTrue(e) => self.is_bool(e, Some(true), Operator::IsNotDistinctFrom),
            Expr::IsNotTrue(e) => self.is_bool(e, Some(true), Operator::IsDistinctFrom),
            Expr::IsFalse(e) => self.is_bool(e, Some(false), Operator::IsNotDistinctFrom),
            Expr::IsNotFalse(e) => self.is_bool(e, Some(false), Operator::IsDistinctFrom),
            Expr::IsUnknown(e) => self.is_bool(e, None, Operator::IsNotDistinctFrom),
            Expr::IsNotUnknown(e) => self.is_bool(e, None, Operator::IsDistinctFrom),
            Expr::IsDistinctFrom(a, b) => self.compare(self.expr(a)?, Operator::IsDistinctFrom, self.expr(b)?),
            Expr::IsNotDistinctFrom(a, b) => self.compare(self.expr(a)?, Operator::IsNotDistinctFrom, self.expr(b)?),
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Expr::Between { expr, negated, low, high } => {
                let value = self.expr(expr)?;
                let from = self.compare(value.clone(), Operator::GtEq, self.expr(low)?)?;
                let to = self.compare(value, Operator::LtEq, self.expr(high)?)?;
                let both = self.plain(from, Operator::And, to)?;
                if *negated { self.negate(both) } else { Ok(both) }
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, *negated, false, escape_char.as_ref())
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, *negated, true, escape_char.as_ref())
            }
            Expr::RLike { negated, expr, pattern, .. } => {
                let found = self.call_named("regexp_like", vec![self.expr(expr)?, self.expr(pattern)?])?;
                if *negated { self.negate(found) } else { Ok(found) }
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                let mut branches = Vec::with_capacity(conditions.len());
                for when in conditions {
                    let condition = match operand {
                        Some(operand) => self.compare(self.expr(operand)?, Operator::Eq, self.expr(&when.condition)?)?,
                        None => self.condition(self.expr(&when.condition)?, "WHEN")?,
                    };
                    branches.push((condition, self.expr(&when.result)?));
                }
                let otherwise = else_result.as_ref().map(|e| self.expr(e)).transpose()?;
                self.case(branches, otherwise)
            }
            Expr::Cast { kind, expr, data_type, array: false, format: None } => {
                let casting = match kind {
                    CastKind::TryCast | CastKind::SafeCast => Casting::Lenient,
                    CastKind::Cast | CastKind::DoubleColon => self.casting,
                };
                self.expr(expr)?.cast(&arrow_type(data_type)?, casting, self.schema)
            }
            Expr::Extract { field, expr, .. } => self.date_part(&field.to_string(), self.expr(expr)?),
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(_) } => self.call_named("ceil", vec![self.expr(expr)?]),
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(_) } => self.call_named("floor", vec![self.expr(expr)?]),
            Expr::Position { expr, r#in } => self.call_named("strpos", vec![self.expr(r#in)?, self.expr(expr)?]),
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let mut args = vec![self.expr(expr)?];
                args.push(substring_from.as_ref().map_or_else(|| self.literal(ScalarValue::from(1i64)), |e| self.expr(e))?);
                if let Some(length) = substring_for {
                    args.push(self.expr(length)?);
                }
                self.substring(args)
            }
            Expr::Trim { expr, trim_where, trim_what, trim_characters: None } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let mut args = vec![self.expr(expr)?];
                if let Some(what) = trim_what {
                    args.push(self.expr(what)?);
                }
                self.call_named(name, args)
            }
            Expr::Function(function) => self.function(function),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => Err(refused("a subquery")),
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => Err(refused("*")),
            Expr::Lambda(_) => Err(refused("a lambda")),
            other => {
                let text = other.to_string();
                Err(ExpressionError::new(format!("{} is not supported here", &text[..text.floor_char_boundary(80)])))
            }
        }
    }

    pub(super) fn wrap(&self, built: datafusion_common::Result<Arc<dyn PhysicalExpr>>) -> Physical {
        Typed::new(built.map_err(|e| ExpressionError::new(short(&e)))?, self.schema)
    }

    pub(super) fn literal(&self, value: ScalarValue) -> Physical {
        Typed::new(Arc::new(Literal::new(value)), self.schema)
    }

    pub(super) fn fit(&self, typed: Typed, target: &DataType) -> Physical {
        typed.cast(target, self.casting, self.schema)
    }

    fn value(&self, value: &ValueWithSpan) -> Physical {
        match &value.value {
            Value::Number(text, _) => self.number(text, ""),
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => self.literal(ScalarValue::from(text.as_str())),
            Value::Boolean(on) => self.literal(ScalarValue::from(*on)),
            Value::Null => self.literal(ScalarValue::Null),
            other => Err(ExpressionError::new(format!("{other} is not a literal here"))),
        }
    }

    /// Whole numbers are bigint, others double.
    fn number(&self, text: &str, sign: &str) -> Physical {
        let signed = format!("{sign}{text}");
        if let Ok(whole) = signed.parse::<i64>() {
            return self.literal(ScalarValue::from(whole));
        }
        match signed.parse::<f64>() {
            Ok(number) if number.is_finite() && text.contains(['.', 'e', 'E']) => self.literal(ScalarValue::from(number)),
            _ => Err(ExpressionError::new(format!("{signed} is out of range"))),
        }
    }

    /// Exact name first, then without regard to case, if that is unambiguous.
    fn resolve(&self, name: &str) -> Result<Option<usize>, ExpressionError> {
        let fields = self.schema.fields();
        if let Some(exact) = fields.iter().position(|f| f.name() == name) {
            return Ok(Some(exact));
        }
        let folded = name.to_lowercase();
        let alike: Vec<usize> = (0..fields.len()).filter(|i| fields[*i].name().to_lowercase() == folded).collect();
        match alike.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            many => {
                let names = many.iter().map(|i| fields[*i].name().as_str()).collect::<Vec<_>>().join(", ");
                Err(ExpressionError::new(format!("{name} is ambiguous: {names}")))
            }
        }
    }

    /// `a`, a column whose name holds dots, or a path into a struct.
    fn column(&self, idents: &[Ident]) -> Physical {
        let dotted = idents.iter().map(|i| i.value.as_str()).collect::<Vec<_>>().join(".");
        if let Some(index) = self.resolve(&dotted)? {
            return Typed::new(Arc::new(Column::new(self.schema.field(index).name(), index)), self.schema);
        }
        let (head, path) = idents.split_first().ok_or_else(|| ExpressionError::new("a name is empty"))?;
        let Some(index) = self.resolve(&head.value)? else {
            if head.quote_style.is_none() && matches!(functions::meaning(&head.value), functions::Meaning::Volatile) {
                return Err(volatile(&head.value));
            }
            let names = self.schema.fields().iter().take(20).map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
            return Err(ExpressionError::new(format!("there is no column {dotted}; there are {names}")));
        };
        let mut at = Typed::new(Arc::new(Column::new(self.schema.field(index).name(), index)), self.schema)?;
        for part in path {
            let DataType::Struct(fields) = &at.data_type else {
                return Err(ExpressionError::new(format!("{} has no field {}: it is {}", head.value, part.value, word(&at.data_type))));
            };
            let folded = part.value.to_lowercase();
            let found =
                fields.iter().find(|f| *f.name() == part.value).or_else(|| fields.iter().find(|f| f.name().to_lowercase() == folded));
            let Some(field) = found else {
                return Err(ExpressionError::new(format!("{dotted} has no field {}", part.value)));
            };
            let name = self.literal(ScalarValue::from(field.name().as_str()))?;
            at = self.call(functions::known("get_field"), vec![at, name])?;
        }
        Ok(at)
    }

    fn unary(&self, op: UnaryOperator, inner: &Expr) -> Physical {
        match (op, inner) {
            (UnaryOperator::Minus, Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. })) => self.number(text, "-"),
            (UnaryOperator::Minus, _) => {
                let value = self.expr(inner)?;
                self.minus(value)
            }
            (UnaryOperator::Plus, _) => self.expr(inner),
            (UnaryOperator::Not | UnaryOperator::BangNot, _) => {
                let value = self.condition(self.expr(inner)?, "NOT")?;
                self.negate(value)
            }
            (other, _) => Err(ExpressionError::new(format!("the operator {other} is not supported here"))),
        }
    }

    /// `0 - x`, so that the smallest integer overflows like any other.
    pub(super) fn minus(&self, value: Typed) -> Physical {
        let zero = self.literal(ScalarValue::from(0i64))?;
        let zero = if value.data_type.is_numeric() { zero.cast(&value.data_type, Casting::Strict, self.schema)? } else { zero };
        self.binary(zero, &BinaryOperator::Minus, value)
    }

    pub(super) fn negate(&self, value: Typed) -> Physical {
        self.wrap(expressions::not(value.expr))
    }

    /// A value that has to be true, false or NULL.
    pub(super) fn condition(&self, value: Typed, whose: &str) -> Physical {
        match value.data_type {
            DataType::Boolean => Ok(value),
            DataType::Null => self.fit(value, &DataType::Boolean),
            ref other => Err(ExpressionError::new(format!("{whose} needs a condition, found {}", word(other)))),
        }
    }

    fn is_bool(&self, inner: &Expr, truth: Option<bool>, op: Operator) -> Physical {
        let value = self.condition(self.expr(inner)?, "IS")?;
        self.plain(value, op, self.literal(ScalarValue::Boolean(truth))?)
    }

    pub(super) fn binary(&self, left: Typed, op: &BinaryOperator, right: Typed) -> Physical {
        let op = match op {
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::LtEq => Operator::LtEq,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::GtEq => Operator::GtEq,
            BinaryOperator::Spaceship => Operator::IsNotDistinctFrom,
            BinaryOperator::And | BinaryOperator::Or => {
                let op = if *op == BinaryOperator::And { Operator::And } else { Operator::Or };
                let (left, right) = (self.condition(left, &op.to_string())?, self.condition(right, &op.to_string())?);
                return self.plain(left, op, right);
            }
            BinaryOperator::StringConcat => return self.join(left, right),
            BinaryOperator::Plus => return self.arithmetic(left, Operator::Plus, right),
            BinaryOperator::Minus => return self.arithmetic(left, Operator::Minus, right),
            BinaryOperator::Multiply => return self.arithmetic(left, Operator::Multiply, right),
            BinaryOperator::Modulo => return self.arithmetic(left, Operator::Modulo, right),
            // Spark: `/` gives a double (decisions.md 46), `div` a bigint.
            BinaryOperator::Divide => return self.divide(left, right, &DataType::Float64),
            BinaryOperator::MyIntegerDivide => return self.divide(left, right, &DataType::Int64),
            other => return Err(ExpressionError::new(format!("the operator {other} is not supported here"))),
        };
        self.compare(left, op, right)
    }

    /// Both sides as they are.
    pub(super) fn plain(&self, left: Typed, op: Operator, right: Typed) -> Physical {
        let strict = self.casting == Casting::Strict;
        Typed::new(Arc::new(BinaryExpr::new(left.expr, op, right.expr).with_fail_on_overflow(strict)), self.schema)
    }

    pub(super) fn compare(&self, left: Typed, op: Operator, right: Typed) -> Physical {
        let Some(common) = coerce::compared(&left.data_type, &right.data_type) else {
            let (a, b) = (word(&left.data_type), word(&right.data_type));
            return Err(ExpressionError::new(format!("{a} and {b} cannot be compared; cast one of them")));
        };
        self.plain(self.fit(left, &common)?, op, self.fit(right, &common)?)
    }

    fn arithmetic(&self, left: Typed, op: Operator, right: Typed) -> Physical {
        let Some((a, b)) = coerce::arithmetic(&left.data_type, op, &right.data_type) else {
            let (a, b) = (word(&left.data_type), word(&right.data_type));
            return Err(ExpressionError::new(format!("{a} {op} {b} is not defined; cast one of them")));
        };
        let (left, mut right) = (self.fit(left, &a)?, self.fit(right, &b)?);
        if op == Operator::Modulo {
            right = self.null_if_zero(right)?;
        }
        self.plain(left, op, right)
    }

    /// A division by zero is NULL, as in Spark.
    fn divide(&self, left: Typed, right: Typed, as_type: &DataType) -> Physical {
        for side in [&left, &right] {
            if !(side.data_type.is_numeric() || coerce::is_text(&side.data_type) || side.data_type == DataType::Null) {
                return Err(ExpressionError::new(format!("{} cannot be divided or divide", word(&side.data_type))));
            }
        }
        let right = self.null_if_zero(self.fit(right, as_type)?)?;
        self.plain(self.fit(left, as_type)?, Operator::Divide, right)
    }

    fn null_if_zero(&self, value: Typed) -> Physical {
        let zero = self.literal(ScalarValue::from(0i64))?.cast(&value.data_type, Casting::Strict, self.schema)?;
        let nothing = self.literal(ScalarValue::Null)?.cast(&value.data_type, Casting::Strict, self.schema)?;
        let is_zero = self.plain(value.clone(), Operator::Eq, zero)?;
        self.case(vec![(is_zero, nothing)], Some(value))
    }

    /// Texts side by side; NULL makes NULL.
    pub(super) fn join(&self, left: Typed, right: Typed) -> Physical {
        let (left, right) = (self.fit(left, &DataType::Utf8)?, self.fit(right, &DataType::Utf8)?);
        self.plain(left, Operator::StringConcat, right)
    }

    pub(super) fn case(&self, branches: Vec<(Typed, Typed)>, otherwise: Option<Typed>) -> Physical {
        let mut common = otherwise.as_ref().map_or(DataType::Null, |e| e.data_type.clone());
        for (_, value) in &branches {
            common = coerce::united(&common, &value.data_type).ok_or_else(|| {
                ExpressionError::new(format!("the branches have no common type: {} and {}", word(&common), word(&value.data_type)))
            })?;
        }
        let mut whens = Vec::with_capacity(branches.len());
        for (condition, value) in branches {
            whens.push((condition.expr, self.fit(value, &common)?.expr));
        }
        let otherwise = otherwise.map(|e| self.fit(e, &common)).transpose()?;
        self.wrap(expressions::case(None, whens, otherwise.map(|e| e.expr)))
    }

    fn in_list(&self, value: &Expr, list: &[Expr], negated: bool) -> Physical {
        let value = self.expr(value)?;
        let items = list.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>, _>>()?;
        let mut common = value.data_type.clone();
        for item in &items {
            common = coerce::compared(&common, &item.data_type)
                .ok_or_else(|| ExpressionError::new(format!("{} is compared with {} in a list", word(&common), word(&item.data_type))))?;
        }
        let items = items.into_iter().map(|i| self.fit(i, &common).map(|i| i.expr)).collect::<Result<Vec<_>, _>>()?;
        self.wrap(expressions::in_list(self.fit(value, &common)?.expr, items, &negated, self.schema))
    }

    fn like(&self, value: &Expr, pattern: &Expr, negated: bool, fold: bool, escape: Option<&ValueWithSpan>) -> Physical {
        if escape.is_some_and(|e| !matches!(&e.value, Value::SingleQuotedString(c) if c == "\\")) {
            return Err(ExpressionError::new("only a backslash escapes in LIKE"));
        }
        let (value, pattern) = (self.fit(self.expr(value)?, &DataType::Utf8)?, self.fit(self.expr(pattern)?, &DataType::Utf8)?);
        self.wrap(expressions::like(negated, fold, value.expr, pattern.expr, self.schema))
    }

    pub(super) fn date_part(&self, part: &str, value: Typed) -> Physical {
        let value = if coerce::is_text(&value.data_type) {
            self.fit(value, &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None))?
        } else {
            value
        };
        self.call_named("date_part", vec![self.literal(ScalarValue::from(part.to_lowercase().as_str()))?, value])
    }

    pub(super) fn call_named(&self, name: &str, args: Vec<Typed>) -> Physical {
        self.call(functions::known(name), args)
    }

    /// Calls a function of the table, its arguments cast to what it takes.
    pub(super) fn call(&self, udf: Arc<ScalarUDF>, args: Vec<Typed>) -> Physical {
        let refuse = |e| ExpressionError::new(format!("{}: {}", udf.name(), short(&e)));
        let fields = args.iter().map(|a| a.expr.return_field(self.schema)).collect::<Result<Vec<_>, _>>().map_err(refuse)?;
        let wanted = fields_with_udf(&fields, udf.as_ref()).map_err(refuse)?;
        let mut fitted = Vec::with_capacity(args.len());
        for (arg, field) in args.into_iter().zip(&wanted) {
            fitted.push(self.fit(arg, field.data_type())?.expr);
        }
        let built = ScalarFunctionExpr::try_new(udf.clone(), fitted, self.schema, self.config.clone()).map_err(refuse)?;
        Typed::new(Arc::new(built), self.schema)
    }
}

pub(super) fn volatile(name: &str) -> ExpressionError {
    let name = name.to_lowercase();
    ExpressionError::new(format!("{name} is volatile: a replay would give other rows; use a column instead"))
}
