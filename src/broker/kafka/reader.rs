//! Reading without a group: ends, positions of groups, and committed records of any partition.
//!
//! Every call into a client is made on a blocking thread. Records come through a few cursors, consumers that stand
//! at a place of one partition; reading on from where a cursor stands costs no new assignment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset as At, TopicPartitionList};
use tokio::sync::Semaphore;

use crate::broker::kafka::client::{Ear, hear, log_error, metadata, needs, passes_by_itself};
use crate::broker::kafka::message;
use crate::broker::kafka::options::Options;
use crate::broker::{Bounds, Chunk, LogError, PollLimit, Reader};
use crate::clock::{Clock, Stopwatch, sleep};
use crate::domain::names::TopicName;
use crate::domain::position::{NextOffset, Partition, TopicPartition};
use crate::domain::time::Span;

/// One question to the broker.
const ASK: Duration = Duration::from_secs(10);
/// Before a question is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// A look at a cursor's events.
const LOOK: Duration = Duration::from_millis(50);
/// Cursors at work at once; more readers wait.
const CURSORS_MAX: usize = 8;
/// Cursors kept when nobody reads.
const CURSORS_KEPT: usize = 2;
/// Groups whose positions are asked for keep a client each.
const GROUPS_MAX: usize = 16;
/// How often a topic's ends are looked at by [`Reader::grown`]: from the first wait to the last.
const GROWN_STEPS: (Span, Span) = (Span::from_millis(10), Span::from_millis(500));

type Client = BaseConsumer<Ear>;

/// Reads any partition.
pub(super) struct KafkaReader {
    shared: Arc<Shared>,
    turns: Semaphore,
    clock: Arc<dyn Clock>,
}

struct Shared {
    options: Arc<Options>,
    catalog: Client,
    known: Mutex<BTreeMap<TopicName, u32>>,
    groups: Mutex<BTreeMap<String, Arc<Client>>>,
    cursors: Mutex<Vec<Cursor>>,
}

/// A consumer and where it stands.
struct Cursor {
    consumer: Client,
    at: Option<(TopicPartition, NextOffset)>,
}

impl KafkaReader {
    pub(super) fn open(options: Arc<Options>, clock: Arc<dyn Clock>) -> Result<Self, KafkaError> {
        let catalog = options.catalog(None).create_with_context(Ear::default())?;
        let (known, groups, cursors) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { options, catalog, known, groups, cursors });
        Ok(Self { shared, turns: Semaphore::new(CURSORS_MAX), clock })
    }

    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Shared) -> Result<T, LogError> + Send + 'static) -> Result<T, LogError> {
        let shared = Arc::clone(&self.shared);
        let answer = tokio::task::spawn_blocking(move || question(&shared)).await;
        answer.unwrap_or_else(|e| Err(LogError::Unreachable { detail: e.to_string() }))
    }
}

