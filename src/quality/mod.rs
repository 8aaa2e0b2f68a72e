//! DQDL, the rules language of AWS Glue: text to tree, tree to plan, one pass over an object's rows to a report.
//!
//! ```text
//!  text ─lexer▸ tokens ─parser▸ Ruleset ─Plan::compile▸ Plan ─Evaluation::push*▸ finish ▸ Report ─verdict▸ ObjectVerdict
//! ```
//!
//! Deliberately absent: a SQL engine (`where` comes through [`plan::PredicateCompiler`]), history, files and
//! other data sets; rules that need them are reported as not evaluated, with the reason.

pub mod batch;
pub mod catalog;
pub mod columns;
pub mod condition;
pub mod datatype;
pub mod evaluate;
pub mod judge;
pub mod lexer;
pub mod lint;
pub mod measure;
pub mod parser;
pub mod pattern;
pub mod plan;
pub mod print;
pub mod report;
pub mod rows;
pub mod syntax;
