//! Numbers, texts and durations as bytes. Both sides are on one machine, so numbers have its byte order.

use std::str;
use std::time::Duration;

/// Bytes that are not what they should be; with the name of what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is malformed")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A message is larger than the other side takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is larger than {0} bytes")]
pub(crate) struct TooLarge(pub(crate) usize);

/// Whether something is so: a byte.
pub(super) fn put_flag(bytes: &mut Vec<u8>, flag: bool) {
    bytes.push(u8::from(flag));
}

pub(super) fn put_u16(bytes: &mut Vec<u8>, number: u16) {
    bytes.extend_from_slice(&number.to_ne_bytes());
}

pub(super) fn put_u32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_ne_bytes());
}

pub(super) fn put_u64(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_ne_bytes());
}

/// Writes a number of things that the limits of a message keep far below 2^32.
pub(super) fn put_count(bytes: &mut Vec<u8>, count: usize) {
    put_u32(bytes, u32::try_from(count).unwrap_or(u32::MAX));
}

/// A duration to the nanosecond, at most some 584 years.
pub(super) fn put_duration(bytes: &mut Vec<u8>, duration: Duration) {
    put_u64(bytes, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

/// Bytes after their length.
pub(super) fn put_bytes(bytes: &mut Vec<u8>, data: &[u8]) {
    put_count(bytes, data.len());
    bytes.extend_from_slice(data);
}

/// What may be missing, after whether it is there.
pub(super) fn put_option<T>(
    bytes: &mut Vec<u8>,
    value: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    put_flag(bytes, value.is_some());
    if let Some(value) = value {
        put(bytes, value);
    }
}

/// Reads what was written by the functions above. It is named for the errors.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    name: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], name: &'static str) -> Self {
        Self { rest: bytes, name }
    }

    pub(super) fn malformed(&self) -> Malformed {
        Malformed(self.name)
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_ne_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_ne_bytes)
    }

    pub(super) fn usize(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u64()?).map_err(|_too_large| self.malformed())
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed()),
        }
    }

    /// How many things of at least `least` bytes follow. There cannot be more than the bytes that are left are enough for.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        match count.checked_mul(least) {
            Some(size) if size <= self.left() => Ok(count),
            _ => Err(self.malformed()),
        }
    }

    pub(super) fn duration(&mut self) -> Result<Duration, Malformed> {
        self.u64().map(Duration::from_nanos)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes()?).map_err(|_invalid| self.malformed())
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// All has been read.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}
