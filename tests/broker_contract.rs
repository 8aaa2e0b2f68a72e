//! The contract of the broker seam, run on every implementation that needs no server.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::sync::Arc;

use bytes::Bytes;
use lakegate::broker::embedded::{Durability, EmbeddedBroker, OpenError};
use lakegate::broker::{Broker, Cleanup, CommitError, Log, OutRecord, PollLimit, Polled, Reader, Record, TopicSpec, Transaction};
use lakegate::clock::{Clock, ManualClock};
use lakegate::domain::names::TopicName;
use lakegate::domain::position::{NextOffset, Partition, Positions, TopicPartition};
use lakegate::domain::time::{Span, Timestamp};

const LIMIT: PollLimit = PollLimit { records: 100, bytes: 1 << 20 };

fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

fn at(name: &str, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic(name), partition: Partition(partition) }
}

fn out(name: &str, partition: u32, key: &str, value: &str) -> OutRecord {
    OutRecord {
        to: at(name, partition),
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: vec![("run_id".into(), "r1".into())],
    }
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap_or_default()).into_owned()).collect()
}

async fn ready(broker: &dyn Broker) {
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

async fn take_over(log: &mut dyn Log) -> Vec<Partition> {
    match log.poll(LIMIT, Timestamp::EPOCH).await.unwrap() {
        Polled::Assigned(partitions) => {
            for (p, committed) in &partitions {
                log.seek(*p, committed.unwrap_or_default()).await.unwrap();
            }
            partitions.into_iter().map(|(p, _)| p).collect()
        }
        other => panic!("expected an assignment, got {other:?}"),
    }
}

async fn all(reader: &dyn Reader, at: &TopicPartition) -> Vec<Record> {
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

fn moved(partition: u32, next: u64) -> Positions {
    let mut positions = Positions::default();
    positions.advance(&at("in", partition), NextOffset(next));
    positions
}

/// What every implementation promises.
async fn contract(broker: Arc<dyn Broker>) {
    ready(broker.as_ref()).await;
    let reader = broker.reader();

    // Appended records come back in order with key, headers and offsets.
    broker.append(vec![out("in", 0, "a", "1"), out("in", 1, "b", "2"), out("in", 0, "a", "3")]).await.unwrap();
    let records = all(reader.as_ref(), &at("in", 0)).await;
    assert_eq!(values(&records), ["1", "3"]);
    assert_eq!((records[1].offset.0, records[1].header("run_id"), &records[1].key[..]), (1, Some("r1"), b"a".as_slice()));

    // A sole member gets every partition, with no position at first; nothing comes before a seek.
    let mut first = broker.worker("g", &topic("in"), "one").await.unwrap();
    match first.poll(LIMIT, Timestamp::EPOCH).await.unwrap() {
        Polled::Assigned(p) => assert_eq!(p, [(Partition(0), None), (Partition(1), None)]),
        other => panic!("{other:?}"),
    }
    assert_eq!(first.poll(LIMIT, Timestamp::EPOCH).await.unwrap(), Polled::Idle);
    first.seek(Partition(0), NextOffset(0)).await.unwrap();
    first.seek(Partition(1), NextOffset(0)).await.unwrap();
    let Polled::Records(polled) = first.poll(LIMIT, Timestamp::EPOCH).await.unwrap() else { panic!("records wait") };
    assert_eq!(values(&polled), ["1", "3", "2"]);

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
    let Polled::Records(again) = first.poll(LIMIT, Timestamp::EPOCH).await.unwrap() else { panic!("read again") };
    assert_eq!(values(&again), ["2"]);

    // A second member: the first is asked, may still commit, and loses the partition with its release.
    let mut second = broker.worker("g", &topic("in"), "two").await.unwrap();
    first.interrupted().await;
    let Polled::Revoked(asked) = first.poll(LIMIT, Timestamp::EPOCH).await.unwrap() else { panic!("a partition is asked back") };
    assert_eq!(asked.len(), 1);
    assert_eq!(second.poll(LIMIT, Timestamp::EPOCH).await.unwrap(), Polled::Idle, "not before the release");
    let p = asked[0].0;
    first.commit(Transaction { outputs: vec![], positions: moved(p, 1) }).await.unwrap();
    first.release(&asked).await.unwrap();
    let zombie = Transaction { outputs: vec![out("out", 0, "a", "zombie")], positions: moved(p, 2) };
    assert!(matches!(first.commit(zombie.clone()).await, Err(CommitError::Fenced)), "released, not yet taken over");
    assert!(first.seek(Partition(p), NextOffset(0)).await.is_err(), "a partition that is not its own any more");
    assert_eq!(take_over(second.as_mut()).await, asked);
    assert!(matches!(first.commit(zombie).await, Err(CommitError::Fenced)), "taken over by another member");
    assert_eq!(values(&all(reader.as_ref(), &at("out", 0)).await), ["x"]);

    // A member that is gone leaves its partitions to the others, at the committed positions.
    drop(first);
    let Polled::Assigned(rest) = second.poll(LIMIT, Timestamp::EPOCH).await.unwrap() else { panic!("the rest moves over") };
    assert_eq!(rest.len(), 1);

    // Pausing stops records, not assignments.
    second.pause(true);
    broker.append(vec![out("in", p, "c", "4")]).await.unwrap();
    assert_eq!(second.poll(LIMIT, Timestamp::EPOCH).await.unwrap(), Polled::Idle);
    second.pause(false);
    assert!(matches!(second.poll(LIMIT, Timestamp::EPOCH).await.unwrap(), Polled::Records(_)));

    // A limit of one record is kept, and nothing is skipped.
    for (p, committed) in rest {
        second.seek(p, committed.unwrap_or_default()).await.unwrap();
    }
    second.seek(Partition(p), NextOffset(0)).await.unwrap();
    let one = PollLimit { records: 1, bytes: 1 << 20 };
    let mut seen = Vec::new();
    while let Polled::Records(r) = second.poll(one, Timestamp::EPOCH).await.unwrap() {
        assert_eq!(r.len(), 1);
        seen.extend(r.into_iter().map(|r| (r.at.partition, r.offset)));
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), seen.len());
}

fn clock() -> (ManualClock, Arc<dyn Clock>) {
    let manual = ManualClock::new(Timestamp::from_millis(1_000));
    (manual.clone(), Arc::new(manual))
}

#[test]
fn the_embedded_log_in_memory_keeps_the_contract() {
    futures::executor::block_on(contract(Arc::new(EmbeddedBroker::in_memory(clock().1))));
}

#[test]
fn the_embedded_log_in_a_folder_keeps_the_contract() {
    for durability in [Durability::Sync, Durability::Buffer] {
        let folder = tempfile::tempdir().unwrap();
        futures::executor::block_on(contract(Arc::new(EmbeddedBroker::open(folder.path(), durability, clock().1).unwrap())));
    }
}

#[test]
fn a_reopened_folder_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (_, clock) = clock();
    futures::executor::block_on(async {
        {
            let broker = EmbeddedBroker::open(folder.path(), Durability::Sync, Arc::clone(&clock)).unwrap();
            ready(&broker).await;
            broker.append(vec![out("in", 0, "a", "1"), out("in", 0, "a", "2")]).await.unwrap();
            let mut worker = broker.worker("g", &topic("in"), "one").await.unwrap();
            take_over(worker.as_mut()).await;
            worker.commit(Transaction { outputs: vec![out("log", 0, "k", "v")], positions: moved(0, 1) }).await.unwrap();
        }
        let broker = EmbeddedBroker::open(folder.path(), Durability::Sync, clock).unwrap();
        let mut worker = broker.worker("g", &topic("in"), "one").await.unwrap();
        take_over(worker.as_mut()).await;
        let Polled::Records(records) = worker.poll(LIMIT, Timestamp::EPOCH).await.unwrap() else { panic!("one is left") };
        assert_eq!(values(&records), ["2"]);
        assert_eq!(broker.append(vec![out("log", 0, "k", "w")]).await.unwrap().ends.get(&at("log", 0)), Some(&NextOffset(2)));
    });
}

