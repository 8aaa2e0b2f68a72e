//! What a process is told to watch, opened: stores by bucket, pull sources, webhooks on their addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::net::TcpListener;
use tracing::info;

use crate::domain::names::{BucketName, StageName};
use crate::domain::time::Span;
use crate::event::{Family, ParseOptions};
use crate::lake::local::Sync;
use crate::lake::url::{self, Stores};
use crate::pipeline::runner::{Halt, Surroundings};
use crate::source::file::NoticeFile;
use crate::source::landing::Intake;
use crate::source::listing::{LAKE_PREFIXES, Listing};
use crate::source::webhook::{Webhook, serve};
use crate::stage::StageError;
use crate::stage::bridge::{PullKind, PullSource};

/// One source, as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Landing(Landing),
    Notices(Notices),
    Webhook(Hook),
}

/// A bucket that is listed again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    pub name: String,
    pub bucket: BucketName,
    pub url: String,
    /// Only keys below these segments.
    pub prefix: Option<Path>,
    /// Default: the process's.
    pub poll: Option<Span>,
}

/// A file of notifications, one JSON document a line, read on as it grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notices {
    pub name: String,
    pub path: PathBuf,
    /// Overrides detection of S3-shaped records.
    pub family: Option<Family>,
    pub poll: Option<Span>,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub name: String,
    /// `HOST:PORT`; port 0 takes a free one.
    pub address: String,
    pub family: Option<Family>,
}

impl Landing {
    /// A whole bucket, named by itself.
    pub fn new(bucket: BucketName, url: String) -> Self {
        Self { name: bucket.to_string(), bucket, url, prefix: None, poll: None }
    }
}

impl Source {
    pub fn name(&self) -> &str {
        match self {
            Source::Landing(landing) => &landing.name,
            Source::Notices(notices) => &notices.name,
            Source::Webhook(hook) => &hook.name,
        }
    }
}

/// A source cannot be watched; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Url(#[from] url::OpenError),
    #[error("landing {name} at {url} cannot be listed")]
    Reach {
        name: String,
        url: String,
        #[source]
        source: object_store::Error,
    },
    #[error("webhook {name} cannot listen on {address}; name a free address of this machine")]
    Bind {
        name: String,
        address: String,
        #[source]
        source: std::io::Error,
    },
}

/// Every bucket's store, and what the bridge asks.
pub struct Opened {
    pub buckets: BTreeMap<String, Arc<dyn ObjectStore>>,
    pub pulls: Vec<PullSource>,
}

/// Keys of a bucket that lakegate wrote itself, because the lake lies in it: they have not landed.
fn own_prefixes(landing: &str, lake: &str) -> Vec<String> {
    match url::within(landing, lake) {
        None => Vec::new(),
        Some(same) if same.is_empty() => LAKE_PREFIXES.map(str::to_owned).to_vec(),
        Some(below) => vec![format!("{below}/")],
    }
}

/// Opens stores and pull sources; webhooks are bound by [`bind`].
///
/// # Errors
/// When a store cannot be opened.
pub fn open(sources: &[Source], stores: &Stores, lake: &str, poll: Span) -> Result<Opened, SourceError> {
    let mut opened = Opened { buckets: BTreeMap::new(), pulls: Vec::new() };
    for source in sources {
        let (name, kind, wait) = match source {
            Source::Webhook(_) => continue,
            Source::Landing(landing) => {
                let store = stores.open(&landing.url, Sync::Never)?;
                opened.buckets.insert(landing.bucket.to_string(), Arc::clone(&store));
                let listing =
                    Listing::new(landing.bucket.clone(), store, landing.prefix.clone()).skipping(own_prefixes(&landing.url, lake));
                (&landing.name, PullKind::Listing(listing), landing.poll)
            }
            Source::Notices(notices) => {
                let options = ParseOptions { family_hint: notices.family, ..ParseOptions::default() };
                (&notices.name, PullKind::File(NoticeFile { path: notices.path.clone(), options }), notices.poll)
            }
        };
        opened.pulls.push(PullSource { name: name.clone(), kind, poll: wait.unwrap_or(poll) });
    }
    Ok(opened)
}

/// Asks every bucket behind a server for its first page, so that a wrong name or key is told at the start and not
/// only by a bridge that waits.
///
/// # Errors
/// `Reach` when one is not there, does not let us list, or does not answer.
pub async fn reach(sources: &[Source], opened: &Opened) -> Result<(), SourceError> {
    for source in sources {
        let Source::Landing(Landing { name, bucket, url, prefix, .. }) = source else { continue };
        let Some(store) = opened.buckets.get(bucket.as_str()).filter(|_| url::is_remote(url)) else { continue };
        if let Some(Err(source)) = store.list(prefix.as_ref()).next().await {
            return Err(SourceError::Reach { name: name.clone(), url: url.clone(), source });
        }
    }
    Ok(())
}

/// A webhook on its address, not yet served.
pub struct Bound {
    pub name: String,
    pub at: SocketAddr,
    listener: TcpListener,
    family: Option<Family>,
}

/// Takes the address of every webhook.
///
/// # Errors
/// `Bind` when one is taken, not this machine's, or not allowed.
pub async fn bind(sources: &[Source]) -> Result<Vec<Bound>, SourceError> {
    let mut bound = Vec::new();
    for source in sources {
        let Source::Webhook(hook) = source else { continue };
        let failed = |source| SourceError::Bind { name: hook.name.clone(), address: hook.address.clone(), source };
        let listener = TcpListener::bind(&hook.address).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        info!(source = hook.name, address = %at, "webhook listens");
        bound.push(Bound { name: hook.name.clone(), at, listener, family: hook.family });
    }
    Ok(bound)
}

impl Bound {
    /// Serves until stopped; requests that have begun are answered first.
    ///
    /// # Errors
    /// When the listener fails: the bridge has lost a source then.
    pub async fn serve(self, around: Surroundings, intake: Intake) -> Result<(), Halt> {
        let Surroundings { broker, clock, tally, stop, .. } = around;
        let webhook = Webhook::new(broker, intake, clock, self.name.clone(), self.family).counted(tally);
        serve(Arc::new(webhook), self.listener, stop).await.map_err(|e| Halt::Stage {
            stage: StageName::Bridge,
            source: StageError::Broken { detail: format!("webhook {} on {}: {e}", self.name, self.at) },
        })
    }
}

#[cfg(test)]
mod tests;
