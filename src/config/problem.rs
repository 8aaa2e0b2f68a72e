//! What is wrong with a setting, where it was said, and what to do about it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// Lines count from 1.
    File {
        file: Arc<str>,
        line: usize,
    },
    Environment {
        variable: String,
    },
    Flag {
        flag: &'static str,
    },
    /// Nobody said it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, line } => write!(f, "{file}:{line}"),
            Origin::Environment { variable } => f.write_str(variable),
            Origin::Flag { flag } => f.write_str(flag),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// One fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `None`: the value was said nowhere.
    pub origin: Option<Origin>,
    /// Such as `log.retention` or `source[0].url`; empty for the file as a whole.
    pub key: String,
    pub message: String,
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// All faults of a configuration, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems {
    pub list: Vec<Problem>,
}
