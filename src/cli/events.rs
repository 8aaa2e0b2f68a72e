//! `lakegate events`: what a notification says, and which of two is newer.

use std::cmp::Ordering;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::exit;
use crate::cli::input;
use crate::cli::out::Out;
use crate::cli::table::{Align, Table};
use crate::event::{self, Family, ObjectEvent, ParseOptions, Parsed};

#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Read a notification of any carrier and print the object events in it
    #[command(after_help = "Example: aws sqs receive-message … | lakegate events parse -\n\n\
                            Exit codes: 0 understood, 1 some records failed, 2 nothing could be read.")]
    Parse(EventsParseArgs),
    /// Tell which of two sequencers of one key is newer
    #[command(
        after_help = "Example: lakegate events order --family aws --key-a a.csv --key-b a.csv 0055AED6DCD90281E5 0055AED6DCD90281E6\n\n\
                            Exit codes: 0 ordered, 2 incomparable."
    )]
    Order(EventsOrderArgs),
}

#[derive(Debug, Args)]
pub struct EventsParseArgs {
    /// File with one notification; `-` reads standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Family of S3-shaped records, where detection cannot tell (versitygw)
    #[arg(long, value_name = "F")]
    pub family: Option<Family>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct EventsOrderArgs {
    /// aws, minio, rustfs, ceph, versitygw, eventbridge, azure, gcs
    #[arg(long, value_name = "F")]
    pub family: Family,
    /// Key of the first event
    #[arg(long, value_name = "K")]
    pub key_a: String,
    /// Key of the second event
    #[arg(long, value_name = "K")]
    pub key_b: String,
    /// Sequencer of the first event
    #[arg(allow_hyphen_values = true)]
    pub a: String,
    /// Sequencer of the second event
    #[arg(allow_hyphen_values = true)]
    pub b: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When the file cannot be read, or output cannot be written.
pub fn run(command: EventsCommand, out: &mut Out) -> anyhow::Result<u8> {
    match command {
        EventsCommand::Parse(args) => parse(&args, out),
        EventsCommand::Order(args) => order(&args, out),
    }
}

#[derive(Debug, Serialize)]
struct ParsedView<'a> {
    family: Option<&'static str>,
    suspected: Option<&'static str>,
    events: Vec<EventView<'a>>,
    errors: Vec<ErrorView<'a>>,
    ignorable: Vec<IgnorableView<'a>>,
}

#[derive(Debug, Serialize)]
struct EventView<'a> {
    record: Option<usize>,
    class: &'static str,
    event_name: &'a str,
    bucket: &'a str,
    key: &'a str,
    raw_key: &'a str,
    version_id: Option<&'a str>,
    etag: Option<&'a str>,
    size: Option<u64>,
    sequencer: Option<&'a str>,
    event_time: Option<String>,
    family: &'static str,
    /// Of a removal: only a delete marker was written.
    marker: bool,
    replay_name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ErrorView<'a> {
    record: Option<usize>,
    reason: &'static str,
    detail: &'a str,
}

#[derive(Debug, Serialize)]
struct IgnorableView<'a> {
    record: Option<usize>,
    what: &'static str,
    name: &'a str,
}

impl<'a> EventView<'a> {
    fn of(event: &'a ObjectEvent) -> Self {
        Self {
            record: event.record,
            class: event.class.as_str(),
            event_name: &event.event_name,
            bucket: event.object.bucket.as_str(),
            key: event.object.key.as_str(),
            raw_key: &event.raw_key,
            version_id: event.version.version_id.as_deref(),
            etag: event.version.etag.as_deref(),
            size: event.version.size,
            sequencer: event.version.sequencer.as_ref().map(|s| s.text.as_str()),
            event_time: event.time.map(|t| t.to_string()),
            family: event.family.as_str(),
            marker: matches!(event.class, event::EventClass::Removed { marker: true }),
            replay_name: event.replay_name.as_deref(),
        }
    }
}

impl<'a> ParsedView<'a> {
    fn of(parsed: &'a Parsed) -> Self {
        Self {
            family: parsed.family.map(Family::as_str),
            suspected: parsed.suspected.map(Family::as_str),
            events: parsed.events.iter().map(EventView::of).collect(),
            errors: parsed.errors.iter().map(|e| ErrorView { record: e.record, reason: e.reason.as_str(), detail: &e.detail }).collect(),
            ignorable: parsed.ignorable.iter().map(|i| IgnorableView { record: i.record, what: i.what.as_str(), name: &i.name }).collect(),
        }
    }
}

fn parse(args: &EventsParseArgs, out: &mut Out) -> anyhow::Result<u8> {
    let options = ParseOptions { family_hint: args.family, ..ParseOptions::default() };
    let bytes = input::bytes(&args.file, options.max_bytes as u64)?;
    let parsed = event::parse(&bytes, &options);
    if args.json {
        out.json(&ParsedView::of(&parsed))?;
    } else {
        print(&parsed, out)?;
    }
    Ok(match (parsed.errors.is_empty(), parsed.events.is_empty() && parsed.ignorable.is_empty()) {
        (true, _) => exit::OK,
        (false, false) => exit::SOME_FAILED,
        (false, true) => exit::REFUSED,
    })
}

fn print(parsed: &Parsed, out: &mut Out) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        ("EVENT", Align::Left),
        ("OBJECT", Align::Left),
        ("VERSION", Align::Left),
        ("SIZE", Align::Right),
        ("SEQUENCER", Align::Left),
        ("TIME", Align::Left),
    ]);
    for event in &parsed.events {
        let version = event.version.version_id.as_ref().or(event.version.etag.as_ref());
        table.row([
            event.event_name.clone(),
            event.object.to_string(),
            version.cloned().unwrap_or_default(),
            event.version.size.map(|s| s.to_string()).unwrap_or_default(),
            event.version.sequencer.as_ref().map(|s| s.text.clone()).unwrap_or_default(),
            event.time.map(|t| t.to_string()).unwrap_or_default(),
        ]);
    }
    if !table.is_empty() {
        out.table(&table)?;
    }
    let place = |record: Option<usize>| record.map_or_else(|| "notification".to_owned(), |r| format!("record {r}"));
    for i in &parsed.ignorable {
        out.line(&format!("{}: nothing to do for {} ({})", place(i.record), i.name, i.what.as_str()))?;
    }
    for e in &parsed.errors {
        out.line(&format!("{}: {}: {}", place(e.record), e.reason, e.detail))?;
    }
    if let Some(family) = parsed.suspected {
        out.note(&format!("these records look like {family}; if they are, say --family {family}: it encodes keys differently"));
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct OrderView {
    /// `a`, `b` or `equal`; null: incomparable.
    newer: Option<&'static str>,
}

fn order(args: &EventsOrderArgs, out: &mut Out) -> anyhow::Result<u8> {
    let order = event::order(args.family, (&args.key_a, &args.a), (&args.key_b, &args.b));
    let newer = order.map(|o| match o {
        Ordering::Less => "b",
        Ordering::Equal => "equal",
        Ordering::Greater => "a",
    });
    if args.json {
        out.json(&OrderView { newer })?;
    } else {
        out.line(match newer {
            Some("a") => "A is newer",
            Some("b") => "B is newer",
            Some(_) => "they are the same event",
            None if args.key_a != args.key_b => "incomparable: a sequencer orders the events of one key only",
            None => "incomparable: the store has to be asked",
        })?;
    }
    Ok(if newer.is_some() { exit::OK } else { exit::REFUSED })
}
