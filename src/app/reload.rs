//! Contracts in force, and kept up to date while the process runs (decisions.md 20).
//!
//! ```text
//!  look ─ nothing changed ─▶ wait
//!    └─ changed ─▶ read all ─▶ compatible with the registry ─▶ register ─▶ in force
//!                     └──────────────┴─ a fault: the old ones stay in force, told once for each change
//! ```
//! All or nothing. A lake or registry that does not answer is asked again; it halts nothing.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::contracts::{LoadError, ReadError, Reading, Shelf};
use crate::app::view::told;
use crate::app::wiring::StartError;
use crate::clock::Clock;
use crate::domain::time::Span;
use crate::pipeline::runner::Halt;
use crate::registry::{RegistryError, SchemaRegistry, judge, parse};
use crate::stage::catalog::{Catalog, Dataset};
use crate::telemetry::progress::Progress;

/// Faults kept for those who ask.
const FAULTS_MAX: usize = 100;

/// Brings a shelf's contracts into force.
pub struct Reload {
    shelf: Shelf,
    catalog: Arc<Catalog>,
    registry: Arc<dyn SchemaRegistry>,
    every: Span,
    /// What was read last, whether it came into force or not.
    last: Option<Reading>,
}

/// What a look at the shelf led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    Unchanged,
    /// Datasets in force now.
    InForce(Vec<String>),
    /// The old contracts stay in force.
    Refused(Vec<String>),
    /// The store or the registry did not answer: nothing is known.
    Unanswered(String),
}

impl Reload {
    pub fn new(shelf: Shelf, catalog: Arc<Catalog>, registry: Arc<dyn SchemaRegistry>, every: Span) -> Self {
        Self { shelf, catalog, registry, every, last: None }
    }

    /// Puts the contracts in force for the first time.
    ///
    /// # Errors
    /// Every fault of the contracts at once; what did not answer.
    pub async fn start(&mut self) -> Result<(), StartError> {
        let place = self.shelf.place().to_owned();
        let reading = self.shelf.read().await.map_err(|source| ReadError::Store { place, source })?;
        let datasets = reading.datasets().map_err(ReadError::from)?;
        put_in_force(datasets, &self.catalog, self.registry.as_ref()).await?;
        self.last = Some(reading);
        Ok(())
    }

    /// Looks once, and acts on what has changed.
    pub async fn look(&mut self) -> Looked {
        let changed = match &self.last {
            None => Ok(true),
            Some(last) => self.shelf.has_changed(last).await,
        };
        match changed {
            Ok(false) => return Looked::Unchanged,
            Ok(true) => {}
            Err(e) => return Looked::Unanswered(e.to_string()),
        }
        let reading = match self.shelf.read().await {
            Ok(reading) => reading,
            Err(e) => return Looked::Unanswered(e.to_string()),
        };
        let brought = match reading.datasets() {
            Ok(datasets) => {
                let names = datasets.iter().map(|d| d.name().to_owned()).collect();
                put_in_force(datasets, &self.catalog, self.registry.as_ref()).await.map(|()| names)
            }
            Err(faults) => Err(ReadError::from(faults).into()),
        };
        match brought {
            Ok(names) => {
                self.last = Some(reading);
                Looked::InForce(names)
            }
            Err(StartError::Contracts(ReadError::Faults(LoadError { faults }))) => {
                self.last = Some(reading);
                Looked::Refused(faults)
            }
            // What was read is forgotten, so that the next look tries it again.
            Err(e) => Looked::Unanswered(told(&e)),
        }
    }

    /// Looks again and again until stopped.
    ///
    /// # Errors
    /// Never: nothing here is worth halting a pipeline for.
    pub async fn run(mut self, clock: Arc<dyn Clock>, stop: CancellationToken, progress: Arc<Progress>) -> Result<(), Halt> {
        let mut complaint = String::new();
        loop {
            let until = clock.now().plus(self.every);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = clock.sleep_until(until) => {}
            }
            let looked = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                looked = self.look() => looked,
            };
            let unanswered = matches!(looked, Looked::Unanswered(_));
            match looked {
                Looked::Unchanged => {}
                Looked::InForce(datasets) => {
                    info!(datasets = datasets.join(", "), "changed contracts are in force");
                    progress.contracts_reloaded(clock.now());
                }
                Looked::Refused(mut faults) => {
                    for fault in &faults {
                        warn!(fault, "changed contracts are refused, the old ones stay in force");
                    }
                    faults.truncate(FAULTS_MAX);
                    progress.contracts_refused(faults);
                }
                Looked::Unanswered(why) => {
                    if why != complaint {
                        warn!(why, "the contracts cannot be looked at now, they are tried again");
                        complaint = why;
                    }
                }
            }
            if !unanswered {
                complaint.clear();
            }
        }
    }
}

/// Registers the contracts' schemas and puts the contracts in force; nothing of it when one is refused.
///
/// # Errors
/// All schemas the registry would refuse; what did not answer.
pub async fn put_in_force(datasets: Vec<Arc<Dataset>>, catalog: &Catalog, registry: &dyn SchemaRegistry) -> Result<(), StartError> {
    let mut faults = Vec::new();
    for dataset in &datasets {
        if let Err(e) = acceptable(dataset, registry).await {
            faults.push(refusal(dataset, e)?);
        }
    }
    if faults.is_empty() {
        for dataset in &datasets {
            if let Err(e) = register(dataset, registry).await {
                faults.push(refusal(dataset, e)?);
            }
        }
    }
    if !faults.is_empty() {
        return Err(ReadError::from(LoadError { faults }).into());
    }
    Ok(catalog.put_in_force(datasets).await?)
}

/// What the registry says against a contract's schema, as a fault; anything else it says is no refusal.
fn refusal(dataset: &Dataset, error: RegistryError) -> Result<String, StartError> {
    match error {
        e @ (RegistryError::Incompatible { .. } | RegistryError::SchemaInvalid { .. }) => {
            Ok(format!("{}: the registry refuses the contract's schema: {e}", dataset.name()))
        }
        e => Err(e.into()),
    }
}

/// Whether the registry would take the contract's schema: asked of all before anything is registered.
async fn acceptable(dataset: &Dataset, registry: &dyn SchemaRegistry) -> Result<(), RegistryError> {
    let contract = &dataset.contract;
    let Some(text) = contract.avro_text() else { return Ok(()) };
    let schema = parse(text)?;
    let versions = registry.versions(&contract.subject).await?;
    judge(&contract.subject, contract.schema.compatibility, &versions, &schema).map(drop)
}

async fn register(dataset: &Dataset, registry: &dyn SchemaRegistry) -> Result<(), RegistryError> {
    let contract = &dataset.contract;
    let mode = contract.schema.compatibility;
    if registry.mode(&contract.subject).await? != mode {
        registry.set_mode(&contract.subject, mode).await?;
    }
    if let Some(text) = contract.avro_text() {
        registry.register(&contract.subject, text).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
