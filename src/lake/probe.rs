//! Asks a store for what publishing rests on: conditional puts. Without them, no start.

use std::sync::Arc;

use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};

use crate::lake::layout::key;

use crate::lake::is_denied;

/// The store cannot be trusted with publishing, or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("the store overwrote an object although it was asked not to: it has no put-if-absent, publishing would lose rows")]
    NoCreate,
    #[error("the store replaced an object although its e-tag did not match: it has no compare-and-swap, replays could lose rows")]
    NoUpdate,
    #[error("the store refuses puts on a condition; publishing needs put-if-absent (If-None-Match) and compare-and-swap (If-Match)")]
    NoConditions(#[source] Error),
    #[error("the store does not answer")]
    Store(#[from] Error),
}

impl ProbeError {
    /// Waiting does not mend it: the store, its place or the credentials must be others.
    pub fn is_lasting(&self) -> bool {
        match self {
            ProbeError::NoCreate | ProbeError::NoUpdate | ProbeError::NoConditions(_) => true,
            ProbeError::Store(e) => is_denied(e),
        }
    }
}

/// Writes and removes one small object under `_lakegate/probe/`, named `name`; no other process may take that name meanwhile.
///
/// # Errors
/// What the store lacks, or that it does not answer.
pub async fn conditional_puts(store: &Arc<dyn ObjectStore>, name: &str) -> Result<(), ProbeError> {
    let at = key(&format!("_lakegate/probe/{name}"));
    let put = |bytes: &'static [u8], mode: PutMode| store.put_opts(&at, PutPayload::from_static(bytes), PutOptions::from(mode));
    match store.delete(&at).await {
        Ok(()) | Err(Error::NotFound { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    let first = match put(b"1", PutMode::Create).await {
        Ok(first) => first,
        // Without the condition it may: then it is the condition that is refused.
        Err(e @ (Error::Generic { .. } | Error::NotImplemented { .. } | Error::NotSupported { .. })) => {
            return Err(match put(b"1", PutMode::Overwrite).await {
                Ok(_) => {
                    store.delete(&at).await?;
                    ProbeError::NoConditions(e)
                }
                Err(_) => e.into(),
            });
        }
        Err(e) => return Err(e.into()),
    };
    match put(b"2", PutMode::Create).await {
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
        Ok(_) => return Err(ProbeError::NoCreate),
        Err(e) => return Err(e.into()),
    }
    let wrong = UpdateVersion { e_tag: Some("0-0-0".to_owned()), version: None };
    match put(b"3", PutMode::Update(wrong)).await {
        Err(Error::Precondition { .. }) => {}
        Ok(_) => return Err(ProbeError::NoUpdate),
        Err(e) => return Err(e.into()),
    }
    put(b"4", PutMode::Update(UpdateVersion { e_tag: first.e_tag, version: first.version })).await?;
    Ok(store.delete(&at).await?)
}
