//! Compatibility of Avro schemas as a registry judges it: may data written with one be read with another?
//!
//! Own resolution over the schema's JSON, because `apache_avro::SchemaCompatibility` (0.21) compares
//! references by full name, ignores defaults of enums and names no place. The rules are those of the Avro
//! specification, "Schema Resolution", as the common registries apply them: named types compare by
//! unqualified name (decisions.md 30), aliases are the reader's. Deliberately absent: logical types, which
//! resolution ignores (drift judges them), and any store.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::schema::options::Compatibility;

/// Comparisons of one pair of schemas before the answer is "too complex": nested unions can branch exponentially.
const COMPARISONS_MAX: u32 = 200_000;
/// Depth of nesting compared before the answer is "too complex".
const DEPTH_MAX: u32 = 200;
/// Findings kept per pair of schemas.
const MESSAGES_MAX: usize = 50;
/// Longest schema text in bytes.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// Why a text is not an Avro schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("the schema has {len} bytes, at most {SCHEMA_BYTES_MAX} are allowed")]
    TooLong { len: usize },
    #[error("the schema is not JSON: {cause}")]
    NotJson { cause: String },
    #[error("the schema is not Avro: {cause}")]
    NotAvro { cause: String },
}

/// A schema's text does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{which} does not parse: {detail}")]
pub struct SchemaInvalid {
    pub which: String,
    pub detail: String,
}

/// What is incompatible, as sentences that name version and path; empty when `candidate` may follow `versions`
/// (oldest first). *Backward*: the candidate reads what the older version wrote. *Forward*: the older version
/// reads what the candidate writes. A transitive mode asks every version, the others the latest: a lake still
/// holds files of the first one (drift.md §1.3, "latest-only trap").
///
/// # Errors
/// When one of the schemas does not parse.
pub fn check(mode: Compatibility, versions: &[&str], candidate: &str) -> Result<Vec<String>, SchemaInvalid> {
    let parse = |which: &dyn Fn() -> String, text: &str| {
        AvroSchema::parse(text).map_err(|e| SchemaInvalid { which: which(), detail: e.to_string() })
    };
    let candidate = parse(&|| "the candidate".to_owned(), candidate)?;
    let (backward, forward, transitive) = match mode {
        Compatibility::None => (false, false, false),
        Compatibility::Backward => (true, false, false),
        Compatibility::BackwardTransitive => (true, false, true),
        Compatibility::Forward => (false, true, false),
        Compatibility::ForwardTransitive => (false, true, true),
        Compatibility::Full => (true, true, false),
        Compatibility::FullTransitive => (true, true, true),
    };
    let from = if transitive { 0 } else { versions.len().saturating_sub(1) };
    let mut messages = Vec::new();
    for (index, text) in versions.iter().enumerate() {
        let n = index + 1;
        let version = parse(&|| format!("version {n}"), text)?;
        if index < from {
            continue;
        }
        if backward {
            messages.extend(unreadable(&candidate, &version).into_iter().map(|m| format!("it cannot read data of version {n}: {m}")));
        }
        if forward {
            messages.extend(unreadable(&version, &candidate).into_iter().map(|m| format!("version {n} cannot read its data: {m}")));
        }
    }
    Ok(messages)
}

/// Every reason why `reader` cannot read what `writer` wrote; empty if it can.
pub fn unreadable(reader: &AvroSchema, writer: &AvroSchema) -> Vec<String> {
    let mut comparison = Comparison { reader, writer, under_way: BTreeSet::new(), left: COMPARISONS_MAX, too_complex: false };
    let mut findings = Vec::new();
    comparison.compare(reader.root, writer.root, "", 0, &mut findings);
    if comparison.too_complex {
        return vec!["the schemas nest too deeply to be compared".to_owned()];
    }
    findings
}

