//! The one place where effects happen: puts first, each repeatable, then one commit.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};

use crate::broker::OutRecord;
use crate::pipeline::claim;
use crate::stage::{Payload, PutHow, PutObject};

/// Puts in flight at once.
const PUTS_AT_ONCE: usize = 16;

/// Parts of one upload in flight.
const PARTS_AT_ONCE: usize = 4;

/// Spooled files are uploaded in parts of this size.
const PART_BYTES: usize = 8 << 20;

/// A put did not happen.
#[derive(Debug, thiserror::Error)]
pub enum PerformError {
    /// Something else stands at the key now: gather again and see what.
    #[error("{key} changed under us")]
    Moved { key: Path },
    #[error("{key} could not be written")]
    Store {
        key: Path,
        #[source]
        source: object_store::Error,
    },
    #[error("the spooled file {path} could not be read")]
    Spool {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

/// Puts everything, claim checks included. On an error some objects may stand: their names are
/// functions of what they hold, so the rerun finds or replaces them.
pub async fn puts(lake: &Arc<dyn ObjectStore>, puts: Vec<PutObject>, sends: &mut [OutRecord]) -> Result<(), PerformError> {
    let claims = sends.iter_mut().filter_map(claim::check_in).map(|(to, bytes)| PutObject {
        to,
        payload: Payload::Bytes(bytes),
        how: PutHow::Replace,
    });
    let all: Vec<PutObject> = puts.into_iter().chain(claims).collect();
    let mut running = futures::stream::iter(all.into_iter().map(|put| one(lake, put))).buffer_unordered(PUTS_AT_ONCE);
    while let Some(done) = running.next().await {
        done?;
    }
    Ok(())
}

async fn one(lake: &Arc<dyn ObjectStore>, put: PutObject) -> Result<(), PerformError> {
    let bytes = match &put.payload {
        Payload::Bytes(bytes) => bytes.clone(),
        Payload::Spool(spool) if put.how == PutHow::Replace => return upload(lake, &put.to, &spool.path).await,
        // Conditional puts have no multipart form: published files are bounded by the plan's size.
        Payload::Spool(spool) => read(&spool.path)?,
    };
    let mode = match &put.how {
        PutHow::Replace => PutMode::Overwrite,
        PutHow::Create => PutMode::Create,
        PutHow::Match { etag } => PutMode::Update(UpdateVersion { e_tag: Some(etag.clone()), version: None }),
    };
    match lake.put_opts(&put.to, PutPayload::from_bytes(bytes), PutOptions::from(mode)).await {
        Ok(_) => Ok(()),
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. },
        ) => Err(PerformError::Moved { key: put.to }),
        Err(source) => Err(PerformError::Store { key: put.to, source }),
    }
}

fn read(path: &std::path::Path) -> Result<bytes::Bytes, PerformError> {
    std::fs::read(path).map(bytes::Bytes::from).map_err(|source| PerformError::Spool { path: path.display().to_string(), source })
}

async fn upload(lake: &Arc<dyn ObjectStore>, to: &Path, from: &std::path::Path) -> Result<(), PerformError> {
    use std::io::Read;
    let store = |source| PerformError::Store { key: to.clone(), source };
    let spool = |source| PerformError::Spool { path: from.display().to_string(), source };
    let mut file = std::fs::File::open(from).map_err(spool)?;
    let mut upload = lake.put_multipart(to).await.map_err(store)?;
    let sent = async {
        let mut parts = FuturesUnordered::new();
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            (&mut file).take(PART_BYTES as u64).read_to_end(&mut part).map_err(spool)?;
            if part.is_empty() {
                break;
            }
            if parts.len() == PARTS_AT_ONCE {
                parts.next().await.transpose().map_err(store)?;
            }
            parts.push(upload.put_part(part.into()));
        }
        while let Some(done) = parts.next().await {
            done.map_err(store)?;
        }
        upload.complete().await.map_err(store)
    };
    if let Err(e) = sent.await {
        // Parts of an upload that never ends cost storage and show nowhere. A crash still leaves them: a lifecycle rule
        // of the bucket removes those.
        if let Err(left) = upload.abort().await {
            tracing::warn!(key = %to, error = %left, "parts of an unfinished upload stay");
        }
        return Err(e);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures::FutureExt;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutResult, Result,
        UploadPart,
    };

    use super::*;
    use crate::stage::Spool;

    /// A store whose uploads lose their second part.
    #[derive(Debug, Default)]
    struct Lossy {
        inner: InMemory,
        aborted: Arc<AtomicUsize>,
    }

    impl std::fmt::Display for Lossy {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Lossy")
        }
    }

    #[derive(Debug)]
    struct Upload {
        n: usize,
        aborted: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl MultipartUpload for Upload {
        fn put_part(&mut self, _: PutPayload) -> UploadPart {
            self.n += 1;
            let lost = Error::Generic { store: "Lossy", source: "lost".into() };
            std::future::ready(if self.n == 2 { Err(lost) } else { Ok(()) }).boxed()
        }
        async fn complete(&mut self) -> Result<PutResult> {
            panic!("a part is missing")
        }
        async fn abort(&mut self) -> Result<()> {
            self.aborted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[async_trait]
    impl ObjectStore for Lossy {
        async fn put_opts(&self, l: &Path, p: PutPayload, o: PutOptions) -> Result<PutResult> {
            self.inner.put_opts(l, p, o).await
        }
        async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
            Ok(Box::new(Upload { n: 0, aborted: Arc::clone(&self.aborted) }))
        }
        async fn get_opts(&self, l: &Path, o: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(l, o).await
        }
        fn delete_stream(&self, l: futures::stream::BoxStream<'static, Result<Path>>) -> futures::stream::BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(l)
        }
        fn list(&self, p: Option<&Path>) -> futures::stream::BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(p)
        }
        async fn list_with_delimiter(&self, p: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(p).await
        }
        async fn copy_opts(&self, f: &Path, t: &Path, o: CopyOptions) -> Result<()> {
            self.inner.copy_opts(f, t, o).await
        }
    }

    fn spooled(folder: &std::path::Path, bytes: usize) -> PutObject {
        let path = folder.join("spool");
        std::fs::write(&path, vec![7; bytes]).unwrap();
        let payload = Payload::Spool(Arc::new(Spool { path, bytes: bytes as u64 }));
        PutObject { to: Path::from("big"), payload, how: PutHow::Replace }
    }

    #[tokio::test]
    async fn an_upload_that_loses_a_part_is_given_up_and_one_that_does_not_arrives_whole() {
        let folder = tempfile::tempdir().unwrap();
        let lossy = Lossy::default();
        let aborted = Arc::clone(&lossy.aborted);
        let lake: Arc<dyn ObjectStore> = Arc::new(lossy);
        let lost = puts(&lake, vec![spooled(folder.path(), 2 * PART_BYTES + 1)], &mut []).await;
        assert!(matches!(lost, Err(PerformError::Store { .. })), "{lost:?}");
        assert_eq!(aborted.load(Ordering::Relaxed), 1);
        let lake: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        puts(&lake, vec![spooled(folder.path(), 5 * PART_BYTES + 1)], &mut []).await.unwrap();
        assert_eq!(lake.get(&Path::from("big")).await.unwrap().bytes().await.unwrap(), vec![7; 5 * PART_BYTES + 1]);
    }
}
