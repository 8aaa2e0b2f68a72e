//! What lakegate needs of a store: run on memory and a directory by `lake_contract`, on servers by `s3_contract`.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use lakegate::lake::{identity, probe};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, WriteMultipart,
};

pub async fn put(store: &Arc<dyn ObjectStore>, at: &str, bytes: &str, mode: PutMode) -> Result<Option<String>, Error> {
    store.put_opts(&Path::from(at), PutPayload::from(bytes.to_owned()), PutOptions::from(mode)).await.map(|r| r.e_tag)
}

pub async fn text(store: &Arc<dyn ObjectStore>, at: &str) -> String {
    String::from_utf8(store.get(&Path::from(at)).await.unwrap().bytes().await.unwrap().to_vec()).unwrap()
}

pub fn at_etag(e_tag: Option<String>) -> PutMode {
    PutMode::Update(UpdateVersion { e_tag, version: None })
}

/// How many writers put on a condition at once.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "no suite has both kinds of stores")]
pub enum Writers {
    Eight,
    /// For a server that looks and writes in two steps: its conditions hold for writers one after another.
    One,
}

/// All of it, on a store that is empty.
pub async fn contract(store: Arc<dyn ObjectStore>, writers: Writers) {
    conditions(&store, writers).await;
    names(&store).await;
    pages(&store).await;
}

async fn conditions(store: &Arc<dyn ObjectStore>, writers: Writers) {
    let at_once = match writers {
        Writers::Eight => 8,
        Writers::One => 1,
    };
    // Create: once.
    put(store, "t/a", "1", PutMode::Create).await.unwrap();
    assert!(matches!(put(store, "t/a", "2", PutMode::Create).await, Err(Error::AlreadyExists { .. })));
    assert_eq!(text(store, "t/a").await, "1");
    let creates = (0..8).map(|n| put(store, "t/race", ["0", "1", "2", "3", "4", "5", "6", "7"][n], PutMode::Create));
    let ended: Vec<_> = futures::stream::iter(creates).buffered(at_once).collect().await;
    let won: Vec<usize> = ended.iter().enumerate().filter(|(_, r)| r.is_ok()).map(|(n, _)| n).collect();
    assert_eq!(won.len(), 1, "exactly one create wins");
    assert_eq!(text(store, "t/race").await, won[0].to_string());

    // Update: only of the version that was seen.
    let e_tag = store.head(&Path::from("t/a")).await.unwrap().e_tag;
    assert!(matches!(put(store, "t/a", "x", at_etag(Some("0-0-0".into()))).await, Err(Error::Precondition { .. })));
    let updates = (0..8).map(|n| put(store, "t/a", ["a", "b", "c", "d", "e", "f", "g", "h"][n], at_etag(e_tag.clone())));
    let ended: Vec<_> = futures::stream::iter(updates).buffered(at_once).collect().await;
    assert_eq!(ended.iter().filter(|r| r.is_ok()).count(), 1, "exactly one update wins");
    assert!(put(store, "t/none", "x", at_etag(e_tag)).await.is_err(), "an update never creates");
    let returned = put(store, "t/a", "again", PutMode::Overwrite).await.unwrap();
    assert_eq!(store.head(&Path::from("t/a")).await.unwrap().e_tag, returned, "a put answers the e-tag a head shows");

    // Reading: ranges, conditions, absence.
    assert_eq!(store.get_range(&Path::from("t/a"), 1..3).await.unwrap(), "ga");
    let moved = GetOptions { if_match: Some("0-0-0".into()), ..GetOptions::default() };
    assert!(is_refused_or_told(store, "t/a", moved).await);
    assert!(matches!(store.get(&Path::from("t/missing")).await, Err(Error::NotFound { .. })));
    // The version that was seen, its e-tag bare as landing records keep it. Not every server lists e-tags.
    let listed: Vec<_> = store.list(Some(&Path::from("t"))).try_collect().await.unwrap();
    let listed = listed.into_iter().find(|o| o.location.as_ref() == "t/a").unwrap();
    let seen = store.head(&Path::from("t/a")).await.unwrap().e_tag;
    assert!(seen.is_some() && (listed.e_tag.is_none() || listed.e_tag == seen));
    let bare = seen.map(|e| e.trim_matches('"').to_owned());
    let same = GetOptions { if_match: bare.clone(), ..GetOptions::default() };
    let found = store.get_opts(&Path::from("t/a"), same).await.unwrap();
    assert_eq!((found.meta.location.as_ref(), found.meta.size), ("t/a", 5), "what was read bears the name that was asked for");
    put(store, "t/a", "newer", PutMode::Overwrite).await.unwrap();
    let gone = GetOptions { if_match: bare, ..GetOptions::default() };
    assert!(is_refused_or_told(store, "t/a", gone).await);
    put(store, "t/empty", "", PutMode::Create).await.unwrap();
    let first = GetOptions { range: Some(GetRange::Bounded(0..8)), ..GetOptions::default() };
    if let Ok(found) = store.get_opts(&Path::from("t/empty"), first).await {
        assert_eq!(found.meta.size, 0, "an empty object has no first bytes, if it answers at all");
    }
    assert_eq!(text(store, "t/empty").await, "");
    store.delete(&Path::from("t/empty")).await.unwrap();

    // Listing shows whole objects and nothing temporary; a large one arrives in parts.
    let mut write = WriteMultipart::new(store.put_multipart(&Path::from("t/large")).await.unwrap());
    for _ in 0..20 {
        write.write(&vec![7u8; 1 << 20]);
    }
    write.finish().await.unwrap();
    let listed: Vec<String> = store.list(Some(&Path::from("t"))).map_ok(|o| o.location.to_string()).try_collect().await.unwrap();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, ["t/a", "t/large", "t/race"]);
    assert_eq!(store.head(&Path::from("t/large")).await.unwrap().size, 20 << 20);
    store.delete(&Path::from("t/large")).await.unwrap();
    assert!(store.head(&Path::from("t/large")).await.is_err());

    probe::conditional_puts(store, "contract").await.unwrap();
    assert_eq!(identity::claim(store, "first").await.unwrap(), "first");
    assert_eq!(identity::claim(store, "second").await.unwrap(), "first", "a lake keeps its id");
}

