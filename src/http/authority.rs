//! The host that a request in absolute-form asks for (RFC 9112, 3.2.2).

/// The authority in an HTTP/1 request line such as `GET http://example.org:81/ HTTP/1.1`: host and port. An origin
/// server must use it instead of the Host field. `None` for every other form of target.
pub(crate) fn of_request_line(line: &[u8]) -> Option<&[u8]> {
    let target = line.split(|byte| *byte == b' ').nth(1)?;
    if target.starts_with(b"/") {
        return None;
    }
    let scheme = target.windows(3).position(|bytes| bytes == b"://")?;
    let authority = target.get(scheme + 3..)?.split(|byte| b"/?#".contains(byte)).next()?;
    (!authority.is_empty()).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_form_has_one() {
        for (line, expected) in [
            ("GET http://example.org/x?y HTTP/1.1", Some("example.org")),
            ("GET http://example.org:81?y HTTP/1.1", Some("example.org:81")),
            ("GET https://[::1]:8443/ HTTP/1.0", Some("[::1]:8443")),
            ("GET http://example.org", Some("example.org")),
            ("GET http:///x HTTP/1.1", None),
            ("GET /?u=http://example.org/ HTTP/1.1", None),
            ("OPTIONS * HTTP/1.1", None),
            ("GET", None),
            ("", None),
        ] {
            assert_eq!(of_request_line(line.as_bytes()), expected.map(str::as_bytes), "{line}");
        }
    }
}
