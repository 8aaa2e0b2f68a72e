//! Running a process: until told to stop, or until everything that landed has ended.

use std::sync::Arc;

use tracing::warn;

use crate::app::board::{Board, BoardError, Ended, Totals};
use crate::app::flow;
use crate::app::rounds::Rounds;
use crate::app::wiring::{Engine, Options, StartError, start};
use crate::batch::planner::Intake;
use crate::clock::{Clock, Stopwatch, sleep};
use crate::domain::names::StageName;
use crate::domain::reason::Disposition;
use crate::domain::time::Span;
use crate::pipeline::runner::Halt;

/// How often the board looks.
const LOOK_EVERY: Span = Span::from_millis(20);

/// When a run ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Only by a signal, or when a stage halts.
    Stopped,
    /// Every source listed to its end and every landing record ended.
    Idle { timeout: Option<Span> },
}

/// A run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Halted(#[from] Halt),
    #[error(transparent)]
    Board(#[from] BoardError),
    #[error("{in_flight} objects are still in flight after {waited}")]
    Timeout { in_flight: usize, waited: Span },
    #[error("not started after {waited}: the log says what it waits for")]
    NotStarted { waited: Span },
    #[error("a stage ended unexpectedly: {detail}")]
    Stage { detail: String },
}

/// Called with the figures so far and what ended since the last call.
pub trait Watcher: Send {
    fn saw(&mut self, totals: &Totals, in_flight: usize, ended: Vec<Ended>);
}

/// A watcher that looks away.
pub struct Nobody;

impl Watcher for Nobody {
    fn saw(&mut self, _: &Totals, _: usize, _: Vec<Ended>) {}
}

/// A process that runs, and its board.
pub struct Running {
    pub engine: Engine,
    pub board: Board,
    /// With a cluster: what the other replicas have read.
    rounds: Option<Rounds>,
    started: Stopwatch,
}

impl Running {
    /// # Errors
    /// Those of [`start`].
    pub async fn start(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, RunError> {
        let started = Stopwatch::start();
        Ok(Self { started, ..Self::on(start(options, clock).await?) })
    }

    /// The process of an engine that was started already.
    pub fn on(engine: Engine) -> Self {
        let board = Board::new(Arc::clone(&engine.reader), engine.outlet.clone(), true);
        let rounds = engine.is_shared.then(|| Rounds::new(&engine));
        Self { engine, board, rounds, started: Stopwatch::start() }
    }

    /// Waits until nothing is in flight. A halted stage ends the wait with its reason.
    pub async fn until_idle(&mut self, timeout: Option<Span>, watcher: &mut dyn Watcher) -> Result<Totals, RunError> {
        let begun = self.engine.clock.now();
        loop {
            match self.look(watcher).await {
                Ok(true) => return Ok(self.totals()),
                Ok(false) => {}
                // The stages wait for it as well.
                Err(BoardError::Log(e)) if e.disposition() == Disposition::Retry => warn!(error = %e, "the figures wait for the broker"),
                Err(e) => return Err(e.into()),
            }
            if let Some(done) = self.engine.stages.try_join_next() {
                return Err(ended_early(done));
            }
            let waited = self.engine.clock.now().since(begun);
            if timeout.is_some_and(|t| waited > t) {
                return Err(RunError::Timeout { in_flight: self.board.in_flight(), waited });
            }
            sleep(self.engine.clock.as_ref(), LOOK_EVERY).await;
        }
    }

    /// Brings the board up to date, and tells assemble whether anything can still come; whether nothing is in flight.
    async fn look(&mut self, watcher: &mut dyn Watcher) -> Result<bool, BoardError> {
        // Sources first: what they land afterwards is seen by the board.
        if let Some(rounds) = &mut self.rounds {
            rounds.catch_up().await?;
        }
        let listed = self.engine.listed.is_complete();
        self.board.catch_up().await?;
        let ended = self.board.take_endings();
        watcher.saw(self.board.totals(), self.board.in_flight(), ended);
        let is_idle = listed && self.board.is_idle();
        // A webhook may be told of something at any time.
        let is_dry =
            !is_idle && listed && self.engine.webhooks.is_empty() && flow::is_dry(&self.engine.reader, &self.engine.outlet.topics).await?;
        let intake = if is_dry { Intake::Draining } else { Intake::Running };
        self.engine.intake.send_if_modified(|current| std::mem::replace(current, intake) != intake);
        Ok(is_idle)
    }

    /// Waits for a stage to end: only a halt or a stop makes one.
    pub async fn until_stopped(&mut self) -> Result<(), RunError> {
        let stop = self.engine.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            done = self.engine.stages.join_next() => match done {
                None => Ok(()),
                Some(done) => Err(ended_early(done)),
            },
        }
    }

    pub fn totals(&self) -> Totals {
        Totals { seconds: (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0, ..self.board.totals().clone() }
    }

    /// Drains, and gives back what the process held.
    ///
    /// # Errors
    /// As [`Running::drain`].
    pub async fn stop(mut self) -> Result<(), RunError> {
        self.drain().await
    }

    /// Every stage finishes or abandons its round and leaves its group.
    ///
    /// # Errors
    /// A stage that halts at last.
    pub async fn drain(&mut self) -> Result<(), RunError> {
        self.engine.stop.cancel();
        while let Some(done) = self.engine.stages.join_next().await {
            done.map_err(|e| RunError::Stage { detail: e.to_string() })??;
        }
        Ok(())
    }
}

fn ended_early(done: Result<Result<(), Halt>, tokio::task::JoinError>) -> RunError {
    match done {
        Ok(Ok(())) => RunError::Stage { detail: "it stopped by itself".to_owned() },
        Ok(Err(halt)) => halt.into(),
        Err(e) => RunError::Stage { detail: e.to_string() },
    }
}

impl Running {
    /// Waits until the projections (letters, reports) have caught up with their topics.
    pub async fn settle(&self) -> Result<(), RunError> {
        let Engine { reader, outlet, clock, .. } = &self.engine;
        for stage in [StageName::Letters, StageName::Reports] {
            let begun = clock.now();
            while !flow::is_caught_up(reader, &outlet.topics, stage).await.map_err(BoardError::from)? {
                let waited = clock.now().since(begun);
                if waited > SETTLE_MAX {
                    return Err(RunError::Timeout { in_flight: 0, waited });
                }
                sleep(clock.as_ref(), LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

/// Projections that take longer than this are stuck.
const SETTLE_MAX: Span = Span::from_secs(60);
