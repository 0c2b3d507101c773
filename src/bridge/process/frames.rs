//! What a message is on the wire, whichever way it goes: the [`Head`] of a ring's frame, and bytes.

use std::str;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::ring::{Corrupt, Head};
pub(crate) use super::wire::TooLarge;
use super::wire::{Malformed, Reader, put_bytes, put_duration, put_flag, put_option, put_u64};
use crate::bridge::exchange::Exchange;
use crate::bridge::timings::Measured;
use crate::http::websocket::close::Close;

/// The most bytes of a message that must be whole before it can be read: a head, fields, a report.
pub(crate) const LARGEST_MESSAGE: usize = 4 << 20;

/// Descriptors of one response that the web worker has, at most. It may have eight temporary files open, and some of the
/// application's.
pub(crate) const DESCRIPTORS: usize = 32;

/// Names a request of one pair of processes. The web worker makes it: a slot of its table, and how often the slot had
/// been used by then, so that a frame for an earlier request finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Number {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Number {
    /// That of a message that is about no request.
    pub(crate) const NONE: Self = Self { slot: u32::MAX, generation: 0 };

    pub(super) fn to_word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn of_word(word: u64) -> Self {
        Self { slot: word as u32, generation: (word >> 32) as u32 }
    }
}

/// The other process has sent what it must not. The pair has to be closed, as if it had died.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Foreign {
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a message is larger than {0} bytes")]
    TooLarge(usize),
    #[error("a message goes on as another one than it began")]
    Broken,
}

/// Why a message cannot be sent. Nothing of it was.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum SendError {
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// That is about its request alone.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// A message of one of the two directions.
pub(crate) trait Message: Sized {
    /// Writes what must be in bytes to `text`, which is empty.
    fn encode<'a>(&'a self, text: &mut Vec<u8>) -> Result<Encoded<'a>, TooLarge>;

    /// Reads a message that is complete.
    fn decode(kind: u8, flags: u8, value: u64, body: Vec<u8>) -> Result<Self, Foreign>;

    /// How a message of this kind is cut if it is larger than a frame.
    fn cut(kind: u8) -> Cut;
}

/// How a message is on the wire.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    pub(super) kind: u8,
    /// All but [`MORE`] are the kind's.
    pub(super) flags: u8,
    pub(super) value: u64,
    /// The body; if there is none it is what was written as text.
    pub(super) body: Option<&'a Bytes>,
}

/// How a message is cut if it is larger than a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Into messages of the same kind.
    Divided,
    /// Into pieces that are put together again, of at most so many bytes in all.
    Whole(usize),
}

/// The message goes on with the next frame.
pub(super) const MORE: u8 = 0x80;

/// Bytes `start..end` of a file, whose descriptor is the next one that comes over the pair's socket, or that of the
/// request's last range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) again: bool,
}

/// What is known of a request in the process that runs it, for the web worker's log and numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) measured: Measured,
    /// Python's ident of its last thread.
    pub(crate) thread: Option<u64>,
    /// The name of the type of what the application has raised, as far as [`LONGEST_NAME`].
    pub(crate) exception: Option<String>,
    /// The thread has been interrupted.
    pub(crate) interrupted: bool,
}

/// Bytes of the name of a type.
pub(super) const LONGEST_NAME: usize = 256;

impl Report {
    /// What is known of `exchange` here. The web worker has had it for `waited` before.
    pub(crate) fn of(exchange: &Exchange, waited: Duration) -> Self {
        let mut measured = exchange.timings.measured();
        measured.queue = measured.queue.saturating_add(waited);
        let exception = exchange.exception().map(str::to_owned);
        let thread = exchange.last_thread();
        Self { measured, thread, exception, interrupted: exchange.is_interrupted() }
    }
}

impl Encoded<'_> {
    /// A message without a body.
    pub(super) fn bare(kind: u8, value: u64) -> Self {
        Self { kind, flags: 0, value, body: None }
    }

    pub(super) fn head(&self, number: Number) -> Head {
        Head { kind: self.kind, flags: self.flags, request: number.to_word(), value: self.value }
    }
}

impl FileRange {
    /// The end is the frame's value.
    pub(super) fn decode(value: u64, body: &[u8]) -> Result<Self, Foreign> {
        let mut reader = Reader::new(body, "a range of a file");
        let range = Self { start: reader.u64()?, end: value, again: reader.flag()? };
        let malformed = reader.malformed();
        reader.end()?;
        if range.start > range.end || i64::try_from(range.end).is_err() {
            return Err(malformed.into());
        }
        Ok(range)
    }

    pub(super) fn encode<'a>(self, kind: u8, text: &mut Vec<u8>) -> Encoded<'a> {
        let end = self.end.min(i64::MAX as u64);
        put_u64(text, self.start.min(end));
        put_flag(text, self.again);
        Encoded::bare(kind, end)
    }
}

/// A message without a body has none.
pub(super) fn expect_none(body: &[u8]) -> Result<(), Foreign> {
    if body.is_empty() { Ok(()) } else { Err(Malformed("a message without a body").into()) }
}

/// The index of `value` in `all`, which has it.
pub(super) fn index_of<T: PartialEq>(all: &[T], value: &T) -> u64 {
    all.iter().position(|other| other == value).unwrap_or(all.len()) as u64
}

pub(super) fn of_index<T: Copy>(all: &[T], index: u64) -> Result<T, Foreign> {
    let at = usize::try_from(index).ok();
    let found = at.and_then(|at| all.get(at)).copied();
    found.ok_or(Malformed("the value of a message").into())
}

/// The code is the frame's value.
pub(super) fn encode_close<'a>(kind: u8, close: &Close, text: &mut Vec<u8>) -> Encoded<'a> {
    text.extend_from_slice(close.reason.as_bytes());
    Encoded::bare(kind, u64::from(close.code))
}

pub(super) fn decode_close(value: u64, body: &[u8]) -> Result<Close, Foreign> {
    let malformed = Malformed("the reason of a close frame");
    let code = u16::try_from(value).map_err(|_too_large| malformed)?;
    let reason = str::from_utf8(body).map_err(|_invalid| malformed)?;
    Ok(Close::new(code, reason))
}

pub(super) fn put_report(bytes: &mut Vec<u8>, report: &Report) {
    let Report { measured, thread, exception, interrupted } = report;
    put_duration(bytes, measured.queue);
    put_option(bytes, measured.application, put_duration);
    put_duration(bytes, measured.gil_wait);
    put_duration(bytes, measured.input);
    put_option(bytes, measured.cpu, put_duration);
    put_option(bytes, *thread, put_u64);
    put_option(bytes, exception.as_deref(), |bytes, name| {
        let end = (0..=name.len().min(LONGEST_NAME)).rev().find(|&end| name.is_char_boundary(end));
        put_bytes(bytes, name.get(..end.unwrap_or(0)).unwrap_or_default().as_bytes());
    });
    put_flag(bytes, *interrupted);
}

pub(super) fn report(reader: &mut Reader<'_>) -> Result<Report, Malformed> {
    let measured = Measured {
        queue: reader.duration()?,
        application: reader.option(Reader::duration)?,
        gil_wait: reader.duration()?,
        input: reader.duration()?,
        cpu: reader.option(Reader::duration)?,
    };
    let thread = reader.option(Reader::u64)?;
    let exception = reader.option(Reader::text)?;
    if exception.is_some_and(|name| name.len() > LONGEST_NAME) {
        return Err(reader.malformed());
    }
    let exception = exception.map(str::to_owned);
    Ok(Report { measured, thread, exception, interrupted: reader.flag()? })
}
