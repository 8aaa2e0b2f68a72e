//! The least a principal may do on a cluster: derived from the topics and stages, nothing listed twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::domain::names::StageName;
use crate::pipeline::topics::{Topic, Topics};

/// Who needs rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A process with this stage.
    Stage(StageName),
    /// Commands that ask an installation or order something, and `run --until-idle`.
    Commands,
    /// `run --metrics`: what its figures of the whole lake are read from, beside what its stages read.
    Metrics,
    /// `lakegate topics create`: once, by somebody who may more than the processes.
    Setup,
}

/// What a right is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Resource {
    pub kind: Kind,
    pub name: String,
    /// The name is the beginning of names.
    pub prefixed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Topic,
    Group,
    TransactionalId,
}

impl Kind {
    fn flag(self) -> &'static str {
        match self {
            Kind::Topic => "--topic",
            Kind::Group => "--group",
            Kind::TransactionalId => "--transactional-id",
        }
    }
}

/// Operations in Kafka's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Operation {
    Read,
    Write,
    Create,
    AlterConfigs,
    DescribeConfigs,
    Describe,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Operation::Read => "Read",
            Operation::Write => "Write",
            Operation::Create => "Create",
            Operation::AlterConfigs => "AlterConfigs",
            Operation::DescribeConfigs => "DescribeConfigs",
            Operation::Describe => "Describe",
        }
    }

    /// What a broker gives along with it.
    fn implies(self) -> Option<Operation> {
        match self {
            Operation::Read | Operation::Write => Some(Operation::Describe),
            Operation::AlterConfigs => Some(Operation::DescribeConfigs),
            Operation::Create | Operation::DescribeConfigs | Operation::Describe => None,
        }
    }
}

/// One right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    #[serde(flatten)]
    pub resource: Resource,
    pub operations: Vec<Operation>,
}

/// Rights by resource, while they are collected.
#[derive(Default)]
struct Rights(BTreeMap<Resource, BTreeSet<Operation>>);

impl Rights {
    fn add(&mut self, kind: Kind, name: String, prefixed: bool, operations: &[Operation]) {
        self.0.entry(Resource { kind, name, prefixed }).or_default().extend(operations);
    }

    fn topic(&mut self, topics: &Topics, topic: Topic, operation: Operation) {
        self.add(Kind::Topic, topics.name(topic).to_string(), false, &[operation]);
    }

    /// A producer's name is the group's, a dash and the process's.
    fn producer(&mut self, topics: &Topics, of: &str) {
        self.add(Kind::TransactionalId, format!("{}{of}-", topics.prefix()), true, &[Operation::Write]);
    }
}

/// The rights of one principal that has all of these roles. Topics are there already: none but `Setup` creates any.
pub fn grants(topics: &Topics, roles: &[Role]) -> Vec<Grant> {
    let mut rights = Rights::default();
    let prefix = topics.prefix();
    let every: Vec<String> = topics.specs().into_iter().map(|s| s.name.to_string()).collect();
    for name in &every {
        // Every start and every command holds the topics against the design.
        rights.add(Kind::Topic, name.clone(), false, &[Operation::Describe, Operation::DescribeConfigs]);
    }
    for role in roles {
        match *role {
            Role::Setup => {
                for name in &every {
                    rights.add(Kind::Topic, name.clone(), false, &[Operation::Create, Operation::AlterConfigs]);
                }
            }
            Role::Commands => {
                for name in &every {
                    rights.add(Kind::Topic, name.clone(), false, &[Operation::Read]);
                }
                for stage in StageName::ALL {
                    rights.add(Kind::Group, format!("{prefix}{stage}"), false, &[Operation::Describe]);
                }
                for topic in [Topic::Replay, Topic::Lifecycle] {
                    rights.topic(topics, topic, Operation::Write);
                }
                claim(&mut rights, topics);
            }
            Role::Metrics => {
                for topic in [Topic::Status, Topic::Lifecycle, Topic::Changelog(StageName::Replay)] {
                    rights.topic(topics, topic, Operation::Read);
                }
            }
            Role::Stage(stage) => {
                let (looks, asks) = Topics::looks_at(stage);
                let changelog = Topic::Changelog(stage);
                for topic in looks.into_iter().chain([Topics::input(stage), changelog]) {
                    rights.topic(topics, topic, Operation::Read);
                }
                for topic in Topics::outputs(stage).into_iter().chain([changelog]) {
                    rights.topic(topics, topic, Operation::Write);
                }
                rights.add(Kind::Group, format!("{prefix}{stage}"), false, &[Operation::Read]);
                for other in asks {
                    rights.add(Kind::Group, format!("{prefix}{other}"), false, &[Operation::Describe]);
                }
                rights.producer(topics, stage.as_str());
                claim(&mut rights, topics);
            }
        }
    }
    let plain = |operations: BTreeSet<Operation>| {
        let implied: BTreeSet<Operation> = operations.iter().filter_map(|o| o.implies()).collect();
        operations.difference(&implied).copied().collect()
    };
    rights.0.into_iter().map(|(resource, operations)| Grant { resource, operations: plain(operations) }).collect()
}

/// Every start claims the cluster for its lake, with the producer that webhook and commands use as well. Whoever reads
/// without a group is a client that asks for a coordinator all the same.
fn claim(rights: &mut Rights, topics: &Topics) {
    rights.add(Kind::Group, format!("{}reader", topics.prefix()), false, &[Operation::Describe]);
    rights.topic(topics, Topic::Installation, Operation::Read);
    rights.topic(topics, Topic::Installation, Operation::Write);
    rights.producer(topics, "append");
}

