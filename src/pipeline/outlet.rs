//! Makes the records a decision sends: encoded, keyed, placed.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::partitioner::partition_of;
use crate::broker::{Headers, OutRecord};
use crate::domain::position::Partition;
use crate::pipeline::topics::{Topic, Topics};
use crate::wire::codec::{Codec, CodecError};
use crate::wire::records::Record;

/// Where a record goes within its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed<'a> {
    /// The partition of this text (often not the key itself: status rows lie beside their object).
    By(&'a str),
    /// A partition named outright: a replay re-publishes on the partition of origin.
    On(Partition),
}

/// Codec and topics of one installation. Cheap to clone.
#[derive(Clone)]
pub struct Outlet {
    pub codec: Arc<Codec>,
    pub topics: Arc<Topics>,
}

impl Outlet {
    /// # Errors
    /// `Misfit` when the record does not fit its own schema: a broken promise of ours.
    pub fn record<R: Record>(
        &self,
        topic: Topic,
        key: &str,
        placed: Placed<'_>,
        record: &R,
        headers: Headers,
    ) -> Result<OutRecord, CodecError> {
        let partition = match placed {
            Placed::By(text) => partition_of(text.as_bytes(), self.topics.partitions()),
            Placed::On(partition) => partition,
        };
        Ok(OutRecord {
            to: self.topics.at(topic, partition),
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(self.codec.encode(record)?),
            headers,
        })
    }
}
