//! The type lattice: what a column can be, ordered by "every value of the one is a value of the other".
//!
//! Deliberately absent: Avro and Arrow (their spellings stand in [`super::avro`] and [`super::arrow`]),
//! and casts that look at values ([`super::cast`]).

use std::fmt;

use serde_json::Value as Json;

/// Nesting of shapes beyond which nothing is built; the JSON limit of the readers (drift.md §2.11).
pub const DEPTH_MAX: usize = 128;

/// Largest precision of a decimal that fits 128 bits.
pub const PRECISION_MAX: u8 = 38;

/// Resolution of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeUnit {
    Millis,
    Micros,
}

/// Whether a timestamp is a point in time or a wall clock's reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ZoneKind {
    /// A point in time, stored as UTC.
    Zoned,
    /// A local reading without a zone.
    Naive,
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    /// `precision` 1 to 38 digits, `scale` of them after the point.
    Decimal {
        precision: u8,
        scale: u8,
    },
    String,
    Bytes,
    Date,
    Timestamp {
        unit: TimeUnit,
        zone: ZoneKind,
    },
    Enum(EnumShape),
    Array(Box<Item>),
    Map(Box<Item>),
    Record(RecordShape),
}

/// A named list of symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnumShape {
    pub name: String,
    pub symbols: Vec<String>,
    pub default: Option<String>,
}

/// What an array or a map holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub shape: Shape,
    pub nullable: bool,
}

/// Named fields in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecordShape {
    /// Unqualified or qualified name, as registered.
    pub name: String,
    pub fields: Vec<Field>,
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub shape: Shape,
    pub nullable: bool,
    /// Avro's default in its JSON form; `Some(Json::Null)` for "null by default".
    pub default: Option<Json>,
    pub aliases: Vec<String>,
}

impl Field {
    /// A nullable field with default null: the only kind evolution appends (drift.md §1.3).
    pub fn nullable(name: impl Into<String>, shape: Shape) -> Self {
        Self { name: name.into(), shape, nullable: true, default: Some(Json::Null), aliases: Vec::new() }
    }

    /// A field that must have a value.
    pub fn required(name: impl Into<String>, shape: Shape) -> Self {
        Self { name: name.into(), shape, nullable: false, default: None, aliases: Vec::new() }
    }

    /// Whether a file may leave the field out (RM1).
    pub fn is_optional(&self) -> bool {
        self.nullable || self.default.is_some()
    }
}

impl RecordShape {
    pub fn new(name: impl Into<String>, fields: Vec<Field>) -> Self {
        Self { name: name.into(), fields }
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}

impl Shape {
    /// The scalar type of this word: the words of [`Shape`]'s Display, and `timestamp` for its usual form.
    pub fn scalar(word: &str) -> Option<Self> {
        let decimal = |inside: &str| {
            let (precision, scale) = inside.split_once(',')?;
            let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            ((1..=PRECISION_MAX).contains(&precision) && scale <= precision).then_some(Shape::Decimal { precision, scale })
        };
        let timestamp = |unit, zone| Some(Shape::Timestamp { unit, zone });
        match word {
            "boolean" => Some(Shape::Boolean),
            "int" => Some(Shape::Int),
            "long" => Some(Shape::Long),
            "float" => Some(Shape::Float),
            "double" => Some(Shape::Double),
            "string" => Some(Shape::String),
            "bytes" => Some(Shape::Bytes),
            "date" => Some(Shape::Date),
            "timestamp" | "timestamp-micros" => timestamp(TimeUnit::Micros, ZoneKind::Zoned),
            "timestamp-millis" => timestamp(TimeUnit::Millis, ZoneKind::Zoned),
            "local-timestamp-micros" => timestamp(TimeUnit::Micros, ZoneKind::Naive),
            "local-timestamp-millis" => timestamp(TimeUnit::Millis, ZoneKind::Naive),
            _ => word.strip_prefix("decimal(").and_then(|w| w.strip_suffix(')')).and_then(decimal),
        }
    }

    /// Numbers of any width.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Shape::Int | Shape::Long | Shape::Float | Shape::Double | Shape::Decimal { .. })
    }

    /// Arrays, maps and records.
    pub fn is_nested(&self) -> bool {
        matches!(self, Shape::Array(_) | Shape::Map(_) | Shape::Record(_))
    }

