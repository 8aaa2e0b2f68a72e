//! Base64 of Pub/Sub payloads and CloudEvents' `data_base64` (RFC 4648, both alphabets).

/// Decodes padded or unpadded text; line breaks are skipped. `None` for anything else.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut n_bits, mut n_digits, mut padded) = (0u32, 0u32, 0usize, false);
    for c in text.bytes() {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\r' | b'\n' => continue,
            b'=' => {
                padded = true;
                continue;
            }
            _ => return None,
        };
        if padded {
            return None;
        }
        bits = (bits << 6) | u32::from(digit);
        n_bits += 6;
        n_digits += 1;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
            bits &= (1 << n_bits) - 1;
        }
    }
    (n_digits % 4 != 1).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_decodes_both_alphabets_and_refuses_the_rest() {
        for (text, bytes) in
            [("", &b""[..]), ("YQ==", b"a"), ("YWI", b"ab"), ("YWJj", b"abc"), ("-_-_", &[0xfb, 0xff, 0xbf]), ("YW\nJj", b"abc")]
        {
            assert_eq!(decode(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["Y", "Y W", "YQ==YQ==", "é"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
