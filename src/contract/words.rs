//! The words a contract may use for each choice, in one place for parser, canonical text and editors.

use super::model::{
    Action, DedupeScope, Mode, OnDelete, OnEmpty, OnLate, OnNotEvaluated, OnOverwrite, ParquetCompression, PublishFormat, SameContentAgain,
};
use crate::format::options::{Encoding, Format, OnBigNumber, OnOddity};
use crate::schema::options::{Coercion, Compatibility, ConflictingDuplicate, ExactDuplicate, OnBadRow};

/// Words and what they mean.
pub type Words<T> = &'static [(&'static str, T)];

pub const MODES: Words<Mode> = &[("etl", Mode::Etl), ("elt", Mode::Elt), ("both", Mode::Both)];
pub const FORMATS: Words<Format> =
    &[("csv", Format::Csv), ("json", Format::Json), ("jsonl", Format::JsonLines), ("avro", Format::Avro), ("parquet", Format::Parquet)];
pub const ENCODINGS: Words<Encoding> = &[
    ("utf-8", Encoding::Utf8),
    ("utf-16le", Encoding::Utf16Le),
    ("utf-16be", Encoding::Utf16Be),
    ("utf-32le", Encoding::Utf32Le),
    ("utf-32be", Encoding::Utf32Be),
    ("cp1252", Encoding::Cp1252),
    ("latin1", Encoding::Latin1),
];
pub const ODDITIES: Words<OnOddity> =
    &[("accept", OnOddity::Accept), ("quarantine_row", OnOddity::QuarantineRow), ("reject_file", OnOddity::RejectFile)];
pub const BIG_NUMBERS: Words<OnBigNumber> = &[
    ("keep_exact_text", OnBigNumber::KeepExactText),
    ("quarantine_row", OnBigNumber::QuarantineRow),
    ("reject_file", OnBigNumber::RejectFile),
];
pub const SAME_CONTENT: Words<SameContentAgain> =
    &[("accept", SameContentAgain::Accept), ("skip", SameContentAgain::Skip), ("quarantine", SameContentAgain::Quarantine)];
pub const COMPATIBILITIES: Words<Compatibility> = &[
    ("NONE", Compatibility::None),
    ("BACKWARD", Compatibility::Backward),
    ("BACKWARD_TRANSITIVE", Compatibility::BackwardTransitive),
    ("FORWARD", Compatibility::Forward),
    ("FORWARD_TRANSITIVE", Compatibility::ForwardTransitive),
    ("FULL", Compatibility::Full),
    ("FULL_TRANSITIVE", Compatibility::FullTransitive),
];
pub const COERCIONS: Words<Coercion> = &[("none", Coercion::None), ("limited", Coercion::Limited), ("full", Coercion::Full)];
pub const BAD_ROWS: Words<OnBadRow> = &[("quarantine_row", OnBadRow::QuarantineRow), ("reject_file", OnBadRow::RejectFile)];
pub const EXACT_DUPLICATES: Words<ExactDuplicate> =
    &[("drop", ExactDuplicate::Drop), ("keep", ExactDuplicate::Keep), ("quarantine_rest", ExactDuplicate::QuarantineRest)];
pub const CONFLICTING_DUPLICATES: Words<ConflictingDuplicate> = &[
    ("keep_first_quarantine_rest", ConflictingDuplicate::KeepFirstQuarantineRest),
    ("keep", ConflictingDuplicate::Keep),
    ("reject_file", ConflictingDuplicate::RejectFile),
];
pub const DEDUPE_SCOPES: Words<DedupeScope> = &[("file", DedupeScope::File), ("batch", DedupeScope::Batch), ("table", DedupeScope::Table)];
pub const LATE: Words<OnLate> = &[("accept_and_flag", OnLate::AcceptAndFlag), ("quarantine", OnLate::Quarantine)];
pub const ACTIONS: Words<Action> = &[
    ("warn", Action::Warn),
    ("quarantine_rows", Action::QuarantineRows),
    ("quarantine_files", Action::QuarantineFiles),
    ("fail_batch", Action::FailBatch),
];
pub const NOT_EVALUATED: Words<OnNotEvaluated> =
    &[("pass", OnNotEvaluated::Pass), ("warn", OnNotEvaluated::Warn), ("fail", OnNotEvaluated::Fail)];
pub const OVERWRITES: Words<OnOverwrite> =
    &[("replace", OnOverwrite::Replace), ("append", OnOverwrite::Append), ("quarantine", OnOverwrite::Quarantine)];
pub const DELETES: Words<OnDelete> = &[("ignore", OnDelete::Ignore), ("tombstone", OnDelete::Tombstone)];
pub const EMPTIES: Words<OnEmpty> = &[("accept", OnEmpty::Accept), ("quarantine", OnEmpty::Quarantine)];
pub const PUBLISH_FORMATS: Words<PublishFormat> = &[("parquet", PublishFormat::Parquet), ("delta", PublishFormat::Delta)];

/// The word of a value.
pub fn word<T: PartialEq>(words: Words<T>, value: &T) -> &'static str {
    words.iter().find(|(_, v)| v == value).map_or("", |(word, _)| word)
}

/// `none`, `snappy`, `lz4`, `zstd` or `zstd(1)` to `zstd(22)`.
pub fn compression(text: &str) -> Option<ParquetCompression> {
    match text {
        "none" => return Some(ParquetCompression::None),
        "snappy" => return Some(ParquetCompression::Snappy),
        "lz4" => return Some(ParquetCompression::Lz4),
        "zstd" => return Some(ParquetCompression::Zstd(1)),
        _ => {}
    }
    let level: u8 = text.strip_prefix("zstd(")?.strip_suffix(')')?.parse().ok()?;
    (1..=22).contains(&level).then_some(ParquetCompression::Zstd(level))
}

/// The text of a compression.
pub fn compression_text(compression: ParquetCompression) -> String {
    match compression {
        ParquetCompression::None => "none".to_owned(),
        ParquetCompression::Snappy => "snappy".to_owned(),
        ParquetCompression::Lz4 => "lz4".to_owned(),
        ParquetCompression::Zstd(level) => format!("zstd({level})"),
    }
}
