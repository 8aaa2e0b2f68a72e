//! Asks the process that runs on a state folder, or, if none does, the folder itself.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde::de::DeserializeOwned;

use crate::app::control::{self, ClientError};
use crate::app::desk::{Answer, Desk, DeskError, Request};
use crate::app::wiring::{LAKE_FILE, Options, StartError};
use crate::cli::cluster::ClusterArgs;
use crate::cli::exit::{Unreachable, Usage};
use crate::cli::out::Out;
use crate::clock::SystemClock;
use crate::config::settings::Settings;

/// Where a running, or stopped, lakegate keeps its state.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// State folder of the process to ask; if none runs, the folder itself is read, or the cluster [default: .lakegate]
    #[arg(long, value_name = "DIR")]
    pub state: Option<String>,
    /// The lake, if no process runs and the state folder does not name it
    #[arg(long, value_name = "URL")]
    pub lake: Option<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// The answer of whoever has the state folder.
///
/// # Errors
/// [`Usage`] when there is no such folder or the request is refused, [`Unreachable`] when nobody can answer.
pub async fn ask(at: &StateArgs, request: Request) -> anyhow::Result<Answer> {
    let given = vec![("--state", ("state", "dir"), at.state.clone()), ("--lake", ("lake", "url"), at.lake.clone())];
    let settings = at.cluster.settings(given, Vec::new())?;
    match control::ask(&settings.state, &request).await {
        Ok(answer) => Ok(answer),
        Err(ClientError::Refused { detail }) => Err(Usage(detail).into()),
        Err(ClientError::NobodyThere { .. }) => offline(settings, request).await,
        Err(e @ ClientError::Failed { .. }) => {
            Err(anyhow::Error::new(Unreachable("the running process could not answer".into())).context(e))
        }
        Err(e @ ClientError::Broken { .. }) => Err(anyhow::Error::new(Unreachable("it may be stopping; try again".into())).context(e)),
    }
}

async fn offline(settings: Settings, request: Request) -> anyhow::Result<Answer> {
    let lake = match settings.lake {
        Some(lake) => lake,
        None => lake_of(&settings.state)?,
    };
    let mut options = Options::new(Vec::new(), lake, String::new(), Some(settings.state));
    (options.kafka, options.registry) = (settings.kafka, settings.registry);
    options.stores = settings.stores;
    let desk = Desk::offline(&options, Arc::new(SystemClock)).await.map_err(blame)?;
    desk.answer(request).await.map_err(|e| match e {
        DeskError::Refused { detail } => Usage(detail).into(),
        e => anyhow::Error::new(e),
    })
}

fn lake_of(state: &Path) -> Result<String, Usage> {
    let shown = state.display();
    if !state.is_dir() {
        return Err(Usage(format!("there is no state folder {shown}; point --state at the one `lakegate run` uses")));
    }
    match std::fs::read_to_string(state.join(LAKE_FILE)) {
        Ok(lake) if !lake.trim().is_empty() => Ok(lake.trim().to_owned()),
        _ => Err(Usage(format!("{shown} does not name its lake; say --lake, as in `lakegate run`"))),
    }
}

fn blame(error: StartError) -> anyhow::Error {
    let is_usage = matches!(error, StartError::OtherLake { .. } | StartError::State { .. });
    let error = anyhow::Error::new(error);
    if is_usage { anyhow::Error::new(Usage(format!("{error:#}"))) } else { error }
}

/// The items of an answer as the view they are.
///
/// # Errors
/// When the process asked is of another version.
pub fn views<T: DeserializeOwned>(answer: &Answer) -> anyhow::Result<Vec<T>> {
    answer.items.iter().map(|item| Ok(serde_json::from_value(item.clone())?)).collect()
}

/// Says what the answer left out.
pub fn remarks(answer: &Answer, out: &mut Out) {
    if answer.more > 0 {
        out.note(&format!("{} more; narrow the question or raise --limit", answer.more));
    }
    if answer.unreadable > 0 {
        out.note(&format!("{} records could not be decoded and are not shown", answer.unreadable));
    }
}
