//! Contracts as the stages use them: compiled once per version, looked up by dataset or by hash.
//!
//! Validate stamps the version in force; every later stage loads exactly that version from
//! `_lakegate/contracts/<dataset>/<hash>.json` (decisions.md 20).

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

use object_store::{ObjectStore, ObjectStoreExt};

use crate::admission::layout::Layout;
use crate::batch::limits::Limits;
use crate::contract::model::{Contract, ParquetCompression};
use crate::contract::{canonical, parse};
use crate::domain::names::DatasetName;
use crate::domain::reason::ReasonCode;
use crate::lake::layout::{contract as contract_key, key};
use crate::stage::StageError;
use crate::table::parquet::{Codec, ParquetOptions};

/// One version of a contract, compiled.
#[derive(Debug)]
pub struct Dataset {
    pub contract: Contract,
    pub hash: String,
    pub layout: Option<Layout>,
}

impl Dataset {
    /// # Errors
    /// A sentence, when the layout does not compile (lint says so earlier, with its place).
    pub fn compile(contract: Contract) -> Result<Self, String> {
        let hash = canonical::contract_hash(&contract);
        let layout = contract.layout.as_deref().map(|l| Layout::compile(l, &contract.dataset)).transpose().map_err(|e| e.to_string())?;
        Ok(Self { contract, hash, layout })
    }

    pub fn name(&self) -> &str {
        self.contract.dataset.as_str()
    }

    /// Limits of this dataset's batches.
    pub fn batch_limits(&self) -> Limits {
        let batch = &self.contract.transform.batch;
        Limits {
            max_bytes: batch.max_bytes,
            max_files: batch.max_files,
            max_rows: batch.max_rows,
            linger: batch.linger,
            quiet: batch.quiet,
            shards: NonZeroU32::new(batch.shards).unwrap_or(NonZeroU32::MIN),
        }
    }

    /// Settings of this dataset's files.
    pub fn parquet(&self) -> ParquetOptions {
        let parquet = &self.contract.transform.parquet;
        let codec = match parquet.compression {
            ParquetCompression::None => Codec::Uncompressed,
            ParquetCompression::Snappy => Codec::Snappy,
            ParquetCompression::Lz4 => Codec::Lz4,
            ParquetCompression::Zstd(level) => Codec::Zstd(i32::from(level)),
        };
        ParquetOptions { codec, row_group_rows: usize::try_from(parquet.row_group_rows).unwrap_or(usize::MAX) }
    }
}

/// The contracts in force, and every version asked for.
pub struct Catalog {
    lake: Arc<dyn ObjectStore>,
    current: RwLock<BTreeMap<String, Arc<Dataset>>>,
    versions: RwLock<HashMap<String, Arc<Dataset>>>,
}

impl Catalog {
    pub fn new(lake: Arc<dyn ObjectStore>) -> Self {
        Self { lake, current: RwLock::new(BTreeMap::new()), versions: RwLock::new(HashMap::new()) }
    }

    /// Puts contracts in force: their versions are written to the lake first, so that every stage of
    /// every replica can load what validate stamps.
    pub async fn put_in_force(&self, datasets: Vec<Arc<Dataset>>) -> Result<(), object_store::Error> {
        for dataset in &datasets {
            if self.current(dataset.name()).is_some_and(|known| known.hash == dataset.hash) {
                continue;
            }
            let at = key(&contract_key(dataset.name(), &dataset.hash));
            let text = canonical::canonical_json(&dataset.contract);
            self.lake.put(&at, text.into_bytes().into()).await?;
            self.versions.write().unwrap_or_else(PoisonError::into_inner).insert(dataset.hash.clone(), Arc::clone(dataset));
        }
        let current = datasets.into_iter().map(|d| (d.name().to_owned(), d)).collect();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// The version in force.
    pub fn current(&self, dataset: &str) -> Option<Arc<Dataset>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).get(dataset).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Dataset>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The version with this hash, if it was asked for before.
    pub fn loaded(&self, hash: &str) -> Option<Arc<Dataset>> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// The version with this hash.
    ///
    /// # Errors
    /// `ContractMissing` when it is gone or no contract; `Store` when the lake does not answer.
    pub async fn version(&self, dataset: &str, hash: &str) -> Result<Arc<Dataset>, StageError> {
        if let Some(known) = self.loaded(hash) {
            return Ok(known);
        }
        let missing = |detail: String| StageError::Refused { reason: ReasonCode::ContractMissing, detail };
        let name: DatasetName = dataset.parse().map_err(|e| missing(format!("{e}")))?;
        let at = key(&contract_key(name.as_str(), hash));
        let bytes = match self.lake.get(&at).await {
            Ok(found) => found.bytes().await?,
            Err(object_store::Error::NotFound { .. }) => return Err(missing(format!("{at} is gone"))),
            Err(e) => return Err(e.into()),
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| missing(format!("{at}: {e}")))?;
        let contract =
            parse::parse(at.as_ref(), text).map_err(|faults| missing(faults.first().map_or_else(String::new, ToString::to_string)))?;
        let compiled = Arc::new(Dataset::compile(contract).map_err(|e| missing(format!("{at}: {e}")))?);
        self.versions.write().unwrap_or_else(PoisonError::into_inner).insert(hash.to_owned(), Arc::clone(&compiled));
        Ok(compiled)
    }
}
