//! The schema registry seam: subjects, versions, ids, compatibility.

use async_trait::async_trait;

use crate::domain::names::{SchemaId, SchemaVersion, Subject};
use crate::domain::reason::{Disposition, ReasonCode};
use crate::schema::options::Compatibility;

pub mod compatibility;
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
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{subject}: the schema is not {} compatible: {}", mode.as_str(), messages.join("; "))]
    Incompatible { subject: Subject, mode: Compatibility, messages: Vec<String> },
    #[error("the schema does not parse: {detail}")]
    SchemaInvalid { detail: String },
    #[error("no schema has the id {}", id.0)]
    IdMissing { id: SchemaId },
    #[error("the registry does not answer: {detail}")]
    Unreachable { detail: String },
    #[error("{at} in the registry is not one of ours: {detail}")]
    Corrupt { at: String, detail: String },
}

impl RegistryError {
    pub fn disposition(&self) -> Disposition {
        match self {
            RegistryError::Unreachable { .. } => Disposition::Retry,
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
}
