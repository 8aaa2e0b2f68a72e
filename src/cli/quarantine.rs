//! `lakegate quarantine`: what was held back, and why.

use clap::{Args, Subcommand};

use crate::app::desk::Request;
use crate::app::query::LetterFilter;
use crate::app::view::LetterView;
use crate::cli::ask::{StateArgs, ask, remarks, views};
use crate::cli::exit;
use crate::cli::out::Out;
use crate::cli::runs::ShowArgs;
use crate::cli::table::{Align, Table, printable};
use crate::domain::reason::ReasonCode;

#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List letters, the newest first
    #[command(after_help = "Example: lakegate quarantine list --state ./state --dataset orders")]
    List(QuarantineListArgs),
    /// Show one letter in full: reason, evidence, remedy, sample rows
    #[command(after_help = "Example: lakegate quarantine show 5f0c… --state ./state\n\nExit codes: 0 found, 1 no such letter.")]
    Show(ShowArgs),
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
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
    #[command(flatten)]
    pub at: StateArgs,
    /// One line of JSON per letter
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When nobody can be asked.
pub async fn run(command: QuarantineCommand, out: &mut Out) -> anyhow::Result<u8> {
    match command {
        QuarantineCommand::List(args) => list(args, out).await,
        QuarantineCommand::Show(args) => show(args, out).await,
    }
}

async fn list(args: QuarantineListArgs, out: &mut Out) -> anyhow::Result<u8> {
    let reason = args.reason.map(|r| r.as_str().to_owned());
    let filter = LetterFilter { dataset: args.dataset, reason, key: args.key, limit: args.limit };
    let answer = ask(&args.at, Request::QuarantineList { filter }).await?;
    if args.json {
        for item in &answer.items {
            out.json(item)?;
        }
    } else if answer.items.is_empty() {
        out.note("no letter matches");
    } else {
        out.table(&letters_table(&views(&answer)?))?;
    }
    remarks(&answer, out);
    Ok(exit::OK)
}

/// Letters, a line each.
pub fn letters_table(letters: &[LetterView]) -> Table {
    let mut table = Table::new(&[
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