impl Shared {
    fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        let name = self.options.topic(topic);
        let metadata = metadata(&self.catalog, Some(&name), ASK)?;
        let found = metadata.topics().iter().find(|t| t.name() == name).ok_or_else(|| LogError::TopicMissing { topic: topic.clone() })?;
        let partitions = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
        match found.error().map(RDKafkaErrorCode::from) {
            None if partitions > 0 => {
                self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), partitions);
                Ok(partitions)
            }
            None | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Err(LogError::TopicMissing { topic: topic.clone() })
            }
            Some(code) => Err(needs(log_error(&KafkaError::MetadataFetch(code)), &format!("topic {name}"))),
        }
    }

    /// Asked before anything else: the client waits long for a partition that is not there.
    fn check(&self, at: &TopicPartition) -> Result<(), LogError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&at.topic).copied();
        let partitions = match known {
            Some(n) if at.partition.0 < n => n,
            _ => self.partitions(&at.topic)?,
        };
        if at.partition.0 < partitions { Ok(()) } else { Err(LogError::PartitionMissing { at: at.clone() }) }
    }

    fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        self.check(at)?;
        hear(&self.catalog);
        let topic = self.options.topic(&at.topic);
        let (start, end) = insist(|| self.catalog.fetch_watermarks(&topic, number(at.partition), ASK))?;
        let next = |offset: i64| NextOffset(u64::try_from(offset).unwrap_or(0));
        Ok(Bounds { start: next(start), end: next(end) })
    }

    fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<NextOffset>, LogError> {
        self.check(at)?;
        let topic = self.options.topic(&at.topic);
        let client = self.group(group)?;
        hear(&client);
        let found = insist(|| {
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition(&topic, number(at.partition));
            client.committed_offsets(list, ASK)
        })?;
        let Some(element) = found.find_partition(&topic, number(at.partition)) else { return Ok(None) };
        element.error().map_err(|e| needs(log_error(&e), &format!("group {group}")))?;
        Ok(match element.offset() {
            At::Offset(offset) => u64::try_from(offset).ok().map(NextOffset),
            _ => None,
        })
    }

    fn group(&self, group: &str) -> Result<Arc<Client>, LogError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = groups.get(group) {
            return Ok(Arc::clone(client));
        }
        let client: Client = self.options.catalog(Some(group)).create_with_context(Ear::default()).map_err(|e| log_error(&e))?;
        let client = Arc::new(client);
        if groups.len() >= GROUPS_MAX {
            groups.pop_first();
        }
        groups.insert(group.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    fn read(&self, at: &TopicPartition, from: NextOffset, limit: PollLimit) -> Result<Chunk, LogError> {
        let bounds = self.bounds(at)?;
        let from = from.max(bounds.start);
        if from >= bounds.end {
            return Ok(Chunk { records: Vec::new(), next: bounds.end });
        }
        let mut cursor = self.cursor(at, from)?;
        // A cursor that failed stands nowhere: it is not kept.
        let chunk = cursor.read(&self.options, at, from, limit, bounds.end)?;
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        if cursors.len() >= CURSORS_KEPT {
            cursors.remove(0);
        }
        cursors.push(cursor);
        Ok(chunk)
    }

    /// The cursor that stands at this place, or any other, or a new one.
    fn cursor(&self, at: &TopicPartition, from: NextOffset) -> Result<Cursor, LogError> {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        let here = |c: &Cursor| c.at.as_ref().is_some_and(|(tp, next)| tp == at && *next == from);
        if let Some(n) = cursors.iter().position(here) {
            return Ok(cursors.remove(n));
        }
        if !cursors.is_empty() {
            return Ok(cursors.remove(0));
        }
        drop(cursors);
        let consumer = self.options.cursor().create_with_context(Ear::default()).map_err(|e| log_error(&e))?;
        Ok(Cursor { consumer, at: None })
    }
}

