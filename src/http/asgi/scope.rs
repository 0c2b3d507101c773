//! The values of a scope ("HTTP Connection Scope" of the ASGI specification) that are more than a copy of what was sent.

use crate::http::request_head::RequestHead;
use crate::http::websocket::handshake::subprotocols;

/// `http_version` for the protocol of a request line.
pub(crate) fn http_version(protocol: &[u8]) -> &'static str {
    match protocol {
        b"HTTP/2.0" => "2",
        b"HTTP/3.0" => "3",
        // HTTP/0.9 has no version; an application is told the oldest that it may know.
        b"HTTP/1.0" | b"HTTP/0.9" => "1.0",
        // A higher minor version is answered as 1.1 (RFC 9110, 2.5).
        _ => "1.1",
    }
}

/// `raw_path`: the target as sent, without its query string.
pub(crate) fn raw_path(target: &[u8]) -> &[u8] {
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// `subprotocols`: those that the client of a WebSocket offers, in its order.
pub(crate) fn offered_subprotocols(head: &RequestHead) -> impl Iterator<Item = &[u8]> {
    let fields =
        head.fields().iter().map(|field| (head.get(field.name()), head.get(field.value())));
    let values = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"sec-websocket-protocol"));
    subprotocols(values.map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (protocol, version) in [
            (&b"HTTP/0.9"[..], "1.0"),
            (b"HTTP/1.0", "1.0"),
            (b"HTTP/1.1", "1.1"),
            (b"HTTP/1.2", "1.1"),
            (b"HTTP/2.0", "2"),
            (b"HTTP/3.0", "3"),
        ] {
            assert_eq!(http_version(protocol), version);
        }
    }

    #[test]
    fn a_raw_path_ends_before_the_query() {
        for (target, path) in [
            (&b"/"[..], &b"/"[..]),
            (b"/a%2Fb//c?d=/e?f", b"/a%2Fb//c"),
            (b"/?", b"/"),
            (b"*", b"*"),
            (b"", b""),
        ] {
            assert_eq!(raw_path(target), path);
        }
    }
}
