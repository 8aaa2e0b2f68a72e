//! Settings of a process: one TOML file, the environment, flags; later ones win.
//!
//! ```text
//! lakegate.toml ─ file ─┐
//! LAKEGATE__…  ─────────┼─ overlay ─▶ tree of values with origins ─ section ─▶ settings ─▶ app::wiring::Options
//! flags        ─────────┘                                            └─ every fault: problem
//! ```
//! A section is read by a function of [`settings`] that takes its keys one by one from a
//! [`section::Section`]; whatever nobody took is refused, with the nearest known key. Adding a
//! section is adding such a function. Deliberately absent: reading the environment or a file that
//! nobody named (both are handed in), and any use of `Settings` below this floor.

pub mod file;
pub mod kafka;
pub mod overlay;
pub mod problem;
pub mod registry;
pub mod s3;
pub mod secret;
pub mod section;
pub mod settings;
pub mod sources;

#[cfg(test)]
mod tests;
