//! A member of a group on the embedded log.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::broker::embedded::group::{Change, MemberId};
use crate::broker::embedded::{Shared, by_place};
use crate::broker::{CommitError, Committed, Log, LogError, PollLimit, Polled, Transaction};
use crate::domain::names::TopicName;
use crate::domain::position::{NextOffset, Partition, TopicPartition};
use crate::domain::time::Timestamp;

pub(super) struct Worker {
    shared: Arc<Shared>,
    group: String,
    topic: TopicName,
    member: MemberId,
    changed: watch::Receiver<u64>,
    /// Next record to read of each partition that was seeked; others deliver nothing.
    reading: BTreeMap<Partition, NextOffset>,
    /// The partition the next poll starts with, so that none starves.
    turn: u32,
    paused: bool,
}

impl Worker {
    pub(super) fn join(shared: Arc<Shared>, group: &str, topic: &TopicName, _instance: &str) -> Result<Self, LogError> {
        let (member, changed) = {
            let now = shared.clock.now();
            let mut state = shared.state();
            let found = state.topics.get(topic)?;
            let (partitions, changed) = (found.partitions(), found.changed.subscribe());
            let member = state.groups.join(group, topic, partitions, now, shared.release_deadline);
            state.topics.wake(topic);
            (member, changed)
        };
        Ok(Self {
            shared,
            group: group.to_owned(),
            topic: topic.clone(),
            member,
            changed,
            reading: BTreeMap::new(),
            turn: 0,
            paused: false,
        })
    }

    fn at(&self, partition: Partition) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition }
    }

    fn change(&self) -> Change {
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        state
            .groups
            .get_mut(&self.group, &self.topic)
            .map_or(Change::Fenced, |g| g.next_change(self.member, now, self.shared.release_deadline))
    }

    /// Records of owned partitions, one partition after another from `turn` on.
    fn records(&mut self, limit: PollLimit) -> Result<Vec<crate::broker::Record>, LogError> {
        let partitions: Vec<Partition> = self.reading.keys().copied().collect();
        if self.paused || partitions.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.turn as usize % partitions.len();
        self.turn = self.turn.wrapping_add(1);
        let mut found = Vec::new();
        let mut left = limit;
        for partition in partitions.iter().cycle().skip(first).take(partitions.len()) {
            let from = self.reading.get(partition).copied().unwrap_or_default();
            let chunk = self.shared.read(&self.at(*partition), from, left)?;
            self.reading.insert(*partition, chunk.next);
            left.records = left.records.saturating_sub(chunk.records.len());
            left.bytes = left.bytes.saturating_sub(chunk.records.iter().map(crate::broker::Record::weight).sum());
            found.extend(chunk.records);
            if left.records == 0 || left.bytes == 0 {
                break;
            }
        }
        by_place(&mut found);
        Ok(found)
    }
}

#[async_trait]
impl Log for Worker {
    async fn poll(&mut self, limit: PollLimit, until: Timestamp) -> Result<Polled, LogError> {
        loop {
            self.changed.borrow_and_update();
            match self.change() {
                Change::Fenced => return Err(LogError::Fenced),
                Change::Revoked(partitions) => return Ok(Polled::Revoked(partitions)),
                Change::Assigned(partitions) => {
                    let mut assigned = Vec::new();
                    for p in partitions {
                        assigned.push((p, self.shared.position(&self.group, &self.at(p))?));
                    }
                    return Ok(Polled::Assigned(assigned));
                }
                Change::None => {}
            }
            let records = self.records(limit)?;
            if !records.is_empty() {
                return Ok(Polled::Records(records));
            }
            if self.shared.clock.now() >= until {
                return Ok(Polled::Idle);
            }
            let clock = Arc::clone(&self.shared.clock);
            tokio::select! {
                biased;
                changed = self.changed.changed() => if changed.is_err() { return Err(LogError::Fenced) },
                () = clock.sleep_until(until) => {}
            }
        }
    }

    async fn interrupted(&mut self) {
        loop {
            self.changed.borrow_and_update();
            if self.shared.state().groups.get(&self.group, &self.topic).is_none_or(|g| g.has_change(self.member)) {
                return;
            }
            if self.changed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn commit(&mut self, transaction: Transaction) -> Result<Committed, CommitError> {
        let (group, topic, member) = (&self.group, &self.topic, self.member);
        self.shared.commit(transaction, Some(group), |state, positions| {
            let Some(g) = state.groups.get(group, topic) else {
                return false;
            };
            positions.iter().all(|(at, _)| at.topic == *topic && g.owns(member, at.partition))
        })
    }

    async fn seek(&mut self, partition: Partition, to: NextOffset) -> Result<(), LogError> {
        let owned = self.shared.state().groups.get(&self.group, &self.topic).is_some_and(|g| g.owns(self.member, partition));
        if !owned {
            return Err(LogError::Fenced);
        }
        self.reading.insert(partition, to);
        Ok(())
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        for p in partitions {
            self.reading.remove(p);
        }
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        if let Some(g) = state.groups.get_mut(&self.group, &self.topic) {
            g.release(self.member, partitions, now, self.shared.release_deadline);
        }
        state.topics.wake(&self.topic);
        Ok(())
    }

    fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }
}

impl Drop for Worker {
    /// A worker that goes away leaves its group at once, like a closed session.
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        if let Some(g) = state.groups.get_mut(&self.group, &self.topic) {
            g.leave(self.member, now, self.shared.release_deadline);
        }
        state.topics.wake(&self.topic);
    }
}
