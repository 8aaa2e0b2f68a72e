//! Datum → twin.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{DatumError, Node};

/// # Errors
/// When the bytes are no datum of this schema, or the twin wants something else.
pub(in crate::wire) fn decode<T: DeserializeOwned>(node: &Node, mut datum: &[u8]) -> Result<T, DatumError> {
    let twin = T::deserialize(Reading { node, input: &mut datum })?;
    if datum.is_empty() { Ok(twin) } else { Err(DatumError::Trailing { left: datum.len() }) }
}

struct Reading<'n, 'i, 'de> {
    node: &'n Node,
    input: &'i mut &'de [u8],
}

fn long(input: &mut &[u8]) -> Result<i64, DatumError> {
    let mut zigzag = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first().ok_or(DatumError::Short)?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(DatumError::Number);
        }
        zigzag |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
        }
    }
    Err(DatumError::Number)
}

fn take<'de>(input: &mut &'de [u8], len: usize) -> Result<&'de [u8], DatumError> {
    let (taken, rest) = input.split_at_checked(len).ok_or(DatumError::Short)?;
    *input = rest;
    Ok(taken)
}

fn bytes<'de>(input: &mut &'de [u8]) -> Result<&'de [u8], DatumError> {
    let len = usize::try_from(long(input)?).map_err(|_| DatumError::Number)?;
    take(input, len)
}

fn text<'de>(input: &mut &'de [u8]) -> Result<&'de str, DatumError> {
    std::str::from_utf8(bytes(input)?).map_err(|_| DatumError::Text)
}

fn fixed<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], DatumError> {
    take(input, N)?.try_into().map_err(|_| DatumError::Short)
}

impl<'de> Deserializer<'de> for Reading<'_, '_, 'de> {
    type Error = DatumError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DatumError> {
        let input = self.input;
        match self.node {
            Node::Boolean => visitor.visit_bool(fixed::<1>(input)? != [0]),
            Node::Int => visitor.visit_i32(i32::try_from(long(input)?).map_err(|_| DatumError::Number)?),
            Node::Long => visitor.visit_i64(long(input)?),
            Node::Float => visitor.visit_f32(f32::from_le_bytes(fixed(input)?)),
            Node::Double => visitor.visit_f64(f64::from_le_bytes(fixed(input)?)),
            Node::Bytes => visitor.visit_borrowed_bytes(bytes(input)?),
            Node::String => visitor.visit_borrowed_str(text(input)?),
            Node::Array(item) => visitor.visit_seq(Blocks { item, input, left: 0, ended: false }),
            Node::Map(value) => visitor.visit_map(Blocks { item: value, input, left: 0, ended: false }),
            Node::Record(fields) => visitor.visit_map(Fields { fields: fields.iter(), value: None, input }),
            node @ Node::Optional { .. } => Reading { node, input }.deserialize_option(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DatumError> {
        let Node::Optional { null, some } = self.node else { return visitor.visit_some(self) };
        match long(self.input)? {
            branch if branch == *null => visitor.visit_none(),
            0 | 1 => visitor.visit_some(Reading { node: some, input: self.input }),
            branch => Err(DatumError::Branch { branch }),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DatumError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Items of an array or entries of a map: blocks of a count and that many, until a count of 0.
struct Blocks<'n, 'i, 'de> {
    item: &'n Node,
    input: &'i mut &'de [u8],
    left: u64,
    ended: bool,
}

impl Blocks<'_, '_, '_> {
    fn has_next(&mut self) -> Result<bool, DatumError> {
        if self.left == 0 && !self.ended {
            let count = long(self.input)?;
            if count < 0 {
                // Such a block names its size in bytes, for readers that skip.
                long(self.input)?;
            }
            self.left = count.unsigned_abs();
            self.ended = count == 0;
        }
        self.left = self.left.saturating_sub(1);
        Ok(!self.ended)
    }
}

impl<'de> SeqAccess<'de> for Blocks<'_, '_, 'de> {
    type Error = DatumError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DatumError> {
        if !self.has_next()? {
            return Ok(None);
        }
        seed.deserialize(Reading { node: self.item, input: self.input }).map(Some)
    }
}

impl<'de> MapAccess<'de> for Blocks<'_, '_, 'de> {
    type Error = DatumError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DatumError> {
        if !self.has_next()? {
            return Ok(None);
        }
        seed.deserialize(BorrowedStrDeserializer::new(text(self.input)?)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DatumError> {
        seed.deserialize(Reading { node: self.item, input: self.input })
    }
}

/// Fields of a record, in the schema's order.
struct Fields<'n, 'i, 'de> {
    fields: std::slice::Iter<'n, (String, Node)>,
    value: Option<&'n Node>,
    input: &'i mut &'de [u8],
}

impl<'de> MapAccess<'de> for Fields<'_, '_, 'de> {
    type Error = DatumError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DatumError> {
        let Some((name, node)) = self.fields.next() else { return Ok(None) };
        self.value = Some(node);
        seed.deserialize(serde::de::value::StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DatumError> {
        let node = self.value.take().ok_or_else(|| DatumError::Twin("a value without a field".to_owned()))?;
        seed.deserialize(Reading { node, input: self.input })
    }
}
