//! How many bytes of an application's body are sent, and the Content-Length of a body for which the application set
//! none.

use thiserror::Error;

use super::status;

/// The body of one response while it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing is sent, whatever the application yields: HEAD, 204, 304.
    NoBody,
    /// The head announced `total` bytes; `sent` of them have been sent.
    Length { total: u64, sent: u64 },
    /// The body ends when the iterable ends; nginx chunks it or closes the connection.
    Unknown,
}

/// The application ended its body before it yielded as many bytes as its Content-Length announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "response body ended after {sent} bytes of a Content-Length of {total} \
     (RFC 9110, section 8.6)"
)]
pub(crate) struct ShortBody {
    pub(crate) total: u64,
    pub(crate) sent: u64,
}

/// The framing of a response. `head_only` is true for HEAD, and for a subrequest of which only the head is needed.
pub(crate) fn new(head_only: bool, code: u16, content_length: Option<u64>) -> Framing {
    match content_length {
        _ if head_only || status::has_no_body(code) => Framing::NoBody,
        Some(total) => Framing::Length { total, sent: 0 },
        None => Framing::Unknown,
    }
}

impl Framing {
    /// How many bytes of the next block, of `len` bytes, must be sent. They count as sent from here on. If they are
    /// fewer than `len`, though there is a body, the application yielded more than its Content-Length: PEP 3333
    /// requires the server to stop there.
    pub(crate) fn take(&mut self, len: usize) -> usize {
        match self {
            Framing::NoBody => 0,
            Framing::Unknown => len,
            Framing::Length { total, sent } => {
                let room = total.saturating_sub(*sent);
                let taken = usize::try_from(room).map_or(len, |room| room.min(len));
                *sent += taken as u64;
                taken
            }
        }
    }

    /// Whether nothing more can be sent.
    pub(crate) fn complete(&self) -> bool {
        match self {
            Framing::NoBody => true,
            Framing::Unknown => false,
            Framing::Length { total, sent } => sent >= total,
        }
    }

    /// Called when the iterable has ended: checks that all announced bytes were sent. If not, the connection must be
    /// closed, so that the response does not look complete.
    pub(crate) fn finish(&self) -> Result<(), ShortBody> {
        match *self {
            Framing::Length { total, sent } if sent < total => Err(ShortBody { total, sent }),
            _ => Ok(()),
        }
    }
}

/// The Content-Length of a body of `total` bytes (a list or tuple of blocks) for which the application set none.
/// `None` for 204, which must not have one; for 304, for which it would be the length of another response; and for
/// HEAD if the body is empty: the framework dropped the body, so its length is not known.
pub(crate) fn deduced_length(head_only: bool, code: u16, total: u64) -> Option<u64> {
    let unknown = head_only && total == 0;
    (!unknown && !status::has_no_body(code)).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes taken from each block, whether the body is then complete, and the result of `finish`.
    fn send(mut framing: Framing, blocks: &[usize]) -> (Vec<usize>, bool, Result<(), ShortBody>) {
        let taken = blocks.iter().map(|&len| framing.take(len)).collect();
        (taken, framing.complete(), framing.finish())
    }

    #[test]
    fn bodies() {
        type Case = (bool, u16, Option<u64>, &'static [usize], &'static [usize], bool);
        let table: &[Case] = &[
            // These have no body, whatever is yielded and announced.
            (true, 200, None, &[5, 0], &[0, 0], true),
            (true, 200, Some(5), &[5], &[0], true),
            (true, 200, Some(5), &[], &[], true),
            (true, 404, Some(5), &[7], &[0], true),
            (false, 204, None, &[5], &[0], true),
            (false, 204, Some(5), &[], &[], true),
            (false, 304, Some(5), &[5], &[0], true),
            (false, 304, Some(5), &[], &[], true),
            // No length: everything is sent, and only the application knows the end.
            (false, 200, None, &[], &[], false),
            (false, 200, None, &[5, 0, usize::MAX], &[5, 0, usize::MAX], false),
            (false, 205, None, &[5], &[5], false),
            // Exactly as announced.
            (false, 200, Some(0), &[], &[], true),
            (false, 200, Some(5), &[5], &[5], true),
            (false, 200, Some(5), &[0, 2, 0, 3, 0], &[0, 2, 0, 3, 0], true),
            // More than announced: the body is cut.
            (false, 200, Some(0), &[5], &[0], true),
            (false, 200, Some(5), &[6], &[5], true),
            (false, 200, Some(5), &[2, 7, 1], &[2, 3, 0], true),
            (false, 500, Some(1), &[usize::MAX, usize::MAX], &[1, 0], true),
        ];
        for &(head_only, code, length, blocks, taken, complete) in table {
            let framing = new(head_only, code, length);
            assert_eq!(
                send(framing, blocks),
                (taken.to_vec(), complete, Ok(())),
                "{head_only} {code} {length:?} {blocks:?}"
            );
        }
    }

    #[test]
    fn short_bodies() {
        let table: &[(u64, &[usize], u64)] = &[
            (1, &[], 0),
            (5, &[], 0),
            (5, &[0, 0], 0),
            (5, &[4], 4),
            (5, &[1, 2, 1], 4),
            (i64::MAX as u64, &[1 << 40], 1 << 40),
        ];
        for &(total, blocks, sent) in table {
            let (taken, complete, finish) = send(new(false, 200, Some(total)), blocks);
            assert_eq!(taken, blocks);
            assert!(!complete);
            assert_eq!(finish, Err(ShortBody { total, sent }));
        }
    }

    #[test]
    fn a_short_body_says_both_numbers() {
        assert_eq!(
            ShortBody { total: 10, sent: 3 }.to_string(),
            "response body ended after 3 bytes of a Content-Length of 10 \
             (RFC 9110, section 8.6)"
        );
    }

    #[test]
    fn lengths_past_the_address_space() {
        let mut framing = new(false, 200, Some(u64::MAX));
        assert_eq!(framing.take(usize::MAX), usize::MAX);
        assert_eq!(framing.take(usize::MAX) as u64, u64::MAX - usize::MAX as u64);
    }

    #[test]
    fn deduced() {
        let table = [
            (false, 200, 0, Some(0)),
            (false, 200, 5, Some(5)),
            (false, 404, 5, Some(5)),
            (false, 205, 0, Some(0)),
            (false, 204, 0, None),
            (false, 204, 5, None),
            (false, 304, 0, None),
            (false, 304, 5, None),
            (true, 200, 0, None),
            (true, 200, 5, Some(5)),
            (true, 204, 5, None),
            (true, 304, 5, None),
        ];
        for (head_only, code, total, length) in table {
            assert_eq!(
                deduced_length(head_only, code, total),
                length,
                "{head_only} {code} {total}"
            );
        }
    }
}
