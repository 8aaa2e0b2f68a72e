//! Shape ↔ Avro schema JSON. Round trip is a property.
//!
//! Deliberately absent: unions other than with null, `fixed`, `duration`, `time-*` and `uuid` beyond
//! plain strings: they are refused by path, never approximated.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::shape::{DEPTH_MAX, EnumShape, Field, Item, PRECISION_MAX, RecordShape, Shape, TimeUnit, ZoneKind};

/// An Avro schema was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AvroError {
    #[error("the schema is not JSON")]
    NotJson {
        #[source]
        source: JsonFault,
    },
    #[error("the top of the schema must be a record, found {found}")]
    NotRecord { found: String },
    #[error("{path}: {what} is not supported")]
    Unsupported { path: String, what: String },
    #[error("{path}: {what}")]
    Malformed { path: String, what: String },
}

/// Where JSON text broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonFault(String);

/// Parses an Avro record schema.
///
/// # Errors
/// Names the path of the first part that is malformed or has no shape here.
pub fn record_from_text(text: &str) -> Result<RecordShape, AvroError> {
    let json: Json = serde_json::from_str(text).map_err(|e| AvroError::NotJson { source: JsonFault(e.to_string()) })?;
    record_from_json(&json)
}

/// Reads an Avro record schema from its JSON; see [`record_from_text`].
pub fn record_from_json(json: &Json) -> Result<RecordShape, AvroError> {
    let mut names = BTreeMap::new();
    match read(json, "", &mut names, 0)? {
        (Shape::Record(record), false) => Ok(record),
        (other, _) => Err(AvroError::NotRecord { found: other.to_string() }),
    }
}

/// Reads any type that may stand in a field, nullable or not.
pub fn item_from_json(json: &Json) -> Result<Item, AvroError> {
    let (shape, nullable) = read(json, "", &mut BTreeMap::new(), 0)?;
    Ok(Item { shape, nullable })
}

/// Prints a record as an Avro schema; names are made unique where nesting repeats them.
pub fn record_to_json(record: &RecordShape) -> Json {
    let mut names = Names::default();
    record_json(record, &mut names)
}

/// Prints a record as compact Avro schema text.
pub fn record_to_text(record: &RecordShape) -> String {
    record_to_json(record).to_string()
}

/// Prints the type of a field or item.
pub fn item_to_json(item: &Item) -> Json {
    let mut names = Names::default();
    let json = shape_json(&item.shape, &mut names);
    if item.nullable { json!(["null", json]) } else { json }
}

/// Named types by unqualified name (decisions.md 30).
type Named = BTreeMap<String, Shape>;

fn read(json: &Json, path: &str, names: &mut Named, depth: usize) -> Result<(Shape, bool), AvroError> {
    if depth > DEPTH_MAX {
        return Err(malformed(path, "nested too deep"));
    }
    match json {
        Json::String(name) => Ok((primitive(name, path, names)?, false)),
        Json::Array(branches) => union(branches, path, names, depth),
        Json::Object(object) => Ok((complex(object, path, names, depth)?, false)),
        _ => Err(malformed(path, "a type is a name, a union or an object")),
    }
}

fn union(branches: &[Json], path: &str, names: &mut Named, depth: usize) -> Result<(Shape, bool), AvroError> {
    let is_null = |b: &Json| b == "null" || b.get("type").is_some_and(|t| t == "null");
    let others: Vec<&Json> = branches.iter().filter(|b| !is_null(b)).collect();
    let [only] = others.as_slice() else {
        return Err(unsupported(path, format!("a union of {} types besides null", others.len())));
    };
    let (shape, nested_null) = read(only, path, names, depth + 1)?;
    Ok((shape, nested_null || others.len() < branches.len()))
}

fn primitive(name: &str, path: &str, names: &Named) -> Result<Shape, AvroError> {
    Ok(match name {
        "boolean" => Shape::Boolean,
        "int" => Shape::Int,
        "long" => Shape::Long,
        "float" => Shape::Float,
        "double" => Shape::Double,
        "string" => Shape::String,
        "bytes" => Shape::Bytes,
        "null" => return Err(unsupported(path, "a type that is only null")),
        named => {
            let short = named.rsplit('.').next().unwrap_or(named);
            return names.get(short).cloned().ok_or_else(|| malformed(path, format!("{named:?} is not defined")));
        }
    })
}

