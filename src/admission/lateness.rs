//! Lateness: event time, or the date in the key, against the object's *first landing*, never
//! against now, so that a replay is as late as the original was (decisions.md 3).

use chrono::{Days, NaiveDate, NaiveTime};

use crate::domain::time::{Span, Timestamp};

/// Whether data came later than its contract allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lateness {
    OnTime,
    Late {
        /// Beyond the moment of the event, not beyond the allowance.
        by: Span,
    },
    /// Neither event time nor date, or nobody knows when the object landed first (decisions.md 40).
    NotJudged,
}

/// What lateness is measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    At(Timestamp),
    /// Some time during this UTC day: lateness counts from its end.
    During(NaiveDate),
}

impl Happened {
    /// The event time if there is one, else the key's date.
    pub fn of(event_time: Option<Timestamp>, key_date: Option<NaiveDate>) -> Option<Self> {
        event_time.map(Happened::At).or(key_date.map(Happened::During))
    }

    fn end(self) -> Timestamp {
        match self {
            Happened::At(at) => at,
            Happened::During(date) => date
                .checked_add_days(Days::new(1))
                .map_or(Timestamp::NEVER, |next| Timestamp::from_millis(next.and_time(NaiveTime::MIN).and_utc().timestamp_millis())),
        }
    }
}

/// Judges one moment; exactly `allowed` is still on time.
pub fn judge(happened: Option<Happened>, first_landed: Option<Timestamp>, allowed: Span) -> Lateness {
    let (Some(happened), Some(first_landed)) = (happened, first_landed) else { return Lateness::NotJudged };
    let by = first_landed.since(happened.end());
    if by > allowed { Lateness::Late { by } } else { Lateness::OnTime }
}
