//! URLs of stores, and the one conversion from an object's key to a path of a store.

use std::collections::HashMap;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::domain::names::ObjectKey;
use crate::lake::local::{LocalLake, Sync};
use crate::lake::s3;

/// A store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{url} cannot be opened")]
    Store {
        url: String,
        #[source]
        source: object_store::Error,
    },
    #[error("{url} names no absolute path of this machine; write file:///path, or the path alone")]
    FileUrl { url: String },
    #[error("{url} is not there")]
    Missing { url: String },
    #[error("{url}: stores of kind {scheme} are not built into this binary; a directory, file://, memory:// or s3:// is")]
    Scheme { url: String, scheme: String },
    #[error("{url}: {detail}")]
    S3 { url: String, detail: String },
}

/// How the stores of a process are reached, whatever their URLs.
#[derive(Debug, Clone, Default)]
pub struct Stores {
    pub s3: Arc<s3::options::Options>,
}

impl Stores {
    /// Opens a store: a plain path, `file://…`, `s3://bucket[/prefix]`, or `memory://name` (one store per name and
    /// process). A directory is made if it is not there; of a server nothing is asked yet.
    ///
    /// # Errors
    /// `Scheme` for kinds that are not built in, `FileUrl` for one with a host or a relative path, `Store` when a
    /// directory cannot be used, `S3` when the options do not fit the bucket.
    pub fn open(&self, url: &str, sync: Sync) -> Result<Arc<dyn ObjectStore>, OpenError> {
        match url.split_once("://") {
            None => local(url, url, sync),
            Some(("file", rest)) => local(url, &file_path(url, rest)?, sync),
            Some(("memory", name)) => Ok(memory(name)),
            #[cfg(feature = "s3")]
            Some(("s3", _)) => s3::open(url, &self.s3),
            #[cfg(not(feature = "s3"))]
            Some(("s3", _)) => {
                Err(OpenError::S3 { url: url.to_owned(), detail: "this build knows no S3; build it with the default features".to_owned() })
            }
            Some((scheme, _)) => Err(OpenError::Scheme { url: url.to_owned(), scheme: scheme.to_owned() }),
        }
    }

    /// As [`Stores::open`], for what is only read: a directory that is not there is not made.
    ///
    /// # Errors
    /// As [`Stores::open`]; `Missing` when there is no such directory.
    pub fn open_existing(&self, url: &str) -> Result<Arc<dyn ObjectStore>, OpenError> {
        if local_path(url)?.is_some_and(|path| !path.is_dir()) {
            return Err(OpenError::Missing { url: url.to_owned() });
        }
        self.open(url, Sync::Never)
    }
}

/// Whether a URL names a server that may not answer.
pub fn is_remote(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme != "file" && scheme != "memory")
}

/// The path a URL names on this machine; `None`: it is of another kind.
///
/// # Errors
/// `FileUrl`.
pub fn local_path(url: &str) -> Result<Option<PathBuf>, OpenError> {
    match url.split_once("://") {
        None => Ok(Some(url.into())),
        Some(("file", rest)) => Ok(Some(file_path(url, rest)?.into())),
        Some(_) => Ok(None),
    }
}

/// Where `inner` lies in `outer`: the rest of its path, empty when both are one place; `None` when it lies elsewhere.
pub fn within(outer: &str, inner: &str) -> Option<String> {
    let place = |url: &str| match local_path(url) {
        Ok(Some(path)) => {
            let path = std::fs::canonicalize(&path).or_else(|_| std::path::absolute(&path)).unwrap_or(path);
            path.to_string_lossy().trim_end_matches('/').to_owned()
        }
        _ => url.trim_end_matches('/').to_owned(),
    };
    let (outer, inner) = (place(outer), place(inner));
    let rest = inner.strip_prefix(&outer)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())
}

/// The path of a `file://` URL: no host or `localhost`, absolute, percent-decoded (RFC 8089).
fn file_path(url: &str, rest: &str) -> Result<String, OpenError> {
    let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok().filter(|path| path.starts_with('/'));
    decoded.map(|path| path.into_owned()).ok_or_else(|| OpenError::FileUrl { url: url.to_owned() })
}

