//! The thread that polls one member: nothing else calls its consumer, but for the group's metadata.
//!
//! It serves the client's queue whenever something is in it, so rebalances are seen while the worker is busy;
//! what it fetched waits in the seat, within bounds. Every partition is held paused until the worker seeks it,
//! and again whenever the seat is full. Reading starts by pause, seek to the member's own position and resume, never by
//! a bare resume: what the client remembers of a paused partition is not relied upon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset as At, TopicPartitionList};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::broker::LogError;
use crate::broker::kafka::client::{log_error, needs};
use crate::broker::kafka::message;
use crate::broker::kafka::rebalance::Member;
use crate::broker::kafka::seat::Seat;
use crate::clock::Stopwatch;
use crate::domain::names::TopicName;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::time::Span;

/// The consumer of one member.
pub(super) type MemberConsumer = BaseConsumer<Member>;

/// How long the thread sleeps when nothing calls it.
const TICK: Duration = Duration::from_millis(500);
/// What could not be done yet is tried again after this long.
const SOON: Duration = Duration::from_millis(10);
/// An empty queue is believed after this long: a poll also ends when it has served a log line.
const LINGER: Duration = Duration::from_millis(1);
/// Messages moved before orders are looked at again.
const AT_ONCE: usize = 2_000;
/// One question to the broker.
const ASK: Duration = Duration::from_secs(5);
/// How often ends are compared with positions.
const LOOK_EVERY: Span = Span::from_secs(30);
/// A partition whose end moved at so many looks while nothing came from it is read anew.
const STALLED_LOOKS: u32 = 3;
/// Orders waiting: one of the port and wakes, which may be dropped when others wait.
const ORDERS: usize = 16;

/// What the port asks of the thread.
pub(super) enum Order {
    /// Something changed in the seat, or the client's queue is not empty any more.
    Wake,
    Seek {
        partition: Partition,
        to: NextOffset,
        done: oneshot::Sender<Result<(), LogError>>,
    },
    Release {
        partitions: Vec<Partition>,
        done: oneshot::Sender<()>,
    },
}

/// A partition that is read.
struct Reading {
    next: NextOffset,
    /// Fetched by the client; else paused.
    running: bool,
    seen_end: u64,
    stalled: u32,
}

/// One member's thread.
pub(super) struct Poller {
    consumer: Arc<MemberConsumer>,
    seat: Arc<Seat>,
    topic: TopicName,
    /// The topic as the cluster calls it.
    name: String,
    reading: BTreeMap<Partition, Reading>,
    rebalances: u64,
    release_deadline: Span,
    asked_back: Option<Stopwatch>,
    looked: Stopwatch,
    /// When to look again without being called.
    rest: Duration,
}

impl Poller {
    /// Makes the consumer and its thread's channel; nothing is joined before [`Poller::run`].
    pub(super) fn open(
        config: &ClientConfig,
        seat: Arc<Seat>,
        topic: TopicName,
        name: String,
        release_deadline: Span,
    ) -> Result<(Self, SyncSender<Order>, Receiver<Order>), LogError> {
        let member = Member::new(Arc::clone(&seat), name.clone());
        let mut consumer: MemberConsumer = config.create_with_context(member).map_err(|e| log_error(&e))?;
        let (sender, orders) = sync_channel(ORDERS);
        let waker = sender.clone();
        // A full channel means that the thread is about to look anyway.
        consumer.set_nonempty_callback(move || drop(waker.try_send(Order::Wake)));
        let poller = Self {
            consumer: Arc::new(consumer),
            seat,
            topic,
            name,
            reading: BTreeMap::new(),
            rebalances: 0,
            release_deadline,
            asked_back: None,
            looked: Stopwatch::start(),
            rest: TICK,
        };
        Ok((poller, sender, orders))
    }

    pub(super) fn consumer(&self) -> Arc<MemberConsumer> {
        Arc::clone(&self.consumer)
    }

