//! What lakegate needs of a store, run on every implementation that needs no server.

#![allow(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

use std::sync::Arc;

use futures::TryStreamExt;
use lakegate::lake::local::{LocalLake, Sync};
use lakegate::lake::probe;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

#[path = "suites/lake.rs"]
mod suite;

use suite::{Writers, at_etag, contract, put, text};

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(Arc::new(InMemory::new()), Writers::Eight).await;
}

#[tokio::test]
async fn a_directory_keeps_the_contract() {
    for sync in [Sync::Always, Sync::Never] {
        let folder = tempfile::tempdir().unwrap();
        contract(Arc::new(LocalLake::open(folder.path(), sync).unwrap()), Writers::Eight).await;
        let left: Vec<_> = std::fs::read_dir(folder.path().join("t")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|n| !n.to_string_lossy().contains('#')), "{left:?}");
    }
}

#[tokio::test]
async fn what_a_crash_left_behind_is_invisible() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join(".lakegate-tmp")).unwrap();
    std::fs::write(folder.path().join(".lakegate-tmp/12345-1"), "torn").unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalLake::open(folder.path(), Sync::Always).unwrap());
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert!(listed.is_empty(), "{listed:?}");
    assert!(store.list_with_delimiter(None).await.unwrap().common_prefixes.is_empty());
    assert!(store.get(&Path::from(".lakegate-tmp/12345-1")).await.is_err(), "nor can it be read");
}

#[tokio::test]
async fn quick_replacements_never_repeat_an_e_tag() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalLake::open(folder.path(), Sync::Never).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    let mut last = put(&store, "a", "x", PutMode::Create).await.unwrap();
    for _ in 0..200 {
        assert!(seen.insert(last.clone()), "{last:?} came twice");
        last = put(&store, "a", "x", at_etag(last)).await.unwrap();
    }
    assert_eq!(store.head(&Path::from("a")).await.unwrap().e_tag, last);
}

#[tokio::test]
async fn an_upload_that_is_dropped_or_unfinished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalLake::open(folder.path(), Sync::Always).unwrap());
    let mut upload = store.put_multipart(&Path::from("t/big")).await.unwrap();
    drop(upload.put_part(PutPayload::from_static(b"never awaited")));
    assert!(upload.complete().await.is_err(), "a missing part is no object");
    drop(upload);
    assert!(matches!(store.head(&Path::from("t/big")).await, Err(Error::NotFound { .. })));
    assert_eq!(std::fs::read_dir(folder.path().join(".lakegate-tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_store_without_conditional_puts_is_refused() {
    #[derive(Debug)]
    struct Careless(InMemory);
    impl std::fmt::Display for Careless {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Careless")
        }
    }
    #[async_trait::async_trait]
    impl ObjectStore for Careless {
        async fn put_opts(&self, location: &Path, payload: PutPayload, _: PutOptions) -> object_store::Result<object_store::PutResult> {
            self.0.put(location, payload).await
        }
        async fn put_multipart_opts(
            &self,
            l: &Path,
            o: object_store::PutMultipartOptions,
        ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
            self.0.put_multipart_opts(l, o).await
        }
        async fn get_opts(&self, l: &Path, o: GetOptions) -> object_store::Result<object_store::GetResult> {
            self.0.get_opts(l, o).await
        }
        fn delete_stream(
            &self,
            l: futures::stream::BoxStream<'static, object_store::Result<Path>>,
        ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
            self.0.delete_stream(l)
        }
        fn list(&self, p: Option<&Path>) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
            self.0.list(p)
        }
        async fn list_with_delimiter(&self, p: Option<&Path>) -> object_store::Result<object_store::ListResult> {
            self.0.list_with_delimiter(p).await
        }
        async fn copy_opts(&self, f: &Path, t: &Path, o: object_store::CopyOptions) -> object_store::Result<()> {
            self.0.copy_opts(f, t, o).await
        }
    }
    let store: Arc<dyn ObjectStore> = Arc::new(Careless(InMemory::new()));
    assert!(matches!(probe::conditional_puts(&store, "x").await, Err(probe::ProbeError::NoCreate)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_update_is_lost_between_two_workers_on_one_directory() {
    let folder = tempfile::tempdir().unwrap();
    let workers: Vec<Arc<dyn ObjectStore>> =
        (0..2).map(|_| Arc::new(LocalLake::open(folder.path(), Sync::Never).unwrap()) as Arc<dyn ObjectStore>).collect();
    put(&workers[0], "counter", "0", PutMode::Create).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = Arc::clone(&workers[n % 2]);
        tasks.spawn(async move {
            for _ in 0..10 {
                loop {
                    let seen = store.get(&Path::from("counter")).await.unwrap();
                    let e_tag = seen.meta.e_tag.clone();
                    let count: u32 = String::from_utf8(seen.bytes().await.unwrap().to_vec()).unwrap().parse().unwrap();
                    match put(&store, "counter", &(count + 1).to_string(), at_etag(e_tag)).await {
                        Ok(_) => break,
                        Err(Error::Precondition { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(text(&workers[1], "counter").await, "80");
}
