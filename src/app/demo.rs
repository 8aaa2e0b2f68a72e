//! The demo: real files through all stages, quarantine and back, with nothing installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use serde_json::json;

use crate::app::board::{Ended, Totals};
use crate::app::contracts;
use crate::app::demo_inputs::{CONTRACTS, Input, burst, duplicate, flights, golden, orders_key};
use crate::app::reload::put_in_force;
use crate::app::run::{RunError, Running, Watcher};
use crate::app::sources::{Landing, Source};
use crate::app::wiring::{Options, StartError};
use crate::clock::Clock;
use crate::domain::time::Span;
use crate::pipeline::outlet::Placed;
use crate::pipeline::topics::Topic;
use crate::stage::letters::State;
use crate::wire::records::{FORMAT_VERSION, ReplayItem, ReplayRequest};

/// Tiny files of the burst.
const BURST: u64 = 200;

/// The demo is given up after this long: a broken machine, not a slow one.
const PATIENCE: Span = Span::from_secs(120);

/// Marks a folder as the demo's own, to be emptied by the next one.
const MARKER: &str = ".lakegate-demo";

/// The demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("{folder} is not empty and not of a demo; name another one with --dir")]
    Occupied { folder: String },
    #[error("{path} cannot be written")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the replay could not be asked for: {detail}")]
    Replay { detail: String },
}

/// What the demo tells while it goes on.
pub trait Narrator: Send {
    fn say(&mut self, text: &str);
    fn progress(&mut self, totals: &Totals, in_flight: usize);
}

/// Everything that ended, in order; the last ending of an object is its present state.
pub struct Outcome {
    pub endings: Vec<Ended>,
    pub totals: Totals,
    pub lake: PathBuf,
    /// Object that was quarantined, repaired by its contract and replayed.
    pub repaired: String,
}

struct Collector<'a> {
    narrator: &'a mut dyn Narrator,
    endings: Vec<Ended>,
}

