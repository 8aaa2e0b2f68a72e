//! The contract of the broker seam on the embedded log, and what only that one has: a folder, retention, compaction.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::sync::Arc;

use lakegate::broker::embedded::{Durability, EmbeddedBroker, OpenError};
use lakegate::broker::{Broker, Cleanup, Polled, TopicSpec, Transaction};
use lakegate::clock::{Clock, ManualClock};
use lakegate::domain::position::NextOffset;
use lakegate::domain::time::{Span, Timestamp};

#[path = "suites/broker.rs"]
mod suite;

use suite::{LIMIT, Pace, all, at, contract, moved, out, ready, take_over, topic, values};

fn clock() -> (ManualClock, Arc<dyn Clock>) {
    let manual = ManualClock::new(Timestamp::from_millis(1_000));
    (manual.clone(), Arc::new(manual))
}

#[test]
fn the_embedded_log_in_memory_keeps_the_contract() {
    futures::executor::block_on(contract(Arc::new(EmbeddedBroker::in_memory(clock().1)), Pace::AtOnce));
}

#[test]
fn the_embedded_log_in_a_folder_keeps_the_contract() {
    for durability in [Durability::Sync, Durability::Buffer] {
        let folder = tempfile::tempdir().unwrap();
        futures::executor::block_on(contract(Arc::new(EmbeddedBroker::open(folder.path(), durability, clock().1).unwrap()), Pace::AtOnce));
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
            take_over(worker.as_mut(), Pace::AtOnce).await;
            worker.commit(Transaction { outputs: vec![out("log", 0, "k", "v")], positions: moved(0, 1) }).await.unwrap();
        }
        let broker = EmbeddedBroker::open(folder.path(), Durability::Sync, clock).unwrap();
        let mut worker = broker.worker("g", &topic("in"), "one").await.unwrap();
        take_over(worker.as_mut(), Pace::AtOnce).await;
        let Polled::Records(records) = worker.poll(LIMIT, Timestamp::EPOCH).await.unwrap() else { panic!("one is left") };
        assert_eq!(values(&records), ["2"]);
        assert_eq!(broker.append(vec![out("log", 0, "k", "w")]).await.unwrap().ends.get(&at("log", 0)), Some(&NextOffset(2)));
    });
}

#[test]
fn one_process_owns_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = EmbeddedBroker::open(folder.path(), Durability::Sync, clock().1).unwrap();
    assert!(matches!(EmbeddedBroker::open(folder.path(), Durability::Sync, clock().1), Err(OpenError::Claim(_))));
}

#[test]
fn retention_never_deletes_what_a_group_has_not_passed() {
    let (manual, clock) = clock();
    let broker = EmbeddedBroker::in_memory(clock);
    futures::executor::block_on(async {
        ready(&broker).await;
        broker.append(vec![out("in", 0, "a", "1"), out("in", 0, "a", "2"), out("in", 0, "a", "3")]).await.unwrap();
        let mut worker = broker.worker("g", &topic("in"), "one").await.unwrap();
        take_over(worker.as_mut(), Pace::AtOnce).await;
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
