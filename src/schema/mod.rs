//! Shapes, casts and drift (drift.md): what a file looks like against what is registered.
//!
//! Pure: no registry is asked here. Errors and findings are values.

pub mod options;
