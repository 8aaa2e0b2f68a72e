//! What a process shows of itself on an address of its own: metrics and probes, from before it starts until it ends.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use object_store::ObjectStore;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{error, info};

use crate::app::sources::{Opened, Source};
use crate::app::wiring::{Options, StartError};
use crate::clock::Clock;
use crate::domain::names::StageName;
use crate::domain::time::Span;
use crate::lake::metered::Metered;
use crate::pipeline::outlet::Outlet;
use crate::pipeline::tally::Tally;
use crate::stage::bridge::PullKind;
use crate::telemetry::health::Health;
use crate::telemetry::listener::{Shown, serve};
use crate::telemetry::metrics::Metrics;

/// Where a process is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `HOST:PORT`; port 0 takes a free one.
    pub address: String,
    /// A round of a stage that takes longer is not expected to end: the process is not alive.
    pub hung_after: Span,
}

/// The default of [`Listen::hung_after`]: the largest object on the slowest machine takes less.
pub const HUNG_AFTER: Span = Span::from_secs(1_800);

/// A process as it is seen. Dropped, it is seen no more.
pub struct Exposition {
    pub at: SocketAddr,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    /// One task.
    _server: JoinSet<()>,
}

impl Exposition {
    /// Takes the address and answers on it.
    ///
    /// # Errors
    /// `Listen` when the address is taken, not this machine's, or not allowed.
    pub async fn open(options: &Options, clock: &Arc<dyn Clock>) -> Result<Option<Self>, StartError> {
        let Some(listen) = &options.metrics else { return Ok(None) };
        let failed = |source| StartError::Listen { address: listen.address.clone(), source };
        let listener = TcpListener::bind(&listen.address).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        let metrics = Arc::new(Metrics::new(&options.stages));
        let health = Arc::new(Health::new(Arc::clone(clock), listen.hung_after));
        tell_sources(&metrics, options, clock.as_ref());
        let shown = Arc::new(Shown::new(Arc::clone(&metrics), Arc::clone(&health)));
        let mut server = JoinSet::new();
        server.spawn(async move {
            if let Err(e) = serve(shown, listener).await {
                error!(error = %e, "metrics and probes are not answered any more");
            }
        });
        info!(address = %at, "metrics and probes listen");
        Ok(Some(Self { at, metrics, health, _server: server }))
    }

    /// The store, counted.
    pub fn counted(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Metered::new(store, Arc::clone(&self.metrics)))
    }

    /// Every store of the sources, counted.
    pub fn counted_sources(&self, opened: Opened) -> Opened {
        let buckets = opened.buckets.into_iter().map(|(name, store)| (name, self.counted(store))).collect();
        let mut pulls = opened.pulls;
        for pull in &mut pulls {
            if let PullKind::Listing(listing) = &mut pull.kind {
                listing.reach(|store| self.counted(store));
            }
        }
        Opened { buckets, pulls }
    }

    /// What counts the stages' decisions.
    pub fn tally(&self, options: &Options, outlet: &Outlet) -> Arc<Tally> {
        Arc::new(Tally::new(Arc::clone(&self.metrics), outlet.clone(), reconciling(options)))
    }
}

/// Listings that stand beside notifications; alone, a listing misses nothing.
fn reconciling(options: &Options) -> BTreeSet<String> {
    let listings = options.sources.iter().filter(|s| matches!(s, Source::Landing(_)));
    if listings.clone().count() == options.sources.len() {
        return BTreeSet::new();
    }
    listings.map(|s| s.name().to_owned()).collect()
}

/// The process is one that asks its sources, from now on.
fn tell_sources(metrics: &Metrics, options: &Options, clock: &dyn Clock) {
    if !options.stages.contains(&StageName::Bridge) {
        return;
    }
    let (now, reconciling) = (clock.now(), reconciling(options));
    for source in &options.sources {
        metrics.source(source.name());
        match source {
            Source::Webhook(_) => {}
            Source::Notices(_) => metrics.asks(source.name(), now),
            Source::Landing(landing) => {
                metrics.asks(source.name(), now);
                if reconciling.contains(source.name()) {
                    metrics.reconciles(source.name(), landing.poll.unwrap_or(options.poll), now);
                }
            }
        }
    }
}
