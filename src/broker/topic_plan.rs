//! Topics as they are to be, held against those a cluster has. Pure: [`plan`] is the one place that says what is
//! created, what is altered without harm, and what would lose or misplace something.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::broker::cluster::Copies;
use crate::broker::{Cleanup, TopicSpec};
use crate::domain::names::TopicName;
use crate::domain::time::Span;

/// Tombstones stay for stores that lag.
const TOMBSTONES: Span = Span::from_secs(7 * 86_400);
/// Bytes of the largest batch the client sends.
const BATCH_BYTES: i64 = 1_000_000;
/// Without a bound, as the broker spells it.
const UNBOUNDED: i64 = -1;

const CLEANUP: &str = "cleanup.policy";
const RETENTION: &str = "retention.ms";
const IN_SYNC: &str = "min.insync.replicas";

/// A topic as a cluster has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundTopic {
    pub partitions: u32,
    /// Copies of the partition that has fewest.
    pub copies: u32,
    /// What is in force, whoever said it; what the broker does not know is not here.
    pub settings: BTreeMap<String, String>,
}

/// Every topic of a design against one cluster, in the design's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicPlan {
    pub topics: Vec<PlannedTopic>,
}

/// What one topic needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedTopic {
    /// As the cluster calls it.
    #[serde(serialize_with = "spelled")]
    pub topic: TopicName,
    pub partitions: u32,
    /// Copies of a new topic; null leaves it to the broker.
    pub replication: Option<u16>,
    #[serde(flatten)]
    pub action: Action,
    /// Not to be used before a person has mended these.
    pub dangers: Vec<Difference>,
    /// Differs without harm, and is left as it is.
    pub notes: Vec<Difference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// It is not there.
    Create {
        settings: Vec<Setting>,
    },
    /// Neither records nor their places are touched by these.
    Alter {
        changes: Vec<Change>,
    },
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub key: &'static str,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub key: &'static str,
    pub from: String,
    pub to: String,
    pub why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub what: String,
    pub remedy: String,
}

fn spelled<S: serde::Serializer>(name: &TopicName, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(name)
}

/// How many topics need what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PlanCounts {
    pub topics: usize,
    pub create: usize,
    pub alter: usize,
    pub dangerous: usize,
}

