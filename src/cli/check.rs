//! `lakegate check`: one file, offline.

use std::path::PathBuf;

use clap::Args;

use crate::app::check::{CheckError, Checked, FileVerdict, check};
use crate::app::contracts;
use crate::cli::config::stores;
use crate::cli::exit::{self, Usage, blame};
use crate::cli::out::Out;
use crate::clock::{Clock, SystemClock};

#[derive(Debug, Args)]
#[command(
    after_help = "Example: lakegate check orders.csv --contract contracts/orders.yaml\n\nExit codes: 0 accept, 1 accept with drift, 2 reject."
)]
pub struct CheckArgs {
    /// The file: CSV, JSON Lines or a JSON array, plain, gzip or zstd
    pub file: PathBuf,
    /// The dataset's contract: a file, or a URL that holds only it
    #[arg(long, value_name = "FILE")]
    pub contract: String,
    /// The key as an event carries it (URL-encoded); without it no rule about keys applies
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Everything as one line of JSON: verdict, decision record, rule report
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When file or contract cannot be used.
pub async fn run(args: &CheckArgs, out: &mut Out) -> anyhow::Result<u8> {
    let dataset = contracts::one(&args.contract, &stores(None)?).await.map_err(blame)?;
    let checked = check(&args.file, &dataset, args.key.as_deref(), SystemClock.now()).map_err(|e| match e {
        CheckError::File { file, source } => anyhow::Error::new(Usage(format!("{file}: {source}"))),
        other => other.into(),
    })?;
    if args.json {
        out.json(&checked)?;
    } else {
        tell(&checked, out)?;
    }
    Ok(match checked.verdict {
        FileVerdict::Accept => exit::OK,
        FileVerdict::AcceptWithDrift => exit::DRIFT,
        FileVerdict::Reject => exit::REFUSED,
    })
}

fn tell(c: &Checked, out: &mut Out) -> anyhow::Result<()> {
    let verdict = match c.verdict {
        FileVerdict::Accept => "accept",
        FileVerdict::AcceptWithDrift => "accept with drift",
        FileVerdict::Reject => "reject",
    };
    out.line(&format!("{}: {verdict} ({}) as dataset {}", c.file, c.reason, c.dataset))?;
    if !c.detail.is_empty() {
        out.line(&format!("  {}", c.detail))?;
    }
    out.line(&format!(
        "  rows: {} in, {} landed, {} quarantined, {} deduplicated",
        c.rows.physical, c.rows.landed, c.rows.quarantined, c.rows.deduplicated
    ))?;
    for f in c.decision.iter().flat_map(|d| &d.findings) {
        let change = match (&f.from, &f.to) {
            (Some(from), Some(to)) => format!(": {from} → {to}"),
            _ => String::new(),
        };
        let weight = if f.breaking { "breaking" } else { f.action.as_str() };
        out.line(&format!("  finding {} {} {}{change} ({weight})", f.code, f.kind, f.path))?;
    }
    for bad in &c.bad_rows {
        out.line(&format!("  row {} (line {}, byte {}): {}: {}", bad.row, bad.line, bad.byte_offset, bad.reason, bad.detail))?;
    }
    if let Some(remedy) = &c.remedy {
        out.line(&format!("  remedy: {remedy}"))?;
    }
    Ok(())
}