#[test]
fn one_process_owns_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = EmbeddedBroker::open(folder.path(), Durability::Sync, clock().1).unwrap();
    assert!(matches!(EmbeddedBroker::open(folder.path(), Durability::Sync, clock().1), Err(OpenError::InUse { .. })));
}

#[test]
fn retention_never_deletes_what_a_group_has_not_passed() {
    let (manual, clock) = clock();
    let broker = EmbeddedBroker::in_memory(clock);
    futures::executor::block_on(async {
        ready(&broker).await;
        broker.append(vec![out("in", 0, "a", "1"), out("in", 0, "a", "2"), out("in", 0, "a", "3")]).await.unwrap();
        let mut worker = broker.worker("g", &topic("in"), "one").await.unwrap();
        take_over(worker.as_mut()).await;
        worker.commit(Transaction { outputs: vec![], positions: moved(0, 2) }).await.unwrap();
        manual.advance(Span::from_secs(7200));
        assert_eq!(broker.retain().unwrap(), 2);
        let left = all(&broker, &at("in", 0)).await;
        assert_eq!(values(&left), ["3"]);
        assert_eq!(left[0].offset.0, 2, "offsets are never used again");
        worker.commit(Transaction { outputs: vec![], positions: moved(0, 3) }).await.unwrap();
        assert_eq!(broker.retain().unwrap(), 1);
        assert_eq!(broker.append(vec![out("in", 0, "a", "4")]).await.unwrap().ends.get(&at("in", 0)), Some(&NextOffset(4)));
    });
}

#[test]
fn compaction_keeps_the_last_record_of_each_key() {
    let (manual, clock) = clock();
    let broker = EmbeddedBroker::in_memory(clock);
    futures::executor::block_on(async {
        ready(&broker).await;
        let mut gone = out("log", 0, "b", "");
        gone.value = None;
        broker.append(vec![out("log", 0, "a", "1"), out("log", 0, "b", "1"), out("log", 0, "a", "2"), gone]).await.unwrap();
        assert_eq!(broker.retain().unwrap(), 2);
        let left = all(&broker, &at("log", 0)).await;
        assert_eq!(
            left.iter().map(|r| (r.offset.0, r.value.is_some())).collect::<Vec<_>>(),
            [(2, true), (3, false)],
            "the tombstone stays for stores that lag"
        );
        manual.advance(Span::from_secs(8 * 86_400));
        assert_eq!(broker.retain().unwrap(), 1);
    });
}

#[test]
fn compaction_leaves_what_is_younger_than_its_lag() {
    let (manual, clock) = clock();
    let broker = EmbeddedBroker::in_memory(clock);
    futures::executor::block_on(async {
        let lag = Span::from_secs(3600);
        broker.ensure(&[TopicSpec { name: topic("late"), partitions: 1, cleanup: Cleanup::Compact { lag } }]).await.unwrap();
        broker.append(vec![out("late", 0, "a", "1"), out("late", 0, "a", "2")]).await.unwrap();
        manual.advance(Span::from_secs(3599));
        assert_eq!(broker.retain().unwrap(), 0);
        manual.advance(Span::from_secs(1));
        assert_eq!(broker.retain().unwrap(), 1);
        assert_eq!(values(&all(&broker, &at("late", 0)).await), ["2"]);
    });
}
