//! Whether a process has started, lives, and does its work. Judged from the stages' progress, never by asking anything
//! outside: a probe that asks the broker ends every replica when the broker is slow.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::names::StageName;
use crate::domain::time::{Span, Timestamp};
use crate::telemetry::progress::{Progress, StageProgress};

/// A stage with records waiting that committed nothing for so long is not ready; the alert on a stalled stage says the same.
pub const STALLED_AFTER: Span = Span::from_secs(600);

/// A measure of the backlog older than this says nothing: the log does not answer.
pub const MEASURE_AGE_MAX: Span = Span::from_secs(60);

/// The answer to a probe: yes, or why not, one line each.
pub type Verdict = Result<(), Vec<String>>;

/// What health is judged by, once the process has started.
pub struct Watched {
    pub progress: Arc<Progress>,
    pub stages: Vec<StageName>,
    /// Cancelled: it drains.
    pub stop: CancellationToken,
}

/// Health of one process.
pub struct Health {
    clock: Arc<dyn Clock>,
    hung_after: Span,
    watched: OnceLock<Watched>,
}

impl Health {
    /// `hung_after`: work on one round that takes longer is not expected to end.
    pub fn new(clock: Arc<dyn Clock>, hung_after: Span) -> Self {
        Self { clock, hung_after, watched: OnceLock::new() }
    }

    /// Topics, registry and lake are open, and the stages run; only the first call counts.
    pub fn started(&self, watched: Watched) {
        if self.watched.set(watched).is_err() {
            tracing::debug!("the process had started already");
        }
    }

    /// No stage hangs and none halted. A process that starts lives.
    pub fn live(&self) -> Verdict {
        let Some(watched) = self.watched.get() else { return Ok(()) };
        verdict(hung(&watched.progress.snapshot(), self.hung_after, self.clock.now()))
    }

    /// Every stage holds or waits for partitions, and committed lately or has nothing to do.
    pub fn ready(&self) -> Verdict {
        let watched = self.watched.get().ok_or_else(|| vec!["the process starts".to_owned()])?;
        if watched.stop.is_cancelled() {
            return Err(vec!["the process drains".to_owned()]);
        }
        verdict(idle_or_moving(&watched.stages, &watched.progress.snapshot(), self.clock.now()))
    }

    /// Topics, registry and lake are open.
    pub fn startup(&self) -> Verdict {
        self.watched.get().map(|_| ()).ok_or_else(|| vec!["topics, registry and lake are not open yet".to_owned()])
    }
}