/// What a setting must be.
#[derive(Debug, Clone, Copy)]
enum Wish {
    /// This policy, and not the other one.
    Policy {
        wanted: &'static str,
        other: &'static str,
        loss: &'static str,
    },
    /// So much or more.
    AtLeast(i64),
    Is(&'static str),
}

/// One setting of the design. `is_said`: a new topic is made with it, others are only looked at.
struct Wanted {
    key: &'static str,
    wish: Wish,
    why: &'static str,
    is_said: bool,
}

/// The settings a cleanup is made of.
fn wanted(cleanup: Cleanup, copies: Copies) -> Vec<Wanted> {
    let said = |key, wish, why| Wanted { key, wish, why, is_said: true };
    let seen = |key, wish, why| Wanted { key, wish, why, is_said: false };
    let mut all = match cleanup {
        Cleanup::Delete { retention } => {
            let loss = "all but the last record of a key would be deleted";
            vec![
                said(CLEANUP, Wish::Policy { wanted: "delete", other: "compact", loss }, ""),
                said(RETENTION, Wish::AtLeast(retention.millis()), "records would be deleted before their time"),
                said("retention.bytes", Wish::AtLeast(UNBOUNDED), "records would be deleted by size, read or not"),
            ]
        }
        Cleanup::Compact { lag } => {
            let loss = "records of keys that are still in use would be deleted";
            vec![
                said(CLEANUP, Wish::Policy { wanted: "compact", other: "delete", loss }, ""),
                said("delete.retention.ms", Wish::AtLeast(TOMBSTONES.millis()), "a store that lags would keep what was deleted"),
                said("min.compaction.lag.ms", Wish::AtLeast(lag.millis()), "rows would be compacted while somebody counts on them"),
            ]
        }
    };
    if let Some(n) = copies.in_sync {
        all.push(said(IN_SYNC, Wish::AtLeast(i64::from(n)), "one broker that fails would take records with it"));
    }
    all.push(seen(
        "unclean.leader.election.enable",
        Wish::Is("false"),
        "a broker that lags could become leader and drop what was committed",
    ));
    all.push(seen("max.message.bytes", Wish::AtLeast(BATCH_BYTES), "whole batches would be refused"));
    all
}

/// Whether `found` is as much as `least`; -1 is without bound.
fn reaches(found: i64, least: i64) -> bool {
    found == UNBOUNDED || (least != UNBOUNDED && found >= least)
}

/// What a design needs of a cluster. Topics that are not in `found` are not there; `brokers` names the cluster in remedies.
pub fn plan(specs: &[TopicSpec], found: &BTreeMap<TopicName, FoundTopic>, copies: Copies, brokers: &str) -> TopicPlan {
    TopicPlan { topics: specs.iter().map(|spec| planned(spec, found.get(&spec.name), copies, brokers)).collect() }
}

fn planned(spec: &TopicSpec, found: Option<&FoundTopic>, copies: Copies, brokers: &str) -> PlannedTopic {
    let mut topic = PlannedTopic {
        topic: spec.name.clone(),
        partitions: spec.partitions,
        replication: copies.replication,
        action: Action::Nothing,
        dangers: Vec::new(),
        notes: Vec::new(),
    };
    let wanted = wanted(spec.cleanup, copies);
    let Some(found) = found else {
        let text = |wish| match wish {
            Wish::Policy { wanted, .. } => wanted.to_owned(),
            Wish::AtLeast(n) => n.to_string(),
            Wish::Is(word) => word.to_owned(),
        };
        let settings = wanted.iter().filter(|w| w.is_said).map(|w| Setting { key: w.key, value: text(w.wish) }).collect();
        topic.action = Action::Create { settings };
        return topic;
    };
    let set = |key: &str, value: &str| {
        format!(
            "kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {} --add-config {key}={value}",
            spec.name
        )
    };
    if found.partitions != spec.partitions {
        let (has, wants) = (found.partitions, spec.partitions);
        topic.dangers.push(Difference {
            what: format!("has {has} partitions and is to have {wants}: state lies on partitions, so their number is for ever"),
            remedy: format!("say log.partitions = {has}, or begin anew with empty topics"),
        });
    }
    let mut changes = Vec::new();
    for Wanted { key, wish, why, .. } in wanted {
        let Some(value) = found.settings.get(key) else { continue };
        let mut change = |to: String| changes.push(Change { key, from: value.clone(), to, why });
        match wish {
            Wish::Policy { wanted, other, loss } => {
                if value.split(',').any(|policy| policy.trim() == other) {
                    topic.dangers.push(Difference { what: format!("has {key}={value}: {loss}"), remedy: set(key, wanted) });
                }
            }
            Wish::AtLeast(least) => match value.parse::<i64>() {
                Err(_) => topic
                    .notes
                    .push(Difference { what: format!("has {key}={value}, which is no number"), remedy: set(key, &least.to_string()) }),
                Ok(_) if key == IN_SYNC && i64::from(found.copies) < least => {}
                Ok(has) if !reaches(has, least) => change(least.to_string()),
                Ok(has) if key == RETENTION && has != least => topic.notes.push(Difference {
                    what: format!("keeps records longer than log.retention says: {key}={has}, not {least}"),
                    remedy: format!("leave it, or delete what is older: {}", set(key, &least.to_string())),
                }),
                Ok(_) => {}
            },
            Wish::Is(word) if value != word => change(word.to_owned()),
            Wish::Is(_) => {}
        }
    }
    copied(found, copies, set(IN_SYNC, &found.copies.to_string()), &mut topic);
    if !changes.is_empty() {
        topic.action = Action::Alter { changes };
    }
    topic
}

/// Copies against what must be in step: too few of them, and nothing can be written.
fn copied(found: &FoundTopic, copies: Copies, lower: String, topic: &mut PlannedTopic) {
    let in_sync = found.settings.get(IN_SYNC).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    let has = found.copies;
    let more = "add copies with kafka-reassign-partitions.sh";
    if in_sync > has {
        let what = format!("has {IN_SYNC}={in_sync} and {has} copies: nothing can be written");
        topic.dangers.push(Difference { what, remedy: format!("{more}, or {lower}") });
    } else if copies.replication.is_some_and(|n| u32::from(n) > has) {
        let wants = copies.replication.unwrap_or_default();
        let what = format!("has {has} copies and is to have {wants}: records go with the brokers that hold them");
        topic.notes.push(Difference { what, remedy: more.to_owned() });
    }
}

impl TopicPlan {
    pub fn counts(&self) -> PlanCounts {
        let of = |is: &dyn Fn(&PlannedTopic) -> bool| self.topics.iter().filter(|t| is(t)).count();
        PlanCounts {
            topics: self.topics.len(),
            create: of(&|t| matches!(t.action, Action::Create { .. })),
            alter: of(&|t| matches!(t.action, Action::Alter { .. })),
            dangerous: of(&|t| !t.dangers.is_empty()),
        }
    }

