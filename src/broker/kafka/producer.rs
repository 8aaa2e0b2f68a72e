//! The thread of one transactional producer.
//!
//! ```text
//! begin ─▶ send all ─▶ drain to nothing in flight ─▶ send positions ─▶ commit ─▶ ends
//!             └──────────────┴── a step asks for it ──▶ abort: nothing became visible
//! fatal, neither retriable nor abortable, out of time ──▶ unknown: the thread ends, the port is spent
//! ```
//! Drained by hand: the crate's `flush` polls in steps of 100 ms, and positions sent while records are still out
//! wait for the coordinator; so a transaction costs some milliseconds in place of a hundred. A commit that
//! succeeded while a request timed out or a connection broke may have left a second EndTxn on its way, and a broker
//! before KIP-890's clients would end the next transaction with it (librdkafka #5423): that producer is replaced.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::util::Timeout;
use rdkafka::{ClientContext, Message, Offset as At, TopicPartitionList};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::broker::kafka::client::{Ear, log_error};
use crate::broker::kafka::consumer::MemberConsumer;
use crate::broker::kafka::message;
use crate::broker::kafka::options::Options;
use crate::broker::kafka::outcome::{Fault, fault};
use crate::broker::kafka::seat::Seat;
use crate::broker::kafka::watchdog::Watchdog;
use crate::broker::{CommitError, Committed, LogError, OutRecord, Transaction};
use crate::clock::Stopwatch;
use crate::domain::names::TopicName;
use crate::domain::position::{NextOffset, Offset, Positions, TopicPartition};

/// How long the thread waits for a transaction before it serves its client's events.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks at what is in flight: a fraction of what a produce request takes.
const DRAIN_STEP: Duration = Duration::from_micros(150);
/// Before a retriable call is made again.
const RETRY_STEP: Duration = Duration::from_millis(20);
/// Time for a producer to be known to its coordinator.
const INIT_WITHIN: Duration = Duration::from_secs(30);
/// One question about a topic.
const ASK: Duration = Duration::from_secs(5);
/// Reports may come this much later than a message's own timeout.
const REPORT_LATE: Duration = Duration::from_secs(5);

struct Order {
    transaction: Transaction,
    done: oneshot::Sender<Result<Committed, CommitError>>,
}

/// Hands transactions to a producer's thread, one at a time.
pub(super) struct Transactor {
    orders: SyncSender<Order>,
}

impl Transactor {
    /// Commits on the producer's thread. An answer that nobody waited for leaves the outcome unknown.
    pub(super) async fn commit(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        let (done, answer) = oneshot::channel();
        let unknown = |detail: &str| CommitError::Unknown { detail: detail.to_owned() };
        match self.orders.try_send(Order { transaction, done }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(unknown("an earlier transaction was not waited for")),
            Err(TrySendError::Disconnected(_)) => return Err(unknown("the port is spent")),
        }
        answer.await.unwrap_or_else(|_| Err(unknown("the producer's thread ended")))
    }
}

/// The group side of a worker's producer: its positions go with the transaction.
pub(super) struct Membership {
    pub(super) consumer: Arc<MemberConsumer>,
    pub(super) seat: Arc<Seat>,
    pub(super) input: TopicName,
}

/// What came back of the records of the open transaction.
#[derive(Default)]
struct Delivered {
    /// Position after the last record, by the target's number.
    ends: BTreeMap<usize, NextOffset>,
    failure: Option<String>,
}

#[derive(Default)]
struct Reports {
    ear: Ear,
    delivered: Mutex<Delivered>,
}

impl Reports {
    fn take(&self) -> Delivered {
        std::mem::take(&mut *self.delivered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.ear.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, text: &str) {
        self.ear.error(error, text);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, target: usize) {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => {
                let next = Offset(u64::try_from(message.offset()).unwrap_or_default()).next();
                let end = delivered.ends.entry(target).or_insert(next);
                *end = next.max(*end);
            }
            Err((error, message)) => {
                delivered.failure.get_or_insert_with(|| format!("a record for {}/{}: {error}", message.topic(), message.partition()));
            }
        }
    }
}

type Client = BaseProducer<Reports>;

/// One producer's thread.
pub(super) struct Worker {
    options: Arc<Options>,
    config: ClientConfig,
    member: Option<Membership>,
    watchdog: Watchdog,
    /// Partitions of the topics written so far.
    known: BTreeMap<TopicName, u32>,
}

impl Worker {
    pub(super) fn new(options: Arc<Options>, config: ClientConfig, member: Option<Membership>, watchdog: Watchdog) -> Self {
        Self { options, config, member, watchdog, known: BTreeMap::new() }
    }

