//! `[registry]`: a schema registry over HTTP; without a URL the one in the lake.

use std::path::PathBuf;

use super::file::{Entry, Value};
use super::section::{List, Reading, Refused, Section, list, parsed, span, text};
use crate::registry::address::{Address, BaseUrl, CONNECT_TIMEOUT, ClientIdentity, Credentials, TIMEOUT};

pub const SECTION: &str = "registry";

/// Where the registry is; `None`: in the lake.
pub fn read(root: &[Entry], reading: &mut Reading) -> Option<Address> {
    let mut section = Section::open(root, SECTION, reading);
    let urls = section.optional("url", reading, one_or_more);
    section.pair(["user", "password"], reading);
    section.pair(["client_cert", "client_key"], reading);
    if section.place("user").is_some() {
        section.refuse_key("token", "a user is said, too", "say user and password, or token", reading);
    }
    let user = section.optional("user", reading, text);
    let password = section.secret("password", reading);
    let token = section.secret("token", reading);
    let ca = section.optional("ca", reading, text).map(|p| PathBuf::from(p.value));
    let certificate = section.optional("client_cert", reading, text).map(|p| PathBuf::from(p.value));
    let key = section.secret("client_key", reading);
    let connect_timeout = section.or("connect_timeout", CONNECT_TIMEOUT, reading, span);
    let timeout = section.or("timeout", TIMEOUT, reading, span);
    section.finish(reading);
    let credentials = match (user.zip(password), token) {
        (Some((user, password)), _) => Credentials::Basic { user: user.value, password },
        (None, Some(token)) => Credentials::Bearer(token),
        (None, None) => Credentials::None,
    };
    let client = certificate.zip(key).map(|(certificate, key)| ClientIdentity { certificate, key });
    Some(Address { urls: urls?.value.0, credentials, ca, client, connect_timeout, timeout })
}

/// One URL is a list of one.
fn one_or_more(value: &Value) -> Result<List<BaseUrl>, Refused> {
    match value {
        Value::Text(_) => parsed(value).map(|url| List(vec![url])),
        other => list(other),
    }
}
