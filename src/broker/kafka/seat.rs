//! What a member's polling thread and its port share: who owns what, and what waits to be polled.
//!
//! Two locks. `assignment` is held by a transaction from the check of its positions to its end, and by the
//! rebalance callback: no partition changes hands in the middle. `inbox` is held for moments only.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::broker::kafka::assignment::Assignment;
use crate::broker::{LogError, PollLimit, Polled, Record};
use crate::domain::position::{NextOffset, Partition};

/// Waiting records beyond either of these stop the fetching; half of them starts it again.
const RECORDS_MAX: usize = 4_000;
const BYTES_MAX: usize = 8 << 20;

#[derive(Default)]
pub(super) struct Seat {
    assignment: Mutex<Assignment>,
    inbox: Mutex<Inbox>,
    changed: Notify,
    /// The member leaves: what the broker takes now is not asked back.
    leaving: AtomicBool,
}

#[derive(Default)]
struct Inbox {
    /// Changes of assignment, told before any record.
    changes: VecDeque<Polled>,
    records: VecDeque<Record>,
    bytes: usize,
    full: bool,
    /// The worker wants no records now.
    paused: bool,
    failure: Option<LogError>,
    /// The polling thread has ended.
    ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both are plain collections, valid after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    pub(super) fn assignment(&self) -> MutexGuard<'_, Assignment> {
        lock(&self.assignment)
    }

    /// What the next poll has to say; `None` when there is nothing.
    pub(super) fn take(&self, limit: PollLimit) -> Option<Result<Polled, LogError>> {
        let mut inbox = lock(&self.inbox);
        if let Some(failure) = inbox.failure.take() {
            return Some(Err(failure));
        }
        if inbox.ended {
            return Some(Err(LogError::Fenced));
        }
        if let Some(change) = inbox.changes.pop_front() {
            return Some(Ok(change));
        }
        if inbox.paused {
            return None;
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < limit.records && (taken.is_empty() || bytes < limit.bytes) {
            let Some(record) = inbox.records.pop_front() else { break };
            bytes += record.weight();
            taken.push(record);
        }
        inbox.bytes -= bytes;
        if taken.is_empty() {
            return None;
        }
        taken.sort_by_key(|r| (r.at.partition, r.offset));
        Some(Ok(Polled::Records(taken)))
    }

    /// Waits until [`Seat::take`] may have something new to say.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether a change of assignment, or the end, waits to be polled.
    pub(super) fn has_change(&self) -> bool {
        let inbox = lock(&self.inbox);
        !inbox.changes.is_empty() || inbox.failure.is_some() || inbox.ended
    }

    /// Puts a record in; `false` when there is room for no more.
    pub(super) fn deliver(&self, record: Record) -> bool {
        let mut inbox = lock(&self.inbox);
        inbox.bytes += record.weight();
        inbox.records.push_back(record);
        let room = inbox.records.len() < RECORDS_MAX && inbox.bytes < BYTES_MAX;
        drop(inbox);
        self.changed.notify_one();
        room
    }

    /// Forgets waiting records of `partitions`.
    pub(super) fn forget(&self, partitions: &[Partition]) {
        let mut inbox = lock(&self.inbox);
        inbox.records.retain(|r| !partitions.contains(&r.at.partition));
        inbox.bytes = inbox.records.iter().map(Record::weight).sum();
    }

    /// Whether more may be fetched; with a gap between full and not, so that it does not flutter.
    pub(super) fn has_room(&self) -> bool {
        let mut inbox = lock(&self.inbox);
        let (records, bytes) = if inbox.full { (RECORDS_MAX / 2, BYTES_MAX / 2) } else { (RECORDS_MAX, BYTES_MAX) };
        inbox.full = inbox.records.len() >= records || inbox.bytes >= bytes;
        !inbox.full && !inbox.paused
    }

    /// Whether fetching had to stop.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.inbox).full
    }

    pub(super) fn pause(&self, paused: bool) {
        lock(&self.inbox).paused = paused;
        self.changed.notify_one();
    }

    pub(super) fn assigned(&self, partitions: Vec<(Partition, Option<NextOffset>)>) {
        self.tell(Polled::Assigned(partitions));
    }

    pub(super) fn asked_back(&self, partitions: Vec<Partition>) {
        self.forget(&partitions);
        self.tell(Polled::Revoked(partitions));
    }

    /// What was not polled yet of these partitions is not told any more.
    pub(super) fn lost(&self, partitions: Vec<Partition>) {
        self.forget(&partitions);
        if partitions.is_empty() {
            return;
        }
        let gone = |p: &Partition| partitions.contains(p);
        lock(&self.inbox).changes.retain_mut(|change| match change {
            Polled::Assigned(p) => {
                p.retain(|(p, _)| !gone(p));
                !p.is_empty()
            }
            Polled::Revoked(p) | Polled::Lost(p) => {
                p.retain(|p| !gone(p));
                !p.is_empty()
            }
            Polled::Records(_) | Polled::Idle => true,
        });
        self.tell(Polled::Lost(partitions));
    }

    fn tell(&self, change: Polled) {
        lock(&self.inbox).changes.push_back(change);
        self.changed.notify_one();
    }

    pub(super) fn fail(&self, error: LogError) {
        lock(&self.inbox).failure = Some(error);
        self.changed.notify_one();
    }

    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        lock(&self.inbox).ended = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::position::{Offset, TopicPartition};
    use crate::domain::time::Timestamp;

    fn record(partition: u32, offset: u64, bytes: usize) -> Record {
        let at = TopicPartition { topic: "in".parse().unwrap(), partition: Partition(partition) };
        let value = Some(Bytes::from(vec![0; bytes]));
        Record { at, offset: Offset(offset), timestamp: Timestamp::EPOCH, key: Bytes::new(), value, headers: Vec::new() }
    }

    const ALL: PollLimit = PollLimit { records: 100, bytes: 1 << 30 };

    #[test]
    fn a_change_is_told_before_records_and_takes_its_partitions_records_along() {
        let seat = Seat::default();
        seat.deliver(record(0, 0, 1));
        seat.deliver(record(1, 0, 1));
        seat.asked_back(vec![Partition(0)]);
        assert!(matches!(seat.take(ALL), Some(Ok(Polled::Revoked(p))) if p == [Partition(0)]));
        assert!(matches!(seat.take(ALL), Some(Ok(Polled::Records(r))) if r.len() == 1 && r[0].at.partition == Partition(1)));
        assert!(seat.take(ALL).is_none());
    }

    #[test]
    fn what_came_and_went_unseen_is_told_once() {
        let seat = Seat::default();
        seat.assigned(vec![(Partition(0), None), (Partition(1), None)]);
        seat.lost(vec![Partition(1)]);
        assert!(matches!(seat.take(ALL), Some(Ok(Polled::Assigned(p))) if p == [(Partition(0), None)]));
        assert!(matches!(seat.take(ALL), Some(Ok(Polled::Lost(p))) if p == [Partition(1)]));
    }

    #[test]
    fn fetching_stops_when_full_and_goes_on_when_half_empty() {
        let seat = Seat::default();
        for offset in 0..8 {
            assert!(seat.has_room());
            seat.deliver(record(0, offset, 1 << 20));
        }
        assert!(!seat.has_room());
        let half = PollLimit { records: 3, bytes: 1 << 30 };
        assert!(matches!(seat.take(half), Some(Ok(Polled::Records(r))) if r.len() == 3));
        assert!(!seat.has_room(), "five of eight are left");
        seat.take(half);
        assert!(seat.has_room());
        seat.pause(true);
        assert!(!seat.has_room());
        assert!(seat.take(ALL).is_none(), "paused");
    }
}
