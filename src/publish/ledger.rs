//! The publish ledger: which object's rows stand in which file. It is the authority and never
//! expires (decisions.md 4).
//!
//! ```text
//!  live/<table>\0<object>   LiveEntry    generation, files, rows
//!  file/<table>\0<key>      FileEntry    what a published file holds
//!  table/<table>            TableEntry   number of the last commit
//! ```
//!
//! Object keys may hold any character, so a NUL ends the table's name. Values are JSON with a
//! format number (decisions.md 24).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::names::Generation;
use crate::domain::object::{ObjectRef, ObjectVersion, Sequencer, SequencerFamily};
use crate::domain::time::Timestamp;

/// Format of the values written now.
pub const FORMAT: u32 = 1;

/// Reads of the ledger, as decide sees it: the overlay over the local store.
pub trait View {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// Entries whose key starts with `prefix`, in key order.
    fn scan_prefix(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)>;
}

impl View for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        BTreeMap::get(self, key).cloned()
    }

    fn scan_prefix(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.range(prefix.to_vec()..).take_while(|(k, _)| k.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// A ledger value cannot be read: our own promise is broken, so the stage halts.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("ledger value at {key:?} is not readable")]
    Unreadable {
        key: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("ledger value at {key:?} has format {found}; this build reads formats up to {FORMAT}")]
    FormatUnknown { key: String, found: u32 },
}

/// `contract.on_overwrite`, as far as publish is concerned (decisions.md 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOverwrite {
    /// The newest version's rows replace the older one's. Also for `quarantine`, whose newer
    /// versions never come this far.
    #[default]
    Replace,
    /// Every version keeps its rows.
    Append,
}

/// Identity of an object in the ledger: `bucket/key`, with the version where versions stand side by side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(pub String);

impl ObjectId {
    pub fn new(object: &ObjectRef, version: &ObjectVersion, policy: OnOverwrite) -> Self {
        match policy {
            OnOverwrite::Replace => Self(object.to_string()),
            OnOverwrite::Append => Self(format!("{object}\u{1}{}", version.token())),
        }
    }
}

/// Which version of an object's key is meant, and how it compares with another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionMark {
    /// [`ObjectVersion::token`].
    pub token: String,
    pub sequencer: Option<SequencerMark>,
    /// First landing, in milliseconds.
    pub first_landed: i64,
}

/// Twin of [`Sequencer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequencerMark {
    family: u8,
    text: String,
}

impl VersionMark {
    pub fn new(version: &ObjectVersion, first_landed: Timestamp) -> Self {
        let sequencer = version.sequencer.as_ref().map(|s| SequencerMark { family: family_number(s.family), text: s.text.clone() });
        Self { token: version.token(), sequencer, first_landed: first_landed.millis() }
    }

    /// Order of two versions of one key: by sequencer, else by first landing, else by token, so
    /// that every replica decides alike. Equal only for the same version.
    pub fn compare(&self, other: &VersionMark) -> Ordering {
        if self.token == other.token {
            return Ordering::Equal;
        }
        let by_sequencer = match (&self.sequencer, &other.sequencer) {
            (Some(a), Some(b)) => a.domain().zip(b.domain()).and_then(|(a, b)| a.compare(&b)).unwrap_or(Ordering::Equal),
            _ => Ordering::Equal,
        };
        by_sequencer.then(self.first_landed.cmp(&other.first_landed)).then_with(|| self.token.cmp(&other.token))
    }
}

const FAMILIES: [SequencerFamily; 5] =
    [SequencerFamily::Hex, SequencerFamily::Ceph, SequencerFamily::Integer, SequencerFamily::Text, SequencerFamily::Incomparable];

fn family_number(family: SequencerFamily) -> u8 {
    match family {
        SequencerFamily::Hex => 0,
        SequencerFamily::Ceph => 1,
        SequencerFamily::Integer => 2,
        SequencerFamily::Text => 3,
        SequencerFamily::Incomparable => 4,
    }
}

impl SequencerMark {
    fn domain(&self) -> Option<Sequencer> {
        let family = *FAMILIES.get(usize::from(self.family))?;
        Some(Sequencer { family, text: self.text.clone() })
    }
}

/// What of an object is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveEntry {
    pub version: VersionMark,
    pub generation: u32,
    /// The plan that published it.
    pub batch: String,
    /// Final key → rows of this object in it: one file per hive partition. Empty for an object of 0 rows.
    pub files: BTreeMap<String, LiveFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveFile {
    /// Escaped hive path; empty for an unpartitioned table.
    pub partition: String,
    pub rows: u64,
}

impl LiveEntry {
    pub fn generation(&self) -> Generation {
        Generation(self.generation)
    }
}

/// What a published file holds. The same list stands in its Parquet footer (decisions.md 10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub partition: String,
    pub commit_seq: u64,
    /// [`Stamp`] of its content: digest of key, commit and the list below.
    pub stamp: String,
    /// Empty: a tombstone, kept so that a late Create fails.
    pub objects: Vec<FileObject>,
}

/// Rows of one object in one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileObject {
    pub object: ObjectId,
    pub version: String,
    pub generation: u32,
    pub rows: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableEntry {
    /// 0: nothing was committed yet.
    pub commit_seq: u64,
    pub last_batch: String,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    entry: T,
}

#[derive(Deserialize)]
struct FormatOnly {
    v: u32,
}