/// A read on a condition that does not hold: refused, or its answer tells by another e-tag that the server ignored it.
async fn is_refused_or_told(store: &Arc<dyn ObjectStore>, at: &str, options: GetOptions) -> bool {
    let asked = options.if_match.clone();
    match store.get_opts(&Path::from(at), options).await {
        Err(Error::Precondition { .. }) => true,
        Err(e) => panic!("{e}"),
        Ok(found) => found.meta.e_tag.as_deref().map(|e| e.trim_matches('"')) != asked.as_deref(),
    }
}

/// Names are taken letter for letter by puts, listings, reads and deletes.
async fn names(store: &Arc<dyn ObjectStore>) {
    let mut odd = [
        "a b+c.csv",
        "100%.csv",
        "%2e.csv",
        "x%2Fy.csv",
        "ä/ö.csv",
        "a#b?.csv",
        "{x}[1]^`.csv",
        "a&amp;b<c>.csv",
        "'q\".csv",
        "~$@,;=.csv",
        "date=2026-01-02/v=a%3Ab/part.parquet",
        "🦀.csv",
        " lead.csv",
        "trail.csv ",
        "..a/b...csv",
    ];
    odd.sort_unstable();
    for name in odd {
        let at = Path::parse(format!("odd/{name}")).unwrap();
        store.put_opts(&at, PutPayload::from(name.to_owned()), PutOptions::from(PutMode::Create)).await.unwrap();
    }
    let listed: Vec<_> = store.list(Some(&Path::from("odd"))).map_ok(|o| o.location).try_collect().await.unwrap();
    let mut found: Vec<&str> = listed.iter().map(|at| at.as_ref().strip_prefix("odd/").unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, odd);
    for at in &listed {
        assert_eq!(at.as_ref(), format!("odd/{}", String::from_utf8_lossy(&store.get(at).await.unwrap().bytes().await.unwrap())));
    }
    let top = store.list_with_delimiter(Some(&Path::from("odd"))).await.unwrap();
    let mut folders: Vec<&str> = top.common_prefixes.iter().map(Path::as_ref).collect();
    folders.sort_unstable();
    assert_eq!(folders, ["odd/..a", "odd/date=2026-01-02", "odd/ä"]);
    for at in &listed {
        store.delete(at).await.unwrap();
        assert!(matches!(store.head(at).await, Err(Error::NotFound { .. })), "{at}");
    }
}

/// More objects than one page of any server, listed and deleted once each.
async fn pages(store: &Arc<dyn ObjectStore>) {
    const N: usize = 1_100;
    let at = |n: usize| Path::from(format!("many/{n:05}"));
    let mut puts = futures::stream::iter((0..N).map(|n| async move { store.put(&at(n), "x".into()).await })).buffer_unordered(16);
    while let Some(put) = puts.next().await {
        put.unwrap();
    }
    let list = || async {
        let listed = store.list(Some(&Path::from("many"))).map_ok(|o| o.location);
        let mut listed: Vec<Path> = listed.try_collect().await.unwrap();
        listed.sort();
        listed
    };
    let listed = list().await;
    assert_eq!(listed, (0..N).map(at).collect::<Vec<_>>());
    let deleted: Vec<Path> = store.delete_stream(futures::stream::iter(listed).map(Ok).boxed()).try_collect().await.unwrap();
    assert_eq!(deleted.len(), N);
    assert!(list().await.is_empty());
}
