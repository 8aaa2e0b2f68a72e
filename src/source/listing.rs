//! A bucket or a directory, listed again and again: nothing is missed because nobody announced it.
//!
//! Stores need not list in order (directories do not), so a round cannot be resumed after a key:
//! it goes on in its stream, and starts over when the stream is lost. The seen-set of the bridge
//! makes that repetition silent.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use tracing::warn;

use crate::domain::names::BucketName;
use crate::domain::object::{ObjectRef, ObjectVersion};
use crate::domain::time::Timestamp;
use crate::event::ObjectEvent;

/// Objects of one page: the size of one transaction.
pub const PAGE_OBJECTS: usize = 1_000;

/// What lakegate writes into a lake; left out where one store is both landing and lake.
pub const LAKE_PREFIXES: [&str; 6] = ["_lakegate/", "_staging/", "curated/", "quarantine/", "dq-results/", "replay/"];

/// Where to list, and what to leave out.
pub struct Listing {
    /// The name its objects land under.
    bucket: BucketName,
    store: Arc<dyn ObjectStore>,
    prefix: Option<Path>,
    /// Key prefixes left out.
    skip: Vec<String>,
    walk: Mutex<Option<Walk>>,
}

/// One piece of a listing.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    pub objects: Vec<ObjectMeta>,
    /// The listing has been read to its end.
    pub last: bool,
}

/// Which page of which round is asked for; committed by the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageNumber {
    pub round: u64,
    pub page: u64,
}

/// A round in progress. The last page is kept until the next one is asked for: its commit may fail.
struct Walk {
    ready: Option<(PageNumber, Arc<Page>)>,
    next: PageNumber,
    stream: BoxStream<'static, object_store::Result<ObjectMeta>>,
}

impl Listing {
    /// `prefix` is a key prefix of whole segments, such as `landing/orders`.
    pub fn new(bucket: BucketName, store: Arc<dyn ObjectStore>, prefix: Option<Path>) -> Self {
        Self { bucket, store, prefix, skip: Vec::new(), walk: Mutex::new(None) }
    }

    /// Leaves keys with these prefixes out.
    #[must_use]
    pub fn skipping(mut self, prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.skip = prefixes.into_iter().map(Into::into).collect();
        self
    }

    /// Reaches the store through something else.
    pub fn reach(&mut self, through: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) {
        self.store = through(Arc::clone(&self.store));
    }

    pub fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// The page asked for: the one answered before when it is asked for again, else the next of the
    /// round, else the first of a new walk.
    ///
    /// # Errors
    /// Those of the store; the walk starts over then.
    pub async fn page(&self, number: PageNumber, n_objects: usize) -> object_store::Result<Arc<Page>> {
        let kept = self.walk.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut walk = match kept {
            Some(Walk { ready: Some((ready, page)), next, stream }) if ready == number => {
                self.keep(Walk { ready: Some((ready, Arc::clone(&page))), next, stream });
                return Ok(page);
            }
            Some(walk) if walk.next == number => walk,
            _ => Walk { ready: None, next: number, stream: self.store.list(self.prefix.as_ref()) },
        };
        let page = Arc::new(self.fill(&mut walk.stream, n_objects).await?);
        walk.ready = Some((number, Arc::clone(&page)));
        walk.next = PageNumber { page: number.page + 1, ..number };
        self.keep(walk);
        Ok(page)
    }

    fn keep(&self, walk: Walk) {
        *self.walk.lock().unwrap_or_else(PoisonError::into_inner) = Some(walk);
    }

    async fn fill(
        &self,
        stream: &mut BoxStream<'static, object_store::Result<ObjectMeta>>,
        n_objects: usize,
    ) -> object_store::Result<Page> {
        let mut page = Page::default();
        while page.objects.len() < n_objects.max(1) {
            match stream.next().await {
                None => {
                    page.last = true;
                    break;
                }
                Some(Ok(meta)) if self.skip.iter().any(|p| meta.location.as_ref().starts_with(p.as_str())) => {}
                Some(Ok(meta)) => page.objects.push(meta),
                // One name that no key can carry must not hide its neighbors.
                Some(Err(e @ object_store::Error::InvalidPath { .. })) => {
                    warn!(bucket = %self.bucket, error = %e, "an object with an impossible name is left out");
                }
                Some(Err(e)) => return Err(e),
            }
        }
        Ok(page)
    }

    /// A listed object as an event. `None`: the key is longer than any store allows.
    pub fn event(&self, meta: &ObjectMeta) -> Option<ObjectEvent> {
        let key = meta.location.as_ref().parse().ok()?;
        Some(ObjectEvent::listed(ObjectRef { bucket: self.bucket.clone(), key }, version(meta)))
    }
}

/// What a listing knows of a version. No sequencer, and no version id: listings name the newest one.
pub fn version(meta: &ObjectMeta) -> ObjectVersion {
    ObjectVersion {
        version_id: meta.version.clone(),
        etag: meta.e_tag.as_deref().map(|e| e.trim_matches('"').to_owned()).filter(|e| !e.is_empty()),
        size: Some(meta.size),
        sequencer: None,
        last_modified: Some(Timestamp::from_millis(meta.last_modified.timestamp_millis())),
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    fn number(round: u64, page: u64) -> PageNumber {
        PageNumber { round, page }
    }

    async fn filled(keys: &[&str]) -> Arc<InMemory> {
        let store = Arc::new(InMemory::new());
        for key in keys {
            store.put(&Path::from(*key), "x".into()).await.unwrap();
        }
        store
    }

    fn keys(page: &Page) -> Vec<&str> {
        page.objects.iter().map(|o| o.location.as_ref()).collect()
    }

    #[tokio::test]
    async fn a_round_goes_on_page_by_page_and_repeats_a_page_that_was_not_committed() {
        let store = filled(&["a", "b", "c"]).await;
        let listing = Listing::new("raw".parse().unwrap(), store, None);
        let first = listing.page(number(0, 0), 2).await.unwrap();
        assert_eq!((keys(&first), first.last), (vec!["a", "b"], false));
        assert_eq!(listing.page(number(0, 0), 2).await.unwrap(), first);
        let second = listing.page(number(0, 1), 2).await.unwrap();
        assert_eq!((keys(&second), second.last), (vec!["c"], true));
        let again = listing.page(number(1, 0), 2).await.unwrap();
        assert_eq!(keys(&again), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_walk_that_was_lost_starts_over_under_the_number_asked_for() {
        let listing = Listing::new("raw".parse().unwrap(), filled(&["a", "b", "c"]).await, None);
        let page = listing.page(number(3, 7), 2).await.unwrap();
        assert_eq!(keys(&page), ["a", "b"]);
        assert_eq!(keys(&listing.page(number(3, 8), 2).await.unwrap()), ["c"]);
    }

    #[tokio::test]
    async fn prefixes_of_the_lake_and_other_folders_are_left_out() {
        let store = filled(&["in/a", "in2/b", "curated/c", "curatedx", "_lakegate/d"]).await;
        let narrow = Listing::new("raw".parse().unwrap(), store.clone(), Some(Path::from("in")));
        assert_eq!(keys(&narrow.page(number(0, 0), 10).await.unwrap()), ["in/a"]);
        let whole = Listing::new("raw".parse().unwrap(), store, None).skipping(LAKE_PREFIXES);
        assert_eq!(keys(&whole.page(number(0, 0), 10).await.unwrap()), ["curatedx", "in/a", "in2/b"]);
    }
}
