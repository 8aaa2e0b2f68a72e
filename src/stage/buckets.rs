//! Landing buckets by name: read-only here.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use object_store::{Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore};

use crate::domain::names::ObjectKey;
use crate::domain::reason::ReasonCode;
use crate::lake::is_denied;
use crate::lake::url::object_path;
use crate::source::listing::version;
use crate::stage::StageError;
use crate::wire::records::Admitted;

/// Stores behind the buckets named in events.
#[derive(Clone, Default)]
pub struct Buckets {
    by_name: BTreeMap<String, Arc<dyn ObjectStore>>,
}

/// What stands at a key.
#[derive(Debug)]
pub enum Found<T> {
    There(T),
    /// Nothing, or another version.
    Gone(String),
}

/// A bucket was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    #[error("no landing bucket is named {bucket} here; those named are {known}")]
    Unknown { bucket: String, known: String },
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<BucketError> for StageError {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Unknown { .. } => StageError::Refused { reason: ReasonCode::BucketUnknown, detail: error.to_string() },
            BucketError::Store(e) => e.into(),
        }
    }
}

/// The bytes asked for. Those of a local file are read at once: they are few.
async fn head(found: GetResult) -> Result<Bytes, Error> {
    let GetResultPayload::File(mut file, _) = found.payload else { return found.bytes().await };
    let length = found.range.end - found.range.start;
    let mut head = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    let read = file.seek(SeekFrom::Start(found.range.start)).and_then(|_| file.take(length).read_to_end(&mut head));
    read.map_err(|e| Error::Generic { store: "landing", source: Box::new(e) })?;
    Ok(head.into())
}

impl Buckets {
    pub fn new(by_name: BTreeMap<String, Arc<dyn ObjectStore>>) -> Self {
        Self { by_name }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    pub fn get(&self, bucket: &str) -> Option<&Arc<dyn ObjectStore>> {
        self.by_name.get(bucket)
    }

    /// Metadata and the first `n` bytes of whatever stands at the key now.
    pub async fn peek(&self, bucket: &str, key: &str, version: Option<&str>, n: u64) -> Result<Found<(ObjectMeta, Bytes)>, BucketError> {
        let options = GetOptions { range: Some(GetRange::Bounded(0..n)), version: version.map(str::to_owned), ..GetOptions::default() };
        match self.open(bucket, key, options).await? {
            Found::Gone(why) => Ok(Found::Gone(why)),
            Found::There(found) => {
                let meta = found.meta.clone();
                Ok(Found::There((meta, head(found).await?)))
            }
        }
    }

    /// The bytes of exactly the admitted version.
    pub async fn read(&self, object: &Admitted) -> Result<Found<object_store::GetResult>, BucketError> {
        let options = GetOptions {
            // Beside the version too: where versioning is suspended, the version `null` can be replaced.
            if_match: object.etag.clone(),
            version: object.version_id.clone(),
            ..GetOptions::default()
        };
        let found = self.open(&object.bucket, &object.key, options).await?;
        if let (Found::There(found), Some(wanted)) = (&found, &object.etag)
            && version(&found.meta).etag.is_some_and(|standing| standing != *wanted)
        {
            // Not every server heeds a condition of a read.
            return Ok(Found::Gone("another version stands at the key".to_owned()));
        }
        Ok(found)
    }

    async fn open(&self, bucket: &str, key: &str, options: GetOptions) -> Result<Found<object_store::GetResult>, BucketError> {
        let Some(store) = self.by_name.get(bucket) else {
            let known = self.names().collect::<Vec<_>>().join(", ");
            return Err(BucketError::Unknown { bucket: bucket.to_owned(), known });
        };
        let path = key.parse::<ObjectKey>().ok().as_ref().and_then(object_path);
        let Some(path) = path else {
            return Ok(Found::Gone("this store cannot name such a key".to_owned()));
        };
        match store.get_opts(&path, options.clone()).await {
            Ok(found) => Ok(Found::There(found)),
            Err(Error::NotFound { .. }) => Ok(Found::Gone("nothing stands at the key".to_owned())),
            Err(Error::Precondition { .. }) => Ok(Found::Gone("another version stands at the key".to_owned())),
            Err(e) if is_denied(&e) => Err(e.into()),
            // An empty object has no first byte: stores refuse the range.
            Err(_) if options.range.is_some() => {
                let whole = GetOptions { range: None, ..options };
                match store.get_opts(&path, whole).await {
                    Ok(found) if found.meta.size == 0 => Ok(Found::There(found)),
                    Ok(_) => Err(Error::Generic { store: "landing", source: "the range was refused".into() }.into()),
                    Err(Error::NotFound { .. }) => Ok(Found::Gone("nothing stands at the key".to_owned())),
                    Err(e) => Err(e.into()),
                }
            }
            Err(e) => Err(e.into()),
        }
    }
}
