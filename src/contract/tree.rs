//! YAML (and JSON, being YAML) as a bounded tree whose every node knows its place.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Number, Value as Json};

use super::fault::Fault;

/// Longest contract read, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of a contract.
pub const DEPTH_MAX: usize = 64;
/// Widest indentation of a line; it bounds the block nesting before the parser recurses.
const INDENT_MAX: usize = 200;
/// Most nodes, aliases expanded.
const NODES_MAX: usize = 100_000;

/// A value and where it stands (lines and columns from 1).
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub line: usize,
    pub column: usize,
    pub value: Value,
}

/// What stands there. Scalars keep their spelling, so `1.10` and `0x1F` survive where text is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float { value: f64, spelling: String },
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub line: usize,
    pub column: usize,
    pub node: Node,
}

impl Node {
    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Float { .. } => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The same value as JSON; keys keep their order.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Integer(i) => Json::from(*i),
            Value::Float { value, spelling } => match serde_json::from_str::<Number>(spelling) {
                Ok(number) => Json::Number(number),
                Err(_) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            },
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(entries) => Json::Object(entries.iter().map(|e| (e.key.clone(), e.node.to_json())).collect::<Map<_, _>>()),
        }
    }
}

/// Reads one YAML document.
///
/// # Errors
/// The text is too long, too deep, not YAML, repeats a key, or is not exactly one document.
pub fn read(file: &str, text: &str) -> Result<Node, Fault> {
    let fault = |line: usize, column: usize, message: String, remedy: Option<&str>| Fault {
        file: file.to_owned(),
        line,
        column,
        path: String::new(),
        message,
        remedy: remedy.map(str::to_owned),
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(fault(1, 1, format!("the file has {} bytes, more than {TEXT_BYTES_MAX}", text.len()), None));
    }
    let too_deep = "nested too deeply";
    for (idx, line) in text.lines().enumerate() {
        let indent = line.chars().take_while(|c| matches!(c, ' ' | '\t' | '-' | '?' | ':')).count();
        if indent > INDENT_MAX && indent < line.chars().count() {
            return Err(fault(idx + 1, INDENT_MAX + 1, too_deep.to_owned(), Some("indent less")));
        }
    }
    let documents = MarkedYaml::load_from_str(text)
        .map_err(|e| fault(e.marker().line().max(1), e.marker().col() + 1, format!("not YAML: {}", e.info()), None))?;
    let [document] = documents.as_slice() else {
        let message = if documents.is_empty() { "the file is empty" } else { "more than one document in the file" };
        return Err(fault(1, 1, message.to_owned(), Some("write one contract per file")));
    };
    let chars: Vec<char> = text.chars().collect();
    let mut nodes = 0;
    convert(document, &chars, 0, &mut nodes).map_err(|Refused { line, column, message }| fault(line, column, message, None))
}

struct Refused {
    line: usize,
    column: usize,
    message: String,
}

fn convert(yaml: &MarkedYaml<'_>, chars: &[char], depth: usize, nodes: &mut usize) -> Result<Node, Refused> {
    let (line, column) = (yaml.span.start.line().max(1), yaml.span.start.col() + 1);
    let refused = |message: &str| Refused { line, column, message: message.to_owned() };
    *nodes += 1;
    if depth > DEPTH_MAX {
        return Err(refused("nested too deeply"));
    }
    if *nodes > NODES_MAX {
        return Err(refused("too many values, aliases expanded"));
    }
    let value = match &yaml.data {
        YamlData::Value(scalar) => scalar_value(scalar, spelling(yaml, chars)),
        YamlData::Representation(text, ..) => Value::Text(text.to_string()),
        YamlData::Sequence(items) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                list.push(convert(item, chars, depth + 1, nodes)?);
            }
            Value::List(list)
        }
        YamlData::Mapping(map) => {
            let mut entries: Vec<Entry> = Vec::with_capacity(map.len());
            for (key, node) in map {
                let (line, column) = (key.span.start.line().max(1), key.span.start.col() + 1);
                let text = match &key.data {
                    YamlData::Value(Scalar::String(text)) => text.to_string(),
                    YamlData::Value(_) => spelling(key, chars),
                    _ => return Err(Refused { line, column, message: "a key must be text".to_owned() }),
                };
                if entries.iter().any(|e| e.key == text) {
                    return Err(Refused { line, column, message: format!("the key {text} stands twice") });
                }
                entries.push(Entry { key: text, line, column, node: convert(node, chars, depth + 1, nodes)? });
            }
            Value::Map(entries)
        }
        YamlData::Tagged(..) => return Err(refused("tags are not read")),
        _ => return Err(refused("a value that cannot be read")),
    };
    Ok(Node { line, column, value })
}

fn scalar_value(scalar: &Scalar<'_>, spelling: String) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(b) => Value::Bool(*b),
        Scalar::Integer(i) => Value::Integer(*i),
        Scalar::FloatingPoint(value) => Value::Float { value: value.into_inner(), spelling },
        Scalar::String(text) => Value::Text(text.to_string()),
    }
}

/// The characters the node was read from; spans count characters.
fn spelling(yaml: &MarkedYaml<'_>, chars: &[char]) -> String {
    let (start, end) = (yaml.span.start.index(), yaml.span.end.index());
    chars.get(start..end).map(|c| c.iter().collect::<String>().trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_are_refused_with_a_place() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
        let flow = "[".repeat(200_000);
        let block = "- ".repeat(100_000) + "x";
        let nested: String = (0..190).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        let long = " ".repeat(TEXT_BYTES_MAX + 1);
        for text in [bomb, &flow, &block, &nested, &long, "", "a: 1\na: 2\n", "a: 1\n---\nb: 2\n", "a: !x 1\n", "{[1]: 2}", "\"\\"] {
            let fault = read("c.yaml", text).expect_err(&text.chars().take(40).collect::<String>());
            assert!(fault.line >= 1 && fault.column >= 1, "{fault}");
        }
    }

    #[test]
    fn keys_that_look_like_booleans_keep_their_spelling() {
        let node = read("c.yaml", "true: [\"yes\"]\n1.10: 1.10\n").expect("reads");
        let Value::Map(entries) = node.value else { panic!("a mapping") };
        assert_eq!((entries[0].key.as_str(), entries[1].key.as_str()), ("true", "1.10"));
        assert_eq!(entries[1].node.to_json().to_string(), "1.10");
    }
}