/// `kafka-acls.sh` commands that give `principal` these rights: one for all resources that need the same.
pub fn commands(grants: &[Grant], principal: &str, connection: &str) -> Vec<String> {
    let mut alike: BTreeMap<(Kind, bool, &[Operation]), Vec<&str>> = BTreeMap::new();
    for Grant { resource, operations } in grants {
        alike.entry((resource.kind, resource.prefixed, operations)).or_default().push(&resource.name);
    }
    let command = |((kind, prefixed, operations), names): ((Kind, bool, &[Operation]), Vec<&str>)| {
        let mut words = vec![format!("kafka-acls.sh {connection} --add --allow-principal {}", quoted(principal))];
        words.extend(operations.iter().map(|o| format!("--operation {}", o.word())));
        words.extend(names.iter().map(|name| format!("{} {name}", kind.flag())));
        if prefixed {
            words.push("--resource-pattern-type prefixed".to_owned());
        }
        words.join(" ")
    };
    alike.into_iter().map(command).collect()
}

/// A word for the shell: principals of certificates hold blanks and commas.
fn quoted(text: &str) -> String {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || ":._@-".contains(c));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Span;
    use crate::pipeline::topics::PREFIX;

    fn topics() -> Topics {
        Topics::new(PREFIX, 4, Span::from_secs(86_400))
    }

    /// What a role may do beyond looking at topics: `kind name: operations`.
    fn told(roles: &[Role]) -> Vec<String> {
        let looks = [Operation::DescribeConfigs, Operation::Describe];
        let all = grants(&topics(), roles).into_iter().filter(|g| g.operations != looks);
        all.map(|g| format!("{:?} {}{}: {:?}", g.resource.kind, g.resource.name, if g.resource.prefixed { "*" } else { "" }, g.operations))
            .collect()
    }

    #[test]
    fn a_stage_may_do_what_it_does_and_no_more() {
        insta::assert_snapshot!(told(&[Role::Stage(StageName::Transform)]).join("\n"), @r"
        Topic lakegate.changelog.transform: [Read, Write, DescribeConfigs]
        Topic lakegate.installation: [Read, Write, DescribeConfigs]
        Topic lakegate.lifecycle: [Write, DescribeConfigs]
        Topic lakegate.plans: [Read, DescribeConfigs]
        Topic lakegate.quarantine: [Write, DescribeConfigs]
        Topic lakegate.staged: [Write, DescribeConfigs]
        Topic lakegate.status: [Write, DescribeConfigs]
        Group lakegate.reader: [Describe]
        Group lakegate.transform: [Read]
        TransactionalId lakegate.append-*: [Write]
        TransactionalId lakegate.transform-*: [Write]
        ");
    }

    #[test]
    fn metrics_only_read() {
        insta::assert_snapshot!(told(&[Role::Metrics]).join("\n"), @r"
        Topic lakegate.changelog.replay: [Read, DescribeConfigs]
        Topic lakegate.lifecycle: [Read, DescribeConfigs]
        Topic lakegate.status: [Read, DescribeConfigs]
        ");
    }

    #[test]
    fn only_setup_creates_and_only_what_is_there_is_named() {
        let creates = |roles: &[Role]| grants(&topics(), roles).iter().any(|g| g.operations.contains(&Operation::Create));
        assert!(creates(&[Role::Setup]));
        let mut processes: Vec<Role> = StageName::ALL.map(Role::Stage).to_vec();
        processes.push(Role::Commands);
        assert!(!creates(&processes));
        let known: BTreeSet<String> = topics().specs().into_iter().map(|s| s.name.to_string()).collect();
        let named: BTreeSet<String> =
            grants(&topics(), &processes).into_iter().filter(|g| g.resource.kind == Kind::Topic).map(|g| g.resource.name).collect();
        assert_eq!(named, known);
    }

    /// Whatever a stage writes is read by somebody, and whatever one reads is written.
    #[test]
    fn every_topic_between_stages_has_a_writer() {
        let written: BTreeSet<Topic> = StageName::ALL.into_iter().flat_map(Topics::outputs).collect();
        // Whoever wants a source asked at once writes there; nobody of ours does.
        let inputs = StageName::ALL.into_iter().map(Topics::input).filter(|t| *t != Topic::Sources);
        assert_eq!(inputs.filter(|t| !written.contains(t)).collect::<Vec<_>>(), []);
    }

    #[test]
    fn commands_are_few_and_safe_to_paste() {
        let grants = grants(&topics(), &[Role::Stage(StageName::Reports)]);
        let told = commands(&grants, "User:CN=gate, O=it's ours", "--bootstrap-server b:9092");
        let start = r"kafka-acls.sh --bootstrap-server b:9092 --add --allow-principal 'User:CN=gate, O=it'\''s ours' --operation ";
        assert!(told.iter().all(|line| line.starts_with(start)), "{told:#?}");
        let rest: Vec<&str> = told.iter().map(|line| &line[start.len()..]).collect();
        assert_eq!(rest.len(), 7, "{rest:#?}");
        assert!(rest.contains(&"Read --group lakegate.reports"), "{rest:#?}");
        let producers = "Write --transactional-id lakegate.append- --transactional-id lakegate.reports- --resource-pattern-type prefixed";
        assert!(rest.contains(&producers), "{rest:#?}");
        assert!(rest.contains(&"Read --operation DescribeConfigs --topic lakegate.dq-results"), "{rest:#?}");
    }
}
