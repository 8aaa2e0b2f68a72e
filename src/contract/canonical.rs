//! The canonical text of a contract and its hash (decisions.md 20).
//!
//! Two spellings of one contract give one text; the text is itself a contract that parses to the same
//! contract, so later stages load it by its hash.

use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use super::model::{AvroSchema, Contract, Transform};
use super::words::{self, word};
use crate::domain::time::Span;
use crate::format::options::SourceOptions;
use crate::schema::options::{ColumnRules, SchemaOptions, StrictRequired};
use crate::schema::resolve::Choices;

/// JSON with every default written out, keys sorted except where order means something (`derive`), one line.
pub fn canonical_json(contract: &Contract) -> String {
    let c = contract;
    let mut top = json!({
        "dataset": c.dataset.as_str(),
        "owner": c.owner,
        "mode": word(words::MODES, &c.mode),
        "route": c.route.as_ref().map(|r| sorted(&r.pattern)),
        "route_priority": c.route_priority,
        "layout": c.layout,
        "source": source(c),
        "schema": schema(c),
        "rows": rows(c),
        "lateness": { "allowed": c.lateness.allowed.map(span), "on_late": word(words::LATE, &c.lateness.on_late) },
        "quality": {
            "rules": c.quality.rules.as_ref().map(|r| r.text.trim().to_owned()),
            "default_action": word(words::ACTIONS, &c.quality.default_action),
            "on_not_evaluated": word(words::NOT_EVALUATED, &c.quality.on_not_evaluated),
        },
        "on_overwrite": word(words::OVERWRITES, &c.on_overwrite),
        "on_delete": word(words::DELETES, &c.on_delete),
        "on_empty": c.on_empty.map(|e| word(words::EMPTIES, &e)),
        "expected_interval": c.expected_interval.map(span),
        "publish": { "format": word(words::PUBLISH_FORMATS, &c.publish.format), "location": c.publish.location },
    });
    prune(&mut top);
    let mut top = sorted(&top);
    // After the sorting: the order of `derive` is the contract's.
    let mut transform = transform(&c.transform, &c.schema.resolve);
    prune(&mut transform);
    top["transform"] = transform;
    top.to_string()
}

/// First 16 hex digits of the canonical text's SHA-256.
pub fn contract_hash(contract: &Contract) -> String {
    hex::encode(&Sha256::digest(canonical_json(contract))[..8])
}

fn span(span: Span) -> String {
    span.to_string()
}

fn avro(avro: &AvroSchema) -> Json {
    match avro {
        AvroSchema::Path(path) => Json::String(path.clone()),
        AvroSchema::Inline(text) => {
            let parsed = serde_json::from_str::<Json>(text).map(|schema| sorted(&schema).to_string());
            Json::String(parsed.unwrap_or_else(|_| text.clone()))
        }
    }
}

fn source(c: &Contract) -> Json {
    let SourceOptions { formats, csv, json, limits } = &c.source;
    let byte = |b: Option<u8>| b.map_or(String::new(), |b| char::from(b).to_string());
    // Without a declared dialect there is no block: its other keys cannot have been set either.
    let csv = csv.declared.as_ref().map(|d| {
        json!({
            "delimiter": d.delimiter, "quote": byte(d.quote), "escape": byte(d.escape), "header": d.header,
            "encoding": word(words::ENCODINGS, &d.encoding),
            "encoding_fallback": csv.encoding_fallback.map(|e| word(words::ENCODINGS, &e)),
            "null_tokens": csv.null_tokens, "autodetect_on_mismatch": csv.autodetect_on_mismatch,
        })
    });
    json!({
        "formats": formats.iter().map(|f| f.as_str()).collect::<Vec<_>>(),
        "suffixes": c.suffixes,
        "min_bytes": c.min_bytes.bytes(),
        "max_bytes": c.max_bytes.map(|b| b.bytes()),
        "csv": csv,
        "json": {
            "duplicate_keys": word(words::ODDITIES, &json.duplicate_keys),
            "non_finite": word(words::ODDITIES, &json.non_finite),
            "big_number": word(words::BIG_NUMBERS, &json.big_number),
        },
        "limits": {
            "field_bytes": limits.field_bytes.bytes(), "record_bytes": limits.record_bytes.bytes(), "columns": limits.columns,
            "json_depth": limits.json_depth, "decompressed_bytes": limits.decompressed_bytes.bytes(),
            "compression_ratio": limits.compression_ratio, "ratio_applies_above": limits.ratio_applies_above.bytes(),
        },
        "same_content_again": word(words::SAME_CONTENT, &c.same_content_again),
    })
}