fn local(url: &str, path: &str, sync: Sync) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let lake = LocalLake::open(FsPath::new(path), sync).map_err(|source| OpenError::Store { url: url.to_owned(), source })?;
    Ok(Arc::new(lake))
}

fn memory(name: &str) -> Arc<dyn ObjectStore> {
    static STORES: OnceLock<Mutex<HashMap<String, Arc<InMemory>>>> = OnceLock::new();
    let mut stores = STORES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(stores.entry(name.to_owned()).or_default()) as Arc<dyn ObjectStore>
}

/// The store's path of a key, letter for letter. `None`: the store cannot name this object
/// (empty, `.` or `..` segments, a leading or trailing slash, control characters).
pub fn object_path(key: &ObjectKey) -> Option<Path> {
    path_of(key.as_str())
}

/// Whether a store's path can name this key; see [`object_path`].
pub fn is_nameable(key: &str) -> bool {
    path_of(key).is_some()
}

fn path_of(key: &str) -> Option<Path> {
    Path::parse(key).ok().filter(|path| path.as_ref() == key && !key.is_empty())
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    fn key(text: &str) -> ObjectKey {
        text.parse().unwrap()
    }

    #[test]
    fn keys_are_taken_letter_for_letter_or_not_at_all() {
        for text in ["a/b c+d.csv", "100%.csv", "%2e%2e/x", "ä/ö.csv", "a#b?.csv", "${x}"] {
            assert_eq!(object_path(&key(text)).unwrap().as_ref(), text);
        }
        for text in ["/a", "a/", "a//b", "../a", "a/./b", "a\nb"] {
            assert_eq!(object_path(&key(text)), None, "{text}");
        }
    }

    #[test]
    fn a_store_lies_within_another_or_elsewhere() {
        for (outer, inner, rest) in [
            ("/no/raw", "/no/raw/", Some("")),
            ("/no/raw", "file:///no/raw/lake", Some("lake")),
            ("/no/raw", "/no/raw2", None),
            ("/no/raw/a", "/no/raw", None),
            ("memory://x", "memory://x", Some("")),
            ("s3://b", "s3://b/lake/one", Some("lake/one")),
            ("s3://b", "s3://bb", None),
        ] {
            assert_eq!(within(outer, inner).as_deref(), rest, "{outer} {inner}");
        }
    }

    #[tokio::test]
    async fn odd_names_round_trip_between_listing_and_reading() {
        let folder = tempfile::tempdir().unwrap();
        let store = Stores::default().open(folder.path().to_str().unwrap(), Sync::Never).unwrap();
        for name in ["a b+c.csv", "100%.csv", "%2e.csv", "ä.csv", "{x}.csv"] {
            std::fs::write(folder.path().join(name), name).unwrap();
            let listed = store.list_with_delimiter(None).await.unwrap().objects;
            assert_eq!(listed[0].location.as_ref(), name);
            let read = store.get(&object_path(&key(name)).unwrap()).await.unwrap().bytes().await.unwrap();
            assert_eq!(read, name);
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
    }

    #[test]
    fn file_urls_are_decoded_and_must_be_absolute() {
        let path = |url: &str| file_path(url, url.strip_prefix("file://").unwrap()).ok();
        assert_eq!(path("file:///a%20b/c"), Some("/a b/c".to_owned()));
        assert_eq!(path("file://localhost/a"), Some("/a".to_owned()));
        for url in ["file://host/a", "file://a", "file://", "file://localhosting/a", "file:///%ff"] {
            assert_eq!(path(url), None, "{url}");
        }
    }

    #[test]
    fn unknown_kinds_are_refused_by_name() {
        let refused = Stores::default().open("gs://b/p", Sync::Always);
        assert!(matches!(refused, Err(OpenError::Scheme { scheme, .. }) if scheme == "gs"));
    }

    #[cfg(not(feature = "s3"))]
    #[test]
    fn a_build_without_s3_says_so() {
        let refused = Stores::default().open("s3://b/p", Sync::Always).map(drop).unwrap_err();
        assert_eq!(refused.to_string(), "s3://b/p: this build knows no S3; build it with the default features");
    }
}