    /// One type for the purpose of a rename hint: numbers are one family, points in time another.
    pub fn same_family(&self, other: &Shape) -> bool {
        use Shape::{Date, Timestamp};
        if self.is_numeric() && other.is_numeric() {
            return true;
        }
        match (self, other) {
            (Date | Timestamp { .. }, Date | Timestamp { .. }) => true,
            (Shape::String | Shape::Enum(_), Shape::String | Shape::Enum(_)) => true,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Whether every value of `other` is exactly a value of `self`, by type alone (class L0 or L1 of
    /// drift.md §3 without the text column).
    pub fn subsumes(&self, other: &Shape) -> bool {
        use Shape::*;
        match (self, other) {
            (a, b) if a == b => true,
            (Long, Int) | (Double, Int | Float) => true,
            (Decimal { precision, scale }, Int) => precision - scale.min(precision) >= 10,
            (Decimal { precision, scale }, Long) => precision - scale.min(precision) >= 19,
            (Decimal { precision: p2, scale: s2 }, Decimal { precision, scale }) => {
                s2 >= scale && p2.saturating_sub(*s2) >= precision.saturating_sub(*scale)
            }
            (Timestamp { unit: wide, zone: a }, Timestamp { unit, zone: b }) => a == b && wide >= unit,
            (Enum(wide), Enum(narrow)) => narrow.symbols.iter().all(|s| wide.symbols.contains(s)),
            (String, Enum(_)) => true,
            (Array(a), Array(b)) | (Map(a), Map(b)) => a.subsumes(b),
            (Record(a), Record(b)) => a.subsumes(b),
            _ => false,
        }
    }

    /// The least shape that subsumes both; `String` (JSON text) where only text can hold both.
    pub fn join(&self, other: &Shape) -> Shape {
        use Shape::*;
        if self.subsumes(other) {
            return self.clone();
        }
        if other.subsumes(self) {
            return other.clone();
        }
        match (self, other) {
            (Int | Long | Decimal { .. }, Int | Long | Decimal { .. }) => join_exact(self, other),
            (Float, Int) | (Int, Float) => Double,
            (Timestamp { zone: a, .. }, Timestamp { zone: b, .. }) if a == b => Timestamp { unit: TimeUnit::Micros, zone: *a },
            (Enum(_), Enum(_)) => String,
            (Array(a), Array(b)) => Array(Box::new(a.join(b))),
            (Map(a), Map(b)) => Map(Box::new(a.join(b))),
            (Record(a), Record(b)) => Record(a.join(b)),
            _ => String,
        }
    }
}

/// Whole numbers and decimals meet in a decimal if one of 38 digits can hold both.
fn join_exact(a: &Shape, b: &Shape) -> Shape {
    let digits = |s: &Shape| match s {
        Shape::Int => (10, 0),
        Shape::Long => (19, 0),
        Shape::Decimal { precision, scale } => (precision.saturating_sub(*scale), *scale),
        _ => (0, 0),
    };
    let ((ia, sa), (ib, sb)) = (digits(a), digits(b));
    let (whole, scale) = (ia.max(ib), sa.max(sb));
    if whole + scale <= PRECISION_MAX { Shape::Decimal { precision: whole + scale, scale } } else { Shape::String }
}

impl Item {
    fn subsumes(&self, other: &Item) -> bool {
        (self.nullable || !other.nullable) && self.shape.subsumes(&other.shape)
    }

    fn join(&self, other: &Item) -> Item {
        Item { shape: self.shape.join(&other.shape), nullable: self.nullable || other.nullable }
    }
}

impl RecordShape {
    fn subsumes(&self, other: &RecordShape) -> bool {
        other.fields.iter().all(|f| self.field(&f.name).is_some_and(|mine| (mine.nullable || !f.nullable) && mine.shape.subsumes(&f.shape)))
            && self.fields.iter().all(|mine| mine.nullable || other.field(&mine.name).is_some())
    }

    /// Fields of both; what only one has is nullable afterwards.
    fn join(&self, other: &RecordShape) -> RecordShape {
        let mut fields: Vec<Field> = Vec::with_capacity(self.fields.len());
        for mine in &self.fields {
            let mut joined = mine.clone();
            match other.field(&mine.name) {
                Some(theirs) => {
                    joined.shape = mine.shape.join(&theirs.shape);
                    joined.nullable = mine.nullable || theirs.nullable;
                }
                None => joined.nullable = true,
            }
            fields.push(joined);
        }
        for theirs in &other.fields {
            if self.field(&theirs.name).is_none() {
                let mut added = theirs.clone();
                added.nullable = true;
                fields.push(added);
            }
        }
        RecordShape { name: self.name.clone(), fields }
    }
}

impl fmt::Display for Shape {
    /// The words of decision records: `int`, `decimal(10,2)`, `timestamp-micros`, `array<long>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Boolean => f.write_str("boolean"),
            Shape::Int => f.write_str("int"),
            Shape::Long => f.write_str("long"),
            Shape::Float => f.write_str("float"),
            Shape::Double => f.write_str("double"),
            Shape::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Shape::String => f.write_str("string"),
            Shape::Bytes => f.write_str("bytes"),
            Shape::Date => f.write_str("date"),
            Shape::Timestamp { unit, zone } => {
                let local = if *zone == ZoneKind::Naive { "local-" } else { "" };
                let unit = if *unit == TimeUnit::Millis { "millis" } else { "micros" };
                write!(f, "{local}timestamp-{unit}")
            }
            Shape::Enum(e) => write!(f, "enum {}", e.name),
            Shape::Array(item) => write!(f, "array<{}>", item.shape),
            Shape::Map(item) => write!(f, "map<{}>", item.shape),
            Shape::Record(r) => write!(f, "record {}", r.name),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn leaf() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Boolean),
            Just(Shape::Int),
            Just(Shape::Long),
            Just(Shape::Float),
            Just(Shape::Double),
            (1u8..=38).prop_flat_map(|p| (Just(p), 0..=p)).prop_map(|(precision, scale)| Shape::Decimal { precision, scale }),
            Just(Shape::String),
            Just(Shape::Bytes),
            Just(Shape::Date),
            prop_oneof![Just(TimeUnit::Millis), Just(TimeUnit::Micros)]
                .prop_flat_map(|u| (Just(u), prop_oneof![Just(ZoneKind::Zoned), Just(ZoneKind::Naive)]))
                .prop_map(|(unit, zone)| Shape::Timestamp { unit, zone }),
        ]
    }

