//! Names, checked once at the edge and trusted afterwards.

use std::fmt;
use std::str::FromStr;

/// A name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} has {len} bytes, at most {max} are allowed")]
    TooLong { what: &'static str, len: usize, max: usize },
    #[error("{what} {name:?} contains {found:?}; allowed are {allowed}")]
    Character { what: &'static str, name: String, found: char, allowed: &'static str },
    #[error(
        "{name:?} is not a stage; stages are bridge, validate, classify, assemble, transform, check, publish, replay, letters, reports"
    )]
    Stage { name: String },
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_name! {
    /// Bucket of an object store: opaque text of 1 to 255 bytes without control characters or `/`.
    BucketName
}
text_name! {
    /// Key of an object: opaque text of 1 to 1024 bytes, already decoded. Never a local path;
    /// whether it is safe is asked by [`crate::admission`], not assumed here.
    ObjectKey
}
text_name! {
    /// Dataset: `[a-z0-9_-]`, at most 64 characters; it stands in paths, labels and topic keys.
    DatasetName
}
text_name! {
    /// Topic: Kafka's rule, `[A-Za-z0-9._-]`, at most 249 characters.
    TopicName
}
text_name! {
    /// Subject in a schema registry, 1 to 255 bytes without control characters.
    Subject
}
text_name! {
    /// Id of one run: a UUIDv5 for live traffic, `<replayId>-<index:04>` for a replay.
    RunId
}
text_name! {
    /// Id of one replay: `[A-Za-z0-9._-]`, at most 128 characters.
    ReplayId
}
text_name! {
    /// Id of one batch plan: `<dataset>/<shard>/<seq:012>`.
    BatchId
}

fn bounded(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > max {
        return Err(NameError::TooLong { what, len: text.len(), max });
    }
    Ok(())
}

fn only(what: &'static str, text: &str, allowed: &'static str, ok: impl Fn(char) -> bool) -> Result<(), NameError> {
    match text.chars().find(|c| !ok(*c)) {
        None => Ok(()),
        Some(found) => Err(NameError::Character { what, name: text.to_owned(), found, allowed }),
    }
}

impl FromStr for BucketName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        bounded("bucket name", text, 255)?;
        only("bucket name", text, "characters other than / and controls", |c| c != '/' && !c.is_control())?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ObjectKey {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        bounded("object key", text, 1024)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for DatasetName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        bounded("dataset name", text, 64)?;
        only("dataset name", text, "a-z 0-9 _ -", |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')?;
        Ok(Self(text.to_owned()))
    }
}

fn topic_like(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    bounded(what, text, max)?;
    only(what, text, "A-Z a-z 0-9 . _ -", |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

impl FromStr for TopicName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        topic_like("topic name", text, 249)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ReplayId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        topic_like("replay id", text, 128)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for RunId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        topic_like("run id", text, 160)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Subject {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        bounded("subject", text, 255)?;
        only("subject", text, "characters other than controls", |c| !c.is_control())?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for BatchId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        bounded("batch id", text, 200)?;
        only("batch id", text, "a-z 0-9 _ - /", |c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-'))?;
        Ok(Self(text.to_owned()))
    }
}

impl BatchId {
    /// `<dataset>/<shard>/<seq:012>`: `seq` counts the plans of one shard, so a rerun has the same name.
    pub fn new(dataset: &DatasetName, shard: u32, seq: u64) -> Self {
        Self(format!("{dataset}/{shard}/{seq:012}"))
    }
}

/// Id of a schema in a registry; 4 bytes, big-endian, in every framed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

/// Version of a schema under its subject, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaVersion(pub u32);

/// Generation of an object version: 0 for live traffic, one more for every admitted replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation of the next admitted replay.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A stage: one consumer group, one word in topics, labels and configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageName {
    Bridge,
    Validate,
    Classify,
    Assemble,
    Transform,
    Check,
    Publish,
    /// Re-publishes landing records on request.
    Replay,
    /// Projects the quarantine topic into the lake.
    Letters,
    /// Projects quality reports into the lake.
    Reports,
}

impl StageName {
    /// All stages in the order an object meets them.
    pub const ALL: [StageName; 10] = [
        StageName::Bridge,
        StageName::Validate,
        StageName::Classify,
        StageName::Assemble,
        StageName::Transform,
        StageName::Check,
        StageName::Publish,
        StageName::Replay,
        StageName::Letters,
        StageName::Reports,
    ];

    /// The word used in topics, labels, configuration and `--stages`.
    pub fn as_str(self) -> &'static str {
        match self {
            StageName::Bridge => "bridge",
            StageName::Validate => "validate",
            StageName::Classify => "classify",
            StageName::Assemble => "assemble",
            StageName::Transform => "transform",
            StageName::Check => "check",
            StageName::Publish => "publish",
            StageName::Replay => "replay",
            StageName::Letters => "letters",
            StageName::Reports => "reports",
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StageName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| NameError::Stage { name: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_refuse() {
        assert_eq!("".parse::<DatasetName>(), Err(NameError::Empty { what: "dataset name" }));
        assert!(matches!("Orders".parse::<DatasetName>(), Err(NameError::Character { found: 'O', .. })));
        assert!(matches!("a/b".parse::<BucketName>(), Err(NameError::Character { found: '/', .. })));
        assert!("x".repeat(1025).parse::<ObjectKey>().is_err());
        assert!("landing/orders/2026/a b.csv".parse::<ObjectKey>().is_ok());
        assert!("r/1".parse::<ReplayId>().is_err());
    }

    #[test]
    fn stage_words_round_trip() {
        for stage in StageName::ALL {
            assert_eq!(stage.as_str().parse::<StageName>(), Ok(stage));
        }
        assert!("glue".parse::<StageName>().is_err());
    }

    #[test]
    fn batch_ids_sort_by_sequence() {
        let orders: DatasetName = "orders".parse().expect("valid");
        assert!(BatchId::new(&orders, 1, 9) < BatchId::new(&orders, 1, 10));
        assert_eq!(BatchId::new(&orders, 3, 41).as_str(), "orders/3/000000000041");
    }
}
