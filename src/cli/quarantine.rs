//! `lakegate quarantine`: what was held back, and why.

use clap::{Args, Subcommand};

use crate::app::desk::Request;
use crate::app::query::LetterFilter;
use crate::app::verdicts::{VerdictOrder, VerdictView};
use crate::app::view::LetterView;
use crate::cli::ask::{StateArgs, ask, remarks, views};
use crate::cli::exit::{self, Usage};
use crate::cli::out::Out;
use crate::cli::runs::ShowArgs;
use crate::cli::table::{Align, Table, printable};
use crate::domain::names::ReplayId;
use crate::domain::reason::ReasonCode;
use crate::quarantine::verdict::{LetterState, Verdict};

#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List letters, the newest first
    #[command(after_help = "Example: lakegate quarantine list --state ./state --dataset orders")]
    List(QuarantineListArgs),
    /// Show one letter in full: reason, evidence, remedy, sample rows
    #[command(after_help = "Example: lakegate quarantine show 5f0c… --state ./state\n\nExit codes: 0 found, 1 no such letter.")]
    Show(ShowArgs),
    /// Send what letters hold back through all stages again: exactly those versions
    #[command(after_help = "Examples:\n  lakegate quarantine release 5f0c… --reason-text 'contract mended'\n  \
                  lakegate quarantine release --dataset orders --reason missing_required_column --reason-text 'v2 is in force' --dry-run\n\n\
                  Whatever is published or in flight stays as it is, unless --force. Exit codes: 0 done, 1 nothing to release.")]
    Release(ReleaseArgs),
    /// Close letters for good: what they hold back stays out, and nobody needs to look again
    #[command(after_help = "Example: lakegate quarantine discard s3://raw/in/a.csv --reason-text 'sent twice, the other one counts'\n\n\
                            Nothing is deleted. Exit codes: 0 done, 1 nothing to discard.")]
    Discard(DiscardArgs),
}

/// Which letters, who decides, and why.
#[derive(Debug, Args)]
pub struct VerdictArgs {
    /// Run id, bucket/key, or a URI such as s3://bucket/key
    #[arg(value_name = "ID", required_unless_present_any = ["dataset", "reason", "key"])]
    pub id: Option<String>,
    /// Open letters of this dataset
    #[arg(long, value_name = "D")]
    pub dataset: Option<String>,
    /// Open letters of this reason code
    #[arg(long, value_name = "CODE")]
    pub reason: Option<ReasonCode>,
    /// Open letters of keys that contain this
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason_text: String,
    /// Who decides, for the audit log
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "command line")]
    pub by: String,
    /// Only print, letter by letter, what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// Decide about more than one letter at once
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub at: StateArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ReleaseArgs {
    #[command(flatten)]
    pub which: VerdictArgs,
    /// Replace what is published already (an object of which only rows are held back), and take over what is in flight
    #[arg(long)]
    pub force: bool,
    /// At most so many objects a second [default: as fast as validate takes them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    /// Name of the replay [default: a new one]
    #[arg(long, value_name = "ID")]
    pub replay_id: Option<ReplayId>,
}

#[derive(Debug, Args)]
pub struct DiscardArgs {
    #[command(flatten)]
    pub which: VerdictArgs,
}

#[derive(Debug, Args)]
pub struct QuarantineListArgs {
    /// Only this dataset
    #[arg(long, value_name = "D")]
    pub dataset: Option<String>,
    /// Only this reason code
    #[arg(long, value_name = "CODE")]
    pub reason: Option<ReasonCode>,
    /// Only keys that contain this
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// Only those that are open, released or discarded
    #[arg(long, value_name = "WHICH", value_parser = state_word)]
    pub only: Option<LetterState>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
    #[command(flatten)]
    pub at: StateArgs,
    /// One line of JSON per letter
    #[arg(long)]
    pub json: bool,
}

