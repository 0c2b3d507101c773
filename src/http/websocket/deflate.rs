//! The compression of messages (RFC 7692, section 7.2), with bounded output and bounded memory.
//!
//! A sender may refer to its earlier messages (context take-over), but need not: it may begin with an empty window at
//! any message. So the server keeps a few [`Deflaters`] for all connections, and a connection that has lost its own
//! starts again. Thousands of idle connections cost nothing. An inflater must keep what its client may refer to; it is
//! made for the first message that is compressed.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use thiserror::Error;

use super::extension::{MAX_BITS, Side};

/// What ends each compressed message, and is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Bytes by which the room for output grows.
const STEP: usize = 16 * 1024;

/// Deflaters that a loop keeps, each of 90 to 300 KiB.
const KEPT: usize = 64;

/// Level 2 compresses JSON twice as fast as level 6, to 41 % instead of 36 % (docs/asgi.md).
const LEVEL: Compression = Compression::new(2);

/// Why a message cannot be inflated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum InflateError {
    #[error("compressed message is corrupt")]
    Corrupt,
    #[error("message is larger than its limit")]
    TooLarge,
}

/// Inflates the messages of one client.
#[derive(Debug)]
pub(crate) struct Inflater {
    stream: Decompress,
    takes_over: bool,
}

impl Inflater {
    pub(crate) fn new(client: Side) -> Self {
        // zlib inflates a window of 8 bits with one of 9.
        let bits = client.bits.clamp(9, MAX_BITS);
        Self {
            stream: Decompress::new_with_window_bits(false, bits),
            takes_over: client.takes_over,
        }
    }

    /// Inflates a part of a message onto the end of `message`, which then has at most `limit` bytes.
    pub(crate) fn inflate(
        &mut self,
        part: &[u8],
        last: bool,
        message: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), InflateError> {
        self.feed(part, message, limit)?;
        if last {
            self.feed(&TAIL, message, limit)?;
            if !self.takes_over {
                self.stream.reset(false);
            }
        }
        Ok(())
    }

    fn feed(
        &mut self,
        mut input: &[u8],
        message: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), InflateError> {
        loop {
            // One byte more than allowed shows that there is more.
            let room = (limit + 1).saturating_sub(message.len());
            if room == 0 {
                return Err(InflateError::TooLarge);
            }
            if message.len() == message.capacity() {
                message.reserve(room.min(STEP.max(message.len())));
            }
            let (before_in, before_out) = (self.stream.total_in(), message.len());
            let status = self.stream.decompress_vec(input, message, FlushDecompress::Sync);
            let status = status.map_err(|_invalid| InflateError::Corrupt)?;
            let used = self.stream.total_in().saturating_sub(before_in) as usize;
            input = input.get(used..).unwrap_or_default();
            if message.len() > limit {
                return Err(InflateError::TooLarge);
            }
            if status == Status::StreamEnd {
                // The sender has ended its stream and begins another one (section 7.2.3.4).
                self.stream.reset(false);
            } else if message.len() < message.capacity() && input.is_empty() {
                return Ok(());
            } else if used == 0 && message.len() == before_out && message.len() < message.capacity()
            {
                return Err(InflateError::Corrupt);
            }
            if input.is_empty() && status == Status::StreamEnd {
                return Ok(());
            }
        }
    }
}

/// Compresses the messages to all clients of a loop.
#[derive(Debug, Default)]
pub(crate) struct Deflaters {
    /// Those used last are at the end.
    kept: Vec<Deflater>,
}

#[derive(Debug)]
struct Deflater {
    /// The connection whose messages are in its window.
    owner: u64,
    bits: u8,
    stream: Compress,
}

impl Deflaters {
    /// Compresses a message of the connection `owner`. `None` if zlib fails, or if the result would be larger: the
    /// message is then sent as it is.
    pub(crate) fn deflate(&mut self, owner: u64, server: Side, message: &[u8]) -> Option<Vec<u8>> {
        let mut deflater = self.take(owner, server.bits);
        let compressed = deflater.deflate(message);
        // What the client does not get must not be referred to.
        let keeps = server.takes_over && compressed.is_some();
        if !keeps {
            deflater.stream.reset();
            deflater.owner = NOBODY;
        }
        self.kept.push(deflater);
        compressed
    }

