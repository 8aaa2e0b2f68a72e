//! Remedies: what a person can do about each reason. One sentence, no blame.

use crate::domain::reason::ReasonCode;

/// The remedy of a reason. Total: a new code does not compile without one.
pub fn remedy(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::AdditiveColumn => {
            "Nothing to do if the column is wanted; else set `schema.policy.allow_additive_columns: false` or ask the producer to drop it."
        }
        ReasonCode::BooleanDialect => "Declare the texts under `schema.columns.<name>.true` and `.false`, then replay.",
        ReasonCode::ColumnOrder => "Nothing to do: columns are matched by name.",
        ReasonCode::CompressionMismatch => "Give the object the suffix of its real compression; content decides, so nothing is lost.",
        ReasonCode::ControlChar => "Ask the producer to remove control characters from the named field, then send the file again.",
        ReasonCode::CorruptCompression => "Compress and upload the file again: its checksum does not match.",
        ReasonCode::CorruptFile => "Upload the file again; compare its size and checksum with the producer's copy.",
        ReasonCode::DateDialect => "Declare the layout under `schema.columns.<name>.format`, then replay.",
        ReasonCode::DecimalDialect => {
            "Send numbers with a decimal point and no grouping, or allow full coercion with `schema.policy.allow_type_coercion: full`, then replay."
        }
        ReasonCode::DecompressionBomb => "Split the file, or raise `source.limits` for this dataset if the size is honest, then replay.",
        ReasonCode::DelimiterDialect => "Declare `source.csv.delimiter`, then replay.",
        ReasonCode::DuplicateFile => "Nothing to do if the copy was a mistake; else set `source.same_content_again: accept` and replay.",
        ReasonCode::DuplicateHeader => "Give each column of the header its own name and send the file again.",
        ReasonCode::DuplicateRows => "Nothing to do: one copy of each row landed; change `rows.dedupe` if all copies are wanted.",
        ReasonCode::EmptyFile => "Ask the producer whether the file should be empty; if it may be, set `on_empty: accept`, then replay.",
        ReasonCode::EncodingBom => "Nothing to do: the byte order mark was skipped.",
        ReasonCode::EncodingChange => "Nothing to do if the text reads well; else ask the producer for UTF-8.",
        ReasonCode::EncodingInvalid => "Send the file as UTF-8, or declare `source.csv.encoding_fallback`, then replay.",
        ReasonCode::EscapeDialect => "Declare `source.csv.escape`, then replay.",
        ReasonCode::FooterRow => "Ask the producer to leave out the trailing summary line.",
        ReasonCode::FormatJsonlVsArray => "Add the format that was found to `source.formats`, or send the declared one, then replay.",
        ReasonCode::FormatMismatch => {
            "Send a file of a format in `source.formats`; error pages saved under a data name are the usual cause."
        }
        ReasonCode::HeaderOnly => "Nothing to do: the file has a header and no rows.",
        ReasonCode::HeaderRename => "If it is the same column, add the new name to `schema.columns.<name>.aliases`, then replay.",
        ReasonCode::HeaderRenameCosmetic => "Nothing to do: the names differ only in case, spaces or dashes.",
        ReasonCode::HeaderUnnamed => "Give every column of the header a name and send the file again.",
        ReasonCode::IgnoredObject => "Nothing to do: folder markers and temporary files are never data.",
        ReasonCode::JsonDepth => "Flatten the document, or raise `source.limits.json_depth`, then replay.",
        ReasonCode::JsonDuplicateKey => "Send each key once per object, or set `source.json.duplicate_keys: accept`, then replay.",
        ReasonCode::JsonMixedTypes => "Send one type per field; see the paths in the evidence.",
        ReasonCode::JsonNotRecords => "Send an object, an array of objects, or one object per line.",
        ReasonCode::JsonSyntax => "Repair the document at the named line and send it again.",
        ReasonCode::JsonTruncated => "Upload the file again: it ends in the middle of a document.",
        ReasonCode::LateArriving => "Raise `lateness.allowed`, or set `on_late: accept_and_flag`, then replay.",
        ReasonCode::MalformedQuote => "Close the quote at the named line, or declare `source.csv.quote`, then send or replay the file.",
        ReasonCode::MissingHeader => "Send the file with its header, or declare `source.csv.header: false`, then replay.",
        ReasonCode::MissingOptionalColumn => "Nothing to do: the column was filled with its default or null.",
        ReasonCode::MissingRequiredColumn => {
            "Send the file with the column, add an alias if it was renamed, or take it out of `schema.required`, then replay."
        }
        ReasonCode::MultiHeader => "Send the file with a single header line.",
        ReasonCode::MultiTable => "Split the file: one table each.",
        ReasonCode::NestedCompression => "Compress the file once only and send it again.",
        ReasonCode::NewlineDialect => "Nothing to do: line breaks were recognized.",
        ReasonCode::NulByte => "Ask the producer to remove NUL bytes; UTF-16 without a byte order mark is the usual cause.",
        ReasonCode::NullInRequired => "Send a value in every row of the named column, or take it out of `schema.required`, then replay.",
        ReasonCode::NullToken => "Declare the text under `null_tokens`, then replay.",
        ReasonCode::NumericOverflow => "Widen the column's type in the registered schema, then replay.",
        ReasonCode::ObjectKeyUnsafe => "Upload the object under a key without `..` segments or control characters.",
        ReasonCode::OversizedField => "Shorten the field, or raise `source.limits.field_bytes`, then replay.",
        ReasonCode::OversizedRecord => {
            "Look for an unclosed quote at the named line; else raise `source.limits.record_bytes`, then replay."
        }
        ReasonCode::Preamble => "Ask the producer to leave out the lines above the header.",
        ReasonCode::QuoteDialect => "Declare `source.csv.quote`, then replay.",
        ReasonCode::RaggedRows => "Send every record with as many fields as the header; an unquoted delimiter is the usual cause.",
        ReasonCode::RepeatedHeader => "Ask the producer not to repeat the header when files are concatenated.",
        ReasonCode::RowTypeError => "Correct the named cells and send the rows again, or allow wider coercion, then replay.",
        ReasonCode::SemanticCodelist => "Confirm the new codes with the producer and add them to `allowed_values`, then replay.",
        ReasonCode::SemanticUnit => "Confirm the column's unit with the producer; the values look scaled against the profile.",
        ReasonCode::Structural => {
            "Compare the field tree in the evidence with the contract; register the new shape if it is wanted, then replay."
        }
        ReasonCode::StructuralKeyExplosion => "Send maps as key and value pairs: record fields are used as data here.",
        ReasonCode::TooManyColumns => "Check the delimiter; else raise `source.limits.columns`, then replay.",
        ReasonCode::TruncatedCompression => "Upload the file again: its compressed stream ends early.",
        ReasonCode::TruncatedFile => "Upload the file again: it is shorter than its own footer says.",
        ReasonCode::TruncatedTail => "Upload the file again: its last record is cut off.",
        ReasonCode::TypeDrift => {
            "Ask the producer to restore the type, or register a new one and announce it with `schema.pending`, then replay."
        }
        ReasonCode::TypeDriftSafe => "Nothing to do: every value fits the registered type.",
        ReasonCode::TypeToString => "Nothing to do if text is wanted; else ask the producer to restore the type.",
        ReasonCode::UnknownDataset => "Write a contract whose `route` matches this key, or correct the key, then replay.",
        ReasonCode::UnsupportedCompression => "Send the file plain, as gzip or as zstd.",
        ReasonCode::Valid => "Nothing to do.",
        ReasonCode::EventUnreadable => "Check what the sender publishes to this source; the raw bytes stand in the letter.",
        ReasonCode::ManifestRefused => "Mend the faults named here and drop the manifest again; nothing of it was replayed.",
        ReasonCode::DuplicateObject => "Nothing to do: this version landed before; force a replay to process it again.",
        ReasonCode::SupersededObject => "Nothing to do: a newer version of the key took its place.",
        ReasonCode::ObjectGone => "Upload the object again, or restore the version named here, then replay.",
        ReasonCode::BucketUnknown => {
            "Say where the bucket is (`--landing NAME=URL`, or a `[[source]]` of kind listing), restart, then replay; or stop its events."
        }
        ReasonCode::SuffixRefused => "Add the suffix to `source.suffixes`, or rename the object, then replay.",
        ReasonCode::TooSmall => "Ask the producer for the whole file, or lower `source.min_bytes`, then replay.",
        ReasonCode::TooLarge => "Split the file, or raise the size limit, then replay.",
        ReasonCode::LayoutMismatch => "Upload under a key that fits `layout`, or correct `layout`, then replay.",
        ReasonCode::OverwriteRefused => "Upload under a new key, or set `on_overwrite: replace`, then replay.",
        ReasonCode::RegistryRefused => {
            "Compare the candidate with the registered versions (`lakegate schema compatible`), then register by hand or relax `schema.compatibility`."
        }
        ReasonCode::SchemaBudget => {
            "Look for a producer whose fields change with every file; else raise `schema.max_versions_per_day`, then replay."
        }
        ReasonCode::QualityRule => {
            "See the failed rules and samples in the evidence; correct the data and send it again, or relax the rule, then replay."
        }
        ReasonCode::DeriveFailed => "Correct the named value, or guard the expression (`try_cast`, `case`, `nullif`), then replay.",
        ReasonCode::ConflictingDuplicate => "Ask the producer which row holds; the first of each key landed.",
        ReasonCode::ContractValue => "Correct the named value, or widen the column's range, pattern or list, then replay.",
        ReasonCode::PoisonRecord => "Report this record: processing it stopped the worker; its place stands in the letter.",
        ReasonCode::ContractMissing => "Restore the contract version under `_lakegate/contracts/`, then replay.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_reason_has_a_sentence_of_its_own() {
        let mut seen: BTreeMap<&str, ReasonCode> = BTreeMap::new();
        for reason in ReasonCode::ALL {
            let text = remedy(*reason);
            assert!(text.ends_with('.') && text.chars().next().is_some_and(char::is_uppercase), "{reason}: {text}");
            assert!(text.len() <= 200, "{reason}: a remedy is one sentence");
            assert_eq!(seen.insert(text, *reason), None, "{reason} repeats another remedy");
        }
    }
}
