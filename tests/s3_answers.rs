//! What becomes of an S3 server that does not do what publishing rests on, or does not let us. The server is a few
//! lines in this process: no other would answer so on purpose.
#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use lakegate::app::run::{RunError, Running};
use lakegate::app::sources::{Landing, Source};
use lakegate::app::wiring::Options;
use lakegate::cli::run::code_of;
use lakegate::clock::SystemClock;
use lakegate::domain::time::Span;
use lakegate::lake::local::Sync;
use lakegate::lake::probe;
use lakegate::lake::s3::options::{self, Keys, Reach};
use lakegate::lake::url::Stores;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

/// How a server is lacking.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Puts happen whatever stands there.
    IgnoresConditions,
    /// Knows put-if-absent and nothing of e-tags.
    IgnoresMatches,
    /// Answers a condition with 501.
    RefusesConditions,
    /// Lets nobody do anything.
    Denies,
    HasNoBucket,
    /// Says to the first put that another one is under way.
    Conflicts,
}

#[derive(Clone)]
struct Server {
    manner: Manner,
    objects: Arc<Mutex<BTreeMap<String, (u64, Bytes)>>>,
    asked: Arc<Mutex<u64>>,
}

fn xml(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, format!("<Error><Code>{code}</Code><Message>said by a test</Message></Error>")).into_response()
}

async fn answer(State(server): State<Server>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let Server { manner, objects, asked } = server;
    let serial = {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        *asked
    };
    let mut objects = objects.lock().unwrap();
    let key = uri.path().to_owned();
    let has = |name: &str| headers.contains_key(name);
    match (manner, method.as_str()) {
        (Manner::Denies, _) => return xml(403, "AccessDenied"),
        (Manner::HasNoBucket, _) => return xml(404, "NoSuchBucket"),
        (Manner::RefusesConditions, "PUT") if has("if-none-match") || has("if-match") => return xml(501, "NotImplemented"),
        (Manner::Conflicts, "PUT") if serial == 1 => return xml(409, "ConditionalRequestConflict"),
        (Manner::IgnoresMatches | Manner::Conflicts, "PUT") if has("if-none-match") && objects.contains_key(&key) => {
            return xml(412, "PreconditionFailed");
        }
        _ => {}
    }
    match method.as_str() {
        "PUT" => {
            objects.insert(key, (serial, body));
            [("etag", format!("\"{serial}\""))].into_response()
        }
        "GET" if uri.query().is_some_and(|q| q.contains("list-type")) => "<ListBucketResult></ListBucketResult>".into_response(),
        "GET" => match objects.get(&key) {
            Some((serial, body)) => {
                let modified = "Thu, 01 Jan 2026 00:00:00 GMT".to_owned();
                ([("etag", format!("\"{serial}\"")), ("last-modified", modified)], body.clone()).into_response()
            }
            None => xml(404, "NoSuchKey"),
        },
        "POST" => "<DeleteResult><Deleted><Key>it</Key></Deleted></DeleteResult>".into_response(),
        _ => xml(405, "MethodNotAllowed"),
    }
}

/// A server and the stores that reach it.
async fn begin(manner: Manner) -> Stores {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = Server { manner, objects: Arc::default(), asked: Arc::default() };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer).with_state(server)).await });
    at_endpoint(format!("http://{at}"))
}

fn at_endpoint(endpoint: String) -> Stores {
    let keys = Keys { id: "id".to_owned(), secret: "secret".to_owned(), session_token: None };
    let common = Reach { endpoint: Some(endpoint), allow_http: Some(true), keys: Some(keys), ..Reach::default() };
    Stores { s3: Arc::new(options::Options { common, connect_timeout: Span::from_millis(500), ..options::Options::default() }) }
}

