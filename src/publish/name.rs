//! Names of published files: functions of the batch (decisions.md 2 and 10).

use sha2::{Digest, Sha256};

use crate::domain::names::{BatchId, DatasetName};

/// What stands in the name of a batch's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchName {
    pub dataset: DatasetName,
    pub shard: u32,
    pub seq: u64,
}

impl BatchName {
    pub fn id(&self) -> BatchId {
        BatchId::new(&self.dataset, self.shard, self.seq)
    }

    /// `<location>/<partition>/<dataset>-<shard>-<seq:012>-<hash8>.parquet`. The hash covers batch,
    /// partition and part, so that two parts of one partition have two names. `partition` is the
    /// escaped hive path (`a=1/b=2`), empty for an unpartitioned table.
    pub fn final_key(&self, location: &str, partition: &str, part: u32) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.id().as_str());
        hasher.update([0]);
        hasher.update(partition);
        hasher.update([0]);
        hasher.update(part.to_be_bytes());
        let hash8 = hex::encode(&hasher.finalize()[..4]);
        let file = format!("{}-{}-{:012}-{hash8}.parquet", self.dataset, self.shard, self.seq);
        let folders = [location.trim_matches('/'), partition.trim_matches('/')];
        folders.into_iter().filter(|f| !f.is_empty()).chain([file.as_str()]).collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_keys_are_functions_of_the_batch() {
        let batch = BatchName { dataset: "orders".parse().expect("valid"), shard: 2, seq: 41 };
        let key = batch.final_key("curated/orders/", "ingest_date=2026-01-02", 0);
        assert!(key.starts_with("curated/orders/ingest_date=2026-01-02/orders-2-000000000041-"), "{key}");
        assert!(key.ends_with(".parquet"));
        assert_eq!(key, batch.final_key("/curated/orders", "ingest_date=2026-01-02", 0));
        assert_ne!(key, batch.final_key("curated/orders", "ingest_date=2026-01-02", 1));
        assert!(batch.final_key("t", "", 0).starts_with("t/orders-2-"));
    }
}
