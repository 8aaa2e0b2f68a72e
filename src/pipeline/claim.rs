//! Claim checks: a record over 256 KiB travels as a reference to an object of ours in the lake.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use xxhash_rust::xxh3::xxh3_128;

use crate::broker::{OutRecord, Record};

/// Header that names the object; the record's value is empty then.
pub const CLAIM_HEADER: &str = "claim";

/// Values longer than this become a claim check.
pub const VALUE_BYTES_MAX: usize = 256 << 10;

/// Replaces a long value; answers the object to put before the commit.
pub fn check_in(record: &mut OutRecord) -> Option<(Path, Bytes)> {
    let value = record.value.take_if(|v| v.len() > VALUE_BYTES_MAX)?;
    let key = format!("_staging/claims/{:032x}", xxh3_128(&value));
    record.headers.push((CLAIM_HEADER.to_owned(), Bytes::copy_from_slice(key.as_bytes())));
    record.value = Some(Bytes::new());
    Some((Path::from(key), value))
}

/// The value of a record, fetched if it is a claim check. `None` is a tombstone.
///
/// # Errors
/// Those of the store; `NotFound` when the object was swept before the record was read.
pub async fn check_out(lake: &Arc<dyn ObjectStore>, record: &Record) -> Result<Option<Bytes>, object_store::Error> {
    match record.header(CLAIM_HEADER) {
        None => Ok(record.value.clone()),
        Some(key) => Ok(Some(lake.get(&Path::from(key)).await?.bytes().await?)),
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::domain::position::{Offset, Partition, TopicPartition};
    use crate::domain::time::Timestamp;

    #[test]
    fn long_values_travel_by_reference() {
        let lake: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let at = TopicPartition { topic: "plans".parse().unwrap(), partition: Partition(0) };
        let long = Bytes::from(vec![7u8; VALUE_BYTES_MAX + 1]);
        let mut out = OutRecord { to: at.clone(), key: Bytes::new(), value: Some(long.clone()), headers: vec![] };
        let (path, bytes) = check_in(&mut out).expect("over the limit");
        assert_eq!(out.value.as_deref(), Some(b"".as_slice()));
        futures::executor::block_on(async {
            lake.put(&path, bytes.into()).await.unwrap();
            let record = Record {
                at,
                offset: Offset(0),
                timestamp: Timestamp::EPOCH,
                key: out.key.clone(),
                value: out.value.clone(),
                headers: out.headers.clone(),
            };
            assert_eq!(check_out(&lake, &record).await.unwrap(), Some(long));
        });
        assert!(check_in(&mut OutRecord { value: Some(Bytes::from_static(b"short")), ..out }).is_none());
    }
}