fn joined(kind: &str, table: &str, rest: Option<&str>) -> Vec<u8> {
    let mut key = Vec::with_capacity(kind.len() + table.len() + rest.map_or(0, str::len) + 2);
    key.extend_from_slice(kind.as_bytes());
    key.push(b'/');
    key.extend_from_slice(table.as_bytes());
    if let Some(rest) = rest {
        key.push(0);
        key.extend_from_slice(rest.as_bytes());
    }
    key
}

pub fn live_key(table: &str, object: &ObjectId) -> Vec<u8> {
    joined("live", table, Some(&object.0))
}

pub fn file_key(table: &str, key: &str) -> Vec<u8> {
    joined("file", table, Some(key))
}

pub fn table_key(table: &str) -> Vec<u8> {
    joined("table", table, None)
}

/// Prefix of all files of one table, for `audit` and recovery.
pub fn files_prefix(table: &str) -> Vec<u8> {
    joined("file", table, Some(""))
}

/// Writes a value with its format number.
pub fn encode<T: Serialize>(entry: &T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { v: FORMAT, entry }).expect("ledger entries have text keys and finite numbers only")
}

/// Reads a value back. `key` is for the message only.
///
/// # Errors
/// `Unreadable` for anything that is not our JSON, `FormatUnknown` for a newer format.
pub fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, LedgerError> {
    let unreadable = |source| LedgerError::Unreadable { key: String::from_utf8_lossy(key).into_owned(), source };
    let format: FormatOnly = serde_json::from_slice(bytes).map_err(unreadable)?;
    if format.v != FORMAT {
        return Err(LedgerError::FormatUnknown { key: String::from_utf8_lossy(key).into_owned(), found: format.v });
    }
    serde_json::from_slice::<T>(bytes).map_err(unreadable)
}

/// Reads one entry of a view.
///
/// # Errors
/// As [`decode`].
pub fn read<T: DeserializeOwned>(view: &dyn View, key: &[u8]) -> Result<Option<T>, LedgerError> {
    view.get(key).map(|bytes| decode(key, &bytes)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(token: &str, sequencer: Option<&str>, at: i64) -> VersionMark {
        let sequencer = sequencer.map(|text| SequencerMark { family: 0, text: text.to_owned() });
        VersionMark { token: token.to_owned(), sequencer, first_landed: at }
    }

    #[test]
    fn entries_round_trip_and_say_their_format() {
        let live = LiveEntry {
            version: mark("e:abc:10", Some("0055"), 17),
            generation: 2,
            batch: "orders/0/000000000001".to_owned(),
            files: BTreeMap::from([("t/a.parquet".to_owned(), LiveFile { partition: "d=1".to_owned(), rows: 3 })]),
        };
        let bytes = encode(&live);
        assert!(bytes.starts_with(br#"{"v":1,"#), "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(decode::<LiveEntry>(b"k", &bytes).expect("ours"), live);
    }

    #[test]
    fn the_first_format_still_opens() {
        let old = br#"{"v":1,"partition":"d=1","commit_seq":9,"stamp":"00","objects":[{"object":"b/k","version":"e:x:1","generation":0,"rows":5}]}"#;
        let entry: FileEntry = decode(b"k", old).expect("format 1");
        assert_eq!((entry.commit_seq, entry.objects[0].rows), (9, 5));
    }

    #[test]
    fn foreign_values_are_refused_by_name() {
        assert!(matches!(decode::<TableEntry>(b"table/t", b"{}"), Err(LedgerError::Unreadable { key, .. }) if key == "table/t"));
        let newer = br#"{"v":2,"commit_seq":1,"last_batch":""}"#;
        assert!(matches!(decode::<TableEntry>(b"k", newer), Err(LedgerError::FormatUnknown { found: 2, .. })));
    }

    #[test]
    fn tables_whose_names_are_prefixes_of_each_other_stay_apart() {
        let mut store: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        store.insert(file_key("orders", "x"), vec![]);
        store.insert(file_key("orders/eu", "x"), vec![]);
        store.insert(file_key("orders-eu", "x"), vec![]);
        assert_eq!(store.scan_prefix(&files_prefix("orders")).len(), 1);
    }

    #[test]
    fn versions_compare_by_sequencer_then_landing() {
        use Ordering::{Equal, Greater, Less};
        let cases = [
            (mark("a", Some("10"), 9), mark("b", Some("20"), 1), Less),
            (mark("a", None, 9), mark("b", Some("20"), 1), Greater),
            (mark("a", Some("zz"), 1), mark("b", Some("20"), 2), Less),
            (mark("a", None, 1), mark("b", None, 1), Less),
            (mark("a", Some("10"), 9), mark("a", Some("20"), 1), Equal),
        ];
        for (a, b, expected) in cases {
            assert_eq!(a.compare(&b), expected, "{a:?} against {b:?}");
            assert_eq!(b.compare(&a), expected.reverse());
        }
    }

    #[test]
    fn versions_stand_side_by_side_only_under_append() {
        let object = ObjectRef { bucket: "b".parse().expect("valid"), key: "k".parse().expect("valid") };
        let version = |id: &str| ObjectVersion { version_id: Some(id.to_owned()), ..ObjectVersion::default() };
        let id = |v: &str, policy| ObjectId::new(&object, &version(v), policy);
        assert_eq!(id("1", OnOverwrite::Replace), id("2", OnOverwrite::Replace));
        assert_ne!(id("1", OnOverwrite::Append), id("2", OnOverwrite::Append));
    }
}
