//! `lakegate gc`: removes staged copies and claim checks that nothing names any more.

use clap::Args;

use crate::app::desk::Request;
use crate::app::sweeping::{OrphanView, SweepOrder, Swept};
use crate::cli::ask::{StateArgs, ask, remarks, views};
use crate::cli::exit;
use crate::cli::out::Out;
use crate::cli::table::{Align, Table};
use crate::domain::time::Span;

#[derive(Debug, Args)]
#[command(after_help = "Example: lakegate gc --state ./state --older-than 7d --dry-run\n\n\
                        Staged files of plans in progress, row letters and claim checks that a record still names,\n\
                        and published files are never touched. Exit codes: 0 done, 75 some objects could not be removed.")]
pub struct GcArgs {
    /// Leave what is younger; at least 1h
    #[arg(long, value_name = "AGE", default_value = "7d")]
    pub older_than: Span,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub at: StateArgs,
    /// One line of JSON per object, then one with the figures
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When nobody can be asked, or it is unknown what is still needed.
pub async fn run(args: GcArgs, out: &mut Out) -> anyhow::Result<u8> {
    let order = SweepOrder { dry_run: args.dry_run, older_than_ms: args.older_than.millis() };
    let answer = ask(&args.at, Request::Gc { order }).await?;
    let swept: Swept = serde_json::from_value(answer.about.clone())?;
    if args.json {
        for item in &answer.items {
            out.json(item)?;
        }
        out.json(&answer.about)?;
    } else {
        let orphans: Vec<OrphanView> = views(&answer)?;
        if !orphans.is_empty() {
            let mut table = Table::new(&[("OBJECT", Align::Left), ("BYTES", Align::Right), ("MODIFIED", Align::Left)]);
            for o in orphans {
                table.row([o.key, o.bytes.to_string(), o.modified]);
            }
            out.table(&table)?;
        }
        out.line(&told(&swept))?;
    }
    remarks(&answer, out);
    Ok(if swept.failed > 0 { exit::UNREACHABLE } else { exit::OK })
}

fn told(swept: &Swept) -> String {
    let Swept { listed, live, young, orphans, orphan_bytes, removed, revived, failed, .. } = swept;
    let kept = format!("{listed} staged objects: {live} in use, {young} too young, {orphans} orphans of {orphan_bytes} bytes");
    if swept.dry_run {
        return format!("{kept}; nothing was removed (--dry-run)");
    }
    let mut text = format!("{kept}; {removed} removed");
    for (n, what) in [(revived, "in use again"), (failed, "could not be removed")] {
        if *n > 0 {
            text.push_str(&format!(", {n} {what}"));
        }
    }
    text
}