fn verdict(faults: Vec<String>) -> Verdict {
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// In seconds, for people.
fn whole(span: Span) -> Span {
    Span::from_secs(span.millis() / 1000)
}

/// Stages that will not go on.
fn hung(stages: &BTreeMap<StageName, StageProgress>, hung_after: Span, now: Timestamp) -> Vec<String> {
    let mut faults = Vec::new();
    for (stage, progress) in stages {
        // The reason stands in the log: it may name what an anonymous reader should not see.
        if progress.halted.is_some() {
            faults.push(format!("{stage} halted"));
        }
        if let Some(busy) = progress.busy.map(|since| whole(now.since(since))).filter(|busy| *busy > hung_after) {
            faults.push(format!("{stage} works on one round for {busy}"));
        }
    }
    faults
}

/// Stages that do not do their work.
fn idle_or_moving(wanted: &[StageName], stages: &BTreeMap<StageName, StageProgress>, now: Timestamp) -> Vec<String> {
    let mut faults = Vec::new();
    for stage in wanted {
        let Some(progress) = stages.get(stage).filter(|p| p.joined.is_some()) else {
            faults.push(format!("{stage} has no port to the log"));
            continue;
        };
        match progress.backlog {
            None => faults.push(format!("{stage} was not measured yet")),
            Some(backlog) if now.since(backlog.measured) > MEASURE_AGE_MAX => {
                faults.push(format!("{stage} was last measured {} ago: the log does not answer", whole(now.since(backlog.measured))));
            }
            // What waits on the partitions of others is theirs.
            Some(backlog) if backlog.records > 0 && progress.partitions > 0 => {
                let still = progress.moved().map_or(Span::ZERO, |at| now.since(at));
                if still > STALLED_AFTER {
                    faults.push(format!("{stage} has {} records waiting and committed nothing for {}", backlog.records, whole(still)));
                }
            }
            Some(_) => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::telemetry::progress::Backlog;

    const STAGE: StageName = StageName::Check;

    struct House {
        clock: ManualClock,
        progress: Arc<Progress>,
        stop: CancellationToken,
        health: Health,
    }

    /// A process that starts.
    fn house() -> House {
        let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
        let health = Health::new(Arc::new(clock.clone()), Span::from_secs(900));
        House { clock, progress: Arc::default(), stop: CancellationToken::new(), health }
    }

    impl House {
        fn start(&self) {
            self.health.started(Watched { progress: Arc::clone(&self.progress), stages: vec![STAGE], stop: self.stop.clone() });
        }

        fn measure(&self, records: u64) {
            let measured = self.clock.now();
            self.progress.measured(STAGE, Backlog { records, oldest: Span::ZERO, measured });
        }

        fn why_unready(&self) -> String {
            self.health.ready().unwrap_err().join("; ")
        }
    }

    #[test]
    fn a_process_that_starts_lives_and_is_neither_started_nor_ready() {
        let house = house();
        assert_eq!(house.health.live(), Ok(()));
        assert!(house.health.startup().is_err());
        assert_eq!(house.why_unready(), "the process starts");
        house.start();
        assert_eq!(house.health.startup(), Ok(()));
        assert_eq!(house.why_unready(), "check has no port to the log");
    }

    #[test]
    fn a_stage_is_ready_when_it_moves_or_has_nothing_to_do() {
        let house = house();
        house.start();
        house.progress.joined(STAGE, house.clock.now());
        assert_eq!(house.why_unready(), "check was not measured yet");
        house.measure(0);
        assert_eq!(house.health.ready(), Ok(()));
        house.clock.advance(Span::from_secs(86_400));
        assert!(house.why_unready().contains("the log does not answer"));
        house.measure(0);
        assert_eq!(house.health.ready(), Ok(()), "a day without files");
        house.clock.advance(Span::from_secs(601));
        house.measure(7);
        assert_eq!(house.health.ready(), Ok(()), "another replica holds the partitions");
        house.progress.holds(STAGE, 2);
        assert_eq!(house.why_unready(), "check has 7 records waiting and committed nothing for 601s");
        house.progress.processed(STAGE, 1, house.clock.now());
        assert_eq!(house.health.ready(), Ok(()));
        house.progress.parted(STAGE);
        assert_eq!(house.why_unready(), "check has no port to the log");
    }

    #[test]
    fn only_work_that_does_not_end_and_a_halt_end_a_life() {
        let house = house();
        house.start();
        house.clock.advance(Span::from_secs(86_400));
        assert_eq!(house.health.live(), Ok(()), "waiting is no fault");
        let work = house.progress.works(STAGE, house.clock.now());
        house.clock.advance(Span::from_secs(900));
        assert_eq!(house.health.live(), Ok(()));
        house.clock.advance(Span::from_secs(1));
        assert_eq!(house.health.live(), Err(vec!["check works on one round for 901s".to_owned()]));
        drop(work);
        assert_eq!(house.health.live(), Ok(()));
        house.progress.halted(STAGE, "secret".to_owned());
        assert_eq!(house.health.live(), Err(vec!["check halted".to_owned()]));
    }

    #[test]
    fn a_process_that_drains_takes_no_more() {
        let house = house();
        house.start();
        house.progress.joined(STAGE, house.clock.now());
        house.measure(0);
        house.stop.cancel();
        assert_eq!(house.why_unready(), "the process drains");
        assert_eq!(house.health.live(), Ok(()));
    }
}
