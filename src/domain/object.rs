//! Objects of a store: where they are, which version, and how their events are ordered.

use std::cmp::Ordering;
use std::fmt;

use crate::domain::names::{BucketName, ObjectKey};
use crate::domain::time::Timestamp;

/// Where an object lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub bucket: BucketName,
    pub key: ObjectKey,
}

impl fmt::Display for ObjectRef {
    /// `bucket/key`, the form used as topic key and in messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

/// What is known of one version of an object. Absent facts stay `None`; an etag is a change
/// token, never a checksum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectVersion {
    pub version_id: Option<String>,
    pub etag: Option<String>,
    pub size: Option<u64>,
    pub sequencer: Option<Sequencer>,
    pub last_modified: Option<Timestamp>,
}

impl ObjectVersion {
    /// Text that identifies this version among all versions of its key: the version id, else
    /// etag and size, else size and modification time. Two sightings in an unversioned bucket are one version
    /// when e-tag and size agree and the sequencers are equal or one is missing (decisions.md 51),
    /// so the sequencer is compared apart, by [`Sequencer::compare`].
    pub fn token(&self) -> String {
        let size = self.size.map_or_else(|| "-".to_owned(), |s| s.to_string());
        match (&self.version_id, &self.etag, self.last_modified) {
            (Some(version), _, _) => format!("v:{version}"),
            (None, Some(etag), _) => format!("e:{etag}:{size}"),
            (None, None, Some(at)) => format!("m:{}:{size}", at.millis()),
            (None, None, None) => format!("s:{size}"),
        }
    }
}

/// How a family of stores writes its sequencers (events.md §1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SequencerFamily {
    /// AWS, MinIO, RustFS: hex text, the shorter right-padded with zeros.
    Hex,
    /// Ceph RGW: the raw memory of its clock, 16 hex digits: LE u32 seconds, LE u32 nanoseconds.
    Ceph,
    /// Google Cloud Storage: object generation, an integer.
    Integer,
    /// Azure: text compare.
    Text,
    /// versitygw and whatever else: no order across restarts.
    Incomparable,
}

/// Orders events of *one* key from one family of stores; comparing anything else answers `None`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sequencer {
    pub family: SequencerFamily,
    pub text: String,
}

impl Sequencer {
    /// Order of two sequencers of the same key. `None`: incomparable, a HEAD decides.
    pub fn compare(&self, other: &Sequencer) -> Option<Ordering> {
        if self.family != other.family {
            return None;
        }
        match self.family {
            SequencerFamily::Hex => compare_hex(&self.text, &other.text),
            SequencerFamily::Ceph => Some(ceph_clock(&self.text)?.cmp(&ceph_clock(&other.text)?)),
            SequencerFamily::Integer => Some(integer(&self.text)?.cmp(&integer(&other.text)?)),
            SequencerFamily::Text => Some(self.text.cmp(&other.text)),
            SequencerFamily::Incomparable => (self.text == other.text).then_some(Ordering::Equal),
        }
    }
}

/// Sequencers compare as hex, right-padded (S3 User Guide, "Event message structure").
fn compare_hex(a: &str, b: &str) -> Option<Ordering> {
    let is_hex = |s: &str| !s.is_empty() && s.bytes().all(|c| c.is_ascii_hexdigit());
    if !is_hex(a) || !is_hex(b) {
        return None;
    }
    let width = a.len().max(b.len());
    let digit = |s: &str, i: usize| s.as_bytes().get(i).map_or(b'0', u8::to_ascii_lowercase);
    Some((0..width).map(|i| digit(a, i).cmp(&digit(b, i))).find(|o| o.is_ne()).unwrap_or(Ordering::Equal))
}

/// An object generation: digits only, no sign.
fn integer(text: &str) -> Option<u128> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Seconds and nanoseconds of a Ceph sequencer, whose bytes are little-endian.
fn ceph_clock(text: &str) -> Option<(u32, u32)> {
    if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let word = |hex: &str| u32::from_str_radix(hex, 16).ok().map(u32::swap_bytes);
    Some((word(&text[..8])?, word(&text[8..])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(family: SequencerFamily, text: &str) -> Sequencer {
        Sequencer { family, text: text.to_owned() }
    }

    #[test]
    fn shorter_hex_is_padded_on_the_right() {
        let hex = |t| seq(SequencerFamily::Hex, t);
        assert_eq!(hex("0055AED6DCD90281E5").compare(&hex("0055aed6dcd90281e5")), Some(Ordering::Equal));
        assert_eq!(hex("1").compare(&hex("0FFF")), Some(Ordering::Greater));
        assert_eq!(hex("10").compare(&hex("1")), Some(Ordering::Equal));
        assert_eq!(hex("xyz").compare(&hex("1")), None);
    }

    #[test]
    fn ceph_compares_its_clock_and_not_its_text() {
        let ceph = |t| seq(SequencerFamily::Ceph, t);
        // 0x5f_01_00_00 LE seconds sorts before 0x60_00_00_00 by text but is 0x15f > 0x60.
        assert_eq!(ceph("5f01000000000000").compare(&ceph("6000000000000000")), Some(Ordering::Greater));
        assert_eq!(ceph("short").compare(&ceph("6000000000000000")), None);
        assert_eq!(ceph("+f01000000000000").compare(&ceph("6000000000000000")), None);
    }

    #[test]
    fn families_do_not_mix() {
        assert_eq!(seq(SequencerFamily::Hex, "1").compare(&seq(SequencerFamily::Text, "1")), None);
        assert_eq!(seq(SequencerFamily::Integer, "9").compare(&seq(SequencerFamily::Integer, "10")), Some(Ordering::Less));
    }
}
