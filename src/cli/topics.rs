//! `lakegate topics`: the topics of a Kafka cluster, as the design wants them.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::app::topics::{carry_out, survey};
use crate::broker::cluster::Cluster;
use crate::broker::topic_plan::{Action, PlanCounts, PlannedTopic, TopicPlan};
use crate::cli::cluster::{ClusterArgs, unsaid};
use crate::cli::exit;
use crate::cli::out::Out;
use crate::cli::table::{Align, Table};
use crate::pipeline::topics::Topics;

const EXITS: &str = "Exit codes: 0 nothing differs dangerously, 1 something does (its remedy is printed).";

#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create what is missing and alter what can be altered without harm
    #[command(after_help = format!("Example: lakegate topics create --kafka broker:9092 --partitions 12\n\n\
                            While anything differs dangerously nothing is done. {EXITS}"))]
    Create(TopicsArgs),
    /// Compare the topics with the design: what `run` would refuse, what `create` would mend
    #[command(after_help = format!("Example: lakegate topics check --kafka broker:9092\n\n{EXITS}"))]
    Check(TopicsArgs),
    /// Print what `create` would do, topic by topic
    #[command(after_help = format!("Example: lakegate topics plan --config lakegate.toml --json\n\n{EXITS}"))]
    Plan(TopicsArgs),
}

#[derive(Debug, Args)]
pub struct TopicsArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Partitions of every topic, for ever: state lies on them [default: log.partitions]
    #[arg(long, value_name = "N")]
    pub partitions: Option<String>,
    /// How long landing records, letters, reports and the audit log are kept [default: log.retention]
    #[arg(long, value_name = "SPAN")]
    pub retention: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A plan as `--json` prints it.
#[derive(Debug, Serialize)]
struct TopicsView<'a> {
    brokers: &'a str,
    counts: PlanCounts,
    /// Whether anything was done: only by `create`, and not while something differs dangerously.
    done: bool,
    topics: &'a [PlannedTopic],
}

impl TopicsArgs {
    /// The cluster, and the topics it is to have.
    fn wanted(&self) -> anyhow::Result<(Cluster, Topics)> {
        let given = vec![
            ("--partitions", ("log", "partitions"), self.partitions.clone()),
            ("--retention", ("log", "retention"), self.retention.clone()),
        ];
        let settings = self.cluster.settings(given, Vec::new())?;
        let topics = Topics::new(&settings.prefix, settings.log.partitions, settings.log.retention);
        Ok((settings.kafka.ok_or_else(unsaid)?, topics))
    }
}

/// # Errors
/// When no cluster is said, or it cannot be asked.
pub async fn run(command: TopicsCommand, out: &mut Out) -> anyhow::Result<u8> {
    let (TopicsCommand::Create(args) | TopicsCommand::Check(args) | TopicsCommand::Plan(args)) = &command;
    let (cluster, topics) = args.wanted()?;
    let creates = matches!(command, TopicsCommand::Create(_));
    let plan = if creates { carry_out(&cluster, &topics).await } else { survey(&cluster, &topics).await };
    let plan = plan.map_err(exit::of_start)?;
    let counts = plan.counts();
    let done = creates && counts.dangerous == 0;
    if args.json {
        out.json(&TopicsView { brokers: &cluster.brokers, counts, done, topics: &plan.topics })?;
    } else {
        let table = table(&plan, !matches!(command, TopicsCommand::Check(_)));
        if !table.is_empty() {
            out.table(&table)?;
        }
        out.line(&summary(&command, counts))?;
    }
    Ok(if counts.dangerous == 0 { exit::OK } else { exit::NO })
}

fn summary(command: &TopicsCommand, counts: PlanCounts) -> String {
    let PlanCounts { topics, create, alter, dangerous } = counts;
    let (make, change) = match command {
        TopicsCommand::Create(_) if dangerous == 0 => ("created", "altered"),
        _ => ("to create", "to alter"),
    };
    let then = match command {
        TopicsCommand::Create(_) if dangerous > 0 => "; nothing was done: mend these first",
        TopicsCommand::Check(_) | TopicsCommand::Plan(_) if dangerous > 0 => "; `run` refuses to start on them",
        _ => "",
    };
    format!("{topics} topics: {create} {make}, {alter} {change}, {dangerous} differ dangerously{then}")
}

