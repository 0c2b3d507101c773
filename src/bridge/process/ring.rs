//! A ring of bytes from one process to another, in words that both have mapped.
//!
//! The producer alone writes `written`, the consumer alone `read`: how many words each has passed since the beginning.
//! What lies between them is the consumer's, all else the producer's. Both count on without wrapping, so that a ring may
//! have any size. Each side keeps its own number in memory of its own, and never reads it back.
//!
//! **Who trusts whom.** The other process may be in the hands of an attacker, and write anything to any word at any
//! moment. So the other's number is checked each time it is read: it may only grow, and not pass what this side's number
//! allows. A frame's length is read once, checked, and used as it was read. Its bytes are copied out once, and looked at
//! only then. What fails a check is [`Corrupt`]: this side then stops to use the ring for good.
//!
//! **Who wakes whom.** Either side says in a word that it sleeps, and the other clears the word when it rings for it:
//!
//! | | says that it sleeps | then looks at | the other has changed that, then looks at |
//! |---|---|---|---|
//! | consumer | `sleeps` | `written` | `sleeps` |
//! | producer | `waits` | `read` | `waits` |
//!
//! Each of the four writes comes before a fence (`SeqCst`), and each of the four looks after one. So of two that meet at
//! least one sees what the other has written: either the side that wants to sleep finds that there is something to do,
//! or the other finds that it must ring. Who is awake is never rung for, and who sleeps is rung for once. Ringing is the
//! caller's. Both words are changed by swaps alone: stores would do, but loom knows of a swap that it comes after the
//! other's swap before.

use std::fmt;

use thiserror::Error;

use crate::bridge::memory::Longs;
use crate::bridge::sync::{Arc, AtomicU64, Ordering, fence};

/// Bytes of one frame's body, at most.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

/// The fewest bytes that a ring may have.
pub(crate) const SMALLEST: usize = 64 * 1024;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// Words of a cache line. Each word that is shared has a line of its own.
const LINE: usize = 8;

const WRITTEN: usize = 0;
const READ: usize = LINE;
const SLEEPS: usize = 2 * LINE;
const WAITS: usize = 3 * LINE;
const CONTROL: usize = 4 * LINE;

/// Words that precede a frame's body.
const HEAD: usize = 3;

/// The body of a frame is so much smaller than its ring, so that the two sides work at the same time.
const FRAMES: usize = 4;

/// The other side has written what it must not. The ring is of no use any more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Corrupt {
    #[error("its memory has another size than was said")]
    Memory,
    #[error("an index of its ring is out of range")]
    Index,
    #[error("a frame in its ring is longer than frames may be, or than what is there")]
    Length,
    #[error("a frame in its ring has reserved bits that are set")]
    Reserved,
}

/// What a frame says besides its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The request's number.
    pub(crate) request: u64,
    pub(crate) value: u64,
}

/// A frame, copied out of the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// How many words a ring for `bytes` bytes takes.
pub(crate) const fn words(bytes: usize) -> usize {
    CONTROL + bytes / WORD
}

/// Where a ring is.
struct Place {
    memory: Arc<dyn Longs>,
    first: usize,
    /// Words that hold frames.
    capacity: usize,
}

/// The side that writes. It begins with a ring that nobody has written to.
#[derive(Debug)]
pub(crate) struct Producer {
    place: Place,
    /// Words that have been written, published or not.
    written: u64,
    published: u64,
    /// What was last seen of the consumer's.
    read: u64,
}

/// The side that reads. It begins with a ring that nobody has read from.
#[derive(Debug)]
pub(crate) struct Consumer {
    place: Place,
    /// Words that have been read, released or not.
    read: u64,
    released: u64,
    /// What was last seen of the producer's.
    written: u64,
}

impl Producer {
    /// Writes to the ring for `bytes` bytes that begins at word `first` of `memory`.
    pub(crate) fn new(memory: Arc<dyn Longs>, first: usize, bytes: usize) -> Self {
        let place = Place { memory, first, capacity: bytes / WORD };
        Self { place, written: 0, published: 0, read: 0 }
    }

    /// Goes on where another one has stopped, which has published all.
    #[cfg(test)]
    pub(super) fn taking_over(memory: Arc<dyn Longs>, first: usize, bytes: usize) -> Self {
        let mut producer = Self::new(memory, first, bytes);
        let written = producer.place.shared().map(|it| it.control[WRITTEN].load(Ordering::Acquire));
        producer.written = written.unwrap_or(0);
        producer.published = producer.written;
        producer
    }

    /// Bytes of a body that one frame of this ring can have. [`write`](Self::write) refuses more for ever.
    pub(crate) fn largest(&self) -> usize {
        self.place.largest()
    }

