//! What RFC 9110 allows in the name and in the value of a header field.

use thiserror::Error;

use super::quoted::{Octet, quoted};

/// What is wrong with a header field. The texts quote no value except that of Content-Length: a value may be a
/// session's secret, which must not be logged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum HeaderError {
    #[error("header name is empty (RFC 9110, section 5.1: a field name is a token)")]
    EmptyName,

    #[error("header name {name} contains {octet} (RFC 9110, section 5.1: a field name is a token)")]
    IllegalName { name: String, octet: Octet },

    #[error(
        "value of header {name} contains {octet} at byte {position} \
         (RFC 9110, section 5.5)"
    )]
    IllegalValue { name: String, octet: Octet, position: usize },

    #[error(
        "Content-Length {0} is not a decimal number of bytes \
         (RFC 9110, section 8.6: \"Content-Length = 1*DIGIT\")"
    )]
    LengthNotDecimal(String),

    #[error("Content-Length {0} is above 9223372036854775807, the most that nginx can count")]
    LengthTooLarge(String),

    #[error(
        "Content-Length is given twice, as {first} and as {second}: one of them is wrong \
         (RFC 9110, section 8.6)"
    )]
    LengthsDiffer { first: u64, second: u64 },
}

/// A field: its name and its value.
pub(crate) type Field = (Vec<u8>, Vec<u8>);

/// How much a field counts towards a limit. As in HTTP/2 (RFC 9113, section 6.5.2), there is an overhead for each
/// field, because an empty field takes memory too.
pub(crate) fn field_size(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + 32
}

/// Rejects a name that is not a token (RFC 9110, sections 5.1 and 5.6.2).
pub(crate) fn check_name(name: &[u8]) -> Result<(), HeaderError> {
    if name.is_empty() {
        return Err(HeaderError::EmptyName);
    }
    match name.iter().find(|&&byte| !is_token(byte)) {
        None => Ok(()),
        Some(&byte) => Err(HeaderError::IllegalName { name: quoted(name), octet: Octet(byte) }),
    }
}

/// Rejects a value that contains a control character other than HTAB (RFC 9110, section 5.5). White space around it
/// is accepted: [`trim`] removes it.
pub(crate) fn check_value(name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
    let illegal = |byte: u8| byte.is_ascii_control() && byte != b'\t';
    // The loop has no early exit, so that the compiler compares many bytes at once.
    if !value.iter().fold(false, |found, &byte| found | illegal(byte)) {
        return Ok(());
    }
    match value.iter().enumerate().find(|&(_, &byte)| illegal(byte)) {
        None => Ok(()),
        Some((position, &byte)) => {
            Err(HeaderError::IllegalValue { name: quoted(name), octet: Octet(byte), position })
        }
    }
}

/// The value without the white space around it, which is not part of it (RFC 9110, section 5.5).
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Reads a Content-Length: only digits, and at most the largest `off_t`.
pub(crate) fn parse_content_length(value: &[u8]) -> Result<u64, HeaderError> {
    let digits = trim(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HeaderError::LengthNotDecimal(quoted(value)));
    }
    digits
        .iter()
        .try_fold(0_i64, |length, &digit| {
            length.checked_mul(10)?.checked_add(i64::from(digit - b'0'))
        })
        .map(i64::unsigned_abs)
        .ok_or_else(|| HeaderError::LengthTooLarge(quoted(value)))
}

fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = token();
    TOKEN.get(usize::from(byte)).copied().unwrap_or_default()
}

