use apache_avro::types::Value;
use apache_avro::{Schema, to_avro_datum};

use super::*;
use crate::wire::records::{self, Record};

/// Some value of a schema; `n` varies lengths, signs and branches.
fn sample(schema: &Schema, n: i64) -> Value {
    match schema {
        Schema::Boolean => Value::Boolean(n % 2 == 0),
        Schema::Int => Value::Int(i32::try_from(n * 1_000_003 % i64::from(i32::MAX)).unwrap()),
        Schema::Long => Value::Long(n.wrapping_mul(0x0123_4567_89ab_cdef)),
        Schema::Bytes => Value::Bytes(vec![255; usize::try_from(n.abs()).unwrap()]),
        Schema::String => Value::String("ä€".repeat(usize::try_from(n.abs() * 13).unwrap())),
        Schema::Array(array) => Value::Array((0..n.abs()).map(|i| sample(&array.items, i - 1)).collect()),
        Schema::Map(map) => Value::Map((0..n.abs()).take(1).map(|i| (format!("key {i}"), sample(&map.types, i))).collect()),
        Schema::Record(record) => {
            Value::Record(record.fields.iter().zip(n..).map(|(f, n)| (f.name.clone(), sample(&f.schema, n % 5))).collect())
        }
        Schema::Union(union) => {
            let branch = usize::try_from(n.unsigned_abs() % 2).unwrap();
            Value::Union(u32::try_from(branch).unwrap(), Box::new(sample(&union.variants()[branch], n)))
        }
        Schema::Null => Value::Null,
        other => panic!("{other:?} is in none of our schemas"),
    }
}

/// What the library writes reads into the twin, and the twin writes the library's very bytes.
fn agrees<R: Record>() {
    let schema = Schema::parse_str(R::SCHEMA).unwrap();
    let node = Node::of(&schema).unwrap_or_else(|| panic!("{} uses what is not known here", R::NAME));
    for n in -4..5 {
        let datum = to_avro_datum(&schema, sample(&schema, n)).unwrap();
        let twin: R = decode(&node, &datum).unwrap_or_else(|e| panic!("{}: {e}", R::NAME));
        let mut written = Vec::new();
        encode(&node, &twin, &mut written).unwrap_or_else(|e| panic!("{}: {e}", R::NAME));
        assert_eq!(written, datum, "{}", R::NAME);
        for cut in 0..datum.len() {
            assert!(decode::<R>(&node, &datum[..cut]).is_err(), "{} cut at {cut}", R::NAME);
        }
        written.push(0);
        assert!(matches!(decode::<R>(&node, &written), Err(DatumError::Trailing { left: 1 })));
    }
}

#[test]
fn every_record_agrees_with_the_library() {
    agrees::<records::LandedObject>();
    agrees::<records::ValidatedObject>();
    agrees::<records::ClassifiedObject>();
    agrees::<records::BatchPlan>();
    agrees::<records::StagedBatch>();
    agrees::<records::PublishedBatch>();
    agrees::<records::QuarantineLetter>();
    agrees::<records::ObjectStatus>();
    agrees::<records::LifecycleEvent>();
    agrees::<records::ReplayRequest>();
    agrees::<records::QualityReport>();
}

#[test]
fn numbers_of_any_size_pass_and_longer_ones_are_refused() {
    for value in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN] {
        let mut out = Vec::new();
        encode(&Node::Long, &value, &mut out).unwrap();
        assert_eq!(out, to_avro_datum(&Schema::Long, Value::Long(value)).unwrap());
        assert_eq!(decode::<i64>(&Node::Long, &out).unwrap(), value);
    }
    assert!(matches!(decode::<i64>(&Node::Long, &[0xff; 10]), Err(DatumError::Number)));
    assert!(matches!(decode::<i64>(&Node::Int, &[0xff, 0xff, 0xff, 0xff, 0x7f]), Err(DatumError::Number)));
    assert!(encode(&Node::Int, &i64::MAX, &mut Vec::new()).is_err());
}

#[test]
fn blocks_that_name_their_size_are_read() {
    let node = Node::Array(Box::new(Node::Long));
    // Two items in two bytes, one item, the end.
    assert_eq!(decode::<Vec<i64>>(&node, &[3, 4, 2, 4, 2, 6, 0]).unwrap(), [1, 2, 3]);
    assert!(matches!(decode::<Vec<i64>>(&node, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 2]), Err(DatumError::Short)));
}

#[test]
fn a_twin_of_another_shape_is_refused_by_name() {
    let node = Node::Record(vec![("a".to_owned(), Node::Long)]);
    #[derive(serde::Serialize)]
    struct Other {
        b: i64,
    }
    let refused = encode(&node, &Other { b: 1 }, &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(refused, r#"field b where the schema has Some("a")"#);
    let optional = Node::Optional { null: 0, some: Box::new(Node::String) };
    assert!(matches!(decode::<Option<String>>(&optional, &[6]), Err(DatumError::Branch { branch: 3 })));
    assert!(matches!(decode::<Option<String>>(&optional, &[2, 2, 0xff]), Err(DatumError::Text)));
}
