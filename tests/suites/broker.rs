//! What every implementation of the broker seam promises, and how the tests of each ask for it.

use std::sync::Arc;

use bytes::Bytes;
use lakegate::broker::{Broker, Cleanup, CommitError, Log, OutRecord, PollLimit, Polled, Reader, Record, TopicSpec, Transaction};
use lakegate::clock::{Clock, SystemClock};
use lakegate::domain::names::TopicName;
use lakegate::domain::position::{NextOffset, Partition, Positions, TopicPartition};
use lakegate::domain::time::{Span, Timestamp};

pub const LIMIT: PollLimit = PollLimit { records: 100, bytes: 1 << 20 };

/// How long an implementation takes to say what it has to say.
#[allow(dead_code, reason = "each file of tests has one of them")]
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Everything is there at once.
    AtOnce,
    /// A network lies between: what is expected comes within a minute, and silence is believed after a while.
    Remote,
}

impl Pace {
    /// Until when something that must come is waited for.
    pub fn patience(self) -> Timestamp {
        self.within(Span::from_secs(60))
    }

    /// Until when nothing may come.
    pub fn quiet(self) -> Timestamp {
        self.within(Span::from_millis(400))
    }

    fn within(self, span: Span) -> Timestamp {
        match self {
            Pace::AtOnce => Timestamp::EPOCH,
            Pace::Remote => SystemClock.now().plus(span),
        }
    }
}

pub fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

pub fn at(name: &str, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic(name), partition: Partition(partition) }
}

pub fn out(name: &str, partition: u32, key: &str, value: &str) -> OutRecord {
    OutRecord {
        to: at(name, partition),
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: vec![("run_id".into(), "r1".into())],
    }
}

pub fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap_or_default()).into_owned()).collect()
}

/// Three topics of two partitions; `log` is compacted.
pub async fn ready(broker: &dyn Broker) {
    let kept = Cleanup::Delete { retention: Span::from_secs(3600) };
    let specs: Vec<TopicSpec> = ["in", "out", "log"]
        .map(|name| TopicSpec {
            name: topic(name),
            partitions: 2,
            cleanup: if name == "log" { Cleanup::Compact { lag: Span::ZERO } } else { kept },
        })
        .into();
    broker.ensure(&specs).await.unwrap();
}

/// Takes what is assigned next and reads it from the committed positions.
pub async fn take_over(log: &mut dyn Log, pace: Pace) -> Vec<Partition> {
    match log.poll(LIMIT, pace.patience()).await.unwrap() {
        Polled::Assigned(partitions) => {
            for (p, committed) in &partitions {
                log.seek(*p, committed.unwrap_or_default()).await.unwrap();
            }
            partitions.into_iter().map(|(p, _)| p).collect()
        }
        other => panic!("expected an assignment, got {other:?}"),
    }
}

/// The next change of assignment; records that come before it are passed over.
pub async fn change(log: &mut dyn Log, pace: Pace) -> Polled {
    loop {
        match log.poll(LIMIT, pace.patience()).await.unwrap() {
            Polled::Records(_) => {}
            other => return other,
        }
    }
}

/// The next `n` records, in the order of their places: they may come in pieces.
pub async fn take(log: &mut dyn Log, n: usize, limit: PollLimit, pace: Pace) -> Vec<Record> {
    let mut taken: Vec<Record> = Vec::new();
    while taken.len() < n {
        match log.poll(limit, pace.patience()).await.unwrap() {
            Polled::Records(records) => {
                assert!(!records.is_empty() && records.len() <= limit.records, "{} records", records.len());
                taken.extend(records);
            }
            other => panic!("expected {n} records, got {other:?} after {taken:?}"),
        }
    }
    taken.sort_by_key(|r| (r.at.partition, r.offset));
    assert_eq!(taken.len(), n);
    taken
}

/// Everything committed on a partition.
pub async fn all(reader: &dyn Reader, at: &TopicPartition) -> Vec<Record> {
    let mut next = NextOffset(0);
    let mut found = Vec::new();
    loop {
        let chunk = reader.read(at, next, PollLimit { records: 2, bytes: 1 << 20 }).await.unwrap();
        if chunk.records.is_empty() {
            return found;
        }
        next = chunk.next;
        found.extend(chunk.records);
    }
}

pub fn moved(partition: u32, next: u64) -> Positions {
    let mut positions = Positions::default();
    positions.advance(&at("in", partition), NextOffset(next));
    positions
}

