//! What an application is told of its client's TLS connection, and the forms that certificates and their names have
//! as text.

use super::base64;

/// A TLS connection of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The certificate that nginx has sent, as PEM.
    pub(crate) server_cert: Option<String>,
    /// The client's certificate, and those that the client has sent with it, as PEM.
    pub(crate) client_certs: Vec<String>,
    /// The subject of the client's certificate, as RFC 4514 writes it.
    pub(crate) client_name: Option<String>,
    /// Why the client's certificate is not valid.
    pub(crate) client_error: Option<String>,
    /// The version as the protocol itself writes it: 0x0304 for TLS 1.3.
    pub(crate) version: Option<u16>,
    /// The cipher suite's number in IANA's registry.
    pub(crate) cipher: Option<u16>,
}

/// The length of PEM's lines (RFC 7468, section 2).
const LINE: usize = 64;

/// A certificate in DER as PEM (RFC 7468, section 5).
pub(crate) fn pem(der: &[u8]) -> String {
    let text = base64::encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / LINE + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// A name in which every byte beyond ASCII is escaped, as nginx has OpenSSL write it (`XN_FLAG_RFC2253`), with its
/// characters instead. Both are what RFC 4514 allows.
pub(crate) fn distinguished_name(escaped: &[u8]) -> String {
    let mut name = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            name.push(byte);
            continue;
        }
        if let Some((byte, after)) = hex_pair(rest).filter(|(byte, _)| !byte.is_ascii()) {
            name.push(byte);
            rest = after;
            continue;
        }
        // What is escaped may be a backslash.
        name.push(byte);
        if let Some((&escaped, after)) = rest.split_first() {
            name.push(escaped);
            rest = after;
        }
    }
    String::from_utf8_lossy(&name).into_owned()
}

/// The byte that two hexadecimal digits at the beginning of `text` say, and what follows them.
fn hex_pair(text: &[u8]) -> Option<(u8, &[u8])> {
    let (pair, rest) = text.split_first_chunk::<2>()?;
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let [high, low] = *pair;
    Some((u8::try_from(digit(high)? << 4 | digit(low)?).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_pem_have_64_characters() {
        for (bytes, lengths) in
            [(0, &[][..]), (1, &[4]), (48, &[64]), (49, &[64, 4]), (96, &[64, 64])]
        {
            let pem = pem(&vec![1; bytes]);
            let lines: Vec<usize> =
                pem.lines().filter(|line| !line.contains('-')).map(str::len).collect();
            assert_eq!(lines, lengths);
        }
        assert_eq!(
            pem(b"foobar"),
            "-----BEGIN CERTIFICATE-----\nZm9vYmFy\n-----END CERTIFICATE-----\n"
        );
    }

    #[test]
    fn only_characters_beyond_ascii_are_unescaped() {
        for (escaped, name) in [
            ("", ""),
            ("CN=Ann", "CN=Ann"),
            (r"CN=Ann\, x=y,O=Shop", r"CN=Ann\, x=y,O=Shop"),
            (r"CN=\C3\9Cnal \E2\82\AC", "CN=Ünal €"),
            // A backslash, and what looks like an escape after it.
            (r"CN=a\\C3\C3\BC", r"CN=a\\C3ü"),
            (r"CN=\0A\#\C3\bc", r"CN=\0A\#ü"),
            (r"1.2.3=#0C0161", r"1.2.3=#0C0161"),
            // Not UTF-8, and cut.
            (r"CN=\C3", "CN=\u{fffd}"),
            (r"CN=\C", r"CN=\C"),
            ("CN=\\", "CN=\\"),
        ] {
            assert_eq!(distinguished_name(escaped.as_bytes()), name);
        }
    }
}
