use object_store::ObjectStoreExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::app::run::{Nobody, RunError, Running};
use crate::app::wiring::{Options, StartError};
use crate::clock::SystemClock;

const CONTRACT: &str = r#"
dataset: t
route: { object: { key: [ { prefix: in/ } ] } }
source: { formats: [csv], suffixes: [.csv] }
"#;

/// An AWS notification of one object.
fn created(bucket: &str, key: &str, size: u64, etag: &str) -> String {
    let object = format!(r#"{{"key":"{key}","size":{size},"eTag":"{etag}","sequencer":"0064"}}"#);
    let record = format!(
        r#"{{"eventVersion":"2.1","eventSource":"aws:s3","eventTime":"2026-01-02T03:04:05Z","eventName":"ObjectCreated:Put","s3":{{"bucket":{{"name":"{bucket}"}},"object":{object}}}}}"#
    );
    format!(r#"{{"Records":[{record}]}}"#)
}

async fn post(at: SocketAddr, body: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(at).await?;
    let head = format!("POST /notices HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn hook(address: &str) -> Source {
    Source::Webhook(Hook { name: "hook".to_owned(), address: address.to_owned(), family: None })
}

fn options(folder: &std::path::Path, name: &str, sources: Vec<Source>) -> Options {
    std::fs::write(folder.join("t.yaml"), CONTRACT).unwrap();
    let mut options = Options::new(sources, format!("memory://{name}-lake"), folder.display().to_string(), None);
    options.quiet = Some(Span::from_millis(50));
    options.poll = Span::from_millis(50);
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_of_file_and_webhook_are_published_once_and_a_listing_repeats_them() {
    let folder = tempfile::tempdir().unwrap();
    let url = "memory://sources-landing";
    let store = Stores::default().open(url, Sync::Never).unwrap();
    let mut told = Vec::new();
    for (key, text) in [("in/a.csv", "id,v\n1,x\n2,y\n"), ("in/b.csv", "id,v\n3,z\n")] {
        let etag = store.put(&Path::from(key), text.into()).await.unwrap().e_tag.unwrap();
        told.push(created("raw", key, text.len() as u64, &etag));
    }
    let path = folder.path().join("notices.jsonl");
    std::fs::write(&path, format!("{}\n{}\n", told[0], created("elsewhere", "in/c.csv", 3, "e"))).unwrap();
    let sources = vec![
        Source::Landing(Landing::new("raw".parse().unwrap(), url.to_owned())),
        Source::Notices(Notices { name: "told".to_owned(), path, family: None, poll: None }),
        hook("127.0.0.1:0"),
    ];
    let mut running = Running::start(&options(folder.path(), "sources", sources), Arc::new(SystemClock)).await.unwrap();
    let (name, at) = running.engine.webhooks[0].clone();
    assert_eq!(name, "hook");
    let answer = post(at, &told[1]).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""accepted":1"#), "{answer}");

    let totals = running.until_idle(Some(Span::from_secs(120)), &mut Nobody).await.unwrap();
    let objects = &totals.objects;
    let ends = (objects.landed, objects.published, objects.duplicate, objects.quarantined);
    assert_eq!(ends, (5, 2, 2, 1), "two notices, two listed objects, one notice of a bucket nobody has: {totals:?}");
    assert_eq!((totals.rows.physical, totals.rows.published), (3, 3), "{totals:?}");
    assert_eq!(totals.reasons.get("bucket_unknown"), Some(&1), "{totals:?}");
    assert_eq!(totals.reasons.get("duplicate_object"), Some(&2), "{totals:?}");
    running.stop().await.unwrap();
    assert!(post(at, &told[1]).await.is_err(), "a stopped process no longer listens");
}

#[tokio::test]
async fn a_webhook_without_its_address_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let options = options(folder.path(), "taken", vec![hook(&address)]);
    let Err(RunError::Start(StartError::Source(error))) = Running::start(&options, Arc::new(SystemClock)).await else {
        panic!("the address is taken")
    };
    assert!(error.to_string().starts_with(&format!("webhook hook cannot listen on {address}; ")), "{error}");
    // A process without the bridge listens to nobody.
    let mut other = options;
    other.stages = vec![StageName::Check];
    Running::start(&other, Arc::new(SystemClock)).await.unwrap().stop().await.unwrap();
}

#[test]
fn only_what_lakegate_wrote_into_a_bucket_is_skipped() {
    assert_eq!(own_prefixes("/no/raw", "/no/lake"), [""; 0], "quarantine/ may well be a name of somebody's own");
    assert_eq!(own_prefixes("/no/raw", "/no/raw/lake"), ["lake/"]);
    assert_eq!(own_prefixes("/no/raw", "/no/raw"), LAKE_PREFIXES);
}
