//! The schema registry seam.

use async_trait::async_trait;

use crate::domain::names::{SchemaId, SchemaVersion, Subject};
use crate::domain::reason::Disposition;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub id: SchemaId,
    pub version: SchemaVersion,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("unreachable")]
    Unreachable,
}

impl RegistryError {
    pub fn disposition(&self) -> Disposition {
        Disposition::Retry
    }
}

#[async_trait]
pub trait SchemaRegistry: Send + Sync {
    async fn register(&self, subject: &Subject, schema: &str) -> Result<Registered, RegistryError>;
}
