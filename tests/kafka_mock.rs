//! What needs a broker that answers at the wrong moment: librdkafka's own mock of a cluster, in this process.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::sync::Arc;
use std::time::Duration;

use lakegate::broker::kafka::{KafkaBroker, Options};
use lakegate::broker::{Broker, PollLimit, Polled};
use lakegate::clock::{Clock, SystemClock};
use lakegate::domain::time::Span;
use rdkafka::ClientConfig;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const PARTITIONS: i32 = 4;
/// How often the same is tried: the wrong moment is not met every time.
const GROUPS: usize = 10;

/// The leader of every partition answers late, the group's coordinator at once: what the client asked the leader
/// when it took its partitions is answered after the worker's seek. An answer of that kind once moved the client to
/// the partition's end, 500 ms later: what lay in between was never read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lay_in_a_partition_before_it_was_assigned_is_read_however_late_its_leader_answers() {
    let cluster = MockCluster::new(2).unwrap();
    cluster.create_topic("in", PARTITIONS, 1).unwrap();
    let groups: Vec<String> = (0..GROUPS).map(|n| format!("g{n}")).collect();
    for group in &groups {
        cluster.coordinator(MockCoordinator::Group(group.clone()), 2).unwrap();
    }
    for partition in 0..PARTITIONS {
        cluster.partition_leader("in", partition, Some(1)).unwrap();
    }
    let brokers = cluster.bootstrap_servers();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    for n in 0..PARTITIONS * 5 {
        producer.send(BaseRecord::to("in").partition(n % PARTITIONS).key("k").payload(&format!("{n:02}"))).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();

    cluster.broker_round_trip_time(1, Duration::from_millis(400)).unwrap();
    let broker: Arc<dyn Broker> = Arc::new(KafkaBroker::open(Options::new(&brokers, "test"), Arc::new(SystemClock)).unwrap());
    let mut readings = tokio::task::JoinSet::new();
    for group in groups {
        readings.spawn(read_all(Arc::clone(&broker), group));
    }
    let expected: Vec<String> = (0..PARTITIONS * 5).map(|n| format!("{n:02}")).collect();
    while let Some(read) = readings.join_next().await {
        assert_eq!(read.unwrap(), expected);
    }
}

/// Joins, reads every partition from its start, and answers the values until nothing comes for a while.
async fn read_all(broker: Arc<dyn Broker>, group: String) -> Vec<String> {
    let mut log = broker.worker(&group, &"in".parse().unwrap(), "one").await.unwrap();
    let mut values = Vec::new();
    while values.len() < PARTITIONS as usize * 5 {
        let limit = PollLimit { records: 100, bytes: 1 << 20 };
        match log.poll(limit, SystemClock.now().plus(Span::from_secs(20))).await.unwrap() {
            Polled::Assigned(partitions) => {
                for (partition, committed) in partitions {
                    log.seek(partition, committed.unwrap_or_default()).await.unwrap();
                }
            }
            Polled::Records(records) => {
                values.extend(records.into_iter().map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()));
            }
            Polled::Idle => break,
            other => panic!("{other:?}"),
        }
    }
    values.sort();
    values
}