fn state_word(text: &str) -> Result<LetterState, String> {
    LetterState::from_word(text).ok_or_else(|| format!("letters are {}", LetterState::ALL.map(LetterState::as_str).join(", ")))
}

/// # Errors
/// When nobody can be asked.
pub async fn run(command: QuarantineCommand, out: &mut Out) -> anyhow::Result<u8> {
    match command {
        QuarantineCommand::List(args) => list(args, out).await,
        QuarantineCommand::Show(args) => show(args, out).await,
        QuarantineCommand::Release(args) => {
            let (at, json, yes) = (args.which.at.clone(), args.which.json, args.which.yes);
            let mut order = args.which.order(Verdict::Release);
            (order.force, order.objects_per_second) = (args.force, args.rate);
            order.replay_id = args.replay_id.map(|id| id.to_string());
            decide(&at, order, (yes, json), out).await
        }
        QuarantineCommand::Discard(args) => {
            let (at, json, yes) = (args.which.at.clone(), args.which.json, args.which.yes);
            decide(&at, args.which.order(Verdict::Discard), (yes, json), out).await
        }
    }
}

impl VerdictArgs {
    fn order(self, verdict: Verdict) -> VerdictOrder {
        let reason = self.reason.map(|r| r.as_str().to_owned());
        VerdictOrder {
            verdict: verdict.as_str().to_owned(),
            id: self.id,
            filter: LetterFilter { dataset: self.dataset, reason, key: self.key, ..LetterFilter::default() },
            dry_run: self.dry_run,
            force: false,
            expected: None,
            reason: self.reason_text,
            requested_by: self.by,
            replay_id: None,
            objects_per_second: None,
        }
    }
}

