//! An object store whose requests are counted, by what was asked and how it answered.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};

use crate::telemetry::fact::{StoreOperation, StoreOutcome};
use crate::telemetry::metrics::Metrics;

/// Counts the requests to `inner`. Parts of a multipart upload and the bytes of a body are not requests here.
#[derive(Clone)]
pub struct Metered {
    inner: Arc<dyn ObjectStore>,
    metrics: Arc<Metrics>,
}

impl Metered {
    pub fn new(inner: Arc<dyn ObjectStore>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    fn counted<T>(&self, operation: StoreOperation, answer: Result<T>) -> Result<T> {
        self.metrics.store_request(operation, answer.as_ref().map_or_else(outcome, |_| StoreOutcome::Ok));
        answer
    }

    fn each<T: Send + 'static>(&self, operation: StoreOperation, answers: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let metered = self.clone();
        answers.map(move |answer| metered.counted(operation, answer)).boxed()
    }
}

/// That nothing is there, or something else, is an answer.
fn outcome(error: &Error) -> StoreOutcome {
    match error {
        Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => StoreOutcome::Ok,
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::UnknownConfigurationKey { .. } => StoreOutcome::ClientError,
        other => by_text(&whole_text(other)),
    }
}

/// An error and its causes; the client tells a status in words only.
fn whole_text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push(' ');
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn by_text(text: &str) -> StoreOutcome {
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if has(&["429", "SlowDown", "503", "Too Many Requests", "TooManyRequests"]) {
        StoreOutcome::Throttled
    } else if has(&["timed out", "timeout", "Timeout"]) {
        StoreOutcome::Timeout
    } else {
        StoreOutcome::ServerError
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.counted(StoreOperation::Put, self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.counted(StoreOperation::Put, self.inner.put_multipart_opts(location, options).await)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { StoreOperation::Head } else { StoreOperation::Get };
        self.counted(operation, self.inner.get_opts(location, options).await)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.counted(StoreOperation::Get, self.inner.get_ranges(location, ranges).await)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.each(StoreOperation::Delete, self.inner.delete_stream(locations))
    }

    /// Counted once, and once more for an error in between: pages are the client's own matter.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.metrics.store_request(StoreOperation::List, StoreOutcome::Ok);
        let metrics = Arc::clone(&self.metrics);
        let told = move |answer: &Result<ObjectMeta>| {
            if let Err(e) = answer {
                metrics.store_request(StoreOperation::List, outcome(e));
            }
        };
        self.inner.list(prefix).inspect(told).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.metrics.store_request(StoreOperation::List, StoreOutcome::Ok);
        let metrics = Arc::clone(&self.metrics);
        let told = move |answer: &Result<ObjectMeta>| {
            if let Err(e) = answer {
                metrics.store_request(StoreOperation::List, outcome(e));
            }
        };
        self.inner.list_with_offset(prefix, offset).inspect(told).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.counted(StoreOperation::List, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.counted(StoreOperation::Copy, self.inner.copy_opts(from, to, options).await)
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn requests_are_counted_by_what_was_asked_and_answered() {
        let metrics = Arc::new(Metrics::new(&[]));
        let store = Metered::new(Arc::new(InMemory::new()), Arc::clone(&metrics));
        let at = Path::from("a/b");
        store.put(&at, "text".into()).await.unwrap();
        store.put_opts(&at, "other".into(), object_store::PutMode::Create.into()).await.unwrap_err();
        assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap().as_ref(), b"text");
        store.head(&at).await.unwrap();
        assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
        store.delete(&at).await.unwrap();
        store.get(&at).await.unwrap_err();
        let text = metrics.text();
        for (operation, n) in [("put", 2), ("get", 2), ("head", 1), ("list", 1), ("delete", 1), ("copy", 0)] {
            let line = format!("lakegate_object_store_requests_total{{operation=\"{operation}\",outcome=\"ok\"}} {n}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
    }

    #[test]
    fn errors_are_told_apart() {
        let generic = |text: &str| Error::Generic { store: "S3", source: text.to_owned().into() };
        for (error, expected) in [
            (generic("Server returned non-2xx status code: 503 Service Unavailable: <Code>SlowDown</Code>"), StoreOutcome::Throttled),
            (generic("Error after 10 retries: 429 Too Many Requests"), StoreOutcome::Throttled),
            (generic("operation timed out"), StoreOutcome::Timeout),
            (generic("500 Internal Server Error"), StoreOutcome::ServerError),
            (Error::PermissionDenied { path: "a".to_owned(), source: "403".into() }, StoreOutcome::ClientError),
            (Error::NotFound { path: "a".to_owned(), source: "404".into() }, StoreOutcome::Ok),
        ] {
            assert_eq!(outcome(&error), expected, "{error}");
        }
    }
}
