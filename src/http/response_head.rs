//! The head of a response as it is passed from Python to the event loop.

use thiserror::Error;

use super::field::{HeaderError, parse_content_length};
use super::header::HeaderKind;
use super::quoted::quoted;

/// The head of a response. One block of bytes holds the reason phrase and the fields one after another, each after
/// its kind and its two lengths. The struct is small, because it is moved several times. Content-Length is a number
/// beside the block. Hop-by-hop fields are not kept. A field that may occur only once ([`HeaderKind::is_single`]) is
/// kept once: nginx has one slot for each of these, and its filters change the field in that slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    code: u16,
    file: bool,
    trailers: bool,
    reason_end: u32,
    /// One bit for each [`HeaderKind`] that the head contains.
    kinds: u32,
    /// [`NO_LENGTH`] if there is no Content-Length.
    content_length: u64,
    bytes: Vec<u8>,
}

/// A field of the application that is not sent. The log prints the text as what the application did.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Dropped {
    #[error(
        "sets the header {0}, which is nginx's (RFC 9110, section 7.6.1: no hop-by-hop headers); \
         such headers are dropped"
    )]
    HopByHop(String),
    #[error(
        "sets the header {0} twice in one response (RFC 9110, section 5.3: only a list may come in several \
         fields); the first one is sent, the others are dropped"
    )]
    Repeated(String),
}

impl Dropped {
    pub(crate) fn hop_by_hop(name: &[u8]) -> Self {
        Self::HopByHop(quoted(name))
    }

    pub(crate) fn repeated(name: &[u8]) -> Self {
        Self::Repeated(quoted(name))
    }
}

impl ResponseHead {
    pub(crate) fn new(code: u16, reason: &[u8]) -> Self {
        Self::with_capacity(code, reason, TYPICAL_FIELDS)
    }

    /// An empty head with room for `fields` fields of the usual length.
    pub(crate) fn with_capacity(code: u16, reason: &[u8], fields: usize) -> Self {
        let size = fields.min(MANY_FIELDS) * TYPICAL_FIELD;
        let mut bytes = Vec::with_capacity(size.max(reason.len()));
        bytes.extend_from_slice(reason);
        let reason_end = bytes.len() as u32;
        Self {
            code,
            file: false,
            trailers: false,
            reason_end,
            kinds: 0,
            content_length: NO_LENGTH,
            bytes,
        }
    }

    /// Adds a field that [`check_name`](super::field::check_name) and [`check_value`](super::field::check_value)
    /// have accepted. It does not add Content-Length, for which there is
    /// [`add_content_length`](Self::add_content_length), nor hop-by-hop fields, which an application must not send.
    /// Returns false if the field is a second one of a kind that may occur only once; such a field is not added
    /// either.
    pub(crate) fn push(&mut self, kind: HeaderKind, name: &[u8], value: &[u8]) -> bool {
        if matches!(kind, HeaderKind::ContentLength | HeaderKind::HopByHop) {
            return true;
        }
        let bit = 1 << kind as u32;
        if self.kinds & bit != 0 && kind.is_single() {
            return false;
        }
        self.kinds |= bit;
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&(name.len() as u32).to_ne_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_ne_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        true
    }

    /// Reads a Content-Length field of the application. It may be repeated with the same number. A different number
    /// is rejected: one of the two would cut the body at the wrong place.
    pub(crate) fn add_content_length(&mut self, value: &[u8]) -> Result<(), HeaderError> {
        let second = parse_content_length(value)?;
        match self.content_length() {
            Some(first) if first != second => Err(HeaderError::LengthsDiffer { first, second }),
            _ => {
                self.content_length = second;
                Ok(())
            }
        }
    }

    pub(crate) fn set_content_length(&mut self, length: Option<u64>) {
        self.content_length = length.unwrap_or(NO_LENGTH);
    }

    /// Marks that the whole body comes from a file.
    pub(crate) fn set_file(&mut self) {
        self.file = true;
    }

    /// Marks that fields may follow the body.
    pub(crate) fn expect_trailers(&mut self) {
        self.trailers = true;
    }

    pub(crate) fn expects_trailers(&self) -> bool {
        self.trailers
    }

    pub(crate) fn is_file(&self) -> bool {
        self.file
    }

    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    pub(crate) fn reason(&self) -> &[u8] {
        self.bytes.get(..self.reason_end as usize).unwrap_or_default()
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        (self.content_length != NO_LENGTH).then_some(self.content_length)
    }