/// What a start says, with its causes, and its exit code.
async fn start(stores: Stores, landing: &str, lake: &str) -> (String, u8) {
    let contracts = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts").to_owned();
    let landing = Source::Landing(Landing::new("raw".parse().unwrap(), landing.to_owned()));
    let options = Options { stores, ..Options::new(vec![landing], lake.to_owned(), contracts, None) };
    let error: RunError = match Running::start(&options, Arc::new(SystemClock)).await {
        Err(error) => error,
        Ok(_) => panic!("it must not start"),
    };
    let code = code_of(&error);
    (format!("{:#}", anyhow::Error::from(error)), code)
}

#[tokio::test]
async fn a_store_that_ignores_or_refuses_conditions_is_no_start() {
    for (manner, why) in [
        (Manner::IgnoresConditions, "it has no put-if-absent"),
        (Manner::IgnoresMatches, "it has no compare-and-swap"),
        (Manner::RefusesConditions, "the store refuses puts on a condition"),
    ] {
        let (told, code) = start(begin(manner).await, "memory://s3-answers", "s3://lake/one").await;
        assert!(told.starts_with("the lake s3://lake/one cannot be used: ") && told.contains(why), "{manner:?}: {told}");
        assert_eq!(code, 64, "{manner:?}: no waiting mends it");
    }
}

#[tokio::test]
async fn a_refusal_names_bucket_operation_and_permission() {
    let (told, code) = start(begin(Manner::Denies).await, "memory://s3-answers", "s3://lake/one").await;
    assert!(told.contains("bucket lake refuses DeleteObjects (403 AccessDenied: said by a test); allow s3:DeleteObject"), "{told}");
    assert_eq!(code, 64);
    let (told, code) = start(begin(Manner::Denies).await, "s3://landing", "memory://s3-answers").await;
    assert!(told.starts_with("landing raw at s3://landing cannot be listed: "), "{told}");
    assert!(told.contains("bucket landing refuses ListObjectsV2 (403 AccessDenied: said by a test); allow s3:ListBucket"), "{told}");
    assert_eq!(code, 64);
    let store = begin(Manner::Denies).await.open("s3://landing/in", Sync::Never).unwrap();
    let error = store.get(&Path::from("a b.csv")).await.unwrap_err();
    assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
    assert!(error.to_string().contains("bucket landing refuses GetObject of in/a b.csv (403 AccessDenied"), "{error}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_not_taken_for_an_object_that_is_gone() {
    let stores = begin(Manner::HasNoBucket).await;
    let store = stores.open("s3://landing", Sync::Never).unwrap();
    let error = store.get(&Path::from("a.csv")).await.unwrap_err();
    assert!(!matches!(error, Error::NotFound { .. }), "{error:?}");
    let (told, code) = start(stores, "s3://landing", "memory://s3-answers").await;
    assert!(told.contains("there is no bucket landing at http://127.0.0.1:"), "{told}");
    assert_eq!(code, 75);
}

#[tokio::test]
async fn a_put_that_meets_another_one_is_repeated() {
    let store = begin(Manner::Conflicts).await.open("s3://lake", Sync::Always).unwrap();
    let at = Path::from("a");
    let create = || store.put_opts(&at, "x".into(), PutOptions::from(PutMode::Create));
    create().await.unwrap();
    assert!(matches!(create().await, Err(Error::AlreadyExists { .. })));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_as_such() {
    // Bound and dropped: nobody listens there.
    let at = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (told, code) = start(at_endpoint(format!("http://{at}")), "memory://s3-answers", "s3://lake/one").await;
    assert!(told.starts_with("the lake s3://lake/one cannot be used: the store does not answer: "), "{told}");
    assert_eq!(code, 75);
}

#[tokio::test]
async fn a_store_with_put_if_absent_alone_fails_the_probe_at_the_second_question() {
    let store = begin(Manner::IgnoresMatches).await.open("s3://lake", Sync::Always).unwrap();
    assert!(matches!(probe::conditional_puts(&store, "x").await, Err(probe::ProbeError::NoUpdate)));
}
