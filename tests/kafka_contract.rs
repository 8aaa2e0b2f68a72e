//! The contract of the broker seam on a real Kafka, and what only a real one shows: fencing, aborted data, a member
//! killed inside its transactions, an open transaction in the way of a restore.
//!
//! `tests/env/kafka start` starts one and prints LAKEGATE_TEST_KAFKA. Without that variable nothing here runs, unless
//! LAKEGATE_TEST_REQUIRE names `kafka`: then it fails. Every test has topics and groups of its own.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]
#![allow(clippy::disallowed_methods, reason = "the environment names the server")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lakegate::broker::kafka::{KafkaBroker, Options};
use lakegate::broker::{Broker, Cleanup, CommitError, Log, LogError, OutRecord, PollLimit, Polled, TopicSpec, Transaction};
use lakegate::clock::{Stopwatch, SystemClock};
use lakegate::domain::position::{NextOffset, Partition, Positions};
use lakegate::domain::time::Span;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use uuid::Uuid;

#[path = "suites/broker.rs"]
mod suite;

use suite::{LIMIT, Pace, all, at, contract, moved, out, ready, take, take_over, topic, values};

const PACE: Pace = Pace::Remote;

/// Where the server is, if one is named.
fn server() -> Option<String> {
    match std::env::var("LAKEGATE_TEST_KAFKA") {
        Ok(brokers) => Some(brokers),
        Err(_) => {
            let required = std::env::var("LAKEGATE_TEST_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|r| r == "kafka"),
                "LAKEGATE_TEST_KAFKA names no server; start one with tests/env/kafka start"
            );
            eprintln!("not run: LAKEGATE_TEST_KAFKA names no server; tests/env/kafka start begins one");
            None
        }
    }
}

/// Topics and groups that no other test uses.
fn fresh(brokers: &str) -> Options {
    let mut options = Options::new(brokers, "test");
    options.topic_prefix = format!("t{}.", Uuid::new_v4().simple());
    options.group_prefix = options.topic_prefix.clone();
    // A machine that is busy with builds is silent for seconds.
    options.session_timeout = Span::from_secs(15);
    options
}

fn open(options: &Options) -> Arc<dyn Broker> {
    Arc::new(KafkaBroker::open(options.clone(), Arc::new(SystemClock)).unwrap())
}

/// Runs a test on the server, if there is one.
fn on_kafka<F: Future<Output = ()>>(test: impl FnOnce(Options) -> F) {
    let Some(brokers) = server() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let limit = Duration::from_secs(150);
        tokio::time::timeout(limit, test(fresh(&brokers))).await.expect("the test hangs");
    });
}

#[test]
fn kafka_keeps_the_contract() {
    on_kafka(|options| async move { contract(open(&options), PACE).await });
}

/// A fetch that came between the client's seek and its resume was dropped, and reading went on behind it: 24 objects
/// of a year were never validated.
#[test]
fn a_partition_that_is_being_read_can_be_read_again_from_the_start_any_number_of_times() {
    on_kafka(|options| async move {
        let broker = open(&options);
        ready(broker.as_ref()).await;
        for n in 0..20 {
            broker.append(vec![out("in", 0, "k", &n.to_string())]).await.unwrap();
        }
        let mut log = broker.worker("g", &topic("in"), "one").await.unwrap();
        take_over(log.as_mut(), PACE).await;
        let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        for turn in 0..100 {
            log.seek(Partition(0), NextOffset(0)).await.unwrap();
            // Sometimes in the middle of what comes.
            let n = if turn % 3 == 0 { 20 } else { turn % 20 + 1 };
            let limit = PollLimit { records: n, bytes: 1 << 20 };
            let found = take(log.as_mut(), 1, PollLimit { records: 1, bytes: 1 << 20 }, PACE).await;
            assert_eq!(values(&found), ["0"], "turn {turn}");
            if n > 1 {
                let more = match log.poll(limit, PACE.patience()).await.unwrap() {
                    Polled::Records(records) => values(&records),
                    other => panic!("{other:?}"),
                };
                assert_eq!(more, expected[1..=more.len()], "turn {turn}");
            }
        }
    });
}

#[test]
fn kafka_keeps_the_contract_with_static_members() {
    on_kafka(|mut options| async move {
        options.static_membership = true;
        contract(open(&options), PACE).await;
    });
}

