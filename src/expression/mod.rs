//! SQL scalar expressions over Arrow batches: `derive` of a contract and `where` of a rule.
//!
//! ```text
//!  text ─ parse ─▶ syntax tree ─ translate (names, types, functions) ─▶ physical expression
//! ```
//!
//! The dialect is Spark-like (decisions.md 46). Deliberately absent: subqueries, aggregates, window
//! functions and everything volatile, each refused by name (decisions.md 2).

mod calls;
mod coerce;
pub mod compile;
pub mod derive;
mod functions;
pub mod predicate;
mod syntax;
mod translate;
mod types;
