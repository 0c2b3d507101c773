//! The status of a response: as an application passes it to `start_response`, or as a number alone.

use thiserror::Error;

use super::field::trim;
use super::quoted::{Octet, quoted};

/// A valid final status of a response: a code from 200 to 999 and a reason phrase, which may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status<'a> {
    pub(crate) code: u16,
    pub(crate) reason: &'a [u8],
}

/// What is wrong with the status passed to `start_response`. Each text quotes the status.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum StatusError {
    #[error(
        "status {status} contains {octet} (PEP 3333: it \"must not contain control characters\")"
    )]
    ControlCharacter { status: String, octet: Octet },

    #[error(
        "status {0} does not begin with a three-digit code and one space \
         (PEP 3333: \"a status string of the form \\\"999 Message here\\\"\")"
    )]
    NoCode(String),

    #[error(
        "status {0} has a code that is not from 100 to 999 \
         (RFC 9110, section 15: \"a three-digit integer code\")"
    )]
    CodeOutOfRange(String),

    #[error(
        "status {0} is an interim one and cannot end a request: a final status is 200 or above \
         (RFC 9110, section 15.2)"
    )]
    Interim(String),
}

/// Reads the latin-1 bytes of `start_response`'s status (PEP 3333, "The start_response() Callable").
///
/// The reason phrase may be empty, as in HTTP itself (RFC 9112, section 4); the space before it may then be omitted.
/// White space around the phrase is removed, as for a header's value.
pub(crate) fn parse(status: &[u8]) -> Result<Status<'_>, StatusError> {
    if let Some(&byte) = status.iter().find(|byte| byte.is_ascii_control()) {
        return Err(StatusError::ControlCharacter { status: quoted(status), octet: Octet(byte) });
    }

    let digits = status.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (code, rest) = status.split_at_checked(digits).unwrap_or_default();
    let reason = match rest {
        _ if code.is_empty() => return Err(StatusError::NoCode(quoted(status))),
        [] => rest,
        [b' ', reason @ ..] => reason,
        _ => return Err(StatusError::NoCode(quoted(status))),
    };

    let code = match code {
        &[hundreds @ b'1'..=b'9', tens, ones] => {
            u16::from(hundreds - b'0') * 100 + u16::from(tens - b'0') * 10 + u16::from(ones - b'0')
        }
        _ => return Err(StatusError::CodeOutOfRange(quoted(status))),
    };

    if code < 200 {
        return Err(StatusError::Interim(quoted(status)));
    }
    Ok(Status { code, reason: trim(reason) })
}

/// The reason phrase that is registered for a code; empty if there is none (RFC 9110, section 15, and the registry that
/// it names).
pub(crate) fn reason(code: u16) -> &'static [u8] {
    let reason = match code {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a Teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    };
    reason.as_bytes()
}

