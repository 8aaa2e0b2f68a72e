//! `lakegate route`: event patterns by hand.

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use crate::app::contracts;
use crate::cli::config::stores;
use crate::cli::exit::{self, Usage, blame};
use crate::cli::input;
use crate::cli::out::Out;
use crate::cli::table::{Align, Table};
use crate::domain::names::DatasetName;
use crate::domain::object::{ObjectRef, ObjectVersion};
use crate::event::{self, ObjectEvent, ParseOptions};
use crate::route::pattern::{Explanation, Found, Pattern};
use crate::route::table::{Route, Routing, Table as Routes};

#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Does a pattern match an event? If not, the first field that fails is named
    #[command(
        after_help = "Example: lakegate route test --pattern '{\"object\":{\"key\":[{\"prefix\":\"orders/\"}]}}' --event event.json\n\n\
                            Exit codes: 0 match, 1 no match, 2 the pattern is refused."
    )]
    Test(RouteTestArgs),
    /// Which dataset does a key belong to, and why not to the others?
    #[command(after_help = "Example: lakegate route explain raw/landing/orders/a.csv --contracts contracts/\n\n\
                            Exit codes: 0 one dataset, 1 none or several, 2 the routes are refused.")]
    Explain(RouteExplainArgs),
}

#[derive(Debug, Args)]
pub struct RouteTestArgs {
    /// Pattern: a file, `-`, or JSON itself
    #[arg(long, value_name = "P")]
    pub pattern: String,
    /// Event of any carrier: a file, `-`, or JSON itself
    #[arg(long, value_name = "E")]
    pub event: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RouteExplainArgs {
    /// bucket/key, or a URI such as s3://bucket/key
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Contracts: a folder, one file or a URL
    #[arg(long, value_name = "URL")]
    pub contracts: String,
    /// Size of the object, for patterns that ask for it
    #[arg(long, value_name = "BYTES")]
    pub size: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When a file cannot be read or the event is none.
pub async fn run(command: RouteCommand, out: &mut Out) -> anyhow::Result<u8> {
    match command {
        RouteCommand::Test(args) => test(&args, out),
        RouteCommand::Explain(args) => explain(&args, out).await,
    }
}

#[derive(Debug, Serialize)]
struct FailureView {
    path: String,
    wanted: String,
    /// absent, values or other_element.
    found: &'static str,
    values: Vec<String>,
}

impl FailureView {
    fn of(explanation: &Explanation) -> Option<Self> {
        let Explanation::Fails { path, wanted, found } = explanation else { return None };
        let (word, values) = match found {
            Found::Absent => ("absent", vec![]),
            Found::Values(values) => ("values", values.clone()),
            Found::OtherElement => ("other_element", vec![]),
        };
        Some(Self { path: path.clone(), wanted: wanted.clone(), found: word, values })
    }
}

#[derive(Debug, Serialize)]
struct TestView {
    matches: bool,
    failure: Option<FailureView>,
    refused: Vec<RefusalView>,
}

#[derive(Debug, Serialize)]
struct RefusalView {
    path: String,
    message: String,
}

fn test(args: &RouteTestArgs, out: &mut Out) -> anyhow::Result<u8> {
    let pattern: Value = input::json(&args.pattern, "--pattern")?;
    let pattern = match Pattern::compile(&pattern) {
        Ok(pattern) => pattern,
        Err(errors) => {
            if args.json {
                let refused = errors.into_iter().map(|e| RefusalView { path: e.path, message: e.message }).collect();
                out.json(&TestView { matches: false, failure: None, refused })?;
            } else {
                for e in errors {
                    out.line(&format!("refused: {e}"))?;
                }
            }
            return Ok(exit::REFUSED);
        }
    };
    let text = input::text(&args.event, "--event")?;
    let explanation = pattern.explain(pattern.subject(&envelope_of(&text)?));
    let matches = explanation == Explanation::Matches;
    if args.json {
        out.json(&TestView { matches, failure: FailureView::of(&explanation), refused: vec![] })?;
    } else {
        out.line(&explanation.to_string())?;
    }
    Ok(if matches { exit::OK } else { exit::NO })
}

/// An event of ours is brought into EventBridge's shape; any other JSON is matched as it stands, so
/// that a pattern can be tried on a made-up event.
fn envelope_of(text: &str) -> anyhow::Result<Value> {
    let json: Value = serde_json::from_str(text).map_err(|e| Usage(format!("--event is not JSON: {e}")))?;
    if json.get("detail-type").is_some() {
        return Ok(json);
    }
    let parsed = event::parse(text.as_bytes(), &ParseOptions::default());
    match parsed.events.as_slice() {
        [one] => Ok(event::envelope(one)),
        [] => Ok(json),
        several => Err(anyhow!(Usage(format!("--event holds {} events; give one", several.len())))),
    }
}

#[derive(Debug, Serialize)]
struct ExplainView {
    /// dataset, none or ambiguous.
    outcome: &'static str,
    datasets: Vec<String>,
    routes: Vec<RouteView>,
    overlaps: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RouteView {
    dataset: String,
    matches: bool,
    failure: Option<FailureView>,
}

async fn explain(args: &RouteExplainArgs, out: &mut Out) -> anyhow::Result<u8> {
    let object = object(&args.key)?;
    let mut routes = Vec::new();
    let mut refused = Vec::new();
    for dataset in contracts::load(&args.contracts, &stores(None)?).await.map_err(blame)? {
        let contract = &dataset.contract;
        let Some(route) = &contract.route else { continue };
        let name: DatasetName = contract.dataset.clone();
        match Pattern::compile(&route.pattern) {
            Ok(pattern) => routes.push(Route { dataset: name, pattern, priority: Some(contract.route_priority) }),
            Err(errors) => refused.extend(errors.iter().map(|e| format!("{name}: route: {e}"))),
        }
    }
    let table = match Routes::new(routes) {
        Ok(table) if refused.is_empty() => table,
        built => {
            refused.extend(built.err().unwrap_or_default().iter().map(ToString::to_string));
            for line in &refused {
                out.note(&format!("refused: {line}"));
            }
            return Ok(exit::REFUSED);
        }
    };
    let event = ObjectEvent::listed(object, ObjectVersion { size: args.size, ..ObjectVersion::default() });
    let (outcome, datasets) = match table.dataset_for(&event) {
        Routing::Dataset(name) => ("dataset", vec![name.to_string()]),
        Routing::None => ("none", vec![]),
        Routing::Ambiguous(names) => ("ambiguous", names.iter().map(ToString::to_string).collect()),
    };
    let explained = table.explain(&event);
    let overlaps: Vec<String> = table.overlaps().iter().map(ToString::to_string).collect();
    if args.json {
        let routes = explained
            .iter()
            .map(|(d, e)| RouteView { dataset: d.to_string(), matches: *e == Explanation::Matches, failure: FailureView::of(e) })
            .collect();
        out.json(&ExplainView { outcome, datasets, routes, overlaps })?;
    } else {
        out.line(&match outcome {
            "dataset" => format!("{} belongs to {}", event.object, datasets.join(", ")),
            "none" => format!("{} belongs to no dataset", event.object),
            _ => format!("{} is claimed by {}; give one a route_priority", event.object, datasets.join(" and ")),
        })?;
        let mut rows = Table::new(&[("DATASET", Align::Left), ("WHY", Align::Prose)]);
        for (dataset, explanation) in &explained {
            rows.row([dataset.to_string(), explanation.to_string()]);
        }
        if !rows.is_empty() {
            out.table(&rows)?;
        }
        for overlap in &overlaps {
            out.note(&format!("warning: {overlap}"));
        }
    }
    Ok(if outcome == "dataset" { exit::OK } else { exit::NO })
}

/// `bucket/key`, or a URI. The key is taken as it is: nothing is decoded.
fn object(text: &str) -> anyhow::Result<ObjectRef> {
    let place = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (bucket, key) = place.split_once('/').ok_or_else(|| Usage(format!("{text:?} is not BUCKET/KEY")))?;
    let bucket = bucket.parse().map_err(|e| Usage(format!("{e}")))?;
    let key = key.parse().map_err(|e| Usage(format!("{e}")))?;
    Ok(ObjectRef { bucket, key })
}
