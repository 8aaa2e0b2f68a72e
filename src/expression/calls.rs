//! Function calls: the table, and Spark's functions that are written out of others.

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{self, Literal};
use sqlparser::ast::{Function, FunctionArg, FunctionArgExpr, FunctionArguments};

use crate::expression::coerce::Typed;
use crate::expression::compile::ExpressionError;
use crate::expression::functions::{self, Meaning};
use crate::expression::translate::{Translator, volatile};

/// Characters a padded text may have.
const PAD_MAX: i64 = 4096;

type Physical = Result<Typed, ExpressionError>;

impl Translator<'_> {
    pub(super) fn function(&self, function: &Function) -> Physical {
        let name = function.name.to_string().replace('`', "").to_lowercase();
        if function.over.is_some() {
            return Err(ExpressionError::new(format!("{name} with OVER is a window function; an expression sees one row")));
        }
        let meaning = functions::meaning(&name);
        match meaning {
            Meaning::Volatile => return Err(volatile(&name)),
            Meaning::Aggregate => return Err(ExpressionError::new(format!("{name} is an aggregate; an expression sees one row"))),
            Meaning::Window => return Err(ExpressionError::new(format!("{name} is a window function; an expression sees one row"))),
            Meaning::Unknown => return Err(ExpressionError::new(format!("there is no function {name}"))),
            Meaning::Scalar(_) | Meaning::Special => {}
        }
        if function.filter.is_some() || function.null_treatment.is_some() || !function.within_group.is_empty() {
            return Err(ExpressionError::new(format!("{name} takes arguments only")));
        }
        let args = self.arguments(&name, &function.args)?;
        match meaning {
            Meaning::Scalar(udf) => self.call(udf, args),
            _ => self.special(&name, args),
        }
    }

    fn arguments(&self, name: &str, args: &FunctionArguments) -> Result<Vec<Typed>, ExpressionError> {
        let list = match args {
            FunctionArguments::None => return Ok(Vec::new()),
            FunctionArguments::Subquery(_) => return Err(ExpressionError::new("a subquery cannot stand in an expression over one row")),
            FunctionArguments::List(list) => list,
        };
        if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return Err(ExpressionError::new(format!("{name} takes plain arguments only")));
        }
        let mut typed = Vec::with_capacity(list.args.len());
        for arg in &list.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => typed.push(self.expr(e)?),
                _ => return Err(ExpressionError::new(format!("{name} takes plain arguments only"))),
            }
        }
        Ok(typed)
    }

    fn special(&self, name: &str, args: Vec<Typed>) -> Physical {
        match name {
            "coalesce" | "ifnull" | "nvl" if !args.is_empty() => self.coalesce(args),
            "concat" if !args.is_empty() => {
                let mut all = args.into_iter();
                let first = all.next().ok_or_else(|| arity(name))?;
                let first = self.fit(first, &DataType::Utf8)?;
                all.try_fold(first, |joined, next| self.join(joined, next))
            }
            "nvl2" => {
                let [a, b, c] = exactly(name, args)?;
                let present = self.wrap(expressions::is_not_null(a.expr))?;
                self.case(vec![(present, b)], Some(c))
            }
            "if" | "iff" => {
                let [a, b, c] = exactly(name, args)?;
                self.case(vec![(self.condition(a, "if")?, b)], Some(c))
            }
            "nullif" => {
                let [a, b] = exactly(name, args)?;
                let same = self.compare(a.clone(), Operator::Eq, b)?;
                let nothing = self.literal(ScalarValue::Null)?;
                self.case(vec![(same, nothing)], Some(a))
            }
            "isnull" => {
                let [a] = exactly(name, args)?;
                self.wrap(expressions::is_null(a.expr))
            }
            "isnotnull" => {
                let [a] = exactly(name, args)?;
                self.wrap(expressions::is_not_null(a.expr))
            }
            "negative" => {
                let [a] = exactly(name, args)?;
                self.minus(a)
            }
            "substr" | "substring" => self.substring(args),
            // A width taken from a row could ask for gigabytes.
            "lpad" | "rpad" => match args.get(1).and_then(|w| w.expr.downcast_ref::<Literal>()).map(Literal::value) {
                Some(ScalarValue::Int64(Some(0..=PAD_MAX))) => self.call_named(name, args),
                _ => Err(ExpressionError::new(format!("the width of {name} is a number from 0 to {PAD_MAX}"))),
            },
            "regexp_replace" => {
                let [text, pattern, with] = exactly(name, args)?;
                let all = self.literal(ScalarValue::from("g"))?;
                self.call(functions::known("regexp_replace"), vec![text, pattern, with, all])
            }
            "year" | "month" | "day" | "dayofmonth" | "hour" | "minute" | "second" | "quarter" => {
                let [a] = exactly(name, args)?;
                self.date_part(if name == "dayofmonth" { "day" } else { name }, a)
            }
            "date_add" | "date_sub" => {
                let [date, days] = exactly(name, args)?;
                let op = if name == "date_add" { Operator::Plus } else { Operator::Minus };
                let moved = self.plain(self.days(date)?, op, self.fit(days, &DataType::Int32)?)?;
                self.fit(moved, &DataType::Date32)
            }
            "datediff" => {
                let [to, from] = exactly(name, args)?;
                self.plain(self.days(to)?, Operator::Minus, self.days(from)?)
            }
            _ => Err(arity(name)),
        }
    }

    /// Days since 1970 of a date, a timestamp or a text that is one.
    fn days(&self, value: Typed) -> Physical {
        let date = self.fit(value, &DataType::Date32)?;
        self.fit(date, &DataType::Int32)
    }

    fn coalesce(&self, args: Vec<Typed>) -> Physical {
        let mut branches = Vec::with_capacity(args.len());
        let mut all = args;
        let last = all.pop();
        for value in all {
            branches.push((self.wrap(expressions::is_not_null(value.expr.clone()))?, value));
        }
        match (branches.is_empty(), last) {
            (true, Some(only)) => Ok(only),
            (_, last) => self.case(branches, last),
        }
    }

    /// Spark counts from 1, takes 0 for 1, and counts a literal negative start from the end.
    pub(super) fn substring(&self, mut args: Vec<Typed>) -> Physical {
        if !(2..=3).contains(&args.len()) {
            return Err(arity("substring"));
        }
        args[0] = self.fit(args[0].clone(), &DataType::Utf8)?;
        let start = args[1].expr.downcast_ref::<Literal>().map(|l| l.value().clone());
        match start {
            Some(ScalarValue::Int64(Some(0))) => args[1] = self.literal(ScalarValue::from(1i64))?,
            Some(ScalarValue::Int64(Some(n))) if n < 0 => {
                let count = self.literal(ScalarValue::from(n.saturating_neg()))?;
                let length = args.get(2).cloned();
                let tail = self.call_named("right", vec![args.swap_remove(0), count])?;
                return match length {
                    Some(length) => self.call_named("left", vec![tail, length]),
                    None => Ok(tail),
                };
            }
            _ => {}
        }
        self.call(functions::known("substr"), args)
    }
}

fn arity(name: &str) -> ExpressionError {
    ExpressionError::new(format!("{name} has the wrong number of arguments"))
}

fn exactly<const N: usize>(name: &str, args: Vec<Typed>) -> Result<[Typed; N], ExpressionError> {
    let found = args.len();
    args.try_into().map_err(|_| ExpressionError::new(format!("{name} takes {N} argument(s), found {found}")))
}
