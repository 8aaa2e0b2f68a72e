//! From a signal to the end of the process: drain, a deadline, and a second signal that ends it at once.
//!
//! ```text
//! Running ─ signal ─▶ Draining { until } ─ drained ─▶ (the process ends by itself)
//!                        │ └─ until is past ─▶ leave: 1
//!                        └─ second signal ───▶ leave: 130 or 143
//! ```

use std::fmt;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::time::{Span, Timestamp};

/// A signal that asks a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    Terminate,
}

impl Signal {
    /// What a shell reports of a process ended by this signal: 128 + its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Signal::Interrupt => 130,
            Signal::Terminate => 143,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "interrupt",
            Signal::Terminate => "SIGTERM",
        })
    }
}

/// Leave now, without waiting for anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Asked twice.
    Again(Signal),
    /// A stage was not done in time.
    Overdue { drain: Span },
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leave::Again(signal) => {
                write!(f, "second {signal}: leaving at once; what was committed stays, the rest is taken up by the next start")
            }
            Leave::Overdue { drain } => {
                write!(
                    f,
                    "not drained within {drain} (run.drain): leaving; what was committed stays, the rest is taken up by the next start"
                )
            }
        }
    }
}

/// How far a process is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Running,
    Draining { until: Timestamp },
}

impl Phase {
    /// What a signal makes of this phase.
    ///
    /// # Errors
    /// [`Leave`]: the signal is the second one.
    pub fn on_signal(self, signal: Signal, now: Timestamp, drain: Span) -> Result<Phase, Leave> {
        match self {
            Phase::Running => Ok(Phase::Draining { until: now.plus(drain) }),
            Phase::Draining { .. } => Err(Leave::Again(signal)),
        }
    }

    /// When this phase is over whatever happens.
    pub fn deadline(self) -> Timestamp {
        match self {
            Phase::Running => Timestamp::NEVER,
            Phase::Draining { until } => until,
        }
    }
}

/// Watches over the end of a process: the first signal cancels `stop` and is told to `drains`; answers
/// when the process must leave without waiting. Never answers a process that drains in time: it ends before.
pub async fn watch(
    signals: impl Stream<Item = Signal>,
    clock: &dyn Clock,
    drain: Span,
    stop: &CancellationToken,
    mut drains: impl FnMut(Signal),
) -> Leave {
    let mut signals = std::pin::pin!(signals.chain(futures::stream::pending()));
    let mut phase = Phase::Running;
    loop {
        tokio::select! {
            biased;
            Some(signal) = signals.next() => {
                phase = match phase.on_signal(signal, clock.now(), drain) {
                    Ok(phase) => phase,
                    Err(leave) => return leave,
                };
                stop.cancel();
                drains(signal);
            }
            () = clock.sleep_until(phase.deadline()) => return Leave::Overdue { drain },
        }
    }
}

/// The signals of this process, from now on.
///
/// # Errors
/// When the system refuses a handler.
pub fn signals() -> std::io::Result<impl Stream<Item = Signal> + Send> {
    let interrupt = of(SignalKind::interrupt(), Signal::Interrupt)?;
    let terminate = of(SignalKind::terminate(), Signal::Terminate)?;
    Ok(futures::stream::select(interrupt, terminate))
}

fn of(kind: SignalKind, word: Signal) -> std::io::Result<BoxStream<'static, Signal>> {
    let handler = signal(kind)?;
    let next = move |mut handler: unix::Signal| async move { handler.recv().await.map(|()| (word, handler)) };
    Ok(futures::stream::unfold(handler, next).boxed())
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};

    use super::*;
    use crate::clock::ManualClock;

    const DRAIN: Span = Span::from_secs(30);

    #[tokio::test]
    async fn the_first_signal_drains_and_the_deadline_ends_it() {
        for signal in [Signal::Interrupt, Signal::Terminate] {
            let (clock, stop) = (ManualClock::default(), CancellationToken::new());
            let mut told = Vec::new();
            let mut watched = watch(stream::iter([signal]), &clock, DRAIN, &stop, |s| told.push(s)).boxed_local();
            assert_eq!((&mut watched).now_or_never(), None, "it drains");
            assert!(stop.is_cancelled());
            clock.advance(Span::from_millis(29_999));
            assert_eq!((&mut watched).now_or_never(), None, "there is a millisecond left");
            clock.advance(Span::from_millis(1));
            assert_eq!(watched.await, Leave::Overdue { drain: DRAIN });
            assert_eq!(told, [signal]);
        }
    }

    #[tokio::test]
    async fn the_second_signal_ends_it_at_once_with_its_own_code() {
        for (second, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
            let (clock, stop) = (ManualClock::default(), CancellationToken::new());
            let leave = watch(stream::iter([Signal::Terminate, second]), &clock, DRAIN, &stop, |_| {}).await;
            assert_eq!(leave, Leave::Again(second));
            assert_eq!(second.exit_code(), code);
        }
    }

    #[tokio::test]
    async fn without_a_signal_nothing_ends() {
        let (clock, stop) = (ManualClock::default(), CancellationToken::new());
        let mut watched = watch(stream::empty(), &clock, DRAIN, &stop, |_| {}).boxed_local();
        clock.advance(Span::from_secs(1_000_000));
        assert_eq!((&mut watched).now_or_never(), None);
        assert!(!stop.is_cancelled());
    }
}
