//! `lakegate replay`: objects through the pipeline again.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::app::desk::{PlannedView, ReplayOrder, Request, Selection};
use crate::cli::ask::{StateArgs, ask, views};
use crate::cli::exit::{self, Usage};
use crate::cli::input;
use crate::cli::out::Out;
use crate::cli::table::{Align, Table};
use crate::domain::names::{DatasetName, ReplayId};
use crate::domain::reason::ReasonCode;
use crate::replay::manifest::{BYTES_MAX, Manifest};

#[derive(Debug, Subcommand)]
pub enum ReplayCommand {
    /// Replay the files a manifest lists
    #[command(after_help = "Example: lakegate replay manifest fix-2026-01.json --dry-run")]
    Manifest(ReplayManifestArgs),
    /// Replay landing records by their place in the log
    #[command(after_help = "Example: lakegate replay offsets --partition 3 --from 100 --to 200 --dry-run\n\nRecord 200 is not replayed.")]
    Offsets(ReplayOffsetsArgs),
    /// Replay what is held back, all of a dataset or by reason
    #[command(after_help = "Example: lakegate replay quarantine --dataset orders --reason missing_required_column")]
    Quarantine(ReplayQuarantineArgs),
}

/// Options of every replay.
#[derive(Debug, Clone, Args)]
pub struct ReplayHow {
    /// Replace what is published already, and take over what is in flight
    #[arg(long)]
    pub force: bool,
    /// Only print, file by file, what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason_text: Option<String>,
    /// Name of the replay; the same name again replays nothing twice [default: a new one]
    #[arg(long, value_name = "ID")]
    pub replay_id: Option<ReplayId>,
    #[command(flatten)]
    pub at: StateArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ReplayManifestArgs {
    /// JSON: {"replayId", "reason", "dataset", "files": [{"bucket", "key", "versionId"?}], "options"?}; `-` reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub how: ReplayHow,
}

#[derive(Debug, Args)]
pub struct ReplayOffsetsArgs {
    /// Partition of the landing topic
    #[arg(long, value_name = "P")]
    pub partition: u32,
    /// First record
    #[arg(long, value_name = "N")]
    pub from: u64,
    /// Record after the last
    #[arg(long, value_name = "M")]
    pub to: u64,
    #[command(flatten)]
    pub how: ReplayHow,
}

#[derive(Debug, Args)]
pub struct ReplayQuarantineArgs {
    /// Dataset whose held-back objects are replayed
    #[arg(long, value_name = "D")]
    pub dataset: DatasetName,
    /// Only those held back for this reason
    #[arg(long, value_name = "CODE")]
    pub reason: Option<ReasonCode>,
    #[command(flatten)]
    pub how: ReplayHow,
}

/// # Errors
/// When the selection is refused, or nobody can be asked.
pub async fn run(command: ReplayCommand, out: &mut Out) -> anyhow::Result<u8> {
    let (selection, how) = match command {
        ReplayCommand::Manifest(args) => (manifest(&args)?, args.how),
        ReplayCommand::Offsets(args) => (Selection::Offsets { partition: args.partition, from: args.from, to: args.to }, args.how),
        ReplayCommand::Quarantine(args) => {
            let reason = args.reason.map(|r| r.as_str().to_owned());
            (Selection::Quarantine { dataset: args.dataset.to_string(), reason }, args.how)
        }
    };
    let order = ReplayOrder {
        selection,
        replay_id: how.replay_id.as_ref().map(ToString::to_string),
        force: how.force,
        dry_run: how.dry_run,
        reason: how.reason_text,
        requested_by: "command line".to_owned(),
    };
    let answer = ask(&how.at, Request::Replay { order }).await?;
    let about = &answer.about;
    if how.json {
        let mut whole = about.clone();
        whole["files"] = answer.items.clone().into();
        out.json(&whole)?;
        return Ok(exit::OK);
    }
    let mut table = Table::new(&[("FILE", Align::Right), ("OBJECT", Align::Left), ("WHAT HAPPENS", Align::Prose)]);
    for file in views::<PlannedView>(&answer)? {
        table.row([file.index.to_string(), file.uri, file.why]);
    }
    out.table(&table)?;
    let count = |name: &str| about[name].as_u64().unwrap_or(0);
    let what = match (about["ordered"].as_bool(), about["dry_run"].as_bool()) {
        (Some(true), _) => "ordered",
        (_, Some(true)) => "dry run, nothing ordered",
        _ => "nothing to do",
    };
    out.line(&format!(
        "replay {}: {what}; {} to replay, {} published already, {} in flight, {} repeated",
        about["replay_id"].as_str().unwrap_or_default(),
        count("replay"),
        count("skip_published"),
        count("in_flight"),
        count("repeated"),
    ))?;
    if about["ordered"].as_bool() == Some(true) {
        out.note("follow it with: lakegate runs list --replay-id ID; if nothing runs, the next `lakegate run` performs it");
    }
    Ok(exit::OK)
}

/// Checked here, so that its faults are told even when nothing runs.
fn manifest(args: &ReplayManifestArgs) -> Result<Selection, Usage> {
    let bytes = input::bytes(&args.file, BYTES_MAX as u64)?;
    let at = args.file.display();
    Manifest::parse(&bytes).map_err(|e| Usage(format!("{at}: {e}")))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let manifest = serde_json::from_slice(bytes).map_err(|e| Usage(format!("{at}: {e}")))?;
    Ok(Selection::Manifest { manifest })
}
