//! State folders made by earlier formats still open (decisions.md 24): what was in flight ends, what was
//! held back can be replayed, and the totals are those of an undisturbed run.
//!
//! `tests/data/state_v1.tar.gz` holds a state folder, its lake and its landing bucket. It is made once for
//! each format, by `cargo test --test state_versions -- --ignored`, and never again.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use lakegate::app::desk::{Desk, Request};
use lakegate::app::replay_order::{ReplayOrder, Selection};
use lakegate::app::run::{Nobody, Running};
use lakegate::app::sources::Opened;
use lakegate::app::wiring::{Options, start_on};
use lakegate::clock::{Clock, SystemClock, sleep};
use lakegate::domain::names::StageName;
use lakegate::domain::position::Partition;
use lakegate::domain::time::{Span, Timestamp};
use lakegate::pipeline::topics::{Topic, Topics};
use lakegate::source::listing::Listing;
use lakegate::stage::bridge::{PullKind, PullSource};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

const BROKEN: &str = "dataset: orders\nroute: { object: { key: [ { prefix: orders/ } ] } }\n\
    source: { formats: [csv], suffixes: [.csv] }\n\
    schema: { subject: orders-value, avro: { type: record, name: Order, fields: [ { name: id, type: long }, { name: amount, type: [\"null\", double], default: null } ] }, required: [id] }\n\
    transform: { batch: { linger: 30d, quiet: 0s, shards: 1 } }\n\
    quality: { rules: 'Rules = [ RowCount > 1 ]' }\n";

/// Files of the bucket, in the order they landed: their e-tags are made of it.
const LANDED: [(&str, &str); 3] = [
    ("orders/a.csv", "id,amount\n1,1.5\n2,2.5\n"),
    ("orders/b.csv", "id,amount\n3,3.5\n"),
    ("orders/c.csv", "id,amount\n4,4.5\n5,5.5\n6,6.5\n"),
];

/// The machine's clock, begun at another time: the fixture must not grow old.
struct Begun {
    system: SystemClock,
    at: Timestamp,
    system_at: Timestamp,
}

impl Begun {
    fn at(at: Timestamp) -> Arc<dyn Clock> {
        Arc::new(Self { system: SystemClock, at, system_at: SystemClock.now() })
    }
}

#[async_trait]
impl Clock for Begun {
    fn now(&self) -> Timestamp {
        self.at.plus(self.system.now().since(self.system_at))
    }
    async fn sleep_until(&self, at: Timestamp) {
        if at == Timestamp::NEVER {
            return std::future::pending().await;
        }
        self.system.sleep_until(self.system_at.plus(at.since(self.at))).await;
    }
}

struct House {
    folder: PathBuf,
    bucket: Arc<InMemory>,
    clock: Arc<dyn Clock>,
}

impl House {
    async fn start(&self, quiet: Option<Span>) -> Running {
        let at = |name: &str| self.folder.join(name);
        let text = |name: &str| at(name).display().to_string();
        let mut options = Options::new(Vec::new(), text("lake"), text("contracts"), Some(at("state")));
        options.partitions = Some(1);
        options.poll = Span::from_millis(50);
        options.quiet = quiet;
        let store: Arc<dyn ObjectStore> = Arc::clone(&self.bucket) as Arc<dyn ObjectStore>;
        let listing = Listing::new("raw".parse().unwrap(), Arc::clone(&store), None);
        let pull = PullSource { name: "raw".to_owned(), kind: PullKind::Listing(listing), poll: options.poll };
        let opened = Opened { buckets: [("raw".to_owned(), store)].into(), pulls: vec![pull] };
        Running::on(start_on(&options, opened, Arc::clone(&self.clock)).await.unwrap())
    }

    async fn land(&self, n: usize) {
        let (key, text) = LANDED[n];
        self.bucket.put(&object_store::path::Path::from(key), text.into()).await.unwrap();
    }

    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        for _ in 0..2_000 {
            if is_so().await {
                return;
            }
            sleep(self.clock.as_ref(), Span::from_millis(10)).await;
        }
        panic!("{what} never came");
    }

    async fn until_landed(&self, running: &mut Running, n: u64) {
        self.until("the landing record", async || {
            running.board.catch_up().await.unwrap();
            running.board.totals().objects.landed >= n
        })
        .await;
    }
}

const QUIET: Option<Span> = Some(Span::from_millis(100));

