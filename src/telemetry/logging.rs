//! Log lines of a process: to standard error, as text or as one JSON object a line. Never a payload, never a secret.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

/// A word that is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no format of log lines; text or json")]
pub struct LogFormatError {
    text: String,
}

impl FromStr for LogFormat {
    type Err = LogFormatError;
    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(LogFormatError { text: text.to_owned() }),
        }
    }
}

/// Which lines are written: a level (`info`), or levels by module (`warn,lakegate::stage=debug`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    /// What an operator would ask about tomorrow.
    pub fn info() -> Self {
        Self("info".to_owned())
    }

    /// Only what somebody may have to act on.
    pub fn warn() -> Self {
        Self("warn".to_owned())
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that names no levels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no level of log lines: {detail}; error, warn, info, debug or trace, or MODULE=LEVEL separated by commas")]
pub struct LogLevelError {
    text: String,
    detail: String,
}

impl FromStr for LogLevel {
    type Err = LogLevelError;
    fn from_str(text: &str) -> Result<Self, LogLevelError> {
        let refused = |detail: String| LogLevelError { text: text.to_owned(), detail };
        if text.trim().is_empty() {
            return Err(refused("it is empty".to_owned()));
        }
        // A bare word that is no level would name a module.
        if let Some(word) = text.split(',').find(|w| !w.contains('=') && w.trim().parse::<tracing::Level>().is_err() && w.trim() != "off") {
            return Err(refused(format!("{word:?} is not known")));
        }
        EnvFilter::builder().parse(text).map_err(|e| refused(e.to_string()))?;
        Ok(Self(text.to_owned()))
    }
}

/// Begins writing log lines, once in a process; a second call changes nothing.
pub fn begin(level: &LogLevel, format: LogFormat) {
    let filter = EnvFilter::builder().parse_lossy(&level.0);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let begun = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    if begun.is_err() {
        tracing::debug!("log lines are written already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_formats_are_words() {
        for level in ["info", "WARN", "off", "warn,lakegate::stage=debug"] {
            assert!(level.parse::<LogLevel>().is_ok(), "{level}");
        }
        for level in ["", "loud", "info,loud", "lakegate=loud"] {
            let told = level.parse::<LogLevel>().unwrap_err().to_string();
            assert!(told.contains("error, warn, info"), "{told}");
        }
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
