//! The larger sections of a contract: source, schema, rows, lateness, transform.

use super::fields::{Faults, Fields, Item};
use super::keys;
use super::model::{Contract, Lateness, ParquetOptions, Pending, Transform};
use super::parse::read_avro;
use super::tree::Value;
use super::words;
use crate::format::options::{CsvDialect, CsvOptions, Encoding, JsonOptions, Limits};
use crate::schema::options::{BooleanTokens, ColumnRules, ConflictingDuplicate, Dedupe, ExactDuplicate, Policy, StrictRequired};
use crate::schema::resolve::{Choices, Resolve};

pub(super) fn read_source(mut fields: Fields<'_>, contract: &mut Contract, faults: &mut Faults) {
    fields.set("formats", &mut contract.source.formats, faults, |item, faults| {
        let mut formats = Vec::new();
        for item in item.items(faults)? {
            if let Some(format) = item.word(words::FORMATS, faults) {
                formats.push(format);
            }
        }
        if formats.is_empty() {
            faults.at(item.place(), &item.path, "names no format", None);
            return None;
        }
        Some(formats)
    });
    fields.set("suffixes", &mut contract.suffixes, faults, |item, faults| {
        let mut suffixes = Vec::new();
        for item in item.items(faults)? {
            let Some(suffix) = item.name(faults) else { continue };
            if !suffix.starts_with('.') {
                faults.at(item.place(), &item.path, format!("{suffix:?} has no leading point"), Some(format!("write .{suffix}")));
            }
            suffixes.push(suffix);
        }
        Some(suffixes)
    });
    fields.set("min_bytes", &mut contract.min_bytes, faults, |i, f| i.size(0, f));
    fields.set_some("max_bytes", &mut contract.max_bytes, faults, |i, f| i.size(1, f));
    fields.set("csv", &mut contract.source.csv, faults, read_csv);
    fields.set("json", &mut contract.source.json, faults, read_json);
    fields.set("limits", &mut contract.source.limits, faults, read_limits);
    fields.set("same_content_again", &mut contract.same_content_again, faults, |i, f| i.word(words::SAME_CONTENT, f));
    fields.finish(faults);
}

fn read_csv(item: &Item<'_>, faults: &mut Faults) -> Option<CsvOptions> {
    let mut csv = CsvOptions { declared: None, ..CsvOptions::default() };
    if item.node.value == Value::Text("auto".to_owned()) {
        return Some(csv);
    }
    let mut fields = Fields::open(item, keys::CSV, faults)?;
    let mut dialect = CsvDialect::default();
    fields.set("delimiter", &mut dialect.delimiter, faults, |item, faults| {
        let text = item.text(faults)?;
        if text.is_empty() || text.len() > 8 || text.contains(['\n', '\r']) {
            faults.at(item.place(), &item.path, format!("{text:?} cannot separate columns"), Some("use 1 to 8 bytes".to_owned()));
            return None;
        }
        Some(text)
    });
    fields.set("quote", &mut dialect.quote, faults, |i, f| byte_or_none(i, f));
    fields.set("escape", &mut dialect.escape, faults, |i, f| byte_or_none(i, f));
    fields.set("header", &mut dialect.header, faults, Item::flag);
    fields.set("encoding", &mut dialect.encoding, faults, |item, faults| {
        let encoding = item.word(words::ENCODINGS, faults)?;
        if matches!(encoding, Encoding::Cp1252 | Encoding::Latin1) {
            let remedy = "any bytes are valid there; name it in encoding_fallback".to_owned();
            faults.at(item.place(), &item.path, "is only allowed as a fallback", Some(remedy));
            return None;
        }
        Some(encoding)
    });
    fields.set_some("encoding_fallback", &mut csv.encoding_fallback, faults, |i, f| i.word(words::ENCODINGS, f));
    fields.set("null_tokens", &mut csv.null_tokens, faults, Item::tokens);
    fields.set("autodetect_on_mismatch", &mut csv.autodetect_on_mismatch, faults, Item::flag);
    fields.finish(faults);
    csv.declared = Some(dialect);
    Some(csv)
}

