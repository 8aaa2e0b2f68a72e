//! How far the stages are, by the log's own positions: the same from whichever process they run in.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::{LogError, PollLimit, Reader, Record};
use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition, TopicPartition};
use crate::domain::time::Timestamp;
use crate::pipeline::topics::Topics;

/// Enough to tell whether a record is there.
const ONE: PollLimit = PollLimit { records: 1, bytes: 1 };

/// Every stage that can still send something to an open batch, in the order records pass them.
const UPSTREAM: [StageName; 4] = [StageName::Replay, StageName::Validate, StageName::Classify, StageName::Assemble];

/// What a stage has not processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// On a cluster markers of transactions are counted with them, but never alone.
    pub records: u64,
    /// When the oldest was written.
    pub oldest: Option<Timestamp>,
}

/// Positions up to which nothing was found but markers of transactions.
pub type Emptied = BTreeMap<(StageName, TopicPartition), NextOffset>;

/// What a stage has not processed of one partition of its input.
enum Ahead {
    /// Nothing; up to here there are at most markers of transactions.
    Nothing(NextOffset),
    From {
        first: Record,
        end: NextOffset,
    },
}

/// Looks from the stage's position on, or from `emptied` if that is further.
async fn ahead(reader: &Arc<dyn Reader>, at: &TopicPartition, stage: StageName, emptied: NextOffset) -> Result<Ahead, LogError> {
    let bounds = reader.bounds(at).await?;
    let committed = reader.committed(stage.as_str(), at).await?.unwrap_or(bounds.start).max(bounds.start);
    let next = committed.max(emptied);
    if next >= bounds.end {
        return Ok(Ahead::Nothing(emptied));
    }
    // On a cluster only markers of transactions may stand between the position and the end.
    let chunk = reader.read(at, next, ONE).await?;
    Ok(match chunk.records.into_iter().next() {
        Some(first) => Ahead::From { first, end: bounds.end },
        None => Ahead::Nothing(chunk.next.max(next)),
    })
}

/// How far a stage is behind what its input topic holds now.
pub async fn backlog(reader: &Arc<dyn Reader>, topics: &Topics, stage: StageName, emptied: &mut Emptied) -> Result<Waiting, LogError> {
    let mut waiting = Waiting::default();
    for p in 0..topics.partitions() {
        let at = topics.at(Topics::input(stage), Partition(p));
        let known = emptied.entry((stage, at.clone())).or_default();
        match ahead(reader, &at, stage, *known).await? {
            Ahead::Nothing(next) => *known = next,
            Ahead::From { first, end } => {
                waiting.records += end.0 - first.offset.0;
                waiting.oldest = Some(waiting.oldest.map_or(first.timestamp, |o| o.min(first.timestamp)));
            }
        }
    }
    Ok(waiting)
}

/// The stage has committed everything its input topic holds now.
pub async fn is_caught_up(reader: &Arc<dyn Reader>, topics: &Topics, stage: StageName) -> Result<bool, LogError> {
    for p in 0..topics.partitions() {
        let at = topics.at(Topics::input(stage), Partition(p));
        if matches!(ahead(reader, &at, stage, NextOffset::default()).await?, Ahead::From { .. }) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Everything that had landed when this was asked has joined its batch, or ended before.
///
/// A stage sends and moves on in one transaction, and stages are asked in the order of the flow, so
/// a record on its way is seen before one stage or before the next. What lands later is not meant.
pub async fn is_dry(reader: &Arc<dyn Reader>, topics: &Topics) -> Result<bool, LogError> {
    for stage in UPSTREAM {
        if !is_caught_up(reader, topics, stage).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::broker::embedded::EmbeddedBroker;
    use crate::broker::{Broker, OutRecord, PollLimit, Polled, Transaction};
    use crate::clock::ManualClock;
    use crate::domain::time::{Span, Timestamp};

    const ALL: PollLimit = PollLimit { records: 10, bytes: 1 << 20 };

    /// Reads and commits everything the stage's input holds.
    async fn passes(broker: &EmbeddedBroker, topics: &Topics, stage: StageName) {
        let input = topics.name(Topics::input(stage));
        let mut log = broker.worker(stage.as_str(), &input, "one").await.unwrap();
        let Polled::Assigned(partitions) = log.poll(ALL, Timestamp::EPOCH).await.unwrap() else { panic!("nothing assigned") };
        for (partition, next) in partitions {
            log.seek(partition, next.unwrap_or_default()).await.unwrap();
        }
        let mut transaction = Transaction::default();
        if let Polled::Records(records) = log.poll(ALL, Timestamp::EPOCH).await.unwrap() {
            for record in records {
                transaction.positions.advance(&record.at, record.offset.next());
            }
        }
        log.commit(transaction).await.unwrap();
    }

    #[tokio::test]
    async fn one_record_before_any_stage_of_the_flow_means_more_may_come() {
        for stage in UPSTREAM {
            let broker = EmbeddedBroker::in_memory(Arc::new(ManualClock::default()));
            let topics = Topics::new("", 2, Span::from_secs(60));
            broker.ensure(&topics.specs()).await.unwrap();
            let reader = broker.reader();
            assert!(is_dry(&reader, &topics).await.unwrap(), "nothing ever landed");
            let to = topics.at(Topics::input(stage), Partition(1));
            broker.append(vec![OutRecord { to, key: Bytes::new(), value: Some(Bytes::new()), headers: vec![] }]).await.unwrap();
            assert!(!is_dry(&reader, &topics).await.unwrap(), "{stage} has not seen it");
            passes(&broker, &topics, stage).await;
            assert!(is_dry(&reader, &topics).await.unwrap(), "{stage} is done with it");
        }
    }

    #[tokio::test]
    async fn a_backlog_is_what_was_not_committed_and_as_old_as_its_oldest_record() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        let broker = EmbeddedBroker::in_memory(Arc::new(clock.clone()));
        let topics = Topics::new("", 2, Span::from_secs(60));
        broker.ensure(&topics.specs()).await.unwrap();
        let (reader, mut emptied, stage) = (broker.reader(), Emptied::default(), StageName::Check);
        assert_eq!(backlog(&reader, &topics, stage, &mut emptied).await.unwrap(), Waiting::default());
        for partition in [1, 0, 1] {
            clock.advance(Span::from_secs(1));
            let to = topics.at(Topics::input(stage), Partition(partition));
            broker.append(vec![OutRecord { to, key: Bytes::new(), value: Some(Bytes::new()), headers: vec![] }]).await.unwrap();
        }
        let waiting = backlog(&reader, &topics, stage, &mut emptied).await.unwrap();
        assert_eq!(waiting, Waiting { records: 3, oldest: Some(Timestamp::from_millis(2_000)) });
        passes(&broker, &topics, stage).await;
        passes(&broker, &topics, stage).await;
        let waiting = backlog(&reader, &topics, stage, &mut emptied).await.unwrap();
        assert_eq!(waiting, Waiting::default());
    }

    #[tokio::test]
    async fn stages_behind_the_batches_hold_nothing_open() {
        let broker = EmbeddedBroker::in_memory(Arc::new(ManualClock::default()));
        let topics = Topics::new("", 2, Span::from_secs(60));
        broker.ensure(&topics.specs()).await.unwrap();
        let to = topics.at(Topics::input(StageName::Transform), Partition(0));
        broker.append(vec![OutRecord { to, key: Bytes::new(), value: Some(Bytes::new()), headers: vec![] }]).await.unwrap();
        assert!(is_dry(&broker.reader(), &topics).await.unwrap());
    }
}
