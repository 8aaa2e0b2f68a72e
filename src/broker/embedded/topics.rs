//! Topics of the embedded log: offsets handed out, the newest records kept in memory.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tokio::sync::watch;

use crate::broker::embedded::entry::{RecordEntry, TopicEntry, offset_of, record_key, topic_key};
use crate::broker::embedded::shelf::{Batch, Shelf};
use crate::broker::{Bounds, Chunk, Cleanup, Committed, LogError, OutRecord, PollLimit, Record, TopicSpec};
use crate::domain::names::TopicName;
use crate::domain::position::{NextOffset, Offset, TopicPartition};
use crate::domain::time::Timestamp;

/// Bytes of newest records kept in memory per partition, so that a stage that keeps up never reads the disk.
const TAIL_BYTES: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Topics {
    by_name: BTreeMap<TopicName, Topic>,
    next_id: u32,
}

pub(super) struct Topic {
    pub(super) id: u32,
    pub(super) cleanup: Cleanup,
    pub(super) changed: watch::Sender<u64>,
    pub(super) partitions: Vec<Tail>,
}

pub(super) struct Tail {
    pub(super) start: u64,
    pub(super) end: u64,
    records: VecDeque<Record>,
    bytes: usize,
}

impl Topics {
    pub(super) fn load(shelf: &Shelf) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut topics = Topics::default();
        for (key, value) in shelf.range(b"t/", b"t0", usize::MAX)? {
            let name: TopicName = std::str::from_utf8(&key[2..])?.parse()?;
            let entry = TopicEntry::decode(&value)?;
            let mut partitions = Vec::new();
            for (p, (start, floor)) in entry.starts.iter().zip(&entry.floors).enumerate() {
                let partition = crate::domain::position::Partition(u32::try_from(p)?);
                let last = shelf.last_key(&record_key(entry.id, partition, 0), &record_key(entry.id, partition, u64::MAX))?;
                let end = last.and_then(|k| offset_of(&k)).map_or(0, |o| o.next().0);
                partitions.push(Tail { start: *start, end: end.max(*start).max(*floor), records: VecDeque::new(), bytes: 0 });
            }
            topics.next_id = topics.next_id.max(entry.id + 1);
            topics.by_name.insert(name, Topic { id: entry.id, cleanup: entry.cleanup, changed: watch::channel(0).0, partitions });
        }
        Ok(topics)
    }

    pub(super) fn get(&self, name: &TopicName) -> Result<&Topic, LogError> {
        self.by_name.get(name).ok_or_else(|| LogError::TopicMissing { topic: name.clone() })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicName, &Topic)> {
        self.by_name.iter()
    }

    pub(super) fn get_mut(&mut self, name: &TopicName) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    /// Creates what is missing; an existing topic keeps its partitions and takes the new retention.
    pub(super) fn ensure(&mut self, specs: &[TopicSpec], batch: &mut Batch) {
        for spec in specs {
            if !self.by_name.contains_key(&spec.name) {
                let partitions =
                    (0..spec.partitions.max(1)).map(|_| Tail { start: 0, end: 0, records: VecDeque::new(), bytes: 0 }).collect();
                let topic = Topic { id: self.next_id, cleanup: spec.cleanup, changed: watch::channel(0).0, partitions };
                self.next_id += 1;
                self.by_name.insert(spec.name.clone(), topic);
            }
            if let Some(topic) = self.by_name.get_mut(&spec.name) {
                topic.cleanup = spec.cleanup;
                batch.puts.push((topic_key(spec.name.as_str()), topic.entry().encode()));
            }
        }
    }

    /// Hands out offsets and encodes; nothing is visible until [`Topics::publish`].
    pub(super) fn place(&self, outputs: Vec<OutRecord>, now: Timestamp, batch: &mut Batch) -> Result<(Vec<Record>, Committed), LogError> {
        let mut committed = Committed::default();
        let mut records = Vec::with_capacity(outputs.len());
        for out in outputs {
            let topic = self.get(&out.to.topic)?;
            let end = topic.bounds(&out.to)?.end;
            let next = committed.ends.entry(out.to.clone()).or_insert(end);
            let offset = Offset(next.0);
            *next = offset.next();
            let entry = RecordEntry { timestamp: now, key: out.key, value: out.value, headers: out.headers };
            batch.puts.push((record_key(topic.id, out.to.partition, offset.0), entry.encode()));
            records.push(record(out.to, offset, entry));
        }
        Ok((records, committed))
    }

    /// Makes written records visible and wakes whoever waits for their topics.
    pub(super) fn publish(&mut self, records: Vec<Record>) {
        let mut touched: Vec<TopicName> = Vec::new();
        for record in records {
            if !touched.contains(&record.at.topic) {
                touched.push(record.at.topic.clone());
            }
            if let Some(tail) = self.by_name.get_mut(&record.at.topic).and_then(|t| t.partitions.get_mut(record.at.partition.0 as usize)) {
                tail.push(record);
            }
        }
        for name in touched {
            self.wake(&name);
        }
    }

    pub(super) fn wake(&self, name: &TopicName) {
        if let Some(topic) = self.by_name.get(name) {
            topic.changed.send_modify(|version| *version += 1);
        }
    }
}

