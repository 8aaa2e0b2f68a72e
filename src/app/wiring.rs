//! The composition root: the only file that names the implementations together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::contracts::{self, Shelf};
use crate::app::desk::Desk;
use crate::app::exposition::{Exposition, Listen};
use crate::app::instance::Instance;
use crate::app::observer::Observer;
use crate::app::query::Query;
use crate::app::registry::{Waiting, bind_embedded, bind_remote, codec};
use crate::app::reload::Reload;
use crate::app::sources::{self, Opened, Source};
use crate::app::upkeep::{MEMO, Upkeep};
use crate::batch::planner;
use crate::broker::cluster::Cluster;
use crate::broker::embedded::{Durability, EmbeddedBroker};
use crate::broker::{Broker, CommitError, LogError, OutRecord, PollLimit, Reader};
use crate::claim::ClaimError;
use crate::clock::{Clock, Jitter};
use crate::domain::names::StageName;
use crate::domain::position::{Partition, TopicPartition};
use crate::domain::time::Span;
use crate::lake::local::Sync;
use crate::lake::url::{self, Stores};
use crate::lake::{identity, probe};
use crate::pipeline::outlet::Outlet;
use crate::pipeline::runner::{Halt, Limits, Runner, Surroundings};
use crate::pipeline::topics::{PREFIX, Topic, Topics};
use crate::pipeline::work::Work;
use crate::registry::SchemaRegistry;
use crate::registry::address::Address;
use crate::registry::embedded::EmbeddedRegistry;
use crate::source::landing::Intake;
use crate::source::routing::Router;
use crate::stage::Stage;
use crate::stage::assemble::Assemble;
use crate::stage::backlog::Backlog;
use crate::stage::bridge::listed_once::ListedOnce;
use crate::stage::bridge::{Bridge, PullKind, PullSource};
use crate::stage::buckets::Buckets;
use crate::stage::catalog::Catalog;
use crate::stage::check::Check;
use crate::stage::classify::{Classify, RoundVersions};
use crate::stage::evolutions::Evolutions;
use crate::stage::inbox::{self, Inbox};
use crate::stage::letters::Clerk;
use crate::stage::project::{Letters, Reports};
use crate::stage::publish::Publish;
use crate::stage::replay::Replay;
use crate::stage::transform::Transform;
use crate::stage::validate::Validate;
use crate::state::StateStore;
use crate::state::folder::StateFolder;
use crate::state::memory::MemoryStore;
use crate::telemetry::health::Watched;
use crate::telemetry::progress::Progress;

/// Everything a process is started with.
#[derive(Debug, Clone)]
pub struct Options {
    pub sources: Vec<Source>,
    pub lake: String,
    /// A folder of contracts, or a URL.
    pub contracts: String,
    /// How often a process looks whether its contracts changed.
    pub reload: Span,
    /// State folder; `None` keeps everything in memory.
    pub state: Option<PathBuf>,
    pub stages: Vec<StageName>,
    /// How often a source is asked that does not say it itself.
    pub poll: Span,
    /// Overrides every contract's `batch.quiet`.
    pub quiet: Option<Span>,
    /// Of a new log; a log that is there must have as many. `None`: as many as it has, or 4.
    pub partitions: Option<u32>,
    pub retention: Span,
    /// Wait between two passes of retention and compaction.
    pub retain_every: Span,
    pub durability: Durability,
    pub limits: Limits,
    /// A Kafka cluster; `None` is the embedded log in the state folder.
    pub kafka: Option<Cluster>,
    /// A registry over HTTP; `None` is the one in the lake.
    pub registry: Option<Address>,
    /// How landing, lake and contracts are reached.
    pub stores: Stores,
    /// Where metrics and probes are answered; `None`: nowhere, and nothing is counted.
    pub metrics: Option<Listen>,
}

/// Partitions of a new log nobody configured.
const PARTITIONS: u32 = 4;

