//! A lake in a directory, crash-safe.
//!
//! Listing is `object_store`'s own; writing is ours: a temporary file in the hidden folder
//! `.lakegate-tmp` of the root, which listings leave out and no reader's glob enters, fsync, then a
//! rename (or a hard link, which fails if something stands there), then fsync of the folder and of
//! every folder made on the way. A put on condition of an e-tag compares it under an advisory lock,
//! because file systems have no compare-and-swap; overwriting and deleting take the same lock.
//! Keys cannot leave the root: `object_store` refuses `.` and `..` segments. Symbolic links inside the
//! root are followed, so who may create links there decides what is read.
//!
//! Limits: a name that ends in `#` and digits is refused and not listed (`object_store` keeps such
//! names for itself). Temporary files of a crash stay in the hidden folder until somebody removes it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
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

/// Holds temporary files and locks; on the root's file system, so a rename is atomic.
const HIDDEN: &str = ".lakegate-tmp";

/// Locks of one lake; keys share them by hash, so unrelated writes seldom wait for each other.
const LOCKS: u64 = 64;

impl LocalLake {
    /// # Errors
    /// When the directory cannot be created.
    pub fn open(root: &FsPath, sync: Sync) -> Result<Self> {
        fs::create_dir_all(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        Ok(Self { inner: Arc::new(LocalFileSystem::new_with_prefix(&root)?), root, sync })
    }

    /// Writes beside, then places; answers the e-tag of what *this* call wrote, whoever comes next.
    fn write(&self, target: &FsPath, payload: &PutPayload, mode: PutMode, location: &Path) -> Result<String> {
        let (temporary, mut file) = self.create_temporary()?;
        let written = payload
            .iter()
            .try_for_each(|chunk| file.write_all(chunk))
            .map_err(failed)
            .and_then(|()| self.finish(&temporary, &file, target, mode, location));
        // A rename took it away already; a link left it. Either way nothing of ours stays.
        drop(fs::remove_file(&temporary));
        written
    }

    fn create_temporary(&self) -> Result<(PathBuf, File)> {
        let folder = self.root.join(HIDDEN);
        loop {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{serial}", std::process::id()));
            match File::create_new(&path) {
                Ok(file) => return Ok((path, file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&folder).map_err(failed)?,
                // Left by a crash, or by another host with the same process id.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// Syncs a complete temporary file and gives it its name.
    fn finish(&self, temporary: &FsPath, file: &File, target: &FsPath, mode: PutMode, location: &Path) -> Result<String> {
        self.sync_file(file)?;
        let folder = target.parent().unwrap_or(&self.root);
        if !folder.is_dir() {
            self.create_folders(folder)?;
        }
        let found = self.place(temporary, file, target, mode, location)?;
        self.sync_folder(folder)?;
        Ok(found)
    }

    fn place(&self, temporary: &FsPath, file: &File, target: &FsPath, mode: PutMode, location: &Path) -> Result<String> {
        if mode == PutMode::Create {
            let e_tag = etag(&file.metadata().map_err(failed)?).map_err(failed)?;
            return match fs::hard_link(temporary, target) {
                Ok(()) => Ok(e_tag),
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                    Err(object_store::Error::AlreadyExists { path: location.to_string(), source: source.into() })
                }
                Err(source) => Err(failed(source)),
            };
        }
        let _turn = self.lock(location)?;
        let standing = match fs::metadata(target) {
            Ok(meta) => Some(meta),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed(e)),
        };
        if let PutMode::Update(expected) = mode {
            let refused = |why: String| object_store::Error::Precondition { path: location.to_string(), source: why.into() };
            let Some(standing) = &standing else { return Err(refused("nothing stands there".to_owned())) };
            let found = etag(standing).map_err(failed)?;
            if expected.e_tag.as_deref() != Some(&found) {
                return Err(refused(format!("its e-tag is {found}")));
            }
        }
        if let Some(standing) = standing {
            self.make_newer(file, &standing)?;
        }
        let e_tag = etag(&file.metadata().map_err(failed)?).map_err(failed)?;
        fs::rename(temporary, target).map_err(failed)?;
        Ok(e_tag)
    }

    /// Clocks of file systems tick in milliseconds and inode numbers are reused, so of three quick writes the
    /// third could bear the first one's e-tag. Each replacement is therefore later than what it replaces.
    fn make_newer(&self, file: &File, standing: &fs::Metadata) -> Result<()> {
        let least = standing.modified().map_err(failed)? + Duration::from_micros(1);
        if file.metadata().and_then(|m| m.modified()).map_err(failed)? < least {
            file.set_modified(least).map_err(failed)?;
            self.sync_file(file)?;
        }
        Ok(())
    }

    /// Makes the missing folders; each new name is synced in its parent.
    fn create_folders(&self, folder: &FsPath) -> Result<()> {
        let missing: Vec<&FsPath> = folder.ancestors().take_while(|f| !f.is_dir()).collect();
        fs::create_dir_all(folder).map_err(failed)?;
        for made in missing {
            self.sync_folder(made.parent().unwrap_or(&self.root))?;
        }
        Ok(())
    }

    /// All of it, times too: the modification time is part of the e-tag.
    fn sync_file(&self, file: &File) -> Result<()> {
        if self.sync == Sync::Always { file.sync_all().map_err(failed) } else { Ok(()) }
    }

    fn sync_folder(&self, folder: &FsPath) -> Result<()> {
        if self.sync == Sync::Always { File::open(folder).and_then(|d| d.sync_all()).map_err(failed) } else { Ok(()) }
    }

    /// Held until the file is dropped; excludes threads and processes on this lake.
    fn lock(&self, location: &Path) -> Result<File> {
        let number = xxhash_rust::xxh3::xxh3_64(location.as_ref().as_bytes()) % LOCKS;
        let folder = self.root.join(HIDDEN);
        fs::create_dir_all(&folder).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(folder.join(format!("lock-{number}"))).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn path(&self, location: &Path) -> Result<PathBuf> {
        if hidden(location) {
            let source = format!("{HIDDEN} is kept for temporary files").into();
            return Err(object_store::Error::NotSupported { source });
        }
        if location.as_ref().contains('#') {
            return self.inner.path_to_filesystem(location);
        }
        // The same, without the detour over a URL: segments are what they say, and none is `.` or `..`.
        Ok(self.root.join(location.as_ref()))
    }

    fn open_object(&self, location: &Path, options: &GetOptions) -> Result<GetResult> {
        let path = self.path(location)?;
        let absent = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => object_store::Error::NotFound { path: location.to_string(), source: source.into() },
            _ => failed(source),
        };
        let file = File::open(&path).map_err(absent)?;
        let found = file.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(absent(io::Error::new(io::ErrorKind::NotFound, "a folder")));
        }
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: found.modified().map_err(failed)?.into(),
            size: found.len(),
            e_tag: Some(etag(&found).map_err(failed)?),
            version: None,
        };
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(|e| object_store::Error::Generic { store: NAME, source: e.into() })?,
            None => 0..meta.size,
        };
        Ok(GetResult { payload: GetResultPayload::File(file, path), meta, range, attributes: Attributes::default() })
    }
}

