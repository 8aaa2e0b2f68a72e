//! Topics of a cluster: looked at, held against the design, created and altered. What follows from a difference is
//! decided in [`topic_plan`](crate::broker::topic_plan).

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::broker::kafka::client::{Ear, log_error, metadata, needs};
use crate::broker::kafka::options::Options;
use crate::broker::topic_plan::{Action, Change, FoundTopic, PlannedTopic, TopicPlan, plan};
use crate::broker::{LogError, TopicSpec};
use crate::clock::Stopwatch;
use crate::domain::names::TopicName;

/// One request.
const ASK: Duration = Duration::from_secs(15);
/// New topics are known everywhere by then.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at new topics.
const READY_STEP: Duration = Duration::from_millis(20);

type Client = AdminClient<Ear>;

/// Creates what is missing, unless something differs dangerously. Blocks: for a thread of the runtime's blocking pool.
pub(super) fn ensure(options: &Options, topics: &[TopicSpec]) -> Result<(), LogError> {
    let mut look = Look::at(options, topics)?;
    look.refuse()?;
    look.create()?;
    for topic in &look.plan.topics {
        if let Action::Alter { changes } = &topic.action {
            for Change { key, from, to, why } in changes {
                warn!(topic = %topic.topic, key, from, to, why, "a topic is not as it is to be; `lakegate topics create` mends it");
            }
        }
        for note in &topic.notes {
            warn!(topic = %topic.topic, what = note.what, remedy = note.remedy, "a topic differs");
        }
    }
    Ok(())
}

/// What [`carry_out`] would do. Blocks.
pub(super) fn survey(options: &Options, topics: &[TopicSpec]) -> Result<TopicPlan, LogError> {
    Ok(Look::at(options, topics)?.plan)
}

/// Creates what is missing and alters what is safe; nothing at all while something differs dangerously. Blocks.
pub(super) fn carry_out(options: &Options, topics: &[TopicSpec]) -> Result<TopicPlan, LogError> {
    let mut look = Look::at(options, topics)?;
    if look.plan.danger().is_none() {
        look.create()?;
        look.alter()?;
    }
    Ok(look.plan)
}

/// A cluster's topics, read once, and what they need.
struct Look {
    client: Client,
    plan: TopicPlan,
    /// What was set on each topic itself: an altered topic is set whole.
    own: BTreeMap<TopicName, BTreeMap<String, String>>,
}

impl Look {
    fn at(options: &Options, topics: &[TopicSpec]) -> Result<Self, LogError> {
        let client: Client = options.admin().create_with_context(Ear::default()).map_err(|e| log_error(&e))?;
        let specs: Vec<TopicSpec> =
            topics.iter().map(|t| Ok(TopicSpec { name: full(options, &t.name)?, ..t.clone() })).collect::<Result<_, LogError>>()?;
        let catalog: BaseConsumer<Ear> = options.catalog(None).create_with_context(Ear::default()).map_err(|e| log_error(&e))?;
        let metadata = metadata(&catalog, None, ASK)?;
        let there = partitions(&metadata);
        for spec in specs.iter().filter(|s| !there.contains_key(s.name.as_str())) {
            look_closer(&catalog, spec.name.as_str())?;
        }
        let existing: Vec<&TopicName> = specs.iter().map(|s| &s.name).filter(|n| there.contains_key(n.as_str())).collect();
        let (settings, own) = describe(&client, &existing)?;
        let found = settings.into_iter().map(|(name, settings)| {
            let (partitions, copies) = there.get(name.as_str()).copied().unwrap_or_default();
            (name, FoundTopic { partitions, copies, settings })
        });
        let plan = plan(&specs, &found.collect(), options.copies.on(metadata.brokers().len()), &options.brokers);
        Ok(Self { client, plan, own })
    }

    fn refuse(&self) -> Result<(), LogError> {
        match self.plan.danger() {
            None => Ok(()),
            Some((topic, detail)) => Err(LogError::TopicDiffers { topic: topic.clone(), detail }),
        }
    }

