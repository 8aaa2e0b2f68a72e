//! How far a replay is, and what it may do next. Pure: time and room are arguments.
//!
//! ```text
//!            pause                 every item landed and ended
//!  Running ◀──────▶ Paused   ────────────────────────────────────▶ finished
//!     │     resume    │                          ▲
//!     └──── cancel ───┴──▶ Cancelled ── what has landed has ended ─┘
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::domain::time::Timestamp;

/// Items landed at once, at most: one transaction carries them.
pub const CHUNK_ITEMS: u64 = 500;

/// Whether items still go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Running,
    Paused,
    /// Nothing more goes out; what has landed comes to its end.
    Cancelled,
}

/// What a person may order of a replay that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    Pause,
    Resume,
    Cancel,
}

impl Control {
    pub const ALL: [Control; 3] = [Control::Pause, Control::Resume, Control::Cancel];

    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Control::Pause => "pause",
            Control::Resume => "resume",
            Control::Cancel => "cancel",
        }
    }

    /// Kind of the audit record of its effect.
    pub fn event(self) -> &'static str {
        match self {
            Control::Pause => "ReplayPaused",
            Control::Resume => "ReplayResumed",
            Control::Cancel => "ReplayCancelled",
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A control nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not pause, resume or cancel")]
pub struct ControlError {
    pub text: String,
}

impl FromStr for Control {
    type Err = ControlError;
    fn from_str(text: &str) -> Result<Self, ControlError> {
        Self::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| ControlError { text: text.to_owned() })
    }
}

/// One replay between two looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Items of the request.
    pub items: u64,
    /// Items landed again, in the order of the request.
    pub landed: u64,
    /// Landed items at their end, by terminal status.
    pub outcomes: BTreeMap<String, u64>,
    pub mode: Mode,
    /// Items a second, at most; `None`: as fast as validate takes them.
    pub rate: Option<NonZeroU32>,
    /// The pace is counted from here, where `landed` was `paced_landed`.
    pub paced_from: Timestamp,
    pub paced_landed: u64,
    /// Something landed, ended, or was ordered last.
    pub moved_at: Timestamp,
    pub finished: bool,
}

impl Progress {
    /// A replay that was just asked for.
    pub fn begin(items: u64, rate: Option<NonZeroU32>, now: Timestamp) -> Self {
        let (outcomes, mode) = (BTreeMap::new(), Mode::Running);
        Self { items, landed: 0, outcomes, mode, rate, paced_from: now, paced_landed: 0, moved_at: now, finished: items == 0 }
    }

    /// How many of the next items may land now, where validate has room for `room` more.
    pub fn may_land(&self, room: u64, now: Timestamp) -> u64 {
        if self.mode != Mode::Running {
            return 0;
        }
        let paced = self.rate.map_or(u64::MAX, |rate| {
            let elapsed = u64::try_from(now.since(self.paced_from).millis()).unwrap_or(0);
            // The first item goes at once.
            let due = 1 + elapsed.saturating_mul(u64::from(rate.get())) / 1000;
            due.saturating_sub(self.landed - self.paced_landed)
        });
        (self.items - self.landed).min(room).min(CHUNK_ITEMS).min(paced)
    }

    /// The next `n` items landed.
    pub fn land(&mut self, n: u64, now: Timestamp) {
        if n > 0 {
            self.landed += n;
            self.moved_at = now;
        }
        self.settle();
    }

    /// One landed item came to its end; the caller tells repetitions apart.
    pub fn end(&mut self, status: &str, now: Timestamp) {
        *self.outcomes.entry(status.to_owned()).or_default() += 1;
        self.moved_at = now;
        self.settle();
    }

    /// Obeys, or answers false: the order changes nothing (it came twice, or too late).
    pub fn obey(&mut self, control: Control, now: Timestamp) -> bool {
        let mode = match (self.mode, control) {
            _ if self.finished => return false,
            (Mode::Running, Control::Pause) => Mode::Paused,
            (Mode::Paused, Control::Resume) => {
                // A pause earns no burst.
                (self.paced_from, self.paced_landed) = (now, self.landed);
                Mode::Running
            }
            (Mode::Running | Mode::Paused, Control::Cancel) => Mode::Cancelled,
            _ => return false,
        };
        (self.mode, self.moved_at) = (mode, now);
        self.settle();
        true
    }

    /// Landed items at their end.
    pub fn ended(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Items that will not land: those a cancel left out.
    pub fn left_out(&self) -> u64 {
        if self.mode == Mode::Cancelled { self.items - self.landed } else { 0 }
    }

    /// The word for people and for `--json`.
    pub fn word(&self) -> &'static str {
        match (self.mode, self.finished) {
            (Mode::Cancelled, true) => "cancelled",
            (Mode::Cancelled, false) => "cancelling",
            (_, true) => "completed",
            (Mode::Running, false) => "running",
            (Mode::Paused, false) => "paused",
        }
    }

