//! The registry at the start of a process: waited for, asked for the ids of our records, and bound to the lake.
//!
//! What lies on the topics is framed with the ids of one registry; another would read it as something else. So the
//! lake remembers which it was begun with, as it remembers itself (`lake.json`).

use std::collections::HashMap;
use std::sync::Arc;

use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::app::wiring::StartError;
use crate::clock::{Clock, Jitter, sleep};
use crate::domain::backoff::Backoff;
use crate::domain::names::{SchemaId, Subject};
use crate::lake::layout::key;
use crate::registry::compatibility::AvroSchema;
use crate::registry::{RegistryError, SchemaRegistry};
use crate::wire::codec::Codec;
use crate::wire::records::ALL;

const FORMAT_VERSION: u32 = 1;

/// Beside the folder of the lake's own registry.
const AT: &str = "_lakegate/registry.json";

/// Waits for a registry that does not answer, as the stages do once they run. What it answers is no reason to wait.
pub struct Waiting<'c> {
    clock: &'c dyn Clock,
    jitter: Jitter,
    attempt: u32,
}

impl<'c> Waiting<'c> {
    pub fn new(clock: &'c dyn Clock) -> Self {
        Self { clock, jitter: Jitter::new(u64::from(std::process::id())), attempt: 0 }
    }

    /// Returns when it is time to ask again.
    ///
    /// # Errors
    /// `error` itself, when waiting does not help.
    pub async fn after(&mut self, error: StartError) -> Result<(), StartError> {
        let StartError::Registry(RegistryError::Unreachable { detail }) = &error else { return Err(error) };
        self.attempt += 1;
        let wait = Backoff::default().wait(self.attempt, self.jitter.unit());
        warn!(attempt = self.attempt, %wait, detail, "the start waits for the registry");
        sleep(self.clock, wait).await;
        Ok(())
    }
}

/// Registers our records, and learns every earlier version of them: what lies on the topics may be older than this build.
///
/// # Errors
/// What the registry says, and records that do not parse.
pub async fn codec(registry: &dyn SchemaRegistry) -> Result<Codec, StartError> {
    let mut ids = HashMap::new();
    let mut earlier = Vec::new();
    // One after another: several at once would want the same new ids, and a store whose conditional puts are no more than
    // checks would give them.
    for (record, schema) in ALL {
        let subject = subject(record);
        let own = registry.register(&subject, schema).await?.id;
        ids.insert((*record).to_owned(), own);
        earlier.extend(registry.versions(&subject).await?.into_iter().filter(|v| v.id != own));
    }
    let codec = Codec::new(&ids)?;
    earlier.iter().try_for_each(|version| codec.learn(version.id, &version.schema))?;
    Ok(codec)
}

fn subject(record: &str) -> Subject {
    format!("lakegate.{record}").parse().expect("record names are plain")
}

/// Which registry a lake was begun with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BindingFile {
    format_version: u32,
    kind: Kind,
    /// Of a registry over HTTP: schemas of our records under its ids. Its URL may change, they may not.
    #[serde(default)]
    frames: Vec<Frame>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Embedded,
    Confluent,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Frame {
    id: u32,
    /// SHA-256 of the schema's canonical text as the registry gives it.
    fingerprint: String,
}

/// The lake's own registry is used: refuses a lake that was begun with another.
///
/// # Errors
/// `OtherRegistry`; what the store says.
pub async fn bind_embedded(lake: &Arc<dyn ObjectStore>) -> Result<(), StartError> {
    let ours = BindingFile { format_version: FORMAT_VERSION, kind: Kind::Embedded, frames: Vec::new() };
    match claim(lake, &ours).await?.kind {
        Kind::Embedded => Ok(()),
        Kind::Confluent => Err(other("a registry over HTTP", "say --registry with its URL, or ask a process that runs")),
    }
}

/// A registry over HTTP is used, and our records are registered there: refuses a lake that was begun with another.
///
/// # Errors
/// `OtherRegistry`; what store and registry say.
pub async fn bind_remote(lake: &Arc<dyn ObjectStore>, registry: &dyn SchemaRegistry) -> Result<(), StartError> {
    let elsewhere = "begin with a new lake and new state, or leave --registry as it was";
    let mut frames = Vec::new();
    for (record, schema) in ALL {
        let registered = registry.register(&subject(record), schema).await?;
        frames.extend(fingerprint(&registered.schema).map(|fingerprint| Frame { id: registered.id.0, fingerprint }));
    }
    let ours = BindingFile { format_version: FORMAT_VERSION, kind: Kind::Confluent, frames };
    let found = match read(lake).await? {
        Some(found) => found,
        // A lake of a build that kept no note of it.
        None if has_own_registry(lake).await? => BindingFile { kind: Kind::Embedded, ..ours },
        None => claim(lake, &ours).await?,
    };
    if found.kind == Kind::Embedded {
        return Err(other("its own registry", elsewhere));
    }
    for Frame { id, fingerprint: expected } in found.frames {
        let is_same = match registry.by_id(SchemaId(id)).await {
            Ok(schema) => fingerprint(&schema).is_some_and(|f| f == expected),
            Err(RegistryError::IdMissing { .. } | RegistryError::Corrupt { .. }) => false,
            Err(e) => return Err(e.into()),
        };
        if !is_same {
            return Err(other("another registry over HTTP, or that one has lost its schemas", elsewhere));
        }
    }
    Ok(())
}