#[test]
fn a_second_worker_of_one_name_fences_the_first_and_finds_what_it_committed() {
    on_kafka(|options| async move {
        let broker = open(&options);
        ready(broker.as_ref()).await;
        broker.append(vec![out("in", 0, "a", "1"), out("in", 0, "a", "2")]).await.unwrap();
        let mut zombie = broker.worker("g", &topic("in"), "one").await.unwrap();
        take_over(zombie.as_mut(), PACE).await;
        take(zombie.as_mut(), 2, LIMIT, PACE).await;
        zombie.commit(Transaction { outputs: vec![out("out", 0, "a", "1")], positions: moved(0, 1) }).await.unwrap();

        // The name is taken over; the zombie still owns its partitions and knows nothing of it.
        let mut next = broker.worker("g", &topic("in"), "one").await.unwrap();
        let late = Transaction { outputs: vec![out("out", 0, "a", "zombie")], positions: moved(0, 2) };
        let answer = zombie.commit(late.clone()).await;
        assert!(matches!(answer, Err(CommitError::Unknown { .. })), "{answer:?}");
        assert!(matches!(zombie.commit(late).await, Err(CommitError::Unknown { .. })), "its port is spent");
        drop(zombie);

        // Recovery from the broker: the position and the outputs of what was committed, nothing of the zombie.
        let mut committed = BTreeMap::new();
        while committed.len() < 2 {
            match next.poll(LIMIT, PACE.patience()).await.unwrap() {
                Polled::Assigned(partitions) => committed.extend(partitions),
                Polled::Revoked(partitions) => next.release(&partitions).await.unwrap(),
                Polled::Lost(partitions) => committed.retain(|p, _| !partitions.contains(p)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(committed[&Partition(0)], Some(NextOffset(1)));
        for (p, position) in committed {
            next.seek(p, position.unwrap_or_default()).await.unwrap();
        }
        assert_eq!(values(&take(next.as_mut(), 1, LIMIT, PACE).await), ["2"]);
        next.commit(Transaction { outputs: vec![out("out", 0, "a", "2")], positions: moved(0, 2) }).await.unwrap();
        assert_eq!(values(&all(broker.reader().as_ref(), &at("out", 0)).await), ["1", "2"]);
    });
}

#[test]
fn aborted_records_are_passed_over_and_count_as_the_end_of_a_restore() {
    on_kafka(|options| async move {
        let broker = open(&options);
        ready(broker.as_ref()).await;
        let reader = broker.reader();
        // The second record is larger than the client sends: by then the first is on the broker.
        let huge = OutRecord { value: Some(Bytes::from(vec![0; 4 << 20])), ..out("log", 1, "b", "") };
        let torn = broker.append(vec![out("log", 0, "a", "never"), huge]).await;
        assert!(matches!(torn, Err(CommitError::Aborted { .. })), "{torn:?}");
        // The marker is written after the abort is answered, and a read of what is committed waits for it.
        let chunk = reader.read(&at("log", 0), NextOffset(0), LIMIT).await.unwrap();
        let bounds = reader.bounds(&at("log", 0)).await.unwrap();
        assert!(bounds.end > NextOffset(0), "the aborted record and its marker lie there");
        assert_eq!((chunk.records.len(), chunk.next), (0, bounds.end));
        // The same producer goes on.
        broker.append(vec![out("log", 0, "a", "1")]).await.unwrap();
        assert_eq!(values(&all(reader.as_ref(), &at("log", 0)).await), ["1"]);
    });
}

#[test]
fn reading_again_from_before_finds_everything_again() {
    on_kafka(|options| async move {
        let broker = open(&options);
        ready(broker.as_ref()).await;
        let reader = broker.reader();
        broker.append((0..50).map(|n| out("log", 0, "k", &n.to_string())).collect()).await.unwrap();
        // One reader goes back and forth: what it stood at before says nothing of where it stands now.
        for from in [0, 49, 0, 20, 0, 48, 1] {
            let chunk = reader.read(&at("log", 0), NextOffset(from), LIMIT).await.unwrap();
            assert_eq!(values(&chunk.records), (from..50).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_read_waits_for_an_open_transaction_before_the_end() {
    on_kafka(|options| async move {
        let broker = open(&options);
        ready(broker.as_ref()).await;
        let reader = broker.reader();
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &options.brokers)
            .set("transactional.id", format!("{}open", options.group_prefix))
            .create()
            .unwrap();
        let name = format!("{}log", options.topic_prefix);
        let producer = tokio::task::spawn_blocking(move || {
            producer.init_transactions(Duration::from_secs(30)).unwrap();
            producer.begin_transaction().unwrap();
            producer.send(BaseRecord::to(&name).partition(0).key("k").payload("open")).unwrap();
            producer.flush(Duration::from_secs(30)).unwrap();
            producer
        });
        let producer = producer.await.unwrap();
        let place = at("log", 0);
        assert_eq!(reader.bounds(&place).await.unwrap().end, NextOffset(1), "what is not committed counts");
        let read = reader.read(&place, NextOffset(0), LIMIT);
        let commit = tokio::task::spawn_blocking(move || producer.commit_transaction(Duration::from_secs(30)).unwrap());
        let (chunk, committed) = tokio::join!(read, commit);
        committed.unwrap();
        assert_eq!(values(&chunk.unwrap().records), ["open"]);
    });
}

#[test]
fn partitions_not_released_in_time_are_taken_and_their_commits_refused() {
    on_kafka(|mut options| async move {
        options.release_deadline = Span::from_millis(300);
        let broker = open(&options);
        ready(broker.as_ref()).await;
        let mut slow = broker.worker("g", &topic("in"), "slow").await.unwrap();
        take_over(slow.as_mut(), PACE).await;
        let mut second = broker.worker("g", &topic("in"), "second").await.unwrap();
        let Polled::Revoked(asked) = slow.poll(LIMIT, PACE.patience()).await.unwrap() else { panic!("a partition is asked back") };
        // It does not answer; the second gets its partition all the same.
        assert_eq!(take_over(second.as_mut(), PACE).await, asked);
        assert_eq!(slow.poll(LIMIT, PACE.patience()).await.unwrap(), Polled::Lost(asked.clone()));
        let late = Transaction { outputs: vec![out("out", 0, "a", "late")], positions: moved(asked[0].0, 1) };
        assert!(matches!(slow.commit(late).await, Err(CommitError::Fenced)));
        slow.release(&asked).await.unwrap();
        assert_eq!(all(broker.reader().as_ref(), &at("out", 0)).await, []);
    });
}

#[test]
fn a_topic_that_would_lose_or_misplace_records_is_refused_with_its_remedy() {
    on_kafka(|options| async move {
        let broker = open(&options);
        ready(broker.as_ref()).await;
        ready(broker.as_ref()).await;
        let kept = Cleanup::Delete { retention: Span::from_secs(3600) };
        let other = [TopicSpec { name: topic("in"), partitions: 3, cleanup: kept }];
        let refused = broker.ensure(&other).await.unwrap_err();
        assert!(matches!(&refused, LogError::TopicDiffers { detail, .. } if detail.contains("log.partitions = 2")), "{refused}");
        let deleting = [TopicSpec { name: topic("in"), partitions: 2, cleanup: Cleanup::Compact { lag: Span::ZERO } }];
        let refused = broker.ensure(&deleting).await.unwrap_err();
        assert!(matches!(&refused, LogError::TopicDiffers { detail, .. } if detail.contains("cleanup.policy=compact")), "{refused}");
    });
}

#[test]
fn what_is_not_there_is_named() {
    on_kafka(|options| async move {
        let broker = open(&options);
        ready(broker.as_ref()).await;
        let reader = broker.reader();
        assert!(matches!(reader.bounds(&at("nowhere", 0)).await, Err(LogError::TopicMissing { .. })));
        assert!(matches!(reader.bounds(&at("in", 2)).await, Err(LogError::PartitionMissing { .. })));
        assert!(matches!(reader.read(&at("in", 9), NextOffset(0), LIMIT).await, Err(LogError::PartitionMissing { .. })));
        assert_eq!(reader.partitions(&topic("in")).await.unwrap(), 2);
        assert_eq!(reader.committed("nobody", &at("in", 0)).await.unwrap(), None);
    });
}

/// Copies `in` to `out` as the runner does: one transaction a poll, the number of each record in its value.
async fn copy_all(log: &mut dyn Log, mut copied: impl FnMut(usize)) {
    let small = PollLimit { records: 7, bytes: 1 << 20 };
    loop {
        match log.poll(small, PACE.patience()).await.unwrap() {
            Polled::Assigned(partitions) => {
                for (p, committed) in partitions {
                    log.seek(p, committed.unwrap_or_default()).await.unwrap();
                }
            }
            Polled::Revoked(partitions) => log.release(&partitions).await.unwrap(),
            Polled::Lost(_) => {}
            Polled::Records(records) => {
                let mut transaction = Transaction { outputs: vec![], positions: Positions::default() };
                let n = records.len();
                for record in records {
                    transaction.positions.advance(&record.at, record.offset.next());
                    let to = at("out", record.at.partition.0);
                    transaction.outputs.push(OutRecord { to, key: record.key, value: record.value, headers: vec![] });
                }
                log.commit(transaction).await.unwrap();
                copied(n);
            }
            Polled::Idle => panic!("nothing comes any more"),
        }
    }
}

const CHILD: &str = "LAKEGATE_TEST_CHILD";

/// Not a test of its own: the process that the next one kills.
#[test]
fn a_member_in_a_process_of_its_own() {
    let Ok(prefix) = std::env::var(CHILD) else { return };
    on_kafka(|mut options| async move {
        options.topic_prefix.clone_from(&prefix);
        options.group_prefix = prefix;
        let broker = open(&options);
        let mut log = broker.worker("g", &topic("in"), "killed").await.unwrap();
        copy_all(log.as_mut(), |n| println!("copied {n}")).await;
    });
}

#[test]
fn a_member_killed_inside_its_transactions_loses_and_doubles_nothing() {
    on_kafka(|options| async move {
        const RECORDS: usize = 3_000;
        let broker = open(&options);
        ready(broker.as_ref()).await;
        for n in 0..RECORDS / 500 {
            let records = (0..500).map(|i| out("in", (i % 2) as u32, "k", &format!("{}", n * 500 + i))).collect();
            broker.append(records).await.unwrap();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_member_in_a_process_of_its_own", "--nocapture"])
            .env(CHILD, &options.topic_prefix)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Once it has copied a few hundred it is killed, most likely with a transaction open.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = tokio::task::spawn_blocking(move || {
            lines
                .map_while(Result::ok)
                .filter_map(|l| l.strip_prefix("copied ")?.parse::<usize>().ok())
                .scan(0, |sum, n| {
                    *sum += n;
                    Some(*sum)
                })
                .find(|sum| *sum > 300)
        });
        assert!(seen.await.unwrap().is_some(), "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();

        // Its name is taken over: its open transaction ends at once, its partitions come when its session runs out.
        let mut log = broker.worker("g", &topic("in"), "killed").await.unwrap();
        let mut left = RECORDS - all_values(&broker).await.len();
        assert!(left > 0, "it was killed too late to show anything");
        let copying = copy_all(log.as_mut(), |n| left -= n);
        let watching = async {
            while all_values(&broker).await.len() < RECORDS {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = copying => {}
            () = watching => {}
        }
        let mut found = all_values(&broker).await;
        found.sort_unstable();
        assert_eq!(found, (0..RECORDS).collect::<Vec<_>>());
    });
}

async fn all_values(broker: &Arc<dyn Broker>) -> Vec<usize> {
    let reader = broker.reader();
    let mut found = Vec::new();
    for p in 0..2 {
        let mut next = NextOffset(0);
        loop {
            let chunk = reader.read(&at("out", p), next, PollLimit { records: 10_000, bytes: 8 << 20 }).await.unwrap();
            next = chunk.next;
            if chunk.records.is_empty() {
                break;
            }
            found.extend(values(&chunk.records).iter().map(|v| v.parse::<usize>().unwrap()));
        }
    }
    found
}

#[test]
fn a_slow_worker_gets_every_record_once_though_fetching_stops_and_starts() {
    on_kafka(|options| async move {
        const RECORDS: usize = 12_000;
        let broker = open(&options);
        ready(broker.as_ref()).await;
        for n in 0..RECORDS / 2_000 {
            let records = (0..2_000).map(|i| out("in", (i % 2) as u32, "k", &format!("{}", n * 2_000 + i))).collect();
            broker.append(records).await.unwrap();
        }
        let mut log = broker.worker("g", &topic("in"), "slow").await.unwrap();
        take_over(log.as_mut(), PACE).await;
        let mut found = Vec::new();
        let mut places: BTreeMap<Partition, u64> = BTreeMap::new();
        for round in 0.. {
            // Paused and resumed by the worker as well, in the middle of everything.
            log.pause(round % 5 == 4);
            log.pause(false);
            let Polled::Records(records) = log.poll(PollLimit { records: 333, bytes: 1 << 20 }, PACE.patience()).await.unwrap() else {
                panic!("{} of {RECORDS} came", found.len());
            };
            for record in &records {
                let before = places.insert(record.at.partition, record.offset.0);
                assert!(before.is_none_or(|b| b < record.offset.0), "in order");
            }
            found.extend(values(&records).iter().map(|v| v.parse::<usize>().unwrap()));
            if found.len() >= RECORDS {
                break;
            }
        }
        found.sort_unstable();
        assert_eq!(found, (0..RECORDS).collect::<Vec<_>>());
    });
}

/// Prints what a transaction costs; run it by name with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn what_a_transaction_costs() {
    on_kafka(|options| async move {
        let broker = open(&options);
        ready(broker.as_ref()).await;
        broker.append(vec![out("in", 0, "a", "1"), out("in", 1, "a", "1")]).await.unwrap();
        let mut log = broker.worker("g", &topic("in"), "one").await.unwrap();
        take_over(log.as_mut(), PACE).await;
        let mut position = 0;
        for records in [1, 10, 100] {
            let mut times = Vec::new();
            for _ in 0..300 {
                position += 1;
                let outputs = (0..records).map(|i| out(["out", "log"][i % 2], (i / 2 % 2) as u32, "key", &"x".repeat(200))).collect();
                let mut positions = moved(0, position);
                positions.merge(&moved(1, position));
                let since = Stopwatch::start();
                log.commit(Transaction { outputs, positions }).await.unwrap();
                times.push(since.elapsed().as_secs_f64() * 1000.0);
            }
            times.sort_by(f64::total_cmp);
            println!("{records} records: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms", times[150], times[270], times[297]);
        }
    });
}
