//! The header fields of a response: which of them have a slot in nginx, and what RFC 9110 allows in a name and in a
//! value.

use std::ascii;
use std::fmt;

use thiserror::Error;

/// The kinds of fields that need more than a name and a value: those for which nginx's filters have a slot, those
/// about the connection, and those with instructions for nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum HeaderKind {
    ContentType,
    ContentLength,
    LastModified,
    ETag,
    Location,
    ContentEncoding,
    Date,
    Server,
    WwwAuthenticate,
    AcceptRanges,
    Expires,
    CacheControl,
    Link,
    AccelBuffering,
    AccelCharset,
    AccelExpires,
    AccelLimitRate,
    AccelRedirect,
    /// Announces that trailer fields follow the body.
    Trailer,
    /// Describes the connection, which nginx manages: PEP 3333, "Other HTTP Features", forbids an application to send
    /// these.
    HopByHop,
    Other,
}

impl HeaderKind {
    /// All kinds, each at the index of its number.
    const ALL: [Self; 21] = [
        Self::ContentType,
        Self::ContentLength,
        Self::LastModified,
        Self::ETag,
        Self::Location,
        Self::ContentEncoding,
        Self::Date,
        Self::Server,
        Self::WwwAuthenticate,
        Self::AcceptRanges,
        Self::Expires,
        Self::CacheControl,
        Self::Link,
        Self::AccelBuffering,
        Self::AccelCharset,
        Self::AccelExpires,
        Self::AccelLimitRate,
        Self::AccelRedirect,
        Self::Trailer,
        Self::HopByHop,
        Self::Other,
    ];

    /// The kind with this number (`kind as u8`).
    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether it may occur only once in a response. A second one contradicts the first (RFC 9110, section 5.3).
    /// nginx drops the second one in an upstream's response (`ngx_http_upstream_process_header_line`, since 1.23).
    pub(crate) fn is_single(self) -> bool {
        self.is_accel()
            || matches!(
                self,
                Self::ContentType
                    | Self::LastModified
                    | Self::ETag
                    | Self::Location
                    | Self::Date
                    | Self::Server
                    | Self::AcceptRanges
                    | Self::Expires
            )
    }

    /// Whether it is one of the headers that an application uses to instruct nginx (`X-Accel-…`).
    pub(crate) fn is_accel(self) -> bool {
        matches!(
            self,
            Self::AccelBuffering
                | Self::AccelCharset
                | Self::AccelExpires
                | Self::AccelLimitRate
                | Self::AccelRedirect
        )
    }
}

/// Checks the name of a field ([`check_name`]) and finds its kind.
pub(crate) fn checked_kind(name: &[u8]) -> Result<HeaderKind, HeaderError> {
    let kind = classify(name);
    // A known name is a valid token.
    if kind == HeaderKind::Other {
        check_name(name)?;
    }
    Ok(kind)
}