fn complex(object: &Map<String, Json>, path: &str, names: &mut Named, depth: usize) -> Result<Shape, AvroError> {
    let kind = object.get("type").ok_or_else(|| malformed(path, "a type without \"type\""))?;
    let Json::String(kind) = kind else {
        return Ok(read(kind, path, names, depth + 1)?.0);
    };
    let logical = object.get("logicalType").and_then(Json::as_str);
    match (kind.as_str(), logical) {
        ("int", Some("date")) => Ok(Shape::Date),
        ("long", Some("timestamp-millis")) => Ok(Shape::Timestamp { unit: TimeUnit::Millis, zone: ZoneKind::Zoned }),
        ("long", Some("timestamp-micros")) => Ok(Shape::Timestamp { unit: TimeUnit::Micros, zone: ZoneKind::Zoned }),
        ("long", Some("local-timestamp-millis")) => Ok(Shape::Timestamp { unit: TimeUnit::Millis, zone: ZoneKind::Naive }),
        ("long", Some("local-timestamp-micros")) => Ok(Shape::Timestamp { unit: TimeUnit::Micros, zone: ZoneKind::Naive }),
        ("bytes", Some("decimal")) => decimal(object, path),
        ("string", _) | ("bytes" | "int" | "long" | "float" | "double" | "boolean", None) => primitive(kind, path, names),
        ("enum", _) => enumeration(object, path, names),
        ("array", _) => item(object, "items", &format!("{path}[]"), names, depth).map(|i| Shape::Array(Box::new(i))),
        ("map", _) => item(object, "values", &format!("{path}{{}}"), names, depth).map(|i| Shape::Map(Box::new(i))),
        ("record", _) => record(object, path, names, depth),
        (kind, Some(logical)) => Err(unsupported(path, format!("logical type {logical} of {kind}"))),
        (kind, None) if object.len() == 1 => primitive(kind, path, names),
        (kind, None) => Err(unsupported(path, format!("type {kind}"))),
    }
}

fn decimal(object: &Map<String, Json>, path: &str) -> Result<Shape, AvroError> {
    let number = |key: &str| object.get(key).and_then(Json::as_u64);
    let precision = number("precision").ok_or_else(|| malformed(path, "a decimal without precision"))?;
    let scale = number("scale").unwrap_or(0);
    if precision == 0 || precision > u64::from(PRECISION_MAX) || scale > precision {
        return Err(unsupported(path, format!("decimal({precision},{scale}); 1 to {PRECISION_MAX} digits are possible")));
    }
    Ok(Shape::Decimal { precision: precision as u8, scale: scale as u8 })
}

fn text_list(value: Option<&Json>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|s| s.as_str().map(str::to_owned)).collect()
}

fn name_of(object: &Map<String, Json>, path: &str) -> Result<String, AvroError> {
    let name = object.get("name").and_then(Json::as_str).ok_or_else(|| malformed(path, "a named type without a name"))?;
    match object.get("namespace").and_then(Json::as_str) {
        Some(space) if !space.is_empty() && !name.contains('.') => Ok(format!("{space}.{name}")),
        _ => Ok(name.to_owned()),
    }
}

fn remember(names: &mut Named, name: &str, shape: &Shape) {
    names.insert(name.rsplit('.').next().unwrap_or(name).to_owned(), shape.clone());
}

fn enumeration(object: &Map<String, Json>, path: &str, names: &mut Named) -> Result<Shape, AvroError> {
    let name = name_of(object, path)?;
    let symbols = text_list(object.get("symbols")).ok_or_else(|| malformed(path, "an enum without a list of symbols"))?;
    let default = object.get("default").and_then(Json::as_str).map(str::to_owned);
    let shape = Shape::Enum(EnumShape { name: name.clone(), symbols, default });
    remember(names, &name, &shape);
    Ok(shape)
}

fn item(object: &Map<String, Json>, key: &str, path: &str, names: &mut Named, depth: usize) -> Result<Item, AvroError> {
    let json = object.get(key).ok_or_else(|| malformed(path, format!("no {key:?}")))?;
    let (shape, nullable) = read(json, path, names, depth + 1)?;
    Ok(Item { shape, nullable })
}

