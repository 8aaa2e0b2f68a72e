//! Retry arithmetic. Chance is an argument: see [`crate::clock`] for where it comes from.

use crate::domain::time::Span;

/// Exponential backoff with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub first: Span,
    pub max: Span,
}

impl Default for Backoff {
    /// 100 ms doubling up to 10 s.
    fn default() -> Self {
        Self { first: Span::from_millis(100), max: Span::from_secs(10) }
    }
}

impl Backoff {
    /// Wait before attempt number `attempt` (from 1); `jitter` in `0.0..1.0` scales the upper half.
    pub fn wait(self, attempt: u32, jitter: f64) -> Span {
        let doubled = self.first.millis().saturating_mul(1i64 << attempt.saturating_sub(1).min(20));
        let full = doubled.min(self.max.millis());
        let half = full / 2;
        Span::from_millis(half + ((full - half) as f64 * jitter.clamp(0.0, 1.0)) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_the_maximum() {
        let b = Backoff::default();
        let waits: Vec<i64> = (1..=9).map(|n| b.wait(n, 1.0).millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(b.wait(1, 0.0).millis(), 50);
        assert_eq!(b.wait(u32::MAX, 0.5).millis(), 7500);
    }
}