impl Options {
    /// Sane defaults around what must be named.
    pub fn new(sources: Vec<Source>, lake: String, contracts: String, state: Option<PathBuf>) -> Self {
        Self {
            sources,
            lake,
            contracts,
            reload: Span::from_secs(2),
            state,
            stages: StageName::ALL.to_vec(),
            poll: Span::from_secs(2),
            quiet: None,
            partitions: None,
            retention: Span::from_secs(30 * 86_400),
            retain_every: Span::from_secs(3600),
            durability: Durability::Sync,
            limits: Limits::default(),
            kafka: None,
            registry: None,
            stores: Stores::default(),
            metrics: None,
        }
    }
}

impl Options {
    fn prefix(&self) -> &str {
        self.kafka.as_ref().map_or(PREFIX, |cluster| &cluster.prefix)
    }
}

/// A process could not be started; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Contracts(#[from] contracts::ReadError),
    #[error(transparent)]
    Broker(#[from] crate::broker::embedded::OpenError),
    #[error(transparent)]
    Instance(#[from] ClaimError),
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] crate::broker::kafka::OpenError),
    #[error("this build knows no Kafka: build it with the default features")]
    NoKafka,
    #[cfg(feature = "confluent")]
    #[error("the registry cannot be asked")]
    RegistryClient(#[from] crate::registry::confluent::OpenError),
    #[error("this build knows no registry over HTTP: build it with the default features")]
    NoConfluent,
    #[error("the lake was begun with {begun}, and its topics are framed with the ids of that one; {remedy}")]
    OtherRegistry { begun: &'static str, remedy: &'static str },
    #[error(transparent)]
    Log(#[from] crate::broker::LogError),
    #[error(transparent)]
    Url(#[from] url::OpenError),
    #[error("the lake {lake} cannot be used")]
    Probe {
        lake: String,
        #[source]
        source: probe::ProbeError,
    },
    #[error("the lake {lake} cannot be used")]
    Identity {
        lake: String,
        #[source]
        source: identity::IdentityError,
    },
    #[error("{state} belongs to lake {expected}, but {lake} is lake {found}; give this lake its own --state, or its own topics")]
    OtherLake { state: String, expected: String, lake: String, found: String },
    #[error("the cluster could not be claimed for the lake")]
    Claim(#[source] CommitError),
    #[error("state folder {state}: {detail}")]
    State { state: String, detail: String },
    #[error("the registry cannot be used")]
    Registry(#[from] crate::registry::RegistryError),
    #[error(transparent)]
    Codec(#[from] crate::wire::codec::CodecError),
    #[error("metrics cannot listen on {address}; name a free address of this machine")]
    Listen {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the lake cannot be written")]
    Store(#[from] object_store::Error),
    #[error(transparent)]
    Sources(#[from] crate::stage::bridge::SourcesError),
    #[error(transparent)]
    Source(#[from] sources::SourceError),
    #[error(
        "the log of this state folder has {has} partitions, and log.partitions says {wanted}; \
         say {has}, or begin a new state folder: state lives on partitions, so their number never changes"
    )]
    Partitions { has: u32, wanted: u32 },
}

/// A started process.
pub struct Engine {
    pub broker: Arc<dyn Broker>,
    pub reader: Arc<dyn Reader>,
    pub outlet: Outlet,
    pub lake: Arc<dyn ObjectStore>,
    pub catalog: Arc<Catalog>,
    pub registry: Arc<dyn SchemaRegistry>,
    pub progress: Arc<Progress>,
    pub listed: Arc<ListedOnce>,
    /// Webhooks by name, and where they listen.
    pub webhooks: Vec<(String, SocketAddr)>,
    /// Metrics and probes, as long as the process lasts.
    pub exposition: Option<Exposition>,
    /// Tells assemble whether more can come.
    pub intake: watch::Sender<planner::Intake>,
    /// Other processes may share the log and its work.
    pub is_shared: bool,
    pub stop: CancellationToken,
    pub clock: Arc<dyn Clock>,
    pub stages: JoinSet<Result<(), Halt>>,
    /// The state folder is this process's own as long as it runs.
    _instance: Option<Instance>,
}

/// Broker, topics and codec of a state folder: enough to ask it questions.
pub struct Ground {
    pub broker: Arc<dyn Broker>,
    /// The log of the state folder, if that is the broker.
    pub embedded: Option<Arc<EmbeddedBroker>>,
    pub outlet: Outlet,
    pub lake: Arc<dyn ObjectStore>,
    pub registry: Arc<dyn SchemaRegistry>,
    /// With a cluster: the name of this process there. The embedded log locks its folder itself.
    pub instance: Option<Instance>,
}

/// Opens lake, broker, registry and codec.
///
/// # Errors
/// By what could not be opened.
pub async fn ground(options: &Options, clock: &Arc<dyn Clock>) -> Result<Ground, StartError> {
    let sync = if options.durability == Durability::Sync { Sync::Always } else { Sync::Never };
    let lake = options.stores.open(&options.lake, sync)?;
    let name = options.lake.clone();
    // In containers every process has the same id, and replicas start together.
    probe::conditional_puts(&lake, &format!("start-{}", Uuid::new_v4()))
        .await
        .map_err(|source| StartError::Probe { lake: name.clone(), source })?;
    let id =
        identity::claim(&lake, &Uuid::new_v4().to_string()).await.map_err(|source| StartError::Identity { lake: name.clone(), source })?;
    let Opening { broker, embedded, instance } = open_broker(options, clock)?;
    if let Some(state) = &options.state {
        remember_lake(state, &id, &name)?;
    }
    let topics = Topics::new(options.prefix(), partitions(broker.reader().as_ref(), options).await?, options.retention);
    broker.ensure(&topics.specs()).await?;
    if let Some(Cluster { brokers, .. }) = &options.kafka {
        belong_to(&broker, &topics, &id, (brokers, &name)).await?;
    }
    if options.registry.is_none() {
        bind_embedded(&lake).await?;
    }
    let registry = open_registry(options, &lake)?;
    let mut waiting = Waiting::new(clock.as_ref());
    let codec = loop {
        match codec(registry.as_ref()).await {
            Ok(codec) => break codec,
            Err(e) => waiting.after(e).await?,
        }
    };
    while let (true, Err(e)) = (options.registry.is_some(), bind_remote(&lake, registry.as_ref()).await) {
        waiting.after(e).await?;
    }
    let outlet = Outlet { codec: Arc::new(codec), topics: Arc::new(topics) };
    Ok(Ground { broker, embedded, outlet, lake, registry, instance })
}

/// The registry over HTTP, or the lake's own.
fn open_registry(options: &Options, lake: &Arc<dyn ObjectStore>) -> Result<Arc<dyn SchemaRegistry>, StartError> {
    match &options.registry {
        None => Ok(Arc::new(EmbeddedRegistry::new(Arc::clone(lake)))),
        #[cfg(feature = "confluent")]
        Some(address) => Ok(Arc::new(crate::registry::confluent::ConfluentRegistry::open(address)?)),
        #[cfg(not(feature = "confluent"))]
        Some(_) => Err(StartError::NoConfluent),
    }
}

/// A broker, and what only one kind of it has.
struct Opening {
    broker: Arc<dyn Broker>,
    /// The log of the state folder: this process trims it.
    embedded: Option<Arc<EmbeddedBroker>>,
    /// This process's name in a cluster.
    instance: Option<Instance>,
}

/// The embedded log of the state folder, or a cluster and this process's name in it.
fn open_broker(options: &Options, clock: &Arc<dyn Clock>) -> Result<Opening, StartError> {
    let clock = Arc::clone(clock);
    match (&options.kafka, &options.state) {
        (None, state) => {
            let embedded = Arc::new(match state {
                None => EmbeddedBroker::in_memory(clock),
                Some(state) => EmbeddedBroker::open(state, options.durability, clock)?,
            });
            Ok(Opening { broker: Arc::clone(&embedded) as Arc<dyn Broker>, embedded: Some(embedded), instance: None })
        }
        #[cfg(feature = "kafka")]
        (Some(cluster), state) => {
            let instance = state.as_deref().map(crate::app::instance::claim).transpose()?;
            let kafka = crate::app::topics::options(cluster, &worker_name(instance.as_ref()));
            Ok(Opening { broker: Arc::new(crate::broker::kafka::KafkaBroker::open(kafka, clock)?), embedded: None, instance })
        }
        #[cfg(not(feature = "kafka"))]
        (Some(_), _) => Err(StartError::NoKafka),
    }
}

/// Part of transactional ids: kept with the state, else this process's own.
fn worker_name(instance: Option<&Instance>) -> String {
    instance.map_or_else(|| format!("lakegate-{}", std::process::id()), |i| i.name.clone())
}

/// Partitions of the log: as it was begun.
async fn partitions(reader: &dyn Reader, options: &Options) -> Result<u32, StartError> {
    let landing = Topics::new(options.prefix(), PARTITIONS, options.retention).name(Topic::Landing);
    match (reader.partitions(&landing).await, options.partitions) {
        (Ok(has), Some(wanted)) if has != wanted => Err(StartError::Partitions { has, wanted }),
        (Ok(has), _) => Ok(has),
        (Err(LogError::TopicMissing { .. }), wanted) => Ok(wanted.unwrap_or(PARTITIONS)),
        (Err(e), _) => Err(e.into()),
    }
}

/// The topics of a cluster remember which lake they belong to, as a state folder does (decisions.md 18).
async fn belong_to(broker: &Arc<dyn Broker>, topics: &Topics, id: &str, (brokers, lake): (&str, &str)) -> Result<(), StartError> {
    let at = topics.at(Topic::Installation, Partition(0));
    if owner(broker.reader().as_ref(), &at).await?.is_none() {
        // Keyed by itself, so that compaction keeps the order of two that claim at once.
        let claim = bytes::Bytes::copy_from_slice(id.as_bytes());
        let record = OutRecord { to: at.clone(), key: claim.clone(), value: Some(claim), headers: Vec::new() };
        broker.append(vec![record]).await.map_err(StartError::Claim)?;
    }
    match owner(broker.reader().as_ref(), &at).await? {
        Some(known) if known != id => {
            let (state, lake, found) = (format!("Kafka {brokers}"), lake.to_owned(), id.to_owned());
            Err(StartError::OtherLake { state, expected: known, lake, found })
        }
        _ => Ok(()),
    }
}

/// The first claim counts.
async fn owner(reader: &dyn Reader, at: &TopicPartition) -> Result<Option<String>, StartError> {
    let next = reader.bounds(at).await?.start;
    let chunk = reader.read(at, next, PollLimit { records: 1, bytes: 1 }).await?;
    Ok(chunk.records.first().map(|r| String::from_utf8_lossy(&r.key).into_owned()))
}

/// Name of the file that tells where the lake of a state folder is, for commands while no process runs.
pub const LAKE_FILE: &str = "lake_url";

/// The state folder remembers which lake it belongs to, and where that was last.
fn remember_lake(state: &Path, id: &str, lake: &str) -> Result<(), StartError> {
    let file = state.join("lake_id");
    let failed = |e: std::io::Error| StartError::State { state: state.display().to_string(), detail: e.to_string() };
    match std::fs::read_to_string(&file) {
        Ok(known) if known.trim() == id => {}
        Ok(known) => {
            return Err(StartError::OtherLake {
                state: format!("state folder {}", state.display()),
                expected: known.trim().to_owned(),
                lake: lake.to_owned(),
                found: id.to_owned(),
            });
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => std::fs::write(&file, id).map_err(failed)?,
        Err(e) => return Err(failed(e)),
    }
    // A command may be given from another folder.
    let place = if lake.contains("://") { lake.to_owned() } else { std::path::absolute(lake).map_err(failed)?.display().to_string() };
    std::fs::write(state.join(LAKE_FILE), place).map_err(failed)
}

/// Starts the stages of a process.
///
/// # Errors
/// By what is wrong with the options, contracts, lake or state.
pub async fn start(options: &Options, clock: Arc<dyn Clock>) -> Result<Engine, StartError> {
    let opened = sources::open(&options.sources, &options.stores, &options.lake, options.poll)?;
    sources::reach(&options.sources, &opened).await?;
    start_on(options, opened, clock).await
}

/// [`start`], with sources that are open already.
///
/// # Errors
/// Those of [`start`].
pub async fn start_on(options: &Options, opened: Opened, clock: Arc<dyn Clock>) -> Result<Engine, StartError> {
    let exposition = Exposition::open(options, &clock).await?;
    let Ground { broker, embedded, outlet, lake, registry, instance } = ground(options, &clock).await?;
    let (lake, opened) = match &exposition {
        None => (lake, opened),
        Some(seen) => (seen.counted(lake), seen.counted_sources(opened)),
    };
    let catalog = Arc::new(Catalog::new(Arc::clone(&lake)));
    let shelf = Shelf::open(&options.contracts, &options.stores).map_err(contracts::ReadError::from)?;
    let mut reload = Reload::new(shelf, Arc::clone(&catalog), Arc::clone(&registry), options.reload);
    let mut waiting = Waiting::new(clock.as_ref());
    while let Err(e) = reload.start().await {
        waiting.after(e).await?;
    }
    let reader = broker.reader();
    let progress = Arc::new(Progress::default());
    let desk = Desk {
        query: Query { reader: Arc::clone(&reader), outlet: outlet.clone(), lake: Arc::clone(&lake) },
        broker: Arc::clone(&broker),
        clock: Arc::clone(&clock),
        progress: Some(Arc::clone(&progress)),
    };
    let Opened { buckets, mut pulls } = opened;
    let inbox = Inbox::new(Arc::clone(&lake), Arc::new(desk));
    pulls.push(PullSource { name: inbox::SOURCE.to_owned(), kind: PullKind::Manifests(inbox), poll: options.poll });
    let is_bridge = options.stages.contains(&StageName::Bridge);
    let hooks = if is_bridge { sources::bind(&options.sources).await? } else { Vec::new() };
    let buckets = Buckets::new(buckets);
    let intake = Intake { outlet: outlet.clone(), router: Arc::new(Router::new(Arc::clone(&catalog))) };
    let bridge = Bridge::new(intake.clone(), pulls, Work::Pool)?;
    let listed = bridge.listed();
    let around = Surroundings {
        broker: Arc::clone(&broker),
        lake: Arc::clone(&lake),
        registry: Arc::clone(&registry),
        outlet: outlet.clone(),
        clock: Arc::clone(&clock),
        limits: options.limits,
        instance: worker_name(instance.as_ref()),
        life: Uuid::new_v4().as_u64_pair().0,
        suspects: Arc::default(),
        stop: CancellationToken::new(),
        progress,
        tally: exposition.as_ref().map(|seen| seen.tally(options, &outlet)),
    };
    let clerk = |stage| Clerk { outlet: outlet.clone(), stage };
    let state = options.state.as_deref().map(open_state).transpose()?;
    let mut spawn = Spawn { around, options, state, stages: JoinSet::new() };
    spawn.stage(bridge)?;
    spawn.stage(Validate { catalog: Arc::clone(&catalog), buckets: buckets.clone(), clerk: clerk(StageName::Validate) })?;
    spawn.stage(Classify {
        catalog: Arc::clone(&catalog),
        buckets: buckets.clone(),
        registry: Arc::clone(&registry),
        clerk: clerk(StageName::Classify),
        work: Work::Pool,
        against: std::sync::Mutex::default(),
        versions: RoundVersions::default(),
        evolutions: Evolutions::new(Arc::clone(&reader), Arc::clone(&outlet.topics)),
    })?;
    let limit = Backlog::limit_for(outlet.topics.partitions());
    let backlog = Backlog::new(broker.reader(), Arc::clone(&outlet.topics), Arc::clone(&clock), limit);
    let (coming, watched) = watch::channel(planner::Intake::Running);
    spawn.stage(Assemble {
        catalog: Arc::clone(&catalog),
        clerk: clerk(StageName::Assemble),
        quiet: options.quiet,
        backlog,
        intake: watched,
    })?;
    spawn.stage(Transform { catalog: Arc::clone(&catalog), buckets, clerk: clerk(StageName::Transform), work: Work::Pool })?;
    spawn.stage(Check { catalog: Arc::clone(&catalog), lake: Arc::clone(&lake), clerk: clerk(StageName::Check), work: Work::Pool })?;
    spawn.stage(Publish { catalog: Arc::clone(&catalog), lake: Arc::clone(&lake), clerk: clerk(StageName::Publish), work: Work::Pool })?;
    spawn.stage(Replay { outlet: outlet.clone(), reader: Arc::clone(&reader) })?;
    spawn.stage(Letters { lake: Arc::clone(&lake), outlet: outlet.clone() })?;
    spawn.stage(Reports { outlet: outlet.clone() })?;
    let Spawn { mut stages, around, .. } = spawn;
    let webhooks = hooks.iter().map(|h| (h.name.clone(), h.at)).collect();
    for hook in hooks {
        stages.spawn(hook.serve(around.clone(), intake.clone()));
    }
    if [StageName::Bridge, StageName::Validate].iter().any(|s| options.stages.contains(s)) {
        stages.spawn(reload.run(Arc::clone(&clock), around.stop.clone(), Arc::clone(&around.progress)));
    }
    if let Some(broker) = embedded {
        let memo = options.state.as_ref().map(|state| state.join(MEMO));
        let upkeep = Upkeep { broker, clock: Arc::clone(&clock), every: options.retain_every, memo, work: Work::Pool };
        stages.spawn(upkeep.run(around.stop.clone()));
    }
    let Surroundings { progress, stop, .. } = around;
    if let Some(seen) = &exposition {
        let (reader, clock, progress) = (Arc::clone(&reader), Arc::clone(&clock), Arc::clone(&progress));
        let observer = Observer::new(
            reader,
            outlet.clone(),
            Arc::clone(&catalog),
            Arc::clone(&seen.metrics),
            Arc::clone(&progress),
            clock,
            options.stages.clone(),
        );
        stages.spawn(observer.run(stop.clone()));
        seen.health.started(Watched { progress, stages: options.stages.clone(), stop: stop.clone() });
    }
    Ok(Engine {
        broker,
        reader,
        outlet,
        lake,
        catalog,
        registry,
        progress,
        listed,
        webhooks,
        exposition,
        intake: coming,
        is_shared: options.kafka.is_some(),
        stop,
        clock,
        stages,
        _instance: instance,
    })
}

/// The stages' stores of a state folder.
fn open_state(state: &Path) -> Result<StateFolder, StartError> {
    let folder = state.join("store");
    let failed = |detail: String| StartError::State { state: state.display().to_string(), detail };
    std::fs::create_dir_all(&folder).map_err(|e| failed(e.to_string()))?;
    StateFolder::open(&folder).map_err(|e| failed(e.to_string()))
}

struct Spawn<'a> {
    around: Surroundings,
    options: &'a Options,
    /// `None` keeps the stages' state in memory.
    state: Option<StateFolder>,
    stages: JoinSet<Result<(), Halt>>,
}

impl Spawn<'_> {
    /// Starts one stage, if it is asked for.
    fn stage<S: Stage>(&mut self, stage: S) -> Result<(), StartError> {
        if !self.options.stages.contains(&S::NAME) {
            return Ok(());
        }
        let store: Arc<dyn StateStore> = match &self.state {
            None => Arc::new(MemoryStore::default()),
            Some(state) => Arc::new(state.store(S::NAME)),
        };
        let jitter = Jitter::new(u64::from(std::process::id()));
        self.stages.spawn(Runner::new(Arc::new(stage), self.around.clone(), store, jitter).run());
        Ok(())
    }
}
