//! Exit codes (decisions.md, "Words").

use std::process::ExitCode;

pub const OK: u8 = 0;
/// `run`: a stage halted.
pub const HALTED: u8 = 1;
/// `run --until-idle`: something was quarantined.
pub const QUARANTINED: u8 = 3;
/// Usage or configuration.
pub const USAGE: u8 = 64;
/// Internal failure.
pub const INTERNAL: u8 = 70;
/// Store, broker or registry unreachable.
pub const UNREACHABLE: u8 = 75;

/// Prints an error with its causes and gives the code.
pub fn report(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("lakegate: {error:#}");
    code.into()
}