/// A schema, parsed and with its names resolved. Types stand in an arena, so recursion is an index.
#[derive(Debug, Clone)]
pub struct AvroSchema {
    types: Vec<Type>,
    root: usize,
    canonical: String,
    fingerprint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

#[derive(Debug, Clone)]
enum Type {
    Primitive(Primitive),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Fixed {
        name: Names,
        size: u64,
    },
    Enum {
        name: Names,
        symbols: Vec<String>,
        default: Option<String>,
    },
    Record {
        name: Names,
        fields: Vec<Field>,
    },
    /// Stands in the arena while the type is read.
    Unread,
}

#[derive(Debug, Clone)]
struct Names {
    /// Without namespace.
    name: String,
    /// Without namespace.
    aliases: Vec<String>,
}

#[derive(Debug, Clone)]
struct Field {
    name: String,
    aliases: Vec<String>,
    kind: usize,
    has_default: bool,
}

impl AvroSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`SchemaError`] when the text is too long, not JSON or not a valid Avro schema.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(SchemaError::TooLong { len: text.len() });
        }
        let json: Value = serde_json::from_str(text).map_err(|e| SchemaError::NotJson { cause: e.to_string() })?;
        apache_avro::Schema::parse_str(text).map_err(|e| SchemaError::NotAvro { cause: e.to_string() })?;
        let mut arena = Arena::default();
        let root = arena.read(&json, "")?;
        let mut canonical = String::with_capacity(text.len());
        write_sorted(&json, &mut canonical);
        let fingerprint = fingerprint(&canonical);
        Ok(Self { types: arena.types, root, canonical, fingerprint })
    }

    /// The schema's JSON with sorted keys and without spaces. Unlike Avro's parsing canonical form it keeps
    /// defaults, aliases and logical types, because a change of those is a new version.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// SHA-256 of [`AvroSchema::canonical`], in hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

fn fingerprint(canonical: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(canonical))
}