impl Cursor {
    /// Reads until the limit, the end of what is committed with something found, or `end` is reached.
    ///
    /// With nothing found before `end` it waits: an open transaction ends within its timeout. Markers and aborted
    /// records move the cursor's position without a record.
    fn read(
        &mut self,
        options: &Options,
        at: &TopicPartition,
        from: NextOffset,
        limit: PollLimit,
        end: NextOffset,
    ) -> Result<Chunk, LogError> {
        let topic = options.topic(&at.topic);
        let standing = self.at.take().is_some_and(|(tp, next)| tp == *at && next == from);
        if !standing {
            let mut list = TopicPartitionList::with_capacity(1);
            let start = At::Offset(i64::try_from(from.0).unwrap_or(i64::MAX));
            list.add_partition_offset(&topic, number(at.partition), start).map_err(|e| log_error(&e))?;
            self.consumer.assign(&list).map_err(|e| log_error(&e))?;
        }
        let within = options.transaction_timeout.as_std() * 2;
        let since = Stopwatch::start();
        let mut chunk = Chunk { records: Vec::new(), next: from };
        let mut bytes = 0;
        while chunk.records.len() < limit.records && bytes < limit.bytes {
            let at_end = match self.consumer.poll(LOOK) {
                Some(Ok(message)) => {
                    let record = message::record(&message, &at.topic);
                    if record.at != *at || record.offset.0 < chunk.next.0 {
                        continue;
                    }
                    bytes += record.weight();
                    chunk.next = record.offset.next();
                    chunk.records.push(record);
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => true,
                Some(Err(e)) if e.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    return Err(LogError::OutOfRange { topic: at.topic.clone() });
                }
                Some(Err(e)) => match needs(log_error(&e), &format!("topic {topic}")) {
                    // The client goes on by itself; time decides.
                    LogError::Unreachable { .. } => false,
                    other => return Err(other),
                },
                None => false,
            };
            if at_end {
                // Only now: until something of this assignment has come, the client may still tell the position of the
                // one before it, further on.
                chunk.next = chunk.next.max(self.position(&topic, at.partition));
            }
            if chunk.next >= end || (at_end && !chunk.records.is_empty()) {
                break;
            }
            if since.elapsed() > within {
                if chunk.next > from {
                    break;
                }
                return Err(LogError::Unreachable {
                    detail: format!("nothing is read from {at} at {}, before its end at {}", from.0, end.0),
                });
            }
        }
        self.at = Some((at.clone(), chunk.next));
        Ok(chunk)
    }

    fn position(&self, topic: &str, partition: Partition) -> NextOffset {
        let position = self.consumer.position().ok();
        match position.as_ref().and_then(|list| list.find_partition(topic, number(partition))).map(|e| e.offset()) {
            Some(At::Offset(offset)) => NextOffset(u64::try_from(offset).unwrap_or(0)),
            _ => NextOffset(0),
        }
    }
}

/// Asks until it is answered or refused for good.
fn insist<T>(question: impl Fn() -> KafkaResult<T>) -> Result<T, LogError> {
    let since = Stopwatch::start();
    loop {
        match question() {
            Ok(answer) => return Ok(answer),
            Err(e) if passes_by_itself(&e) && since.elapsed() < ASK => std::thread::park_timeout(ASK_AGAIN),
            Err(e) => return Err(log_error(&e)),
        }
    }
}

fn number(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

#[async_trait]
impl Reader for KafkaReader {
    async fn partitions(&self, topic: &TopicName) -> Result<u32, LogError> {
        let topic = topic.clone();
        self.ask(move |shared| shared.partitions(&topic)).await
    }

    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        let at = at.clone();
        self.ask(move |shared| shared.bounds(&at)).await
    }

    async fn read(&self, at: &TopicPartition, from: NextOffset, limit: PollLimit) -> Result<Chunk, LogError> {
        let _turn = self.turns.acquire().await.map_err(|e| LogError::Unreachable { detail: e.to_string() })?;
        let at = at.clone();
        self.ask(move |shared| shared.read(&at, from, limit)).await
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<NextOffset>, LogError> {
        let (group, at) = (group.to_owned(), at.clone());
        self.ask(move |shared| shared.committed(&group, &at)).await
    }

    async fn grown(&self, topic: &TopicName, seen: u64) {
        let (mut wait, longest) = GROWN_STEPS;
        loop {
            let name = topic.clone();
            let sum = self
                .ask(move |shared| {
                    let all = 0..shared.partitions(&name)?;
                    all.map(|p| shared.bounds(&TopicPartition { topic: name.clone(), partition: Partition(p) }).map(|b| b.end.0)).sum()
                })
                .await;
            if sum.is_ok_and(|sum: u64| sum > seen) {
                return;
            }
            sleep(self.clock.as_ref(), wait).await;
            wait = Span::from_millis(wait.millis() * 2).min(longest);
        }
    }
}
