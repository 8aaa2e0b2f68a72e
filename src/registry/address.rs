//! How to reach a registry over HTTP: plain data, known to every build.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::domain::secret::Secret;
use crate::domain::time::Span;

/// Where a registry is, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Of one registry: tried in order, beginning with the one that answered last. Never empty.
    pub urls: Vec<BaseUrl>,
    pub credentials: Credentials,
    /// PEM file of the authorities that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    pub client: Option<ClientIdentity>,
    pub connect_timeout: Span,
    /// Of one request to one URL, its answer included.
    pub timeout: Span,
}

impl Address {
    pub fn new(urls: Vec<BaseUrl>) -> Self {
        Self { urls, credentials: Credentials::None, ca: None, client: None, connect_timeout: CONNECT_TIMEOUT, timeout: TIMEOUT }
    }
}

/// Long enough for a name to be resolved anew and a handshake over an ocean.
pub const CONNECT_TIMEOUT: Span = Span::from_secs(5);

/// A registry waits up to ten seconds for its own store before it answers.
pub const TIMEOUT: Span = Span::from_secs(15);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    None,
    Basic { user: String, password: Secret },
    Bearer(Secret),
}

/// Who this process is on a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM file of the certificate and those it is signed with.
    pub certificate: PathBuf,
    /// PEM.
    pub key: Secret,
}

/// `http://…` or `https://…` up to where the API begins: without credentials, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

/// A text is no such URL; the message never repeats what might be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    #[error("a registry's URL begins with http:// or https://")]
    Scheme,
    #[error("the URL names no host")]
    Host,
    #[error("a URL holds no credentials here; say user and password, or token")]
    Credentials,
    #[error("a registry's URL has no query, fragment or blank")]
    Rest,
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        let rest = ["http://", "https://"].iter().find_map(|s| text.strip_prefix(s)).ok_or(BaseUrlError::Scheme)?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.contains('@') {
            return Err(BaseUrlError::Credentials);
        }
        if host.is_empty() || host.starts_with(':') {
            return Err(BaseUrlError::Host);
        }
        if text.contains(|c: char| matches!(c, '?' | '#' | '\\') || c.is_whitespace() || c.is_control()) {
            return Err(BaseUrlError::Rest);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl BaseUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_are_addresses() {
        for (text, expected) in [
            ("http://h:8081", Ok("http://h:8081")),
            ("https://h/apis/ccompat/v7/", Ok("https://h/apis/ccompat/v7")),
            ("http://[::1]:8081", Ok("http://[::1]:8081")),
            ("h:8081", Err(BaseUrlError::Scheme)),
            ("ftp://h", Err(BaseUrlError::Scheme)),
            ("http://", Err(BaseUrlError::Host)),
            ("http://:8081", Err(BaseUrlError::Host)),
            ("http://u:hunter2@h", Err(BaseUrlError::Credentials)),
            ("http://h?a=b", Err(BaseUrlError::Rest)),
            ("http://h/a b", Err(BaseUrlError::Rest)),
        ] {
            let read = text.parse::<BaseUrl>();
            assert_eq!(read.as_ref().map(BaseUrl::as_str).map_err(|e| *e), expected, "{text}");
            assert!(read.err().is_none_or(|e| !e.to_string().contains("hunter2")));
        }
    }
}
