//! Manifests dropped under `replay/` of the lake: a pull source of the bridge.
//!
//! Listing finds them; each new version becomes a task in the bridge's state, and a task reads one manifest and asks
//! the desk for the records the command would have written. A replay id that is known already is a no-op there.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use crate::broker::OutRecord;
use crate::domain::backoff::Backoff;
use crate::domain::time::Timestamp;
use crate::lake::layout;
use crate::replay::manifest::BYTES_MAX;
use crate::source::landing::LAKE_BUCKET;
use crate::source::listing::{self, Listing};
use crate::stage::StageError;
use crate::stage::letters::RAW_BYTES_MAX;
use crate::state::{Change, View};

/// Name of the source, in state and on the control topic.
pub const SOURCE: &str = "lake-replay";

/// Tasks taken up at once.
const TASKS_AT_ONCE: usize = 16;

/// Plans replays; the same one for commands and for dropped manifests.
#[async_trait]
pub trait ReplayDesk: Send + Sync {
    /// The records a manifest leads to: a request, or only an audit line when nothing is to run.
    ///
    /// # Errors
    /// `Refused` when the manifest is at fault, `Silent` when the plan could not be made now.
    async fn order(&self, manifest: &[u8], requested_by: &str) -> Result<Vec<OutRecord>, OrderError>;
}

/// A manifest led to no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("{detail}")]
    Refused { detail: String },
    #[error("the replay cannot be planned now: {detail}")]
    Silent { detail: String },
}

/// Where manifests are dropped, and who plans them.
pub struct Inbox {
    pub listing: Listing,
    lake: Arc<dyn ObjectStore>,
    desk: Arc<dyn ReplayDesk>,
}

/// What reading a dropped manifest led to.
pub enum Dropped {
    /// It is there no more.
    Gone,
    /// Lake or log did not answer.
    Silent(String),
    Ordered {
        token: String,
        records: Vec<OutRecord>,
    },
    Refused {
        token: String,
        detail: String,
        /// Its first bytes.
        raw: Bytes,
        size: u64,
    },
}

impl Inbox {
    pub fn new(lake: Arc<dyn ObjectStore>, desk: Arc<dyn ReplayDesk>) -> Self {
        let bucket = LAKE_BUCKET.parse().expect("a plain word names a bucket");
        Self { listing: Listing::new(bucket, Arc::clone(&lake), Some(layout::key(layout::REPLAY_PREFIX))), lake, desk }
    }

    /// Reads one manifest and plans it.
    pub async fn take(&self, key: &str) -> Dropped {
        match self.read(key).await {
            Ok(dropped) => dropped,
            Err(Error::NotFound { .. }) => Dropped::Gone,
            Err(e) => Dropped::Silent(e.to_string()),
        }
    }

    async fn read(&self, key: &str) -> Result<Dropped, Error> {
        let at = Path::parse(key)?;
        let found = self.lake.get(&at).await?;
        let (token, size) = (listing::version(&found.meta).token(), found.meta.size);
        let cut = |bytes: &Bytes| bytes.slice(..bytes.len().min(RAW_BYTES_MAX));
        if size > BYTES_MAX as u64 {
            let detail = format!("the replay manifest has {size} bytes, at most {BYTES_MAX} are allowed");
            let raw = self.lake.get_range(&at, 0..RAW_BYTES_MAX as u64).await?;
            return Ok(Dropped::Refused { token, detail, raw, size });
        }
        let bytes = found.bytes().await?;
        Ok(match self.desk.order(&bytes, key).await {
            Ok(records) => Dropped::Ordered { token, records },
            Err(OrderError::Refused { detail }) => Dropped::Refused { token, detail, raw: cut(&bytes), size },
            Err(e @ OrderError::Silent { .. }) => Dropped::Silent(e.to_string()),
        })
    }
}

/// A manifest that waits to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    format_version: u32,
    /// Times in a row lake or log did not answer.
    attempts: u32,
    at: i64,
}

const TASKS: &[u8] = b"manifest/";

fn task_key(key: &str) -> Vec<u8> {
    [TASKS, key.as_bytes()].concat()
}

impl Task {
    pub fn new(now: Timestamp) -> Self {
        Self { format_version: 1, attempts: 0, at: now.millis() }
    }

    pub fn load(view: View<'_>, key: &str) -> Result<Option<Self>, StageError> {
        view.get(&task_key(key))?.map(|bytes| Self::read(&bytes)).transpose()
    }

    fn read(bytes: &[u8]) -> Result<Self, StageError> {
        serde_json::from_slice(bytes).map_err(|e| StageError::Broken { detail: format!("a dropped manifest's task: {e}") })
    }

    /// The task after one more attempt that got no answer.
    #[must_use]
    pub fn later(mut self, now: Timestamp) -> Self {
        self.attempts = self.attempts.saturating_add(1);
        self.at = now.plus(Backoff::default().wait(self.attempts, 1.0)).millis();
        self
    }

    pub fn store(&self, key: &str) -> Change {
        Change { key: task_key(key), value: Some(serde_json::to_vec(self).expect("numbers always serialize").into()) }
    }

    pub fn done(key: &str) -> Change {
        Change { key: task_key(key), value: None }
    }

    /// Waiting manifests, by key, each with its time; at most [`TASKS_AT_ONCE`] of them, the earliest first.
    pub fn waiting(view: View<'_>) -> Result<Vec<(Timestamp, String)>, StageError> {
        let mut waiting = Vec::new();
        for (key, bytes) in view.scan(TASKS)? {
            let at = Timestamp::from_millis(Self::read(&bytes)?.at);
            waiting.push((at, String::from_utf8_lossy(&key[TASKS.len()..]).into_owned()));
        }
        waiting.sort();
        waiting.truncate(TASKS_AT_ONCE);
        Ok(waiting)
    }
}