/// One ASCII character; an empty text is none.
fn byte_or_none(item: &Item<'_>, faults: &mut Faults) -> Option<Option<u8>> {
    let text = item.text(faults)?;
    match text.as_bytes() {
        [] => Some(None),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Some(Some(*byte)),
        _ => {
            faults.at(item.place(), &item.path, format!("{text:?} is not one ASCII character"), Some("empty text means none".to_owned()));
            None
        }
    }
}

fn read_json(item: &Item<'_>, faults: &mut Faults) -> Option<JsonOptions> {
    let mut json = JsonOptions::default();
    let mut fields = Fields::open(item, keys::JSON, faults)?;
    fields.set("duplicate_keys", &mut json.duplicate_keys, faults, |i, f| i.word(words::ODDITIES, f));
    fields.set("non_finite", &mut json.non_finite, faults, |i, f| i.word(words::ODDITIES, f));
    fields.set("big_number", &mut json.big_number, faults, |i, f| i.word(words::BIG_NUMBERS, f));
    fields.finish(faults);
    Some(json)
}

fn read_limits(item: &Item<'_>, faults: &mut Faults) -> Option<Limits> {
    let mut limits = Limits::default();
    let mut fields = Fields::open(item, keys::LIMITS, faults)?;
    let count = |max| move |i: &Item<'_>, f: &mut Faults| i.count(1, max, f).and_then(|n| usize::try_from(n).ok());
    fields.set("field_bytes", &mut limits.field_bytes, faults, |i, f| i.size(1, f));
    fields.set("record_bytes", &mut limits.record_bytes, faults, |i, f| i.size(1, f));
    fields.set("columns", &mut limits.columns, faults, count(65_536));
    fields.set("json_depth", &mut limits.json_depth, faults, count(512));
    fields.set("decompressed_bytes", &mut limits.decompressed_bytes, faults, |i, f| i.size(1, f));
    fields.set("compression_ratio", &mut limits.compression_ratio, faults, |i, f| i.count(1, 1_000_000, f));
    fields.set("ratio_applies_above", &mut limits.ratio_applies_above, faults, |i, f| i.size(0, f));
    if limits.field_bytes > limits.record_bytes {
        faults.at(fields.place, &fields.path, "field_bytes is more than record_bytes", None);
    }
    fields.finish(faults);
    Some(limits)
}

pub(super) fn read_schema(mut fields: Fields<'_>, contract: &mut Contract, faults: &mut Faults) {
    fields.set("subject", &mut contract.subject, faults, |item, faults| {
        let text = item.name(faults)?;
        item.parsed(&text, faults)
    });
    fields.set("compatibility", &mut contract.schema.compatibility, faults, |i, f| i.word(words::COMPATIBILITIES, f));
    fields.set_some("avro", &mut contract.avro, faults, read_avro);
    fields.set("identity", &mut contract.schema.identity, faults, Item::names);
    fields.set("required", &mut contract.schema.required, faults, Item::names);
    if let Some(columns) = fields.take("columns") {
        for (name, item) in columns.entries(faults) {
            if let Some(rules) = read_column(&item, faults) {
                contract.schema.columns.insert(name.to_owned(), rules);
            }
        }
    }
    fields.set("policy", &mut contract.schema.policy, faults, read_policy);
    fields.set_some("pending", &mut contract.pending, faults, |item, faults| {
        let mut fields = Fields::open(item, keys::PENDING, faults)?;
        let (mut avro, mut effective_from) = (None, None);
        fields.set_some("avro", &mut avro, faults, read_avro);
        fields.set_some("effective_from", &mut effective_from, faults, Item::timestamp);
        if avro.is_none() {
            faults.at(item.place(), &item.path, "names no schema", Some("add avro: a path or the schema".to_owned()));
        }
        fields.finish(faults);
        avro.map(|avro| Pending { avro, effective_from })
    });
    fields.set_some("max_versions_per_day", &mut contract.max_versions_per_day, faults, |i, f| {
        i.count(0, 10_000, f).and_then(|n| u32::try_from(n).ok())
    });
    fields.finish(faults);
}

