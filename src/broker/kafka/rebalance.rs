//! The rebalance callback of a member; it runs inside its consumer's poll, on the polling thread.
//!
//! Assigned partitions are taken at once but held paused, so that a joiner does not wait for a restore. Partitions
//! asked back stay with the client until the worker has released them or the deadline has passed: the callback
//! only tells. Lost ones are gone when it is called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{info, warn};

use crate::broker::kafka::assignment::Revocation;
use crate::broker::kafka::client::Ear;
use crate::broker::kafka::seat::Seat;
use crate::domain::position::Partition;

/// The context of a member's consumer.
pub(super) struct Member {
    seat: Arc<Seat>,
    topic: String,
    ear: Ear,
    rebalances: AtomicU64,
}

impl Member {
    pub(super) fn new(seat: Arc<Seat>, topic: String) -> Self {
        Self { seat, topic, ear: Ear::default(), rebalances: AtomicU64::new(0) }
    }

    /// Callbacks so far.
    pub(super) fn rebalances(&self) -> u64 {
        self.rebalances.load(Ordering::Relaxed)
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        // Nothing is read before the worker's seek: paused before the client starts on it. A number, not a name such as
        // the end: what a name stands for is asked of the leader, and librdkafka 2.12 asks anew when the answer comes after
        // a seek, then moves there half a second later and passes over what lies between ("outdated offset response").
        list.set_all_offsets(Offset::Offset(0))?;
        let mut assignment = self.seat.assignment();
        consumer.pause(list)?;
        consumer.incremental_assign(list)?;
        consumer.pause(list)?;
        assignment.assign(&partitions(list));
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = partitions(list);
        let mut assignment = self.seat.assignment();
        if consumer.assignment_lost() || self.seat.is_leaving() {
            let known = assignment.lose(&partitions);
            drop(assignment);
            if !self.seat.is_leaving() {
                warn!(topic = self.topic, partitions = ?known, "partitions were lost");
            }
            self.seat.lost(known);
            return consumer.incremental_unassign(list);
        }
        match assignment.revoke(&partitions) {
            Revocation::GiveUp => consumer.incremental_unassign(list),
            Revocation::Ask(known) => {
                drop(assignment);
                self.seat.asked_back(known);
                Ok(())
            }
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().filter_map(|e| u32::try_from(e.partition()).ok().map(Partition)).collect()
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            info!(topic = self.topic, partitions = ?partitions(list), "partitions assigned");
            self.assign(consumer, list)
        } else {
            info!(topic = self.topic, partitions = ?partitions(list), "partitions asked back");
            self.revoke(consumer, list)
        };
        if let Err(e) = done {
            self.seat.fail(super::client::log_error(&e));
        }
        self.rebalances.fetch_add(1, Ordering::Relaxed);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        // Positions are committed by the producer alone.
        if let Err(KafkaError::ConsumerCommit(code)) = result
            && code != RDKafkaErrorCode::NoOffset
        {
            warn!(%code, "a consumer committed by itself");
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.ear.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, text: &str) {
        self.ear.error(error, text);
    }
}
