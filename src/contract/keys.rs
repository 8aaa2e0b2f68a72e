//! Every key a contract may have, with what it holds: the parser refuses what does not stand here, and the
//! JSON Schema for editors is made of it ([`super::json_schema`]).

use super::words::{self, Words};

/// One key of a mapping.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// One sentence for whoever hovers over it.
    pub about: &'static str,
}

/// What stands under a key.
#[derive(Debug)]
pub enum Kind {
    /// Text that is not empty, of at most so many characters (0: no bound).
    Name(usize),
    /// Text that fits a regular expression.
    Shaped(&'static str),
    /// Text, which may be empty, of at most so many characters.
    Text(usize),
    /// Text, or the spelling of a number or boolean.
    Token,
    Flag,
    Integer,
    Number,
    /// A number from 0 to 1.
    Ratio,
    Count(u64, u64),
    /// `128 MiB` or plain bytes, of at least so many bytes.
    Size(u64),
    /// `30s`, `7d`, `P7D`.
    Span,
    /// RFC 3339, or a day.
    Time,
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    List(&'static Kind),
    Section(&'static [Key]),
    /// A mapping whose keys are free.
    Map(&'static Kind),
    /// A mapping this room does not look into.
    Opaque,
    Either(&'static [Kind]),
}

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, about }
}

fn all<T>(words: Words<T>) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

const NAMES: Kind = Kind::List(&Kind::Name(0));
const TOKENS: Kind = Kind::List(&Kind::Token);
/// A path or the schema itself, as text or as YAML.
const AVRO: Kind = Kind::Either(&[Kind::Name(0), Kind::Opaque, Kind::List(&Kind::Either(&[Kind::Name(0), Kind::Opaque]))]);
const CHARACTER: Kind = Kind::Text(1);

pub const CONTRACT: &[Key] = &[
    key("dataset", Kind::Name(64), "Name of the dataset; the only key every contract has."),
    key("owner", Kind::Name(0), "Who answers for the data."),
    key("mode", Kind::Word(|| all(words::MODES)), "etl publishes tables, elt catalogues the objects as they are. Default: etl."),
    key("route", Kind::Opaque, "Event pattern: which objects belong to this dataset."),
    key("route_priority", Kind::Integer, "Where two contracts' routes match, the higher one has the object. Default: 0."),
    key(
        "layout",
        Kind::Name(0),
        "How keys are built, such as landing/{dataset}/{yyyy}/{MM}/{dd}/{file}: values and date are taken from them.",
    ),
    key("source", Kind::Section(SOURCE), "What files look like."),
    key("schema", Kind::Section(SCHEMA), "What columns there are, and what may change."),
    key("rows", Kind::Section(ROWS), "What becomes of bad and repeated rows."),
    key("lateness", Kind::Section(LATENESS), "What counts as late."),
    key("transform", Kind::Section(TRANSFORM), "What is made of the rows."),
    key("quality", Kind::Section(QUALITY), "What must hold before anything is published."),
    key("on_overwrite", Kind::Word(|| all(words::OVERWRITES)), "What a newer version of the same key does. Default: replace."),
    key("on_delete", Kind::Word(|| all(words::DELETES)), "What the removal of an object does. Default: ignore."),
    key("on_empty", Kind::Word(|| all(words::EMPTIES)), "What becomes of a file without rows. Default: accept."),
    key("expected_interval", Kind::Span, "How often files are expected."),
    key("publish", Kind::Section(PUBLISH), "Where the table is."),
];

pub const SOURCE: &[Key] = &[
    key("formats", Kind::List(&Kind::Word(|| all(words::FORMATS))), "Formats that are accepted; gzip and zstd are recognized by content."),
    key("suffixes", Kind::List(&Kind::Shaped(r"^\.")), "Suffixes of keys that are accepted. Default: those of the formats."),
    key("min_bytes", Kind::Size(0), "Smaller objects are refused. Default: 0."),
    key("max_bytes", Kind::Size(1), "Larger objects are refused."),
    key(
        "csv",
        Kind::Either(&[Kind::Shaped("^auto$"), Kind::Section(CSV)]),
        "The dialect of CSV files; auto, like a missing block, means full detection.",
    ),
    key("json", Kind::Section(JSON), "Oddities of JSON files."),
    key("limits", Kind::Section(LIMITS), "What is read of one file at most."),
    key(
        "same_content_again",
        Kind::Word(|| all(words::SAME_CONTENT)),
        "What becomes of bytes that landed before under another key. Default: accept.",
    ),
];

pub const CSV: &[Key] = &[
    key("delimiter", Kind::Name(8), "What separates columns. Default: a comma."),
    key("quote", CHARACTER, "One ASCII character; empty: none. Default: \"."),
    key("escape", CHARACTER, "One ASCII character; empty: none, quotes are doubled."),
    key("header", Kind::Flag, "Whether the first record names the columns. Default: true."),
    key("encoding", Kind::Word(|| all(words::ENCODINGS)), "Default: utf-8."),
    key("encoding_fallback", Kind::Word(|| all(words::ENCODINGS)), "How a file is read whose bytes are not UTF-8. Default: it is not."),
    key("null_tokens", TOKENS, "Texts that mean null. Default: the empty text."),
    key("autodetect_on_mismatch", Kind::Flag, "Look for another dialect when the declared one does not fit. Default: true."),
];

pub const JSON: &[Key] = &[
    key("duplicate_keys", Kind::Word(|| all(words::ODDITIES)), "A key that stands twice in one object."),
    key("non_finite", Kind::Word(|| all(words::ODDITIES)), "NaN and infinities."),
    key("big_number", Kind::Word(|| all(words::BIG_NUMBERS)), "A number no column type holds exactly."),
];

pub const LIMITS: &[Key] = &[
    key("field_bytes", Kind::Size(1), "One field."),
    key("record_bytes", Kind::Size(1), "One record; at least field_bytes."),
    key("columns", Kind::Count(1, 65_536), "Columns of one file."),
    key("json_depth", Kind::Count(1, 512), "Nesting of a JSON document."),
    key("decompressed_bytes", Kind::Size(1), "Bytes a compressed file may become. Default: 16 GiB."),
    key("compression_ratio", Kind::Count(1, 1_000_000), "Bytes that may come of one compressed byte."),
    key("ratio_applies_above", Kind::Size(0), "The ratio is judged once this many bytes have come."),
];

pub const SCHEMA: &[Key] = &[
    key("subject", Kind::Name(0), "Subject in the registry. Default: <dataset>-value."),
    key(
        "compatibility",
        Kind::Word(|| all(words::COMPATIBILITIES)),
        "What a new version must be to the registered ones. Default: BACKWARD_TRANSITIVE.",
    ),
    key("avro", AVRO, "The schema: a path beside the contract, or the schema itself. Without one, the first file registers what it is."),
    key("identity", NAMES, "Columns that are never negotiable; dotted paths are allowed."),
    key("required", NAMES, "Columns every file must have; dotted paths are allowed."),
    key("columns", Kind::Map(&Kind::Section(COLUMN)), "What holds for single columns, by name."),
    key("policy", Kind::Section(POLICY), "What may change without a person."),
    key("pending", Kind::Section(PENDING), "A breaking version that is announced."),
    key("max_versions_per_day", Kind::Count(0, 10_000), "Schema versions one day may register."),
];

pub const COLUMN: &[Key] = &[
    key("format", Kind::Either(&[Kind::Name(0), NAMES]), "RFC3339, a strftime pattern, or several."),
    key("event_time", Kind::Flag, "Lateness is judged by this column."),
    key("unit", Kind::Name(0), "Such as EUR."),
    key("min", Kind::Number, "Smallest value."),
    key("max", Kind::Number, "Largest value."),
    key("pattern", Kind::Name(0), "Regular expression every text fits."),
    key("allowed_values", TOKENS, "The only values."),
    key("aliases", NAMES, "Other names of this column in files."),
    key("null_tokens", TOKENS, "Texts that mean null in this column."),
    key("timezone", Kind::Name(0), "Of times without an offset, such as Europe/Berlin."),
    key("unique", Kind::Flag, "No value stands twice."),
    key("sensitive", Kind::Flag, "Values are left out of samples and evidence."),
    key("true", TOKENS, "Texts that mean true; only together with false."),
    key("false", TOKENS, "Texts that mean false; only together with true."),
];

pub const POLICY: &[Key] = &[
    key("allow_additive_columns", Kind::Flag, "Unknown columns evolve the schema."),
    key("allow_type_coercion", Kind::Word(|| all(words::COERCIONS)), "How far values may be cast."),
    key(
        "strict_required_columns",
        Kind::Either(&[Kind::Flag, NAMES]),
        "Whether missing required columns reject a file, or which of them do.",
    ),
    key("quarantine_on_breaking_change", Kind::Flag, "false: land what can be landed."),
    key("max_bad_row_ratio", Kind::Ratio, "More bad rows or values than this reject the file. Default: 0.05."),
    key("max_new_columns", Kind::Count(0, 65_536), "More new columns than this are structural drift."),
];

pub const PENDING: &[Key] = &[
    key("avro", AVRO, "The announced schema: a path or the schema itself."),
    key("effective_from", Kind::Time, "From when files may have it."),
];

pub const ROWS: &[Key] = &[
    key("on_bad_row", Kind::Word(|| all(words::BAD_ROWS)), "Default: quarantine_row."),
    key("dedupe", Kind::Section(DEDUPE), "Which rows are the same."),
];

pub const DEDUPE: &[Key] = &[
    key("key", NAMES, "Columns that identify a row."),
    key("exact_duplicate", Kind::Word(|| all(words::EXACT_DUPLICATES)), "The same key and the same values."),
    key("conflicting_duplicate", Kind::Word(|| all(words::CONFLICTING_DUPLICATES)), "The same key and other values."),
    key("scope", Kind::Word(|| all(words::DEDUPE_SCOPES)), "Among which rows. Default: file."),
];

pub const LATENESS: &[Key] = &[
    key("allowed", Kind::Span, "Later than this is late."),
    key("on_late", Kind::Word(|| all(words::LATE)), "What becomes of a late file."),
];

pub const TRANSFORM: &[Key] = &[
    key(
        "resolve",
        Kind::Map(&Kind::Shaped(r"^((cast|project):.*\S.*|make_cols|make_struct|match_registry)$")),
        "What becomes of columns of several types.",
    ),
    key("derive", Kind::Map(&Kind::Name(0)), "Columns computed by SQL scalar expressions over the row."),
    key("select", NAMES, "Columns that are kept. Default: all."),
    key("partition_by", NAMES, "Columns the table is partitioned by."),
    key("batch", Kind::Section(BATCH), "When a batch is full."),
    key("parquet", Kind::Section(PARQUET), "How Parquet is written."),
];

pub const BATCH: &[Key] = &[
    key("max_bytes", Kind::Size(1), "Bytes of source objects."),
    key("max_files", Kind::Count(1, 1_000_000), "Source objects."),
    key("max_rows", Kind::Count(1, 1_000_000_000_000), "Rows."),
    key("linger", Kind::Span, "A batch is sealed this long after its first object."),
    key("quiet", Kind::Span, "A batch is sealed when nothing joined it for this long."),
    key("shards", Kind::Count(1, 1024), "Batches open at once. Default: 4."),
];

pub const PARQUET: &[Key] = &[
    key(
        "compression",
        Kind::Shaped(r"^(none|snappy|lz4|zstd|zstd\(([1-9]|1[0-9]|2[0-2])\))$"),
        "none, snappy, lz4, zstd, zstd(1) to zstd(22).",
    ),
    key("row_group_rows", Kind::Count(1, 1 << 24), "Rows of one row group."),
];

pub const QUALITY: &[Key] = &[
    key("rules", Kind::Name(0), "A DQDL ruleset."),
    key("default_action", Kind::Word(|| all(words::ACTIONS)), "What a failed rule does that does not say it itself."),
    key("on_not_evaluated", Kind::Word(|| all(words::NOT_EVALUATED)), "What a rule does that could not be judged. Default: warn."),
];

pub const PUBLISH: &[Key] = &[
    key("format", Kind::Word(|| all(words::PUBLISH_FORMATS)), "Default: parquet."),
    key("location", Kind::Name(0), "Below the lake. Default: curated/<dataset>/."),
];
