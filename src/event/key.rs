//! Decoding of object keys as events carry them: exactly once, never lossy (events.md §1.1).

/// A key's encoding is broken; the raw text stays with the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyEncodingError {
    #[error("the escape at byte {at} is not % and two hex digits")]
    Escape { at: usize },
    #[error("the decoded key is not UTF-8 from byte {at} on")]
    NotUtf8 { at: usize },
}

/// Decodes form-urlencoded text: `+` is a space, `%XX` a byte, everything else itself.
///
/// # Errors
/// A malformed escape, or bytes that are not UTF-8 afterwards. Nothing is ever replaced.
pub fn decode(raw: &str) -> Result<String, KeyEncodingError> {
    let bytes = raw.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                    return Err(KeyEncodingError::Escape { at });
                };
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            other => decoded.push(other),
        }
        at += 1;
    }
    String::from_utf8(decoded).map_err(|cause| KeyEncodingError::NotUtf8 { at: cause.utf8_error().valid_up_to() })
}

/// Encodes a key as AWS does: unreserved characters and `/` stay, space becomes `+`.
pub fn encode(key: &str) -> String {
    let mut raw = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => raw.push(char::from(byte)),
            b' ' => raw.push('+'),
            _ => {
                raw.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    raw.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
                }
            }
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_decoded_once() {
        for (raw, key) in [
            ("in/a+b%2Bc.csv", "in/a b+c.csv"),
            ("in%2Fa+b%2Bc.csv", "in/a b+c.csv"),
            ("a%252Bb", "a%2Bb"),
            ("%28x%29", "(x)"),
            ("caf%C3%A9", "café"),
            ("café", "café"),
            ("", ""),
            ("%00", "\0"),
        ] {
            assert_eq!(decode(raw).as_deref(), Ok(key), "{raw}");
        }
    }

    #[test]
    fn broken_escapes_are_named_and_never_replaced() {
        for (raw, error) in [
            ("100%", KeyEncodingError::Escape { at: 3 }),
            ("a%2", KeyEncodingError::Escape { at: 1 }),
            ("a%zz", KeyEncodingError::Escape { at: 1 }),
            ("a%+1", KeyEncodingError::Escape { at: 1 }),
            ("ab%FF", KeyEncodingError::NotUtf8 { at: 2 }),
        ] {
            assert_eq!(decode(raw), Err(error), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_itself(key in ".{0,64}") {
            prop_assert_eq!(decode(&encode(&key)), Ok(key));
        }

        #[test]
        fn any_text_decodes_or_is_refused(raw in "\\PC{0,64}") {
            let _ = decode(&raw).map(|key| assert!(key.len() <= raw.len()));
        }
    }
}