/// Counts first, then decides about exactly as many.
async fn decide(at: &StateArgs, order: VerdictOrder, (yes, json): (bool, bool), out: &mut Out) -> anyhow::Result<u8> {
    let looked = ask(at, Request::QuarantineDecide { order: VerdictOrder { dry_run: true, ..order.clone() } }).await?;
    let count = usize::try_from(looked.about["letters"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
    let verdict = order.verdict.clone();
    let answer = if order.dry_run || count == 0 {
        looked
    } else if count > 1 && !yes {
        out.table(&verdicts_table(&views(&looked)?))?;
        return Err(Usage(format!("this would {verdict} {count} letters; say --yes to do it, or --dry-run to look only")).into());
    } else {
        ask(at, Request::QuarantineDecide { order: VerdictOrder { expected: Some(count), ..order.clone() } }).await?
    };
    let left = answer.about["left"].as_u64().unwrap_or(0);
    if json {
        let mut whole = answer.about.clone();
        whole["items"] = answer.items.clone().into();
        out.json(&whole)?;
    } else {
        if !answer.items.is_empty() {
            out.table(&verdicts_table(&views(&answer)?))?;
        }
        let done = match (answer.about["decided"].as_bool(), order.dry_run) {
            (Some(true), _) => "done",
            (_, true) => "dry run, nothing decided",
            _ => "no open letter matches",
        };
        out.line(&format!("{verdict}: {done}; {count} letters, {left} left as they are"))?;
        if let Some(id) = answer.about["replay_id"].as_str() {
            out.note(&format!("follow it with: lakegate replay show {id}; if nothing runs, the next `lakegate run` performs it"));
        }
    }
    Ok(if count == 0 { exit::NO } else { exit::OK })
}

fn verdicts_table(letters: &[VerdictView]) -> Table {
    let columns = [("OBJECT", Align::Left), ("DATASET", Align::Left), ("REASON", Align::Left), ("WAS", Align::Left)];
    let more = [("RUN", Align::Left), ("WHAT HAPPENS", Align::Prose)];
    let mut table = Table::new(&[columns.as_slice(), more.as_slice()].concat());
    for l in letters {
        let what = if l.why.is_empty() { l.what.clone() } else { format!("{}: {}", l.what, l.why) };
        table.row([l.uri.clone(), l.dataset.clone().unwrap_or_default(), l.reason.clone(), l.state.clone(), l.run_id.clone(), what]);
    }
    table
}

async fn list(args: QuarantineListArgs, out: &mut Out) -> anyhow::Result<u8> {
    let reason = args.reason.map(|r| r.as_str().to_owned());
    let state = args.only.map(|s| s.as_str().to_owned());
    let filter = LetterFilter { dataset: args.dataset, reason, key: args.key, state, limit: args.limit };
    let answer = ask(&args.at, Request::QuarantineList { filter }).await?;
    if args.json {
        for item in &answer.items {
            out.json(item)?;
        }
    } else if answer.items.is_empty() {
        out.note("no letter matches");
    } else {
        out.table(&letters_table(&views(&answer)?))?;
        let count = |state: &str| answer.about[state].as_u64().unwrap_or(0);
        out.note(&format!("{} open, {} released, {} discarded", count("open"), count("released"), count("discarded")));
    }
    remarks(&answer, out);
    Ok(exit::OK)
}

/// Letters, a line each.
pub fn letters_table(letters: &[LetterView]) -> Table {
    let mut table = Table::new(&[
        ("STATE", Align::Left),
        ("REASON", Align::Left),
        ("DATASET", Align::Left),
        ("OBJECT", Align::Left),
        ("ROWS", Align::Right),
        ("STAGE", Align::Left),
        ("AT", Align::Left),
        ("RUN", Align::Left),
    ]);
    for letter in letters {
        let rows = if letter.whole_object { "all".to_owned() } else { letter.rows_quarantined.to_string() };
        table.row([
            letter.state.clone(),
            letter.reason.clone(),
            letter.dataset.clone().unwrap_or_default(),
            letter.uri.clone(),
            rows,
            letter.stage.clone(),
            letter.at.clone(),
            letter.run_id.clone(),
        ]);
    }
    table
}

async fn show(args: ShowArgs, out: &mut Out) -> anyhow::Result<u8> {
    let answer = ask(&args.at, Request::QuarantineShow { id: args.id.clone() }).await?;
    if answer.items.is_empty() {
        out.note(&format!("there is no letter of {}", args.id));
        return Ok(exit::NO);
    }
    if args.json {
        for item in &answer.items {
            out.json(item)?;
        }
    } else {
        for letter in views::<LetterView>(&answer)? {
            out.line(&letter_text(&letter))?;
        }
    }
    remarks(&answer, out);
    Ok(exit::OK)
}

/// One letter in full.
pub fn letter_text(letter: &LetterView) -> String {
    let mut lines = vec![format!("{}: {}", letter.uri, letter.reason)];
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("  {name:<9} {value}"));
        }
    };
    add("state", &letter.state);
    add("what", &letter.detail);
    add("remedy", &letter.remedy);
    let rows = letter.reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect::<Vec<_>>().join(", ");
    add("held back", if letter.whole_object { "the whole object" } else { &rows });
    add("dataset", letter.dataset.as_deref().unwrap_or_default());
    add("stage", &letter.stage);
    add("at", &letter.at);
    add("run", &letter.run_id);
    add("replay", letter.replay_id.as_deref().unwrap_or_default());
    add(
        "landing",
        &if letter.landing.offset < 0 {
            String::new()
        } else {
            format!("partition {} offset {}", letter.landing.partition, letter.landing.offset)
        },
    );
    add("all rows", letter.row_letters.as_deref().unwrap_or_default());
    let evidence =
        if letter.evidence.as_object().is_some_and(serde_json::Map::is_empty) { String::new() } else { letter.evidence.to_string() };
    add("evidence", &evidence);
    for sample in &letter.samples {
        add("sample", sample);
    }
    add("raw", letter.raw.as_deref().unwrap_or_default());
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}
