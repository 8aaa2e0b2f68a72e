//! `transform.derive`: columns added or replaced, in order; only offending rows are marked.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::expression::compile::{EvaluateError, Expression, ExpressionError};
use crate::expression::syntax;

/// A row whose expression errs; its reason is `derive_failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeriveFailed {
    /// Row of the batch, from 0.
    pub row_idx: usize,
    pub column: String,
    /// What is wrong with the value, for a person. It may quote the value.
    pub detail: String,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct Derived {
    /// As many rows as before; a derived value that failed is NULL here.
    pub batch: RecordBatch,
    /// By column, then by row; a row may stand here once per column.
    pub failed: Vec<DeriveFailed>,
}

/// One expression of `derive` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("derive.{column}: {source}")]
pub struct DeriveError {
    pub column: String,
    #[source]
    pub source: ExpressionError,
}

/// Compiled `derive` expressions; a later one sees the columns of the earlier ones.
#[derive(Debug, Clone)]
pub struct Derive {
    steps: Vec<Step>,
    schema: SchemaRef,
}

#[derive(Debug, Clone)]
struct Step {
    column: String,
    expression: Expression,
    /// Schema after the step; the column stands at `index`.
    schema: SchemaRef,
    index: usize,
}

impl Derive {
    /// Compiles (column, expression) pairs in order. A column that exists is replaced in its place.
    ///
    /// # Errors
    /// All refused expressions at once. A refused column keeps its old form for the later ones.
    pub fn compile(columns: &[(String, String)], schema: &Schema) -> Result<Self, Vec<DeriveError>> {
        let mut at: SchemaRef = Arc::new(schema.clone());
        let (mut steps, mut errors) = (Vec::with_capacity(columns.len()), Vec::new());
        for (column, text) in columns {
            match Expression::compile(text, &at) {
                Ok(expression) => {
                    let field = Arc::new(Field::new(column, expression.data_type().clone(), true));
                    let mut fields: Vec<_> = at.fields().iter().cloned().collect();
                    let index = fields.iter().position(|f| f.name() == column).unwrap_or(fields.len());
                    if index < fields.len() {
                        fields[index] = field
                    } else {
                        fields.push(field)
                    }
                    at = Arc::new(Schema::new_with_metadata(fields, at.metadata().clone()));
                    steps.push(Step { column: column.clone(), expression, schema: at.clone(), index });
                }
                Err(source) => errors.push(DeriveError { column: column.clone(), source }),
            }
        }
        if errors.is_empty() { Ok(Self { steps, schema: at }) } else { Err(errors) }
    }

    /// What is wrong with the expressions whatever the columns are.
    ///
    /// # Errors
    /// All that are not one expression each.
    pub fn parse(columns: &[(String, String)]) -> Result<(), Vec<DeriveError>> {
        let refused = |(column, text): &(String, String)| {
            let source = syntax::parse(text).err()?;
            Some(DeriveError { column: column.clone(), source })
        };
        let errors: Vec<DeriveError> = columns.iter().filter_map(refused).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Schema of every derived batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Derives all columns of a batch.
    ///
    /// # Errors
    /// Only when the batch has another schema than the one compiled for; bad values are no error.
    pub fn apply(&self, batch: &RecordBatch) -> Result<Derived, EvaluateError> {
        let (mut batch, mut failed) = (batch.clone(), Vec::new());
        for step in &self.steps {
            let mut pieces: Vec<ArrayRef> = Vec::new();
            step.evaluate(&batch, 0, &mut pieces, &mut failed)?;
            let column = match pieces.as_slice() {
                [whole] => whole.clone(),
                _ => {
                    let parts: Vec<_> = pieces.iter().map(AsRef::as_ref).collect();
                    concat(&parts).map_err(|e| EvaluateError::Schema { message: e.to_string() })?
                }
            };
            let mut columns = batch.columns().to_vec();
            if step.index < columns.len() {
                columns[step.index] = column
            } else {
                columns.push(column)
            }
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            batch = RecordBatch::try_new_with_options(step.schema.clone(), columns, &options)
                .map_err(|e| EvaluateError::Schema { message: e.to_string() })?;
        }
        Ok(Derived { batch, failed })
    }
}

impl Step {
    /// Whole first; on an error by halves, down to the rows that err. A few bad rows cost a few
    /// logarithms, not one evaluation per row.
    fn evaluate(
        &self,
        batch: &RecordBatch,
        first_row: usize,
        pieces: &mut Vec<ArrayRef>,
        failed: &mut Vec<DeriveFailed>,
    ) -> Result<(), EvaluateError> {
        match self.expression.evaluate(batch) {
            Ok(array) => pieces.push(array),
            Err(EvaluateError::Value { message }) if batch.num_rows() <= 1 => {
                pieces.push(new_null_array(self.expression.data_type(), batch.num_rows()));
                if batch.num_rows() == 1 {
                    failed.push(DeriveFailed { row_idx: first_row, column: self.column.clone(), detail: message });
                }
            }
            Err(EvaluateError::Value { .. }) => {
                let half = batch.num_rows() / 2;
                self.evaluate(&batch.slice(0, half), first_row, pieces, failed)?;
                self.evaluate(&batch.slice(half, batch.num_rows() - half), first_row + half, pieces, failed)?;
            }
            Err(schema) => return Err(schema),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
