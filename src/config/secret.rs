//! Where secrets stand: they are said by reference only.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::domain::secret::Secret;

/// Longest file a secret is read from, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where a secret stands: `env:NAME` or `file:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    Variable(String),
    File(PathBuf),
}

/// A secret could not be had; the message never repeats what might be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("a secret is said by reference; write env:NAME or file:PATH")]
    Literal,
    #[error("the variable {name} is not set")]
    Unset { name: String },
    #[error("{path}: {detail}")]
    File { path: String, detail: String },
    #[error("{place} holds no text")]
    Empty { place: String },
}

impl FromStr for SecretRef {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Variable(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(path.into())),
            _ => Err(SecretError::Literal),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Variable(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl SecretRef {
    /// Fetches the secret; line breaks at the end of a file are not part of it.
    ///
    /// # Errors
    /// When the variable or file is not there, too large, not text, or empty.
    pub fn resolve(&self, environment: &BTreeMap<String, String>) -> Result<Secret, SecretError> {
        let text = match self {
            SecretRef::Variable(name) => environment.get(name).cloned().ok_or_else(|| SecretError::Unset { name: name.clone() })?,
            SecretRef::File(path) => {
                let failed = |detail: String| SecretError::File { path: path.display().to_string(), detail };
                let bytes = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
                if bytes > FILE_BYTES_MAX {
                    return Err(failed(format!("{bytes} bytes; a secret has at most {FILE_BYTES_MAX}")));
                }
                let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
                text.trim_end_matches(['\n', '\r']).to_owned()
            }
        };
        if text.is_empty() {
            return Err(SecretError::Empty { place: self.to_string() });
        }
        Ok(Secret::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_fetched_by_reference_and_prints_as_stars() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hunter2\r\n").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let environment = BTreeMap::from([("PASSWORD".to_owned(), "hunter2".to_owned())]);
        for reference in ["env:PASSWORD".to_owned(), format!("file:{}", path.display())] {
            let secret = reference.parse::<SecretRef>().unwrap().resolve(&environment).unwrap();
            assert_eq!(secret.expose(), "hunter2");
            assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        }
        let resolve = |text: &str| text.parse::<SecretRef>().and_then(|r| r.resolve(&environment)).unwrap_err();
        assert_eq!(resolve("env:OTHER"), SecretError::Unset { name: "OTHER".into() });
        assert!(matches!(resolve(&format!("file:{}", folder.path().join("none").display())), SecretError::File { .. }));
        assert!(matches!(resolve(&format!("file:{}", folder.path().join("empty").display())), SecretError::Empty { .. }));
    }

    #[test]
    fn a_literal_secret_is_refused_without_repeating_it() {
        for literal in ["hunter2", "env:", "file:", "https://u:hunter2@h", ""] {
            let error = literal.parse::<SecretRef>().unwrap_err();
            assert_eq!(error, SecretError::Literal);
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
