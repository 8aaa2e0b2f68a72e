//! Loads contracts from a folder: every `*.yaml`, `*.yml` and `*.json` in it, all faults at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::contract::parse::parse;
use crate::stage::catalog::Dataset;

/// Largest contract or schema that is read.
const BYTES_MAX: u64 = 4 << 20;

/// Contracts could not be loaded; every fault stands in the message.
#[derive(Debug, thiserror::Error)]
#[error("{}", faults.join("\n"))]
pub struct LoadError {
    pub faults: Vec<String>,
}

/// The contracts of a folder (or of one file), sorted by dataset.
///
/// # Errors
/// Every fault of every file, each with its place.
pub fn load(at: &Path) -> Result<Vec<Arc<Dataset>>, LoadError> {
    let mut faults = Vec::new();
    let mut datasets: Vec<Arc<Dataset>> = Vec::new();
    for file in files(at).map_err(|fault| LoadError { faults: vec![fault] })? {
        match one(&file) {
            Err(more) => faults.extend(more),
            Ok(dataset) => match datasets.iter().find(|d| d.name() == dataset.name()) {
                Some(_) => faults.push(format!("{}: dataset {} has two contracts here", file.display(), dataset.name())),
                None => datasets.push(Arc::new(dataset)),
            },
        }
    }
    if datasets.is_empty() && faults.is_empty() {
        faults.push(format!("{}: no contract here; write one (*.yaml) or point --contracts at a folder that has some", at.display()));
    }
    datasets.sort_by(|a, b| a.name().cmp(b.name()));
    if faults.is_empty() { Ok(datasets) } else { Err(LoadError { faults }) }
}

/// One contract's file, its schema loaded beside it.
///
/// # Errors
/// All its faults.
pub fn one(file: &Path) -> Result<Dataset, Vec<String>> {
    let name = file.display().to_string();
    let text = read(file).map_err(|e| vec![e])?;
    let mut contract = parse(&name, &text).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let beside =
        |path: &str| read(&file.parent().unwrap_or(Path::new(".")).join(path)).map_err(|e| vec![format!("{name}: schema.avro: {e}")]);
    if let Some(path) = contract.avro_path().map(str::to_owned) {
        contract = contract.with_avro(beside(&path)?);
    }
    if let Some(path) = contract.pending_avro_path().map(str::to_owned) {
        contract = contract.with_pending_avro(beside(&path)?);
    }
    let faults = crate::contract::lint::lint(&name, &text, &contract);
    if !faults.is_empty() {
        return Err(faults.iter().map(ToString::to_string).collect());
    }
    Dataset::compile(contract).map_err(|fault| vec![format!("{name}: {fault}")])
}

fn files(at: &Path) -> Result<Vec<PathBuf>, String> {
    if at.is_file() {
        return Ok(vec![at.to_owned()]);
    }
    let entries = std::fs::read_dir(at).map_err(|e| format!("{}: {e}", at.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| format!("{}: {e}", at.display()))?.path();
        let is_contract = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if is_contract && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = std::fs::metadata(path).map_err(|e| format!("{shown}: {e}"))?.len();
    if bytes > BYTES_MAX {
        return Err(format!("{shown}: {bytes} bytes; at most {BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).map_err(|e| format!("{shown}: {e}"))
}
