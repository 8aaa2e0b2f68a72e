//! Ends the process when a call into the client does not come back.
//!
//! Some transactional calls have been seen to block past their own timeout (librdkafka #5456, #3779). A thread
//! stuck in one cannot be ended, and what it will still send is not known; a new process with the same
//! transactional id fences it, which is a tested path.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::error;

use crate::clock::Stopwatch;

/// How often calls are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches the calls of one broker's threads.
#[derive(Clone, Default)]
pub(super) struct Watchdog {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    next_id: u64,
    threads: usize,
    stopped: bool,
}

struct Call {
    id: u64,
    what: &'static str,
    since: Stopwatch,
    within: Duration,
}

impl Watchdog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread that looks.
    pub(super) fn start(&self) -> std::io::Result<()> {
        let watchdog = self.clone();
        std::thread::Builder::new().name("kafka-watchdog".into()).spawn(move || watchdog.watch()).map(drop)
    }

    fn watch(&self) {
        let mut state = self.state();
        while !state.stopped {
            if let Some(late) = state.overdue() {
                error!(call = late, "a call into the Kafka client does not come back: this process ends, a new one recovers");
                std::process::abort();
            }
            state = self.shared.ended.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The process ends unless the answer is dropped within `within`.
    pub(super) fn guard(&self, what: &'static str, within: Duration) -> Guarded {
        let mut state = self.state();
        state.next_id += 1;
        let id = state.next_id;
        state.calls.push(Call { id, what, since: Stopwatch::start(), within });
        Guarded { watchdog: self.clone(), id }
    }

    /// Counts a thread that must have left its group before the process goes.
    pub(super) fn thread(&self) -> Running {
        self.state().threads += 1;
        Running { watchdog: self.clone() }
    }

    /// Waits until all counted threads have ended, at most `within`; then stops looking.
    pub(super) fn stop(&self, within: Duration) {
        let since = Stopwatch::start();
        let mut state = self.state();
        while state.threads > 0 && since.elapsed() < within {
            state = self.shared.ended.wait_timeout(state, within).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.stopped = true;
        self.shared.ended.notify_all();
    }
}

impl State {
    fn overdue(&self) -> Option<&'static str> {
        self.calls.iter().find(|c| c.since.elapsed() > c.within).map(|c| c.what)
    }
}

/// A call that is watched until this is dropped.
pub(super) struct Guarded {
    watchdog: Watchdog,
    id: u64,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.watchdog.state().calls.retain(|c| c.id != self.id);
    }
}

/// A thread that is counted until this is dropped.
pub(super) struct Running {
    watchdog: Watchdog,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watchdog.state().threads -= 1;
        self.watchdog.shared.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_lasts_too_long_is_overdue() {
        let watchdog = Watchdog::default();
        let late = watchdog.guard("commit", Duration::ZERO);
        let fine = watchdog.guard("begin", Duration::from_secs(3600));
        assert_eq!(watchdog.state().overdue(), Some("commit"));
        drop(late);
        assert_eq!(watchdog.state().overdue(), None);
        drop(fine);
        assert!(watchdog.state().calls.is_empty());
    }

    #[test]
    fn stopping_waits_for_counted_threads() {
        let watchdog = Watchdog::default();
        let running = watchdog.thread();
        let ended = std::thread::spawn(move || drop(running));
        watchdog.stop(Duration::from_secs(60));
        assert_eq!(watchdog.state().threads, 0);
        ended.join().unwrap();
    }
}
