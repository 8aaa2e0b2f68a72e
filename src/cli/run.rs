//! `lakegate run`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::app::board::{Ended, Totals};
use crate::app::control;
use crate::app::run::{RunError, Running, Watcher};
use crate::app::wiring::{Options, StartError};
use crate::broker::LogError;
use crate::broker::embedded::Durability;
use crate::cli::exit;
use crate::clock::SystemClock;
use crate::domain::names::StageName;
use crate::domain::time::Span;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where files land: [NAME=]URL, a folder or file://…; NAME is the bucket. Several are allowed.
    #[arg(long, value_name = "[NAME=]URL", required = true, value_parser = crate::cli::landing)]
    pub landing: Vec<(String, String)>,
    /// Where tables are published: a folder or file://…
    #[arg(long, value_name = "URL")]
    pub lake: String,
    /// Folder of contracts (*.yaml).
    #[arg(long, value_name = "DIR")]
    pub contracts: PathBuf,
    /// State folder: the embedded log and the stages' stores. Default: `<lake>/../lakegate-state`.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Brokers of a Kafka cluster, host:port separated by commas: several processes share the work, each with a
    /// --state of its own. Default: the embedded log of the state folder.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub kafka: Option<String>,
    /// Only these stages, separated by commas. Default: all.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub stages: Vec<StageName>,
    /// End when everything that has landed has come to its end.
    #[arg(long)]
    pub until_idle: bool,
    /// With --until-idle: give up after this long (30s, 5m).
    #[arg(long, value_name = "SPAN")]
    pub timeout: Option<Span>,
    /// How often sources are asked.
    #[arg(long, value_name = "SPAN", default_value = "2s")]
    pub poll: Span,
    /// Do not wait for the disk: faster, and what was committed last can be lost with the machine.
    #[arg(long)]
    pub no_sync: bool,
    /// Totals as JSON on the last line.
    #[arg(long)]
    pub json: bool,
}

impl RunArgs {
    pub fn options(&self) -> Options {
        let state = self.state.clone().unwrap_or_else(|| PathBuf::from(".lakegate"));
        let mut options = Options::new(self.landing.clone(), self.lake.clone(), self.contracts.clone(), Some(state));
        options.poll = self.poll;
        options.kafka.clone_from(&self.kafka);
        if !self.stages.is_empty() {
            options.stages.clone_from(&self.stages);
        }
        if self.until_idle {
            options.quiet = Some(Span::from_millis(250));
        }
        if self.no_sync {
            options.durability = Durability::Buffer;
        }
        options
    }
}

/// Figures on stderr while a person watches.
struct Terminal {
    shown: u64,
    live: bool,
}

impl Watcher for Terminal {
    fn saw(&mut self, totals: &Totals, in_flight: usize, _: Vec<Ended>) {
        let ended = totals.objects.landed - in_flight as u64;
        if self.live && ended != self.shown {
            self.shown = ended;
            eprint!(
                "\r{ended} of {} objects, {} rows published, {} quarantined   ",
                totals.objects.landed, totals.rows.published, totals.objects.quarantined
            );
        }
    }
}

/// Exit code of a failed run.
pub fn code_of(error: &RunError) -> u8 {
    match error {
        RunError::Start(StartError::Registry(_) | StartError::Store(_) | StartError::Probe { .. } | StartError::Identity { .. }) => {
            exit::UNREACHABLE
        }
        RunError::Start(StartError::Log(LogError::Unreachable { .. })) => exit::UNREACHABLE,
        RunError::Start(_) => exit::USAGE,
        RunError::Halted(_) | RunError::Timeout { .. } => exit::HALTED,
        RunError::Board(_) | RunError::Stage { .. } => exit::INTERNAL,
    }
}

/// Exit code of a finished run.
pub fn verdict(totals: &Totals) -> u8 {
    if totals.objects.quarantined > 0 { exit::QUARANTINED } else { exit::OK }
}

pub async fn run(args: RunArgs) -> ExitCode {
    match carry_out(&args).await {
        Ok(code) => code.into(),
        Err(e) => {
            let code = code_of(&e);
            exit::report(&e.into(), code)
        }
    }
}

async fn carry_out(args: &RunArgs) -> Result<u8, RunError> {
    let options = args.options();
    let mut running = Running::start(&options, Arc::new(SystemClock)).await?;
    if let Some(state) = &options.state
        && let Err(e) = control::attach(&mut running.engine, state, &options.lake)
    {
        tracing::warn!(error = %e, "no control socket: commands cannot ask this process");
    }
    let stop = running.engine.stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    if !args.until_idle {
        running.until_stopped().await?;
        running.stop().await?;
        return Ok(exit::OK);
    }
    let live = std::io::stderr().is_terminal();
    let totals = running.until_idle(args.timeout, &mut Terminal { shown: 0, live }).await?;
    if live {
        eprintln!();
    }
    running.stop().await?;
    if args.json {
        println!("{}", serde_json::to_string(&totals).expect("figures always serialize"));
    } else {
        let o = &totals.objects;
        println!(
            "{} landed: {} published, {} quarantined, {} duplicate, {} superseded, {} ignored",
            o.landed, o.published, o.quarantined, o.duplicate, o.superseded, o.ignored
        );
        println!(
            "{} rows in: {} published, {} quarantined, {} deduplicated; {} s",
            totals.rows.physical, totals.rows.published, totals.rows.quarantined, totals.rows.deduplicated, totals.seconds
        );
    }
    Ok(verdict(&totals))
}
