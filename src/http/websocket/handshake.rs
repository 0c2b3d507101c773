//! The opening handshake (RFC 6455, section 4.2): which request asks for a WebSocket, and what the response must say.

use sha1_smol::Sha1;

use super::extension::{self, Deflate, is_token};
use crate::http::base64;

/// The only version that there is.
pub(crate) const VERSION: &str = "13";

/// A request that asks for a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// The response's `Sec-WebSocket-Accept`.
    pub(crate) accept: String,
    /// What of the request's `Sec-WebSocket-Extensions` is accepted.
    pub(crate) deflate: Option<Deflate>,
}

/// Why a request that asks for a WebSocket does not get one. The text is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Answered with 426 and the version that is spoken.
    #[error("client asks for a WebSocket of another version than 13")]
    Version,
    /// Answered with 400.
    #[error("client asks for a WebSocket without a valid Sec-WebSocket-Key")]
    Key,
    /// Answered with 400: what follows the head would be taken for frames.
    #[error("client asks for a WebSocket with a request body")]
    Body,
}

/// The parts of a request's head that say what it asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) is_get: bool,
    pub(crate) is_http_1_1: bool,
    pub(crate) has_body: bool,
}

impl Handshake {
    /// Reads a request with these header fields. `None` if it does not ask for a WebSocket: it is an ordinary request
    /// then, because a server may ignore an `Upgrade` (RFC 9110, section 7.8).
    pub(crate) fn of<'a>(
        asked: Asked,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        deflate: bool,
    ) -> Option<Result<Self, Refusal>> {
        let values = |wanted: &'static str| {
            fields
                .clone()
                .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()))
                .map(|(_, value)| value.trim_ascii())
        };
        let lists = |name, token: &str| {
            values(name)
                .flat_map(|value| value.split(|&byte| byte == b','))
                .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        };
        if !asked.is_get
            || !asked.is_http_1_1
            || !lists("upgrade", "websocket")
            || !lists("connection", "upgrade")
        {
            return None;
        }
        let only = |name| {
            let mut values = values(name);
            values.next().filter(|_| values.next().is_none())
        };
        Some(if only("sec-websocket-version") != Some(VERSION.as_bytes()) {
            Err(Refusal::Version)
        } else if asked.has_body {
            Err(Refusal::Body)
        } else if let Some(key) = only("sec-websocket-key").filter(|key| is_key(key)) {
            let offers = values("sec-websocket-extensions");
            let deflate = if deflate { extension::negotiate(offers) } else { None };
            Ok(Self { accept: accept(key), deflate })
        } else {
            Err(Refusal::Key)
        })
    }
}

/// The subprotocols that a client offers, from the values of its `Sec-WebSocket-Protocol`. Elements that are no tokens
/// are left out.
pub(crate) fn subprotocols<'a>(
    fields: impl Iterator<Item = &'a [u8]>,
) -> impl Iterator<Item = &'a [u8]> {
    fields
        .flat_map(|field| field.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| is_subprotocol(name))
}

/// May it be the name of a subprotocol?
pub(crate) fn is_subprotocol(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| is_token(byte))
}

/// The response's `Sec-WebSocket-Accept` for a request's key (section 4.2.2).
fn accept(key: &[u8]) -> String {
    let mut digest = Sha1::from(key);
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::encode(&digest.digest().bytes())
}

/// Is it 16 bytes in base64?
fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key
            .strip_suffix(b"==")
            .is_some_and(|digits| digits.iter().all(|c| base64::DIGITS.contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked = Asked { is_get: true, is_http_1_1: true, has_body: false };

    const FIELDS: [(&str, &str); 5] = [
        ("Host", "a.example"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn of(asked: Asked, fields: &[(&str, &str)]) -> Option<Result<Handshake, Refusal>> {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Handshake::of(asked, fields, true)
    }

    fn with(name: &str, value: Option<&'static str>) -> Option<Result<Handshake, Refusal>> {
        let mut fields = FIELDS.to_vec();
        fields.retain(|(other, _)| *other != name);
        fields.extend(value.map(|value| (name, value)));
        of(GET, &fields)
    }

    #[test]
    fn the_example_of_rfc_6455_1_3_is_accepted() {
        let handshake = of(GET, &FIELDS).unwrap().unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(handshake.deflate, None);
    }

    #[test]
    fn other_requests_are_ordinary_ones() {
        assert_eq!(of(Asked { is_get: false, ..GET }, &FIELDS), None);
        assert_eq!(of(Asked { is_http_1_1: false, ..GET }, &FIELDS), None);
        assert_eq!(with("Upgrade", None), None);
        assert_eq!(with("Upgrade", Some("h2c")), None);
        assert_eq!(with("Upgrade", Some("websocket/13")), None);
        assert_eq!(with("Connection", None), None);
        assert_eq!(with("Connection", Some("keep-alive")), None);
        assert!(with("Upgrade", Some("h2c, WebSocket")).is_some());
        assert!(with("Connection", Some(",upgrade")).is_some());
    }

    #[test]
    fn the_version_is_13() {
        for version in [None, Some("12"), Some("13, 8"), Some(""), Some("013")] {
            assert_eq!(with("Sec-WebSocket-Version", version), Some(Err(Refusal::Version)));
        }
        let twice = [&FIELDS[..], &[("sec-websocket-version", "13")]].concat();
        assert_eq!(of(GET, &twice), Some(Err(Refusal::Version)));
    }

    #[test]
    fn the_key_is_16_bytes_in_base64() {
        for key in [
            None,
            Some(""),
            Some("dGhlIHNhbXBsZSBub25jZQ="),
            Some("dGhlIHNhbXBsZSBub25jZQAA"),
            Some("dGhlIHNhbXBsZSBub25jZ==="),
            Some("dGhlIHNhbXBsZSBub25-ZQ=="),
            Some("dGhlIHNhbXBsZSBub25jZTEyMw=="),
        ] {
            assert_eq!(with("Sec-WebSocket-Key", key), Some(Err(Refusal::Key)), "{key:?}");
        }
        let twice = [&FIELDS[..], &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]].concat();
        assert_eq!(of(GET, &twice), Some(Err(Refusal::Key)));
        assert_eq!(of(Asked { has_body: true, ..GET }, &FIELDS), Some(Err(Refusal::Body)));
    }

    #[test]
    fn deflate_is_negotiated_if_it_is_on() {
        let fields = [&FIELDS[..], &[("Sec-WebSocket-Extensions", "permessage-deflate")]].concat();
        assert!(of(GET, &fields).unwrap().unwrap().deflate.is_some());
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert_eq!(Handshake::of(GET, fields, false).unwrap().unwrap().deflate, None);
    }

    #[test]
    fn subprotocols_are_tokens() {
        let offered = [&b"chat, superchat"[..], b"", b"a b,graphql-ws,,\"x\""];
        let found: Vec<_> = subprotocols(offered.into_iter()).collect();
        assert_eq!(found, [&b"chat"[..], b"superchat", b"graphql-ws"]);
    }
}
