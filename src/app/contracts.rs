//! Contracts from a folder, a file, or any URL the lake seam opens: every `*.yaml`, `*.yml` and `*.json`
//! at its top, all faults at once. What was read is remembered, so that a change is told cheaply.

use std::collections::BTreeMap;
use std::path::Path as FsPath;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::admission::layout::Layout;
use crate::contract::lint::lint_with;
use crate::contract::parse::parse;
use crate::lake::url::{self, Stores};
use crate::stage::catalog::Dataset;

/// Largest contract or schema that is read.
const BYTES_MAX: u64 = 4 << 20;

/// Most contracts of one place.
const CONTRACTS_MAX: usize = 10_000;

/// Contracts could not be put in force; every fault stands in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", faults.join("\n"))]
pub struct LoadError {
    pub faults: Vec<String>,
}

/// A place of contracts could not be read: says nothing about the contracts.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Open(#[from] url::OpenError),
    #[error("the contracts in {place} cannot be read")]
    Store {
        place: String,
        #[source]
        source: Error,
    },
    #[error(transparent)]
    Faults(#[from] LoadError),
}

/// Version tokens of everything that was looked at; `None`: it was not there.
type Seen = BTreeMap<Path, Option<String>>;

/// A place where contracts lie. Schemas are taken from the same store, never from outside it.
#[derive(Clone)]
pub struct Shelf {
    store: Arc<dyn ObjectStore>,
    /// Stands before the names in faults.
    place: String,
    /// Only this contract.
    only: Option<Path>,
}

/// One contract as it was read.
pub struct Shelved {
    /// The file as faults name it.
    pub file: String,
    pub dataset: Result<Arc<Dataset>, Vec<String>>,
}

/// Everything a shelf held at one moment.
pub struct Reading {
    /// Sorted by file.
    pub contracts: Vec<Shelved>,
    place: String,
    seen: Seen,
}

impl Reading {
    /// The contracts, sorted by dataset; all of them or none.
    ///
    /// # Errors
    /// Every fault of every file, each with its place.
    pub fn datasets(&self) -> Result<Vec<Arc<Dataset>>, LoadError> {
        let (mut datasets, mut faults) = (Vec::new(), Vec::new());
        for shelved in &self.contracts {
            match &shelved.dataset {
                Ok(dataset) => datasets.push(Arc::clone(dataset)),
                Err(more) => faults.extend(more.iter().cloned()),
            }
        }
        if self.contracts.is_empty() {
            faults.push(format!("{}: no contract here; write one (*.yaml) or point --contracts at a folder that has some", self.place));
        }
        datasets.sort_by(|a: &Arc<Dataset>, b| a.name().cmp(b.name()));
        if faults.is_empty() { Ok(datasets) } else { Err(LoadError { faults }) }
    }
}

impl Shelf {
    /// A folder, a contract's file, or a URL. Nothing is created.
    ///
    /// # Errors
    /// When it cannot be opened, or is not there.
    pub fn open(at: &str, stores: &Stores) -> Result<Self, url::OpenError> {
        let file = url::local_path(at)?.filter(|path| path.is_file());
        let Some((file, name)) = file.as_ref().and_then(|f| Some((f, f.file_name()?.to_str()?))) else {
            let place = at.trim_end_matches('/').to_owned();
            return Ok(Self { store: stores.open_existing(at)?, place, only: None });
        };
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(FsPath::new("."));
        let only = Path::parse(name).map_err(|e| url::OpenError::Store { url: at.to_owned(), source: e.into() })?;
        let place = at.strip_suffix(name).unwrap_or("").trim_end_matches('/').to_owned();
        Ok(Self { store: stores.open_existing(&folder.to_string_lossy())?, place, only: Some(only) })
    }

