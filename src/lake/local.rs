//! A lake in a directory, crash-safe.
//!
//! Reading and listing are `object_store`'s own; writing is ours: a temporary file beside the
//! target (`<name>#<digits>`, which neither listings nor a glob for `*.parquet` see), fsync, then
//! a rename (or a hard link, which fails if something stands there), then fsync of the folder. A
//! put on condition of an e-tag compares it under an advisory lock, because file systems have no
//! compare-and-swap. Keys cannot leave the root: `object_store` refuses `.` and `..` segments.
//! Symbolic links inside the root are followed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Whether a put waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// File and folder are synced before a put returns.
    #[default]
    Always,
    /// Left to the operating system: for tests and throw-away lakes.
    Never,
}

/// A lake in a directory.
#[derive(Debug, Clone)]
pub struct LocalLake {
    inner: Arc<LocalFileSystem>,
    root: PathBuf,
    sync: Sync,
}

/// Tells the temporary files of one process apart.
static SERIAL: AtomicU64 = AtomicU64::new(0);

const NAME: &str = "LocalLake";

impl LocalLake {
    /// # Errors
    /// When the directory cannot be created.
    pub fn open(root: &FsPath, sync: Sync) -> Result<Self> {
        fs::create_dir_all(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        Ok(Self { inner: Arc::new(LocalFileSystem::new_with_prefix(&root)?), root, sync })
    }

    fn write(&self, target: &FsPath, payload: &PutPayload, mode: PutMode, location: &Path) -> Result<()> {
        let folder = target.parent().unwrap_or(&self.root);
        let temporary = temporary_name(target);
        let mut file = match File::create_new(&temporary) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder).map_err(failed)?;
                File::create_new(&temporary).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        let put = payload
            .iter()
            .try_for_each(|chunk| file.write_all(chunk))
            .and_then(|()| if self.sync == Sync::Always { file.sync_data() } else { Ok(()) });
        drop(file);
        let done = put.map_err(failed).and_then(|()| self.place(&temporary, target, mode, location));
        // A rename took it away already; a link left it. Either way nothing of ours stays.
        drop(fs::remove_file(&temporary));
        done?;
        if self.sync == Sync::Always {
            File::open(folder).and_then(|d| d.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    fn place(&self, temporary: &FsPath, target: &FsPath, mode: PutMode, location: &Path) -> Result<()> {
        match mode {
            PutMode::Overwrite => fs::rename(temporary, target).map_err(failed),
            PutMode::Create => fs::hard_link(temporary, target).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => object_store::Error::AlreadyExists { path: location.to_string(), source: source.into() },
                _ => failed(source),
            }),
            PutMode::Update(expected) => {
                let _turn = self.lock()?;
                let found = etag(target).map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => {
                        object_store::Error::Precondition { path: location.to_string(), source: "nothing stands there".into() }
                    }
                    _ => failed(source),
                })?;
                if expected.e_tag.as_deref() != Some(&found) {
                    let source = format!("its e-tag is {found}").into();
                    return Err(object_store::Error::Precondition { path: location.to_string(), source });
                }
                fs::rename(temporary, target).map_err(failed)
            }
        }
    }

    /// One lock for the lake: conditional updates are rare (forced replays), and short.
    fn lock(&self) -> Result<File> {
        let folder = self.root.join("_lakegate");
        fs::create_dir_all(&folder).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(folder.join("update.lock")).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn path(&self, location: &Path) -> Result<PathBuf> {
        self.inner.path_to_filesystem(location)
    }
}

fn failed(source: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: NAME, source: Box::new(source) }
}

/// `<name>#<pid><serial>`: digits after `#` are what listings leave out.
fn temporary_name(target: &FsPath) -> PathBuf {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let mut name = target.as_os_str().to_owned();
    name.push(format!("#{}{serial:010}", std::process::id()));
    PathBuf::from(name)
}

/// As `object_store` makes it for local files: inode, modification time in microseconds and size, hex.
fn etag(path: &FsPath) -> io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path)?;
    let micros = meta.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_micros();
    Ok(format!("{:x}-{micros:x}-{:x}", meta.ino(), meta.len()))
}

impl std::fmt::Display for LocalLake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{NAME}({})", self.root.display())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.map_err(|e| object_store::Error::JoinError { source: e })?,
        Err(_) => work(),
    }
}

#[async_trait]
impl ObjectStore for LocalLake {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let target = self.path(location)?;
        let (lake, location) = (self.clone(), location.clone());
        blocking(move || {
            lake.write(&target, &payload, opts.mode, &location)?;
            Ok(PutResult { e_tag: Some(etag(&target).map_err(failed)?), version: None })
        })
        .await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(SyncedUpload { inner, target: self.path(location)?, sync: self.sync }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let mode = match options.mode {
            object_store::CopyMode::Overwrite => PutMode::Overwrite,
            object_store::CopyMode::Create => PutMode::Create,
        };
        let bytes = self.get(from).await?.bytes().await?;
        self.put_opts(to, PutPayload::from_bytes(bytes), PutOptions::from(mode)).await.map(drop)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// A multipart upload whose result is synced.
#[derive(Debug)]
struct SyncedUpload {
    inner: Box<dyn MultipartUpload>,
    target: PathBuf,
    sync: Sync,
}

#[async_trait]
impl MultipartUpload for SyncedUpload {
    fn put_part(&mut self, data: PutPayload) -> object_store::UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        if self.sync == Sync::Always {
            let target = self.target.clone();
            blocking(move || {
                File::open(&target).and_then(|f| f.sync_data()).map_err(failed)?;
                let folder = target.parent().unwrap_or(FsPath::new("/"));
                File::open(folder).and_then(|d| d.sync_all()).map_err(failed)
            })
            .await?;
        }
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
