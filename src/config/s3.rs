//! `[s3]`: how buckets are reached; `[s3.buckets.NAME]` says what one of them does otherwise.

use std::path::PathBuf;

use super::file::{Entry, Node, Value};
use super::section::{Reading, Refused, Section, parsed, span, text, truth};
use crate::lake::s3::options::{Environment, Keys, Options, Reach};

/// The section's name.
pub const SECTION: &str = "s3";

/// Reads the section with its buckets; credentials nobody says come from the environment.
pub fn read(root: &[Entry], reading: &mut Reading) -> Options {
    let default = Options::default();
    let mut section = Section::open(root, SECTION, reading);
    let mut options = Options {
        common: reach(&mut section, reading),
        timeout: section.or("timeout", default.timeout, reading, span),
        connect_timeout: section.or("connect_timeout", default.connect_timeout, reading, span),
        environment: Environment::of(&reading.environment),
        ..default
    };
    let buckets = section.said("buckets", reading, tables).map(|said| said.value).unwrap_or_default();
    section.finish(reading);
    for (name, node) in buckets {
        let mut section = Section::of(format!("{SECTION}.buckets.{name}"), &node, reading);
        let own = reach(&mut section, reading);
        section.finish(reading);
        options.buckets.insert(name, own);
    }
    options
}

fn tables(value: &Value) -> Result<Vec<(String, Node)>, Refused> {
    match value {
        Value::Table(entries) => Ok(entries.iter().map(|e| (e.key.clone(), e.node.clone())).collect()),
        other => Err(Refused {
            message: format!("wants a table, found {}", other.kind()),
            remedy: Some("write [s3.buckets.NAME] in the file".to_owned()),
        }),
    }
}

fn reach(section: &mut Section<'_>, reading: &mut Reading) -> Reach {
    let endpoint = section.optional("endpoint", reading, endpoint).map(|e| e.value);
    let region = section.optional("region", reading, text).map(|r| r.value);
    let path_style = section.optional("path_style", reading, truth).map(|p| p.value);
    let allow_http = section.optional("allow_http", reading, truth).map(|a| a.value);
    let anonymous = section.optional("anonymous", reading, truth).map(|a| a.value);
    let ca = section.optional("ca", reading, text).map(|c| PathBuf::from(c.value));
    // Whether they are said, not whether they could be fetched: the fault of a missing one is told already.
    let is_said = |key: &str| section.has(key);
    let (has_id, has_secret, has_token) = (is_said("access_key_id"), is_said("secret_access_key"), is_said("session_token"));
    if has_id != has_secret || (has_token && !has_id) {
        section.refuse(
            "an access key has an id and a secret",
            "say both access_key_id and secret_access_key, or neither: the environment's are taken then",
            reading,
        );
    }
    let id = section.secret("access_key_id", reading);
    let secret = section.secret("secret_access_key", reading);
    let session_token = section.secret("session_token", reading).map(|t| t.expose().to_owned());
    let keys = id.zip(secret).map(|(id, secret)| Keys { id: id.expose().to_owned(), secret: secret.expose().to_owned(), session_token });
    Reach { endpoint, region, path_style, allow_http, keys, anonymous, ca }
}

/// A scheme and a host: what follows it would become part of every key.
fn endpoint(value: &Value) -> Result<String, Refused> {
    let endpoint: String = parsed(value)?;
    let host = ["https://", "http://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme)).map(|h| h.trim_end_matches('/'));
    if !host.is_some_and(|h| !h.is_empty() && !h.contains(['/', '?', '#', '@', ' '])) {
        let remedy = Some("write https://host or https://host:port".to_owned());
        return Err(Refused { message: format!("{endpoint:?} is no endpoint"), remedy });
    }
    Ok(endpoint)
}