fn record(object: &Map<String, Json>, path: &str, names: &mut Named, depth: usize) -> Result<Shape, AvroError> {
    let name = name_of(object, path)?;
    let list = object.get("fields").and_then(Json::as_array).ok_or_else(|| malformed(path, "a record without fields"))?;
    let mut fields: Vec<Field> = Vec::with_capacity(list.len());
    let mut n_types = 0;
    for entry in list {
        let Some(field) = entry.as_object() else {
            return Err(malformed(path, "a field is an object"));
        };
        let name = name_of(field, path)?;
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if fields.iter().any(|f| f.name == name) {
            return Err(malformed(&at, "the field stands twice"));
        }
        let json = field.get("type").ok_or_else(|| malformed(&at, "a field without a type"))?;
        let (shape, nullable) = read(json, &at, names, depth + 1)?;
        n_types += types_in(&shape);
        if n_types > TYPES_MAX {
            return Err(unsupported(&at, format!("a record of more than {TYPES_MAX} types, references expanded")));
        }
        let default = field.get("default").cloned();
        let aliases = text_list(field.get("aliases")).unwrap_or_default();
        fields.push(Field { name, shape, nullable, default, aliases });
    }
    let shape = Shape::Record(RecordShape { name: name.clone(), fields });
    remember(names, &name, &shape);
    Ok(shape)
}

/// Types of one record, references expanded: each use of a name is a copy, so a short text can mean very many.
const TYPES_MAX: usize = 1 << 16;

/// The shape and everything within it; no record in it has more than [`TYPES_MAX`].
fn types_in(shape: &Shape) -> usize {
    match shape {
        Shape::Record(record) => 1 + record.fields.iter().map(|f| types_in(&f.shape)).sum::<usize>(),
        Shape::Array(item) | Shape::Map(item) => 1 + types_in(&item.shape),
        _ => 1,
    }
}

fn unsupported(path: &str, what: impl Into<String>) -> AvroError {
    AvroError::Unsupported { path: at(path), what: what.into() }
}

fn malformed(path: &str, what: impl Into<String>) -> AvroError {
    AvroError::Malformed { path: at(path), what: what.into() }
}

fn at(path: &str) -> String {
    if path.is_empty() { "top".to_owned() } else { path.to_owned() }
}

/// Names of types already printed; Avro defines each once.
#[derive(Default)]
struct Names {
    defined: BTreeMap<String, Shape>,
}

impl Names {
    /// The name to print under, and whether the definition has stood before.
    fn claim(&mut self, wanted: &str, shape: &Shape) -> (String, bool) {
        let mut name = wanted.to_owned();
        let mut n = 2usize;
        loop {
            let short = name.rsplit('.').next().unwrap_or(&name).to_owned();
            match self.defined.get(&short) {
                None => {
                    self.defined.insert(short, shape.clone());
                    return (name, false);
                }
                Some(before) if before == shape => return (name, true),
                Some(_) => {
                    name = format!("{wanted}_{n}");
                    n += 1;
                }
            }
        }
    }
}

fn shape_json(shape: &Shape, names: &mut Names) -> Json {
    match shape {
        Shape::Boolean | Shape::Int | Shape::Long | Shape::Float | Shape::Double | Shape::String | Shape::Bytes => {
            Json::String(shape.to_string())
        }
        Shape::Decimal { precision, scale } => json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}),
        Shape::Date => json!({"type": "int", "logicalType": "date"}),
        Shape::Timestamp { .. } => json!({"type": "long", "logicalType": shape.to_string()}),
        Shape::Enum(e) => {
            let (name, known) = names.claim(&e.name, shape);
            if known {
                return Json::String(name);
            }
            let mut json = json!({"type": "enum", "name": name, "symbols": e.symbols});
            if let Some(default) = &e.default {
                json["default"] = Json::String(default.clone());
            }
            json
        }
        Shape::Array(item) => json!({"type": "array", "items": nullable_json(item, names)}),
        Shape::Map(item) => json!({"type": "map", "values": nullable_json(item, names)}),
        Shape::Record(record) => record_json(record, names),
    }
}

fn nullable_json(item: &Item, names: &mut Names) -> Json {
    let json = shape_json(&item.shape, names);
    if item.nullable { json!(["null", json]) } else { json }
}

