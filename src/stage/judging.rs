//! Judging rows by a contract's rules: shared by the check stage and by `lakegate check`.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::Schema;

use crate::contract::model::{Action as ContractAction, OnNotEvaluated as ContractPolicy};
use crate::domain::time::Timestamp;
use crate::expression::predicate::Predicate;
use crate::quality::evaluate::Evaluation;
use crate::quality::parser::parse;
use crate::quality::plan::{Plan, PredicateCompiler, RowPredicate};
use crate::quality::report::{Action, ObjectVerdict, OnNotEvaluated, Report};
use crate::quality::syntax::Ruleset;
use crate::stage::catalog::Dataset;
use crate::table::columns::OPERATIONAL;

/// Whether rules speak of this column: it is the data's own, not an operational one nor a kept original.
pub fn is_judged(column: &str) -> bool {
    !OPERATIONAL.contains(&column) && !column.ends_with("__raw") && column != crate::schema::read::RESCUED
}

/// `where` by the expressions of `derive`.
pub struct Sql;

impl RowPredicate for Predicate {
    fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, String> {
        Predicate::mask(self, batch).map_err(|e| e.to_string())
    }
}

impl PredicateCompiler for Sql {
    fn compile(&self, text: &str, schema: &Schema) -> Result<Box<dyn RowPredicate + Send + Sync>, String> {
        Ok(Box::new(Predicate::compile(text, schema).map_err(|e| e.to_string())?))
    }
}

/// Judges several objects at once, each by itself.
pub struct Judge {
    ruleset: Option<Ruleset>,
    default_action: Action,
    on_not_evaluated: OnNotEvaluated,
    now: Timestamp,
    objects: BTreeMap<usize, Option<Evaluation>>,
}