    /// Somebody waits for it: a paused replay waits for a person.
    pub fn is_pending(&self) -> bool {
        !self.finished && self.mode != Mode::Paused
    }

    fn settle(&mut self) {
        let goal = if self.mode == Mode::Cancelled { self.landed } else { self.items };
        self.finished = self.finished || (self.landed >= goal && self.ended() >= goal);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn rate(n: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(n)
    }

    #[test]
    fn without_a_rate_room_and_chunk_are_the_bounds() {
        let mut p = Progress::begin(1200, None, at(0));
        assert_eq!(p.may_land(10_000, at(0)), CHUNK_ITEMS);
        assert_eq!(p.may_land(7, at(0)), 7);
        assert_eq!(p.may_land(0, at(0)), 0);
        p.land(1100, at(0));
        assert_eq!(p.may_land(10_000, at(0)), 100);
    }

    #[test]
    fn a_rate_lets_the_first_go_at_once_and_the_rest_in_time() {
        let mut p = Progress::begin(100, rate(10), at(0));
        assert_eq!(p.may_land(1000, at(0)), 1);
        p.land(1, at(0));
        assert_eq!(p.may_land(1000, at(99)), 0);
        assert_eq!(p.may_land(1000, at(100)), 1);
        assert_eq!(p.may_land(1000, at(1000)), 10);
    }

    #[test]
    fn a_pause_earns_no_burst() {
        let mut p = Progress::begin(100, rate(10), at(0));
        p.land(1, at(0));
        assert!(p.obey(Control::Pause, at(10)));
        assert_eq!(p.may_land(1000, at(60_000)), 0);
        assert!(p.obey(Control::Resume, at(60_000)));
        assert_eq!(p.may_land(1000, at(60_000)), 1);
    }

    #[test]
    fn orders_that_change_nothing_are_told() {
        let mut p = Progress::begin(2, None, at(0));
        assert!(!p.obey(Control::Resume, at(0)), "it runs already");
        assert!(p.obey(Control::Pause, at(0)));
        assert!(!p.obey(Control::Pause, at(0)), "it is paused already");
        assert!(p.obey(Control::Cancel, at(0)));
        assert_eq!((p.word(), p.finished), ("cancelled", true), "nothing had landed");
        assert!(Control::ALL.iter().all(|c| !p.obey(*c, at(1))), "it is over");
    }

    #[test]
    fn a_cancelled_replay_ends_with_what_has_landed() {
        let mut p = Progress::begin(10, None, at(0));
        p.land(3, at(0));
        assert!(p.obey(Control::Cancel, at(1)));
        assert_eq!((p.word(), p.left_out(), p.may_land(99, at(1))), ("cancelling", 7, 0));
        ["PUBLISHED", "QUARANTINED", "PUBLISHED"].iter().for_each(|s| p.end(s, at(2)));
        assert_eq!((p.word(), p.outcomes["PUBLISHED"]), ("cancelled", 2));
    }

    #[test]
    fn an_empty_replay_is_over_at_once() {
        assert!(Progress::begin(0, None, at(0)).finished);
    }

    proptest! {
        /// Whatever is ordered and whenever, no item lands twice, the rate holds, and the replay finishes once
        /// everything that landed has ended and it is not paused.
        #[test]
        fn every_history_ends(items in 1u64..300, per_second in 0u32..50, steps in proptest::collection::vec((0i64..2_000, 0u64..80, 0u8..12), 0..120)) {
            let mut p = Progress::begin(items, rate(per_second), at(0));
            let mut now = 0;
            for (wait, room, order) in steps {
                now += wait;
                if let Some(control) = Control::ALL.get(usize::from(order)) {
                    p.obey(*control, at(now));
                }
                let n = p.may_land(room, at(now));
                prop_assert!(n <= room && p.landed + n <= items);
                p.land(n, at(now));
                if per_second > 0 {
                    let most = 1 + now.unsigned_abs() * u64::from(per_second) / 1000;
                    // Each resume grants one item at once.
                    prop_assert!(p.landed <= most + 120);
                }
                while p.ended() < p.landed {
                    p.end("PUBLISHED", at(now));
                }
            }
            p.obey(Control::Resume, at(now));
            while p.mode == Mode::Running && p.landed < items {
                now += 1_000;
                let n = p.may_land(1_000, at(now));
                p.land(n, at(now));
                while p.ended() < p.landed {
                    p.end("PUBLISHED", at(now));
                }
            }
            prop_assert!(p.finished);
        }
    }
}
