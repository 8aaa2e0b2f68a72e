//! The topics of the design, their partitions and retention (product.md §1, engine.md §8.1).

pub use crate::broker::cluster::PREFIX;
use crate::broker::{Cleanup, TopicSpec};
use crate::domain::names::{StageName, TopicName};
use crate::domain::position::{Partition, TopicPartition};
use crate::domain::time::Span;

/// A topic by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Control topic of the bridge: a record's key names a source to be asked at once.
    Sources,
    Landing,
    Validated,
    Classified,
    Plans,
    Staged,
    Checked,
    Published,
    Quarantine,
    Replay,
    Status,
    Lifecycle,
    QualityReports,
    /// Which lake a cluster's topics belong to: one record, on partition 0.
    Installation,
    Changelog(StageName),
}

/// Topics of one installation: a prefix and a number of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
    partitions: u32,
    retention: Span,
}

impl Topics {
    /// `partitions` is for ever: state lives on them. `retention` is that of letters and landing records.
    pub fn new(prefix: &str, partitions: u32, retention: Span) -> Self {
        Self { prefix: prefix.to_owned(), partitions: partitions.max(1), retention }
    }

    /// What stands before every name.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    pub fn name(&self, topic: Topic) -> TopicName {
        let word = match topic {
            Topic::Sources => "sources".to_owned(),
            Topic::Landing => "landing".to_owned(),
            Topic::Validated => "validated".to_owned(),
            Topic::Classified => "classified".to_owned(),
            Topic::Plans => "plans".to_owned(),
            Topic::Staged => "staged".to_owned(),
            Topic::Checked => "checked".to_owned(),
            Topic::Published => "published".to_owned(),
            Topic::Quarantine => "quarantine".to_owned(),
            Topic::Replay => "replay".to_owned(),
            Topic::Status => "status".to_owned(),
            Topic::Lifecycle => "lifecycle".to_owned(),
            Topic::QualityReports => "dq-results".to_owned(),
            Topic::Installation => "installation".to_owned(),
            Topic::Changelog(stage) => format!("changelog.{stage}"),
        };
        format!("{}{word}", self.prefix).parse().expect("the prefix was checked by the configuration")
    }

    pub fn at(&self, topic: Topic, partition: Partition) -> TopicPartition {
        TopicPartition { topic: self.name(topic), partition }
    }

    /// The topic a stage reads.
    pub fn input(stage: StageName) -> Topic {
        match stage {
            StageName::Bridge => Topic::Sources,
            StageName::Replay => Topic::Replay,
            StageName::Validate => Topic::Landing,
            StageName::Classify => Topic::Validated,
            StageName::Assemble => Topic::Classified,
            StageName::Transform => Topic::Plans,
            StageName::Check => Topic::Staged,
            StageName::Publish => Topic::Checked,
            StageName::Letters => Topic::Quarantine,
            StageName::Reports => Topic::QualityReports,
        }
    }

    /// The topics a stage writes, beside its changelog.
    pub fn outputs(stage: StageName) -> Vec<Topic> {
        let (status, lifecycle, quarantine) = (Topic::Status, Topic::Lifecycle, Topic::Quarantine);
        let mut all = match stage {
            // The inbox of manifests orders replays.
            StageName::Bridge => vec![Topic::Landing, Topic::Replay, lifecycle],
            StageName::Validate => vec![Topic::Validated, status, lifecycle],
            StageName::Classify => vec![Topic::Classified, status, lifecycle],
            StageName::Assemble => vec![Topic::Plans, status, lifecycle],
            StageName::Transform => vec![Topic::Staged, status, lifecycle],
            StageName::Check => vec![Topic::Checked, Topic::QualityReports, status, lifecycle],
            StageName::Publish => vec![Topic::Published, status, lifecycle],
            StageName::Replay => vec![Topic::Landing, status, lifecycle],
            StageName::Letters | StageName::Reports => Vec::new(),
        };
        // Whatever reads a topic sets records aside that do not decode.
        all.push(quarantine);
        all
    }

    /// What a stage looks at beside its input and its changelog: topics, and groups whose positions it asks for.
    pub fn looks_at(stage: StageName) -> (Vec<Topic>, Vec<StageName>) {
        match stage {
            // How far transform is behind.
            StageName::Assemble => (vec![Topic::Plans], vec![StageName::Transform]),
            // What is replayed, and how far validate is behind.
            StageName::Replay => (vec![Topic::Landing], vec![StageName::Validate]),
            // The inbox of manifests asks what is known of each object.
            StageName::Bridge => (vec![Topic::Status], Vec::new()),
            _ => (Vec::new(), Vec::new()),
        }
    }

    /// Every topic with its retention.
    pub fn specs(&self) -> Vec<TopicSpec> {
        let week = Cleanup::Delete { retention: Span::from_secs(7 * 86_400) };
        let kept = Cleanup::Delete { retention: self.retention };
        let mut specs = vec![
            (Topic::Sources, week),
            (Topic::Landing, kept),
            (Topic::Validated, week),
            (Topic::Classified, week),
            (Topic::Plans, kept),
            (Topic::Staged, kept),
            (Topic::Checked, kept),
            (Topic::Published, kept),
            (Topic::Quarantine, kept),
            (Topic::Replay, kept),
            // A landing record must not outlive its ending: who counts what is in flight reads both.
            (Topic::Status, Cleanup::Compact { lag: self.retention }),
            (Topic::Lifecycle, kept),
            (Topic::QualityReports, kept),
            (Topic::Installation, Cleanup::Compact { lag: Span::ZERO }),
        ];
        specs.extend(StageName::ALL.into_iter().map(|s| (Topic::Changelog(s), Cleanup::Compact { lag: Span::ZERO })));
        specs.into_iter().map(|(topic, cleanup)| TopicSpec { name: self.name(topic), partitions: self.partitions, cleanup }).collect()
    }
}
