//! The resolved settings of a process: what each section says, as the option types of whoever uses it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::file::Entry;
use super::overlay::{Flag, overlay, variable};
use super::problem::{Origin, Problem, Problems};
use super::s3;
use super::section::{List, Reading, Said, Section, Shown, count, list, parsed, size, span, text, truth};
use super::sources::{self, SourceFlag, host_and_port};
use super::{kafka, registry};
use crate::app::exposition::{HUNG_AFTER, Listen};
use crate::app::sources::Source;
use crate::app::wiring::Options;
use crate::broker::PollLimit;
use crate::broker::cluster::Cluster;
use crate::broker::embedded::Durability;
use crate::contract::fault::nearest;
use crate::domain::names::StageName;
use crate::domain::time::Span;
use crate::domain::units::ByteSize;
use crate::lake::url::Stores;
use crate::pipeline::runner::Limits;
use crate::registry::address::Address;
use crate::telemetry::logging::{LogFormat, LogLevel};

/// Where settings come from. Nothing is read that is not handed in here.
#[derive(Debug, Default)]
pub struct Layers {
    pub file: Vec<Entry>,
    pub environment: BTreeMap<String, String>,
    pub flags: Vec<Flag>,
    pub sources: Vec<SourceFlag>,
}

/// Everything a process is configured with, and how it came to be so.
#[derive(Debug)]
pub struct Settings {
    pub lake: Option<String>,
    pub contracts: Option<String>,
    /// Wait between two looks at them.
    pub reload: Span,
    pub state: PathBuf,
    /// A cluster in place of the embedded log.
    pub kafka: Option<Cluster>,
    /// Stands before the names of topics, groups and transactional ids.
    pub prefix: String,
    /// A registry over HTTP.
    pub registry: Option<Address>,
    /// `[s3]`.
    pub stores: Stores,
    pub sources: Vec<Source>,
    pub run: Run,
    pub log: Log,
    pub limits: Limits,
    pub logging: Logging,
    /// Where metrics and probes are answered.
    pub metrics: Option<Listen>,
    /// Every setting, in the order of the sections.
    pub shown: Vec<Shown>,
}

/// `[run]`
#[derive(Debug, Clone)]
pub struct Run {
    pub stages: Vec<StageName>,
    pub poll: Said<Span>,
    /// A stopping process that has not drained by then leaves all the same.
    pub drain: Span,
}

/// `[logging]`: log lines.
#[derive(Debug, Clone)]
pub struct Logging {
    /// `None`: info, and warn with `--until-idle`.
    pub level: Option<LogLevel>,
    pub format: LogFormat,
}

/// `[log]`: the embedded log.
#[derive(Debug, Clone)]
pub struct Log {
    pub partitions: u32,
    pub retention: Span,
    /// Wait between two passes of retention and compaction.
    pub retain_every: Span,
    pub durability: Durability,
}

/// The sections there are.
pub const SECTIONS: [&str; 12] = [
    "lake",
    "contracts",
    "state",
    s3::SECTION,
    kafka::SECTION,
    registry::SECTION,
    "run",
    "log",
    "worker",
    "logging",
    "metrics",
    sources::SECTION,
];

/// Stages that read what has landed, and so need to know where it lies.
const READ_LANDED: [StageName; 3] = [StageName::Validate, StageName::Classify, StageName::Transform];

/// Resolves all layers: flags win over the environment, the environment over the file.
///
/// # Errors
/// Every fault of every layer. What is merely not said is none: see [`Settings::missing`].
pub fn resolve(layers: Layers) -> Result<Settings, Problems> {
    let (settings, problems) = read(layers);
    if problems.is_empty() { Ok(settings) } else { Err(Problems { list: problems }) }
}

/// The settings, with the default wherever a value was refused, and every fault.
pub fn read(layers: Layers) -> (Settings, Vec<Problem>) {
    let Layers { file, environment, flags, sources } = layers;
    let mut reading = Reading { environment, ..Reading::default() };
    let root = overlay(file, &reading.environment, &flags, &mut reading.problems);
    let reading = &mut reading;
    for entry in root.iter().filter(|e| !SECTIONS.contains(&e.key.as_str())) {
        let remedy = match nearest(&entry.key, SECTIONS) {
            Some(section) => format!("did you mean {section}?"),
            None => format!("sections are {}", SECTIONS.join(", ")),
        };
        let (origin, key) = (Some(entry.origin.clone()), entry.key.clone());
        reading.problems.push(Problem { origin, key, message: "unknown section".to_owned(), remedy: Some(remedy) });
    }
    let mut section = Section::open(&root, "lake", reading);
    let lake = section.optional("url", reading, text).map(|u| u.value);
    section.finish(reading);
    let mut section = Section::open(&root, "contracts", reading);
    let contracts = section.optional("url", reading, text).map(|u| u.value);
    let reload = section.or("reload", Span::from_secs(2), reading, span);
    section.finish(reading);
    let mut section = Section::open(&root, "state", reading);
    let state = section.or("dir", ".lakegate".to_owned(), reading, text).into();
    section.finish(reading);
    let stores = Stores { s3: Arc::new(s3::read(&root, reading)) };
    let kafka::Kafka { cluster: kafka, prefix } = kafka::read(&root, reading);
    let registry = registry::read(&root, reading);
    let run = read_run(Section::open(&root, "run", reading), reading);
    let log = read_log(Section::open(&root, "log", reading), reading);
    let limits = read_worker(Section::open(&root, "worker", reading), reading);
    let mut section = Section::open(&root, "logging", reading);
    let level = section.optional("level", reading, parsed::<LogLevel>).map(|l| l.value);
    let format = section.or("format", LogFormat::default(), reading, parsed::<LogFormat>);
    section.finish(reading);
    let logging = Logging { level, format };
    let mut section = Section::open(&root, "metrics", reading);
    let address = section.optional("listen", reading, host_and_port).map(|l| l.value);
    let hung_after = section.or("hung_after", HUNG_AFTER, reading, span);
    section.finish(reading);
    let metrics = address.map(|address| Listen { address, hung_after });
    let sources = sources::read(&root, &sources, &run.poll, reading);
    reading.problems.sort_by_key(place);
    let (shown, problems) = (std::mem::take(&mut reading.shown), std::mem::take(&mut reading.problems));
    (
        Settings { lake, contracts, reload, state, kafka, prefix, registry, stores, sources, run, log, limits, logging, metrics, shown },
        problems,
    )
}

