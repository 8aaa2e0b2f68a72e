//! `lakegate run`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::Args;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::board::{Ended, Totals};
use crate::app::control;
use crate::app::run::{RunError, Running, Watcher};
use crate::app::shutdown::{self, Leave, Signal};
use crate::app::wiring::Options;
use crate::cli::cluster::{ClusterArgs, Given};
use crate::cli::config::refused;
use crate::cli::exit;
use crate::clock::{SystemClock, sleep};
use crate::config::sources::SourceFlag;
use crate::domain::time::Span;
use crate::telemetry::logging::{self, LogLevel};

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Where files land: [NAME=]URL, a folder, file://… or s3://bucket[/prefix]; NAME is the bucket. Several are allowed.
    #[arg(long, value_name = "[NAME=]URL", value_parser = crate::cli::named)]
    pub landing: Vec<(String, String)>,
    /// A file of notifications, one JSON document a line, read on as it grows. Several are allowed.
    #[arg(long, value_name = "[NAME=]FILE", value_parser = crate::cli::named)]
    pub notices: Vec<(String, String)>,
    /// Take notifications over HTTP here: POST /notices at HOST:PORT.
    #[arg(long, value_name = "HOST:PORT")]
    pub webhook: Option<String>,
    /// Where tables are published: a folder, file://… or s3://bucket[/prefix]
    #[arg(long, value_name = "URL")]
    pub lake: Option<String>,
    /// Contracts (*.yaml): a folder, one file or a URL. Looked at while running: a change comes into force by itself.
    #[arg(long, value_name = "URL")]
    pub contracts: Option<String>,
    /// State folder: the embedded log and the stages' stores. Default: .lakegate
    #[arg(long, value_name = "DIR")]
    pub state: Option<String>,
    /// A schema registry with Confluent's API: http://… or https://…, several of one registry separated by commas.
    /// Default: the registry in the lake
    #[arg(long, value_name = "URL,...")]
    pub registry: Option<String>,
    /// Only these stages, separated by commas. Default: all.
    #[arg(long, value_name = "A,B")]
    pub stages: Option<String>,
    /// End when everything that has landed has come to its end.
    #[arg(long)]
    pub until_idle: bool,
    /// With --until-idle: give up after this long (30s, 5m).
    #[arg(long, value_name = "SPAN")]
    pub timeout: Option<Span>,
    /// How often sources are asked. Default: 2s
    #[arg(long, value_name = "SPAN")]
    pub poll: Option<String>,
    /// Do not wait for the disk: faster, and what was committed last can be lost with the machine.
    #[arg(long)]
    pub no_sync: bool,
    /// Answer GET /metrics (Prometheus), /livez, /readyz and /startupz here. Default: nowhere
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<String>,
    /// Log lines on standard error: error, warn, info, debug or trace, or MODULE=LEVEL separated by
    /// commas. Default: info, and warn with --until-idle
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Totals as JSON on the last line.
    #[arg(long)]
    pub json: bool,
}

impl RunArgs {
    /// What the flags say; the configuration checks it together with everything else.
    fn flags(&self) -> (Vec<Given>, Vec<SourceFlag>) {
        let said = vec![
            ("--lake", ("lake", "url"), self.lake.clone()),
            ("--contracts", ("contracts", "url"), self.contracts.clone()),
            ("--state", ("state", "dir"), self.state.clone()),
            ("--registry", ("registry", "url"), self.registry.clone()),
            ("--stages", ("run", "stages"), self.stages.clone()),
            ("--poll", ("run", "poll"), self.poll.clone()),
            ("--no-sync", ("log", "sync"), self.no_sync.then(|| "false".to_owned())),
            ("--metrics", ("metrics", "listen"), self.metrics.clone()),
            ("--log-level", ("logging", "level"), self.log_level.clone()),
        ];
        let landing = self.landing.iter().cloned().map(|(name, url)| SourceFlag::Landing { name, url });
        let notices = self.notices.iter().cloned().map(|(name, path)| SourceFlag::Notices { name, path: path.into() });
        let webhook = self.webhook.iter().cloned().map(|address| SourceFlag::Webhook { address });
        (said, landing.chain(notices).chain(webhook).collect())
    }

    /// What a process is started with, and how long it may drain. Log lines begin here.
    ///
    /// # Errors
    /// Every fault of flags, environment and file; then what none of them says.
    fn options(&self) -> anyhow::Result<(Options, Span)> {
        let (given, sources) = self.flags();
        let settings = self.cluster.settings(given, sources)?;
        let drain = settings.run.drain;
        let quiet = if self.until_idle { LogLevel::warn() } else { LogLevel::info() };
        logging::begin(settings.logging.level.as_ref().unwrap_or(&quiet), settings.logging.format);
        let mut options = settings.options().map_err(refused)?;
        if self.until_idle {
            options.quiet = Some(IDLE_QUIET);
        }
        Ok((options, drain))
    }
}

