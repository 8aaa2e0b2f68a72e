//! The lake outlives the state: `_lakegate/lake.json` carries an id that state must match.

use std::sync::Arc;

use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use crate::lake::layout::key;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LakeFile {
    format_version: u32,
    lake_id: String,
}

/// The lake's identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("_lakegate/lake.json is not one of ours: {detail}")]
    Foreign { detail: String },
    #[error("_lakegate/lake.json was written by format {found}; this build knows 1")]
    Format { found: u32 },
    #[error("the store does not answer")]
    Store(#[from] Error),
}

/// The id of the lake; `fresh` becomes it if the lake has none. Of two that start at once, one wins and both read its id.
pub async fn claim(store: &Arc<dyn ObjectStore>, fresh: &str) -> Result<String, IdentityError> {
    let at = key("_lakegate/lake.json");
    let ours = LakeFile { format_version: 1, lake_id: fresh.to_owned() };
    let text = serde_json::to_vec_pretty(&ours).expect("text always serializes");
    match store.put_opts(&at, PutPayload::from(text), PutOptions::from(PutMode::Create)).await {
        Ok(_) => return Ok(ours.lake_id),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    let bytes = store.get(&at).await?.bytes().await?;
    let found: LakeFile = serde_json::from_slice(&bytes).map_err(|e| IdentityError::Foreign { detail: e.to_string() })?;
    if found.format_version != 1 {
        return Err(IdentityError::Format { found: found.format_version });
    }
    Ok(found.lake_id)
}