fn made_at() -> Timestamp {
    Timestamp::parse_rfc3339("2026-03-01T00:00:00Z").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_version_1_opens_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let packed = std::fs::read(data("state_v1.tar.gz")).unwrap();
    unpack(&packed, folder.path());
    let bucket = Arc::new(InMemory::new());
    let house = House { folder: folder.path().to_owned(), bucket, clock: Begun::at(made_at().plus(Span::from_secs(3600))) };
    for n in 0..LANDED.len() {
        house.land(n).await;
    }
    let mut running = house.start(QUIET).await;
    house.until_landed(&mut running, 3).await;
    assert_eq!(running.board.in_flight(), 1, "one batch was open");
    let totals = running.until_idle(Some(Span::from_secs(60)), &mut Nobody).await.unwrap();
    assert_eq!((totals.objects.landed, totals.objects.published, totals.objects.quarantined), (3, 2, 1));
    assert_eq!((totals.rows.published, totals.rows.quarantined), (5, 1));

    // The contract is repaired, and what it held back is replayed.
    std::fs::write(house.folder.join("contracts/orders.yaml"), BROKEN.replace("RowCount > 1", "RowCount > 0")).unwrap();
    running.stop().await.unwrap();
    let mut running = house.start(QUIET).await;
    let selection = Selection::Quarantine { dataset: "orders".to_owned(), reason: None };
    let order = ReplayOrder {
        selection,
        replay_id: Some("again".to_owned()),
        force: false,
        dry_run: false,
        reason: None,
        requested_by: "test".to_owned(),
        objects_per_second: None,
    };
    let answer = Desk::of(&running.engine).answer(Request::Replay { order }).await.unwrap();
    assert_eq!(answer.about["replay"], 1, "{:?}", answer.items);
    house.until_landed(&mut running, 4).await;
    let totals = running.until_idle(Some(Span::from_secs(60)), &mut Nobody).await.unwrap();
    assert_eq!((totals.objects.landed, totals.objects.published, totals.objects.quarantined), (4, 3, 1));
    assert_eq!(totals.rows.published, 6);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes tests/data/state_v1.tar.gz; only for a new format, under a new number"]
async fn make_state() {
    let folder = tempfile::tempdir().unwrap();
    let house = House { folder: folder.path().to_owned(), bucket: Arc::new(InMemory::new()), clock: Begun::at(made_at()) };
    std::fs::create_dir_all(house.folder.join("contracts")).unwrap();
    std::fs::write(house.folder.join("contracts/orders.yaml"), BROKEN).unwrap();
    house.land(0).await;
    house.land(1).await;
    let mut running = house.start(QUIET).await;
    house.until_landed(&mut running, 2).await;
    running.until_idle(Some(Span::from_secs(60)), &mut Nobody).await.unwrap();
    running.settle().await.unwrap();
    assert_eq!((running.totals().objects.published, running.totals().objects.quarantined), (1, 1));
    running.stop().await.unwrap();
    house.land(2).await;
    let mut running = house.start(None).await;
    house.until_landed(&mut running, 3).await;
    let (reader, topics) = (Arc::clone(&running.engine.reader), Arc::clone(&running.engine.outlet.topics));
    let classified = topics.at(Topics::input(StageName::Assemble), Partition(0));
    house
        .until("the open batch", async || {
            let end = reader.bounds(&classified).await.unwrap().end;
            end.0 == 3 && reader.committed(StageName::Assemble.as_str(), &classified).await.unwrap() == Some(end)
        })
        .await;
    let plans = reader.bounds(&topics.at(Topic::Plans, Partition(0))).await.unwrap().end;
    assert_eq!(plans.0, 1, "the second batch is open");
    running.stop().await.unwrap();
    drop((reader, topics));
    let packed = pack(&house.folder);
    eprintln!("{} bytes", packed.len());
    std::fs::write(data("state_v1.tar.gz"), packed).unwrap();
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A tar (ustar) of the files below a folder, gzipped.
fn pack(folder: &Path) -> Vec<u8> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                t if t.is_dir() => {
                    // Also an empty folder is part of a store.
                    files.push(entry.path());
                    folders.push(entry.path());
                }
                t if t.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for path in files {
        let is_folder = path.is_dir();
        let bytes = if is_folder { Vec::new() } else { std::fs::read(&path).unwrap() };
        let name = format!("{}{}", path.strip_prefix(folder).unwrap().display(), if is_folder { "/" } else { "" });
        // A long name is cut at a slash: what stands before it goes into the header's prefix.
        let least = name.len().saturating_sub(101);
        let cut = if name.len() <= 100 { 0 } else { least + name[least..].find('/').unwrap() + 1 };
        let mut header = [0u8; 512];
        header[..name.len() - cut].copy_from_slice(&name.as_bytes()[cut..]);
        header[345..345 + cut.saturating_sub(1)].copy_from_slice(&name.as_bytes()[..cut.saturating_sub(1)]);
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].fill(b' ');
        header[156] = if is_folder { b'5' } else { b'0' };
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        gzip.write_all(&header).unwrap();
        gzip.write_all(&bytes).unwrap();
        gzip.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()]).unwrap();
    }
    gzip.write_all(&[0; 1024]).unwrap();
    gzip.finish().unwrap()
}

fn unpack(packed: &[u8], folder: &Path) {
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut tar).unwrap();
    let mut rest = tar.as_slice();
    while rest.len() >= 512 && rest[0] != 0 {
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&rest[range]).unwrap().trim_end_matches(['\0', ' ']).to_owned();
        let (name, size) = (text(0..100), usize::from_str_radix(&text(124..136), 8).unwrap());
        let to = folder.join(text(345..500)).join(&name);
        std::fs::create_dir_all(if name.ends_with('/') { &to } else { to.parent().unwrap() }).unwrap();
        if !name.ends_with('/') {
            std::fs::write(to, &rest[512..512 + size]).unwrap();
        }
        rest = &rest[512 + size.next_multiple_of(512)..];
    }
}
