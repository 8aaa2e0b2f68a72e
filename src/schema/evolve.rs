//! The next version of a registered schema (drift.md §2.9): fields appended, nullable, default null;
//! types widened inside Avro ∩ Iceberg v2 ∩ Delta-automatic. Nothing is removed or reordered.

use super::shape::{Field, RecordShape, Shape};

/// One step towards the next version.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Appends `field` to the record at `path` (empty: the top).
    Append { path: String, field: Field },
    /// Widens the type at `path`.
    Widen { path: String, to: Shape },
}

/// The registered record with all steps taken; steps that lead nowhere are left out.
pub fn evolve(registered: &RecordShape, steps: &[Step]) -> RecordShape {
    let mut next = registered.clone();
    for step in steps {
        match step {
            Step::Append { path, field } => {
                let mut appended = field.clone();
                appended.nullable = true;
                appended.default = Some(serde_json::Value::Null);
                if let Some(record) = record_at(&mut next, path)
                    && record.field(&appended.name).is_none()
                {
                    record.fields.push(appended);
                }
            }
            Step::Widen { path, to } => {
                if let Some(shape) = shape_at(&mut next, path)
                    && is_widening(shape, to)
                {
                    *shape = to.clone();
                }
            }
        }
    }
    next
}

/// int→long, float→double, decimal(p,s)→decimal(p',s) with p' > p: nothing else ever moves.
pub fn is_widening(from: &Shape, to: &Shape) -> bool {
    match (from, to) {
        (Shape::Int, Shape::Long) | (Shape::Float, Shape::Double) => true,
        (Shape::Decimal { precision: p, scale: s }, Shape::Decimal { precision, scale }) => precision > p && scale == s,
        _ => false,
    }
}

fn record_at<'a>(record: &'a mut RecordShape, path: &str) -> Option<&'a mut RecordShape> {
    if path.is_empty() {
        return Some(record);
    }
    match shape_at(record, path)? {
        Shape::Record(inner) => Some(inner),
        _ => None,
    }
}

/// The shape at a path such as `a.b[].c`, `a{}`.
fn shape_at<'a>(record: &'a mut RecordShape, path: &str) -> Option<&'a mut Shape> {
    // Names may hold dots themselves, so the longest field that fits is followed, not the text cut.
    let fits = |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{']));
    let field = record.fields.iter_mut().filter(|f| fits(&f.name)).max_by_key(|f| f.name.len())?;
    let rest = &path[field.name.len()..];
    inside(&mut field.shape, rest)
}

fn inside<'a>(shape: &'a mut Shape, rest: &str) -> Option<&'a mut Shape> {
    if rest.is_empty() {
        return Some(shape);
    }
    match shape {
        Shape::Array(item) => inside(&mut item.shape, rest.strip_prefix("[]")?),
        Shape::Map(item) => inside(&mut item.shape, rest.strip_prefix("{}")?),
        Shape::Record(record) => shape_at(record, rest.strip_prefix('.')?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shape::Item;

    fn registered() -> RecordShape {
        let inner = RecordShape::new("inner", vec![Field::required("x", Shape::Int)]);
        let list = Shape::Array(Box::new(Item { shape: Shape::Record(inner), nullable: false }));
        RecordShape::new("r", vec![Field::required("id", Shape::Int), Field::nullable("list", list)])
    }

    #[test]
    fn fields_are_appended_and_types_widened_in_place() {
        let steps = [
            Step::Append { path: String::new(), field: Field::required("new", Shape::String) },
            Step::Append { path: "list[]".to_owned(), field: Field::nullable("y", Shape::Long) },
            Step::Widen { path: "list[].x".to_owned(), to: Shape::Long },
            Step::Widen { path: "id".to_owned(), to: Shape::String },
            Step::Append { path: "no.such".to_owned(), field: Field::nullable("y", Shape::Long) },
            Step::Append { path: String::new(), field: Field::nullable("id", Shape::Long) },
        ];
        let next = evolve(&registered(), &steps);
        let names: Vec<_> = next.fields.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["id", "list", "new"]);
        assert_eq!(next.fields[0].shape, Shape::Int, "int never becomes string");
        assert!(next.fields[2].nullable && next.fields[2].default == Some(serde_json::Value::Null));
        let Shape::Array(item) = &next.fields[1].shape else { panic!("still a list") };
        let Shape::Record(inner) = &item.shape else { panic!("still records") };
        assert_eq!(
            inner.fields.iter().map(|f| (f.name.as_str(), f.shape.clone())).collect::<Vec<_>>(),
            [("x", Shape::Long), ("y", Shape::Long)]
        );
    }

    #[test]
    fn no_step_changes_nothing() {
        assert_eq!(evolve(&registered(), &[]), registered());
    }
}
