//! `lakegate contract`: contracts by hand.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::app::contracts::{ReadError, Shelf, Shelved};
use crate::cli::config::stores;
use crate::cli::exit::{self, blame};
use crate::cli::out::Out;
use crate::contract::json_schema;

#[derive(Debug, Subcommand)]
pub enum ContractCommand {
    /// Check contracts: every fault at once, each with line and remedy
    #[command(after_help = "Example: lakegate contract lint contracts/*.yaml\n\nExit codes: 0 no fault, 2 faults.")]
    Lint(LintArgs),
    /// Print the JSON Schema of contracts, for editors
    #[command(after_help = "Example: lakegate contract schema > contract.schema.json\n\n\
                            In an editor with the YAML language server, begin a contract with\n  \
                            # yaml-language-server: $schema=contract.schema.json")]
    Schema,
}

#[derive(Debug, Args)]
pub struct LintArgs {
    /// Contracts: files, folders or URLs
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// One line of JSON per file
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct LintView {
    file: String,
    dataset: Option<String>,
    /// Each with file, line and column.
    faults: Vec<String>,
}

/// # Errors
/// When output cannot be written.
pub async fn run(command: ContractCommand, out: &mut Out) -> anyhow::Result<u8> {
    let args = match command {
        ContractCommand::Lint(args) => args,
        ContractCommand::Schema => {
            out.line(json_schema::text().trim_end())?;
            return Ok(exit::OK);
        }
    };
    let mut count = 0;
    let mut contracts = Vec::new();
    let stores = stores(None)?;
    for at in &args.files {
        let shelf = Shelf::open(at, &stores).map_err(|e| blame(e.into()))?;
        let reading = shelf.read().await.map_err(|source| blame(ReadError::Store { place: at.clone(), source }))?;
        if reading.contracts.is_empty() {
            reading.datasets().map_err(|e| blame(e.into()))?;
        }
        contracts.extend(reading.contracts);
    }
    for Shelved { file, dataset } in contracts {
        let (dataset, faults) = match dataset {
            Ok(dataset) => (Some(dataset.name().to_owned()), vec![]),
            Err(faults) => (None, faults),
        };
        count += faults.len();
        if args.json {
            out.json(&LintView { file, dataset, faults })?;
        } else if let Some(dataset) = dataset {
            out.line(&format!("{file}: dataset {dataset}, no fault"))?;
        } else {
            for fault in faults {
                out.line(&fault)?;
            }
        }
    }
    Ok(if count == 0 { exit::OK } else { exit::REFUSED })
}