    /// Creates what is missing and waits until every broker that is asked knows it.
    fn create(&mut self) -> Result<(), LogError> {
        let missing: Vec<(&PlannedTopic, _)> = self
            .plan
            .topics
            .iter()
            .filter_map(|t| match &t.action {
                Action::Create { settings } => Some((t, settings)),
                Action::Alter { .. } | Action::Nothing => None,
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let new = missing.iter().map(|(t, settings)| {
            let replication = TopicReplication::Fixed(t.replication.map_or(-1, i32::from));
            let topic = NewTopic::new(t.topic.as_str(), i32::try_from(t.partitions).unwrap_or(i32::MAX), replication);
            settings.iter().fold(topic, |topic, s| topic.set(s.key, &s.value))
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        let asked = AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK));
        for result in Handle::current().block_on(self.client.create_topics(&new, &asked)).map_err(|e| log_error(&e))? {
            match result {
                Ok(name) => info!(topic = name, "topic created"),
                // Another process of the same installation was quicker.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(about(&name, "cannot be created", &KafkaError::AdminOp(code))),
            }
        }
        let since = Stopwatch::start();
        loop {
            let metadata = self.client.inner().fetch_metadata(None, ASK).map_err(|e| log_error(&e))?;
            let found = partitions(&metadata);
            let has = |t: &PlannedTopic| found.get(t.topic.as_str()).map(|(n, _)| *n);
            match missing.iter().find(|(t, _)| has(t) != Some(t.partitions)) {
                None => return Ok(()),
                Some((t, _)) if since.elapsed() > READY_WITHIN => {
                    let topic = t.topic.clone();
                    return Err(match has(t) {
                        Some(n) => LogError::TopicDiffers {
                            topic,
                            detail: format!("was made meanwhile with {n} partitions, not {}", t.partitions),
                        },
                        None => LogError::TopicMissing { topic },
                    });
                }
                Some(_) => std::thread::park_timeout(READY_STEP),
            }
        }
    }

    /// The request replaces all that is set on a topic, so what stood there before is said again with it.
    fn alter(&self) -> Result<(), LogError> {
        let mut whole: BTreeMap<&TopicName, BTreeMap<&str, &str>> = BTreeMap::new();
        for topic in &self.plan.topics {
            if let Action::Alter { changes } = &topic.action {
                let before = self.own.get(&topic.topic).into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()));
                whole.insert(&topic.topic, before.chain(changes.iter().map(|c| (c.key, c.to.as_str()))).collect());
            }
        }
        if whole.is_empty() {
            return Ok(());
        }
        let configs = whole.iter().map(|(name, settings)| {
            let config = AlterConfig::new(ResourceSpecifier::Topic(name.as_str()));
            settings.iter().fold(config, |config, (key, value)| config.set(key, value))
        });
        let configs: Vec<AlterConfig<'_>> = configs.collect();
        let asked = AdminOptions::new().request_timeout(Some(ASK));
        for result in Handle::current().block_on(self.client.alter_configs(&configs, &asked)).map_err(|e| log_error(&e))? {
            match result {
                Ok(resource) => info!(topic = %named(&resource), "topic altered"),
                Err((resource, code)) => return Err(about(&named(&resource), "cannot be altered", &KafkaError::AdminOp(code))),
            }
        }
        // A broker tells the old settings for a moment: whoever looks next is to see what was done.
        let since = Stopwatch::start();
        let names: Vec<&TopicName> = whole.keys().copied().collect();
        loop {
            let (found, _) = describe(&self.client, &names)?;
            let is_done = |(name, settings): (&&TopicName, &BTreeMap<&str, &str>)| {
                let found = found.get(*name);
                settings.iter().all(|(key, value)| found.and_then(|f| f.get(*key)).is_some_and(|v| v == value))
            };
            if whole.iter().all(is_done) {
                return Ok(());
            }
            if since.elapsed() > READY_WITHIN {
                return Err(LogError::Unreachable { detail: "topics were altered, and the broker still tells their old settings".into() });
            }
            std::thread::park_timeout(READY_STEP);
        }
    }
}

