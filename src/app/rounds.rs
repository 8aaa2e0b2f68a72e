//! What other replicas have read of the sources: each judges for itself when all are read (decisions.md 21).
//!
//! A source is read by whoever owns its partition; the bridge's changelog tells everybody how far that is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::app::wiring::Engine;
use crate::broker::partitioner::partition_of;
use crate::broker::{LogError, PollLimit, Reader};
use crate::domain::names::StageName;
use crate::domain::position::{NextOffset, Partition};
use crate::pipeline::outlet::Outlet;
use crate::pipeline::topics::Topic;
use crate::stage::bridge::SourceState;
use crate::stage::bridge::listed_once::ListedOnce;

/// Records read at a time.
const CHUNK: PollLimit = PollLimit { records: 5_000, bytes: 8 << 20 };

/// Follows the bridge's changelog for the sources this process has not read itself.
pub struct Rounds {
    reader: Arc<dyn Reader>,
    outlet: Outlet,
    listed: Arc<ListedOnce>,
    /// By partition: how far it is read.
    next: BTreeMap<Partition, NextOffset>,
    /// By source: rounds that were complete when this process first looked.
    before: BTreeMap<String, u64>,
}

impl Rounds {
    pub fn new(engine: &Engine) -> Self {
        let (reader, outlet, listed) = (Arc::clone(&engine.reader), engine.outlet.clone(), Arc::clone(&engine.listed));
        Self { reader, outlet, listed, next: BTreeMap::new(), before: BTreeMap::new() }
    }

    /// Marks sources that were read to their end elsewhere since the first call.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn catch_up(&mut self) -> Result<(), LogError> {
        let mut waiting: BTreeMap<Partition, Vec<String>> = BTreeMap::new();
        for name in self.listed.outstanding() {
            waiting.entry(partition_of(name.as_bytes(), self.outlet.topics.partitions())).or_default().push(name);
        }
        for (partition, names) in waiting {
            let at = self.outlet.topics.at(Topic::Changelog(StageName::Bridge), partition);
            let first = !self.next.contains_key(&partition);
            loop {
                let chunk = self.reader.read(&at, self.next.get(&partition).copied().unwrap_or_default(), CHUNK).await?;
                self.next.insert(partition, chunk.next);
                if chunk.records.is_empty() {
                    break;
                }
                for record in &chunk.records {
                    for name in &names {
                        let Some(rounds) = SourceState::rounds(name, &record.key, record.value.as_deref().unwrap_or_default()) else {
                            continue;
                        };
                        if first {
                            self.before.insert(name.clone(), rounds);
                        } else if rounds > self.before.get(name).copied().unwrap_or(0) {
                            self.listed.read_elsewhere(name);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