    /// As it was named.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn shown(&self, at: &Path) -> String {
        if self.place.is_empty() { at.to_string() } else { format!("{}/{at}", self.place) }
    }

    /// Reads all contracts and their schemas.
    ///
    /// # Errors
    /// Those of the store. What is wrong with a contract stands in the reading.
    pub async fn read(&self) -> Result<Reading, Error> {
        let mut seen = Seen::new();
        let mut contracts: Vec<Shelved> = Vec::new();
        let listed = self.list().await?;
        if listed.len() > CONTRACTS_MAX {
            let fault = format!("{}: more than {CONTRACTS_MAX} contracts", self.place);
            contracts.push(Shelved { file: self.place.clone(), dataset: Err(vec![fault]) });
            return Ok(Reading { contracts, place: self.place.clone(), seen });
        }
        for at in listed {
            let mut dataset = self.one(&at, &mut seen).await?;
            if let Ok(found) = &dataset
                && contracts.iter().any(|c| c.dataset.as_ref().is_ok_and(|d| d.name() == found.name()))
            {
                dataset = Err(vec![format!("{}: dataset {} has two contracts here", self.shown(&at), found.name())]);
            }
            contracts.push(Shelved { file: self.shown(&at), dataset: dataset.map(Arc::new) });
        }
        Ok(Reading { contracts, place: self.place.clone(), seen })
    }

    /// Whether a new reading could give anything else than this one did. Costs a listing and one look for each schema.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn has_changed(&self, reading: &Reading) -> Result<bool, Error> {
        let listed = self.list().await?;
        if listed.len() != reading.contracts.len() || !listed.iter().all(|at| reading.seen.contains_key(at)) {
            return Ok(true);
        }
        for (at, token) in &reading.seen {
            let now = match self.store.head(at).await {
                Ok(meta) => Some(token_of(&meta)),
                Err(Error::NotFound { .. }) => None,
                Err(e) => return Err(e),
            };
            if now != *token {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn list(&self) -> Result<Vec<Path>, Error> {
        if let Some(only) = &self.only {
            return Ok(vec![only.clone()]);
        }
        let listed = self.store.list_with_delimiter(None).await?.objects.into_iter().map(|o| o.location);
        let mut files: Vec<Path> = listed.filter(|at| at.extension().is_some_and(|e| matches!(e, "yaml" | "yml" | "json"))).collect();
        files.sort();
        files.truncate(CONTRACTS_MAX + 1);
        Ok(files)
    }

    /// One contract, its schemas loaded from the same store.
    async fn one(&self, at: &Path, seen: &mut Seen) -> Result<Result<Dataset, Vec<String>>, Error> {
        let name = self.shown(at);
        let text = match self.text(at, seen).await? {
            Ok(text) => text,
            Err(fault) => return Ok(Err(vec![fault])),
        };
        let mut contract = match parse(&name, &text) {
            Ok(contract) => contract,
            Err(faults) => return Ok(Err(faults.iter().map(ToString::to_string).collect())),
        };
        let mut missing = Vec::new();
        if let Some(path) = contract.avro_path().map(str::to_owned) {
            match self.beside(at, &path, seen).await? {
                Ok(avro) => contract = contract.with_avro(avro),
                Err(fault) => missing.push((["schema", "avro"].as_slice(), fault)),
            }
        }
        if let Some(path) = contract.pending_avro_path().map(str::to_owned) {
            match self.beside(at, &path, seen).await? {
                Ok(avro) => contract = contract.with_pending_avro(avro),
                Err(fault) => missing.push((["schema", "pending", "avro"].as_slice(), fault)),
            }
        }
        let faults = lint_with(&name, &text, &contract, |contract, linter| {
            for (path, fault) in missing {
                linter.fault(path, fault, None);
            }
            if let Some(Err(e)) = contract.layout.as_deref().map(|l| Layout::compile(l, &contract.dataset)) {
                linter.fault(&["layout"], e.to_string(), None);
            }
        });
        if !faults.is_empty() {
            return Ok(Err(faults.iter().map(ToString::to_string).collect()));
        }
        Ok(Dataset::compile(contract).map_err(|fault| vec![format!("{name}: {fault}")]))
    }

    /// A schema, by its path relative to the contract that names it.
    async fn beside(&self, contract: &Path, path: &str, seen: &mut Seen) -> Result<Result<String, String>, Error> {
        match resolve(contract, path) {
            Some(at) => self.text(&at, seen).await,
            None => Ok(Err(format!("{path:?} is no path within the place of the contracts; put the schema beside them"))),
        }
    }

    async fn text(&self, at: &Path, seen: &mut Seen) -> Result<Result<String, String>, Error> {
        let shown = self.shown(at);
        let found = match self.store.get(at).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => {
                seen.insert(at.clone(), None);
                return Ok(Err(format!("{shown} is not there")));
            }
            Err(e) => return Err(e),
        };
        seen.insert(at.clone(), Some(token_of(&found.meta)));
        let size = found.meta.size;
        if size > BYTES_MAX {
            return Ok(Err(format!("{shown} has {size} bytes; at most {BYTES_MAX} are read")));
        }
        let bytes = found.bytes().await?;
        Ok(String::from_utf8(bytes.into()).map_err(|_| format!("{shown} is not UTF-8 text")))
    }
}

fn token_of(meta: &ObjectMeta) -> String {
    let time = meta.last_modified.timestamp_micros();
    format!("{}:{}:{}:{time}", meta.e_tag.as_deref().unwrap_or(""), meta.version.as_deref().unwrap_or(""), meta.size)
}

/// A path relative to the folder of `contract`; `None` when it leaves the store.
fn resolve(contract: &Path, path: &str) -> Option<Path> {
    if path.starts_with('/') || path.contains("://") {
        return None;
    }
    let mut segments: Vec<&str> = contract.as_ref().split('/').collect();
    segments.pop();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            segment => segments.push(segment),
        }
    }
    Path::parse(segments.join("/")).ok().filter(|at| !at.as_ref().is_empty())
}

/// All contracts of a place.
///
/// # Errors
/// Every fault at once; or the place cannot be read.
pub async fn load(at: &str, stores: &Stores) -> Result<Vec<Arc<Dataset>>, ReadError> {
    let reading = Shelf::open(at, stores)?.read().await.map_err(|source| ReadError::Store { place: at.to_owned(), source })?;
    Ok(reading.datasets()?)
}

/// The one contract of a file.
///
/// # Errors
/// Its faults; or there is not exactly one.
pub async fn one(at: &str, stores: &Stores) -> Result<Arc<Dataset>, ReadError> {
    let mut datasets = load(at, stores).await?;
    match (datasets.pop(), datasets.len()) {
        (Some(dataset), 0) => Ok(dataset),
        (_, n) => Err(LoadError { faults: vec![format!("{at} holds {} contracts; name the file of one", n + 1)] }.into()),
    }
}

#[cfg(test)]
mod tests;
