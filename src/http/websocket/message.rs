//! A message, put together from the parts of its frames: inflated, limited, and checked to be UTF-8 as it arrives.

use std::str;

use thiserror::Error;

use super::close;
use super::deflate::{InflateError, Inflater};
use super::extension::Side;
use super::frame::Kind;

/// A client's message that is not taken. The text is the reason in the close frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum MessageError {
    #[error("text is not UTF-8")]
    Utf8,
    #[error("compressed message is corrupt")]
    Corrupt,
    #[error("message is larger than {0} bytes")]
    TooLarge(usize),
}

impl MessageError {
    /// The status code of the close frame (RFC 6455, section 7.4.1).
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Utf8 | Self::Corrupt => close::INVALID_PAYLOAD,
            Self::TooLarge(_) => close::MESSAGE_TOO_BIG,
        }
    }
}

/// Checks a message that has come in one part, and is not compressed: it need not be put together.
pub(crate) fn check(kind: Kind, payload: &[u8], limit: usize) -> Result<(), MessageError> {
    if payload.len() > limit {
        return Err(MessageError::TooLarge(limit));
    }
    match kind {
        Kind::Text if str::from_utf8(payload).is_err() => Err(MessageError::Utf8),
        Kind::Text | Kind::Binary => Ok(()),
    }
}

/// A message of which not all parts have come, and what inflates it.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    payload: Vec<u8>,
    /// Bytes of the payload that are known to be UTF-8.
    checked: usize,
    inflater: Option<Inflater>,
}

impl Assembly {
    /// Adds a part. `client` says how the message is compressed, if it is. Returns the payload after the last part;
    /// it is UTF-8 if the message is text. After an error the assembly is of no use.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        client: Option<Side>,
        part: &[u8],
        last: bool,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, MessageError> {
        if let Some(client) = client {
            let inflater = self.inflater.get_or_insert_with(|| Inflater::new(client));
            inflater.inflate(part, last, &mut self.payload, limit).map_err(
                |error| match error {
                    InflateError::Corrupt => MessageError::Corrupt,
                    InflateError::TooLarge => MessageError::TooLarge(limit),
                },
            )?;
        } else {
            if part.len() > limit.saturating_sub(self.payload.len()) {
                return Err(MessageError::TooLarge(limit));
            }
            self.payload.extend_from_slice(part);
        }
        if kind == Kind::Text {
            self.check_utf8(last)?;
        }
        if !last {
            return Ok(None);
        }
        self.checked = 0;
        Ok(Some(std::mem::take(&mut self.payload)))
    }