fn record_json(record: &RecordShape, names: &mut Names) -> Json {
    let wanted = if record.name.is_empty() { "record" } else { record.name.as_str() };
    let (name, known) = names.claim(wanted, &Shape::Record(record.clone()));
    if known {
        return Json::String(name);
    }
    let fields: Vec<Json> = record
        .fields
        .iter()
        .map(|f| {
            let json = shape_json(&f.shape, names);
            // A default belongs to the first branch of a union (Avro specification, "Unions").
            let json = match (f.nullable, &f.default) {
                (false, _) => json,
                (true, None | Some(Json::Null)) => json!(["null", json]),
                (true, Some(_)) => json!([json, "null"]),
            };
            let mut field = Map::new();
            field.insert("name".to_owned(), Json::String(f.name.clone()));
            field.insert("type".to_owned(), json);
            if let Some(default) = &f.default {
                field.insert("default".to_owned(), default.clone());
            }
            if !f.aliases.is_empty() {
                field.insert("aliases".to_owned(), json!(f.aliases));
            }
            Json::Object(field)
        })
        .collect();
    json!({"type": "record", "name": name, "fields": fields})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shape::tests::shape;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn printing_and_parsing_is_identity(shapes in proptest::collection::vec((shape(), any::<bool>()), 0..5)) {
            let fields = shapes.into_iter().enumerate().map(|(i, (s, n))| {
                if n { Field::nullable(format!("c{i}"), s) } else { Field::required(format!("c{i}"), s) }
            }).collect();
            let before = RecordShape::new("top", fields);
            let text = record_to_text(&before);
            let after = record_from_text(&text).expect("own output parses");
            // Names of nested records are made unique, so compare what is printed again.
            prop_assert_eq!(record_to_text(&after), text);
            prop_assert!(apache_avro::Schema::parse(&record_to_json(&before)).is_ok() || before.fields.is_empty());
        }
    }

    #[test]
    fn refusals_name_the_part() {
        let cases = [
            (
                r#"{"type":"record","name":"r","fields":[{"name":"a","type":["int","string"]}]}"#,
                "a: a union of 2 types besides null is not supported",
            ),
            (
                r#"{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"fixed","name":"f","size":3}}]}"#,
                "a: type fixed is not supported",
            ),
            (
                r#"{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"int","logicalType":"time-millis"}}]}"#,
                "a: logical type time-millis of int is not supported",
            ),
            (
                r#"{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"array","items":{"type":"record","name":"x","fields":[{"name":"b","type":"no.such"}]}}}]}"#,
                "a[].b: \"no.such\" is not defined",
            ),
            (r#"{"type":"record","name":"r","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#, "a: the field stands twice"),
            (r#""int""#, "the top of the schema must be a record, found int"),
        ];
        for (text, message) in cases {
            assert_eq!(record_from_text(text).expect_err(text).to_string(), message);
        }
    }

    #[test]
    fn defaults_and_aliases_survive() {
        let text = r#"{"type":"record","name":"a.b.R","fields":[{"name":"x","type":["long","null"],"default":5,"aliases":["y"]},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}},{"name":"e2","type":["null","E"],"default":null}]}"#;
        let record = record_from_text(text).expect("valid");
        assert_eq!(record_to_text(&record), text);
        assert_eq!(record.fields[0].aliases, ["y"]);
        assert!(record.fields[0].nullable && record.fields[0].default == Some(json!(5)));
    }

    #[test]
    fn a_short_text_that_means_too_many_types_is_refused() {
        let mut fields = vec![r#"{"name":"f0","type":{"type":"record","name":"R0","fields":[{"name":"x","type":"int"}]}}"#.to_owned()];
        for i in 1..30 {
            let inner = i - 1;
            fields.push(format!(
                r#"{{"name":"f{i}","type":{{"type":"record","name":"R{i}","fields":[{{"name":"a","type":"R{inner}"}},{{"name":"b","type":"R{inner}"}}]}}}}"#
            ));
        }
        let text = format!(r#"{{"type":"record","name":"A","fields":[{}]}}"#, fields.join(","));
        let told = record_from_text(&text).unwrap_err().to_string();
        assert!(told.contains("more than 65536 types"), "{told}");
    }
}
