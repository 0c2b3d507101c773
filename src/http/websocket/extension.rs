//! The negotiation of `permessage-deflate` (RFC 6455, section 9.1; RFC 7692, section 7.1).

use std::fmt::Write;

/// Bits of the largest window that deflate knows.
pub(crate) const MAX_BITS: u8 = 15;

/// Bits of the window that a client is asked to limit itself to, if it says that it can. The server must keep that
/// window for each connection.
const CLIENT_BITS: u8 = 12;

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deflate {
    pub(crate) server: Side,
    pub(crate) client: Side,
    /// The response names the limits of the windows.
    names_server_bits: bool,
    names_client_bits: bool,
}

/// How one side compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    /// A message may refer to those before it (context take-over).
    pub(crate) takes_over: bool,
    /// Bits of its window.
    pub(crate) bits: u8,
}

impl Deflate {
    /// What both sides have agreed on, for who does not write the response. `None` if zlib has no such windows.
    pub(crate) fn of_sides(server: Side, client: Side) -> Option<Self> {
        let valid = (9..=MAX_BITS).contains(&server.bits) && (8..=MAX_BITS).contains(&client.bits);
        valid.then_some(Self { server, client, names_server_bits: false, names_client_bits: false })
    }

    /// The value of the response's `Sec-WebSocket-Extensions`.
    pub(crate) fn response(&self) -> String {
        let mut response = "permessage-deflate".to_owned();
        // Writing to a String does not fail.
        let mut add = |text: std::fmt::Arguments<'_>| response.write_fmt(text).unwrap_or_default();
        if !self.server.takes_over {
            add(format_args!("; server_no_context_takeover"));
        }
        if !self.client.takes_over {
            add(format_args!("; client_no_context_takeover"));
        }
        if self.names_server_bits {
            add(format_args!("; server_max_window_bits={}", self.server.bits));
        }
        if self.names_client_bits {
            add(format_args!("; client_max_window_bits={}", self.client.bits));
        }
        response
    }

    /// Accepts an offer, unless it has a parameter that section 7.1 does not know, or one with a wrong value, or asks
    /// for a window that zlib does not have.
    fn accept(offer: &Extension<'_>) -> Option<Self> {
        if !offer.name.eq_ignore_ascii_case(b"permessage-deflate") {
            return None;
        }
        let whole = Side { takes_over: true, bits: MAX_BITS };
        let mut deflate = Self {
            server: whole,
            client: whole,
            names_server_bits: false,
            names_client_bits: false,
        };
        let mut seen = Vec::new();
        for (name, value) in &offer.parameters {
            if seen.contains(name) {
                return None;
            }
            seen.push(*name);
            match (*name, value.as_deref()) {
                (b"server_no_context_takeover", None) => deflate.server.takes_over = false,
                (b"client_no_context_takeover", None) => deflate.client.takes_over = false,
                (b"server_max_window_bits", Some(value)) => {
                    // zlib compresses with windows of 9 bits and more.
                    deflate.server.bits = bits(value).filter(|&bits| bits > 8)?;
                    deflate.names_server_bits = true;
                }
                (b"client_max_window_bits", value) => {
                    let offered = value.map_or(Some(MAX_BITS), bits)?;
                    deflate.client.bits = offered.min(CLIENT_BITS);
                    deflate.names_client_bits = true;
                }
                _ => return None,
            }
        }
        Some(deflate)
    }
}

/// Accepts the first offer that can be accepted, of the values of the request's `Sec-WebSocket-Extensions`. `None` if
/// there is none, or if the fields are malformed.
pub(crate) fn negotiate<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<Deflate> {
    let mut offers = Vec::new();
    for field in fields {
        parse(field, &mut offers)?;
    }
    offers.iter().find_map(Deflate::accept)
}

/// 8 to 15, without a leading zero.
fn bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ (b'8' | b'9')] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

struct Extension<'a> {
    name: &'a [u8],
    parameters: Vec<(&'a [u8], Option<Vec<u8>>)>,
}

/// Parses a list of extensions. `None` if it is malformed.
fn parse<'a>(field: &'a [u8], extensions: &mut Vec<Extension<'a>>) -> Option<()> {
    let mut rest = Scanner(field);
    loop {
        // Empty elements of a list are allowed (RFC 9110, section 5.6.1.2).
        while rest.take(b',') {}
        if rest.is_empty() {
            return Some(());
        }
        let mut extension = Extension { name: rest.token()?, parameters: Vec::new() };
        while rest.take(b';') {
            let name = rest.token()?;
            let value = if rest.take(b'=') { Some(rest.value()?) } else { None };
            extension.parameters.push((name, value));
        }
        extensions.push(extension);
        if !rest.is_empty() && !rest.take(b',') {
            return None;
        }
    }
}