fn schema(c: &Contract) -> Json {
    let SchemaOptions { compatibility, identity, required, columns, policy, .. } = &c.schema;
    json!({
        "subject": c.subject.as_str(),
        "compatibility": compatibility.as_str(),
        "avro": c.avro.as_ref().map(avro),
        "pending": c.pending.as_ref().map(|p| json!({ "avro": avro(&p.avro), "effective_from": p.effective_from.map(|t| t.to_string()) })),
        "max_versions_per_day": c.max_versions_per_day,
        "identity": identity,
        "required": required,
        "columns": columns.iter().map(|(name, rules)| (name.clone(), column(rules))).collect::<Map<_, _>>(),
        "policy": {
            "allow_additive_columns": policy.allow_additive_columns,
            "allow_type_coercion": word(words::COERCIONS, &policy.allow_type_coercion),
            "strict_required_columns": match &policy.strict_required_columns {
                StrictRequired::All => json!(true),
                StrictRequired::None => json!(false),
                StrictRequired::Columns(columns) => json!(columns),
            },
            "quarantine_on_breaking_change": policy.quarantine_on_breaking_change,
            "max_bad_row_ratio": policy.max_bad_row_ratio,
            "max_new_columns": policy.max_new_columns,
        },
    })
}

fn column(rules: &ColumnRules) -> Json {
    json!({
        "format": rules.formats, "event_time": rules.event_time, "unit": rules.unit, "min": rules.min, "max": rules.max,
        "pattern": rules.pattern, "allowed_values": rules.allowed_values, "aliases": rules.aliases,
        "true": rules.booleans.as_ref().map(|b| &b.truthy), "false": rules.booleans.as_ref().map(|b| &b.falsy),
        "null_tokens": rules.null_tokens, "timezone": rules.timezone, "unique": rules.unique, "sensitive": rules.sensitive,
    })
}

fn rows(c: &Contract) -> Json {
    json!({
        "on_bad_row": word(words::BAD_ROWS, &c.schema.on_bad_row),
        "dedupe": c.schema.dedupe.as_ref().map(|d| json!({
            "key": d.key,
            "exact_duplicate": word(words::EXACT_DUPLICATES, &d.exact_duplicate),
            "conflicting_duplicate": word(words::CONFLICTING_DUPLICATES, &d.conflicting_duplicate),
            "scope": word(words::DEDUPE_SCOPES, &c.dedupe_scope),
        })),
    })
}

fn transform(t: &Transform, resolve: &Choices) -> Json {
    json!({
        "batch": {
            "linger": span(t.batch.linger), "max_bytes": t.batch.max_bytes.bytes(), "max_files": t.batch.max_files,
            "max_rows": t.batch.max_rows, "quiet": span(t.batch.quiet), "shards": t.batch.shards,
        },
        "derive": t.derive.iter().map(|(name, sql)| (name.clone(), json!(sql))).collect::<Map<_, _>>(),
        "parquet": { "compression": words::compression_text(t.parquet.compression), "row_group_rows": t.parquet.row_group_rows },
        "partition_by": t.partition_by,
        "resolve": resolve.iter().map(|(name, choice)| (name.clone(), json!(choice.to_string()))).collect::<Map<_, _>>(),
        "select": t.select,
    })
}

/// Drops the nulls of mappings: an absent key and a null are one.
fn prune(json: &mut Json) {
    if let Json::Object(map) = json {
        map.retain(|key, value| !value.is_null() || key == "route");
        for (key, value) in map.iter_mut() {
            // A route's null is a pattern of its own.
            if key != "route" {
                prune(value);
            }
        }
    }
}

fn sorted(json: &Json) -> Json {
    match json {
        Json::Object(map) => {
            let mut entries: Vec<(&String, &Json)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Json::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::parse::parse;

    const ORDERS: &str = include_str!("../../contracts/orders.yaml");

    #[test]
    fn two_spellings_of_one_contract_hash_alike() {
        let yaml = "dataset: a\nlateness: { allowed: 7d }\nroute: { b: [1], a: [2] }\nsource: { min_bytes: 1 KiB }\n";
        let other = "# a comment\nsource:\n  min_bytes: 1024\nmode: etl\nroute: {\"a\": [2], \"b\": [1]}\nlateness:\n  allowed: P7D\ndataset: \"a\"\n";
        let [one, two] = [yaml, other].map(|t| parse("c", t).expect("parses"));
        assert_eq!(contract_hash(&one), contract_hash(&two));
        assert_eq!(contract_hash(&one).len(), 16);
        let changed = parse("c", &yaml.replace("7d", "8d")).expect("parses");
        assert_ne!(contract_hash(&one), contract_hash(&changed));
    }

    #[test]
    fn the_order_of_derive_is_part_of_the_contract() {
        let [one, two] = ["{ a: '1', b: '2' }", "{ b: '2', a: '1' }"]
            .map(|d| contract_hash(&parse("c", &format!("dataset: a\ntransform: {{ derive: {d} }}\n")).expect("parses")));
        assert_ne!(one, two);
    }

    #[test]
    fn the_canonical_text_is_the_same_contract() {
        let avro = include_str!("../../contracts/schemas/orders.avsc");
        let contract = parse("orders.yaml", ORDERS).expect("parses").with_avro(avro);
        let text = canonical_json(&contract);
        let again = parse("canonical.json", &text).unwrap_or_else(|f| panic!("{f:?}"));
        assert_eq!(canonical_json(&again), text);
        assert_eq!(again.transform, contract.transform);
        assert_eq!(again.schema, contract.schema);
    }
}
