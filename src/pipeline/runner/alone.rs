//! How a runner says that it runs a partition and that it stops, and runs records in doubt alone
//! ([`crate::pipeline::doubt`]).

use std::sync::Arc;

use tracing::warn;

use crate::broker::{Log, PollLimit, Record};
use crate::domain::position::Partition;
use crate::pipeline::about::About;
use crate::pipeline::doubt::Doubt;
use crate::pipeline::runner::commit::{Prepared, Round};
use crate::pipeline::runner::task::{Given, Poison, Task};
use crate::pipeline::runner::{Halt, Runner, SessionEnd};
use crate::stage::Stage;
use crate::state::Overlay;

impl<S: Stage> Runner<S> {
    /// Says that this life runs its partitions, before anything of them is processed.
    pub(super) async fn sign_on(&mut self, log: &mut dyn Log) -> Result<Option<SessionEnd>, Halt> {
        let fresh: Vec<Partition> = self.owned.iter().filter(|(_, o)| !o.is_marked).map(|(p, _)| *p).collect();
        for owned in self.owned.values_mut() {
            owned.is_marked = true;
        }
        self.declare(log, fresh).await
    }

    /// Says that partitions were left in order. If the log does not take it, the next owner looks twice: no harm.
    pub(super) async fn sign_off(&mut self, log: &mut dyn Log, leaves: impl Fn(Partition) -> bool) {
        let mut left = Vec::new();
        for (partition, owned) in self.owned.iter_mut().filter(|(p, o)| o.is_marked && leaves(**p)) {
            (owned.is_marked, owned.doubt) = (false, Doubt::None);
            left.push(*partition);
        }
        if left.is_empty() {
            return;
        }
        let mut prepared = said_of(&left);
        if !matches!(self.commit(log, &mut prepared).await, Ok(None)) {
            warn!(stage = S::NAME.as_str(), partitions = left.len(), "the log was not told of a clean stop");
        }
    }

    /// Commits what partitions say of themselves, and nothing else.
    async fn declare(&mut self, log: &mut dyn Log, partitions: Vec<Partition>) -> Result<Option<SessionEnd>, Halt> {
        let mut attempt = 0;
        while !partitions.is_empty() {
            match self.commit(log, &mut said_of(&partitions)).await? {
                None => break,
                Some(Round::Spent) => return Ok(Some(SessionEnd::Spent)),
                Some(_) => attempt += 1,
            }
            self.pause(attempt).await;
            if self.around.stop.is_cancelled() {
                return Ok(Some(SessionEnd::Stopped));
            }
        }
        Ok(None)
    }

    pub(super) fn is_any_alone(&self) -> bool {
        self.owned.values().any(|o| matches!(o.doubt, Doubt::Alone { .. }))
    }

    /// While records run alone nothing is polled that would wait behind them.
    pub(super) fn poll_limit(&self) -> PollLimit {
        let limit = self.around.limits.poll;
        if self.is_any_alone() { PollLimit { records: 1, ..limit } } else { limit }
    }

    pub(super) async fn one_by_one(&mut self, log: &mut dyn Log, records: Vec<Record>) -> Result<Option<SessionEnd>, Halt> {
        for record in records {
            let (partition, offset) = (record.at.partition, record.offset);
            let is_alone = self.owned.get(&partition).is_some_and(|o| o.doubt.covers(offset));
            let end = if is_alone {
                self.alone(log, record).await?
            } else {
                let task = self.task(record).await;
                self.rounds(log, [task].into()).await?
            };
            if end.is_some() {
                return Ok(end);
            }
            // Interrupted and rewound: the rest is polled again.
            if self.owned.get(&partition).is_some_and(|o| o.next < offset.next()) {
                break;
            }
        }
        Ok(None)
    }

    /// One record in a transaction of its own, its attempt committed before it is even decoded.
    async fn alone(&mut self, log: &mut dyn Log, record: Record) -> Result<Option<SessionEnd>, Halt> {
        let suspects = Arc::clone(&self.around.suspects);
        let stop = self.around.stop.clone();
        // Held until the record ends: were two suspects begun at once, the end of the process would count against both.
        let _turn = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Some(SessionEnd::Stopped)),
            () = log.interrupted() => return self.rewind(log).await.map(|()| None),
            turn = suspects.lock() => turn,
        };
        let partition = record.at.partition;
        let Some(owned) = self.owned.get_mut(&partition) else { return Ok(None) };
        let before = owned.doubt;
        owned.doubt = before.attempted();
        let attempts = owned.doubt.attempts();
        if attempts > before.attempts()
            && let Some(end) = self.declare(log, vec![partition]).await?
        {
            return Ok(Some(end));
        }
        let next = Some(record.offset.next());
        let given = self.judged(record, attempts).await;
        self.rounds(log, [Task { partition, next, given }].into()).await
    }

    /// An input again, as long as it has not ended the process too often.
    async fn judged(&self, record: Record, attempts: u32) -> Given<S::Input> {
        let limit = self.around.limits.attempts.max(1);
        let record = match self.checked_out(record).await {
            Ok(record) => record,
            Err(poison) => return Given::Unreadable(poison),
        };
        let detail = format!("ended the process {limit} times while it was processed alone");
        match attempts.saturating_sub(limit) {
            0 => self.decoded(record, |input, record| Given::Input(Arc::new(input), About::new(record.headers))),
            1 => self.decoded(record, |input, record| Given::Condemned(input, Poison { record, detail })),
            // Even to decode it is too much.
            _ => Given::Unreadable(Poison { record, detail }),
        }
    }
}

fn said_of(partitions: &[Partition]) -> Prepared {
    Prepared { overlays: partitions.iter().map(|p| (*p, Overlay::default())).collect(), ..Prepared::default() }
}