fn read_column(item: &Item<'_>, faults: &mut Faults) -> Option<ColumnRules> {
    let mut column = ColumnRules::default();
    let mut fields = Fields::open(item, keys::COLUMN, faults)?;
    fields.set("format", &mut column.formats, faults, |item, faults| match item.node.value {
        Value::List(_) => item.names(faults),
        _ => item.name(faults).map(|f| vec![f]),
    });
    fields.set("event_time", &mut column.event_time, faults, Item::flag);
    fields.set_some("unit", &mut column.unit, faults, Item::name);
    fields.set_some("min", &mut column.min, faults, Item::number);
    fields.set_some("max", &mut column.max, faults, Item::number);
    fields.set_some("pattern", &mut column.pattern, faults, Item::name);
    fields.set_some("allowed_values", &mut column.allowed_values, faults, Item::tokens);
    fields.set("aliases", &mut column.aliases, faults, Item::names);
    fields.set_some("null_tokens", &mut column.null_tokens, faults, Item::tokens);
    fields.set_some("timezone", &mut column.timezone, faults, Item::name);
    fields.set("unique", &mut column.unique, faults, Item::flag);
    fields.set("sensitive", &mut column.sensitive, faults, Item::flag);
    let (mut truthy, mut falsy) = (None, None);
    fields.set_some("true", &mut truthy, faults, Item::tokens);
    fields.set_some("false", &mut falsy, faults, Item::tokens);
    match (truthy, falsy) {
        (Some(truthy), Some(falsy)) => {
            if let Some(both) = truthy.iter().find(|t| falsy.contains(t)) {
                faults.at(item.place(), &item.path, format!("{both:?} means true and false"), None);
            }
            column.booleans = Some(BooleanTokens { truthy, falsy });
        }
        (None, None) => {}
        _ => faults.at(item.place(), &item.path, "true and false stand only together", None),
    }
    if let (Some(min), Some(max)) = (column.min, column.max)
        && min > max
    {
        faults.at(item.place(), &item.path, format!("min {min} is more than max {max}"), None);
    }
    fields.finish(faults);
    Some(column)
}

fn read_policy(item: &Item<'_>, faults: &mut Faults) -> Option<Policy> {
    let mut policy = Policy::default();
    let mut fields = Fields::open(item, keys::POLICY, faults)?;
    fields.set("allow_additive_columns", &mut policy.allow_additive_columns, faults, Item::flag);
    fields.set("allow_type_coercion", &mut policy.allow_type_coercion, faults, |i, f| i.word(words::COERCIONS, f));
    fields.set("strict_required_columns", &mut policy.strict_required_columns, faults, |item, faults| match item.node.value {
        Value::List(_) => item.names(faults).map(StrictRequired::Columns),
        Value::Bool(true) => Some(StrictRequired::All),
        Value::Bool(false) => Some(StrictRequired::None),
        _ => {
            faults.at(item.place(), &item.path, format!("wants true, false or a list of columns, found {}", item.node.kind()), None);
            None
        }
    });
    fields.set("quarantine_on_breaking_change", &mut policy.quarantine_on_breaking_change, faults, Item::flag);
    fields.set("max_bad_row_ratio", &mut policy.max_bad_row_ratio, faults, Item::ratio);
    fields.set("max_new_columns", &mut policy.max_new_columns, faults, |i, f| i.count(0, 65_536, f).and_then(|n| usize::try_from(n).ok()));
    fields.finish(faults);
    Some(policy)
}