/// Faults of a file in the order of its lines, the others after them as they were found.
fn place(problem: &Problem) -> usize {
    match &problem.origin {
        Some(Origin::File { line, .. }) => *line,
        _ => usize::MAX,
    }
}

fn read_run(mut section: Section<'_>, reading: &mut Reading) -> Run {
    let stages = section.or("stages", List(StageName::ALL.to_vec()), reading, list::<StageName>).0;
    let default = Said { value: Span::from_secs(2), origin: Origin::Default };
    let poll = section.or_said("poll", default, reading, span);
    let drain = section.or("drain", Span::from_secs(30), reading, span);
    section.finish(reading);
    Run { stages, poll, drain }
}

fn read_log(mut section: Section<'_>, reading: &mut Reading) -> Log {
    let partitions = section.or("partitions", 4, reading, count(1, 1024));
    let retention = section.or("retention", Span::from_secs(30 * 86_400), reading, span);
    let retain_every = section.or("retain_every", Span::from_secs(3600), reading, span);
    let sync = section.or("sync", true, reading, truth);
    section.finish(reading);
    Log {
        partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
        retention,
        retain_every,
        durability: if sync { Durability::Sync } else { Durability::Buffer },
    }
}

fn read_worker(mut section: Section<'_>, reading: &mut Reading) -> Limits {
    let default = Limits::default();
    let mut number = |section: &mut Section<'_>, key: &'static str, default: usize| {
        let default = u64::try_from(default).unwrap_or(u64::MAX);
        usize::try_from(section.or(key, default, reading, count(1, 1_000_000))).unwrap_or(usize::MAX)
    };
    let records = number(&mut section, "poll_records", default.poll.records);
    let inflight_objects = number(&mut section, "inflight_objects", default.inflight_objects);
    let transaction_objects = number(&mut section, "transaction_objects", default.transaction_objects);
    let attempts = u32::try_from(section.or("attempts", u64::from(default.attempts), reading, count(1, 100))).unwrap_or(u32::MAX);
    let mut bytes =
        |section: &mut Section<'_>, key: &'static str, default: u64| section.or(key, ByteSize(default), reading, size(ByteSize::kib(1)));
    let poll_bytes = bytes(&mut section, "poll_bytes", default.poll.bytes as u64);
    let inflight_bytes = bytes(&mut section, "inflight_bytes", default.inflight_bytes);
    section.finish(reading);
    let poll = PollLimit { records, bytes: usize::try_from(poll_bytes.bytes()).unwrap_or(usize::MAX) };
    Limits { poll, inflight_objects, inflight_bytes: inflight_bytes.bytes(), transaction_objects, attempts }
}

impl Settings {
    /// What `run` needs and nobody said, with every way to say it.
    pub fn missing(&self) -> Vec<Problem> {
        let mut missing = Vec::new();
        let mut lacks = |key: &str, message: &str, ways: String| {
            let (key, message) = (key.to_owned(), message.to_owned());
            missing.push(Problem { origin: None, key, message, remedy: Some(ways) });
        };
        let ways = |flag: &str, section: &str| {
            format!("say {flag}, or url under [{section}] in the file given with --config, or {}", variable(section, "url"))
        };
        if self.lake.is_none() {
            lacks("lake.url", "where tables are published is not said", ways("--lake URL", "lake"));
        }
        if self.contracts.is_none() {
            lacks("contracts.url", "where the contracts are is not said", ways("--contracts DIR", "contracts"));
        }
        let stages = &self.run.stages;
        let buckets = self.sources.iter().any(|s| matches!(s, Source::Landing(_)));
        if !buckets && stages.iter().any(|s| READ_LANDED.contains(s)) {
            let ways = "say --landing [NAME=]URL, or a [[source]] of kind listing in the file given with --config";
            lacks("source", "where files land is not said", ways.to_owned());
        }
        missing
    }

    /// The options a process is started with.
    ///
    /// # Errors
    /// What [`Settings::missing`] tells.
    pub fn options(self) -> Result<Options, Problems> {
        let list = self.missing();
        let (Some(lake), Some(contracts), true) = (self.lake, self.contracts, list.is_empty()) else {
            return Err(Problems { list });
        };
        let Log { partitions, retention, retain_every, durability } = self.log;
        Ok(Options {
            sources: self.sources,
            lake,
            contracts,
            reload: self.reload,
            state: Some(self.state),
            stages: self.run.stages,
            poll: self.run.poll.value,
            quiet: None,
            partitions: Some(partitions),
            retention,
            retain_every,
            durability,
            limits: self.limits,
            kafka: self.kafka,
            registry: self.registry,
            stores: self.stores,
            metrics: self.metrics,
        })
    }
}