    /// Polls until the port leaves.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        if let Err(e) = self.consumer.subscribe(&[&self.name]) {
            self.seat.fail(log_error(&e));
        }
        while !self.seat.is_leaving() {
            match orders.recv_timeout(std::mem::replace(&mut self.rest, TICK)) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Ok(order) = orders.try_recv() {
                self.obey(order);
            }
            self.flow();
            self.serve();
            self.locate();
            self.take_overdue();
            self.flow();
            self.look();
        }
        self.seat.leave();
        self.seat.end();
        // An open question of the broker is answered first: the client does not close before.
        let overdue = self.seat.assignment().overdue();
        self.seat.assignment().lose(&overdue);
        if !overdue.is_empty() {
            self.give_back(Some(overdue));
        }
        // Dropping the consumer leaves the group; the callback gives back what is still held.
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Wake => {}
            Order::Seek { partition, to, done } => {
                let owned = self.seat.assignment().owns(partition);
                if owned {
                    self.seat.forget(&[partition]);
                    self.reading.insert(partition, Reading { next: to, running: false, seen_end: 0, stalled: 0 });
                }
                // The port may have gone: then nobody asks.
                drop(done.send(if owned { Ok(()) } else { Err(LogError::Fenced) }));
            }
            Order::Release { partitions, done } => {
                let complete = self.seat.assignment().release(&partitions);
                self.give_back(complete);
                done.send(()).unwrap_or_default();
            }
        }
    }

    fn give_back(&mut self, set: Option<Vec<Partition>>) {
        let Some(set) = set else { return };
        self.asked_back = None;
        self.reading.retain(|p, _| !set.contains(p));
        if let Err(e) = self.consumer.incremental_unassign(&self.list(&set)) {
            debug!(topic = self.name, error = %e, "partitions were taken already");
        }
    }

    /// Moves everything the client holds into the seat.
    fn serve(&mut self) {
        let consumer = Arc::clone(&self.consumer);
        for _ in 0..AT_ONCE {
            match consumer.poll(LINGER) {
                Some(Ok(message)) => {
                    let record = message::record(&message, &self.topic);
                    let Some(reading) = self.reading.get_mut(&record.at.partition) else { continue };
                    if !reading.running || record.offset.0 < reading.next.0 {
                        continue;
                    }
                    reading.next = record.offset.next();
                    reading.stalled = 0;
                    if !self.seat.deliver(record) {
                        break;
                    }
                }
                Some(Err(e)) => self.hear(&e),
                None => {
                    // A rebalance ends a poll as well: what lies behind it is served at once.
                    let rebalances = self.consumer.context().rebalances();
                    if rebalances == self.rebalances {
                        return;
                    }
                    self.rebalances = rebalances;
                    self.settle_rebalance();
                }
            }
        }
        // More is there; the queue does not call again for what it already holds.
        self.rest = Duration::ZERO;
    }

    fn settle_rebalance(&mut self) {
        let assignment = self.seat.assignment();
        self.reading.retain(|p, _| assignment.owns(*p));
        let asked = !assignment.overdue().is_empty();
        drop(assignment);
        if !asked {
            self.asked_back = None;
        } else if self.asked_back.is_none() {
            self.asked_back = Some(Stopwatch::start());
        }
        // A rebalance may have paused or resumed anything: all of it is set anew.
        self.reading.values_mut().for_each(|r| r.running = false);
    }

    fn hear(&mut self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        match (error, code) {
            (_, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) => {
                self.seat.fail(LogError::OutOfRange { topic: self.topic.clone() });
            }
            (_, Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
                self.seat.fail(LogError::TopicMissing { topic: self.topic.clone() });
            }
            (KafkaError::MessageConsumptionFatal(_), _) => self.seat.fail(LogError::Fenced),
            _ => match needs(log_error(error), &format!("topic {} and its group", self.name)) {
                // The client goes on by itself.
                LogError::Unreachable { detail } => debug!(topic = self.name, detail, "kafka consumer"),
                other => self.seat.fail(other),
            },
        }
    }

    /// Asks for the committed positions of what was newly assigned, and tells the worker.
    fn locate(&mut self) {
        let unlocated = self.seat.assignment().unlocated();
        if unlocated.is_empty() {
            return;
        }
        // A predecessor's transaction that is still open makes this wait until it has ended.
        let found = match self.consumer.committed_offsets(self.list(&unlocated), ASK) {
            Ok(found) => found,
            Err(e) => {
                debug!(topic = self.name, error = %e, "committed positions are not known yet");
                self.rest = SOON;
                return;
            }
        };
        let mut located = Vec::new();
        let mut assignment = self.seat.assignment();
        for element in found.elements_for_topic(&self.name) {
            let Ok(partition) = u32::try_from(element.partition()).map(Partition) else { continue };
            if element.error().is_err() || !assignment.owns(partition) {
                continue;
            }
            let committed = match element.offset() {
                At::Offset(offset) => u64::try_from(offset).ok().map(NextOffset),
                _ => None,
            };
            assignment.locate(partition);
            located.push((partition, committed));
        }
        drop(assignment);
        if located.len() < unlocated.len() {
            self.rest = SOON;
        }
        if !located.is_empty() {
            located.sort_by_key(|(p, _)| *p);
            self.seat.assigned(located);
        }
    }

    /// Takes back what was not released in time: the worker's commits for it are refused from now on.
    fn take_overdue(&mut self) {
        if self.asked_back.is_none_or(|since| since.elapsed() <= self.release_deadline.as_std()) {
            return;
        }
        let mut assignment = self.seat.assignment();
        let overdue = assignment.overdue();
        let lost: Vec<Partition> = overdue.iter().copied().filter(|p| assignment.owns(*p)).collect();
        assignment.release(&lost);
        drop(assignment);
        warn!(topic = self.name, partitions = ?lost, "partitions were not released in time and are taken");
        self.seat.lost(lost);
        self.give_back(Some(overdue));
    }

    /// Pauses what must not be fetched and starts what may, from the member's own position.
    fn flow(&mut self) {
        let room = self.seat.has_room();
        let (mut stop, mut start) = (Vec::new(), Vec::new());
        {
            let assignment = self.seat.assignment();
            for (p, reading) in &self.reading {
                let wanted = room && assignment.works_on(*p);
                match (wanted, reading.running) {
                    (false, true) => stop.push(*p),
                    (true, false) => start.push(*p),
                    _ => {}
                }
            }
        }
        if !stop.is_empty() {
            if let Err(e) = self.consumer.pause(&self.list(&stop)) {
                debug!(topic = self.name, error = %e, "pause");
            }
            stop.iter().for_each(|p| self.mark(*p, false));
        }
        for p in start {
            let Some(next) = self.reading.get(&p).map(|r| r.next) else { continue };
            let number = i32::try_from(p.0).unwrap_or(i32::MAX);
            let offset = At::Offset(i64::try_from(next.0).unwrap_or(i64::MAX));
            let one = self.list(&[p]);
            // Paused first, even if it is: a resume of what is not paused makes the client drop what it fetched since the
            // seek, and read on behind it (librdkafka bumps the partition's version before it looks).
            let sought = self.consumer.pause(&one).and_then(|()| self.consumer.seek(&self.name, number, offset, ASK));
            match sought.and_then(|()| self.consumer.resume(&one)) {
                Ok(()) => self.mark(p, true),
                Err(e) => {
                    // Just assigned and not started by the client yet, or on its way out: again in a moment.
                    debug!(topic = self.name, partition = p.0, error = %e, "seek");
                    self.rest = SOON;
                }
            }
        }
    }

    fn mark(&mut self, partition: Partition, running: bool) {
        if let Some(reading) = self.reading.get_mut(&partition) {
            reading.running = running;
        }
    }

    /// Reads a partition anew whose end moves while nothing comes from it.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY.as_std() {
            return;
        }
        self.looked = Stopwatch::start();
        let running: Vec<(Partition, u64)> = self.reading.iter().filter(|(_, r)| r.running).map(|(p, r)| (*p, r.next.0)).collect();
        for (p, next) in running {
            let Ok((_, end)) = self.consumer.fetch_watermarks(&self.name, i32::try_from(p.0).unwrap_or(i32::MAX), ASK) else { continue };
            let end = u64::try_from(end).unwrap_or(0);
            let Some(reading) = self.reading.get_mut(&p) else { continue };
            reading.stalled = if end > next && end > reading.seen_end { reading.stalled + 1 } else { 0 };
            reading.seen_end = end;
            if reading.stalled >= STALLED_LOOKS {
                warn!(topic = self.name, partition = p.0, position = next, end, "nothing comes from a partition that grows: read anew");
                reading.stalled = 0;
                reading.running = false;
            }
        }
    }

    fn list(&self, partitions: &[Partition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for p in partitions {
            list.add_partition(&self.name, i32::try_from(p.0).unwrap_or(i32::MAX));
        }
        list
    }
}
