//! The dataset contract: everything that differs between datasets (contract.md).
//!
//! Text goes through [`tree`] (YAML with positions), [`parse`] (all faults at once) and [`lint`]
//! (what no single key can tell) into [`model::Contract`]. Deliberately absent: reading files, the
//! pattern language, DQDL and the layout's grammar, which belong to their own rooms.

pub mod canonical;
pub mod fault;
pub mod fields;
pub mod json_schema;
pub mod keys;
pub mod lint;
pub mod model;
pub mod parse;
pub mod sections;
pub mod tree;
mod unbuilt;
pub mod words;
