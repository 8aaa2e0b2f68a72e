//! A contract's text → [`Contract`], or every fault of it at once.

use super::fault::Fault;
use super::fields::{Faults, Fields, Item};
use super::keys;
use super::model::{
    AvroSchema, BatchOptions, Contract, DedupeScope, Lateness, Mode, OnDelete, OnOverwrite, Publish, PublishFormat, Quality, Route, Rules,
    SameContentAgain, Transform,
};
use super::sections::{read_lateness, read_rows, read_schema, read_source, read_transform};
use super::tree::{self, Value};
use super::words;
use crate::domain::names::DatasetName;
use crate::domain::units::ByteSize;
use crate::format::options::{CsvOptions, SourceOptions};
use crate::schema::options::SchemaOptions;

/// Parses one contract; `file` only names the place in faults.
///
/// # Errors
/// All faults, in the order of the text: YAML that cannot be read (then it is the only one), unknown
/// keys, wrong types, ranges, units and words.
pub fn parse(file: &str, text: &str) -> Result<Contract, Vec<Fault>> {
    let root = tree::read(file, text).map_err(|fault| vec![fault])?;
    let mut faults = Faults::new(file);
    let contract = read_contract(&Item { node: &root, path: String::new() }, text, &mut faults);
    faults.list.sort_by_key(|f| (f.line, f.column));
    match contract {
        Some(contract) if faults.list.is_empty() => Ok(contract),
        _ => Err(faults.list),
    }
}

fn read_contract(root: &Item<'_>, text: &str, faults: &mut Faults) -> Option<Contract> {
    let mut fields = Fields::open(root, keys::CONTRACT, faults)?;
    let dataset = read_dataset(&mut fields, faults);
    // Without a name the rest is still read, so that its faults are told too.
    let name = dataset.clone().or_else(|| "unnamed".parse().ok())?;
    let mut contract = defaults(name)?;

    fields.set_some("owner", &mut contract.owner, faults, Item::name);
    fields.set("mode", &mut contract.mode, faults, |i, f| i.word(words::MODES, f));
    fields.set_some("route", &mut contract.route, faults, read_route);
    fields.set("route_priority", &mut contract.route_priority, faults, |item, faults| match item.node.value {
        Value::Integer(priority) => Some(priority),
        _ => {
            faults.at(item.place(), &item.path, format!("wants a whole number, found {}", item.node.kind()), None);
            None
        }
    });
    fields.set_some("layout", &mut contract.layout, faults, Item::name);
    if let Some(source) = fields.section("source", faults) {
        read_source(source, &mut contract, faults);
    }
    if contract.suffixes.is_empty() {
        contract.suffixes = default_suffixes(&contract.source);
    }
    if let Some(schema) = fields.section("schema", faults) {
        read_schema(schema, &mut contract, faults);
    }
    if let Some(rows) = fields.section("rows", faults) {
        read_rows(rows, &mut contract, faults);
    }
    if let Some(lateness) = fields.section("lateness", faults) {
        read_lateness(lateness, &mut contract.lateness, faults);
    }
    if let Some(transform) = fields.section("transform", faults) {
        read_transform(transform, &mut contract.transform, &mut contract.schema.resolve, faults);
    }
    let derived = &contract.transform.derive;
    contract.schema.partition_columns = (contract.transform.partition_by.iter())
        .filter(|column| !is_operational(column) && !derived.iter().any(|(name, _)| name == *column))
        .cloned()
        .collect();
    if let Some(quality) = fields.section("quality", faults) {
        read_quality(quality, &mut contract.quality, text, faults);
    }
    fields.set("on_overwrite", &mut contract.on_overwrite, faults, |i, f| i.word(words::OVERWRITES, f));
    fields.set("on_delete", &mut contract.on_delete, faults, |i, f| i.word(words::DELETES, f));
    fields.set_some("on_empty", &mut contract.on_empty, faults, |i, f| i.word(words::EMPTIES, f));
    fields.set_some("expected_interval", &mut contract.expected_interval, faults, Item::span);
    if let Some(publish) = fields.section("publish", faults) {
        read_publish(publish, &mut contract.publish, faults);
    }
    fields.finish(faults);
    dataset.map(|_| contract)
}

