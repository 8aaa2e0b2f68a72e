//! Retention and compaction of the embedded log, now and then, off the workers' path.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::embedded::EmbeddedBroker;
use crate::clock::Clock;
use crate::domain::time::{Span, Timestamp};
use crate::pipeline::runner::Halt;
use crate::pipeline::work::Work;

/// File of the state folder that remembers the last pass: processes that live shorter than the
/// interval come to their pass all the same.
pub const MEMO: &str = "retained_at";

/// What is kept up, and how often.
pub struct Upkeep {
    pub broker: Arc<EmbeddedBroker>,
    pub clock: Arc<dyn Clock>,
    /// Wait between two passes.
    pub every: Span,
    /// [`MEMO`] in the state folder; `None` in memory.
    pub memo: Option<PathBuf>,
    pub work: Work,
}

impl Upkeep {
    /// One pass whenever it is due, until stopped. A pass that fails is told and tried again an interval later:
    /// a log that grows stops nobody. A pass that has begun ends before this returns.
    ///
    /// # Errors
    /// None; it is a member of the process's tasks.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Halt> {
        let mut last = self.remembered();
        loop {
            let due = last.plus(self.every);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep_until(due) => {}
            }
            let broker = Arc::clone(&self.broker);
            match self.work.run(move || broker.retain()).await {
                Ok(Ok(0)) => {}
                Ok(Ok(removed)) => info!(removed, "log trimmed"),
                Ok(Err(e)) => warn!(error = %e, "log not trimmed"),
                Err(e) => warn!(error = %e, "log not trimmed"),
            }
            last = self.clock.now();
            self.remember(last);
        }
    }

    /// The last pass; a state folder that knows none begins to count now.
    fn remembered(&self) -> Timestamp {
        let now = self.clock.now();
        let known = self.memo.as_ref().and_then(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
        match known.map(Timestamp::from_millis) {
            // A time to come was written under another clock.
            Some(last) if last <= now => last,
            _ => {
                self.remember(now);
                now
            }
        }
    }

    fn remember(&self, at: Timestamp) {
        let Some(path) = &self.memo else { return };
        if let Err(e) = std::fs::write(path, at.millis().to_string()) {
            warn!(error = %e, path = %path.display(), "time of the last trimming not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::broker::{Broker, Cleanup, OutRecord, Reader, TopicSpec};
    use crate::clock::ManualClock;
    use crate::domain::position::{Partition, TopicPartition};

    const HOUR: Span = Span::from_secs(3600);

    struct House {
        clock: ManualClock,
        broker: Arc<EmbeddedBroker>,
        at: TopicPartition,
    }

    impl House {
        async fn new() -> Self {
            let clock = ManualClock::new(Timestamp::from_millis(1_000));
            let broker = Arc::new(EmbeddedBroker::in_memory(Arc::new(clock.clone())));
            let at = TopicPartition { topic: "t".parse().unwrap(), partition: Partition(0) };
            let spec = TopicSpec { name: at.topic.clone(), partitions: 1, cleanup: Cleanup::Delete { retention: HOUR } };
            broker.ensure(&[spec]).await.unwrap();
            Self { clock, broker, at }
        }

        async fn write(&self) {
            let record = OutRecord { to: self.at.clone(), key: "k".into(), value: Some("v".into()), headers: Vec::new() };
            self.broker.append(vec![record]).await.unwrap();
        }

        fn upkeep(&self, memo: Option<PathBuf>) -> Upkeep {
            let clock = Arc::new(self.clock.clone());
            Upkeep { broker: Arc::clone(&self.broker), clock, every: HOUR, memo, work: Work::Inline }
        }

        async fn first(&self) -> u64 {
            self.broker.bounds(&self.at).await.unwrap().start.0
        }
    }

    #[tokio::test]
    async fn old_records_go_when_the_interval_is_over_and_not_before() {
        let house = House::new().await;
        house.write().await;
        let stop = CancellationToken::new();
        let mut upkeep = house.upkeep(None).run(stop.clone()).boxed();
        assert!((&mut upkeep).now_or_never().is_none());
        house.clock.advance(Span::from_secs(3599));
        house.write().await;
        assert!((&mut upkeep).now_or_never().is_none());
        assert_eq!(house.first().await, 0, "not due yet");
        house.clock.advance(Span::from_secs(2));
        assert!((&mut upkeep).now_or_never().is_none());
        assert_eq!(house.first().await, 1, "the first record is past its hour, the second is not");
        house.clock.advance(Span::from_secs(3601));
        assert!((&mut upkeep).now_or_never().is_none());
        assert_eq!(house.first().await, 2);
        stop.cancel();
        upkeep.await.unwrap();
    }

    #[tokio::test]
    async fn short_lives_come_to_their_pass_too() {
        let folder = tempfile::tempdir().unwrap();
        let memo = folder.path().join(MEMO);
        let house = House::new().await;
        house.write().await;
        for (minutes, first) in [(0, 0), (50, 0), (50, 1), (50, 1)] {
            house.clock.advance(Span::from_secs(minutes * 60));
            let mut life = house.upkeep(Some(memo.clone())).run(CancellationToken::new()).boxed();
            assert!((&mut life).now_or_never().is_none());
            assert_eq!(house.first().await, first);
        }
        std::fs::write(&memo, "not a time").unwrap();
        assert_eq!(house.upkeep(Some(memo.clone())).remembered(), house.clock.now());
        assert_eq!(std::fs::read_to_string(&memo).unwrap(), house.clock.now().millis().to_string());
    }
}
