//! `lakegate access`: the least a process needs, for whoever grants it.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::app::access::{Grant, Role, commands, grants};
use crate::cli::cluster::ClusterArgs;
use crate::cli::exit;
use crate::cli::out::Out;
use crate::domain::names::StageName;
use crate::pipeline::topics::Topics;

#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Print the rights on a Kafka cluster, as kafka-acls.sh commands
    #[command(after_help = "Examples:\n  lakegate access kafka --principal User:lakegate --with commands\n  \
                  lakegate access kafka --principal User:gate --stage validate,classify --json\n  \
                  lakegate access kafka --principal User:admin --only-setup\n\n\
                  Nothing is asked or changed. Topics are made first: `lakegate topics create`.")]
    Kafka(AccessKafkaArgs),
}

/// Roles beside the stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Extra {
    /// What commands that ask or order need, and `run --until-idle`.
    Commands,
    /// What `run --metrics` needs beside its stages.
    Metrics,
    /// What `lakegate topics create` needs.
    Setup,
}

#[derive(Debug, Args)]
pub struct AccessKafkaArgs {
    /// Whom the rights are for, as the broker calls it
    #[arg(long, value_name = "USER", default_value = "User:lakegate")]
    pub principal: String,
    /// Only these stages, separated by commas [default: run.stages, which is all]
    #[arg(long, value_name = "A,B")]
    pub stage: Option<String>,
    /// The rights of these as well, separated by commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub with: Vec<Extra>,
    /// Only the rights of `lakegate topics create`, for who makes the topics
    #[arg(long, conflicts_with_all = ["stage", "with"])]
    pub only_setup: bool,
    /// File with an administrator's login, passed on as --command-config
    #[arg(long, value_name = "FILE")]
    pub command_config: Option<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct AccessView<'a> {
    principal: &'a str,
    grants: &'a [Grant],
}

/// # Errors
/// When the configuration is at fault.
pub fn run(command: AccessCommand, out: &mut Out) -> anyhow::Result<u8> {
    let AccessCommand::Kafka(args) = command;
    let settings = args.cluster.settings(vec![("--stage", ("run", "stages"), args.stage.clone())], Vec::new())?;
    let topics = Topics::new(&settings.prefix, settings.log.partitions, settings.log.retention);
    let stages: &[StageName] = if args.only_setup { &[] } else { &settings.run.stages };
    let mut roles: Vec<Role> = stages.iter().copied().map(Role::Stage).collect();
    roles.extend(args.with.iter().map(|extra| match extra {
        Extra::Commands => Role::Commands,
        Extra::Metrics => Role::Metrics,
        Extra::Setup => Role::Setup,
    }));
    roles.extend(args.only_setup.then_some(Role::Setup));
    let grants = grants(&topics, &roles);
    if args.json {
        out.json(&AccessView { principal: &args.principal, grants: &grants })?;
        return Ok(exit::OK);
    }
    let brokers = settings.kafka.map_or_else(|| "\"$BROKERS\"".to_owned(), |cluster| cluster.brokers);
    let login = args.command_config.map(|file| format!(" --command-config {file}")).unwrap_or_default();
    for command in commands(&grants, &args.principal, &format!("--bootstrap-server {brokers}{login}")) {
        out.line(&command)?;
    }
    Ok(exit::OK)
}
