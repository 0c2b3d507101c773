//! The fields that may follow a response's body (RFC 9110, 6.5, "Trailer Fields").

use thiserror::Error;

use super::field::{self, HeaderError};
use super::header::{self, HeaderKind};
use super::quoted::quoted;
use super::request_head::RequestHead;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TrailerError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(
        "{name} cannot be a trailer: who receives it must know it before the body (RFC 9110, 6.5.1)"
    )]
    Forbidden { name: String },
}

/// Checks that a field may be a trailer: it must be well formed, and must not frame, route, authenticate or describe
/// the body.
pub(crate) fn check(name: &[u8], value: &[u8]) -> Result<(), TrailerError> {
    let kind = header::checked_kind(name)?;
    field::check_value(name, value)?;
    let typed = matches!(
        kind,
        HeaderKind::ContentType
            | HeaderKind::ContentLength
            | HeaderKind::ContentEncoding
            | HeaderKind::HopByHop
            | HeaderKind::Location
            | HeaderKind::WwwAuthenticate
    );
    let forbidden = FORBIDDEN.iter().any(|known| known.eq_ignore_ascii_case(name));
    if typed || forbidden || kind.is_accel() {
        return Err(TrailerError::Forbidden { name: quoted(name) });
    }
    Ok(())
}

/// Whether the client takes fields behind the body (`TE: trailers`, RFC 9110, 10.1.4), and the protocol can carry them.
pub(crate) fn are_taken(head: &RequestHead) -> bool {
    !matches!(head.get(head.protocol), b"HTTP/1.0" | b"HTTP/0.9")
        && head.fields().iter().any(|field| {
            head.get(field.name()).eq_ignore_ascii_case(b"te")
                && head.get(field.value()).split(|byte| *byte == b',').any(is_trailers)
        })
}

fn is_trailers(coding: &[u8]) -> bool {
    coding.trim_ascii().eq_ignore_ascii_case(b"trailers")
}

const FORBIDDEN: [&[u8]; 12] = [
    b"age",
    b"authorization",
    b"cache-control",
    b"content-range",
    b"host",
    b"max-forwards",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"trailer",
    b"vary",
    b"warning",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_follow_a_body() {
        for name in ["Server-Timing", "ETag", "Content-MD5", "Digest", "X-Checksum", "grpc-status"]
        {
            assert_eq!(check(name.as_bytes(), b"a, b"), Ok(()), "{name}");
        }
        for name in ["Content-Length", "transfer-encoding", "Set-Cookie", "Host", "TRAILER", "TE"] {
            let error = check(name.as_bytes(), b"1").unwrap_err();
            assert_eq!(error, TrailerError::Forbidden { name: format!("\"{name}\"") });
        }
        assert!(matches!(check(b"a b", b""), Err(TrailerError::Header(_))));
        assert!(matches!(check(b"A", b"b\r\nc"), Err(TrailerError::Header(_))));
    }

    #[test]
    fn trailers_are_taken_by_who_says_so() {
        let takes = |protocol: &[u8], te: Option<&[u8]>| {
            let mut head = RequestHead::default();
            head.protocol = head.put(protocol);
            head.push_field(b"Accept", b"trailers");
            if let Some(te) = te {
                head.push_field(b"Te", te);
            }
            are_taken(&head)
        };
        assert!(takes(b"HTTP/1.1", Some(b"trailers")));
        assert!(takes(b"HTTP/2.0", Some(b"gzip;q=0.5, Trailers ")));
        assert!(!takes(b"HTTP/1.0", Some(b"trailers")));
        assert!(!takes(b"HTTP/1.1", Some(b"gzip")));
        assert!(!takes(b"HTTP/1.1", None));
    }
}