fn write_sorted(json: &Value, out: &mut String) {
    match json {
        Value::Object(map) => {
            out.push('{');
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_sorted(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_sorted(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[derive(Default)]
struct Arena {
    types: Vec<Type>,
    /// Full name → place.
    named: BTreeMap<String, usize>,
}

impl Arena {
    fn add(&mut self, kind: Type) -> usize {
        self.types.push(kind);
        self.types.len() - 1
    }

    /// The parser of JSON bounds the depth of this recursion (128).
    fn read(&mut self, json: &Value, namespace: &str) -> Result<usize, SchemaError> {
        match json {
            Value::String(name) => self.named_or_primitive(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|b| self.read(b, namespace)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.add(Type::Union(branches)))
            }
            Value::Object(map) => match map.get("type") {
                Some(Value::String(kind)) => self.complex(kind, map, namespace),
                Some(inner) => self.read(inner, namespace),
                None => Err(not_avro("an object without \"type\"")),
            },
            other => Err(not_avro(&format!("{other} is not a type"))),
        }
    }

    fn named_or_primitive(&mut self, name: &str, namespace: &str) -> Result<usize, SchemaError> {
        let primitive = match name {
            "null" => Primitive::Null,
            "boolean" => Primitive::Boolean,
            "int" => Primitive::Int,
            "long" => Primitive::Long,
            "float" => Primitive::Float,
            "double" => Primitive::Double,
            "bytes" => Primitive::Bytes,
            "string" => Primitive::String,
            _ => {
                let full = full_name(name, namespace);
                let known = self.named.get(&full).or_else(|| self.named.get(name));
                return known.copied().ok_or_else(|| not_avro(&format!("the type {full:?} is not defined before its use")));
            }
        };
        Ok(self.add(Type::Primitive(primitive)))
    }

    fn complex(&mut self, kind: &str, map: &serde_json::Map<String, Value>, namespace: &str) -> Result<usize, SchemaError> {
        match kind {
            "array" | "map" => {
                let key = if kind == "array" { "items" } else { "values" };
                let inner = self.read(map.get(key).ok_or_else(|| not_avro(&format!("{kind} without {key:?}")))?, namespace)?;
                Ok(self.add(if kind == "array" { Type::Array(inner) } else { Type::Map(inner) }))
            }
            "record" | "error" | "enum" | "fixed" => self.definition(kind, map, namespace),
            other => self.named_or_primitive(other, namespace),
        }
    }

    fn definition(&mut self, kind: &str, map: &serde_json::Map<String, Value>, namespace: &str) -> Result<usize, SchemaError> {
        let name = map.get("name").and_then(Value::as_str).ok_or_else(|| not_avro(&format!("{kind} without name")))?;
        let own = map.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let full = full_name(name, own);
        let inner_namespace = full.rsplit_once('.').map_or("", |(before, _)| before).to_owned();
        let names = Names { name: unqualified(name).to_owned(), aliases: aliases(map).map(|a| unqualified(a).to_owned()).collect() };
        let place = self.add(Type::Unread);
        if self.named.insert(full.clone(), place).is_some() {
            return Err(not_avro(&format!("the type {full:?} is defined twice")));
        }
        self.types[place] = match kind {
            "fixed" => {
                let size = map.get("size").and_then(Value::as_u64).ok_or_else(|| not_avro("fixed without size"))?;
                Type::Fixed { name: names, size }
            }
            "enum" => {
                let symbols = map.get("symbols").and_then(Value::as_array).ok_or_else(|| not_avro("enum without symbols"))?;
                let symbols = symbols.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                Type::Enum { name: names, symbols, default: map.get("default").and_then(Value::as_str).map(str::to_owned) }
            }
            _ => {
                let listed = map.get("fields").and_then(Value::as_array).ok_or_else(|| not_avro("record without fields"))?;
                let mut fields = Vec::with_capacity(listed.len());
                for field in listed {
                    let (Some(field), Some(name)) = (field.as_object(), field.get("name").and_then(Value::as_str)) else {
                        return Err(not_avro("a field without name"));
                    };
                    let kind = field.get("type").ok_or_else(|| not_avro(&format!("field {name:?} without type")))?;
                    fields.push(Field {
                        name: name.to_owned(),
                        aliases: aliases(field).map(str::to_owned).collect(),
                        kind: self.read(kind, &inner_namespace)?,
                        has_default: field.contains_key("default"),
                    });
                }
                Type::Record { name: names, fields }
            }
        };
        Ok(place)
    }
}

fn not_avro(cause: &str) -> SchemaError {
    SchemaError::NotAvro { cause: cause.to_owned() }
}

fn aliases(map: &serde_json::Map<String, Value>) -> impl Iterator<Item = &str> {
    map.get("aliases").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn unqualified(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

struct Comparison<'a> {
    reader: &'a AvroSchema,
    writer: &'a AvroSchema,
    /// Pairs of records being compared further up: met again, they are as compatible as the rest turns out to be.
    under_way: BTreeSet<(usize, usize)>,
    left: u32,
    too_complex: bool,
}

impl Comparison<'_> {
    fn compare(&mut self, r: usize, w: usize, path: &str, depth: u32, out: &mut Vec<String>) {
        if self.left == 0 || depth > DEPTH_MAX {
            self.too_complex = true;
            return;
        }
        self.left -= 1;
        if out.len() >= MESSAGES_MAX {
            return;
        }
        let (reader, writer) = (self.reader, self.writer);
        match (&reader.types[r], &writer.types[w]) {
            (_, Type::Union(branches)) => {
                for branch in branches {
                    self.compare(r, *branch, path, depth + 1, out);
                }
            }
            (Type::Union(branches), written) => self.compare_any(branches, w, written, path, depth, out),
            (Type::Primitive(read), Type::Primitive(written)) => {
                if !promotes(*written, *read) {
                    out.push(format!("{}: {} cannot be read as {}", place(path), primitive_name(*written), primitive_name(*read)));
                }
            }
            (Type::Array(read), Type::Array(written)) => self.compare(*read, *written, &format!("{path}[]"), depth + 1, out),
            (Type::Map(read), Type::Map(written)) => self.compare(*read, *written, &format!("{path}{{}}"), depth + 1, out),
            (Type::Fixed { name, size }, Type::Fixed { name: written, size: written_size }) => {
                same_name(name, written, path, out);
                if size != written_size {
                    out.push(format!("{}: fixed of {written_size} bytes cannot be read as fixed of {size}", place(path)));
                }
            }
            (Type::Enum { name, symbols, default }, Type::Enum { name: written, symbols: written_symbols, .. }) => {
                same_name(name, written, path, out);
                let missing: Vec<&str> = written_symbols.iter().filter(|s| !symbols.contains(s)).map(String::as_str).collect();
                if !missing.is_empty() && default.is_none() {
                    out.push(format!("{}: the reader's enum lacks {} and has no default", place(path), missing.join(", ")));
                }
            }
            (Type::Record { name, fields }, Type::Record { name: written, fields: written_fields }) => {
                same_name(name, written, path, out);
                if self.under_way.insert((r, w)) {
                    self.compare_fields(fields, written_fields, path, depth, out);
                    self.under_way.remove(&(r, w));
                }
            }
            (read, written) => out.push(format!("{}: {} cannot be read as {}", place(path), kind_name(written), kind_name(read))),
        }
    }

    /// A union reads what one of its branches reads.
    fn compare_any(&mut self, branches: &[usize], w: usize, written: &Type, path: &str, depth: u32, out: &mut Vec<String>) {
        let mut nearest: Option<Vec<String>> = None;
        for branch in branches {
            let mut findings = Vec::new();
            self.compare(*branch, w, path, depth + 1, &mut findings);
            if findings.is_empty() {
                return;
            }
            // The branch of the same kind explains best why nothing fits.
            if std::mem::discriminant(&self.reader.types[*branch]) == std::mem::discriminant(written)
                && !matches!(written, Type::Primitive(_))
            {
                nearest.get_or_insert(findings);
            }
        }
        out.extend(
            nearest.unwrap_or_else(|| vec![format!("{}: no branch of the reader's union reads {}", place(path), kind_name(written))]),
        );
    }

    fn compare_fields(&mut self, read: &[Field], written: &[Field], path: &str, depth: u32, out: &mut Vec<String>) {
        for field in read {
            let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
            let found = written
                .iter()
                .find(|w| w.name == field.name)
                .or_else(|| field.aliases.iter().find_map(|alias| written.iter().find(|w| w.name == *alias)));
            match found {
                Some(source) => self.compare(field.kind, source.kind, &path, depth + 1, out),
                None if field.has_default => {}
                None => out.push(format!("{}: the writer has no such field and the reader has no default", place(&path))),
            }
        }
    }
}

fn same_name(read: &Names, written: &Names, path: &str, out: &mut Vec<String>) {
    if read.name != written.name && !read.aliases.contains(&written.name) {
        out.push(format!("{}: the type is named {:?}, the writer's {:?}", place(path), read.name, written.name));
    }
}

/// Promotions of the Avro specification, "Schema Resolution".
fn promotes(written: Primitive, read: Primitive) -> bool {
    use Primitive::*;
    written == read
        || matches!(
            (written, read),
            (Int, Long | Float | Double) | (Long, Float | Double) | (Float, Double) | (String, Bytes) | (Bytes, String)
        )
}

fn place(path: &str) -> String {
    if path.is_empty() { "the schema".to_owned() } else { format!("{path:?}") }
}

fn primitive_name(primitive: Primitive) -> &'static str {
    match primitive {
        Primitive::Null => "null",
        Primitive::Boolean => "boolean",
        Primitive::Int => "int",
        Primitive::Long => "long",
        Primitive::Float => "float",
        Primitive::Double => "double",
        Primitive::Bytes => "bytes",
        Primitive::String => "string",
    }
}

fn kind_name(kind: &Type) -> String {
    match kind {
        Type::Primitive(primitive) => primitive_name(*primitive).to_owned(),
        Type::Array(_) => "array".to_owned(),
        Type::Map(_) => "map".to_owned(),
        Type::Union(_) => "union".to_owned(),
        Type::Fixed { name, .. } => format!("fixed {}", name.name),
        Type::Enum { name, .. } => format!("enum {}", name.name),
        Type::Record { name, .. } => format!("record {}", name.name),
        Type::Unread => "an unfinished type".to_owned(),
    }
}

#[cfg(test)]
mod tests;