fn full(options: &Options, name: &TopicName) -> Result<TopicName, LogError> {
    let refused = |e: crate::domain::names::NameError| LogError::Refused { detail: format!("topic {}: {e}", options.topic(name)) };
    options.topic(name).parse().map_err(refused)
}

fn named(resource: &OwnedResourceSpecifier) -> String {
    match resource {
        OwnedResourceSpecifier::Topic(name) | OwnedResourceSpecifier::Group(name) => name.clone(),
        OwnedResourceSpecifier::Broker(id) => id.to_string(),
    }
}

/// What could not be done to a topic. A broker that does not answer stays one.
fn about(topic: &str, what: &str, error: &KafkaError) -> LogError {
    let what = format!("topic {topic} {what}");
    match log_error(error) {
        LogError::Unreachable { detail } if is_answer(error) => LogError::Refused { detail: format!("{what}: {detail}") },
        LogError::Unreachable { detail } => LogError::Unreachable { detail: format!("{what}: {detail}") },
        other => needs(other, &what),
    }
}

/// The broker was there and refused: its own rules, or limits of a managed service.
fn is_answer(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::AdminOp(
            RDKafkaErrorCode::InvalidConfig
                | RDKafkaErrorCode::InvalidPartitions
                | RDKafkaErrorCode::InvalidReplicationFactor
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::InvalidRequest
        )
    )
}

/// Partitions and fewest copies of every topic of the cluster that has a leader for each partition.
fn partitions(metadata: &rdkafka::metadata::Metadata) -> BTreeMap<String, (u32, u32)> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let led = metadata.topics().iter().filter(|t| t.error().is_none() && t.partitions().iter().all(|p| p.leader() >= 0));
    led.map(|t| {
        let copies = t.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0);
        (t.name().to_owned(), (number(t.partitions().len()), number(copies)))
    })
    .collect()
}

/// A topic that is not listed is not there, or not for this client's eyes: only a question about itself tells.
fn look_closer(catalog: &BaseConsumer<Ear>, topic: &str) -> Result<(), LogError> {
    let metadata = metadata(catalog, Some(topic), ASK)?;
    let error = metadata.topics().iter().find(|t| t.name() == topic).and_then(|t| t.error()).map(RDKafkaErrorCode::from);
    match error {
        Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed) => Err(about(topic, "cannot be looked at", &KafkaError::AdminOp(code))),
        _ => Ok(()),
    }
}

/// Settings by topic.
type ByTopic = BTreeMap<TopicName, BTreeMap<String, String>>;

/// What is in force on each topic, and what of it was set on the topic itself.
fn describe(client: &Client, topics: &[&TopicName]) -> Result<(ByTopic, ByTopic), LogError> {
    let (mut all, mut own) = (ByTopic::new(), ByTopic::new());
    if topics.is_empty() {
        return Ok((all, own));
    }
    let asked = AdminOptions::new().request_timeout(Some(ASK));
    let resources: Vec<ResourceSpecifier<'_>> = topics.iter().map(|t| ResourceSpecifier::Topic(t.as_str())).collect();
    let described = Handle::current().block_on(client.describe_configs(&resources, &asked)).map_err(|e| log_error(&e))?;
    // The client gives them in the order they were asked for; a refusal does not say whose it is.
    for (name, described) in topics.iter().copied().zip(described) {
        let resource = described.map_err(|code| about(name.as_str(), "cannot be described", &KafkaError::AdminOp(code)))?;
        for entry in resource.entries {
            let Some(value) = entry.value else { continue };
            if entry.source == ConfigSource::DynamicTopic {
                own.entry(name.clone()).or_default().insert(entry.name.clone(), value.clone());
            }
            all.entry(name.clone()).or_default().insert(entry.name, value);
        }
    }
    Ok((all, own))
}
