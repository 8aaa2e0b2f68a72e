//! Keys and values of the embedded log's storage. Every value starts with a format version.
//!
//! ```text
//! t/<topic>                              → topic description
//! p/<group> 0 <topic> 0 <partition u32>  → position u64
//! r/<topic id u32><partition u32><offset u64> → record
//! ```

use bytes::{Buf, BufMut, Bytes};

use crate::broker::{Cleanup, Headers};
use crate::domain::position::{Offset, Partition};
use crate::domain::time::{Span, Timestamp};

/// Version of every value in this file.
const FORMAT: u8 = 1;

/// A stored value does not read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EntryError {
    #[error("written by format {found}, this build reads {FORMAT}")]
    Format { found: u8 },
    #[error("cut short")]
    Short,
    #[error("a name in it is not UTF-8")]
    Text,
}

pub(super) fn topic_key(name: &str) -> Vec<u8> {
    [b"t/", name.as_bytes()].concat()
}

pub(super) fn position_key(group: &str, topic: &str, partition: Partition) -> Vec<u8> {
    let mut key = [b"p/", group.as_bytes(), b"\0", topic.as_bytes(), b"\0"].concat();
    key.put_u32(partition.0);
    key
}

pub(super) fn record_key(topic_id: u32, partition: Partition, offset: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend_from_slice(b"r/");
    key.put_u32(topic_id);
    key.put_u32(partition.0);
    key.put_u64(offset);
    key
}

/// Offset in a record key.
pub(super) fn offset_of(key: &[u8]) -> Option<Offset> {
    let tail = key.get(10..18)?;
    Some(Offset(u64::from_be_bytes(tail.try_into().ok()?)))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicEntry {
    pub(super) id: u32,
    pub(super) partitions: u32,
    pub(super) cleanup: Cleanup,
    /// First offset still there, per partition.
    pub(super) starts: Vec<u64>,
    /// Lowest position after everything ever written, per partition: retention may empty a
    /// partition, and its offsets must never be used again.
    pub(super) floors: Vec<u64>,
}

impl TopicEntry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.put_u32(self.id);
        out.put_u32(self.partitions);
        out.put_i64(match self.cleanup {
            Cleanup::Delete { retention } => retention.millis(),
            Cleanup::Compact { lag } => -1 - lag.millis(),
        });
        for (start, floor) in self.starts.iter().zip(&self.floors) {
            out.put_u64(*start);
            out.put_u64(*floor);
        }
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, EntryError> {
        version(&mut bytes)?;
        if bytes.remaining() < 16 {
            return Err(EntryError::Short);
        }
        let (id, partitions, retention) = (bytes.get_u32(), bytes.get_u32(), bytes.get_i64());
        let cleanup = match retention {
            0.. => Cleanup::Delete { retention: Span::from_millis(retention) },
            lag => Cleanup::Compact { lag: Span::from_millis(-1 - lag) },
        };
        if bytes.remaining() != partitions as usize * 16 {
            return Err(EntryError::Short);
        }
        let (mut starts, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..partitions {
            starts.push(bytes.get_u64());
            floors.push(bytes.get_u64());
        }
        Ok(Self { id, partitions, cleanup, starts, floors })
    }
}

/// A record without its place, which is in the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordEntry {
    pub(super) timestamp: Timestamp,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Headers,
}

impl RecordEntry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let headers: usize = self.headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
        let mut out = Vec::with_capacity(32 + self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + headers);
        out.put_u8(FORMAT);
        out.put_i64(self.timestamp.millis());
        chunk(&mut out, &self.key);
        match &self.value {
            Some(value) => {
                out.put_u8(1);
                chunk(&mut out, value);
            }
            None => out.put_u8(0),
        }
        out.put_u32(u32::try_from(self.headers.len()).unwrap_or(u32::MAX));
        for (name, value) in &self.headers {
            chunk(&mut out, name.as_bytes());
            chunk(&mut out, value);
        }
        out
    }

    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, EntryError> {
        version(&mut bytes)?;
        if bytes.remaining() < 8 {
            return Err(EntryError::Short);
        }
        let timestamp = Timestamp::from_millis(bytes.get_i64());
        let key = take(&mut bytes)?;
        if bytes.remaining() < 1 {
            return Err(EntryError::Short);
        }
        let value = if bytes.get_u8() == 1 { Some(take(&mut bytes)?) } else { None };
        if bytes.remaining() < 4 {
            return Err(EntryError::Short);
        }
        let count = bytes.get_u32();
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = String::from_utf8(take(&mut bytes)?.to_vec()).map_err(|_| EntryError::Text)?;
            headers.push((name, take(&mut bytes)?));
        }
        Ok(Self { timestamp, key, value, headers })
    }
}

fn version(bytes: &mut impl Buf) -> Result<(), EntryError> {
    if bytes.remaining() < 1 {
        return Err(EntryError::Short);
    }
    match bytes.get_u8() {
        FORMAT => Ok(()),
        found => Err(EntryError::Format { found }),
    }
}

fn chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).expect("records are bounded far below 4 GiB"));
    out.extend_from_slice(bytes);
}

fn take(bytes: &mut Bytes) -> Result<Bytes, EntryError> {
    if bytes.remaining() < 4 {
        return Err(EntryError::Short);
    }
    let len = bytes.get_u32() as usize;
    if bytes.remaining() < len {
        return Err(EntryError::Short);
    }
    Ok(bytes.split_to(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_round_trip(ts in any::<i64>(), key in any::<Vec<u8>>(), value in any::<Option<Vec<u8>>>(), headers in proptest::collection::vec(("[a-z]{1,8}", any::<Vec<u8>>()), 0..4)) {
            let entry = RecordEntry {
                timestamp: Timestamp::from_millis(ts),
                key: key.into(),
                value: value.map(Bytes::from),
                headers: headers.into_iter().map(|(n, v)| (n, Bytes::from(v))).collect(),
            };
            prop_assert_eq!(RecordEntry::decode(entry.encode().into()), Ok(entry));
        }

        #[test]
        fn any_bytes_decode_or_refuse(bytes in any::<Vec<u8>>()) {
            let _ = RecordEntry::decode(bytes.clone().into());
            let _ = TopicEntry::decode(&bytes);
        }
    }

    #[test]
    fn another_format_is_refused_by_number() {
        let mut bytes = RecordEntry { timestamp: Timestamp::EPOCH, key: Bytes::new(), value: None, headers: vec![] }.encode();
        bytes[0] = 9;
        assert_eq!(RecordEntry::decode(bytes.into()), Err(EntryError::Format { found: 9 }));
    }
}