/// What every implementation promises.
pub async fn contract(broker: Arc<dyn Broker>, pace: Pace) {
    ready(broker.as_ref()).await;
    let reader = broker.reader();

    // Appended records come back in order with key, headers and offsets.
    broker.append(vec![out("in", 0, "a", "1"), out("in", 1, "b", "2"), out("in", 0, "a", "3")]).await.unwrap();
    let records = all(reader.as_ref(), &at("in", 0)).await;
    assert_eq!(values(&records), ["1", "3"]);
    assert_eq!((records[1].offset.0, records[1].header("run_id"), &records[1].key[..]), (1, Some("r1"), b"a".as_slice()));

    // A sole member gets every partition, with no position at first; nothing comes before a seek.
    let mut first = broker.worker("g", &topic("in"), "one").await.unwrap();
    match first.poll(LIMIT, pace.patience()).await.unwrap() {
        Polled::Assigned(p) => assert_eq!(p, [(Partition(0), None), (Partition(1), None)]),
        other => panic!("{other:?}"),
    }
    assert_eq!(first.poll(LIMIT, pace.quiet()).await.unwrap(), Polled::Idle);
    first.seek(Partition(0), NextOffset(0)).await.unwrap();
    first.seek(Partition(1), NextOffset(0)).await.unwrap();
    assert_eq!(values(&take(first.as_mut(), 3, LIMIT, pace).await), ["1", "3", "2"]);

    // A transaction: outputs on two topics and the position, all at once; ends are the positions after its records.
    let done = first
        .commit(Transaction { outputs: vec![out("out", 0, "a", "x"), out("log", 0, "k", "v")], positions: moved(0, 2) })
        .await
        .unwrap();
    assert_eq!(done.ends.get(&at("log", 0)), Some(&NextOffset(1)));
    assert_eq!(values(&all(reader.as_ref(), &at("out", 0)).await), ["x"]);
    assert_eq!(reader.committed("g", &at("in", 0)).await.unwrap(), Some(NextOffset(2)));

    // One bad output and nothing of the transaction is visible.
    let torn = Transaction { outputs: vec![out("out", 0, "a", "never"), out("nowhere", 0, "a", "y")], positions: moved(1, 1) };
    assert!(matches!(first.commit(torn).await, Err(CommitError::Aborted { .. })));
    assert_eq!(values(&all(reader.as_ref(), &at("out", 0)).await), ["x"]);
    assert_eq!(reader.committed("g", &at("in", 1)).await.unwrap(), None);

    // Going back delivers again what was not committed.
    first.seek(Partition(1), NextOffset(0)).await.unwrap();
    assert_eq!(values(&take(first.as_mut(), 1, LIMIT, pace).await), ["2"]);

    // A second member: the first is asked, may still commit, and loses the partition with its release.
    let mut second = broker.worker("g", &topic("in"), "two").await.unwrap();
    first.interrupted().await;
    let Polled::Revoked(asked) = first.poll(LIMIT, pace.patience()).await.unwrap() else { panic!("a partition is asked back") };
    assert_eq!(asked.len(), 1);
    assert_eq!(second.poll(LIMIT, pace.quiet()).await.unwrap(), Polled::Idle, "not before the release");
    let p = asked[0].0;
    first.commit(Transaction { outputs: vec![], positions: moved(p, 1) }).await.unwrap();
    first.release(&asked).await.unwrap();
    let zombie = Transaction { outputs: vec![out("out", 0, "a", "zombie")], positions: moved(p, 2) };
    assert!(matches!(first.commit(zombie.clone()).await, Err(CommitError::Fenced)), "released, not yet taken over");
    assert!(first.seek(Partition(p), NextOffset(0)).await.is_err(), "a partition that is not its own any more");
    assert_eq!(take_over(second.as_mut(), pace).await, asked);
    assert!(matches!(first.commit(zombie).await, Err(CommitError::Fenced)), "taken over by another member");
    assert_eq!(values(&all(reader.as_ref(), &at("out", 0)).await), ["x"]);

    // A member that is gone leaves its partitions to the others, at the committed positions.
    drop(first);
    let Polled::Assigned(rest) = change(second.as_mut(), pace).await else { panic!("the rest moves over") };
    assert_eq!(rest.len(), 1);

    // Pausing stops records, not assignments.
    second.pause(true);
    broker.append(vec![out("in", p, "c", "4")]).await.unwrap();
    assert_eq!(second.poll(LIMIT, pace.quiet()).await.unwrap(), Polled::Idle);
    second.pause(false);
    assert!(matches!(second.poll(LIMIT, pace.patience()).await.unwrap(), Polled::Records(_)));

    // A limit of one record is kept, and nothing is skipped or doubled.
    let mut expected = all(reader.as_ref(), &at("in", p)).await;
    for (rest, committed) in rest {
        let from = committed.unwrap_or_default();
        second.seek(rest, from).await.unwrap();
        expected.extend(all(reader.as_ref(), &at("in", rest.0)).await.into_iter().filter(|r| r.offset.0 >= from.0));
    }
    second.seek(Partition(p), NextOffset(0)).await.unwrap();
    expected.sort_by_key(|r| (r.at.partition, r.offset));
    let one = PollLimit { records: 1, bytes: 1 << 20 };
    assert_eq!(take(second.as_mut(), expected.len(), one, pace).await, expected);
    assert_eq!(second.poll(one, pace.quiet()).await.unwrap(), Polled::Idle);
}
