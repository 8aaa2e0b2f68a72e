//! The command line: one subcommand a file, every core usable by hand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod demo;
pub mod exit;
pub mod run;

/// The gate between a landing bucket and a trusted data lake. Landed is not trusted.
#[derive(Debug, Parser)]
#[command(name = "lakegate", version, max_term_width = 100)]
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
}

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
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return exit::report(&anyhow::Error::from(e), exit::INTERNAL),
    };
    runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Run(args) => run::run(args).await,
        }
    })
}

/// `[NAME=]URL`: NAME, by default the last path segment, is the bucket.
pub fn landing(text: &str) -> Result<(String, String), String> {
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
        None => Err(format!("{text:?} has no last segment to name the bucket; write NAME=URL")),
    }
}
