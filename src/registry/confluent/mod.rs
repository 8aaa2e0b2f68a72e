//! A registry over HTTP, by the API of Confluent's: Confluent Schema Registry, Redpanda, Karapace, Apicurio (`ccompat`).
//!
//! The server numbers and keeps; a schema must please it *and* [`judge`], which knows more and says why. What differs
//! between servers is evened out here:
//! - the order of keys makes a new version on some: schemas are sent in their canonical text;
//! - the mode of a subject without one differs (BACKWARD, NONE): it is set on the subject before its first version;
//! - not all tell why they refuse, and some refuse what their own compatibility check lets pass: a refusal is remembered.
//!
//! Deliberately absent: retries (the runner's), schemas with references, anything but Avro.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use reqwest::Method;
use serde_json::{Value, json};

use self::answer::{CompatibilityBody, IdBody, ModeBody, Reply, SchemaBody, VersionBody, found};
use self::exchange::{Exchange, Request};
use crate::domain::names::{SchemaId, SchemaVersion, Subject};
use crate::registry::address::Address;
use crate::registry::compatibility::AvroSchema;
use crate::registry::{Registered, RegistryError, SchemaRegistry, judge, parse};
use crate::schema::options::Compatibility;

pub use self::exchange::OpenError;

mod answer;
mod exchange;

/// Versions of one subject that are looked at.
const VERSIONS_MAX: usize = 10_000;

/// Schemas, subjects and refusals remembered; beyond it a memory begins anew.
const REMEMBERED_MAX: usize = 10_000;

/// Versions asked for at once.
const ASKED_AT_ONCE: usize = 8;

/// Times a subject may change under a registration before it is tried again later.
const TURNS_MAX: u32 = 20;

/// A client of one registry.
pub struct ConfluentRegistry {
    exchange: Exchange,
    /// Schemas never change under their id.
    schemas: Mutex<HashMap<SchemaId, String>>,
    /// Nor do versions, once given; which there are is asked each time.
    versions: Mutex<HashMap<Subject, BTreeMap<u32, Registered>>>,
    /// What the server refused though [`judge`] had nothing against it, by subject and fingerprint.
    refused: Mutex<HashMap<(Subject, String), Refusal>>,
}

/// What became of a schema that was sent.
enum Posted {
    Taken(SchemaId),
    Refused(RegistryError),
    /// Somebody else was writing to the subject just then.
    Raced,
}

const UNSAID: &str = "the registry does not say why";

/// A refusal, and the subject as it was then.
#[derive(Clone)]
struct Refusal {
    mode: Compatibility,
    last: Option<SchemaVersion>,
    error: RegistryError,
}

impl ConfluentRegistry {
    /// # Errors
    /// By what of the address cannot be used; nothing is asked yet.
    pub fn open(address: &Address) -> Result<Self, OpenError> {
        Ok(Self { exchange: Exchange::open(address)?, schemas: Mutex::default(), versions: Mutex::default(), refused: Mutex::default() })
    }

    async fn get(&self, path: &[&str]) -> Result<Option<Value>, RegistryError> {
        let request = Request { method: Method::GET, path, query: None, body: None };
        match self.exchange.ask(&request).await? {
            Reply::Found(value) => Ok(Some(value)),
            Reply::Missing => Ok(None),
            Reply::Conflict { message } | Reply::Invalid { message } => Err(RegistryError::Denied { detail: message }),
        }
    }

    /// The subject's own mode.
    async fn own_mode(&self, subject: &Subject) -> Result<Option<Compatibility>, RegistryError> {
        let Some(value) = self.get(&["config", segment(subject)]).await? else { return Ok(None) };
        let at = format!("the mode of {subject}");
        let ModeBody { level } = found(value, &at)?;
        match Compatibility::ALL.into_iter().find(|m| m.as_str() == level) {
            Some(mode) => Ok(Some(mode)),
            None => Err(RegistryError::Corrupt { at, detail: format!("{level} is no mode") }),
        }
    }

    async fn version(&self, subject: &Subject, version: &str) -> Result<Option<Registered>, RegistryError> {
        let Some(value) = self.get(&["subjects", segment(subject), "versions", version]).await? else { return Ok(None) };
        let at = format!("version {version} of {subject}");
        let body: VersionBody = found(value, &at)?;
        let (id, version) = (SchemaId(body.id), SchemaVersion(body.version));
        let schema = body.schema.avro(&at)?;
        remember(&self.schemas, id, schema.clone());
        Ok(Some(Registered { id, version, schema }))
    }

