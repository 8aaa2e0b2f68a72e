//! The desk: what a person may ask of an installation, and order. It answers the same whether it
//! stands in a running process (behind [`crate::app::control`]) or in the command itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::board::{Board, BoardError};
use crate::app::query::{LetterFilter, Query, QueryError, StatusFilter};
use crate::app::replay_order::ReplayOrder;
use crate::app::replays::ControlOrder;
use crate::app::sweeping::{SweepError, SweepOrder, sweep};
use crate::app::verdicts::VerdictOrder;
use crate::app::view::Page;
use crate::app::wiring::{Engine, Options, StartError, ground};
use crate::broker::{Broker, CommitError};
use crate::clock::Clock;
use crate::telemetry::progress::Progress;
use crate::wire::codec::CodecError;

/// One question or order, as it travels over the control socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    RunsList { filter: StatusFilter },
    RunsShow { id: String },
    QuarantineList { filter: LetterFilter },
    QuarantineShow { id: String },
    QuarantineDecide { order: VerdictOrder },
    Replay { order: ReplayOrder },
    ReplayList { limit: usize },
    ReplayShow { id: String },
    ReplayControl { order: ControlOrder },
    Gc { order: SweepOrder },
}

/// What the desk answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub items: Vec<Value>,
    /// Figures about the whole answer; null if there are none.
    pub about: Value,
    /// How many more match.
    pub more: u64,
    /// Records passed over because they do not decode.
    pub unreadable: u64,
}

/// The desk did not answer.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error("{detail}")]
    Refused { detail: String },
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Board(#[from] BoardError),
    #[error(transparent)]
    Sweep(#[from] SweepError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the replay was not written")]
    Commit(#[from] CommitError),
    #[error("the replay's files cannot be written to the lake")]
    Store(#[from] object_store::Error),
}

pub(crate) fn refused(detail: impl Into<String>) -> DeskError {
    DeskError::Refused { detail: detail.into() }
}

/// Answers questions about one installation.
#[derive(Clone)]
pub struct Desk {
    pub query: Query,
    pub broker: Arc<dyn Broker>,
    pub clock: Arc<dyn Clock>,
    /// Figures of the process; `None`: none runs.
    pub progress: Option<Arc<Progress>>,
}

fn page<T: Serialize>(page: Page<T>) -> Answer {
    let items = page.items.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
    Answer { items, about: Value::Null, more: page.more, unreadable: page.unreadable }
}

impl Desk {
    /// The desk of a state folder no process runs on, or of a cluster. A replay ordered here is performed by whoever
    /// runs, or the next run.
    ///
    /// # Errors
    /// When folder, cluster or lake cannot be opened, or a process has the folder.
    pub async fn offline(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let ground = ground(options, &clock).await?;
        let query = Query { reader: ground.broker.reader(), outlet: ground.outlet, lake: ground.lake };
        Ok(Self { query, broker: ground.broker, clock, progress: None })
    }

    /// The desk of a running process.
    pub fn of(engine: &Engine) -> Self {
        let query = Query { reader: Arc::clone(&engine.reader), outlet: engine.outlet.clone(), lake: Arc::clone(&engine.lake) };
        let progress = Some(Arc::clone(&engine.progress));
        Self { query, broker: Arc::clone(&engine.broker), clock: Arc::clone(&engine.clock), progress }
    }

    /// # Errors
    /// `Refused` when the request is at fault, else by what did not answer.
    pub async fn answer(&self, request: Request) -> Result<Answer, DeskError> {
        match request {
            Request::Status => {
                let mut board = Board::new(Arc::clone(&self.query.reader), self.query.outlet.clone(), false);
                board.catch_up().await?;
                let totals = board.totals();
                let mut about =
                    json!({ "objects": totals.objects, "rows": totals.rows, "reasons": totals.reasons, "in_flight": board.in_flight() });
                if let Some(contracts) = self.progress.as_ref().map(|p| p.contracts()) {
                    about["contracts"] = json!({ "last_reload_successful": contracts.faults.is_empty(),
                        "reloaded_at": contracts.reloaded.map(|at| at.to_string()), "faults": contracts.faults });
                }
                Ok(Answer { about, ..Answer::default() })
            }
            Request::RunsList { filter } => Ok(page(self.query.statuses(&filter).await?)),
            Request::RunsShow { id } => {
                let Some(history) = self.query.history(&id).await? else { return Ok(Answer::default()) };
                let items = history.lines.iter().filter_map(|line| serde_json::to_value(line).ok()).collect();
                let about = json!({ "uri": history.uri, "runs": history.runs });
                Ok(Answer { items, about, more: history.more, unreadable: 0 })
            }
            Request::QuarantineList { filter } => {
                let letters = self.query.letters(&filter).await?;
                Ok(Answer { about: json!(letters.counts), ..page(letters.page) })
            }
            Request::QuarantineShow { id } => Ok(page(self.query.letter(&id).await?)),
            Request::QuarantineDecide { order } => self.decide(order).await,
            Request::Replay { order } => self.replay(order).await,
            Request::ReplayList { limit } => Ok(page(self.replays(limit).await?)),
            Request::ReplayShow { id } => self.replay_shown(&id).await,
            Request::ReplayControl { order } => self.order_replay(order).await,
            Request::Gc { order } => {
                let (swept, named) = sweep(&self.query, self.clock.as_ref(), &order).await?;
                let more = swept.orphans - named.len() as u64;
                let items = named.iter().filter_map(|o| serde_json::to_value(o).ok()).collect();
                Ok(Answer { items, about: json!(swept), more, unreadable: 0 })
            }
        }
    }
}

#[cfg(test)]
mod tests;
