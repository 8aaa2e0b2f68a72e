//! Conditions: `where` of a rule. NULL is not true, so such a row is filtered.

use arrow::array::{Array, BooleanArray};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;

use crate::expression::coerce::Casting;
use crate::expression::compile::{EvaluateError, Expression, ExpressionError};
use crate::expression::types::word;

/// A compiled condition. What cannot be cast is NULL in it (decisions.md 45).
#[derive(Debug, Clone)]
pub struct Predicate(Expression);

impl Predicate {
    /// # Errors
    /// As [`Expression::compile`], and when the expression is no condition.
    pub fn compile(text: &str, schema: &Schema) -> Result<Self, ExpressionError> {
        let expression = Expression::compile_with(text, schema, Casting::Lenient)?;
        match expression.data_type() {
            DataType::Boolean => Ok(Self(expression)),
            other => Err(ExpressionError::new(format!("a condition is true or false, this is {}", word(other)))),
        }
    }

    /// One bit per row, without nulls: true where the row counts.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, EvaluateError> {
        let array = self.0.evaluate(batch)?;
        let Some(bits) = array.as_any().downcast_ref::<BooleanArray>() else {
            return Err(EvaluateError::Schema { message: format!("a condition answered {}", word(array.data_type())) });
        };
        Ok(if bits.null_count() > 0 { prep_null_mask_filter(bits) } else { bits.clone() })
    }
}
