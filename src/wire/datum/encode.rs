//! Twin → datum. The twin's fields stand in the schema's order: tested for every record.

use serde::Serialize;
use serde::ser::{Impossible, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use super::{DatumError, Node};

/// Appends the datum to `out`.
///
/// # Errors
/// When the twin does not fit the schema; `out` holds a torn datum then.
pub(in crate::wire) fn encode<T: Serialize>(node: &Node, twin: &T, out: &mut Vec<u8>) -> Result<(), DatumError> {
    twin.serialize(Writing { node, out })
}

struct Writing<'n, 'o> {
    node: &'n Node,
    out: &'o mut Vec<u8>,
}

fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push(zigzag.to_le_bytes()[0] | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag.to_le_bytes()[0]);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

impl Writing<'_, '_> {
    /// The node of a value that is there: the branch of an optional one is written on the way.
    fn there(&mut self) {
        if let Node::Optional { null, some } = self.node {
            put_long(self.out, 1 - null);
            self.node = some;
        }
    }

    fn misfit(&self, what: &str) -> DatumError {
        DatumError::Twin(format!("{what} where the schema has {:?}", self.node))
    }

    fn whole(mut self, value: i64) -> Result<(), DatumError> {
        self.there();
        match self.node {
            Node::Long => put_long(self.out, value),
            Node::Int if i32::try_from(value).is_ok() => put_long(self.out, value),
            _ => return Err(self.misfit("a whole number")),
        }
        Ok(())
    }
}

impl<'n, 'o> Serializer for Writing<'n, 'o> {
    type Ok = ();
    type Error = DatumError;
    type SerializeSeq = Items<'n, 'o>;
    type SerializeTuple = Impossible<(), DatumError>;
    type SerializeTupleStruct = Impossible<(), DatumError>;
    type SerializeTupleVariant = Impossible<(), DatumError>;
    type SerializeMap = Items<'n, 'o>;
    type SerializeStruct = Fields<'n, 'o>;
    type SerializeStructVariant = Impossible<(), DatumError>;

    fn serialize_bool(mut self, value: bool) -> Result<(), DatumError> {
        self.there();
        let Node::Boolean = self.node else { return Err(self.misfit("a boolean")) };
        self.out.push(u8::from(value));
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), DatumError> {
        self.whole(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), DatumError> {
        self.whole(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), DatumError> {
        self.whole(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), DatumError> {
        self.whole(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), DatumError> {
        self.whole(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), DatumError> {
        self.whole(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), DatumError> {
        self.whole(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), DatumError> {
        match i64::try_from(value) {
            Ok(value) => self.whole(value),
            Err(_) => Err(self.misfit("a number beyond 63 bits")),
        }
    }

    fn serialize_f32(mut self, value: f32) -> Result<(), DatumError> {
        self.there();
        match self.node {
            Node::Float => self.out.extend_from_slice(&value.to_le_bytes()),
            Node::Double => self.out.extend_from_slice(&f64::from(value).to_le_bytes()),
            _ => return Err(self.misfit("a float")),
        }
        Ok(())
    }

    fn serialize_f64(mut self, value: f64) -> Result<(), DatumError> {
        self.there();
        let Node::Double = self.node else { return Err(self.misfit("a double")) };
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), DatumError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(mut self, value: &str) -> Result<(), DatumError> {
        self.there();
        let Node::String = self.node else { return Err(self.misfit("a text")) };
        put_bytes(self.out, value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(mut self, value: &[u8]) -> Result<(), DatumError> {
        self.there();
        let Node::Bytes = self.node else { return Err(self.misfit("bytes")) };
        put_bytes(self.out, value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), DatumError> {
        let Node::Optional { null, .. } = self.node else { return Err(self.misfit("nothing")) };
        put_long(self.out, *null);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<(), DatumError> {
        self.there();
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), DatumError> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), DatumError> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), DatumError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), DatumError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, _: u32, _: &'static str, _: &T) -> Result<(), DatumError> {
        Err(self.misfit("a variant"))
    }

    fn serialize_seq(mut self, len: Option<usize>) -> Result<Items<'n, 'o>, DatumError> {
        self.there();
        let Node::Array(item) = self.node else { return Err(self.misfit("a sequence")) };
        Items::new(item, self.out, len)
    }

    fn serialize_map(mut self, len: Option<usize>) -> Result<Items<'n, 'o>, DatumError> {
        self.there();
        let Node::Map(value) = self.node else { return Err(self.misfit("a map")) };
        Items::new(value, self.out, len)
    }

    fn serialize_struct(mut self, _: &'static str, _: usize) -> Result<Fields<'n, 'o>, DatumError> {
        self.there();
        let Node::Record(fields) = self.node else { return Err(self.misfit("a record")) };
        Ok(Fields { fields: fields.iter(), out: self.out })
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, DatumError> {
        Err(self.misfit("a tuple"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, DatumError> {
        Err(self.misfit("a tuple"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, DatumError> {
        Err(self.misfit("a variant"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, DatumError> {
        Err(self.misfit("a variant"))
    }
}

/// One block of array items or map entries, and the count of 0 that ends it.
pub(super) struct Items<'n, 'o> {
    item: &'n Node,
    out: &'o mut Vec<u8>,
}

impl<'n, 'o> Items<'n, 'o> {
    fn new(item: &'n Node, out: &'o mut Vec<u8>, len: Option<usize>) -> Result<Self, DatumError> {
        let len = len.ok_or_else(|| DatumError::Twin("a sequence of unknown length".to_owned()))?;
        if len > 0 {
            put_long(out, i64::try_from(len).unwrap_or(i64::MAX));
        }
        Ok(Self { item, out })
    }
}

impl SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = DatumError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DatumError> {
        value.serialize(Writing { node: self.item, out: self.out })
    }

    fn end(self) -> Result<(), DatumError> {
        put_long(self.out, 0);
        Ok(())
    }
}

impl SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = DatumError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), DatumError> {
        key.serialize(Writing { node: &Node::String, out: self.out })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DatumError> {
        value.serialize(Writing { node: self.item, out: self.out })
    }

    fn end(self) -> Result<(), DatumError> {
        put_long(self.out, 0);
        Ok(())
    }
}

/// Fields of a record.
pub(super) struct Fields<'n, 'o> {
    fields: std::slice::Iter<'n, (String, Node)>,
    out: &'o mut Vec<u8>,
}

impl SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = DatumError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), DatumError> {
        match self.fields.next() {
            Some((name, node)) if name == key => value.serialize(Writing { node, out: self.out }),
            expected => Err(DatumError::Twin(format!("field {key} where the schema has {:?}", expected.map(|(name, _)| name)))),
        }
    }

    fn end(mut self) -> Result<(), DatumError> {
        match self.fields.next() {
            None => Ok(()),
            Some((name, _)) => Err(DatumError::Twin(format!("the twin has no field {name}"))),
        }
    }
}
