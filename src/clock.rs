//! The only home of time and chance. Everything else is handed a [`Clock`] or a plain [`Timestamp`].

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::time::{Span, Timestamp};

/// Time, as something handed in.
#[async_trait]
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;

    /// Returns once `now() >= at`; [`Timestamp::NEVER`] never returns. Cancel-safe.
    async fn sleep_until(&self, at: Timestamp);
}

/// Sleeps for `span` on any clock.
pub async fn sleep(clock: &dyn Clock, span: Span) {
    clock.sleep_until(clock.now().plus(span)).await;
}

/// The machine's clock; needs a tokio runtime with time enabled to sleep.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that sleeps")]
    async fn sleep_until(&self, at: Timestamp) {
        if at == Timestamp::NEVER {
            return std::future::pending().await;
        }
        // A wall clock may jump: wake at least once a minute and look again.
        loop {
            let left = at.since(self.now());
            if left == Span::ZERO {
                return;
            }
            tokio::time::sleep(left.as_std().min(Duration::from_secs(60))).await;
        }
    }
}

/// Monotonic milliseconds for progress and figures shown to a person; never for decisions.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that moves only when told; sleepers wake in order of their time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    inner: Arc<Mutex<Manual>>,
}

#[derive(Debug, Default)]
struct Manual {
    now: Timestamp,
    next_id: u64,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
}

impl ManualClock {
    pub fn new(now: Timestamp) -> Self {
        Self { inner: Arc::new(Mutex::new(Manual { now, ..Manual::default() })) }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Manual) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Moves to `to` (never backwards) and wakes whoever waited for it.
    pub fn advance_to(&self, to: Timestamp) {
        let due = self.with(|m| {
            m.now = m.now.max(to);
            let later = m.sleepers.split_off(&(m.now.plus(Span::from_millis(1)), 0));
            std::mem::replace(&mut m.sleepers, later)
        });
        due.into_values().for_each(Waker::wake);
    }

    pub fn advance(&self, span: Span) {
        self.advance_to(self.now().plus(span));
    }

    /// The earliest time anybody sleeps for.
    pub fn next_sleeper(&self) -> Option<Timestamp> {
        self.with(|m| m.sleepers.keys().next().map(|(at, _)| *at))
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.with(|m| m.now)
    }

    async fn sleep_until(&self, at: Timestamp) {
        if at == Timestamp::NEVER {
            return std::future::pending().await;
        }
        ManualSleep { clock: self.clone(), at, id: None }.await;
    }
}

struct ManualSleep {
    clock: ManualClock,
    at: Timestamp,
    id: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (at, known) = (self.at, self.id);
        let id = self.clock.with(|m| {
            if m.now >= at {
                return None;
            }
            let id = known.unwrap_or_else(|| {
                m.next_id += 1;
                m.next_id
            });
            m.sleepers.insert((at, id), cx.waker().clone());
            Some(id)
        });
        self.id = id;
        if id.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.clock.with(|m| m.sleepers.remove(&(self.at, id)));
        }
    }
}

/// Seeded chance for jitter (xorshift64*); two of the same seed give the same numbers.
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `0..n`; 0 for `n == 0`.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.bits() % n }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_wake_when_their_time_has_come() {
        let clock = ManualClock::new(Timestamp::from_millis(10));
        let mut pool = futures::executor::LocalPool::new();
        let (c, woken) = (clock.clone(), Arc::new(Mutex::new(Vec::new())));
        for at in [30, 20] {
            let (c, woken) = (c.clone(), Arc::clone(&woken));
            futures::task::LocalSpawnExt::spawn_local(&pool.spawner(), async move {
                c.sleep_until(Timestamp::from_millis(at)).await;
                woken.lock().unwrap().push(at);
            })
            .unwrap();
        }
        pool.run_until_stalled();
        assert_eq!(clock.next_sleeper(), Some(Timestamp::from_millis(20)));
        clock.advance_to(Timestamp::from_millis(25));
        pool.run_until_stalled();
        assert_eq!(*woken.lock().unwrap(), [20]);
        clock.advance(Span::from_millis(5));
        pool.run_until_stalled();
        assert_eq!(*woken.lock().unwrap(), [20, 30]);
    }

    #[test]
    fn the_same_seed_gives_the_same_chance() {
        let (mut a, mut b) = (Jitter::new(7), Jitter::new(7));
        for _ in 0..100 {
            assert_eq!(a.bits(), b.bits());
            assert!((0.0..1.0).contains(&a.unit()));
            b.unit();
        }
        assert_eq!(a.below(0), 0);
    }
}