    /// The first dangerous difference, told whole with its remedy; how many more there are.
    pub fn danger(&self) -> Option<(&TopicName, String)> {
        let mut all = self.topics.iter().flat_map(|t| t.dangers.iter().map(move |d| (&t.topic, d)));
        let (topic, Difference { what, remedy }) = all.next()?;
        let more = match all.count() {
            0 => String::new(),
            n => format!(" ({n} more: `lakegate topics check` names all)"),
        };
        Some((topic, format!("{what}; {remedy}{more}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Span = Span::from_secs(86_400);

    fn spec(cleanup: Cleanup) -> TopicSpec {
        TopicSpec { name: "lakegate.t".parse().unwrap(), partitions: 4, cleanup }
    }

    fn found(partitions: u32, copies: u32, settings: &[(&str, &str)]) -> BTreeMap<TopicName, FoundTopic> {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        BTreeMap::from([("lakegate.t".parse().unwrap(), FoundTopic { partitions, copies, settings })])
    }

    /// The plan of one topic in short: the action, `! danger`, `~ note`.
    fn told(cleanup: Cleanup, found: &BTreeMap<TopicName, FoundTopic>, copies: Copies) -> Vec<String> {
        let plan = plan(&[spec(cleanup)], found, copies, "b:9092");
        let topic = &plan.topics[0];
        let mut lines = match &topic.action {
            Action::Create { settings } => settings.iter().map(|s| format!("+ {}={}", s.key, s.value)).collect(),
            Action::Alter { changes } => changes.iter().map(|c| format!("{} {} -> {}", c.key, c.from, c.to)).collect(),
            Action::Nothing => Vec::new(),
        };
        lines.extend(topic.dangers.iter().map(|d| format!("! {}; {}", d.what, d.remedy)));
        lines.extend(topic.notes.iter().map(|d| format!("~ {}; {}", d.what, d.remedy)));
        lines
    }

    const THREE: Copies = Copies { replication: Some(3), in_sync: Some(2) };
    const ANY: Copies = Copies { replication: None, in_sync: None };
    const SET: &str = "kafka-configs.sh --bootstrap-server b:9092 --alter --entity-type topics --entity-name lakegate.t --add-config";

    #[test]
    fn a_missing_topic_is_made_as_the_design_says() {
        let kept = told(Cleanup::Delete { retention: DAY }, &BTreeMap::new(), THREE);
        assert_eq!(kept, ["+ cleanup.policy=delete", "+ retention.ms=86400000", "+ retention.bytes=-1", "+ min.insync.replicas=2"]);
        let compacted = told(Cleanup::Compact { lag: DAY }, &BTreeMap::new(), ANY);
        assert_eq!(compacted, ["+ cleanup.policy=compact", "+ delete.retention.ms=604800000", "+ min.compaction.lag.ms=86400000"]);
    }

    #[test]
    fn differences_are_altered_told_or_dangerous() {
        let kept = Cleanup::Delete { retention: DAY };
        let compacted = Cleanup::Compact { lag: DAY };
        let set = |setting: &str| format!("{SET} {setting}");
        type Case<'a> = (Cleanup, u32, u32, &'a [(&'a str, &'a str)], Copies, &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            (kept, 4, 1, &[("cleanup.policy", "delete"), ("retention.ms", "86400000"), ("retention.bytes", "-1")], ANY, &[]),
            (kept, 4, 1, &[("retention.ms", "1000")], ANY, &["retention.ms 1000 -> 86400000"]),
            (
                kept,
                4,
                1,
                &[("retention.ms", "-1")],
                ANY,
                &["~ keeps records longer than log.retention says: retention.ms=-1, not 86400000; \
                   leave it, or delete what is older: SET retention.ms=86400000"],
            ),
            (kept, 4, 1, &[("retention.bytes", "1048576")], ANY, &["retention.bytes 1048576 -> -1"]),
            (
                kept,
                4,
                1,
                &[("cleanup.policy", "compact")],
                ANY,
                &["! has cleanup.policy=compact: all but the last record of a key would be deleted; SET cleanup.policy=delete"],
            ),
            (compacted, 4, 1, &[("cleanup.policy", "compact")], ANY, &[]),
            (
                compacted,
                4,
                1,
                &[("cleanup.policy", "compact, delete")],
                ANY,
                &[
                    "! has cleanup.policy=compact, delete: records of keys that are still in use would be deleted; SET cleanup.policy=compact",
                ],
            ),
            (compacted, 4, 1, &[("delete.retention.ms", "60000")], ANY, &["delete.retention.ms 60000 -> 604800000"]),
            (compacted, 4, 1, &[("min.compaction.lag.ms", "0")], ANY, &["min.compaction.lag.ms 0 -> 86400000"]),
            (
                compacted,
                8,
                1,
                &[],
                ANY,
                &["! has 8 partitions and is to have 4: state lies on partitions, so their number is for ever; \
                   say log.partitions = 8, or begin anew with empty topics"],
            ),
            (kept, 4, 3, &[("min.insync.replicas", "1")], THREE, &["min.insync.replicas 1 -> 2"]),
            (kept, 4, 3, &[("min.insync.replicas", "3")], THREE, &[]),
            (
                kept,
                4,
                1,
                &[("min.insync.replicas", "1")],
                THREE,
                &[
                    "~ has 1 copies and is to have 3: records go with the brokers that hold them; add copies with kafka-reassign-partitions.sh",
                ],
            ),
            (
                kept,
                4,
                1,
                &[("min.insync.replicas", "2")],
                ANY,
                &["! has min.insync.replicas=2 and 1 copies: nothing can be written; \
                   add copies with kafka-reassign-partitions.sh, or SET min.insync.replicas=1"],
            ),
            (kept, 4, 1, &[("unclean.leader.election.enable", "true")], ANY, &["unclean.leader.election.enable true -> false"]),
            (kept, 4, 1, &[("max.message.bytes", "65536")], ANY, &["max.message.bytes 65536 -> 1000000"]),
            (kept, 4, 1, &[("retention.ms", "long")], ANY, &["~ has retention.ms=long, which is no number; SET retention.ms=86400000"]),
        ];
        for (cleanup, partitions, copies, settings, wish, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|line| line.replace("SET ", &set(""))).collect();
            assert_eq!(told(*cleanup, &found(*partitions, *copies, settings), *wish), expected, "{settings:?}");
        }
    }

    #[test]
    fn the_first_danger_is_told_with_how_many_follow() {
        let all = found(8, 1, &[("cleanup.policy", "delete")]);
        let plan = plan(&[spec(Cleanup::Compact { lag: DAY })], &all, ANY, "b:9092");
        assert_eq!(plan.counts(), PlanCounts { topics: 1, create: 0, alter: 0, dangerous: 1 });
        let (_, told) = plan.danger().unwrap();
        assert!(told.starts_with("has 8 partitions") && told.ends_with("(1 more: `lakegate topics check` names all)"), "{told}");
    }

    /// Made as planned and looked at again, nothing is left to do.
    #[test]
    fn what_was_created_is_as_it_is_to_be() {
        for cleanup in [Cleanup::Delete { retention: DAY }, Cleanup::Compact { lag: Span::ZERO }] {
            let first = plan(&[spec(cleanup)], &BTreeMap::new(), THREE, "b:9092");
            let Action::Create { settings } = &first.topics[0].action else { panic!("{first:?}") };
            let settings: Vec<(&str, &str)> = settings.iter().map(|s| (s.key, s.value.as_str())).collect();
            assert_eq!(told(cleanup, &found(4, 3, &settings), THREE), Vec::<String>::new());
        }
    }
}