#[allow(clippy::indexing_slicing)] // evaluated at compile time: a bad index is a compile error
const fn token() -> [bool; 256] {
    let others = b"!#$%&'*+-.^_`|~";
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        token[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        token[others[at] as usize] = true;
        at += 1;
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "X-Y", "x_y", "Set-Cookie", "!#$%&'*+-.^_`|~09AZaz"] {
            assert_eq!(check_name(name.as_bytes()), Ok(()), "{name}");
        }
        assert_eq!(check_name(b""), Err(HeaderError::EmptyName));
        for byte in 0..=u8::MAX {
            let token = byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            for name in [vec![byte], vec![b'a', byte], vec![byte, b'a'], vec![b'a', byte, b'b']] {
                let expected = if token {
                    Ok(())
                } else {
                    Err(HeaderError::IllegalName { name: quoted(&name), octet: Octet(byte) })
                };
                assert_eq!(check_name(&name), expected);
            }
        }
    }

    #[test]
    fn values() {
        for value in [&b""[..], b" ", b"a b", b"a\tb", b"\t a \t", b"d\xc3\x80\x9f\xff", b":;,\""] {
            assert_eq!(check_value(b"X", value), Ok(()), "{}", quoted(value));
        }
        for byte in (0..0x20).chain([0x7f]).filter(|&byte| byte != b'\t') {
            for (value, position) in [
                (vec![byte], 0),
                (vec![b'a', byte], 1),
                (vec![byte, b'a'], 0),
                (vec![9, 9, byte], 2),
            ] {
                let name = quoted(b"X");
                assert_eq!(
                    check_value(b"X", &value),
                    Err(HeaderError::IllegalValue { name, octet: Octet(byte), position })
                );
            }
        }
    }

    #[test]
    fn trimmed() {
        let table: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b" ", b""),
            (b" \t \t", b""),
            (b"a", b"a"),
            (b" \ta b\t ", b"a b"),
            (b"\na\r", b"\na\r"),
            (b"\xa0a\xa0", b"\xa0a\xa0"),
        ];
        for &(value, expected) in table {
            assert_eq!(trim(value), expected);
        }
    }

    #[test]
    fn content_length() {
        let table: &[(&[u8], u64)] = &[
            (b"0", 0),
            (b"000", 0),
            (b"10", 10),
            (b" \t10\t ", 10),
            (b"00000000000000000000000010", 10),
            (b"9223372036854775807", i64::MAX as u64),
        ];
        for &(value, length) in table {
            assert_eq!(parse_content_length(value), Ok(length));
        }

        let malformed: [&[u8]; 17] = [
            b"",
            b" ",
            b"-1",
            b"+1",
            b"1.0",
            b"1e3",
            b"0x10",
            b"1_000",
            b"1,1",
            b"1, 1",
            b"1 1",
            b"a",
            b"1a",
            b"None",
            b"1\n",
            b"\xb2",
            b"\xd9\xa1",
        ];
        for value in malformed {
            let error = HeaderError::LengthNotDecimal(quoted(value));
            assert_eq!(parse_content_length(value), Err(error));
        }

        let large: [&[u8]; 4] = [
            b"9223372036854775808",
            b"18446744073709551616",
            b"99999999999999999999",
            b" 99999999999999999999999999999999999999999 ",
        ];
        for value in large {
            let error = HeaderError::LengthTooLarge(quoted(value));
            assert_eq!(parse_content_length(value), Err(error));
        }
    }

    #[test]
    fn texts() {
        let table = [
            (
                check_name(b""),
                "header name is empty (RFC 9110, section 5.1: a field name is a token)",
            ),
            (
                check_name(b"X-Evil\r\nSet-Cookie"),
                r#"header name "X-Evil\r\nSet-Cookie" contains CR (RFC 9110, section 5.1: a field name is a token)"#,
            ),
            (
                check_name(b"X Y"),
                r#"header name "X Y" contains a space (RFC 9110, section 5.1: a field name is a token)"#,
            ),
            (
                check_value(b"Set-Cookie", b"id=secret\n"),
                r#"value of header "Set-Cookie" contains LF at byte 9 (RFC 9110, section 5.5)"#,
            ),
            (
                parse_content_length(b"ten").map(drop),
                r#"Content-Length "ten" is not a decimal number of bytes (RFC 9110, section 8.6: "Content-Length = 1*DIGIT")"#,
            ),
            (
                parse_content_length(b"9223372036854775808").map(drop),
                r#"Content-Length "9223372036854775808" is above 9223372036854775807, the most that nginx can count"#,
            ),
            (
                Err(HeaderError::LengthsDiffer { first: 5, second: 6 }),
                r#"Content-Length is given twice, as 5 and as 6: one of them is wrong (RFC 9110, section 8.6)"#,
            ),
        ];
        for (result, text) in table {
            assert_eq!(result.map_err(|error| error.to_string()), Err(text.to_owned()));
        }
    }
}
