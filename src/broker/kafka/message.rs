//! Records as the client carries them, both ways.

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};

use crate::broker::{Headers, Record};
use crate::domain::names::TopicName;
use crate::domain::position::{Offset, Partition, TopicPartition};
use crate::domain::time::Timestamp;

/// A fetched message; `topic` is its topic as this process calls it.
pub(super) fn record(message: &BorrowedMessage<'_>, topic: &TopicName) -> Record {
    let mut headers: Headers = Vec::new();
    if let Some(found) = message.headers() {
        headers.extend(found.iter().map(|h| (h.key.to_owned(), Bytes::copy_from_slice(h.value.unwrap_or_default()))));
    }
    Record {
        // A fetched message has a partition and an offset; neither is negative.
        at: TopicPartition { topic: topic.clone(), partition: Partition(u32::try_from(message.partition()).unwrap_or_default()) },
        offset: Offset(u64::try_from(message.offset()).unwrap_or_default()),
        timestamp: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or_default()),
        key: Bytes::copy_from_slice(message.key().unwrap_or_default()),
        value: message.payload().map(Bytes::copy_from_slice),
        headers,
    }
}

/// Headers to send; `None` when there are none.
pub(super) fn headers(headers: &Headers) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    Some(headers.iter().fold(empty, |all, (key, value)| all.insert(Header { key, value: Some(&value[..]) })))
}
