//! Implicit casts, as Spark makes them: a text compared with a number is read as a number.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion_expr::Operator;
use datafusion_expr::type_coercion::binary::{BinaryTypeCoercer, comparison_coercion, type_union_coercion};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{cast, try_cast};

use crate::expression::compile::ExpressionError;
use crate::expression::types::{short, word};

/// What a value that cannot be cast becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Casting {
    /// An error of its row (`derive`).
    Strict,
    /// NULL (`where`, decisions.md 45).
    Lenient,
}

/// An expression under construction and its type.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub expr: Arc<dyn PhysicalExpr>,
    pub data_type: DataType,
}

impl Typed {
    pub(super) fn new(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Self, ExpressionError> {
        let data_type = expr.data_type(schema).map_err(|e| ExpressionError::new(short(&e)))?;
        Ok(Self { expr, data_type })
    }

    pub(super) fn cast(self, target: &DataType, casting: Casting, schema: &Schema) -> Result<Self, ExpressionError> {
        if self.data_type == *target {
            return Ok(self);
        }
        let cannot = |_| ExpressionError::new(format!("{} cannot become {}", word(&self.data_type), word(target)));
        let expr = match casting {
            Casting::Strict => cast(self.expr, schema, target.clone()),
            Casting::Lenient => try_cast(self.expr, schema, target.clone()),
        };
        Ok(Self { expr: expr.map_err(cannot)?, data_type: target.clone() })
    }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Common type of two compared values.
pub(super) fn compared(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (a, b) if a == b => Some(a.clone()),
        (DataType::Null, b) => Some(b.clone()),
        (a, DataType::Null) => Some(a.clone()),
        (text, other) | (other, text) if is_text(text) && !is_text(other) => match other {
            n if n.is_numeric() => Some(DataType::Float64),
            DataType::Boolean => Some(DataType::Boolean),
            t if t.is_temporal() => Some(t.clone()),
            DataType::Dictionary(..) => comparison_coercion(left, right),
            _ => None,
        },
        (DataType::Boolean, n) | (n, DataType::Boolean) if n.is_numeric() => None,
        (a, b) => comparison_coercion(a, b),
    }
}

/// Common type of the branches of a CASE.
pub(super) fn united(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (a, b) if a == b => Some(a.clone()),
        (DataType::Null, b) => Some(b.clone()),
        (a, DataType::Null) => Some(a.clone()),
        (a, b) => type_union_coercion(a, b),
    }
}

/// Types the two sides of `+`, `-`, `*` or `%` are cast to; texts are read as doubles.
pub(super) fn arithmetic(left: &DataType, op: Operator, right: &DataType) -> Option<(DataType, DataType)> {
    let as_number = |d: &DataType, other: &DataType| match d {
        t if is_text(t) && !other.is_temporal() => DataType::Float64,
        DataType::Null if other.is_numeric() => other.clone(),
        d => d.clone(),
    };
    let (left, right) = (as_number(left, right), as_number(right, left));
    if left == DataType::Boolean || right == DataType::Boolean {
        return None;
    }
    BinaryTypeCoercer::new(&left, &op, &right).get_input_types().ok()
}