fn read_dataset(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<DatasetName> {
    let Some(item) = fields.take("dataset") else {
        faults.at(fields.place, "dataset", "is missing", Some("every contract names its dataset".to_owned()));
        return None;
    };
    let text = item.name(faults)?;
    item.parsed(&text, faults)
}

fn defaults(dataset: DatasetName) -> Option<Contract> {
    // A dataset's name is at most 64 safe characters, so the subject always parses.
    let subject = format!("{dataset}-value").parse().ok()?;
    Some(Contract {
        owner: None,
        mode: Mode::Etl,
        route: None,
        route_priority: 0,
        layout: None,
        source: SourceOptions { csv: CsvOptions { declared: None, ..CsvOptions::default() }, ..SourceOptions::default() },
        suffixes: Vec::new(),
        min_bytes: ByteSize(0),
        max_bytes: None,
        same_content_again: SameContentAgain::Accept,
        subject,
        avro: None,
        pending: None,
        max_versions_per_day: None,
        schema: SchemaOptions::default(),
        dedupe_scope: DedupeScope::File,
        lateness: Lateness::default(),
        transform: Transform { batch: BatchOptions::default(), ..Transform::default() },
        quality: Quality::default(),
        on_overwrite: OnOverwrite::Replace,
        on_delete: OnDelete::Ignore,
        on_empty: None,
        expected_interval: None,
        publish: Publish { format: PublishFormat::Parquet, location: format!("curated/{dataset}/") },
        dataset,
    })
}

/// Suffixes of the allowed formats, plain and compressed.
fn default_suffixes(source: &SourceOptions) -> Vec<String> {
    let mut suffixes = Vec::new();
    for format in &source.formats {
        for compression in ["", ".gz", ".zst"] {
            suffixes.push(format!(".{}{compression}", format.as_str()));
        }
    }
    suffixes
}

/// Columns the pipeline adds itself (contract.md, "Operational columns").
pub const OPERATIONAL_COLUMNS: [&str; 8] = [
    "pipeline_run_id",
    "dataset_name",
    "processed_at_utc",
    "ingest_date",
    "replay_id",
    "_source_object",
    "_source_generation",
    "_source_row",
];

/// Whether the pipeline adds this column.
pub fn is_operational(column: &str) -> bool {
    OPERATIONAL_COLUMNS.contains(&column)
}

fn read_route(item: &Item<'_>, faults: &mut Faults) -> Option<Route> {
    if !matches!(item.node.value, Value::Map(_)) {
        let remedy = "write an event pattern, such as { object: { key: [ { prefix: landing/orders/ } ] } }".to_owned();
        faults.at(item.place(), &item.path, format!("wants a mapping, found {}", item.node.kind()), Some(remedy));
        return None;
    }
    Some(Route { pattern: item.node.to_json(), line: item.node.line, column: item.node.column })
}

fn read_quality(mut fields: Fields<'_>, quality: &mut Quality, text: &str, faults: &mut Faults) {
    fields.set_some("rules", &mut quality.rules, faults, |item, faults| {
        let rules = item.name(faults)?;
        // A block's mark is its indicator or its first line; the rules start at the first line that holds their text.
        let first = rules.lines().map(str::trim).find(|l| !l.is_empty())?;
        let line =
            text.lines().enumerate().skip(item.node.line - 1).find(|(_, l)| l.contains(first)).map_or(item.node.line, |(i, _)| i + 1);
        Some(Rules { text: rules, line })
    });
    fields.set("default_action", &mut quality.default_action, faults, |i, f| i.word(words::ACTIONS, f));
    fields.set("on_not_evaluated", &mut quality.on_not_evaluated, faults, |i, f| i.word(words::NOT_EVALUATED, f));
    fields.finish(faults);
}

fn read_publish(mut fields: Fields<'_>, publish: &mut Publish, faults: &mut Faults) {
    fields.set("format", &mut publish.format, faults, |i, f| i.word(words::PUBLISH_FORMATS, f));
    fields.set("location", &mut publish.location, faults, |item, faults| {
        let mut location = item.name(faults)?;
        if !location.ends_with('/') {
            location.push('/');
        }
        Some(location)
    });
    fields.finish(faults);
}

/// `schema.avro`: a path, JSON text, or the schema itself.
pub(super) fn read_avro(item: &Item<'_>, faults: &mut Faults) -> Option<AvroSchema> {
    match &item.node.value {
        Value::Map(_) | Value::List(_) => Some(AvroSchema::Inline(item.node.to_json().to_string())),
        _ => {
            let text = item.name(faults)?;
            if text.trim_start().starts_with(['{', '[', '"']) { Some(AvroSchema::Inline(text)) } else { Some(AvroSchema::Path(text)) }
        }
    }
}

#[cfg(test)]
mod tests;
