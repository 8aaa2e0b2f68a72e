//! The composition root: the only file that names the implementations together.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::contracts;
use crate::app::instance::{self, Instance};
use crate::broker::embedded::{Durability, EmbeddedBroker};
use crate::broker::{Broker, Reader};
use crate::clock::{Clock, Jitter};
use crate::domain::names::{StageName, Subject};
use crate::domain::time::Span;
use crate::lake::local::Sync;
use crate::lake::{identity, probe, url};
use crate::pipeline::outlet::Outlet;
use crate::pipeline::runner::{Halt, Limits, Runner, Surroundings};
use crate::pipeline::topics::Topics;
use crate::pipeline::work::Work;
use crate::registry::SchemaRegistry;
use crate::registry::embedded::EmbeddedRegistry;
use crate::schema::options::Compatibility;
use crate::source::landing::Intake;
use crate::source::listing::Listing;
use crate::source::routing::Router;
use crate::stage::Stage;
use crate::stage::assemble::Assemble;
use crate::stage::bridge::{Bridge, ListedOnce, PullKind, PullSource};
use crate::stage::buckets::Buckets;
use crate::stage::catalog::{Catalog, Dataset};
use crate::stage::check::Check;
use crate::stage::classify::Classify;
use crate::stage::letters::Clerk;
use crate::stage::project::{Letters, Reports};
use crate::stage::publish::Publish;
use crate::stage::replay::Replay;
use crate::stage::transform::Transform;
use crate::stage::validate::Validate;
use crate::state::StateStore;
use crate::state::folder::FolderStore;
use crate::state::memory::MemoryStore;
use crate::telemetry::progress::Progress;
use crate::wire::codec::Codec;
use crate::wire::records::ALL;

/// Everything a process is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bucket name and URL.
    pub landing: Vec<(String, String)>,
    pub lake: String,
    /// A folder of contracts.
    pub contracts: PathBuf,
    /// State folder; `None` keeps everything in memory.
    pub state: Option<PathBuf>,
    pub stages: Vec<StageName>,
    pub poll: Span,
    /// Overrides every contract's `batch.quiet`.
    pub quiet: Option<Span>,
    pub partitions: u32,
    pub retention: Span,
    pub durability: Durability,
    pub limits: Limits,
    pub webhook: Option<std::net::SocketAddr>,
    /// `host:port,…` of a Kafka cluster; `None` is the embedded log in the state folder.
    pub kafka: Option<String>,
}

impl Options {
    /// Sane defaults around what must be named.
    pub fn new(landing: Vec<(String, String)>, lake: String, contracts: PathBuf, state: Option<PathBuf>) -> Self {
        Self {
            landing,
            lake,
            contracts,
            state,
            stages: StageName::ALL.to_vec(),
            poll: Span::from_secs(2),
            quiet: None,
            partitions: 4,
            retention: Span::from_secs(30 * 86_400),
            durability: Durability::Sync,
            limits: Limits::default(),
            webhook: None,
            kafka: None,
        }
    }
}

