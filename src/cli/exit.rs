//! Exit codes, all of them in one place: scripts rely on them (decisions.md, "Words").

use std::process::ExitCode;

use crate::app::contracts::ReadError;
use crate::app::sources::SourceError;
use crate::app::wiring::StartError;
use crate::broker::{CommitError, LogError, embedded};
use crate::lake::{is_denied, url};
use crate::registry::RegistryError;

/// Accepted, understood, matched, compatible, all published or registered.
pub const OK: u8 = 0;
/// `run`: a stage halted.
pub const HALTED: u8 = 1;
/// `check`: accepted, with drift.
pub const DRIFT: u8 = 1;
/// `events parse`: some records could not be read.
pub const SOME_FAILED: u8 = 1;
/// `route`: no match. `schema compatible`: it is not. `… show`: there is no such thing.
pub const NO: u8 = 1;
/// `events parse`: nothing could be read. `events order`: incomparable. `route`, `schema`, `contract lint`, `check`: the input was refused.
pub const REFUSED: u8 = 2;
/// `run --until-idle`: something was quarantined.
pub const QUARANTINED: u8 = 3;
/// Everywhere: the command line, a file it names or the configuration is at fault.
pub const USAGE: u8 = 64;
/// Everywhere: a promise of our own is broken.
pub const INTERNAL: u8 = 70;
/// Everywhere: a store, the broker or the registry does not answer.
pub const UNREACHABLE: u8 = 75;

/// Prints an error with its causes and gives the code.
pub fn report(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("lakegate: {error:#}");
    code.into()
}

/// The caller is at fault: the command line, a file it names, or the configuration. Exit code 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A store, the broker, the registry or a running process did not answer. Exit code 75.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// Contracts that could not be loaded: their faults are the caller's, a store that does not answer is not.
pub fn blame(error: ReadError) -> anyhow::Error {
    match error {
        ReadError::Faults(faults) => Usage(faults.to_string()).into(),
        ReadError::Open(e) => e.into(),
        other => other.into(),
    }
}

/// What a process or command could not be opened with: the caller's fault, or somebody who does not answer.
pub fn of_start(error: StartError) -> anyhow::Error {
    let code = code_of_start(&error);
    let error = anyhow::Error::new(error);
    match code {
        UNREACHABLE => anyhow::Error::new(Unreachable(format!("{error:#}"))),
        _ => anyhow::Error::new(Usage(format!("{error:#}"))),
    }
}

/// Whose fault it is that nothing started.
pub fn code_of_start(error: &StartError) -> u8 {
    match error {
        StartError::Registry(RegistryError::Denied { .. } | RegistryError::NoRegistry { .. }) => USAGE,
        StartError::Probe { source, .. } if source.is_lasting() => USAGE,
        StartError::Source(SourceError::Reach { source, .. }) if !is_denied(source) => UNREACHABLE,
        StartError::Registry(_)
        | StartError::Store(_)
        | StartError::Probe { .. }
        | StartError::Identity { .. }
        | StartError::Contracts(ReadError::Store { .. })
        | StartError::Log(LogError::Unreachable { .. }) => UNREACHABLE,
        _ => USAGE,
    }
}

/// The exit code of an error: decided by the first cause that says what it is, else 70.
pub fn code_of(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of_cause).unwrap_or(INTERNAL)
}

fn code_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if cause.is::<Usage>() {
        return Some(USAGE);
    }
    if cause.is::<Unreachable>() {
        return Some(UNREACHABLE);
    }
    if let Some(error) = cause.downcast_ref::<LogError>() {
        return matches!(error, LogError::Unreachable { .. }).then_some(UNREACHABLE);
    }
    if let Some(error) = cause.downcast_ref::<CommitError>() {
        return matches!(error, CommitError::Aborted { .. } | CommitError::Unknown { .. }).then_some(UNREACHABLE);
    }
    if let Some(error) = cause.downcast_ref::<embedded::OpenError>() {
        return Some(match error {
            embedded::OpenError::Claim(_) => USAGE,
            embedded::OpenError::Log { .. } => INTERNAL,
        });
    }
    if let Some(error) = cause.downcast_ref::<url::OpenError>() {
        return Some(match error {
            url::OpenError::Store { .. } => UNREACHABLE,
            url::OpenError::FileUrl { .. } | url::OpenError::Missing { .. } | url::OpenError::Scheme { .. } | url::OpenError::S3 { .. } => {
                USAGE
            }
        });
    }
    if let Some(error) = cause.downcast_ref::<RegistryError>() {
        return match error {
            RegistryError::Unreachable { .. } => Some(UNREACHABLE),
            RegistryError::Denied { .. } | RegistryError::NoRegistry { .. } => Some(USAGE),
            _ => None,
        };
    }
    cause.is::<object_store::Error>().then_some(UNREACHABLE)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn errors_exit_with_the_code_of_who_is_at_fault() {
        let log = |e: LogError| anyhow::Error::new(e);
        let cases = [
            (anyhow::Error::new(Usage("x".into())), 64),
            (anyhow::Error::new(Usage("x".into())).context("while reading y"), 64),
            (anyhow::anyhow!("broken"), 70),
            (log(LogError::Unreachable { detail: String::new() }), 75),
            (log(LogError::Fenced), 70),
            (anyhow::Error::new(embedded::OpenError::Claim(crate::claim::ClaimError::InUse { folder: "s".into() })), 64),
            (anyhow::Error::new(object_store::Error::NotImplemented { operation: "o".into(), implementer: "i".into() }), 75),
        ];
        for (error, code) in cases {
            assert_eq!(code_of(&error), code, "{error:#}");
        }
        let nested: anyhow::Result<()> = Err(Unreachable("no".into())).context("outer");
        assert_eq!(code_of(&nested.unwrap_err()), UNREACHABLE);
    }
}
