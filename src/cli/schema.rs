//! `lakegate schema`: compatibility by hand.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::exit;
use crate::cli::input;
use crate::cli::out::Out;
use crate::registry::compatibility;
use crate::schema::options::Compatibility;

#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// May a schema follow these versions?
    #[command(
        after_help = "Example: lakegate schema compatible --mode BACKWARD --version v1.avsc --version v2.avsc --candidate v3.avsc\n\n\
                            Exit codes: 0 compatible, 1 not, 2 a schema is refused."
    )]
    Compatible(SchemaCompatibleArgs),
}

#[derive(Debug, Args)]
pub struct SchemaCompatibleArgs {
    /// NONE, BACKWARD, BACKWARD_TRANSITIVE, FORWARD, FORWARD_TRANSITIVE, FULL or FULL_TRANSITIVE
    #[arg(long, value_name = "MODE", value_parser = compatibility)]
    pub mode: Compatibility,
    /// A registered version, the oldest first: a file, or the schema itself. May be repeated
    #[arg(long, value_name = "S", num_args = 1..)]
    pub version: Vec<String>,
    /// The schema to judge: a file, or the schema itself
    #[arg(long, value_name = "S")]
    pub candidate: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn compatibility(text: &str) -> Result<Compatibility, String> {
    let word = text.to_ascii_uppercase();
    Compatibility::ALL
        .into_iter()
        .find(|c| c.as_str() == word)
        .ok_or_else(|| format!("modes are {}", Compatibility::ALL.map(Compatibility::as_str).join(", ")))
}

#[derive(Debug, Serialize)]
struct CompatibleView<'a> {
    compatible: bool,
    mode: &'static str,
    /// What is incompatible, in sentences that name version and path.
    messages: &'a [String],
    /// A schema that does not parse.
    refused: Option<String>,
}

/// # Errors
/// When a file cannot be read.
pub fn run(command: SchemaCommand, out: &mut Out) -> anyhow::Result<u8> {
    let SchemaCommand::Compatible(args) = command;
    let versions = args.version.iter().map(|v| input::text(v, "--version")).collect::<anyhow::Result<Vec<_>>>()?;
    let candidate = input::text(&args.candidate, "--candidate")?;
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let mode = args.mode.as_str();
    match compatibility::check(args.mode, &versions, &candidate) {
        Err(invalid) => {
            if args.json {
                out.json(&CompatibleView { compatible: false, mode, messages: &[], refused: Some(invalid.to_string()) })?;
            } else {
                out.line(&format!("refused: {invalid}"))?;
            }
            Ok(exit::REFUSED)
        }
        Ok(messages) => {
            let compatible = messages.is_empty();
            if args.json {
                out.json(&CompatibleView { compatible, mode, messages: &messages, refused: None })?;
            } else {
                out.line(if compatible { "compatible" } else { "not compatible" })?;
                for message in &messages {
                    out.line(&format!("  {message}"))?;
                }
            }
            Ok(if compatible { exit::OK } else { exit::NO })
        }
    }
}
