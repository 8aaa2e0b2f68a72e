//! The command line: one subcommand a file, every core usable by hand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::out::Out;

pub mod access;
pub mod ask;
pub mod check;
pub mod cluster;
pub mod config;
pub mod contract;
pub mod demo;
pub mod events;
pub mod exit;
pub mod gc;
pub mod input;
pub mod out;
pub mod quarantine;
pub mod replay;
pub mod route;
pub mod run;
pub mod runs;
pub mod schema;
pub mod table;
pub mod topics;

/// The gate between a landing bucket and a trusted data lake. Landed is not trusted.
#[derive(Debug, Parser)]
#[command(
    name = "lakegate",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Every command explains itself with --help and prints JSON with --json.\n\
                  Exit codes of every command: 64 usage or configuration, 70 internal failure,\n\
                  75 a store, broker or registry does not answer; others stand in the command's help."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// See it work: golden files, a burst and two weeks of real flights through all stages, one
    /// object into quarantine and back. Nothing needs to be installed.
    Demo(demo::DemoArgs),
    /// Run the bridge and the stages: landed files become published tables.
    ///
    /// On one machine the flags alone are enough:
    ///   lakegate run --landing ./landing --lake ./lake --contracts ./contracts --until-idle
    Run(run::RunArgs),
    /// See what `run` would run with: every setting and where it was said.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Check one file against a contract, offline: what `run` would do with it.
    Check(check::CheckArgs),
    /// Send objects through the pipeline again, safely.
    #[command(subcommand)]
    Replay(replay::ReplayCommand),
    /// See what was held back, and why; release or discard it.
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// See what became of every object.
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Remove staged copies that no plan and no record needs any more.
    Gc(gc::GcArgs),
    /// Print the rights a process needs, and no more.
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Make and check the topics of a Kafka cluster.
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    /// Work on contracts: what a dataset promises.
    #[command(subcommand)]
    Contract(contract::ContractCommand),
    /// Read object-store events by hand.
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Try event patterns by hand: which dataset does an object belong to?
    #[command(subcommand)]
    Route(route::RouteCommand),
    /// Compare Avro schemas as a registry would.
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
}

/// Threads of the runtime beyond one a core.
const WAITING_THREADS: usize = 2;

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let code = if e.use_stderr() { exit::USAGE } else { exit::OK };
            drop(e.print());
            return code.into();
        }
    };
    // Commits wait for the disk on these threads: with no more of them than cores, the cores would wait too.
    let threads = std::thread::available_parallelism().map_or(1, usize::from) + WAITING_THREADS;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return exit::report(&anyhow::Error::from(e), exit::INTERNAL),
    };
    runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Run(args) => run::run(args, run::gone).await,
            other => match dispatch(other, &mut Out::standard()).await {
                Ok(code) => code.into(),
                // Whoever reads has seen enough, as with `| head`.
                Err(e) if closed_pipe(&e) => exit::OK.into(),
                Err(e) => exit::report(&e, exit::code_of(&e)),
            },
        }
    })
}

/// Runs one command of those that start no pipeline.
///
/// # Errors
/// Those of the command; [`exit::code_of`] tells whose fault it is.
pub async fn dispatch(command: Command, out: &mut Out) -> anyhow::Result<u8> {
    match command {
        Command::Run(_) | Command::Demo(_) => anyhow::bail!("a pipeline is started by main"),
        Command::Config(command) => config::run(command, out),
        Command::Check(args) => check::run(&args, out).await,
        Command::Replay(command) => replay::run(command, out).await,
        Command::Quarantine(command) => quarantine::run(command, out).await,
        Command::Runs(command) => runs::run(command, out).await,
        Command::Access(command) => access::run(command, out),
        Command::Topics(command) => topics::run(command, out).await,
        Command::Contract(command) => contract::run(command, out).await,
        Command::Gc(args) => gc::run(args, out).await,
        Command::Events(command) => events::run(command, out),
        Command::Route(command) => route::run(command, out).await,
        Command::Schema(command) => schema::run(command, out),
    }
}

fn closed_pipe(error: &anyhow::Error) -> bool {
    let is_closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|c| c.downcast_ref().is_some_and(is_closed))
}

/// `[NAME=]URL`: NAME is by default the last path segment.
pub fn named(text: &str) -> Result<(String, String), String> {
    if let Some((name, url)) = text.split_once('=').filter(|(name, _)| !name.contains('/')) {
        return if name.is_empty() || url.is_empty() {
            Err(format!("{text:?} is not [NAME=]URL"))
        } else {
            Ok((name.to_owned(), url.to_owned()))
        };
    }
    let name = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let absolute = std::fs::canonicalize(text).ok().and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()));
    match absolute.or_else(|| Some(name.to_owned())).filter(|n| !n.is_empty()) {
        Some(name) => Ok((name, text.to_owned())),
        None => Err(format!("{text:?} has no last segment to be its name; write NAME=URL")),
    }
}

#[cfg(test)]
mod tests;