pub(super) fn read_rows(mut fields: Fields<'_>, contract: &mut Contract, faults: &mut Faults) {
    fields.set("on_bad_row", &mut contract.schema.on_bad_row, faults, |i, f| i.word(words::BAD_ROWS, f));
    if let Some(item) = fields.take("dedupe")
        && let Some(mut dedupe) = Fields::open(&item, keys::DEDUPE, faults)
    {
        let mut key = Vec::new();
        let (mut exact_duplicate, mut conflicting_duplicate) = (ExactDuplicate::default(), ConflictingDuplicate::default());
        dedupe.set("key", &mut key, faults, Item::names);
        dedupe.set("exact_duplicate", &mut exact_duplicate, faults, |i, f| i.word(words::EXACT_DUPLICATES, f));
        dedupe.set("conflicting_duplicate", &mut conflicting_duplicate, faults, |i, f| i.word(words::CONFLICTING_DUPLICATES, f));
        dedupe.set("scope", &mut contract.dedupe_scope, faults, |i, f| i.word(words::DEDUPE_SCOPES, f));
        if key.is_empty() {
            faults.at(item.place(), &item.path, "has no key", Some("add key: [column]".to_owned()));
        }
        dedupe.finish(faults);
        contract.schema.dedupe = Some(Dedupe { key, exact_duplicate, conflicting_duplicate });
    }
    fields.finish(faults);
}

pub(super) fn read_lateness(mut fields: Fields<'_>, lateness: &mut Lateness, faults: &mut Faults) {
    fields.set_some("allowed", &mut lateness.allowed, faults, Item::span);
    fields.set("on_late", &mut lateness.on_late, faults, |i, f| i.word(words::LATE, f));
    fields.finish(faults);
}

pub(super) fn read_transform(mut fields: Fields<'_>, transform: &mut Transform, choices: &mut Choices, faults: &mut Faults) {
    if let Some(resolve) = fields.take("resolve") {
        for (column, item) in resolve.entries(faults) {
            if let Some(choice) = item.name(faults).and_then(|text| read_resolve(&item, &text, faults)) {
                choices.insert(column.to_owned(), choice);
            }
        }
    }
    if let Some(derive) = fields.take("derive") {
        for (column, item) in derive.entries(faults) {
            if let Some(expression) = item.name(faults) {
                transform.derive.push((column.to_owned(), expression));
            }
        }
    }
    fields.set_some("select", &mut transform.select, faults, Item::names);
    fields.set("partition_by", &mut transform.partition_by, faults, Item::names);
    if let Some(mut batch) = fields.section("batch", faults) {
        let into = &mut transform.batch;
        batch.set("max_bytes", &mut into.max_bytes, faults, |i, f| i.size(1, f));
        batch.set("max_files", &mut into.max_files, faults, |i, f| i.count(1, 1_000_000, f));
        batch.set("max_rows", &mut into.max_rows, faults, |i, f| i.count(1, 1_000_000_000_000, f));
        batch.set("linger", &mut into.linger, faults, Item::span);
        batch.set("quiet", &mut into.quiet, faults, Item::span);
        batch.set("shards", &mut into.shards, faults, |i, f| i.count(1, 1024, f).and_then(|n| u32::try_from(n).ok()));
        batch.finish(faults);
    }
    fields.set("parquet", &mut transform.parquet, faults, |item, faults| {
        let mut parquet = ParquetOptions::default();
        let mut fields = Fields::open(item, keys::PARQUET, faults)?;
        fields.set("compression", &mut parquet.compression, faults, |item, faults| {
            let text = item.name(faults)?;
            let found = words::compression(&text);
            if found.is_none() {
                let remedy = "allowed: none, snappy, lz4, zstd, zstd(1) to zstd(22)".to_owned();
                faults.at(item.place(), &item.path, format!("{text:?} is not known"), Some(remedy));
            }
            found
        });
        fields.set("row_group_rows", &mut parquet.row_group_rows, faults, |i, f| i.count(1, 1 << 24, f));
        fields.finish(faults);
        Some(parquet)
    });
    fields.finish(faults);
}

fn read_resolve(item: &Item<'_>, text: &str, faults: &mut Faults) -> Option<Resolve> {
    let resolve = text.parse().ok();
    if resolve.is_none() {
        let remedy = "allowed: cast:TYPE, project:TYPE, match_registry; TYPE is boolean, int, long, float, double, decimal(P,S), string, \
                      bytes, date, timestamp or a schema's word for a timestamp";
        faults.at(item.place(), &item.path, format!("{text:?} is not known"), Some(remedy.to_owned()));
    }
    resolve
}
