//! `lakegate replay`: objects through the pipeline again.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::app::desk::Request;
use crate::app::replay_order::{PlannedView, ReplayOrder, Selection};
use crate::app::replays::{ControlOrder, ReplayView};
use crate::cli::ask::{StateArgs, ask, remarks, views};
use crate::cli::exit::{self, Usage};
use crate::cli::input;
use crate::cli::out::Out;
use crate::cli::table::{Align, Table};
use crate::domain::names::{DatasetName, ReplayId};
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::replay::manifest::{BYTES_MAX, Manifest};
use crate::replay::progress::Control;

#[derive(Debug, Subcommand)]
pub enum ReplayCommand {
    /// Replay the files a manifest lists
    #[command(after_help = "Example: lakegate replay manifest fix-2026-01.json --dry-run")]
    Manifest(ReplayManifestArgs),
    /// Replay landing records by their place in the log, or by when they came
    #[command(after_help = "Examples:\n  lakegate replay offsets --partition 3 --from 100 --to 200 --dry-run\n  \
                  lakegate replay offsets --from-time 2026-01-02T00:00:00Z --to-time 2026-01-03T00:00:00Z --dry-run\n\n\
                  Record 200, and what came at --to-time itself, is not replayed.")]
    Offsets(ReplayOffsetsArgs),
    /// Replay what is held back, all of a dataset or by reason
    #[command(after_help = "Example: lakegate replay quarantine --dataset orders --reason missing_required_column")]
    Quarantine(ReplayQuarantineArgs),
    /// List replays, the newest first
    List(ReplayListArgs),
    /// Show how far one replay is
    Show(ReplayShowArgs),
    /// Let nothing more of a replay go out until it is resumed
    Pause(ReplayControlArgs),
    /// Let a paused replay go on
    Resume(ReplayControlArgs),
    /// End a replay: what has landed comes to its end, the rest stays as it is
    Cancel(ReplayControlArgs),
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
    /// At most so many objects a second [default: as fast as validate takes them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
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
    /// Partition of the landing topic; with times, all partitions without it
    #[arg(long, value_name = "P", required_unless_present_any = ["from_time", "to_time"])]
    pub partition: Option<u32>,
    /// First record
    #[arg(long, value_name = "N", requires = "to", conflicts_with_all = ["from_time", "to_time"])]
    pub from: Option<u64>,
    /// Record after the last
    #[arg(long, value_name = "M", requires = "from")]
    pub to: Option<u64>,
    /// Records the broker took at this time or later (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub from_time: Option<Timestamp>,
    /// Records the broker took before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub to_time: Option<Timestamp>,
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

#[derive(Debug, Args)]
pub struct ReplayListArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    #[command(flatten)]
    pub at: StateArgs,
    /// One line of JSON per replay
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ReplayShowArgs {
    /// The replay's id
    #[arg(value_name = "ID")]
    pub id: ReplayId,
    #[command(flatten)]
    pub at: StateArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ReplayControlArgs {
    /// The replay's id
    #[arg(value_name = "ID")]
    pub id: ReplayId,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason_text: Option<String>,
    #[command(flatten)]
    pub at: StateArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| format!("{text:?} is not a time like 2026-01-02T03:04:05Z"))
}

/// # Errors
/// When the selection is refused, or nobody can be asked.
pub async fn run(command: ReplayCommand, out: &mut Out) -> anyhow::Result<u8> {
    let (selection, how) = match command {
        ReplayCommand::List(args) => return list(&args, out).await,
        ReplayCommand::Show(args) => return show(&args, out).await,
        ReplayCommand::Pause(args) => return control(args, Control::Pause, out).await,
        ReplayCommand::Resume(args) => return control(args, Control::Resume, out).await,
        ReplayCommand::Cancel(args) => return control(args, Control::Cancel, out).await,
        ReplayCommand::Manifest(args) => (manifest(&args)?, args.how),
        ReplayCommand::Offsets(args) => (places(&args)?, args.how),
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
        requested_by: BY.to_owned(),
        objects_per_second: how.rate,
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
        let id = about["replay_id"].as_str().unwrap_or_default();
        out.note(&format!("follow it with: lakegate replay show {id}; if nothing runs, the next `lakegate run` performs it"));
    }
    Ok(exit::OK)
}

/// Who asks, in the audit log.
const BY: &str = "command line";

fn places(args: &ReplayOffsetsArgs) -> Result<Selection, Usage> {
    match (args.partition, args.from, args.to) {
        (Some(partition), Some(from), Some(to)) => Ok(Selection::Offsets { partition, from, to }),
        (partition, None, None) if args.from_time.is_some() || args.to_time.is_some() => {
            let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
            Ok(Selection::Times { partition, from: millis(args.from_time), to: millis(args.to_time) })
        }
        _ => Err(Usage("say --partition, --from and --to, or --from-time and --to-time".to_owned())),
    }
}

async fn list(args: &ReplayListArgs, out: &mut Out) -> anyhow::Result<u8> {
    let answer = ask(&args.at, Request::ReplayList { limit: args.limit }).await?;
    if args.json {
        answer.items.iter().try_for_each(|item| out.json(item))?;
        return Ok(exit::OK);
    }
    let columns = [("REPLAY", Align::Left), ("STATE", Align::Left), ("ITEMS", Align::Right), ("LANDED", Align::Right)];
    let more =
        [("ENDED", Align::Right), ("RATE", Align::Right), ("DATASET", Align::Left), ("ASKED", Align::Left), ("REASON", Align::Prose)];
    let mut table = Table::new(&[columns.as_slice(), more.as_slice()].concat());
    for r in views::<ReplayView>(&answer)? {
        let rate = r.objects_per_second.map(|n| format!("{n}/s")).unwrap_or_default();
        let counts = [r.items, r.landed, r.ended].map(|n| n.to_string());
        let [items, landed, ended] = counts;
        table.row([r.replay_id, r.state, items, landed, ended, rate, r.dataset.unwrap_or_default(), r.requested_at, r.reason]);
    }
    if table.is_empty() {
        out.note("no replay has begun");
    } else {
        out.table(&table)?;
    }
    remarks(&answer, out);
    Ok(exit::OK)
}

async fn show(args: &ReplayShowArgs, out: &mut Out) -> anyhow::Result<u8> {
    let answer = ask(&args.at, Request::ReplayShow { id: args.id.to_string() }).await?;
    let Some(replay) = views::<ReplayView>(&answer)?.into_iter().next() else {
        return Err(Usage(format!("there is no replay {}; `lakegate replay list` shows those that began", args.id)).into());
    };
    if args.json {
        out.json(&replay)?;
        return Ok(exit::OK);
    }
    let share = |n: u64| (n * 100).checked_div(replay.items).unwrap_or(100);
    out.line(&format!("replay {}: {}", replay.replay_id, replay.state))?;
    out.line(&format!("  landed    {} of {} ({} %)", replay.landed, replay.items, share(replay.landed)))?;
    out.line(&format!("  ended     {} ({} %)", replay.ended, share(replay.ended)))?;
    for (status, n) in &replay.outcomes {
        out.line(&format!("            {n} {status}"))?;
    }
    if replay.left_out > 0 {
        out.line(&format!("  left out  {}", replay.left_out))?;
    }
    let rate = replay.objects_per_second.map_or_else(|| "as fast as validate takes them".to_owned(), |n| format!("{n} objects/s at most"));
    out.line(&format!("  rate      {rate}"))?;
    out.line(&format!("  dataset   {}", replay.dataset.as_deref().unwrap_or("any")))?;
    out.line(&format!("  force     {}", replay.force))?;
    out.line(&format!("  asked     {} by {}: {}", replay.requested_at, replay.requested_by, replay.reason))?;
    out.line(&format!("  moved     {}", replay.moved_at))?;
    Ok(exit::OK)
}

async fn control(args: ReplayControlArgs, control: Control, out: &mut Out) -> anyhow::Result<u8> {
    let order = ControlOrder {
        replay_id: args.id.to_string(),
        action: control.as_str().to_owned(),
        reason: args.reason_text,
        requested_by: BY.to_owned(),
    };
    let answer = ask(&args.at, Request::ReplayControl { order }).await?;
    if args.json {
        out.json(&answer.about)?;
    } else {
        out.line(&format!("replay {}: {control} ordered", args.id))?;
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
