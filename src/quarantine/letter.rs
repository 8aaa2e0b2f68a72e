//! A quarantine letter: one per refused object, or per object with refused rows.

use crate::domain::names::{DatasetName, Generation, ReplayId, RunId, StageName};
use crate::domain::object::{ObjectRef, ObjectVersion};
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::quarantine::remedy::remedy;
use crate::quarantine::row::RowLetter;

/// Samples kept in a letter (decisions.md 19).
pub const SAMPLES_MAX: usize = 20;
/// Raw bytes kept of an unreadable notification (decisions.md 19).
pub const RAW_MAX: usize = 64 << 10;
/// Text kept of `detail`.
pub const DETAIL_MAX: usize = 4096;

/// What the letter is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// The whole object is held back.
    Object(ObjectSubject),
    /// Some rows of an object are held back; their letters lie staged under `rows_key`.
    Rows { object: ObjectSubject, rows_key: String },
    /// A notification nobody could read: there is no object yet.
    Notification { raw: RawBytes },
}

#[derive(Debug, Clone, PartialEq)]
pub struct ObjectSubject {
    pub object: ObjectRef,
    pub version: ObjectVersion,
    pub generation: Generation,
    pub run_id: RunId,
    pub replay_id: Option<ReplayId>,
}

/// The first bytes of something unreadable, untouched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBytes {
    bytes: Vec<u8>,
    /// Length before cutting.
    full_len: u64,
}

impl RawBytes {
    /// Keeps at most [`RAW_MAX`] bytes.
    pub fn cut(bytes: &[u8]) -> Self {
        Self { bytes: bytes.iter().take(RAW_MAX).copied().collect(), full_len: bytes.len() as u64 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn full_len(&self) -> u64 {
        self.full_len
    }

    /// Standard base64 with padding (RFC 4648 §4), as it stands in records.
    pub fn base64(&self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::with_capacity(self.bytes.len().div_ceil(3) * 4);
        for chunk in self.bytes.chunks(3) {
            let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
            let word = at(0) << 16 | at(1) << 8 | at(2);
            for place in 0..4usize {
                let digit = (word >> (18 - 6 * place)) & 63;
                out.push(if place <= chunk.len() { char::from(ALPHABET[digit as usize]) } else { '=' });
            }
        }
        out
    }
}

/// Rows of the object, as far as they were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowCounts {
    /// `None`: the file could not be read to its end.
    pub physical: Option<u64>,
    pub quarantined: u64,
    pub deduplicated: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    pub subject: Subject,
    /// `None` before routing, or when no dataset matched.
    pub dataset: Option<DatasetName>,
    pub stage: StageName,
    pub reason: ReasonCode,
    /// What exactly is wrong, for a person; at most [`DETAIL_MAX`] bytes.
    detail: String,
    /// JSON, opaque here: findings, rule outcomes, the decision record.
    pub evidence: String,
    pub rows: RowCounts,
    /// At most [`SAMPLES_MAX`], already redacted.
    samples: Vec<RowLetter>,
    pub at: Timestamp,
}

impl Letter {
    /// A letter without rows, samples or evidence; the detail is cut, never refused.
    pub fn new(subject: Subject, dataset: Option<DatasetName>, stage: StageName, reason: ReasonCode, detail: &str, at: Timestamp) -> Self {
        let detail = cut(detail, DETAIL_MAX).to_owned();
        Self { subject, dataset, stage, reason, detail, evidence: "{}".to_owned(), rows: RowCounts::default(), samples: Vec::new(), at }
    }

    /// Adds a sample while there is room; true if it was kept.
    pub fn sample(&mut self, row: RowLetter) -> bool {
        let room = self.samples.len() < SAMPLES_MAX;
        if room {
            self.samples.push(row);
        }
        room
    }

    pub fn samples(&self) -> &[RowLetter] {
        &self.samples
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        remedy(self.reason)
    }
}

/// At most `max` bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quarantine::row::{RowFinding, RowLetter};

    fn letter(detail: &str) -> Letter {
        let subject = Subject::Notification { raw: RawBytes::cut(b"{") };
        Letter::new(subject, None, StageName::Bridge, ReasonCode::EventUnreadable, detail, Timestamp::EPOCH)
    }

    #[test]
    fn raw_bytes_are_cut_and_encoded() {
        for (raw, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy"), ("\u{ff}", "w78=")] {
            assert_eq!(RawBytes::cut(raw.as_bytes()).base64(), expected, "{raw:?}");
        }
        let large = RawBytes::cut(&vec![0; RAW_MAX + 5]);
        assert_eq!((large.bytes().len(), large.full_len()), (RAW_MAX, RAW_MAX as u64 + 5));
    }

    #[test]
    fn a_letter_is_bounded_whatever_is_put_in() {
        let mut letter = letter(&"é".repeat(DETAIL_MAX));
        assert!(letter.detail().len() <= DETAIL_MAX);
        let row =
            RowLetter::new("b/k", None, b"x", RowFinding { reason: ReasonCode::RaggedRows, detail: "too short".to_owned(), path: None });
        let kept = (0..100).filter(|_| letter.sample(row.clone())).count();
        assert_eq!((kept, letter.samples().len()), (SAMPLES_MAX, SAMPLES_MAX));
        assert_eq!(letter.remedy(), remedy(ReasonCode::EventUnreadable));
    }
}