/// Whether a response with this code never has a body, whatever its headers say (RFC 9110,
/// sections 15.3.5 and 15.4.5).
pub(crate) fn has_no_body(code: u16) -> bool {
    matches!(code, 204 | 304)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed() {
        let table: &[(&[u8], u16, &[u8])] = &[
            (b"200 OK", 200, b"OK"),
            (b"404 Not Found", 404, b"Not Found"),
            (b"418 I'm a  teapot", 418, b"I'm a  teapot"),
            (b"999 x", 999, b"x"),
            (b"200 200", 200, b"200"),
            (b"200 ", 200, b""),
            (b"200", 200, b""),
            (b"999", 999, b""),
            (b"200   ", 200, b""),
            (b"200  OK", 200, b"OK"),
            (b"200 OK ", 200, b"OK"),
            // UTF-8 decoded as latin-1: RFC 9112 calls these bytes obs-text.
            (b"200 d\xc3\x80\xa0\xff", 200, b"d\xc3\x80\xa0\xff"),
        ];
        for &(line, code, reason) in table {
            assert_eq!(parse(line), Ok(Status { code, reason }), "{}", quoted(line));
        }
    }

    #[test]
    fn reasons_are_valid() {
        for code in 0..1000 {
            let line = [format!("{code} ").as_bytes(), reason(code)].concat();
            assert!(
                reason(code).is_empty()
                    || parse(&line) == Ok(Status { code, reason: reason(code) })
            );
        }
        assert_eq!(reason(404), b"Not Found");
        assert_eq!(reason(599), b"");
    }

    #[test]
    fn every_code_of_the_range() {
        for code in 200..=999 {
            let line = format!("{code} Reason");
            assert_eq!(parse(line.as_bytes()), Ok(Status { code, reason: b"Reason" }));
        }
        for code in (0..200).chain(1000..=1100) {
            assert!(parse(format!("{code} Reason").as_bytes()).is_err(), "{code}");
            assert!(parse(format!("{code:03} Reason").as_bytes()).is_err(), "{code:03}");
        }
    }

    #[test]
    fn malformed() {
        use StatusError::*;

        type Fault = fn(String) -> StatusError;
        let table: &[(&[u8], Fault)] = &[
            (b"", NoCode),
            (b" ", NoCode),
            (b"OK", NoCode),
            (b" 200 OK", NoCode),
            (b"200OK", NoCode),
            (b"200-OK", NoCode),
            (b"20x OK", NoCode),
            (b"+200 OK", NoCode),
            (b"-20 OK", NoCode),
            (b"HTTP/1.1 200 OK", NoCode),
            (b"\xb2\xb0\xb0 OK", NoCode),
            (b"200\xa0OK", NoCode),
            (b"99 Low", CodeOutOfRange),
            (b"99", CodeOutOfRange),
            (b"099 Low", CodeOutOfRange),
            (b"000 Low", CodeOutOfRange),
            (b"1000 High", CodeOutOfRange),
            (b"1000", CodeOutOfRange),
            (b"99999999999999999999 High", CodeOutOfRange),
            (b"100", Interim),
            (b"100 ", Interim),
            (b"100 Continue", Interim),
            (b"101 Switching Protocols", Interim),
            (b"199 Other", Interim),
        ];
        for &(line, fault) in table {
            assert_eq!(parse(line), Err(fault(quoted(line))), "{}", quoted(line));
        }
    }

    #[test]
    fn control_characters() {
        for byte in (0..0x20).chain([0x7f]) {
            let lines = [
                vec![byte],
                [b"200 OK", &[byte][..]].concat(),
                [b"200 O", &[byte][..], b"K"].concat(),
                [&[byte][..], b"200 OK"].concat(),
                [b"200", &[byte][..], b"OK"].concat(),
            ];
            for line in lines {
                assert_eq!(
                    parse(&line),
                    Err(StatusError::ControlCharacter {
                        status: quoted(&line),
                        octet: Octet(byte)
                    })
                );
            }
        }
    }

    #[test]
    fn texts() {
        let table: &[(&[u8], &str)] = &[
            (
                b"200 OK\r\nX-Evil: 1",
                r#"status "200 OK\r\nX-Evil: 1" contains CR (PEP 3333: it "must not contain control characters")"#,
            ),
            (
                b"OK",
                r#"status "OK" does not begin with a three-digit code and one space (PEP 3333: "a status string of the form \"999 Message here\"")"#,
            ),
            (
                b"99 Low",
                r#"status "99 Low" has a code that is not from 100 to 999 (RFC 9110, section 15: "a three-digit integer code")"#,
            ),
            (
                b"103 Early Hints",
                r#"status "103 Early Hints" is an interim one and cannot end a request: a final status is 200 or above (RFC 9110, section 15.2)"#,
            ),
        ];
        for &(line, text) in table {
            assert_eq!(parse(line).map_err(|error| error.to_string()), Err(text.to_owned()));
        }
    }

    #[test]
    fn a_long_status_is_cut_in_the_text() {
        let text = parse(&[b'x'; 1 << 20]).unwrap_err().to_string();
        assert!(text.len() < 250, "{text}");
    }

    #[test]
    fn codes_without_a_body() {
        let without: Vec<u16> = (100..=999).filter(|&code| has_no_body(code)).collect();
        assert_eq!(without, [204, 304]);
    }
}
