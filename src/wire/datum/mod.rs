//! Avro datums of our own schemas, between bytes and twins directly: no tree of values in between.
//!
//! Only what our schemas use is known here. A datum of another writer's schema is resolved by the
//! Avro library (`codec`).

use apache_avro::Schema;

mod decode;
mod encode;

pub(super) use decode::decode;
pub(super) use encode::encode;

/// A datum and its twin do not fit each other.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatumError {
    #[error("the datum ends in the middle")]
    Short,
    #[error("{left} bytes follow the datum")]
    Trailing { left: usize },
    #[error("a number has more than 64 bits, or a length is negative")]
    Number,
    #[error("a text is not UTF-8")]
    Text,
    #[error("a union has no branch {branch}")]
    Branch { branch: i64 },
    #[error("{0}")]
    Twin(String),
}

impl serde::de::Error for DatumError {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        DatumError::Twin(text.to_string())
    }
}

impl serde::ser::Error for DatumError {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        DatumError::Twin(text.to_string())
    }
}

/// A schema, reduced to what reading and writing needs.
#[derive(Debug)]
pub(super) enum Node {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Box<Node>),
    Map(Box<Node>),
    Record(Vec<(String, Node)>),
    /// A union of null and one other type; `null` is the branch of null, 0 or 1.
    Optional {
        null: i64,
        some: Box<Node>,
    },
}

impl Node {
    /// `None`: the schema uses something that none of ours does.
    pub(super) fn of(schema: &Schema) -> Option<Self> {
        Some(match schema {
            Schema::Boolean => Node::Boolean,
            Schema::Int => Node::Int,
            Schema::Long => Node::Long,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes => Node::Bytes,
            Schema::String => Node::String,
            Schema::Array(array) => Node::Array(Box::new(Node::of(&array.items)?)),
            Schema::Map(map) => Node::Map(Box::new(Node::of(&map.types)?)),
            // Every item of an array takes bytes, so a count alone cannot fill memory.
            Schema::Record(record) if !record.fields.is_empty() => {
                let fields = record.fields.iter().map(|f| Some((f.name.clone(), Node::of(&f.schema)?)));
                Node::Record(fields.collect::<Option<_>>()?)
            }
            Schema::Union(union) => match union.variants() {
                [Schema::Null, some] => Node::Optional { null: 0, some: Box::new(Node::of(some)?) },
                [some, Schema::Null] => Node::Optional { null: 1, some: Box::new(Node::of(some)?) },
                _ => return None,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
