//! The one place where effects happen: puts first, each repeatable, then one commit.

use std::sync::Arc;

use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, WriteMultipart};

use crate::broker::OutRecord;
use crate::pipeline::claim;
use crate::stage::{Payload, PutHow, PutObject};

/// Puts in flight at once.
const PUTS_AT_ONCE: usize = 16;

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
    let mut write = WriteMultipart::new(lake.put_multipart(to).await.map_err(store)?);
    let mut part = vec![0; PART_BYTES];
    loop {
        let n = file.read(&mut part).map_err(spool)?;
        if n == 0 {
            break;
        }
        write.wait_for_capacity(4).await.map_err(store)?;
        write.write(&part[..n]);
    }
    write.finish().await.map_err(store)?;
    Ok(())
}
