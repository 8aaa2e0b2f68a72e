//! `transform.resolve`, Glue's resolveChoice: whose word holds where a column's values do not all fit its
//! registered type.
//!
//! `cast` and `project` put the contract's type in the place of the registered one while the file is
//! measured and read; the registry keeps its own, and the table's column has the contract's. So the table's
//! schema follows from contract and registered version alone. `make_cols` and `make_struct` cannot promise
//! that: their columns are the types some file happens to hold. They are known here so that lint can refuse them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value as Json;

use super::shape::{Field, RecordShape, Shape};

/// What is done with one top-level column.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolve {
    /// Every value that can be cast is, originals kept where something is lost, whatever
    /// `allow_type_coercion` says of other columns; what does not cast is a bad value.
    Cast(Shape),
    /// Values of this type stay, all others become null with the original kept; none is a bad value.
    Project(Shape),
    MakeCols,
    MakeStruct,
    /// The registered type under the policy: what happens to a column that is not named here.
    MatchRegistry,
}

/// The text is none of the choices.
#[derive(Debug, thiserror::Error)]
#[error("is not known")]
pub struct UnknownChoice;

impl FromStr for Resolve {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        let shape = |word: &str| Shape::scalar(word.trim()).ok_or(UnknownChoice);
        match text.split_once(':') {
            Some(("cast", word)) => shape(word).map(Resolve::Cast),
            Some(("project", word)) => shape(word).map(Resolve::Project),
            None if text == "make_cols" => Ok(Resolve::MakeCols),
            None if text == "make_struct" => Ok(Resolve::MakeStruct),
            None if text == "match_registry" => Ok(Resolve::MatchRegistry),
            _ => Err(UnknownChoice),
        }
    }
}

impl fmt::Display for Resolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resolve::Cast(shape) => write!(f, "cast:{shape}"),
            Resolve::Project(shape) => write!(f, "project:{shape}"),
            Resolve::MakeCols => f.write_str("make_cols"),
            Resolve::MakeStruct => f.write_str("make_struct"),
            Resolve::MatchRegistry => f.write_str("match_registry"),
        }
    }
}

impl Resolve {
    /// The type the contract sets.
    pub fn target(&self) -> Option<&Shape> {
        match self {
            Resolve::Cast(shape) | Resolve::Project(shape) => Some(shape),
            Resolve::MakeCols | Resolve::MakeStruct | Resolve::MatchRegistry => None,
        }
    }
}

/// Choices by column.
pub type Choices = BTreeMap<String, Resolve>;

/// What files are measured against: the registered shape with the types the contract sets.
pub fn measured(registered: &RecordShape, choices: &Choices) -> RecordShape {
    let mut shape = registered.clone();
    for field in &mut shape.fields {
        if let Some(target) = choices.get(&field.name).and_then(Resolve::target).filter(|t| **t != field.shape) {
            *field = retyped(field, target.clone());
        }
    }
    shape
}

/// The same field of another type. A default of the old type is none of the new one: the field may be null instead.
fn retyped(field: &Field, shape: Shape) -> Field {
    let optional = field.is_optional();
    Field { shape, nullable: optional, default: optional.then_some(Json::Null), ..field.clone() }
}

/// The reverse of [`measured`], after evolution: columns that were registered keep their registered form.
pub fn registrable(mut evolved: RecordShape, registered: Option<&RecordShape>, choices: &Choices) -> RecordShape {
    for field in evolved.fields.iter_mut().filter(|f| choices.contains_key(&f.name)) {
        if let Some(known) = registered.and_then(|r| r.field(&field.name)) {
            *field = known.clone();
        }
    }
    evolved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::testing::record;

    #[test]
    fn a_choice_prints_as_it_is_written() {
        for text in ["cast:double", "project:decimal(10,2)", "cast:timestamp-micros", "make_cols", "make_struct", "match_registry"] {
            assert_eq!(text.parse::<Resolve>().expect(text).to_string(), text);
        }
        for text in ["cast:", "cast:number", "cast:decimal(2,3)", "cast:decimal(39,0)", "project", "make_cols:int", "", "cast:array<int>"] {
            assert!(text.parse::<Resolve>().is_err(), "{text}");
        }
        assert_eq!("cast:timestamp".parse::<Resolve>().expect("a short word").to_string(), "cast:timestamp-micros");
    }

    #[test]
    fn the_registry_keeps_its_types_while_files_are_read_by_the_contracts() {
        let registered = record("id:long! amount:string? note:string?");
        let choices = Choices::from([("amount".to_owned(), Resolve::Cast(Shape::Double)), ("note".to_owned(), Resolve::MatchRegistry)]);
        let read = measured(&registered, &choices);
        assert_eq!(read, record("id:long! amount:double? note:string?"));
        let mut evolved = read.clone();
        evolved.fields.push(Field::nullable("extra", Shape::Long));
        assert_eq!(registrable(evolved, Some(&registered), &choices), record("id:long! amount:string? note:string? extra:long?"));
        assert_eq!(registrable(read.clone(), None, &choices), read, "onboarding registers what the contract sets");
    }
}
