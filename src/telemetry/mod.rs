//! What is seen from outside: log lines, and how far each stage is.

pub mod logging;
pub mod progress;