    /// The connection has ended.
    pub(crate) fn forget(&mut self, owner: u64) {
        if let Some(deflater) = self.kept.iter_mut().find(|deflater| deflater.owner == owner) {
            deflater.owner = NOBODY;
            deflater.stream.reset();
        }
    }

    /// The connection's own deflater, a free one, a new one, or the one that was not used for the longest time.
    fn take(&mut self, owner: u64, bits: u8) -> Deflater {
        let find =
            |owner| move |deflater: &Deflater| deflater.owner == owner && deflater.bits == bits;
        let own = self.kept.iter().position(find(owner));
        let place = own.or_else(|| self.kept.iter().position(find(NOBODY)));
        if let Some(place) = place {
            let mut deflater = self.kept.remove(place);
            deflater.owner = owner;
            return deflater;
        }
        if self.kept.len() >= KEPT {
            let mut oldest = self.kept.remove(0);
            if oldest.bits == bits {
                oldest.stream.reset();
                oldest.owner = owner;
                return oldest;
            }
        }
        Deflater { owner, bits, stream: Compress::new_with_window_bits(LEVEL, false, bits) }
    }
}

/// No connection has this number.
const NOBODY: u64 = u64::MAX;

impl Deflater {
    fn deflate(&mut self, mut message: &[u8]) -> Option<Vec<u8>> {
        let limit = message.len();
        let mut compressed = Vec::with_capacity((limit / 2).max(64));
        loop {
            let before = self.stream.total_in();
            self.stream.compress_vec(message, &mut compressed, FlushCompress::Sync).ok()?;
            let used = self.stream.total_in().saturating_sub(before) as usize;
            message = message.get(used..).unwrap_or_default();
            if message.is_empty() && compressed.len() < compressed.capacity() {
                break;
            }
            if compressed.len() > limit + TAIL.len() {
                return None;
            }
            compressed.reserve(STEP.min(limit).max(64));
        }
        if !compressed.ends_with(&TAIL) {
            return None;
        }
        compressed.truncate(compressed.len() - TAIL.len());
        (compressed.len() < limit).then_some(compressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::random::Random;

    const WHOLE: Side = Side { takes_over: true, bits: MAX_BITS };

    fn inflate(inflater: &mut Inflater, compressed: &[u8]) -> Result<Vec<u8>, InflateError> {
        let mut message = Vec::new();
        inflater.inflate(compressed, true, &mut message, 1 << 20).map(|()| message)
    }

    #[test]
    fn the_examples_of_rfc_7692_7_2_3_are_inflated() {
        // One block; another with context take-over; a block without compression; one with BFINAL; two blocks.
        let mut inflater = Inflater::new(WHOLE);
        for compressed in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflate(&mut inflater, compressed).as_deref(), Ok(&b"Hello"[..]));
        }
        assert_eq!(inflate(&mut inflater, &[0x00]).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn a_message_may_refer_to_the_one_before_only_with_take_over() {
        let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let second = [0xf2, 0x00, 0x11, 0x00, 0x00];
        let mut inflater = Inflater::new(Side { takes_over: false, ..WHOLE });
        assert_eq!(inflate(&mut inflater, &first).as_deref(), Ok(&b"Hello"[..]));
        assert_eq!(inflate(&mut inflater, &second), Err(InflateError::Corrupt));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let zeros = vec![0; 1 << 20];
        let compressed = Deflaters::default().deflate(1, WHOLE, &zeros).unwrap();
        assert!(compressed.len() < zeros.len() / 100);
        let mut message = Vec::new();
        let inflated = Inflater::new(WHOLE).inflate(&compressed, true, &mut message, 100_000);
        assert_eq!(inflated, Err(InflateError::TooLarge));
        assert!(message.capacity() <= 200_000, "{}", message.capacity());
        message.clear();
        let inflated = Inflater::new(WHOLE).inflate(&compressed, true, &mut message, zeros.len());
        assert_eq!((inflated, message.len()), (Ok(()), zeros.len()));
        message.clear();
        let inflated =
            Inflater::new(WHOLE).inflate(&compressed, true, &mut message, zeros.len() - 1);
        assert_eq!(inflated, Err(InflateError::TooLarge));
        assert_eq!(Inflater::new(WHOLE).inflate(&[0x00], true, &mut Vec::new(), 0), Ok(()));
    }

    #[test]
    fn what_does_not_get_smaller_is_sent_as_it_is() {
        let mut deflaters = Deflaters::default();
        assert_eq!(deflaters.deflate(1, WHOLE, b""), None);
        assert_eq!(deflaters.deflate(1, WHOLE, b"x"), None);
        assert_eq!(deflaters.deflate(1, WHOLE, &Random::new(1).bytes(100_000)), None);
        let compressed = deflaters.deflate(1, WHOLE, &[b'x'; 100]).unwrap();
        assert_eq!(inflate(&mut Inflater::new(WHOLE), &compressed).unwrap(), [b'x'; 100]);
    }

    #[test]
    fn a_deflater_keeps_the_context_of_one_connection() {
        let message = Random::new(1).bytes(1000);
        let message = [&message[..], &message].concat();
        let mut deflaters = Deflaters::default();
        let first = deflaters.deflate(1, WHOLE, &message).unwrap();
        let other = deflaters.deflate(2, WHOLE, &message).unwrap();
        let second = deflaters.deflate(1, WHOLE, &message).unwrap();
        assert_eq!(first, other);
        assert!(second.len() * 10 < first.len());
        let mut inflater = Inflater::new(WHOLE);
        assert_eq!(inflate(&mut inflater, &first).unwrap(), message);
        assert_eq!(inflate(&mut inflater, &second).unwrap(), message);
        deflaters.forget(1);
        assert_eq!(deflaters.deflate(1, WHOLE, &message).unwrap(), first);
        let without = Side { takes_over: false, ..WHOLE };
        for _ in 0..2 {
            assert_eq!(deflaters.deflate(3, without, &message).unwrap(), first);
        }
    }

    #[test]
    fn the_number_of_deflaters_is_bounded() {
        let mut deflaters = Deflaters::default();
        let message = [b'x'; 100];
        for owner in 0..3 * KEPT as u64 {
            let server = Side { bits: 9 + (owner % 7) as u8, ..WHOLE };
            assert!(deflaters.deflate(owner, server, &message).is_some());
            assert!(deflaters.kept.len() <= KEPT);
        }
    }

    #[test]
    fn random_messages_come_out_as_they_went_in() {
        for seed in 0..60 {
            let mut random = Random::new(seed);
            let side = Side { takes_over: random.chance(2), bits: 9 + random.below(7) as u8 };
            let (mut deflaters, mut inflater) = (Deflaters::default(), Inflater::new(side));
            for _ in 0..5 {
                let mut message = Vec::new();
                for _ in 0..random.below(300) {
                    let from = random.below(message.len() + 1);
                    let until = message.len().min(from + random.below(2000));
                    message.extend_from_within(from..until);
                    let fresh = random.below(20);
                    message.extend(random.bytes(fresh));
                }
                let Some(compressed) = deflaters.deflate(7, side, &message) else { continue };
                let mut inflated = Vec::new();
                let mut left = &compressed[..];
                loop {
                    let (part, rest) = left.split_at(random.below(left.len() + 1));
                    let last = rest.is_empty();
                    let result = inflater.inflate(part, last, &mut inflated, message.len());
                    assert_eq!(result, Ok(()), "seed {seed}");
                    left = rest;
                    if last {
                        break;
                    }
                }
                assert!(inflated == message, "seed {seed}");
            }
        }
    }

    #[test]
    fn random_bytes_never_break_the_inflater() {
        for seed in 0..5000 {
            let mut random = Random::new(seed);
            let mut inflater = Inflater::new(Side { takes_over: random.chance(2), ..WHOLE });
            for _ in 0..3 {
                let len = random.below(100);
                let part = random.bytes(len);
                let mut message = Vec::new();
                let result = inflater.inflate(&part, random.chance(2), &mut message, 1000);
                assert!(message.len() <= 1001);
                if result.is_err() {
                    break;
                }
            }
        }
    }
}
