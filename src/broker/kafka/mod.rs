//! Kafka as the broker (rdkafka): the same contract as the embedded log, for several processes at once.
//!
//! Every member has two threads, one that polls its consumer and one that runs its transactions; async code hands
//! them orders over bounded channels and makes no call into the client. Deliberately absent: a consumer that
//! commits by itself, automatic offset resets, the client's own partitioner.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::broker::topic_plan::TopicPlan;
use crate::broker::{Broker, CommitError, Committed, Log, LogError, OutRecord, Reader, TopicSpec, Transaction};
use crate::clock::Clock;
use crate::domain::names::TopicName;
use crate::domain::position::Positions;

mod admin;
mod assignment;
mod client;
mod consumer;
mod message;
mod options;
mod outcome;
mod port;
mod producer;
mod reader;
mod rebalance;
mod seat;
mod watchdog;

pub use options::{OpenError, Options};

use port::Port;
use producer::{Transactor, Worker};
use reader::KafkaReader;
use watchdog::Watchdog;

/// At its end the process waits this long for its members to leave their groups.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// A cluster, seen from one process.
pub struct KafkaBroker {
    options: Arc<Options>,
    clock: Arc<dyn Clock>,
    reader: Arc<KafkaReader>,
    watchdog: Watchdog,
    /// The producer of [`Broker::append`], once it is needed.
    appender: Mutex<Option<Transactor>>,
    watched: OnceLock<()>,
}

impl KafkaBroker {
    /// Makes the clients; the cluster is first asked by [`Broker::ensure`]. `clock` needs a tokio runtime to wait on.
    ///
    /// # Errors
    /// `Reserved` for a property that is not the caller's to set, `Client` for one the client does not know.
    pub fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        options.check()?;
        let options = Arc::new(options);
        let reader = KafkaReader::open(Arc::clone(&options), Arc::clone(&clock)).map_err(|source| OpenError::Client { source })?;
        let (reader, watchdog, appender) = (Arc::new(reader), Watchdog::default(), Mutex::default());
        Ok(Self { options, clock, reader, watchdog, appender, watched: OnceLock::new() })
    }

    /// Starts the watchdog's thread with the first producer.
    fn watch(&self) -> Result<Watchdog, LogError> {
        if self.watched.set(()).is_ok() {
            self.watchdog.start().map_err(|source| LogError::Storage { source: Box::new(source) })?;
        }
        Ok(self.watchdog.clone())
    }
}

/// Asks about topics on a thread that may block.
async fn on_topics<T: Send + 'static>(
    options: &Arc<Options>,
    topics: &[TopicSpec],
    ask: impl FnOnce(&Options, &[TopicSpec]) -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let (options, topics) = (Arc::clone(options), topics.to_vec());
    let done = tokio::task::spawn_blocking(move || ask(&options, &topics)).await;
    done.unwrap_or_else(|e| Err(LogError::Unreachable { detail: e.to_string() }))
}

/// What a cluster's topics need to be those of the design. Asks, changes nothing, needs no name of a process.
///
/// # Errors
/// Those of the cluster, and `Refused` for options no client can be made of.
pub async fn survey(options: Options, topics: &[TopicSpec]) -> Result<TopicPlan, LogError> {
    options.check().map_err(|e| LogError::Refused { detail: e.to_string() })?;
    on_topics(&Arc::new(options), topics, admin::survey).await
}

/// Creates and alters what [`survey`] tells; nothing while anything differs dangerously. Answers with what was found.
///
/// # Errors
/// Those of [`survey`]; `Refused` names the topic that could not be made.
pub async fn carry_out(options: Options, topics: &[TopicSpec]) -> Result<TopicPlan, LogError> {
    options.check().map_err(|e| LogError::Refused { detail: e.to_string() })?;
    on_topics(&Arc::new(options), topics, admin::carry_out).await
}

#[async_trait]
impl Broker for KafkaBroker {
    async fn ensure(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        on_topics(&self.options, topics, admin::ensure).await
    }

    async fn worker(&self, group: &str, input: &TopicName, instance: &str) -> Result<Box<dyn Log>, LogError> {
        let watchdog = self.watch()?;
        let port = Port::join(Arc::clone(&self.options), group, input, instance, watchdog, Arc::clone(&self.clock)).await?;
        Ok(Box::new(port))
    }

    async fn append(&self, outputs: Vec<OutRecord>) -> Result<Committed, CommitError> {
        let mut appender = self.appender.lock().await;
        // Nothing was sent yet: whatever fails here has a known outcome.
        let aborted = |e: LogError| CommitError::Aborted { detail: e.to_string() };
        let transactor = match appender.take() {
            Some(transactor) => transactor,
            None => {
                let config = self.options.producer("append", &self.options.instance);
                let worker = Worker::new(Arc::clone(&self.options), config, None, self.watch().map_err(aborted)?);
                worker.start().await.map_err(aborted)?
            }
        };
        let done = transactor.commit(Transaction { outputs, positions: Positions::default() }).await;
        if !matches!(done, Err(CommitError::Unknown { .. })) {
            *appender = Some(transactor);
        }
        done
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.reader) as Arc<dyn Reader>
    }
}

impl Drop for KafkaBroker {
    /// Members that were dropped before leave their groups on their own threads; without this the process could end
    /// first, and the others would wait for its sessions to run out.
    fn drop(&mut self) {
        self.appender.get_mut().take();
        self.watchdog.stop(LEAVE_WITHIN);
    }
}