/// A line for every difference; with `settings` also for what a new topic is made with.
fn table(plan: &TopicPlan, settings: bool) -> Table {
    let mut table = Table::new(&[("TOPIC", Align::Left), ("WHAT", Align::Left), ("DETAIL", Align::Prose)]);
    for topic in &plan.topics {
        let mut row = |what: &str, detail: String| table.row([topic.topic.to_string(), what.to_owned(), detail]);
        match &topic.action {
            Action::Nothing => {}
            Action::Create { settings: made } => {
                let copies = topic.replication.map(|n| format!(", {n} copies")).unwrap_or_default();
                let made = made.iter().map(|s| format!(" {}={}", s.key, s.value)).collect::<String>();
                row("create", format!("{} partitions{copies}{}", topic.partitions, if settings { made } else { String::new() }));
            }
            Action::Alter { changes } => {
                for c in changes {
                    row("alter", format!("{} from {} to {}: {}", c.key, c.from, c.to, c.why));
                }
            }
        }
        for danger in &topic.dangers {
            row("DANGER", format!("{}; {}", danger.what, danger.remedy));
        }
        for note in &topic.notes {
            row("differs", format!("{}; {}", note.what, note.remedy));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::broker::cluster::Copies;
    use crate::broker::topic_plan::{FoundTopic, plan};
    use crate::domain::time::Span;
    use crate::pipeline::topics::{PREFIX, Topic};

    /// A cluster that lacks most topics, and has two that differ.
    fn cluster() -> TopicPlan {
        let topics = Topics::new(PREFIX, 4, Span::from_secs(30 * 86_400));
        let found = |partitions, settings: &[(&str, &str)]| FoundTopic {
            partitions,
            copies: 1,
            settings: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let found = BTreeMap::from([
            (topics.name(Topic::Landing), found(4, &[("cleanup.policy", "delete"), ("retention.ms", "604800000")])),
            (topics.name(Topic::Status), found(8, &[("cleanup.policy", "delete")])),
        ]);
        let mut plan = plan(&topics.specs(), &found, Copies::default(), "b:9092");
        plan.topics.retain(|t| !t.topic.as_str().contains("changelog"));
        plan
    }

    #[test]
    fn a_plan_is_printed_topic_by_topic() {
        insta::assert_snapshot!(table(&cluster(), true).render(), @r"
        TOPIC                  WHAT    DETAIL
        lakegate.sources       create  4 partitions cleanup.policy=delete retention.ms=604800000 retention.bytes=-1
        lakegate.landing       alter   retention.ms from 604800000 to 2592000000: records would be deleted before their time
        lakegate.validated     create  4 partitions cleanup.policy=delete retention.ms=604800000 retention.bytes=-1
        lakegate.classified    create  4 partitions cleanup.policy=delete retention.ms=604800000 retention.bytes=-1
        lakegate.plans         create  4 partitions cleanup.policy=delete retention.ms=2592000000 retention.bytes=-1
        lakegate.staged        create  4 partitions cleanup.policy=delete retention.ms=2592000000 retention.bytes=-1
        lakegate.checked       create  4 partitions cleanup.policy=delete retention.ms=2592000000 retention.bytes=-1
        lakegate.published     create  4 partitions cleanup.policy=delete retention.ms=2592000000 retention.bytes=-1
        lakegate.quarantine    create  4 partitions cleanup.policy=delete retention.ms=2592000000 retention.bytes=-1
        lakegate.replay        create  4 partitions cleanup.policy=delete retention.ms=2592000000 retention.bytes=-1
        lakegate.status        DANGER  has 8 partitions and is to have 4: state lies on partitions, so their number is for ever; say log.partitions = 8, or begin anew with empty topics
        lakegate.status        DANGER  has cleanup.policy=delete: records of keys that are still in use would be deleted; kafka-configs.sh --bootstrap-server b:9092 --alter --entity-type topics --entity-name lakegate.status --add-config cleanup.policy=compact
        lakegate.lifecycle     create  4 partitions cleanup.policy=delete retention.ms=2592000000 retention.bytes=-1
        lakegate.dq-results    create  4 partitions cleanup.policy=delete retention.ms=2592000000 retention.bytes=-1
        lakegate.installation  create  4 partitions cleanup.policy=compact delete.retention.ms=604800000 min.compaction.lag.ms=0
        ");
    }

    #[test]
    fn a_check_says_what_run_would_refuse() {
        let counts = cluster().counts();
        let args = || TopicsArgs { cluster: ClusterArgs::default(), partitions: None, retention: None, json: false };
        assert_eq!(
            summary(&TopicsCommand::Check(args()), counts),
            "14 topics: 12 to create, 1 to alter, 1 differ dangerously; `run` refuses to start on them"
        );
        assert_eq!(
            summary(&TopicsCommand::Create(args()), counts),
            "14 topics: 12 to create, 1 to alter, 1 differ dangerously; nothing was done: mend these first"
        );
    }

    #[test]
    fn a_command_without_a_cluster_says_how_to_name_one() {
        let args = TopicsArgs { cluster: ClusterArgs::default(), partitions: Some("0".into()), retention: None, json: false };
        let error = args.wanted().unwrap_err();
        assert!(error.to_string().contains("--partitions"), "{error}");
        assert!(unsaid().to_string().contains("--kafka"));
    }
}