    pub(crate) fn shape() -> impl Strategy<Value = Shape> {
        leaf().prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                (inner.clone(), any::<bool>()).prop_map(|(shape, nullable)| Shape::Array(Box::new(Item { shape, nullable }))),
                (inner.clone(), any::<bool>()).prop_map(|(shape, nullable)| Shape::Map(Box::new(Item { shape, nullable }))),
                proptest::collection::vec((inner, any::<bool>()), 0..4).prop_map(|fields| {
                    let fields = fields
                        .into_iter()
                        .enumerate()
                        .map(|(i, (shape, nullable))| {
                            let name = format!("f{i}");
                            if nullable { Field::nullable(name, shape) } else { Field::required(name, shape) }
                        })
                        .collect();
                    Shape::Record(RecordShape::new("r", fields))
                }),
            ]
        })
    }

    #[test]
    fn widenings_follow_the_lattice_table() {
        let dec = |precision, scale| Shape::Decimal { precision, scale };
        let yes = [
            (Shape::Long, Shape::Int),
            (Shape::Double, Shape::Int),
            (Shape::Double, Shape::Float),
            (dec(12, 2), Shape::Int),
            (dec(19, 0), Shape::Long),
            (dec(7, 3), dec(6, 2)),
        ];
        for (wide, narrow) in yes {
            assert!(wide.subsumes(&narrow), "{wide} holds {narrow}");
        }
        let no = [
            (Shape::Int, Shape::Long),
            (Shape::Double, Shape::Long),
            (Shape::Float, Shape::Int),
            (dec(11, 2), Shape::Int),
            (dec(6, 3), dec(6, 2)),
            (Shape::Boolean, Shape::Int),
            (Shape::String, Shape::Long),
        ];
        for (wide, narrow) in no {
            assert!(!wide.subsumes(&narrow), "{wide} does not hold {narrow}");
        }
    }

    proptest! {
        #[test]
        fn join_is_commutative_in_what_it_holds(a in shape(), b in shape()) {
            let (ab, ba) = (a.join(&b), b.join(&a));
            prop_assert!(ab.subsumes(&ba) && ba.subsumes(&ab) || ab == Shape::String || ba == Shape::String, "{ab} {ba}");
        }

        #[test]
        fn join_holds_both_or_is_text(a in leaf(), b in leaf()) {
            let j = a.join(&b);
            prop_assert!(j == Shape::String || (j.subsumes(&a) && j.subsumes(&b)));
            prop_assert_eq!(a.join(&a), a);
        }

        #[test]
        fn subsumes_is_transitive(a in leaf(), b in leaf(), c in leaf()) {
            if a.subsumes(&b) && b.subsumes(&c) {
                prop_assert!(a.subsumes(&c));
            }
        }
    }
}