    /// Starts the thread and waits until the producer is known to its coordinator: a predecessor with the same
    /// transactional id is fenced by then, and its open transaction has ended.
    pub(super) async fn start(self) -> Result<Transactor, LogError> {
        // One transaction at a time: a worker commits and waits.
        let (orders, receiver) = sync_channel(1);
        let (ready, started) = oneshot::channel();
        let running = self.watchdog.thread();
        let spawned = std::thread::Builder::new().name("kafka-producer".into()).spawn(move || {
            let _running = running;
            self.run(&receiver, ready);
        });
        spawned.map_err(|source| LogError::Storage { source: Box::new(source) })?;
        started.await.unwrap_or_else(|_| Err(LogError::Unreachable { detail: "the producer's thread ended".into() }))?;
        Ok(Transactor { orders })
    }

    fn run(mut self, orders: &Receiver<Order>, ready: oneshot::Sender<Result<(), LogError>>) {
        let mut client = match self.open() {
            Ok(client) => Some(client),
            Err(e) => return drop(ready.send(Err(e))),
        };
        drop(ready.send(Ok(())));
        loop {
            let Order { transaction, done } = match orders.recv_timeout(TICK) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => {
                    client.iter().for_each(|c| c.poll(Duration::ZERO));
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let opened = match client.take() {
                Some(client) => Ok(client),
                None => self.open(),
            };
            let producer = match opened {
                Ok(producer) => producer,
                Err(e) => {
                    // Nothing was sent: the outcome is known.
                    drop(done.send(Err(CommitError::Aborted { detail: e.to_string() })));
                    continue;
                }
            };
            let answer = self.transact(&producer, transaction);
            let spent = matches!(answer, Err(CommitError::Unknown { .. }));
            producer.poll(Duration::ZERO);
            let shaken = producer.client().context().ear.is_shaken();
            drop(done.send(answer));
            if spent {
                return;
            }
            if shaken {
                info!("a request of the last transaction was sent twice or lost its connection: its producer is replaced");
                drop(producer);
                client = self.open().inspect_err(|e| warn!(error = %e, "no new producer yet")).ok();
            } else {
                client = Some(producer);
            }
        }
    }

    fn open(&self) -> Result<Client, LogError> {
        let client: Client = self.config.create_with_context(Reports::default()).map_err(|e| log_error(&e))?;
        let _guard = self.watchdog.guard("init_transactions", INIT_WITHIN * 2);
        let since = Stopwatch::start();
        loop {
            match client.init_transactions(INIT_WITHIN) {
                Ok(()) => break,
                Err(KafkaError::Transaction(e)) if e.is_retriable() && since.elapsed() < INIT_WITHIN => {
                    std::thread::park_timeout(RETRY_STEP);
                }
                Err(e) => return Err(log_error(&e)),
            }
        }
        client.poll(Duration::ZERO);
        Ok(client)
    }

    fn transact(&mut self, producer: &Client, transaction: Transaction) -> Result<Committed, CommitError> {
        let Transaction { outputs, positions } = transaction;
        let reports = Arc::clone(producer.client().context());
        producer.poll(Duration::ZERO);
        reports.ear.listen();
        reports.take();
        // Held to the end: no partition changes hands while its position is on its way.
        let member = self.member.take();
        let answer = {
            let assignment = member.as_ref().map(|m| (m, m.seat.assignment()));
            let owned = positions
                .iter()
                .all(|(at, _)| assignment.as_ref().is_some_and(|(m, owned)| at.topic == m.input && owned.owns(at.partition)));
            if !owned {
                Err(CommitError::Fenced)
            } else if outputs.is_empty() && positions.is_empty() {
                Ok(Committed::default())
            } else {
                self.check(producer, &outputs).and_then(|()| self.attempt(producer, &reports, &outputs, &positions, member.as_ref()))
            }
        };
        self.member = member;
        answer
    }

    /// Refuses records for places that are not there: the client would wait for them to appear.
    fn check(&mut self, producer: &Client, outputs: &[OutRecord]) -> Result<(), CommitError> {
        for out in outputs {
            let topic = &out.to.topic;
            let partitions = match self.known.get(topic) {
                Some(n) => *n,
                None => {
                    let n = partitions_of(producer, &self.options.topic(topic))
                        .map_err(|e| CommitError::Aborted { detail: format!("topic {topic}: {e}") })?;
                    if n > 0 {
                        self.known.insert(topic.clone(), n);
                    }
                    n
                }
            };
            if out.to.partition.0 >= partitions {
                self.known.remove(topic);
                return Err(CommitError::Aborted { detail: format!("{} does not exist", out.to) });
            }
        }
        Ok(())
    }

    fn attempt(
        &self,
        producer: &Client,
        reports: &Reports,
        outputs: &[OutRecord],
        positions: &Positions,
        member: Option<&Membership>,
    ) -> Result<Committed, CommitError> {
        self.insist("begin_transaction", &reports.ear, || producer.begin_transaction()).map_err(unknown)?;
        let mut targets: Vec<&TopicPartition> = Vec::new();
        let done = self
            .send(producer, outputs, &mut targets)
            .and_then(|()| self.drain(producer))
            .and_then(|()| {
                let delivered = reports.take();
                match delivered.failure {
                    Some(failure) => Err(Fault::Abort(failure)),
                    None => Ok(delivered.ends),
                }
            })
            .and_then(|ends| {
                if let Some(member) = member {
                    self.send_positions(producer, &reports.ear, positions, member)?;
                }
                self.insist("commit_transaction", &reports.ear, || producer.commit_transaction(Timeout::Never))?;
                Ok(ends)
            });
        match done {
            Ok(ends) => Ok(Committed { ends: ends.into_iter().map(|(n, next)| (targets[n].clone(), next)).collect() }),
            Err(Fault::Unknown(detail)) => Err(CommitError::Unknown { detail }),
            Err(Fault::Abort(detail)) => {
                self.insist("abort_transaction", &reports.ear, || producer.abort_transaction(Timeout::Never)).map_err(unknown)?;
                Err(CommitError::Aborted { detail })
            }
        }
    }

    fn send<'a>(&self, producer: &Client, outputs: &'a [OutRecord], targets: &mut Vec<&'a TopicPartition>) -> Result<(), Fault> {
        let mut numbers: BTreeMap<&TopicPartition, (usize, String)> = BTreeMap::new();
        for out in outputs {
            let (number, topic) = numbers.entry(&out.to).or_insert_with(|| {
                targets.push(&out.to);
                (targets.len() - 1, self.options.topic(&out.to.topic))
            });
            let mut record = BaseRecord::with_opaque_to(topic.as_str(), *number)
                .partition(i32::try_from(out.to.partition.0).unwrap_or(i32::MAX))
                .key(&out.key[..]);
            record.payload = out.value.as_deref();
            record.headers = message::headers(&out.headers);
            let since = Stopwatch::start();
            while let Err((error, back)) = producer.send(record) {
                match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) if since.elapsed() < self.options.message_timeout().as_std() => {
                        producer.poll(Duration::ZERO);
                        std::thread::park_timeout(DRAIN_STEP);
                        record = back;
                    }
                    _ => {
                        // What was sent before is aborted with the rest.
                        self.drain(producer)?;
                        return Err(Fault::Abort(format!("a record for {}: {error}", out.to)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Serves delivery reports until nothing is in flight.
    fn drain(&self, producer: &Client) -> Result<(), Fault> {
        let since = Stopwatch::start();
        let within = self.options.message_timeout().as_std() + REPORT_LATE;
        loop {
            producer.poll(Duration::ZERO);
            if producer.in_flight_count() == 0 {
                return Ok(());
            }
            if since.elapsed() > within {
                return Err(Fault::Unknown("records are in flight beyond their timeout".into()));
            }
            std::thread::park_timeout(DRAIN_STEP);
        }
    }

    /// Sends positions with the group metadata of this very moment, and not for a member that lost its session:
    /// without a member id the broker would take them unchecked.
    fn send_positions(&self, producer: &Client, ear: &Ear, positions: &Positions, member: &Membership) -> Result<(), Fault> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(positions.iter().count());
        for (at, next) in positions.iter() {
            let (partition, offset) = (i32::try_from(at.partition.0).unwrap_or(i32::MAX), i64::try_from(next.0).unwrap_or(i64::MAX));
            list.add_partition_offset(&self.options.topic(&at.topic), partition, At::Offset(offset))
                .map_err(|e| Fault::Abort(e.to_string()))?;
        }
        let gone = || Fault::Abort("the group's session was lost".into());
        self.insist("send_offsets_to_transaction", ear, || {
            let metadata = member.consumer.group_metadata().ok_or(KafkaError::Canceled)?;
            producer.send_offsets_to_transaction(&list, &metadata, self.options.transaction_timeout.as_std())
        })?;
        // Asked after the metadata was taken: the session may have been lost in between.
        if member.consumer.assignment_lost() { Err(gone()) } else { Ok(()) }
    }

    /// Makes a transactional call until it is decided, within the transaction's time.
    fn insist(&self, what: &'static str, ear: &Ear, call: impl Fn() -> KafkaResult<()>) -> Result<(), Fault> {
        let budget = self.options.transaction_timeout.as_std();
        let _guard = self.watchdog.guard(what, budget * 2);
        let since = Stopwatch::start();
        loop {
            let Err(error) = call() else { return Ok(()) };
            match fault(what, &error) {
                Some(fault) => return Err(fault),
                None if since.elapsed() > budget => return Err(Fault::Unknown(format!("{what}: out of time: {error}"))),
                None => {
                    ear.shake();
                    std::thread::park_timeout(RETRY_STEP);
                }
            }
        }
    }
}

/// A step that cannot even be undone.
fn unknown(fault: Fault) -> CommitError {
    let (Fault::Abort(detail) | Fault::Unknown(detail)) = fault;
    CommitError::Unknown { detail }
}

/// Partitions of a topic; 0 when it is not there.
fn partitions_of(producer: &Client, topic: &str) -> KafkaResult<u32> {
    let metadata = producer.client().fetch_metadata(Some(topic), ASK)?;
    let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
    Ok(found.map_or(0, |t| u32::try_from(t.partitions().len()).unwrap_or(u32::MAX)))
}
