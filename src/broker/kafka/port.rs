//! A worker's port on Kafka: the async face of its two threads.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::broker::kafka::client::needs;
use crate::broker::kafka::consumer::{Order, Poller};
use crate::broker::kafka::options::Options;
use crate::broker::kafka::producer::{Membership, Transactor, Worker};
use crate::broker::kafka::seat::Seat;
use crate::broker::kafka::watchdog::Watchdog;
use crate::broker::{CommitError, Committed, Log, LogError, PollLimit, Polled, Transaction};
use crate::clock::{Clock, sleep};
use crate::domain::names::TopicName;
use crate::domain::position::{NextOffset, Partition};
use crate::domain::time::{Span, Timestamp};

/// Until the polling thread has room for an order again: it is busy, not gone.
const ORDER_STEP: Span = Span::from_millis(5);

/// One group member and its transactional producer.
pub(super) struct Port {
    seat: Arc<Seat>,
    orders: SyncSender<Order>,
    transactor: Transactor,
    clock: Arc<dyn Clock>,
}

impl Port {
    /// Fences a predecessor first, then joins: the positions found are those it left for good.
    pub(super) async fn join(
        options: Arc<Options>,
        group: &str,
        input: &TopicName,
        instance: &str,
        watchdog: Watchdog,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LogError> {
        let seat = Arc::new(Seat::default());
        let (config, name, deadline) = (options.member(group, instance), options.topic(input), options.release_deadline);
        let (seat_of, topic) = (Arc::clone(&seat), input.clone());
        let opened = tokio::task::spawn_blocking(move || Poller::open(&config, seat_of, topic, name, deadline)).await;
        let (poller, orders, receiver) = opened.map_err(|e| LogError::Unreachable { detail: e.to_string() })??;
        let membership = Membership { consumer: poller.consumer(), seat: Arc::clone(&seat), input: input.clone() };
        let config = options.producer(group, instance);
        let named = options.group(group);
        let transactor = match Worker::new(options, config, Some(membership), watchdog.clone()).start().await {
            Ok(transactor) => transactor,
            Err(e) => {
                // Closing a consumer blocks.
                drop(tokio::task::spawn_blocking(move || drop(poller)).await);
                return Err(needs(e, &format!("transactional ids {named}-*")));
            }
        };
        let running = watchdog.thread();
        let spawned = std::thread::Builder::new().name("kafka-consumer".into()).spawn(move || {
            let _running = running;
            poller.run(&receiver);
        });
        spawned.map_err(|source| LogError::Storage { source: Box::new(source) })?;
        Ok(Self { seat, orders, transactor, clock })
    }

    /// Hands an order to the polling thread and waits for its answer.
    async fn ask<T>(&self, mut order: Order, answer: oneshot::Receiver<T>) -> Result<T, LogError> {
        loop {
            match self.orders.try_send(order) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => {
                    order = back;
                    sleep(self.clock.as_ref(), ORDER_STEP).await;
                }
                Err(TrySendError::Disconnected(_)) => return Err(LogError::Fenced),
            }
        }
        answer.await.map_err(|_| LogError::Fenced)
    }

    fn wake(&self) {
        // A full channel means that the thread is about to look.
        drop(self.orders.try_send(Order::Wake));
    }
}

#[async_trait]
impl Log for Port {
    async fn poll(&mut self, limit: PollLimit, until: Timestamp) -> Result<Polled, LogError> {
        loop {
            if let Some(polled) = self.seat.take(limit) {
                if self.seat.is_full() {
                    self.wake();
                }
                return polled;
            }
            if self.clock.now() >= until {
                return Ok(Polled::Idle);
            }
            tokio::select! {
                biased;
                () = self.seat.changed() => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }

    async fn interrupted(&mut self) {
        while !self.seat.has_change() {
            self.seat.changed().await;
        }
    }

    async fn commit(&mut self, transaction: Transaction) -> Result<Committed, CommitError> {
        self.transactor.commit(transaction).await
    }

    async fn seek(&mut self, partition: Partition, to: NextOffset) -> Result<(), LogError> {
        let (done, answer) = oneshot::channel();
        self.ask(Order::Seek { partition, to, done }, answer).await?
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        let (done, answer) = oneshot::channel();
        self.ask(Order::Release { partitions: partitions.to_vec(), done }, answer).await
    }

    fn pause(&mut self, paused: bool) {
        self.seat.pause(paused);
        self.wake();
    }
}

impl Drop for Port {
    /// The threads leave the group by themselves; the process waits for them at its end.
    fn drop(&mut self) {
        self.seat.leave();
        self.wake();
    }
}