    async fn post(&self, subject: &Subject, mode: Compatibility, schema: &AvroSchema) -> Result<Posted, RegistryError> {
        let path = ["subjects", segment(subject), "versions"];
        let request = Request { method: Method::POST, path: &path, query: None, body: Some(json!({ "schema": schema.canonical() })) };
        let message = match self.exchange.ask(&request).await? {
            Reply::Found(value) => return Ok(Posted::Taken(SchemaId(found::<IdBody>(value, "a registered schema")?.id))),
            Reply::Missing => return Err(RegistryError::NoRegistry { detail: format!("it has no place for versions of {subject}") }),
            Reply::Invalid { message } => return Ok(Posted::Refused(RegistryError::SchemaInvalid { detail: message })),
            Reply::Conflict { message } => message,
        };
        // Newer servers say what is wrong in the refusal, others when asked.
        let says_why = message.contains("details");
        let asked = if says_why { Vec::new() } else { self.objections(subject, schema).await? };
        let is_about_schema = says_why || !asked.is_empty() || message.to_lowercase().contains("incompatible");
        if !is_about_schema {
            return Ok(Posted::Raced);
        }
        let silent = asked.is_empty() || asked == [UNSAID];
        let messages = if silent { vec![message] } else { asked };
        Ok(Posted::Refused(RegistryError::Incompatible { subject: subject.clone(), mode, messages }))
    }

    /// Whether the mode was set; if not, somebody else was setting it just then.
    async fn put_mode(&self, subject: &Subject, mode: Compatibility) -> Result<bool, RegistryError> {
        let path = ["config", segment(subject)];
        let body = Some(json!({ "compatibility": mode.as_str() }));
        match self.exchange.ask(&Request { method: Method::PUT, path: &path, query: None, body }).await? {
            Reply::Found(_) => Ok(true),
            Reply::Conflict { .. } => Ok(false),
            Reply::Missing => Err(RegistryError::NoRegistry { detail: format!("it has no place for the mode of {subject}") }),
            Reply::Invalid { message } => Err(RegistryError::Denied { detail: message }),
        }
    }