    /// Adds a frame, which the consumer does not see before [`publish`](Self::publish). False if there is no room for
    /// it: nothing of it has been written then.
    pub(crate) fn write(&mut self, head: Head, body: &[u8]) -> Result<bool, Corrupt> {
        if body.len() > self.largest() {
            return Err(Corrupt::Length);
        }
        let size = words_of(body.len());
        if !self.has_words(size)? {
            return Ok(false);
        }
        let shared = self.place.shared()?;
        let (fore, aft) = shared.data_at(self.written, size);
        let length = body.len() as u64;
        let tag = length | u64::from(head.kind) << 32 | u64::from(head.flags) << 40;
        let head = [tag, head.request, head.value];
        for (word, value) in fore.iter().chain(aft).zip(head) {
            word.store(value, Ordering::Relaxed);
        }
        let (fore, aft) = without_head(fore, aft);
        let (front, back) = body.split_at(body.len().min(fore.len() * WORD));
        copy_in(fore, front);
        copy_in(aft, back);
        self.written += size as u64;
        Ok(true)
    }

    /// Is there room for a frame with a body of so many bytes?
    pub(crate) fn has_room(&mut self, body: usize) -> Result<bool, Corrupt> {
        self.has_words(words_of(body))
    }

    /// Has something been written that is not published?
    pub(crate) fn is_unpublished(&self) -> bool {
        self.written != self.published
    }

    /// Shows the consumer what has been written. True if it sleeps: the caller must ring for it.
    pub(crate) fn publish(&mut self) -> Result<bool, Corrupt> {
        if !self.is_unpublished() {
            return Ok(false);
        }
        let control = self.place.shared()?.control;
        control[WRITTEN].store(self.written, Ordering::Release);
        self.published = self.written;
        fence(Ordering::SeqCst);
        Ok(control[SLEEPS].load(Ordering::Relaxed) != 0
            && control[SLEEPS].swap(0, Ordering::Relaxed) != 0)
    }

    /// Wants to wait for room for a frame with a body of so many bytes. All that has been written must be published.
    /// True if there is room now. Otherwise the consumer rings when there is, and when half of the ring is free: a
    /// producer that waits does so for more than one frame.
    pub(crate) fn wait(&mut self, body: usize) -> Result<bool, Corrupt> {
        let size = words_of(body.min(self.largest()));
        let target = size.max(self.place.capacity / 2) as u64;
        // `read` from which on so many words are free. It is not 0: the ring is not half empty.
        let wanted = (self.written + target).saturating_sub(self.place.capacity as u64).max(1);
        self.place.shared()?.control[WAITS].swap(wanted, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let has_room = self.look(size)?;
        if has_room {
            self.place.shared()?.control[WAITS].swap(0, Ordering::Relaxed);
        }
        Ok(has_room)
    }

    fn has_words(&mut self, size: usize) -> Result<bool, Corrupt> {
        Ok(self.free() >= size as u64 || self.look(size)?)
    }

    /// Looks how far the consumer is.
    fn look(&mut self, size: usize) -> Result<bool, Corrupt> {
        let read = self.place.shared()?.control[READ].load(Ordering::Acquire);
        if read < self.read || read > self.published {
            return Err(Corrupt::Index);
        }
        self.read = read;
        Ok(self.free() >= size as u64)
    }

    fn free(&self) -> u64 {
        (self.place.capacity as u64).saturating_sub(self.written - self.read)
    }
}

impl Consumer {
    /// Reads from the ring for `bytes` bytes that begins at word `first` of `memory`.
    pub(crate) fn new(memory: Arc<dyn Longs>, first: usize, bytes: usize) -> Self {
        let place = Place { memory, first, capacity: bytes / WORD };
        Self { place, read: 0, released: 0, written: 0 }
    }

    /// The next frame, if there is one. Its room is the producer's again after [`release`](Self::release), and by
    /// itself whenever a part of the ring has been read.
    pub(crate) fn read(&mut self) -> Result<Option<Frame>, Corrupt> {
        if self.available() == 0 && !self.look()? {
            return Ok(None);
        }
        let shared = self.place.shared()?;
        let available = usize::try_from(self.available()).unwrap_or(usize::MAX);
        let (fore, aft) = shared.data_at(self.read, available);
        let mut words = fore.iter().chain(aft).map(|word| word.load(Ordering::Relaxed));
        let (Some(tag), Some(request), Some(value)) = (words.next(), words.next(), words.next())
        else {
            return Err(Corrupt::Length);
        };
        let length = (tag as u32) as usize;
        let size = words_of(length);
        if length > self.place.largest() || size > available {
            return Err(Corrupt::Length);
        }
        if tag >> 48 != 0 {
            return Err(Corrupt::Reserved);
        }
        let (fore, aft) = without_head(fore, aft);
        let body = copy_out(fore, aft, length);
        self.read += size as u64;
        if self.read - self.released >= (self.place.capacity / FRAMES) as u64 {
            shared.control[READ].store(self.read, Ordering::Release);
            self.released = self.read;
        }
        let head = Head { kind: (tag >> 32) as u8, flags: (tag >> 40) as u8, request, value };
        Ok(Some(Frame { head, body }))
    }