fn other(begun: &'static str, remedy: &'static str) -> StartError {
    StartError::OtherRegistry { begun, remedy }
}

fn fingerprint(schema: &str) -> Option<String> {
    AvroSchema::parse(schema).ok().map(|s| s.fingerprint().to_owned())
}

/// What stands in the lake after `ours` was offered: of two that start at once, one wins.
async fn claim(lake: &Arc<dyn ObjectStore>, ours: &BindingFile) -> Result<BindingFile, StartError> {
    let text = serde_json::to_vec_pretty(ours).expect("text always serializes");
    match lake.put_opts(&key(AT), PutPayload::from(text), PutOptions::from(PutMode::Create)).await {
        Ok(_) => return Ok(ours.clone()),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    let gone = || corrupt("it was there and is gone".to_owned());
    read(lake).await?.ok_or_else(gone)
}

async fn read(lake: &Arc<dyn ObjectStore>) -> Result<Option<BindingFile>, StartError> {
    let bytes = match lake.get(&key(AT)).await {
        Ok(found) => found.bytes().await?,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let found: BindingFile = serde_json::from_slice(&bytes).map_err(|e| corrupt(e.to_string()))?;
    if found.format_version != FORMAT_VERSION {
        return Err(corrupt(format!("it has format {}; this build knows {FORMAT_VERSION}", found.format_version)));
    }
    Ok(Some(found))
}

async fn has_own_registry(lake: &Arc<dyn ObjectStore>) -> Result<bool, StartError> {
    use futures::TryStreamExt;
    Ok(lake.list(Some(&key("_lakegate/registry/ids"))).try_next().await?.is_some())
}

fn corrupt(detail: String) -> StartError {
    RegistryError::Corrupt { at: AT.to_owned(), detail }.into()
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::registry::embedded::EmbeddedRegistry;

    fn empty() -> Arc<dyn ObjectStore> {
        Arc::new(InMemory::new())
    }

    /// A registry elsewhere; `head_start` schemas are registered there already.
    async fn elsewhere(head_start: usize) -> EmbeddedRegistry {
        let registry = EmbeddedRegistry::new(empty());
        for n in 0..head_start {
            registry.register(&"other".parse().unwrap(), &format!(r#"{{"type":"fixed","name":"f{n}","size":1}}"#)).await.ok();
        }
        registry
    }

    fn is_other(answer: Result<(), StartError>) -> bool {
        matches!(answer, Err(StartError::OtherRegistry { .. }))
    }

    #[tokio::test]
    async fn a_lake_stays_with_the_registry_it_was_begun_with() {
        let lake = empty();
        let remote = elsewhere(0).await;
        bind_remote(&lake, &remote).await.unwrap();
        bind_remote(&lake, &remote).await.expect("the same again");
        assert!(is_other(bind_embedded(&lake).await));
        assert!(is_other(bind_remote(&lake, &elsewhere(1).await).await), "the ids are others there");
        assert!(is_other(bind_remote(&lake, &elsewhere(0).await).await) || lake_ids_agree(&remote, &elsewhere(0).await).await);

        let lake = empty();
        bind_embedded(&lake).await.unwrap();
        bind_embedded(&lake).await.expect("the same again");
        assert!(is_other(bind_remote(&lake, &remote).await));
    }

    /// Two registries that gave every schema of ours the same id cannot be told apart, and need not be.
    async fn lake_ids_agree(one: &dyn SchemaRegistry, other: &dyn SchemaRegistry) -> bool {
        codec(other).await.unwrap();
        for (record, _) in ALL {
            if one.latest(&subject(record)).await.unwrap() != other.latest(&subject(record)).await.unwrap() {
                return false;
            }
        }
        true
    }

    #[tokio::test]
    async fn a_lake_of_an_older_build_belongs_to_its_own_registry() {
        let lake = empty();
        codec(&EmbeddedRegistry::new(Arc::clone(&lake))).await.unwrap();
        assert!(is_other(bind_remote(&lake, &elsewhere(0).await).await));
        bind_embedded(&lake).await.unwrap();
    }

    #[tokio::test]
    async fn a_newer_format_is_refused() {
        let lake = empty();
        lake.put(&key(AT), r#"{"format_version":2,"kind":"embedded"}"#.into()).await.unwrap();
        let error = bind_embedded(&lake).await.unwrap_err();
        assert!(matches!(&error, StartError::Registry(RegistryError::Corrupt { detail, .. }) if detail.contains("format 2")), "{error:?}");
    }
}