impl Topic {
    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("made from a u32")
    }

    pub(super) fn entry(&self) -> TopicEntry {
        TopicEntry {
            id: self.id,
            partitions: self.partitions(),
            cleanup: self.cleanup,
            starts: self.partitions.iter().map(|t| t.start).collect(),
            floors: self.partitions.iter().map(|t| t.end).collect(),
        }
    }

    fn partition(&self, at: &TopicPartition) -> Result<&Tail, LogError> {
        self.partitions.get(at.partition.0 as usize).ok_or_else(|| LogError::PartitionMissing { at: at.clone() })
    }

    pub(super) fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        let tail = self.partition(at)?;
        Ok(Bounds { start: NextOffset(tail.start), end: NextOffset(tail.end) })
    }

    /// Records from memory; `None` when `from` lies before what is kept there.
    pub(super) fn tail(&self, at: &TopicPartition, from: NextOffset, limit: PollLimit) -> Result<Option<Chunk>, LogError> {
        let tail = self.partition(at)?;
        let from = from.max(NextOffset(tail.start));
        if from.0 >= tail.end {
            return Ok(Some(Chunk { records: Vec::new(), next: NextOffset(tail.end) }));
        }
        let Some(first) = tail.records.front().map(|r| r.offset.0).filter(|first| *first <= from.0) else {
            return Ok(None);
        };
        let skip = usize::try_from(from.0 - first).unwrap_or(usize::MAX);
        let mut chunk = Chunk { records: Vec::new(), next: from };
        let mut bytes = 0;
        for record in tail.records.iter().skip(skip).take(limit.records) {
            bytes += record.weight();
            chunk.next = record.offset.next();
            chunk.records.push(record.clone());
            if bytes >= limit.bytes {
                break;
            }
        }
        Ok(Some(chunk))
    }
}

impl Tail {
    fn push(&mut self, record: Record) {
        self.end = record.offset.next().0;
        self.bytes += record.weight();
        self.records.push_back(record);
        while self.bytes > TAIL_BYTES {
            let Some(old) = self.records.pop_front() else { break };
            self.bytes -= old.weight();
        }
    }

    /// Forgets records in memory (their places changed on the shelf).
    pub(super) fn forget(&mut self) {
        self.records.clear();
        self.bytes = 0;
    }
}

fn record(at: TopicPartition, offset: Offset, entry: RecordEntry) -> Record {
    Record { at, offset, timestamp: entry.timestamp, key: entry.key, value: entry.value, headers: entry.headers }
}

/// A record as it lies on the shelf.
pub(super) fn decode(at: &TopicPartition, key: &[u8], value: Bytes) -> Result<Record, LogError> {
    let corrupt = |offset: u64, detail: String| LogError::Corrupt { at: at.to_string(), offset, detail };
    let offset = offset_of(key).ok_or_else(|| corrupt(0, "its key is cut short".to_owned()))?;
    let entry = RecordEntry::decode(value).map_err(|e| corrupt(offset.0, e.to_string()))?;
    Ok(record(at.clone(), offset, entry))
}