fn hidden(location: &Path) -> bool {
    location.as_ref().split('/').next() == Some(HIDDEN)
}

fn without_hidden(listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    listing.try_filter(|meta| std::future::ready(!hidden(&meta.location))).boxed()
}

fn failed(source: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: NAME, source: Box::new(source) }
}

/// As `object_store` makes it for local files: inode, modification time in microseconds and size, hex.
fn etag(meta: &fs::Metadata) -> io::Result<String> {
    use std::os::unix::fs::MetadataExt;
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
            let e_tag = lake.write(&target, &payload, opts.mode, &location)?;
            Ok(PutResult { e_tag: Some(e_tag), version: None })
        })
        .await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let target = self.path(location)?;
        let (lake, location) = (self.clone(), location.clone());
        blocking(move || {
            let (temporary, file) = lake.create_temporary()?;
            let parts = Arc::new(Parts { file, temporary, written: AtomicU64::new(0) });
            Ok(Box::new(LocalUpload { lake, location, target, parts, offset: 0, ended: false }) as Box<dyn MultipartUpload>)
        })
        .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        // Opening is microseconds; to hand it to another thread and back costs ten times that.
        self.open_object(location, &options)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.path(location)?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let lake = self.clone();
        let delete = move |location: Result<Path>| {
            let lake = lake.clone();
            blocking(move || {
                let location = location?;
                let target = lake.path(&location)?;
                let _turn = lake.lock(&location)?;
                fs::remove_file(&target).map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => object_store::Error::NotFound { path: location.to_string(), source: source.into() },
                    _ => failed(source),
                })?;
                lake.sync_folder(target.parent().unwrap_or(&lake.root))?;
                Ok(location)
            })
        };
        // Ten at once, as object_store's own stores do: deletes are short and wait for the disk.
        locations.map(delete).buffered(10).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        without_hidden(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        without_hidden(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        listed.common_prefixes.retain(|p| !hidden(p));
        listed.objects.retain(|o| !hidden(&o.location));
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let mode = match options.mode {
            object_store::CopyMode::Overwrite => PutMode::Overwrite,
            object_store::CopyMode::Create => PutMode::Create,
        };
        let bytes = self.get(from).await?.bytes().await?;
        self.put_opts(to, PutPayload::from_bytes(bytes), PutOptions::from(mode)).await.map(drop)
    }
}

/// A multipart upload: parts go into a temporary file at their offsets, which gets its name when all are there.
#[derive(Debug)]
struct LocalUpload {
    lake: LocalLake,
    location: Path,
    target: PathBuf,
    parts: Arc<Parts>,
    offset: u64,
    ended: bool,
}

#[derive(Debug)]
struct Parts {
    file: File,
    temporary: PathBuf,
    /// Bytes of the parts that arrived whole.
    written: AtomicU64,
}

impl Drop for Parts {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.temporary));
    }
}

#[async_trait]
impl MultipartUpload for LocalUpload {
    fn put_part(&mut self, data: PutPayload) -> object_store::UploadPart {
        use std::os::unix::fs::FileExt;
        let mut at = self.offset;
        let length = data.content_length() as u64;
        self.offset += length;
        let parts = Arc::clone(&self.parts);
        blocking(move || {
            for chunk in data.iter() {
                parts.file.write_all_at(chunk, at).map_err(failed)?;
                at += chunk.len() as u64;
            }
            parts.written.fetch_add(length, Ordering::AcqRel);
            Ok(())
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let written = self.parts.written.load(Ordering::Acquire);
        if self.ended || written != self.offset {
            let source = format!("{written} of {} bytes have arrived, or the upload has ended", self.offset).into();
            return Err(object_store::Error::Generic { store: NAME, source });
        }
        self.ended = true;
        let (lake, parts, target, location) = (self.lake.clone(), Arc::clone(&self.parts), self.target.clone(), self.location.clone());
        blocking(move || {
            let e_tag = lake.finish(&parts.temporary, &parts.file, &target, PutMode::Overwrite, &location)?;
            Ok(PutResult { e_tag: Some(e_tag), version: None })
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        self.ended = true;
        let parts = Arc::clone(&self.parts);
        blocking(move || fs::remove_file(&parts.temporary).map_err(failed)).await
    }
}
