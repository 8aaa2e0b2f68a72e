//! Published tables: their columns, hive partitions and Parquet files.
//!
//! Pure over readers and writers handed in. Deliberately absent: where a file lies.

pub mod columns;
mod encoding;
pub mod footer;
pub mod parquet;
pub mod partition;
pub mod rewrite;