struct Scanner<'a>(&'a [u8]);

impl<'a> Scanner<'a> {
    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn is_empty(&mut self) -> bool {
        self.skip_spaces();
        self.0.is_empty()
    }

    fn take(&mut self, delimiter: u8) -> bool {
        self.skip_spaces();
        match self.0.split_first() {
            Some((&first, rest)) if first == delimiter => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        self.skip_spaces();
        let end = self.0.iter().position(|&byte| !is_token(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(token).filter(|token| !token.is_empty())
    }

    /// A token, or a quoted string that contains one (RFC 6455, section 9.1).
    fn value(&mut self) -> Option<Vec<u8>> {
        if !self.take(b'"') {
            return self.token().map(<[u8]>::to_vec);
        }
        let mut value = Vec::new();
        loop {
            let (&first, rest) = self.0.split_first()?;
            self.0 = rest;
            match first {
                b'"' => return Some(value).filter(|value| !value.is_empty()),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    value.push(escaped);
                }
                byte => value.push(byte),
            }
            if value.last().is_some_and(|&byte| !is_token(byte)) {
                return None;
            }
        }
    }
}

/// Is it allowed in a token (RFC 9110, section 5.6.2)?
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(fields: &[&str]) -> Option<String> {
        negotiate(fields.iter().map(|field| field.as_bytes())).map(|deflate| deflate.response())
    }

    #[track_caller]
    fn check(field: &str, expected: &str) {
        assert_eq!(response(&[field]).as_deref(), Some(expected), "{field}");
    }

    #[test]
    fn sides_have_windows_of_zlib() {
        let side = |bits| Side { takes_over: true, bits };
        for (server, client, valid) in
            [(15, 15, true), (9, 8, true), (8, 15, false), (16, 15, false), (15, 7, false)]
        {
            let deflate = Deflate::of_sides(side(server), side(client));
            assert_eq!(deflate.is_some(), valid, "{server} {client}");
        }
    }

    #[test]
    fn what_browsers_and_libraries_offer_is_accepted() {
        check("permessage-deflate", "permessage-deflate");
        check(
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=12",
        );
        check(
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        );
        check(
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        );
    }

    #[test]
    fn limits_of_windows_are_kept() {
        for bits in 9..=15 {
            let offer = format!("permessage-deflate;server_max_window_bits={bits}");
            let deflate = negotiate([offer.as_bytes()].into_iter()).unwrap();
            assert_eq!((deflate.server.bits, deflate.client.bits), (bits, MAX_BITS));
        }
        for bits in 8..=15 {
            let offer = format!("permessage-deflate;client_max_window_bits=\"{bits}\"");
            let deflate = negotiate([offer.as_bytes()].into_iter()).unwrap();
            assert_eq!(deflate.client.bits, bits.min(12));
            let expected = format!("permessage-deflate; client_max_window_bits={}", bits.min(12));
            assert_eq!(deflate.response(), expected);
        }
    }

    #[test]
    fn an_offer_that_cannot_be_kept_is_passed_over() {
        for offer in [
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=07",
            "permessage-deflate; client_max_window_bits=010",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; unknown",
            "permessage-bzip2",
            "x-webkit-deflate-frame",
        ] {
            assert_eq!(response(&[offer]), None, "{offer}");
            check(&format!("{offer}, permessage-deflate"), "permessage-deflate");
            let fields = [offer, "", "permessage-deflate"];
            assert_eq!(response(&fields).as_deref(), Some("permessage-deflate"));
        }
    }

    #[test]
    fn a_malformed_field_offers_nothing() {
        for field in [
            "",
            ",",
            ";",
            "permessage-deflate;",
            "permessage-deflate; =1",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"1 2\"",
            "permessage-deflate; client_max_window_bits=\"12\\",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate, \u{e9}",
            "permessage-deflate (1)",
        ] {
            assert_eq!(response(&[field]), None, "{field}");
        }
        check(
            " ,, permessage-deflate ; client_max_window_bits = \"1\\1\" ,",
            "permessage-deflate; client_max_window_bits=11",
        );
    }
}
