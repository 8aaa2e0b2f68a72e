//! What becomes of a letter: a person releases or discards what it holds back, or a replay overtakes it.

use std::fmt;

/// What a person decided about a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The version it holds back goes through all stages again.
    Release,
    /// It stays held back, and nobody needs to look at it any more.
    Discard,
}

/// A word is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no verdict; say release or discard")]
pub struct UnknownVerdict {
    word: String,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Release => "release",
            Verdict::Discard => "discard",
        }
    }

    /// Kind of its line in the audit log.
    pub fn kind(self) -> &'static str {
        match self {
            Verdict::Release => "LetterReleased",
            Verdict::Discard => "LetterDiscarded",
        }
    }
}

impl std::str::FromStr for Verdict {
    type Err = UnknownVerdict;

    fn from_str(word: &str) -> Result<Self, UnknownVerdict> {
        let known = [Verdict::Release, Verdict::Discard].into_iter().find(|v| v.as_str() == word);
        known.ok_or_else(|| UnknownVerdict { word: word.to_owned() })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LetterState {
    /// Somebody has to decide.
    Open,
    /// What it held back went through the stages again; a new letter speaks of it if it was held back again.
    Released,
    Discarded,
}

impl LetterState {
    pub const ALL: [LetterState; 3] = [LetterState::Open, LetterState::Released, LetterState::Discarded];

    /// The last verdict counts; without one a replay of the same version releases as well.
    pub fn of(last: Option<Verdict>, is_overtaken: bool) -> Self {
        match last {
            Some(Verdict::Discard) => LetterState::Discarded,
            Some(Verdict::Release) => LetterState::Released,
            None if is_overtaken => LetterState::Released,
            None => LetterState::Open,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            LetterState::Open => "open",
            LetterState::Released => "released",
            LetterState::Discarded => "discarded",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// Why a letter cannot get this verdict; `None`: it can.
///
/// Letters chosen `by_name` may be released again: the first release may have been cancelled on its way.
pub fn objection(verdict: Verdict, state: LetterState, by_name: bool) -> Option<&'static str> {
    match (verdict, state) {
        (_, LetterState::Open) => None,
        (Verdict::Release, LetterState::Released) if by_name => None,
        (_, LetterState::Released) => Some("it was released already"),
        (Verdict::Release, LetterState::Discarded) => Some("it was discarded for good; `lakegate replay manifest` still replays it"),
        (Verdict::Discard, LetterState::Discarded) => Some("it was discarded already"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_goes_before_what_a_replay_did() {
        use LetterState::{Discarded, Open, Released};
        for (last, overtaken, state) in [
            (None, false, Open),
            (None, true, Released),
            (Some(Verdict::Release), false, Released),
            (Some(Verdict::Discard), false, Discarded),
            (Some(Verdict::Discard), true, Discarded),
        ] {
            assert_eq!(LetterState::of(last, overtaken), state, "{last:?} {overtaken}");
        }
        for (verdict, state, by_name, objects) in [
            (Verdict::Release, Open, false, false),
            (Verdict::Release, Released, false, true),
            (Verdict::Release, Released, true, false),
            (Verdict::Release, Discarded, true, true),
            (Verdict::Discard, Open, true, false),
            (Verdict::Discard, Released, true, true),
            (Verdict::Discard, Discarded, true, true),
        ] {
            assert_eq!(objection(verdict, state, by_name).is_some(), objects, "{verdict} {state:?} {by_name}");
        }
    }

    #[test]
    fn words_are_read_back() {
        assert!(LetterState::ALL.iter().all(|s| LetterState::from_word(s.as_str()) == Some(*s)));
        assert_eq!("discard".parse(), Ok(Verdict::Discard));
        assert!("forgive".parse::<Verdict>().is_err());
    }
}
