//! The JSON Schema of a contract, for editors: made of the keys the parser knows.

use serde_json::{Map, Value, json};

use super::keys::{CONTRACT, Key, Kind};

/// The schema as it stands in `schemas/contract.schema.json`, with a line break at its end.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).expect("a schema of texts and numbers always serializes");
    text.push('\n');
    text
}

/// The schema (draft 7, which editors read).
pub fn schema() -> Value {
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    root.insert("title".to_owned(), json!("lakegate dataset contract"));
    let Value::Object(object) = section(CONTRACT) else { return Value::Object(root) };
    root.extend(object);
    root.insert("required".to_owned(), json!(["dataset"]));
    Value::Object(root)
}

fn section(keys: &[Key]) -> Value {
    let property = |key: &Key| {
        let mut value = kind(&key.kind);
        if let Value::Object(object) = &mut value {
            object.insert("description".to_owned(), json!(key.about));
        }
        (key.name.to_owned(), value)
    };
    let properties: Map<String, Value> = keys.iter().map(property).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn kind(of: &Kind) -> Value {
    match of {
        Kind::Name(0) => json!({ "type": "string", "minLength": 1 }),
        Kind::Name(max) => json!({ "type": "string", "minLength": 1, "maxLength": max }),
        Kind::Text(max) => json!({ "type": "string", "maxLength": max }),
        Kind::Shaped(pattern) => json!({ "type": "string", "pattern": pattern }),
        Kind::Token => json!({ "type": ["string", "number", "boolean"] }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Integer => json!({ "type": "integer" }),
        Kind::Number => json!({ "type": "number" }),
        Kind::Ratio => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Count(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Size(min) => json!({ "anyOf": [
            { "type": "integer", "minimum": min },
            { "type": "string", "pattern": r"^\s*\d+\s*(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)?\s*$" },
        ] }),
        Kind::Span => json!({ "type": "string", "pattern": r"^\s*(\d+\s*(ms|s|m|min|h|d|w)|P[0-9WDTHMS]+)\s*$" }),
        Kind::Time => json!({ "type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}([Tt ].+)?$" }),
        Kind::Word(words) => json!({ "enum": words() }),
        Kind::List(of) => json!({ "type": "array", "items": kind(of) }),
        Kind::Section(keys) => section(keys),
        Kind::Map(of) => json!({ "type": "object", "additionalProperties": kind(of) }),
        Kind::Opaque => json!({ "type": "object" }),
        Kind::Either(kinds) => json!({ "anyOf": kinds.iter().map(kind).collect::<Vec<_>>() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::contract::parse::parse;

    /// Every mapping with fixed keys of a schema, with the path that leads to it; free keys are `column`.
    fn mappings(schema: &Value, path: &[&str], found: &mut Vec<(Vec<String>, BTreeSet<String>)>) {
        if let Some(kinds) = schema["anyOf"].as_array() {
            kinds.iter().for_each(|kind| mappings(kind, path, found));
        }
        if let Some(properties) = schema["properties"].as_object() {
            let owned = path.iter().map(|p| (*p).to_owned()).collect();
            found.push((owned, properties.keys().cloned().collect()));
            for (name, below) in properties {
                mappings(below, &[path, &[name.as_str()]].concat(), found);
            }
        }
        if schema["additionalProperties"].is_object() {
            mappings(&schema["additionalProperties"], &[path, &["column"]].concat(), found);
        }
    }

    /// What the parser says of a contract with this entry at this path (and a dataset).
    fn faults(path: &[String], key: &str) -> Vec<String> {
        let mut value = json!({ key: null });
        for name in path.iter().rev() {
            value = json!({ name: value });
        }
        value["dataset"] = json!("t");
        parse("c.yaml", &value.to_string()).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_committed_schema_is_the_generated_one() {
        let committed = include_str!("../../schemas/contract.schema.json");
        assert_eq!(committed, text(), "write it anew: lakegate contract schema > schemas/contract.schema.json");
    }

    #[test]
    fn the_parser_and_the_schema_know_the_same_keys() {
        let mut found = Vec::new();
        mappings(&schema(), &[], &mut found);
        assert!(found.len() >= 16, "{found:?}");
        for (path, keys) in &found {
            for key in keys.iter().filter(|k| !(path.is_empty() && *k == "dataset")) {
                let unknown: Vec<String> = faults(path, key).into_iter().filter(|f| f.contains("unknown key")).collect();
                assert!(unknown.is_empty(), "the schema has {path:?} {key}, the parser: {unknown:?}");
            }
            // Far from every word, so that the parser lists what it knows.
            let refused = faults(path, "0123456789012345678901234567890");
            let known = refused.iter().find_map(|f| f.split_once("known here: ")).unwrap_or_else(|| panic!("{path:?}: {refused:?}")).1;
            let known: BTreeSet<String> = known.split(", ").map(str::to_owned).collect();
            assert_eq!(&known, keys, "{path:?}");
        }
    }

    #[test]
    fn every_key_has_a_sentence() {
        let mut n = 0;
        fn walk(keys: &[Key], n: &mut usize) {
            for key in keys {
                assert!(key.about.ends_with('.'), "{}: {}", key.name, key.about);
                *n += 1;
                match &key.kind {
                    Kind::Section(below) | Kind::Map(Kind::Section(below)) => walk(below, n),
                    _ => {}
                }
            }
        }
        walk(CONTRACT, &mut n);
        assert!(n > 70, "{n}");
    }
}
