//! The schema registry seam: subjects, versions, ids, compatibility.

use async_trait::async_trait;

use crate::domain::names::{SchemaId, SchemaVersion, Subject};
use crate::domain::reason::{Disposition, ReasonCode};
use crate::schema::options::Compatibility;

use self::compatibility::{AvroSchema, check};

pub mod address;
pub mod compatibility;
#[cfg(feature = "confluent")]
pub mod confluent;
pub mod embedded;

/// One version of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub id: SchemaId,
    pub version: SchemaVersion,
    /// Avro schema, JSON.
    pub schema: String,
}

/// The registry refused or did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("{subject}: the schema is not {} compatible: {}", mode.as_str(), messages.join("; "))]
    Incompatible { subject: Subject, mode: Compatibility, messages: Vec<String> },
    #[error("the schema does not parse: {detail}")]
    SchemaInvalid { detail: String },
    #[error("no schema has the id {}", id.0)]
    IdMissing { id: SchemaId },
    #[error("the registry does not answer: {detail}")]
    Unreachable { detail: String },
    /// Not about the schema: credentials, rights, a registry that may only be read.
    #[error("the registry refuses the request: {detail}")]
    Denied { detail: String },
    /// A proxy's page, a redirect, a path that is not there.
    #[error("what answers is no schema registry: {detail}")]
    NoRegistry { detail: String },
    #[error("{at} in the registry is not one of ours: {detail}")]
    Corrupt { at: String, detail: String },
}

impl RegistryError {
    /// Whatever says nothing about the schema is waited for: rights are given back, a proxy finds its registry again.
    pub fn disposition(&self) -> Disposition {
        match self {
            RegistryError::Unreachable { .. } | RegistryError::Denied { .. } | RegistryError::NoRegistry { .. } => Disposition::Retry,
            RegistryError::Incompatible { .. } | RegistryError::SchemaInvalid { .. } => {
                Disposition::Quarantine(ReasonCode::RegistryRefused)
            }
            RegistryError::IdMissing { .. } | RegistryError::Corrupt { .. } => Disposition::Halt,
        }
    }
}

/// A schema registry.
#[async_trait]
pub trait SchemaRegistry: Send + Sync {
    /// Registers a schema, or finds it: the same schema again answers the same version.
    ///
    /// # Errors
    /// `Incompatible` under the subject's mode, `SchemaInvalid`, `Unreachable`.
    async fn register(&self, subject: &Subject, schema: &str) -> Result<Registered, RegistryError>;

    /// All versions of a subject, oldest first; empty if there is none.
    async fn versions(&self, subject: &Subject) -> Result<Vec<Registered>, RegistryError>;

    async fn latest(&self, subject: &Subject) -> Result<Option<Registered>, RegistryError>;

    async fn by_id(&self, id: SchemaId) -> Result<String, RegistryError>;

    /// Sets the subject's compatibility mode; without one it is [`Compatibility::BackwardTransitive`].
    async fn set_mode(&self, subject: &Subject, mode: Compatibility) -> Result<(), RegistryError>;

    async fn mode(&self, subject: &Subject) -> Result<Compatibility, RegistryError>;

    /// Whether [`SchemaRegistry::register`] would take the schema; nothing is registered.
    ///
    /// # Errors
    /// As `register`. What `register` refused before is refused here as long as the subject stays as it is.
    async fn accepts(&self, subject: &Subject, schema: &str) -> Result<(), RegistryError> {
        let candidate = parse(schema)?;
        let versions = self.versions(subject).await?;
        judge(subject, self.mode(subject).await?, &versions, &candidate).map(drop)
    }
}

/// Reads a schema that is to be registered.
///
/// # Errors
/// `SchemaInvalid`.
pub fn parse(schema: &str) -> Result<AvroSchema, RegistryError> {
    AvroSchema::parse(schema).map_err(|e| RegistryError::SchemaInvalid { detail: e.to_string() })
}

/// Our own judgement, the same for every registry: the version that `candidate` is already, or `None` if it may
/// become one.
///
/// # Errors
/// `Incompatible`; `Corrupt` when a version does not parse.
pub fn judge(
    subject: &Subject,
    mode: Compatibility,
    versions: &[Registered],
    candidate: &AvroSchema,
) -> Result<Option<Registered>, RegistryError> {
    for known in versions {
        let corrupt = |e: compatibility::SchemaError| RegistryError::Corrupt {
            at: format!("version {} of {subject}", known.version.0),
            detail: e.to_string(),
        };
        if AvroSchema::parse(&known.schema).map_err(corrupt)?.fingerprint() == candidate.fingerprint() {
            return Ok(Some(known.clone()));
        }
    }
    let texts: Vec<&str> = versions.iter().map(|v| v.schema.as_str()).collect();
    let messages = check(mode, &texts, candidate.canonical()).map_err(|e| RegistryError::SchemaInvalid { detail: e.to_string() })?;
    if messages.is_empty() { Ok(None) } else { Err(RegistryError::Incompatible { subject: subject.clone(), mode, messages }) }
}
