//! Topics: what is missing is created, what differs dangerously is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::broker::kafka::client::{Ear, log_error};
use crate::broker::kafka::options::Options;
use crate::broker::{Cleanup, LogError, TopicSpec};
use crate::clock::Stopwatch;
use crate::domain::time::Span;

/// One request.
const ASK: Duration = Duration::from_secs(15);
/// New topics are known everywhere by then.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at new topics.
const READY_STEP: Duration = Duration::from_millis(20);
/// Tombstones stay for stores that lag.
const TOMBSTONES: Span = Span::from_secs(7 * 86_400);

type Client = AdminClient<Ear>;

/// Creates, waits, compares. Blocks: for a thread of the runtime's blocking pool.
pub(super) fn ensure(options: &Options, topics: &[TopicSpec]) -> Result<(), LogError> {
    let client: Client = options.admin().create_with_context(Ear::default()).map_err(|e| log_error(&e))?;
    let found = partitions(&client)?;
    let missing: Vec<&TopicSpec> = topics.iter().filter(|t| !found.contains_key(&options.topic(&t.name))).collect();
    if !missing.is_empty() {
        create(&client, options, &missing)?;
    }
    for spec in topics {
        if let Some(n) = found.get(&options.topic(&spec.name)).filter(|n| **n != spec.partitions) {
            return Err(LogError::TopicDiffers { topic: spec.name.clone(), detail: other_partitions(*n, spec.partitions) });
        }
    }
    let existing: Vec<&TopicSpec> = topics.iter().filter(|t| found.contains_key(&options.topic(&t.name))).collect();
    compare(&client, options, &existing)
}

fn other_partitions(has: u32, wants: u32) -> String {
    format!(
        "has {has} partitions and is to have {wants}: state lies on partitions, so their number is for ever. \
         Configure {has}, or start anew under another topic prefix"
    )
}

/// Partitions of every topic of the cluster that has a leader for each.
fn partitions(client: &Client) -> Result<BTreeMap<String, u32>, LogError> {
    let metadata = client.inner().fetch_metadata(None, ASK).map_err(|e| log_error(&e))?;
    let all = metadata.topics().iter().filter(|t| t.error().is_none() && t.partitions().iter().all(|p| p.leader() >= 0));
    Ok(all.map(|t| (t.name().to_owned(), u32::try_from(t.partitions().len()).unwrap_or(u32::MAX))).collect())
}

fn create(client: &Client, options: &Options, missing: &[&TopicSpec]) -> Result<(), LogError> {
    let names: Vec<String> = missing.iter().map(|t| options.topic(&t.name)).collect();
    let settings: Vec<Vec<(&str, String)>> = missing.iter().map(|t| settings(options, t.cleanup)).collect();
    let replication = options.replication_factor.map_or(-1, i32::from);
    let new = missing.iter().zip(&names).zip(&settings).map(|((spec, name), settings)| {
        let topic = NewTopic::new(name, i32::try_from(spec.partitions).unwrap_or(i32::MAX), TopicReplication::Fixed(replication));
        settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    });
    let new: Vec<NewTopic<'_>> = new.collect();
    let asked = AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK));
    for result in Handle::current().block_on(client.create_topics(&new, &asked)).map_err(|e| log_error(&e))? {
        match result {
            Ok(name) => info!(topic = name, "topic created"),
            // Another process of the same installation was quicker.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let error = log_error(&KafkaError::AdminOp(code));
                return Err(match missing.iter().find(|t| options.topic(&t.name) == name) {
                    Some(spec) => LogError::TopicDiffers { topic: spec.name.clone(), detail: format!("cannot be created: {error}") },
                    None => error,
                });
            }
        }
    }
    let since = Stopwatch::start();
    loop {
        let found = partitions(client)?;
        let waiting = missing.iter().zip(&names).find(|(spec, name)| found.get(*name) != Some(&spec.partitions));
        match waiting {
            None => return Ok(()),
            Some((spec, name)) if since.elapsed() > READY_WITHIN => {
                return Err(match found.get(name) {
                    Some(n) => LogError::TopicDiffers { topic: spec.name.clone(), detail: other_partitions(*n, spec.partitions) },
                    None => LogError::TopicMissing { topic: spec.name.clone() },
                });
            }
            Some(_) => std::thread::park_timeout(READY_STEP),
        }
    }
}

