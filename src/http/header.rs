//! The header fields of a response that mean something to nginx, by their names.

use super::field::{HeaderError, check_name};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::quoted::quoted;

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
}
