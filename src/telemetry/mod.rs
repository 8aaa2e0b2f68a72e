//! What is seen from outside: log lines, how far each stage is, metrics and health.

pub mod fact;
pub mod family;
pub mod health;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod progress;