/// Settings of a new topic.
fn settings(options: &Options, cleanup: Cleanup) -> Vec<(&'static str, String)> {
    let mut settings = match cleanup {
        Cleanup::Delete { retention } => vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", retention.millis().to_string())],
        Cleanup::Compact { lag } => vec![
            ("cleanup.policy", "compact".to_owned()),
            ("delete.retention.ms", TOMBSTONES.millis().to_string()),
            ("min.compaction.lag.ms", lag.millis().to_string()),
        ],
    };
    settings.extend(options.min_insync_replicas.map(|n| ("min.insync.replicas", n.to_string())));
    settings
}

/// Holds existing topics against what is wanted of them: another cleanup loses state, another retention is told.
fn compare(client: &Client, options: &Options, existing: &[&TopicSpec]) -> Result<(), LogError> {
    let names: Vec<String> = existing.iter().map(|t| options.topic(&t.name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let asked = AdminOptions::new().request_timeout(Some(ASK));
    let resources: Vec<ResourceSpecifier<'_>> = names.iter().map(|n| ResourceSpecifier::Topic(n)).collect();
    for described in Handle::current().block_on(client.describe_configs(&resources, &asked)).map_err(|e| log_error(&e))? {
        let described = described.map_err(|code| log_error(&KafkaError::AdminOp(code)))?;
        let OwnedResourceSpecifier::Topic(name) = &described.specifier else { continue };
        let Some(spec) = existing.iter().find(|t| options.topic(&t.name) == *name) else { continue };
        let value = |key: &str| described.get(key).and_then(|e| e.value.clone()).unwrap_or_default();
        if let Some(detail) = judge(spec.cleanup, &value("cleanup.policy")) {
            return Err(LogError::TopicDiffers { topic: spec.name.clone(), detail });
        }
        if let Cleanup::Delete { retention } = spec.cleanup
            && value("retention.ms") != retention.millis().to_string()
        {
            warn!(topic = name, found = value("retention.ms"), wanted = retention.millis(), "a topic keeps its records for another time");
        }
    }
    Ok(())
}

/// What is wrong with a topic's cleanup policy, and how to mend it.
fn judge(wanted: Cleanup, found: &str) -> Option<String> {
    let policies: Vec<&str> = found.split(',').map(str::trim).collect();
    let set = |policy: &str| format!("set it with `kafka-configs --alter --entity-type topics --add-config cleanup.policy={policy}`");
    match wanted {
        Cleanup::Compact { .. } if policies.contains(&"delete") => {
            Some(format!("has cleanup.policy={found}: records of keys that are still in use would be deleted; {}", set("compact")))
        }
        Cleanup::Delete { .. } if policies.contains(&"compact") => {
            Some(format!("has cleanup.policy={found}: all but the last record of a key would be deleted; {}", set("delete")))
        }
        Cleanup::Compact { .. } | Cleanup::Delete { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleanup_that_would_lose_records_is_named_with_its_remedy() {
        let kept = Cleanup::Delete { retention: Span::from_secs(1) };
        let compacted = Cleanup::Compact { lag: Span::ZERO };
        for (wanted, found, fault) in [
            (compacted, "compact", None),
            (compacted, "delete", Some("cleanup.policy=compact`")),
            (compacted, "compact,delete", Some("cleanup.policy=compact`")),
            (kept, "delete", None),
            (kept, "compact", Some("cleanup.policy=delete`")),
        ] {
            let judged = judge(wanted, found);
            assert_eq!(judged.is_some(), fault.is_some(), "{wanted:?} {found}");
            assert!(judged.unwrap_or_default().ends_with(fault.unwrap_or_default()));
        }
    }
}
