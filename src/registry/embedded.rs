//! A registry without a server: it lives in the lake, so replicas that share the lake agree.
//!
//! ```text
//! _lakegate/registry/ids/<id:010>.json                       one schema
//! _lakegate/registry/fingerprints/<sha256>.json              the id of a schema, whatever its subject
//! _lakegate/registry/subjects/<subject>/<version:06>.json    its place in a subject
//! _lakegate/registry/modes/<subject>.json
//! ```
//! Numbers are given by put-if-absent: of two that register at once, one wins and the other looks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::names::{SchemaId, SchemaVersion, Subject};
use crate::lake::layout::{hive_escape, key};
use crate::registry::{Registered, RegistryError, SchemaRegistry, judge, parse};
use crate::schema::options::Compatibility;

const FORMAT_VERSION: u32 = 1;

/// Lost turns after which a registration is tried again later.
const TURNS_MAX: u32 = 100;

/// What every file of the registry begins with.
#[derive(Deserialize)]
struct Head {
    format_version: u32,
}

#[derive(Serialize, Deserialize)]
struct IdFile {
    format_version: u32,
    id: u32,
    schema: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct FingerprintFile {
    format_version: u32,
    id: u32,
}

#[derive(Serialize, Deserialize)]
struct VersionFile {
    format_version: u32,
    subject: String,
    version: u32,
    id: u32,
}

#[derive(Serialize, Deserialize)]
struct ModeFile {
    format_version: u32,
    mode: String,
}

/// The embedded registry of one lake.
pub struct EmbeddedRegistry {
    store: Arc<dyn ObjectStore>,
    /// Schemas never change under their id.
    schemas: Mutex<HashMap<SchemaId, String>>,
    /// Versions never change once given; new ones are looked for.
    versions: Mutex<HashMap<Subject, Vec<Registered>>>,
}

impl EmbeddedRegistry {
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, schemas: Mutex::new(HashMap::new()), versions: Mutex::new(HashMap::new()) }
    }

    async fn read<T: DeserializeOwned>(&self, at: &Path) -> Result<Option<T>, RegistryError> {
        let bytes = match self.store.get(at).await {
            Ok(found) => found.bytes().await.map_err(unreachable)?,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(unreachable(e)),
        };
        let corrupt = |detail: String| RegistryError::Corrupt { at: at.to_string(), detail };
        let head: Head = serde_json::from_slice(&bytes).map_err(|e| corrupt(e.to_string()))?;
        if head.format_version != FORMAT_VERSION {
            return Err(corrupt(format!("it has format {}; this build knows {FORMAT_VERSION}", head.format_version)));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|e| corrupt(e.to_string()))
    }

    /// True if this call created it.
    async fn create<T: Serialize>(&self, at: &Path, file: &T) -> Result<bool, RegistryError> {
        let text = serde_json::to_vec_pretty(file).map_err(|e| RegistryError::Corrupt { at: at.to_string(), detail: e.to_string() })?;
        match self.store.put_opts(at, PutPayload::from(text), PutOptions::from(PutMode::Create)).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(e) => Err(unreachable(e)),
        }
    }

    /// The id of a schema: equal schemas have one, under every subject and from every instance. The
    /// fingerprint's file settles who gave it; a loser's number stays unused.
    async fn id_of(&self, fingerprint: &str, schema: &serde_json::Value) -> Result<SchemaId, RegistryError> {
        let at = key(&format!("_lakegate/registry/fingerprints/{fingerprint}.json"));
        if let Some(file) = self.read::<FingerprintFile>(&at).await? {
            return Ok(SchemaId(file.id));
        }
        let id = self.new_id(schema).await?;
        if self.create(&at, &FingerprintFile { format_version: FORMAT_VERSION, id: id.0 }).await? {
            return Ok(id);
        }
        let winner = self.read::<FingerprintFile>(&at).await?;
        let lost = || RegistryError::Corrupt { at: at.to_string(), detail: "it was there and is gone".to_owned() };
        winner.map(|file| SchemaId(file.id)).ok_or_else(lost)
    }

    /// A number nobody has, holding `schema`.
    async fn new_id(&self, schema: &serde_json::Value) -> Result<SchemaId, RegistryError> {
        use futures::TryStreamExt;
        let taken: Vec<_> = self.store.list(Some(&key("_lakegate/registry/ids"))).try_collect().await.map_err(unreachable)?;
        let number = |p: &Path| p.filename().and_then(|n| n.strip_suffix(".json")).and_then(|n| n.parse::<u32>().ok());
        let mut id = taken.iter().filter_map(|o| number(&o.location)).max().map_or(Some(1), |n| n.checked_add(1));
        while let Some(number) = id {
            let file = IdFile { format_version: FORMAT_VERSION, id: number, schema: schema.clone() };
            if self.create(&id_key(SchemaId(number)), &file).await? {
                return Ok(SchemaId(number));
            }
            id = number.checked_add(1);
        }
        Err(RegistryError::Corrupt { at: "_lakegate/registry/ids".to_owned(), detail: "the last number is taken".to_owned() })
    }
}

