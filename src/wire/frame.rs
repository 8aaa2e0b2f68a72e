//! Registry framing: magic 0, schema id as u32 big-endian, then the Avro datum
//! (Confluent wire format).

use crate::domain::names::SchemaId;

const MAGIC: u8 = 0;

/// Bytes before the datum.
pub const HEADER_LEN: usize = 5;

/// A framed record cannot be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a framed record has at least 5 bytes, this one has {len}")]
    Short { len: usize },
    #[error("a framed record starts with 0, this one with {found}")]
    Magic { found: u8 },
}

/// The header of a record of schema `id`.
pub fn header(id: SchemaId) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = id.0.to_be_bytes();
    [MAGIC, a, b, c, d]
}

/// Schema id and datum.
pub fn split(bytes: &[u8]) -> Result<(SchemaId, &[u8]), FrameError> {
    match bytes {
        [MAGIC, a, b, c, d, datum @ ..] => Ok((SchemaId(u32::from_be_bytes([*a, *b, *c, *d])), datum)),
        [found, _, _, _, _, ..] => Err(FrameError::Magic { found: *found }),
        _ => Err(FrameError::Short { len: bytes.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_split_into_what_they_were_made_of() {
        let framed = [header(SchemaId(258)).as_slice(), b"datum"].concat();
        assert_eq!(framed[..5], [0, 0, 0, 1, 2]);
        assert_eq!(split(&framed), Ok((SchemaId(258), b"datum".as_slice())));
        assert_eq!(split(&[1, 0, 0, 0, 0]), Err(FrameError::Magic { found: 1 }));
        assert_eq!(split(&[0, 0]), Err(FrameError::Short { len: 2 }));
    }
}