/// Finds the kind of a field by its name, in any case.
pub(crate) fn classify(name: &[u8]) -> HeaderKind {
    let candidates: &[(&[u8], HeaderKind)] = match name.len() {
        2 => &[(b"TE", HeaderKind::HopByHop)],
        4 => {
            &[(b"Date", HeaderKind::Date), (b"ETag", HeaderKind::ETag), (b"Link", HeaderKind::Link)]
        }
        6 => &[(b"Server", HeaderKind::Server)],
        7 => &[
            (b"Expires", HeaderKind::Expires),
            (b"Trailer", HeaderKind::Trailer),
            (b"Upgrade", HeaderKind::HopByHop),
        ],
        8 => &[(b"Location", HeaderKind::Location), (b"Trailers", HeaderKind::HopByHop)],
        10 => &[(b"Connection", HeaderKind::HopByHop), (b"Keep-Alive", HeaderKind::HopByHop)],
        12 => &[(b"Content-Type", HeaderKind::ContentType)],
        13 => &[
            (b"Last-Modified", HeaderKind::LastModified),
            (b"Accept-Ranges", HeaderKind::AcceptRanges),
            (b"Cache-Control", HeaderKind::CacheControl),
        ],
        15 => &[
            (b"X-Accel-Charset", HeaderKind::AccelCharset),
            (b"X-Accel-Expires", HeaderKind::AccelExpires),
        ],
        14 => &[(b"Content-Length", HeaderKind::ContentLength)],
        16 => &[
            (b"X-Accel-Redirect", HeaderKind::AccelRedirect),
            (b"Content-Encoding", HeaderKind::ContentEncoding),
            (b"WWW-Authenticate", HeaderKind::WwwAuthenticate),
            (b"Proxy-Connection", HeaderKind::HopByHop),
        ],
        17 => &[
            (b"Transfer-Encoding", HeaderKind::HopByHop),
            (b"X-Accel-Buffering", HeaderKind::AccelBuffering),
        ],
        18 => &[
            (b"Proxy-Authenticate", HeaderKind::HopByHop),
            (b"X-Accel-Limit-Rate", HeaderKind::AccelLimitRate),
        ],
        19 => &[(b"Proxy-Authorization", HeaderKind::HopByHop)],
        _ => &[],
    };
    // Applications usually write a name as it is written here. The byte-by-byte comparison is for names that are
    // written differently.
    candidates
        .iter()
        .find(|(candidate, _)| *candidate == name)
        .or_else(|| candidates.iter().find(|(candidate, _)| is_same_but_for_case(candidate, name)))
        .map_or(HeaderKind::Other, |&(_, kind)| kind)
}

/// Whether `name` equals `known`, ignoring case. `known` contains only letters and hyphens, and both have the same
/// length.
fn is_same_but_for_case(known: &[u8], name: &[u8]) -> bool {
    // Setting bit 0x20 makes a letter lower case. It would also turn a CR into a hyphen; a CR has none of the bits
    // 0x60, so these are checked. The loop has no early exit, so that the compiler compares many bytes at once.
    let differs = |known, byte| (known | 0x20) ^ (byte | 0x20) | u8::from(byte & 0x60 == 0);
    known.iter().zip(name).fold(0, |differ, (&known, &byte)| differ | differs(known, byte)) == 0
}

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

/// A byte that is not allowed in its place, as a message shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Octet(pub(crate) u8);

impl fmt::Display for Octet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\0' => f.write_str("NUL"),
            b'\t' => f.write_str("HTAB"),
            b'\n' => f.write_str("LF"),
            b'\r' => f.write_str("CR"),
            b' ' => f.write_str("a space"),
            0x7f => f.write_str("DEL"),
            byte @ 0x21..=0x7e => write!(f, "'{}'", char::from(byte)),
            byte => write!(f, "byte 0x{byte:02x}"),
        }
    }
}

/// An application's bytes as a message shows them: in quotes, escaped and on one line. They are cut (with "..." after
/// the quotes) if they would take more than 80 bytes.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        let from = text.len();
        match byte {
            b'\'' => text.push('\''),
            _ => text.extend(ascii::escape_default(byte).map(char::from)),
        }
        if text.len() > QUOTED_BYTES + 1 {
            text.truncate(from);
            text.push_str("\"...");
            return text;
        }
    }
    text.push('"');
    text
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

