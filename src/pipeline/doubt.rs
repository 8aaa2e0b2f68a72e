//! Doubt: what a partition's last transaction tells about the end of whoever ran it (decisions.md 9).
//!
//! ```text
//!   none ──owner ended without a word──▶ shaken ──again, at the same position──▶ alone
//!    ▲                                     │ position moves                       │ range passed
//!    └──────────── clean stop ◀────────────┴──────────────────────────────────────┘
//! ```
//! A killed process is no evidence against its input: *shaken*, the range runs once more as it was. If
//! that ends without a word too, its records run *alone*, one per transaction, each attempt committed
//! before it is begun, so that the one which ends the process names itself.

use crate::domain::position::{NextOffset, Offset};
use crate::pipeline::restore::Meta;

/// How far a partition's next inputs are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    None,
    Shaken,
    Alone {
        /// First position that was not in doubt.
        until: NextOffset,
        /// Times the next record was begun and never ended.
        attempts: u32,
        /// This life's attempt is among them.
        is_counted: bool,
    },
}

impl Doubt {
    /// Of a partition that is taken over at `next` in the life `life`; a round reaches up to `range_end`.
    pub fn of(last: Option<&Meta>, life: u64, next: NextOffset, range_end: NextOffset) -> Self {
        let Some((meta, owner)) = last.and_then(|m| Some((m, m.running?))) else { return Doubt::None };
        // This life's own port was spent, which says nothing about the input.
        let is_same_life = owner == life;
        if meta.in_doubt && next < range_end {
            return Doubt::Alone { until: range_end, attempts: meta.attempts, is_counted: is_same_life && meta.attempts > 0 };
        }
        if is_same_life { Doubt::None } else { Doubt::Shaken }
    }

    /// Once the position has moved.
    #[must_use]
    pub fn moved(self, next: NextOffset) -> Self {
        match self {
            Doubt::Alone { until, .. } if next < until => Doubt::Alone { until, attempts: 0, is_counted: false },
            _ => Doubt::None,
        }
    }

    /// One attempt more, unless this life's is counted already.
    #[must_use]
    pub fn attempted(self) -> Self {
        match self {
            Doubt::Alone { until, attempts, is_counted: false } => {
                Doubt::Alone { until, attempts: attempts.saturating_add(1), is_counted: true }
            }
            other => other,
        }
    }

    pub fn attempts(self) -> u32 {
        match self {
            Doubt::Alone { attempts, .. } => attempts,
            Doubt::None | Doubt::Shaken => 0,
        }
    }

    /// Whether a record has to run alone.
    pub fn covers(self, offset: Offset) -> bool {
        matches!(self, Doubt::Alone { until, .. } if offset.next() <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: u64 = 7;
    const NEXT: NextOffset = NextOffset(10);
    const END: NextOffset = NextOffset(20);

    fn meta(running: Option<u64>, in_doubt: bool, attempts: u32) -> Meta {
        Meta { format_version: 1, in_next: NEXT.0, txn_seq: 1, running, in_doubt, attempts }
    }

    #[test]
    fn the_last_transaction_tells_how_its_owner_ended() {
        let alone = |attempts, is_counted| Doubt::Alone { until: END, attempts, is_counted };
        let cases = [
            ("nothing ever ran", None, Doubt::None),
            ("a clean stop", Some(meta(None, false, 0)), Doubt::None),
            ("this life's port was spent", Some(meta(Some(LIFE), false, 0)), Doubt::None),
            ("killed once", Some(meta(Some(1), false, 0)), Doubt::Shaken),
            ("killed at the same position again", Some(meta(Some(1), true, 0)), alone(0, false)),
            ("killed alone", Some(meta(Some(1), true, 2)), alone(2, false)),
            ("port spent while alone: no further attempt", Some(meta(Some(LIFE), true, 2)), alone(2, true)),
        ];
        for (what, last, expected) in cases {
            assert_eq!(Doubt::of(last.as_ref(), LIFE, NEXT, END), expected, "{what}");
        }
        assert_eq!(Doubt::of(Some(&meta(Some(1), true, 0)), LIFE, NEXT, NEXT), Doubt::Shaken, "no record is there to blame");
    }

    #[test]
    fn attempts_end_with_the_record_that_passes() {
        let doubt = Doubt::of(Some(&meta(Some(1), true, 1)), LIFE, NEXT, END).attempted();
        assert_eq!((doubt.attempts(), doubt.attempted().attempts()), (2, 2), "counted once a life");
        assert!(doubt.covers(Offset(19)) && !doubt.covers(Offset(20)));
        assert_eq!(doubt.moved(NextOffset(11)).attempts(), 0);
        assert_eq!(doubt.moved(NextOffset(11)).attempted().attempts(), 1);
        assert_eq!(doubt.moved(END), Doubt::None);
        assert_eq!(Doubt::Shaken.moved(NextOffset(11)), Doubt::None);
    }
}
