//! `lakegate runs`: the status table, and one object's whole history.

use clap::{Args, Subcommand};

use crate::app::desk::Request;
use crate::app::query::StatusFilter;
use crate::app::view::{HistoryLine, StatusView};
use crate::cli::ask::{StateArgs, ask, remarks, views};
use crate::cli::exit;
use crate::cli::out::Out;
use crate::cli::table::{Align, Table};
use crate::domain::reason::ReasonCode;
use crate::stage::letters::State;

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List objects and their status, the newest first
    #[command(after_help = "Example: lakegate runs list --state ./state --status QUARANTINED")]
    List(RunsListArgs),
    /// Show one object's whole history
    #[command(after_help = "Example: lakegate runs show s3://raw/landing/orders/a.csv --state ./state\n\nExit codes: 0 found, 1 unknown.")]
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct RunsListArgs {
    /// Only this dataset
    #[arg(long, value_name = "D")]
    pub dataset: Option<String>,
    /// Only this status: ADMITTED, PUBLISHED, REGISTERED, QUARANTINED, DUPLICATE, SUPERSEDED, IGNORED
    #[arg(long, value_name = "STATUS", value_parser = state_word)]
    pub status: Option<String>,
    /// Only this reason code
    #[arg(long, value_name = "CODE")]
    pub reason: Option<ReasonCode>,
    /// Only keys that contain this
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// Only this replay
    #[arg(long, value_name = "ID")]
    pub replay_id: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
    #[command(flatten)]
    pub at: StateArgs,
    /// One line of JSON per object
    #[arg(long)]
    pub json: bool,
}

fn state_word(text: &str) -> Result<String, String> {
    State::from_word(&text.to_ascii_uppercase())
        .map(|s| s.as_str().to_owned())
        .ok_or_else(|| format!("statuses are {}", State::ALL.map(State::as_str).join(", ")))
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Run id, bucket/key, or a URI such as s3://bucket/key
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub at: StateArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When nobody can be asked.
pub async fn run(command: RunsCommand, out: &mut Out) -> anyhow::Result<u8> {
    match command {
        RunsCommand::List(args) => list(args, out).await,
        RunsCommand::Show(args) => show(args, out).await,
    }
}

async fn list(args: RunsListArgs, out: &mut Out) -> anyhow::Result<u8> {
    let filter = StatusFilter {
        dataset: args.dataset,
        status: args.status,
        reason: args.reason.map(|r| r.as_str().to_owned()),
        replay_id: args.replay_id,
        run_id: None,
        key: args.key,
        limit: args.limit,
    };
    let answer = ask(&args.at, Request::RunsList { filter }).await?;
    if args.json {
        for item in &answer.items {
            out.json(item)?;
        }
        remarks(&answer, out);
        return Ok(exit::OK);
    }
    let rows: Vec<StatusView> = views(&answer)?;
    let (repeats, versions): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.of_landing_record);
    if versions.is_empty() && repeats.is_empty() {
        out.note("no object matches");
    }
    if !versions.is_empty() {
        out.table(&versions_table(&versions))?;
    }
    if !repeats.is_empty() {
        if !versions.is_empty() {
            out.line("")?;
        }
        out.line("Landed again, or left alone:")?;
        out.table(&repeats_table(&repeats))?;
    }
    remarks(&answer, out);
    Ok(exit::OK)
}

/// Versions and where their rows went.
pub fn versions_table(rows: &[StatusView]) -> Table {
    let mut table = Table::new(&[
        ("STATUS", Align::Left),
        ("DATASET", Align::Left),
        ("OBJECT", Align::Left),
        ("GEN", Align::Right),
        ("IN", Align::Right),
        ("PUBLISHED", Align::Right),
        ("HELD", Align::Right),
        ("DEDUP", Align::Right),
        ("REASON", Align::Left),
        ("AT", Align::Left),
        ("RUN", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.status.clone(),
            row.dataset.clone().unwrap_or_default(),
            row.uri.clone(),
            row.generation.to_string(),
            row.rows.physical.to_string(),
            row.rows.published.to_string(),
            row.rows.quarantined.to_string(),
            row.rows.deduplicated.to_string(),
            row.reason.clone().unwrap_or_default(),
            row.at.clone(),
            row.run_id.clone(),
        ]);
    }
    table
}

fn repeats_table(rows: &[StatusView]) -> Table {
    let mut table = Table::new(&[
        ("STATUS", Align::Left),
        ("DATASET", Align::Left),
        ("OBJECT", Align::Left),
        ("REASON", Align::Left),
        ("AT", Align::Left),
    ]);
    for row in rows {
        let reason = row.reason.clone().unwrap_or_default();
        table.row([row.status.clone(), row.dataset.clone().unwrap_or_default(), row.uri.clone(), reason, row.at.clone()]);
    }
    table
}

async fn show(args: ShowArgs, out: &mut Out) -> anyhow::Result<u8> {
    let answer = ask(&args.at, Request::RunsShow { id: args.id.clone() }).await?;
    if answer.items.is_empty() {
        out.note(&format!("nothing is known of {}", args.id));
        return Ok(exit::NO);
    }
    if args.json {
        let mut whole = answer.about.clone();
        whole["lines"] = answer.items.clone().into();
        out.json(&whole)?;
    } else {
        out.line(&format!("{}, the whole history:", answer.about["uri"].as_str().unwrap_or_default()))?;
        out.table(&history_table(&views(&answer)?))?;
    }
    remarks(&answer, out);
    Ok(exit::OK)
}

/// One object's history, a line each.
pub fn history_table(lines: &[HistoryLine]) -> Table {
    let mut table = Table::new(&[
        ("AT", Align::Left),
        ("STAGE", Align::Left),
        ("WHAT", Align::Left),
        ("", Align::Left),
        ("RUN", Align::Left),
        ("DETAIL", Align::Prose),
    ]);
    for line in lines {
        let detail = match &line.batch_id {
            Some(batch) => format!("batch {batch} {}", line.detail),
            None => line.detail.to_string(),
        };
        table.row([line.at.clone(), line.stage.clone(), line.what.clone(), line.word.clone(), line.run_id.clone(), detail]);
    }
    table
}
