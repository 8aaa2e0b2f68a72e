//! Reasons: stable codes that letters, metrics and the audit log share, and what an error asks for.

use std::fmt;
use std::str::FromStr;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why something was refused, held back or noted. The snake_case classes of drift.md §2.11
        /// and the stages' own; the text is stable and never reused for another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ReasonCode {
            $($(#[$doc])* $variant,)*
        }

        impl ReasonCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [ReasonCode] = &[$(ReasonCode::$variant,)*];

            /// The stable text.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ReasonCode::$variant => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    AdditiveColumn = "additive_column",
    BooleanDialect = "boolean_dialect",
    ColumnOrder = "column_order",
    CompressionMismatch = "compression_mismatch",
    ControlChar = "control_char",
    CorruptCompression = "corrupt_compression",
    CorruptFile = "corrupt_file",
    DateDialect = "date_dialect",
    DecimalDialect = "decimal_dialect",
    DecompressionBomb = "decompression_bomb",
    DelimiterDialect = "delimiter_dialect",
    DuplicateFile = "duplicate_file",
    DuplicateHeader = "duplicate_header",
    DuplicateRows = "duplicate_rows",
    EmptyFile = "empty_file",
    EncodingBom = "encoding_bom",
    EncodingChange = "encoding_change",
    EncodingInvalid = "encoding_invalid",
    EscapeDialect = "escape_dialect",
    FooterRow = "footer_row",
    FormatJsonlVsArray = "format_jsonl_vs_array",
    FormatMismatch = "format_mismatch",
    HeaderOnly = "header_only",
    HeaderRename = "header_rename",
    HeaderRenameCosmetic = "header_rename_cosmetic",
    HeaderUnnamed = "header_unnamed",
    IgnoredObject = "ignored_object",
    JsonDepth = "json_depth",
    JsonDuplicateKey = "json_duplicate_key",
    JsonMixedTypes = "json_mixed_types",
    JsonNotRecords = "json_not_records",
    JsonSyntax = "json_syntax",
    JsonTruncated = "json_truncated",
    LateArriving = "late_arriving",
    MalformedQuote = "malformed_quote",
    MissingHeader = "missing_header",
    MissingOptionalColumn = "missing_optional_column",
    MissingRequiredColumn = "missing_required_column",
    MultiHeader = "multi_header",
    MultiTable = "multi_table",
    NestedCompression = "nested_compression",
    NewlineDialect = "newline_dialect",
    NulByte = "nul_byte",
    NullInRequired = "null_in_required",
    NullToken = "null_token",
    NumericOverflow = "numeric_overflow",
    ObjectKeyUnsafe = "object_key_unsafe",
    OversizedField = "oversized_field",
    OversizedRecord = "oversized_record",
    Preamble = "preamble",
    QuoteDialect = "quote_dialect",
    RaggedRows = "ragged_rows",
    RepeatedHeader = "repeated_header",
    RowTypeError = "row_type_error",
    SemanticCodelist = "semantic_codelist",
    SemanticUnit = "semantic_unit",
    Structural = "structural",
    StructuralKeyExplosion = "structural_key_explosion",
    TooManyColumns = "too_many_columns",
    TruncatedCompression = "truncated_compression",
    TruncatedFile = "truncated_file",
    TruncatedTail = "truncated_tail",
    TypeDrift = "type_drift",
    TypeDriftSafe = "type_drift_safe",
    TypeToString = "type_to_string",
    UnknownDataset = "unknown_dataset",
    UnsupportedCompression = "unsupported_compression",
    Valid = "valid",
    /// A notification that no family of events explains; its raw bytes stand in the letter.
    EventUnreadable = "event_unreadable",
    /// A replay manifest dropped into the lake that cannot be carried out; the faults stand in the letter.
    ManifestRefused = "manifest_refused",
    /// The same version was landed before.
    DuplicateObject = "duplicate_object",
    /// A newer version of the same key is known.
    SupersededObject = "superseded_object",
    /// The object was gone, or another version stood there, when it was read.
    ObjectGone = "object_gone",
    /// No landing bucket of this process has the name the event says.
    BucketUnknown = "bucket_unknown",
    /// The suffix is not one the contract names.
    SuffixRefused = "suffix_refused",
    /// Smaller than `min_bytes`.
    TooSmall = "too_small",
    /// Larger than `max_bytes`.
    TooLarge = "too_large",
    /// The key does not fit the contract's `layout`.
    LayoutMismatch = "layout_mismatch",
    /// A newer version of the same key, where the contract refuses overwrites.
    OverwriteRefused = "overwrite_refused",
    /// The registry refused the evolved schema.
    RegistryRefused = "registry_refused",
    /// More schema versions today than the contract allows.
    SchemaBudget = "schema_budget",
    /// A hard quality rule failed.
    QualityRule = "quality_rule",
    /// A `derive` expression failed on this row.
    DeriveFailed = "derive_failed",
    /// A conflicting row of the dedupe key.
    ConflictingDuplicate = "conflicting_duplicate",
    /// The value breaks a contract range, pattern or list.
    ContractValue = "contract_value",
    /// The record is bad in a way nothing else names; kept so that nothing is ever lost.
    PoisonRecord = "poison_record",
    /// The contract of this hash cannot be read any more.
    ContractMissing = "contract_missing",
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason code nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a reason code")]
pub struct ReasonCodeError {
    pub text: String,
}

impl FromStr for ReasonCode {
    type Err = ReasonCodeError;
    fn from_str(text: &str) -> Result<Self, ReasonCodeError> {
        Self::ALL.iter().copied().find(|c| c.as_str() == text).ok_or_else(|| ReasonCodeError { text: text.to_owned() })
    }
}

/// What an error that reached the runner asks for. Nobody else decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Something outside is unreachable or changed under us: gather again after a backoff.
    Retry,
    /// The input is at fault.
    Quarantine(ReasonCode),
    /// A promise of our own is broken; going on would make it worse.
    Halt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_round_trip() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ReasonCode::ALL {
            let text = code.as_str();
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{text}");
            assert!(seen.insert(text), "{text} twice");
            assert_eq!(text.parse(), Ok(*code));
        }
    }
}
