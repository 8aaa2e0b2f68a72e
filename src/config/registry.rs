//! `[registry]`: a schema registry over HTTP; without a URL the one in the lake.

use std::path::PathBuf;

use super::file::{Entry, Value};
use super::problem::{Origin, Problem};
use super::section::{List, Reading, Refused, Section, list, parsed, span, text};
use crate::registry::address::{Address, BaseUrl, CONNECT_TIMEOUT, ClientIdentity, Credentials, TIMEOUT};

pub const SECTION: &str = "registry";

/// Where the registry is; `None`: in the lake.
pub fn read(root: &[Entry], reading: &mut Reading) -> Option<Address> {
    let mut section = Section::open(root, SECTION, reading);
    let urls = section.optional("url", reading, one_or_more);
    pair(&mut section, ["user", "password"], "say both user and password, or neither", reading);
    pair(&mut section, ["client_cert", "client_key"], "say both client_cert and client_key, or neither", reading);
    if let (Some(_), Some(token)) = (origin(&mut section, "user", reading), origin(&mut section, "token", reading)) {
        refuse(&section, "token", token, "a user is said, too", "say user and password, or token", reading);
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

/// Where a key was said, whatever its value is.
fn origin(section: &mut Section<'_>, key: &'static str, reading: &mut Reading) -> Option<Origin> {
    section.said(key, reading, |_| Ok(())).map(|said| said.origin)
}

/// Refuses one of two keys that is said without the other.
fn pair(section: &mut Section<'_>, keys: [&'static str; 2], remedy: &str, reading: &mut Reading) {
    let [one, other] = keys;
    match (origin(section, one, reading), origin(section, other, reading)) {
        (Some(origin), None) => refuse(section, one, origin, &format!("{other} is missing"), remedy, reading),
        (None, Some(origin)) => refuse(section, other, origin, &format!("{one} is missing"), remedy, reading),
        _ => {}
    }
}

fn refuse(section: &Section<'_>, key: &str, origin: Origin, message: &str, remedy: &str, reading: &mut Reading) {
    let (origin, key) = (Some(origin), section.path(key));
    reading.problems.push(Problem { origin, key, message: message.to_owned(), remedy: Some(remedy.to_owned()) });
}

/// One URL is a list of one.
fn one_or_more(value: &Value) -> Result<List<BaseUrl>, Refused> {
    match value {
        Value::Text(_) => parsed(value).map(|url| List(vec![url])),
        other => list(other),
    }
}