/// A process could not be started; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Contracts(#[from] contracts::LoadError),
    #[error(transparent)]
    Broker(#[from] crate::broker::embedded::OpenError),
    #[error(transparent)]
    Instance(#[from] instance::ClaimError),
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] crate::broker::kafka::OpenError),
    #[error("this build knows no Kafka: build it with the default features")]
    NoKafka,
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
    #[error("state folder {state} belongs to lake {expected}, but {lake} is lake {found}; give this lake its own --state")]
    OtherLake { state: String, expected: String, lake: String, found: String },
    #[error("state folder {state}: {detail}")]
    State { state: String, detail: String },
    #[error("{dataset}: the registry refuses the contract's schema: {source}")]
    Schema {
        dataset: String,
        #[source]
        source: crate::registry::RegistryError,
    },
    #[error("the registry does not answer")]
    Registry(#[from] crate::registry::RegistryError),
    #[error(transparent)]
    Codec(#[from] crate::wire::codec::CodecError),
    #[error("the lake cannot be written")]
    Store(#[from] object_store::Error),
    #[error(transparent)]
    Sources(#[from] crate::stage::bridge::SourcesError),
    #[error("{dataset}: publish.location {location} is a URL; this build publishes below the lake")]
    Location { dataset: String, location: String },
    #[error("landing bucket {name:?}: {detail}")]
    Bucket { name: String, detail: String },
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
    pub stop: CancellationToken,
    pub clock: Arc<dyn Clock>,
    pub stages: JoinSet<Result<(), Halt>>,
    /// The state folder is this process's own as long as it runs.
    _instance: Option<Instance>,
}

/// Broker, topics and codec of a state folder: enough to ask it questions.
pub struct Ground {
    pub broker: Arc<dyn Broker>,
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
    let lake = url::open(&options.lake, sync)?;
    let name = options.lake.clone();
    probe::conditional_puts(&lake, &format!("start-{}", std::process::id()))
        .await
        .map_err(|source| StartError::Probe { lake: name.clone(), source })?;
    let id =
        identity::claim(&lake, &Uuid::new_v4().to_string()).await.map_err(|source| StartError::Identity { lake: name.clone(), source })?;
    let (broker, instance) = open_broker(options, clock)?;
    if let Some(state) = &options.state {
        remember_lake(state, &id, &name)?;
    }
    let topics = Topics::new("lakegate.", options.partitions, options.retention);
    broker.ensure(&topics.specs()).await?;
    let registry: Arc<dyn SchemaRegistry> = Arc::new(EmbeddedRegistry::new(Arc::clone(&lake)));
    let mut ids = HashMap::new();
    for (record, schema) in ALL {
        let subject: Subject = format!("lakegate.{record}").parse().expect("record names are plain");
        ids.insert((*record).to_owned(), registry.register(&subject, schema).await?.id);
    }
    let outlet = Outlet { codec: Arc::new(Codec::new(&ids)?), topics: Arc::new(topics) };
    Ok(Ground { broker, outlet, lake, registry, instance })
}

/// The embedded log of the state folder, or a cluster and this process's name in it.
fn open_broker(options: &Options, clock: &Arc<dyn Clock>) -> Result<(Arc<dyn Broker>, Option<Instance>), StartError> {
    let clock = Arc::clone(clock);
    match (&options.kafka, &options.state) {
        (None, None) => Ok((Arc::new(EmbeddedBroker::in_memory(clock)), None)),
        (None, Some(state)) => Ok((Arc::new(EmbeddedBroker::open(state, options.durability, clock)?), None)),
        #[cfg(feature = "kafka")]
        (Some(brokers), state) => {
            let instance = state.as_deref().map(instance::claim).transpose()?;
            let mut kafka = crate::broker::kafka::Options::new(brokers, &worker_name(instance.as_ref()));
            kafka.group_prefix = "lakegate.".to_owned();
            Ok((Arc::new(crate::broker::kafka::KafkaBroker::open(kafka, clock)?), instance))
        }
        #[cfg(not(feature = "kafka"))]
        (Some(_), _) => Err(StartError::NoKafka),
    }
}

/// Part of transactional ids: kept with the state, else this process's own.
fn worker_name(instance: Option<&Instance>) -> String {
    instance.map_or_else(|| format!("lakegate-{}", std::process::id()), |i| i.name.clone())
}

/// The state folder remembers which lake it belongs to.
fn remember_lake(state: &Path, id: &str, lake: &str) -> Result<(), StartError> {
    let file = state.join("lake_id");
    let failed = |e: std::io::Error| StartError::State { state: state.display().to_string(), detail: e.to_string() };
    match std::fs::read_to_string(&file) {
        Ok(known) if known.trim() == id => Ok(()),
        Ok(known) => Err(StartError::OtherLake {
            state: state.display().to_string(),
            expected: known.trim().to_owned(),
            lake: lake.to_owned(),
            found: id.to_owned(),
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => std::fs::write(&file, id).map_err(failed),
        Err(e) => Err(failed(e)),
    }
}

/// Loads the contracts, registers their schemas and puts them in force.
///
/// # Errors
/// Every fault of the contracts at once; a schema the registry refuses.
pub async fn put_contracts_in_force(folder: &Path, catalog: &Catalog, registry: &dyn SchemaRegistry) -> Result<(), StartError> {
    let datasets = contracts::load(folder)?;
    for dataset in &datasets {
        let contract = &dataset.contract;
        if contract.publish.location.contains("://") {
            return Err(StartError::Location { dataset: dataset.name().to_owned(), location: contract.publish.location.clone() });
        }
        let mode: Compatibility = contract.schema.compatibility;
        if registry.mode(&contract.subject).await? != mode {
            registry.set_mode(&contract.subject, mode).await?;
        }
        if let Some(text) = contract.avro_text() {
            registry
                .register(&contract.subject, text)
                .await
                .map_err(|source| StartError::Schema { dataset: dataset.name().to_owned(), source })?;
        }
    }
    let datasets: Vec<Arc<Dataset>> = datasets;
    Ok(catalog.put_in_force(datasets).await?)
}

/// Starts the stages of a process.
///
/// # Errors
/// By what is wrong with the options, contracts, lake or state.
pub async fn start(options: &Options, clock: Arc<dyn Clock>) -> Result<Engine, StartError> {
    let Ground { broker, outlet, lake, registry, instance } = ground(options, &clock).await?;
    let catalog = Arc::new(Catalog::new(Arc::clone(&lake)));
    put_contracts_in_force(&options.contracts, &catalog, registry.as_ref()).await?;
    let mut buckets: BTreeMap<String, Arc<dyn ObjectStore>> = BTreeMap::new();
    let mut sources = Vec::new();
    for (name, at) in &options.landing {
        let bucket = name.parse().map_err(|e| StartError::Bucket { name: name.clone(), detail: format!("{e}") })?;
        let store = url::open(at, Sync::Never)?;
        let listing = Listing::new(bucket, Arc::clone(&store), None).skipping(OWN_PREFIXES);
        sources.push(PullSource { name: name.clone(), kind: PullKind::Listing(listing), poll: options.poll });
        buckets.insert(name.clone(), store);
    }
    let buckets = Buckets::new(buckets);
    let intake = Intake { outlet: outlet.clone(), router: Arc::new(Router::new(Arc::clone(&catalog))) };
    let bridge = Bridge::new(intake, sources, Work::Pool)?;
    let listed = bridge.listed();
    let around = Surroundings {
        broker: Arc::clone(&broker),
        lake: Arc::clone(&lake),
        registry: Arc::clone(&registry),
        outlet: outlet.clone(),
        clock: Arc::clone(&clock),
        limits: options.limits,
        instance: worker_name(instance.as_ref()),
        stop: CancellationToken::new(),
        progress: Arc::new(Progress::default()),
    };
    let clerk = |stage| Clerk { outlet: outlet.clone(), stage };
    let mut spawn = Spawn { around: around.clone(), options, stages: JoinSet::new() };
    spawn.stage(bridge)?;
    spawn.stage(Validate { catalog: Arc::clone(&catalog), buckets: buckets.clone(), clerk: clerk(StageName::Validate) })?;
    spawn.stage(Classify {
        catalog: Arc::clone(&catalog),
        buckets: buckets.clone(),
        registry: Arc::clone(&registry),
        clerk: clerk(StageName::Classify),
        work: Work::Pool,
        shapes: std::sync::Mutex::default(),
    })?;
    spawn.stage(Assemble { catalog: Arc::clone(&catalog), clerk: clerk(StageName::Assemble), quiet: options.quiet })?;
    spawn.stage(Transform { catalog: Arc::clone(&catalog), buckets, clerk: clerk(StageName::Transform), work: Work::Pool })?;
    spawn.stage(Check { catalog: Arc::clone(&catalog), lake: Arc::clone(&lake), clerk: clerk(StageName::Check), work: Work::Pool })?;
    spawn.stage(Publish { catalog: Arc::clone(&catalog), lake: Arc::clone(&lake), clerk: clerk(StageName::Publish), work: Work::Pool })?;
    let reader = broker.reader();
    spawn.stage(Replay { outlet: outlet.clone(), reader: Arc::clone(&reader) })?;
    spawn.stage(Letters { lake: Arc::clone(&lake), outlet: outlet.clone() })?;
    spawn.stage(Reports { outlet: outlet.clone() })?;
    let Spawn { stages, .. } = spawn;
    let (progress, stop) = (around.progress, around.stop);
    Ok(Engine { broker, reader, outlet, lake, catalog, registry, progress, listed, stop, clock, stages, _instance: instance })
}

/// Never bridged, should lake and landing be one store.
const OWN_PREFIXES: [&str; 6] = ["_lakegate/", "_staging/", "curated/", "quarantine/", "dq-results/", "replay/"];

struct Spawn<'a> {
    around: Surroundings,
    options: &'a Options,
    stages: JoinSet<Result<(), Halt>>,
}

impl Spawn<'_> {
    /// Starts one stage, if it is asked for.
    fn stage<S: Stage>(&mut self, stage: S) -> Result<(), StartError> {
        if !self.options.stages.contains(&S::NAME) {
            return Ok(());
        }
        let store: Arc<dyn StateStore> = match &self.options.state {
            None => Arc::new(MemoryStore::default()),
            Some(state) => {
                let folder = state.join("stores").join(S::NAME.as_str());
                let failed = |detail: String| StartError::State { state: state.display().to_string(), detail };
                std::fs::create_dir_all(&folder).map_err(|e| failed(e.to_string()))?;
                Arc::new(FolderStore::open(&folder).map_err(|e| failed(e.to_string()))?)
            }
        };
        let jitter = Jitter::new(u64::from(std::process::id()));
        self.stages.spawn(Runner::new(Arc::new(stage), self.around.clone(), store, jitter).run());
        Ok(())
    }
}