    /// The fields as (kind, name, value), in the order in which they were added.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (HeaderKind, &[u8], &[u8])> {
        let mut rest = self.bytes.get(self.reason_end as usize..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (&kind, after) = rest.split_first()?;
            let (name_len, after) = after.split_first_chunk()?;
            let (value_len, after) = after.split_first_chunk()?;
            let (name, after) = after.split_at_checked(u32::from_ne_bytes(*name_len) as usize)?;
            let (value, after) = after.split_at_checked(u32::from_ne_bytes(*value_len) as usize)?;
            rest = after;
            Some((HeaderKind::of_number(kind)?, name, value))
        })
    }
}

/// No valid length is this large: [`parse_content_length`] accepts only what fits in `off_t`.
const NO_LENGTH: u64 = u64::MAX;
/// Enough for a framework's usual response, so that the block does not grow.
const TYPICAL_FIELD: usize = 50;
/// An application that announces more fields than this gets no more memory in advance.
const MANY_FIELDS: usize = 64;
const TYPICAL_FIELDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head() {
        let mut head = ResponseHead::new(404, b"Not Found");
        assert_eq!(head.fields().count(), 0);
        head.push(HeaderKind::ContentType, b"Content-Type", b"text/plain");
        head.push(HeaderKind::Other, b"X-Empty", b"");
        head.push(HeaderKind::Other, b"Set-Cookie", b"a=1");
        head.push(HeaderKind::Other, b"Set-Cookie", b"b=2");

        assert_eq!(head.code(), 404);
        assert_eq!(head.reason(), b"Not Found");
        assert_eq!(head.content_length(), None);
        let expected: [(HeaderKind, &[u8], &[u8]); 4] = [
            (HeaderKind::ContentType, b"Content-Type", b"text/plain"),
            (HeaderKind::Other, b"X-Empty", b""),
            (HeaderKind::Other, b"Set-Cookie", b"a=1"),
            (HeaderKind::Other, b"Set-Cookie", b"b=2"),
        ];
        assert!(head.fields().eq(expected));
        assert!(head.fields().eq(expected), "a second walk sees the same");
    }

    #[test]
    fn head_larger_than_the_typical_one() {
        let mut head = ResponseHead::new(200, &[b'r'; 1000]);
        for number in 0..1000_u32 {
            head.push(HeaderKind::Other, format!("X-{number}").as_bytes(), &[b'v'; 100]);
        }
        assert_eq!(head.reason(), [b'r'; 1000]);
        assert_eq!(head.fields().count(), 1000);
        let (_, name, value) = head.fields().last().unwrap();
        assert_eq!((name, value), (&b"X-999"[..], &[b'v'; 100][..]));
    }

    #[test]
    fn head_keeps_out_what_is_not_a_plain_field() {
        let mut head = ResponseHead::new(200, b"OK");
        head.push(HeaderKind::ContentLength, b"Content-Length", b"5");
        head.push(HeaderKind::HopByHop, b"Connection", b"close");
        assert_eq!(head.fields().count(), 0);
        assert_eq!(head.content_length(), None);
    }

    #[test]
    fn a_field_that_can_stand_only_once_is_the_first() {
        use HeaderKind::*;

        let table = [
            (ContentType, true),
            (LastModified, true),
            (ETag, true),
            (Location, true),
            (Date, true),
            (Server, true),
            (AcceptRanges, true),
            (Expires, true),
            (AccelBuffering, true),
            (AccelCharset, true),
            (AccelExpires, true),
            (AccelLimitRate, true),
            (AccelRedirect, true),
            (ContentEncoding, false),
            (WwwAuthenticate, false),
            (CacheControl, false),
            (Link, false),
            (Trailer, false),
            (Other, false),
        ];
        for (kind, single) in table {
            let mut head = ResponseHead::new(200, b"OK");
            assert!(head.push(kind, b"X", b"first"));
            assert!(head.push(Other, b"Set-Cookie", b"a=1"));
            assert_eq!(head.push(kind, b"x", b"second"), !single, "{kind:?}");
            let values = head.fields().filter(|field| field.0 == kind && field.2 != b"a=1");
            assert_eq!(values.count(), if single { 1 } else { 2 }, "{kind:?}");
            assert_eq!(head.fields().next(), Some((kind, &b"X"[..], &b"first"[..])));
        }
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<ResponseHead>() <= 48);
    }

    #[test]
    fn head_content_length() {
        let mut head = ResponseHead::new(200, b"OK");
        assert_eq!(head.add_content_length(b" 5"), Ok(()));
        assert_eq!(head.add_content_length(b"05"), Ok(()));
        assert_eq!(head.content_length(), Some(5));
        assert_eq!(
            head.add_content_length(b"6"),
            Err(HeaderError::LengthsDiffer { first: 5, second: 6 })
        );
        assert!(head.add_content_length(b"five").is_err());
        assert_eq!(head.content_length(), Some(5));
        head.set_content_length(Some(7));
        assert_eq!(head.content_length(), Some(7));
        head.set_content_length(None);
        assert_eq!(head.content_length(), None);
    }
}
