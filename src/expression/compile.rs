//! One expression: compiled once against a schema, evaluated per batch.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr::PhysicalExpr;

use crate::expression::coerce::Casting;
use crate::expression::translate::Translator;
use crate::expression::{syntax, types};

/// Bytes of one expression.
pub const TEXT_MAX: usize = 16 << 10;

/// Where in the expression's text something stands, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

/// An expression was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    pub message: String,
    /// `None`: the expression as a whole.
    pub place: Option<Place>,
}

impl ExpressionError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None }
    }

    pub(super) fn at(mut self, place: Option<Place>) -> Self {
        self.place = self.place.or(place);
        self
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(Place { line: 1, column }) => write!(f, "{} (at character {column})", self.message),
            Some(Place { line, column }) => write!(f, "{} (at line {line}, character {column})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ExpressionError {}

/// A batch could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// A value of some row: a cast that does not hold, an overflow.
    #[error("{message}")]
    Value { message: String },
    #[error("the batch does not have the schema the expression was compiled for: {message}")]
    Schema { message: String },
}

/// A compiled expression. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Expression {
    physical: Arc<dyn PhysicalExpr>,
    data_type: DataType,
    schema: SchemaRef,
}

impl Expression {
    /// Compiles `text` against the columns of `schema`. A cast that does not hold and an integer
    /// overflow are errors of their row; a division by zero is NULL, as in Spark.
    ///
    /// # Errors
    /// Syntax, unknown names, types that do not fit, and everything that is no row expression.
    pub fn compile(text: &str, schema: &Schema) -> Result<Self, ExpressionError> {
        Self::compile_with(text, schema, Casting::Strict)
    }

    pub(super) fn compile_with(text: &str, schema: &Schema, casting: Casting) -> Result<Self, ExpressionError> {
        let tree = syntax::parse(text)?;
        let (physical, data_type) = Translator::new(schema, casting).whole(&tree)?;
        if data_type == DataType::Null {
            return Err(ExpressionError::new("the expression is always NULL and has no type; write cast(null as string)"));
        }
        Ok(Self { physical, data_type, schema: Arc::new(schema.clone()) })
    }

    /// Type of every array that [`Expression::evaluate`] answers.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// One value per row of the batch.
    ///
    /// # Errors
    /// `Value` when some row errs; which one is found by [`crate::expression::derive::Derive`].
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, EvaluateError> {
        let given = batch.schema();
        let alike = given.fields().len() == self.schema.fields().len()
            && given.fields().iter().zip(self.schema.fields()).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if !alike {
            let names = |s: &Schema| {
                s.fields().iter().map(|f| format!("{} {}", f.name(), types::word(f.data_type()))).collect::<Vec<_>>().join(", ")
            };
            return Err(EvaluateError::Schema { message: format!("[{}] instead of [{}]", names(&given), names(&self.schema)) });
        }
        let value = self.physical.evaluate(batch).and_then(|v| v.into_array(batch.num_rows()));
        match value {
            Ok(array) if array.len() == batch.num_rows() => Ok(array),
            Ok(array) => Err(EvaluateError::Schema { message: format!("{} values for {} rows", array.len(), batch.num_rows()) }),
            Err(e) => Err(EvaluateError::Value { message: types::short(&e) }),
        }
    }
}

#[cfg(test)]
mod tests;