fn unreachable(error: Error) -> RegistryError {
    RegistryError::Unreachable { detail: error.to_string() }
}

fn id_key(id: SchemaId) -> Path {
    key(&format!("_lakegate/registry/ids/{:010}.json", id.0))
}

/// A subject as one segment of a key. Long ones stand by their hash, because a file's name has at most 255
/// bytes; no escaped subject begins with `=`.
fn segment(subject: &Subject) -> String {
    use sha2::{Digest, Sha256};
    let escaped = hive_escape(subject.as_str());
    if escaped.len() <= 200 {
        return escaped;
    }
    format!("={}", hex::encode(Sha256::digest(subject.as_str())))
}

fn version_key(subject: &Subject, version: u32) -> Path {
    key(&format!("_lakegate/registry/subjects/{}/{version:06}.json", segment(subject)))
}

fn mode_key(subject: &Subject) -> Path {
    key(&format!("_lakegate/registry/modes/{}.json", segment(subject)))
}

#[async_trait]
impl SchemaRegistry for EmbeddedRegistry {
    async fn register(&self, subject: &Subject, schema: &str) -> Result<Registered, RegistryError> {
        let json: serde_json::Value = serde_json::from_str(schema).map_err(|e| RegistryError::SchemaInvalid { detail: e.to_string() })?;
        let candidate = parse(schema)?;
        // Every turn lost means that somebody else's version was given: progress, but not ours for ever.
        for _ in 0..TURNS_MAX {
            let known = self.versions(subject).await?;
            if let Some(version) = judge(subject, self.mode(subject).await?, &known, &candidate)? {
                return Ok(version);
            }
            let id = self.id_of(candidate.fingerprint(), &json).await?;
            let text = self.by_id(id).await?;
            let version = known.last().map_or(1, |v| v.version.0 + 1);
            let file = VersionFile { format_version: FORMAT_VERSION, subject: subject.to_string(), version, id: id.0 };
            if self.create(&version_key(subject, version), &file).await? {
                return Ok(Registered { id, version: SchemaVersion(version), schema: text });
            }
            // Somebody else took this version: look what it is, and judge against it.
        }
        Err(RegistryError::Unreachable { detail: format!("others registered under {subject} {TURNS_MAX} times meanwhile") })
    }

    async fn versions(&self, subject: &Subject) -> Result<Vec<Registered>, RegistryError> {
        let mut known = self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(subject).cloned().unwrap_or_default();
        loop {
            let version = known.last().map_or(1, |v| v.version.0 + 1);
            let Some(file) = self.read::<VersionFile>(&version_key(subject, version)).await? else { break };
            let id = SchemaId(file.id);
            known.push(Registered { id, version: SchemaVersion(version), schema: self.by_id(id).await? });
        }
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).insert(subject.clone(), known.clone());
        Ok(known)
    }

    async fn latest(&self, subject: &Subject) -> Result<Option<Registered>, RegistryError> {
        Ok(self.versions(subject).await?.pop())
    }

    async fn by_id(&self, id: SchemaId) -> Result<String, RegistryError> {
        if let Some(known) = self.schemas.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(known.clone());
        }
        let file: IdFile = self.read(&id_key(id)).await?.ok_or(RegistryError::IdMissing { id })?;
        let text = file.schema.to_string();
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner).insert(id, text.clone());
        Ok(text)
    }

    async fn set_mode(&self, subject: &Subject, mode: Compatibility) -> Result<(), RegistryError> {
        let file = ModeFile { format_version: FORMAT_VERSION, mode: mode.as_str().to_owned() };
        let text = serde_json::to_vec_pretty(&file).expect("text always serializes");
        self.store.put(&mode_key(subject), text.into()).await.map(drop).map_err(unreachable)
    }

    async fn mode(&self, subject: &Subject) -> Result<Compatibility, RegistryError> {
        let at = mode_key(subject);
        let Some(file) = self.read::<ModeFile>(&at).await? else {
            return Ok(Compatibility::default());
        };
        let known = Compatibility::ALL.into_iter().find(|m| m.as_str() == file.mode);
        known.ok_or_else(|| RegistryError::Corrupt { at: at.to_string(), detail: format!("{} is no mode", file.mode) })
    }
}
