//! Base64 (RFC 4648, section 4).

pub(crate) const DIGITS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const PADDING: u8 = b'=';

/// `bytes` in base64, padded and in one line.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| group.get(at).copied().unwrap_or_default();
        let bits = u32::from_be_bytes([0, byte(0), byte(1), byte(2)]);
        let digit = |shift: u32| DIGITS.get((bits >> shift & 63) as usize).copied();
        let digits = [digit(18), digit(12), digit(6), digit(0)];
        let digits = digits.map(|digit| digit.unwrap_or(PADDING));
        // One digit more than there are bytes.
        let (used, padding) = digits.split_at(group.len() + 1);
        text.extend_from_slice(used);
        text.resize(text.len() + padding.len(), PADDING);
    }
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
    }
}