    /// Has no message begun? One that is compressed may have, if nothing of it is inflated yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Checks what has been added. The end may be a part of a character, unless it is the message's.
    fn check_utf8(&mut self, last: bool) -> Result<(), MessageError> {
        let fresh = self.payload.get(self.checked..).unwrap_or_default();
        match str::from_utf8(fresh) {
            Ok(_) => self.checked += fresh.len(),
            Err(error) if error.error_len().is_none() && !last => {
                self.checked += error.valid_up_to();
            }
            Err(_invalid) => return Err(MessageError::Utf8),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::deflate::Deflaters;
    use super::*;
    use crate::http::random::Random;

    const DEFLATE: Side = Side { takes_over: true, bits: 15 };

    fn add(
        assembly: &mut Assembly,
        part: &[u8],
        last: bool,
    ) -> Result<Option<Vec<u8>>, MessageError> {
        assembly.add(Kind::Text, None, part, last, 10)
    }

    #[test]
    fn parts_become_a_message() {
        let mut assembly = Assembly::default();
        assert_eq!(add(&mut assembly, b"Hel", false), Ok(None));
        assert!(!assembly.is_empty());
        assert_eq!(add(&mut assembly, b"", false), Ok(None));
        assert_eq!(add(&mut assembly, b"lo", true), Ok(Some(b"Hello".to_vec())));
        assert!(assembly.is_empty());
        assert_eq!(add(&mut assembly, b"", true), Ok(Some(vec![])));
        assert_eq!(add(&mut assembly, b"0123456789", true), Ok(Some(b"0123456789".to_vec())));
        assert_eq!(add(&mut assembly, b"0123456789", false), Ok(None));
        let error = add(&mut assembly, b"x", false).unwrap_err();
        assert_eq!((error, error.code()), (MessageError::TooLarge(10), 1009));
    }

    #[test]
    fn a_message_in_one_part_is_checked_as_it_is() {
        assert_eq!(check(Kind::Text, "é".as_bytes(), 2), Ok(()));
        assert_eq!(check(Kind::Text, b"\xff", 2), Err(MessageError::Utf8));
        assert_eq!(check(Kind::Binary, b"\xff", 2), Ok(()));
        assert_eq!(check(Kind::Binary, b"123", 2), Err(MessageError::TooLarge(2)));
    }

    #[test]
    fn text_is_utf8_across_parts() {
        let text = "é漢😀".as_bytes();
        for cut in 0..=text.len() {
            let (first, second) = text.split_at(cut);
            let mut assembly = Assembly::default();
            assert_eq!(add(&mut assembly, first, false), Ok(None));
            assert_eq!(add(&mut assembly, second, true), Ok(Some(text.to_vec())));
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_at_once() {
        // Overlong, a surrogate, beyond U+10FFFF, a lone continuation, never in UTF-8.
        for bad in [&b"\xc0\xaf"[..], b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xff"] {
            for before in ["", "é", "ab"] {
                let mut assembly = Assembly::default();
                let part = [before.as_bytes(), bad].concat();
                let error = add(&mut assembly, &part, false).unwrap_err();
                assert_eq!((error, error.code()), (MessageError::Utf8, 1007));
                assert!(assembly.add(Kind::Binary, None, bad, false, 99).is_ok());
            }
        }
        let mut assembly = Assembly::default();
        assert_eq!(add(&mut assembly, b"\xf0\x9f", false), Ok(None));
        assert_eq!(add(&mut assembly, b"x", false), Err(MessageError::Utf8));
        // Incomplete at the end.
        assert_eq!(add(&mut Assembly::default(), b"\xf0\x9f\x98", true), Err(MessageError::Utf8));
    }

    #[test]
    fn random_text_is_accepted_exactly_if_it_is_utf8() {
        for seed in 0..3000 {
            let mut random = Random::new(seed);
            let characters = random.below(8);
            let mut text = random.text(characters).into_bytes();
            if random.chance(2) && !text.is_empty() {
                let place = random.below(text.len());
                text[place] = random.next() as u8;
            }
            let mut assembly = Assembly::default();
            let mut left = &text[..];
            let result = loop {
                let (part, rest) = left.split_at(random.below(left.len() + 1));
                left = rest;
                match assembly.add(Kind::Text, None, part, rest.is_empty(), 100) {
                    Ok(None) => {}
                    result => break result,
                }
            };
            assert_eq!(result.is_ok(), str::from_utf8(&text).is_ok(), "seed {seed}");
        }
    }

    #[test]
    fn compressed_messages_are_inflated_and_checked() {
        let mut deflaters = Deflaters::default();
        let mut assembly = Assembly::default();
        let text = "a long text, a long text, a long text, é";
        for _ in 0..3 {
            let compressed = deflaters.deflate(1, DEFLATE, text.as_bytes()).unwrap();
            let (first, second) = compressed.split_at(compressed.len() / 2);
            let side = Some(DEFLATE);
            assert_eq!(assembly.add(Kind::Text, side, first, false, 99), Ok(None));
            let message = assembly.add(Kind::Text, side, second, true, 99).unwrap().unwrap();
            assert_eq!(message, text.as_bytes());
            // One that is not compressed does not disturb the inflater.
            assert!(assembly.add(Kind::Text, None, b"plain", true, 99).unwrap().is_some());
        }
        let zeros = deflaters.deflate(2, DEFLATE, &[0; 100_000]).unwrap();
        let bomb = Assembly::default().add(Kind::Binary, Some(DEFLATE), &zeros, true, 1000);
        assert_eq!(bomb, Err(MessageError::TooLarge(1000)));
        let invalid = deflaters.deflate(3, DEFLATE, &[0xff; 100]).unwrap();
        let invalid = Assembly::default().add(Kind::Text, Some(DEFLATE), &invalid, true, 1000);
        assert_eq!(invalid, Err(MessageError::Utf8));
        let error = Assembly::default().add(Kind::Text, Some(DEFLATE), b"\xff\xff", true, 9);
        assert_eq!(
            error.map_err(|error| (error, error.code())),
            Err((MessageError::Corrupt, 1007))
        );
    }
}