    /// What the server has against a schema, as far as it says. One that cannot be asked has nothing to say.
    async fn objections(&self, subject: &Subject, schema: &AvroSchema) -> Result<Vec<String>, RegistryError> {
        let path = ["compatibility", "subjects", segment(subject), "versions"];
        let body = Some(json!({ "schema": schema.canonical() }));
        let request = Request { method: Method::POST, path: &path, query: Some("verbose=true"), body };
        match self.exchange.ask(&request).await {
            Ok(Reply::Found(value)) => {
                let Ok(CompatibilityBody { is_compatible, mut messages }) = found(value, "compatibility") else { return Ok(Vec::new()) };
                match is_compatible {
                    true => messages.clear(),
                    false if messages.is_empty() => messages.push(UNSAID.to_owned()),
                    false => {}
                }
                Ok(messages)
            }
            Ok(Reply::Conflict { message } | Reply::Invalid { message }) => Ok(vec![message]),
            Ok(Reply::Missing) | Err(RegistryError::NoRegistry { .. } | RegistryError::Denied { .. }) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// The version that was given for `id`. Two that register at once may be told of it at different times.
    async fn given(&self, subject: &Subject, id: SchemaId) -> Result<Registered, RegistryError> {
        let given = self.versions(subject).await?.into_iter().find(|v| v.id == id);
        let detail = || format!("it took a schema for {subject} as id {}, and does not list it yet", id.0);
        given.ok_or_else(|| RegistryError::Unreachable { detail: detail() })
    }
}

fn changing(subject: &Subject) -> RegistryError {
    RegistryError::Unreachable { detail: format!("others changed {subject} {TURNS_MAX} times meanwhile") }
}

/// A subject as a segment of a path. URLs have no segment of dots alone, however it is escaped: such a subject stands
/// in the registry under its escaped name.
fn segment(subject: &Subject) -> &str {
    match subject.as_str() {
        "." => "%2E",
        ".." => "%2E%2E",
        other => other,
    }
}

fn locked<T>(memory: &Mutex<T>) -> MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remember<K: std::hash::Hash + Eq, V>(memory: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut memory = locked(memory);
    if memory.len() >= REMEMBERED_MAX {
        memory.clear();
    }
    memory.insert(key, value);
}

#[async_trait]
impl SchemaRegistry for ConfluentRegistry {
    async fn register(&self, subject: &Subject, schema: &str) -> Result<Registered, RegistryError> {
        let candidate = parse(schema)?;
        for _ in 0..TURNS_MAX {
            let known = self.versions(subject).await?;
            let own = self.own_mode(subject).await?;
            let mode = own.unwrap_or_default();
            if let Some(version) = judge(subject, mode, &known, &candidate)? {
                return Ok(version);
            }
            // Two that come here at once say the same. Whoever set another mode meanwhile is asked for it again.
            if own.is_none() && !self.put_mode(subject, mode).await? {
                continue;
            }
            let error = match self.post(subject, mode, &candidate).await? {
                Posted::Taken(id) => return self.given(subject, id).await,
                Posted::Refused(error) => error,
                Posted::Raced => continue,
            };
            // Refused because of what somebody else registered or set meanwhile: judge against that.
            let last = known.last().map(|v| v.version);
            let is_as_before = self.versions(subject).await?.last().map(|v| v.version) == last
                && self.own_mode(subject).await?.unwrap_or_default() == mode;
            if is_as_before {
                let key = (subject.clone(), candidate.fingerprint().to_owned());
                remember(&self.refused, key, Refusal { mode, last, error: error.clone() });
                return Err(error);
            }
        }
        Err(changing(subject))
    }

    async fn versions(&self, subject: &Subject) -> Result<Vec<Registered>, RegistryError> {
        let Some(value) = self.get(&["subjects", segment(subject), "versions"]).await? else { return Ok(Vec::new()) };
        let at = format!("the versions of {subject}");
        let numbers: Vec<u32> = found(value, &at)?;
        if numbers.len() > VERSIONS_MAX {
            return Err(RegistryError::Corrupt { at, detail: format!("{} of them; at most {VERSIONS_MAX} are read", numbers.len()) });
        }
        let mut known = locked(&self.versions).get(subject).cloned().unwrap_or_default();
        // What was deleted on the server is forgotten here.
        known.retain(|version, _| numbers.contains(version));
        let unknown = numbers.iter().filter(|n| !known.contains_key(n)).map(|n| n.to_string()).collect::<Vec<_>>();
        let fetched: Vec<Option<Registered>> = futures::stream::iter(unknown)
            .map(|number| async move { self.version(subject, &number).await })
            .buffered(ASKED_AT_ONCE)
            .try_collect()
            .await?;
        if !fetched.is_empty() {
            known.extend(fetched.into_iter().flatten().map(|v| (v.version.0, v)));
            remember(&self.versions, subject.clone(), known.clone());
        }
        Ok(known.into_values().collect())
    }

    async fn latest(&self, subject: &Subject) -> Result<Option<Registered>, RegistryError> {
        self.version(subject, "latest").await
    }

    async fn by_id(&self, id: SchemaId) -> Result<String, RegistryError> {
        if let Some(known) = locked(&self.schemas).get(&id) {
            return Ok(known.clone());
        }
        let number = id.0.to_string();
        let value = self.get(&["schemas", "ids", &number]).await?.ok_or(RegistryError::IdMissing { id })?;
        let at = format!("the schema with id {number}");
        let schema = found::<SchemaBody>(value, &at)?.avro(&at)?;
        remember(&self.schemas, id, schema.clone());
        Ok(schema)
    }

    async fn set_mode(&self, subject: &Subject, mode: Compatibility) -> Result<(), RegistryError> {
        for _ in 0..TURNS_MAX {
            if self.put_mode(subject, mode).await? {
                return Ok(());
            }
        }
        Err(changing(subject))
    }

    async fn mode(&self, subject: &Subject) -> Result<Compatibility, RegistryError> {
        Ok(self.own_mode(subject).await?.unwrap_or_default())
    }

    async fn accepts(&self, subject: &Subject, schema: &str) -> Result<(), RegistryError> {
        let candidate = parse(schema)?;
        let versions = self.versions(subject).await?;
        let own = self.own_mode(subject).await?;
        let mode = own.unwrap_or_default();
        if judge(subject, mode, &versions, &candidate)?.is_some() {
            return Ok(());
        }
        let last = versions.last().map(|v| v.version);
        let key = (subject.clone(), candidate.fingerprint().to_owned());
        let before = locked(&self.refused).get(&key).cloned();
        if let Some(refusal) = before.filter(|r| r.mode == mode && r.last == last) {
            return Err(refusal.error);
        }
        // Without a mode of its own the server would judge by another one than the subject will have.
        let messages = if own.is_some() { self.objections(subject, &candidate).await? } else { Vec::new() };
        if messages.is_empty() { Ok(()) } else { Err(RegistryError::Incompatible { subject: subject.clone(), mode, messages }) }
    }
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
