//! What is seen from outside: progress now, metrics with the next issue.

pub mod progress;