impl Watcher for Collector<'_> {
    fn saw(&mut self, totals: &Totals, in_flight: usize, ended: Vec<Ended>) {
        self.endings.extend(ended);
        self.narrator.progress(totals, in_flight);
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), DemoError> {
    let failed = |source| DemoError::Write { path: path.display().to_string(), source };
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    // Beside, then renamed: the bridge must not meet half a file.
    let temporary = path.with_extension("part#1");
    std::fs::write(&temporary, bytes).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

fn prepare(folder: &Path) -> Result<(), DemoError> {
    let failed = |source| DemoError::Write { path: folder.display().to_string(), source };
    if folder.exists() {
        let empty = std::fs::read_dir(folder).map_err(failed)?.next().is_none();
        if !empty && !folder.join(MARKER).exists() {
            return Err(DemoError::Occupied { folder: folder.display().to_string() });
        }
        std::fs::remove_dir_all(folder).map_err(failed)?;
    }
    write(&folder.join(MARKER), b"made by lakegate demo; the next demo empties this folder\n")?;
    for (name, text) in CONTRACTS {
        write(&folder.join("contracts").join(name), text.as_bytes())?;
    }
    Ok(())
}

fn land(folder: &Path, inputs: &[Input]) -> Result<(), DemoError> {
    inputs.iter().try_for_each(|input| write(&folder.join("raw").join(&input.key), &input.bytes))
}

/// Runs the demo in `folder`, which it empties if it is its own.
///
/// # Errors
/// When the folder is somebody else's or a stage halts.
pub async fn demo(folder: &Path, clock: Arc<dyn Clock>, narrator: &mut dyn Narrator) -> Result<Outcome, DemoError> {
    let today = clock.now().date();
    prepare(folder)?;
    let at = |name: &str| folder.join(name).display().to_string();
    let mut inputs = golden(today);
    inputs.extend(flights());
    inputs.extend(burst(today, BURST));
    narrator.say(&format!("landing {} files in {}", inputs.len(), at("raw")));
    land(folder, &inputs)?;
    let raw = Source::Landing(Landing::new("raw".parse().expect("a plain name"), at("raw")));
    let mut options = Options::new(vec![raw], at("lake"), at("contracts"), Some(folder.join("state")));
    options.poll = Span::from_millis(200);
    options.quiet = Some(Span::from_millis(250));
    let mut running = Running::start(&options, Arc::clone(&clock)).await?;
    let mut collector = Collector { narrator, endings: Vec::new() };
    running.until_idle(Some(PATIENCE), &mut collector).await?;

    collector.narrator.say("landing the same orders once more, under another name");
    let landed = running.board.totals().objects.landed;
    land(folder, &[duplicate(today)])?;
    until_landed(&mut running, landed + 1).await?;
    running.until_idle(Some(PATIENCE), &mut collector).await?;

    let repaired = orders_key(today, "orders_type_drift.csv");
    collector.narrator.say(&format!(
        "repairing the contract, never the raw file: decimal commas are a dialect, so {repaired} is replayed with allow_type_coercion: full"
    ));
    repair(folder)?;
    let repairs = contracts::load(&options.contracts, &options.stores).await.map_err(|e| RunError::from(StartError::from(e)))?;
    put_in_force(repairs, &running.engine.catalog, running.engine.registry.as_ref()).await.map_err(RunError::from)?;
    let landed = running.board.totals().objects.landed;
    replay(&running, &repaired, today).await?;
    until_landed(&mut running, landed + 1).await?;
    let totals = running.until_idle(Some(PATIENCE), &mut collector).await?;
    let endings = collector.endings;
    running.settle().await?;
    running.stop().await?;
    Ok(Outcome { endings, totals, lake: folder.join("lake"), repaired })
}

/// Waits until one more landing record is there: only then does idle mean something.
async fn until_landed(running: &mut Running, n: u64) -> Result<(), DemoError> {
    let begun = running.engine.clock.now();
    while running.board.totals().objects.landed < n {
        if running.engine.clock.now().since(begun) > PATIENCE {
            return Err(RunError::Timeout { in_flight: running.board.in_flight(), waited: PATIENCE }.into());
        }
        crate::clock::sleep(running.engine.clock.as_ref(), Span::from_millis(20)).await;
        running.board.catch_up().await.map_err(RunError::from)?;
    }
    Ok(())
}

fn repair(folder: &Path) -> Result<(), DemoError> {
    let (name, text) = CONTRACTS[0];
    let repaired = text.replace("allow_type_coercion: limited", "allow_type_coercion: full");
    write(&folder.join("contracts").join(name), repaired.as_bytes())
}

async fn replay(running: &Running, key: &str, today: NaiveDate) -> Result<(), DemoError> {
    let request = ReplayRequest {
        format_version: FORMAT_VERSION,
        replay_id: format!("demo-{today}"),
        reason: "the contract was repaired".to_owned(),
        dataset: Some("orders".to_owned()),
        requested_at: running.engine.clock.now().millis(),
        requested_by: "lakegate demo".to_owned(),
        force: false,
        skip_if_published: true,
        pin_contract: None,
        objects_per_second: None,
        items: vec![ReplayItem {
            index: 0,
            bucket: "raw".to_owned(),
            key: key.to_owned(),
            version_id: None,
            etag: None,
            size: None,
            first_landed: None,
            partition: -1,
        }],
    };
    let failed = |detail: String| DemoError::Replay { detail };
    let record = running
        .engine
        .outlet
        .record(Topic::Replay, &request.replay_id, Placed::By(&request.replay_id), &request, Vec::new())
        .map_err(|e| failed(e.to_string()))?;
    running.engine.broker.append(vec![record]).await.map(drop).map_err(|e| failed(e.to_string()))
}

impl Outcome {
    /// The repaired object was quarantined first and published exactly once by its replay.
    pub fn is_repaired(&self) -> bool {
        let states: Vec<State> = self.endings.iter().filter(|e| e.object.ends_with(&self.repaired)).map(|e| e.status).collect();
        states == [State::Quarantined, State::Published]
    }
}

/// One object's line of the final table.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub object: String,
    pub dataset: String,
    pub status: State,
    pub reason: String,
    pub rows: crate::app::board::Rows,
    pub run_id: String,
    pub replay_id: Option<String>,
}

/// Every ending as a line, sorted by object, in order of time within one.
pub fn lines(endings: &[Ended]) -> Vec<Line> {
    let mut by_object: BTreeMap<&str, Vec<&Ended>> = BTreeMap::new();
    for ended in endings {
        by_object.entry(&ended.object).or_default().push(ended);
    }
    let line = |e: &Ended| Line {
        object: e.object.clone(),
        dataset: e.dataset.clone().unwrap_or_default(),
        status: e.status,
        reason: e.reason.clone().unwrap_or_default(),
        rows: e.rows.clone(),
        run_id: e.run_id.clone(),
        replay_id: e.replay_id.clone(),
    };
    by_object.into_values().flatten().map(line).collect()
}

/// A line as `--json` prints it.
pub fn json_line(line: &Line) -> String {
    let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    json!({
        "uri": line.object, "dataset": text(&line.dataset), "status": line.status.as_str(), "reason": text(&line.reason),
        "rows": line.rows, "run_id": line.run_id, "replay_id": line.replay_id,
    })
    .to_string()
}
