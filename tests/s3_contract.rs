//! The contract of the lake seam on S3 servers, and what only a bucket shows: keys no path can name, versions by id,
//! uploads that ended halfway.
//!
//! `tests/env/moto start` and `tests/env/s3s start` begin them and print LAKEGATE_TEST_S3_MOTO and LAKEGATE_TEST_S3_S3S.
//! Without those variables nothing here runs, unless LAKEGATE_TEST_REQUIRE names `s3`: then it fails. Every test has
//! buckets of its own.
#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]
#![allow(clippy::disallowed_methods, reason = "the environment names the servers")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use futures::TryStreamExt;
use lakegate::lake::local::Sync;
use lakegate::lake::s3::options::{Keys, Options, Reach};
use lakegate::lake::url::Stores;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use uuid::Uuid;

#[path = "suites/lake.rs"]
mod suite;

use suite::{Writers, contract, put, text};

/// A server that runs.
struct Server {
    name: &'static str,
    endpoint: String,
    /// The folder whose folders are buckets; `None`: it is asked for a bucket.
    buckets: Option<String>,
}

/// The servers that are named.
fn servers() -> Vec<Server> {
    let required = std::env::var("LAKEGATE_TEST_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|r| r == "s3");
    let mut named = Vec::new();
    for (name, variable, buckets) in
        [("moto", "LAKEGATE_TEST_S3_MOTO", None), ("s3s", "LAKEGATE_TEST_S3_S3S", Some("LAKEGATE_TEST_S3_S3S_BUCKETS"))]
    {
        match std::env::var(variable) {
            Ok(endpoint) => {
                named.push(Server { name, endpoint, buckets: buckets.map(|b| std::env::var(b).expect("it is printed beside")) })
            }
            Err(_) => {
                assert!(!is_required, "{variable} names no server; start one with tests/env/{name} start");
                eprintln!("not run: {variable} names no server; tests/env/{name} start begins one");
            }
        }
    }
    named
}

impl Server {
    fn is_moto(&self) -> bool {
        self.buckets.is_none()
    }

    /// Makes a bucket nobody else has.
    fn bucket(&self) -> String {
        let bucket = format!("lakegate-{}", Uuid::new_v4().simple());
        match &self.buckets {
            Some(folder) => std::fs::create_dir(format!("{folder}/{bucket}")).unwrap(),
            None => drop(self.ask("PUT", &format!("/{bucket}"), "")),
        }
        bucket
    }

    fn open(&self, place: &str) -> Arc<dyn ObjectStore> {
        let keys = Keys { id: "lakegate".to_owned(), secret: "lakegate-secret".to_owned(), session_token: None };
        let common = Reach { endpoint: Some(self.endpoint.clone()), allow_http: Some(true), keys: Some(keys), ..Reach::default() };
        let stores = Stores { s3: Arc::new(Options { common, ..Options::default() }) };
        stores.open(&format!("s3://{place}"), Sync::Always).unwrap()
    }

    /// One request without a signature; moto takes those. Answers the whole response.
    fn ask(&self, method: &str, target: &str, body: &str) -> String {
        let host = self.endpoint.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let length = body.len();
        write!(stream, "{method} {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some("200"), "{method} {target}: {answer}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_and_a_prefix_of_one_keep_the_contract() {
    for server in servers() {
        eprintln!("{}", server.name);
        // s3s-fs looks and writes in two steps: enough for one writer, no place for a lake.
        let writers = if server.is_moto() { Writers::Eight } else { Writers::One };
        let bucket = server.bucket();
        contract(server.open(&format!("{bucket}/lake/one")), writers).await;
        let whole = server.open(&bucket);
        let left: Vec<_> = whole.list(None).map_ok(|o| o.location.to_string()).try_collect().await.unwrap();
        assert!(!left.is_empty() && left.iter().all(|at| at.starts_with("lake/one/")), "a prefix is not left: {left:?}");
        contract(server.open(&server.bucket()), writers).await;
    }
}

#[tokio::test]
async fn keys_that_no_path_can_name_hide_none_of_their_neighbors() {
    for server in servers().into_iter().filter(Server::is_moto) {
        let bucket = server.bucket();
        for (key, body) in [("a//b", "x"), ("folder/", ""), ("//lead", "x"), ("in/a.csv", "1"), ("in/b%20c.csv", "2"), ("in//c", "3")] {
            server.ask("PUT", &format!("/{bucket}/{key}"), body);
        }
        let store = server.open(&bucket);
        let listed: Vec<String> = store.list(None).map_ok(|o| o.location.to_string()).try_collect().await.unwrap();
        assert_eq!(listed, ["in/a.csv", "in/b c.csv"]);
        let top = store.list_with_delimiter(None).await.unwrap();
        assert_eq!(top.common_prefixes.iter().map(Path::as_ref).collect::<Vec<_>>(), ["a", "folder", "in"]);
        let below = server.open(&format!("{bucket}/in"));
        let listed: Vec<String> = below.list(None).map_ok(|o| o.location.to_string()).try_collect().await.unwrap();
        assert_eq!(listed, ["a.csv", "b c.csv"]);
    }
}

#[tokio::test]
async fn a_version_is_read_by_its_id_after_it_was_replaced() {
    for server in servers().into_iter().filter(Server::is_moto) {
        let bucket = server.bucket();
        server.ask("PUT", &format!("/{bucket}?versioning"), "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
        let store = server.open(&format!("{bucket}/in"));
        put(&store, "a.csv", "one", PutMode::Create).await.unwrap();
        let first = store.head(&Path::from("a.csv")).await.unwrap();
        assert_eq!(first.location.as_ref(), "a.csv");
        assert!(first.version.is_some(), "a prefix keeps version ids");
        put(&store, "a.csv", "two", PutMode::Overwrite).await.unwrap();
        assert_eq!(text(&store, "a.csv").await, "two");
        let old = GetOptions { version: first.version, ..GetOptions::default() };
        assert_eq!(store.get_opts(&Path::from("a.csv"), old).await.unwrap().bytes().await.unwrap(), "one");
    }
}

#[tokio::test]
async fn an_upload_that_is_given_up_keeps_no_parts() {
    for server in servers().into_iter().filter(Server::is_moto) {
        let bucket = server.bucket();
        let store = server.open(&bucket);
        let mut upload = store.put_multipart(&Path::from("big")).await.unwrap();
        upload.put_part(PutPayload::from(vec![0u8; 5 << 20])).await.unwrap();
        assert!(server.ask("GET", &format!("/{bucket}?uploads"), "").contains("<Upload>"), "it has begun");
        upload.abort().await.unwrap();
        assert!(!server.ask("GET", &format!("/{bucket}?uploads"), "").contains("<Upload>"));
        assert!(store.head(&Path::from("big")).await.is_err());
    }
}