    /// Gives the room of what has been read back to the producer. True if it waits for that: the caller must ring for
    /// it. To be called after each batch.
    pub(crate) fn release(&mut self) -> Result<bool, Corrupt> {
        let control = self.place.shared()?.control;
        if self.read != self.released {
            control[READ].store(self.read, Ordering::Release);
            self.released = self.read;
        }
        fence(Ordering::SeqCst);
        let wanted = control[WAITS].load(Ordering::Relaxed);
        Ok(wanted != 0 && self.read >= wanted && control[WAITS].swap(0, Ordering::Relaxed) != 0)
    }

    /// Wants to sleep. True if there is something to read now; otherwise the producer rings when there is. All that has
    /// been read must be released.
    pub(crate) fn rest(&mut self) -> Result<bool, Corrupt> {
        self.place.shared()?.control[SLEEPS].swap(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let more = self.available() > 0 || self.look()?;
        if more {
            self.wake()?;
        }
        Ok(more)
    }

    /// Is awake, by a bell or by itself: the producer need not ring.
    pub(crate) fn wake(&mut self) -> Result<(), Corrupt> {
        self.place.shared()?.control[SLEEPS].swap(0, Ordering::Relaxed);
        Ok(())
    }

    /// Looks how far the producer is. True if there is something to read.
    fn look(&mut self) -> Result<bool, Corrupt> {
        let written = self.place.shared()?.control[WRITTEN].load(Ordering::Acquire);
        if written < self.written || written > self.released + self.place.capacity as u64 {
            return Err(Corrupt::Index);
        }
        self.written = written;
        Ok(self.available() > 0)
    }

    fn available(&self) -> u64 {
        self.written - self.read
    }
}

/// The words of a ring.
#[derive(Clone, Copy)]
struct Shared<'a> {
    control: &'a [AtomicU64; CONTROL],
    data: &'a [AtomicU64],
}

impl Place {
    fn shared(&self) -> Result<Shared<'_>, Corrupt> {
        let words = self.memory.longs().get(self.first..).ok_or(Corrupt::Memory)?;
        let (control, data) = words.split_first_chunk().ok_or(Corrupt::Memory)?;
        let data = data.get(..self.capacity).ok_or(Corrupt::Memory)?;
        Ok(Shared { control, data })
    }

    fn largest(&self) -> usize {
        (self.capacity / FRAMES).saturating_sub(HEAD).saturating_mul(WORD).min(LARGEST_BODY)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory: _, first, capacity } = self;
        f.debug_struct("Place").field("first", first).field("capacity", capacity).finish()
    }
}

impl<'a> Shared<'a> {
    /// `size` words from `index` on, which may go on at the beginning.
    fn data_at(self, index: u64, size: usize) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let start = index.checked_rem(self.data.len() as u64).unwrap_or(0) as usize;
        let (before, fore) = self.data.split_at_checked(start).unwrap_or_default();
        match fore.get(..size) {
            Some(fore) => (fore, &[]),
            None => (fore, before.get(..size - fore.len()).unwrap_or_default()),
        }
    }
}

/// The words of a frame, without its head.
fn without_head<'a>(
    fore: &'a [AtomicU64],
    aft: &'a [AtomicU64],
) -> (&'a [AtomicU64], &'a [AtomicU64]) {
    match fore.get(HEAD..) {
        Some(fore) => (fore, aft),
        None => (&[], aft.get(HEAD - fore.len()..).unwrap_or_default()),
    }
}

/// Words of a frame with a body of so many bytes.
const fn words_of(body: usize) -> usize {
    HEAD + body.div_ceil(WORD)
}

/// Copies bytes into words; what the last one has more is 0.
fn copy_in(words: &[AtomicU64], bytes: &[u8]) {
    let chunks = bytes.chunks_exact(WORD);
    let rest = chunks.remainder();
    let mut words = words.iter();
    for (chunk, word) in chunks.zip(words.by_ref()) {
        let mut value = [0; WORD];
        value.copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
    if let Some(word) = words.next().filter(|_| !rest.is_empty()) {
        let mut value = [0; WORD];
        value.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
}

/// Copies the first `length` bytes out of words. There are so many.
fn copy_out(fore: &[AtomicU64], aft: &[AtomicU64], length: usize) -> Vec<u8> {
    let size = length.div_ceil(WORD);
    let (fore, aft) = match fore.get(..size) {
        Some(fore) => (fore, &[][..]),
        None => (fore, aft.get(..size - fore.len()).unwrap_or_default()),
    };
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed).to_ne_bytes();
    let mut chunks = Vec::with_capacity(size);
    chunks.extend(fore.iter().map(load));
    chunks.extend(aft.iter().map(load));
    let mut bytes = chunks.into_flattened();
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