/// With --until-idle a batch is sealed once this long nothing joined it, whatever its contract says.
const IDLE_QUIET: Span = Span::from_millis(250);

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
        RunError::NotStarted { .. } => exit::UNREACHABLE,
        RunError::Start(error) => exit::code_of_start(error),
        RunError::Halted(_) | RunError::Timeout { .. } => exit::HALTED,
        RunError::Board(_) | RunError::Stage { .. } => exit::INTERNAL,
    }
}

/// Exit code of a finished run.
pub fn verdict(totals: &Totals) -> u8 {
    if totals.objects.quarantined > 0 { exit::QUARANTINED } else { exit::OK }
}

/// `leave` takes what a run that is over still holds, and its exit code; the binary ends the process there.
pub async fn run(args: RunArgs, leave: fn(Running, u8) -> u8) -> ExitCode {
    let (options, drain) = match args.options() {
        Ok(options) => options,
        Err(e) => return exit::report(&e, exit::code_of(&e)),
    };
    match carry_out(&args, options, drain, leave).await {
        Ok(code) => code.into(),
        Err(e) => {
            let code = code_of(&e);
            exit::report(&e.into(), code)
        }
    }
}

async fn carry_out(args: &RunArgs, options: Options, drain: Span, leave: fn(Running, u8) -> u8) -> Result<u8, RunError> {
    let starting = Running::start(&options, Arc::new(SystemClock));
    let mut running = match args.timeout.filter(|_| args.until_idle) {
        None => starting.await?,
        Some(limit) => tokio::select! {
            biased;
            started = starting => started?,
            () = sleep(&SystemClock, limit) => return Err(RunError::NotStarted { waited: limit }),
        },
    };
    if let Some(state) = &options.state
        && let Err(e) = control::attach(&mut running.engine, state)
    {
        tracing::warn!(error = %e, "no control socket: commands cannot ask this process");
    }
    for (name, at) in &running.engine.webhooks {
        eprintln!("lakegate: webhook {name} listens on http://{at}/notices");
    }
    if let Some(seen) = &running.engine.exposition {
        eprintln!("lakegate: metrics and probes listen on http://{}", seen.at);
    }
    let asked = Arc::new(OnceLock::new());
    // Dropped, and so ended, with this function.
    let mut watch = JoinSet::new();
    watch.spawn(leave_when_asked(running.engine.stop.clone(), drain, Arc::clone(&asked)));
    if !args.until_idle {
        running.until_stopped().await?;
        running.drain().await?;
        return Ok(leave(running, exit::OK));
    }
    let live = std::io::stderr().is_terminal();
    let stop = running.engine.stop.clone();
    let mut terminal = Terminal { shown: 0, live };
    let idle = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        totals = running.until_idle(args.timeout, &mut terminal) => Some(totals?),
    };
    if live {
        eprintln!();
    }
    let totals = idle.clone().unwrap_or_else(|| running.totals());
    running.drain().await?;
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
    // Cut short, it has not done what --until-idle promises.
    let code = match (idle, asked.get()) {
        (None, Some(signal)) => signal.exit_code(),
        _ => verdict(&totals),
    };
    Ok(leave(running, code))
}

/// What a drained process still holds is memory, and the system takes that back at once: piece by piece it would take
/// a tenth of a second for 10,000 objects. Clients of a cluster say goodbye, so they are closed.
pub fn gone(running: Running, code: u8) -> u8 {
    if running.engine.is_shared {
        return code;
    }
    std::mem::forget(running);
    drop(std::io::stdout().flush());
    std::process::exit(i32::from(code));
}

/// Drains at the first signal; ends the process at the second, or when draining takes too long.
async fn leave_when_asked(stop: CancellationToken, drain: Span, asked: Arc<OnceLock<Signal>>) {
    let signals = match shutdown::signals() {
        Ok(signals) => signals,
        Err(e) => {
            tracing::warn!(error = %e, "no signal handlers: signals end this process without draining");
            return;
        }
    };
    let told = |signal| {
        asked.get_or_init(|| signal);
        eprintln!("lakegate: {signal}: draining, at most {drain}; a second signal ends it at once");
    };
    let leave = shutdown::watch(signals, &SystemClock, drain, &stop, told).await;
    eprintln!("lakegate: {leave}");
    let code = match leave {
        Leave::Again(signal) => signal.exit_code(),
        Leave::Overdue { .. } => exit::HALTED,
    };
    // Not `return`: the runtime would wait for whatever does not end.
    std::process::exit(i32::from(code));
}