const QUOTED_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    const HOP_BY_HOP: [&str; 10] = [
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Te",
        "Trailers",
        "Transfer-Encoding",
        "Upgrade",
    ];

    #[test]
    fn every_kind_has_its_number() {
        for (number, kind) in (0..).zip(HeaderKind::ALL) {
            assert_eq!(kind as u8, number);
            assert_eq!(HeaderKind::of_number(number), Some(kind));
        }
        assert_eq!(HeaderKind::of_number(HeaderKind::Other as u8 + 1), None);
    }

    #[test]
    fn kinds() {
        let typed = [
            ("Content-Type", HeaderKind::ContentType),
            ("Content-Length", HeaderKind::ContentLength),
            ("Last-Modified", HeaderKind::LastModified),
            ("ETag", HeaderKind::ETag),
            ("Location", HeaderKind::Location),
            ("Content-Encoding", HeaderKind::ContentEncoding),
            ("Date", HeaderKind::Date),
            ("Server", HeaderKind::Server),
            ("WWW-Authenticate", HeaderKind::WwwAuthenticate),
            ("Accept-Ranges", HeaderKind::AcceptRanges),
            ("Trailer", HeaderKind::Trailer),
            ("Expires", HeaderKind::Expires),
            ("Cache-Control", HeaderKind::CacheControl),
            ("Link", HeaderKind::Link),
            ("X-Accel-Buffering", HeaderKind::AccelBuffering),
        ];
        let hop_by_hop = HOP_BY_HOP.map(|name| (name, HeaderKind::HopByHop));
        for (name, kind) in typed.into_iter().chain(hop_by_hop) {
            for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(classify(name.as_bytes()), kind, "{name}");
                assert_eq!(classify(format!("{name}x").as_bytes()), HeaderKind::Other);
                assert_eq!(classify(format!("x{name}").as_bytes()), HeaderKind::Other);
                let underscored = name.replace('-', "_");
                if underscored != name {
                    assert_eq!(classify(underscored.as_bytes()), HeaderKind::Other);
                }
            }
        }
        for name in ["", "Set-Cookie", "X-Frame-Options", "Status", "Vary", "dat\u{e9}"] {
            assert_eq!(classify(name.as_bytes()), HeaderKind::Other, "{name}");
        }
    }

    #[test]
    fn no_other_byte_makes_a_known_name() {
        for known in ["date", "content-type", "proxy-authorization"] {
            for at in 0..known.len() {
                for byte in 0..=u8::MAX {
                    let mut name = known.as_bytes().to_vec();
                    name[at] = byte;
                    let same = name.eq_ignore_ascii_case(known.as_bytes());
                    assert_eq!(classify(&name) != HeaderKind::Other, same, "{}", quoted(&name));
                    assert_eq!(checked_kind(&name).is_ok(), check_name(&name).is_ok());
                }
            }
        }
        assert_eq!(checked_kind(b""), Err(HeaderError::EmptyName));
    }

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
    fn octets() {
        let table = [
            (0x00, "NUL"),
            (0x01, "byte 0x01"),
            (0x09, "HTAB"),
            (0x0a, "LF"),
            (0x0d, "CR"),
            (0x1f, "byte 0x1f"),
            (0x20, "a space"),
            (0x3a, "':'"),
            (0x7e, "'~'"),
            (0x7f, "DEL"),
            (0x80, "byte 0x80"),
            (0xff, "byte 0xff"),
        ];
        for (byte, text) in table {
            assert_eq!(Octet(byte).to_string(), text);
        }
    }

    #[test]
    fn quotes() {
        let table: &[(&[u8], &str)] = &[
            (b"", r#""""#),
            (b"it's", r#""it's""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\r\n\t\0\x1b\x7f\x80\xff", r#""\r\n\t\x00\x1b\x7f\x80\xff""#),
        ];
        for &(bytes, text) in table {
            assert_eq!(quoted(bytes), text);
        }

        let eighty = "x".repeat(80);
        assert_eq!(quoted(eighty.as_bytes()), format!("\"{eighty}\""));
        assert_eq!(quoted(format!("{eighty}x").as_bytes()), format!("\"{eighty}\"..."));
        // An escape is either shown whole or left out.
        assert_eq!(quoted(&[0xff; 1000]), format!("\"{}\"...", r"\xff".repeat(20)));
        assert_eq!(
            quoted(&[&[b'x'; 78][..], b"\xff"].concat()),
            format!("\"{}\"...", "x".repeat(78))
        );
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
