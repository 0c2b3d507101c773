//! Trays: memory that a web worker and a process share, in which large blocks of responses cross.
//!
//! The process copies a block into a tray that is free, and tells the web worker its number and length over the ring.
//! nginx sends from the tray. When it has, or when nobody wants the block any more, the web worker gives the tray back by
//! a word of its own in shared memory. Trays come back in any order, and the process waits for none: if none is free, the
//! block goes through the ring.
//!
//! | word of a tray | is set by | what is in the tray is |
//! |---|---|---|
//! | [`FREE`] | the web worker, after its last look (release) | the process's, which has seen the word (acquire) |
//! | [`TAKEN`] | the process, before it writes | the process's until it has told the web worker, then that one's |
//!
//! A slow client would keep a tray for long. So blocks for one that takes nothing now get the first half of the trays alone,
//! and what waits for such a client in another tray is copied out.
//!
//! The first that is free is taken, so that the same few are used again and again: their pages are there, and warm. Pages
//! of trays that were never needed take no room.
//!
//! **Who trusts whom.** The web worker knows itself which trays it has, and believes neither the words nor the process. A
//! process that is in the hands of an attacker may change a block while nginx sends it, and spoils its own response by
//! that. What else would look at the bytes gets a copy ([`Tray::copy`]).

use std::fmt;
use std::ops::Range;

use super::memory::{Area, Longs};
use super::sync::{Arc, AtomicBool, Ordering};

/// Bytes of a tray.
pub(crate) const SIZE: usize = 64 * 1024;

/// How many there are for a ring of so many bytes. Together they are larger than the ring: nginx holds them for as long as
/// a client needs.
pub(crate) const fn count(ring: usize) -> usize {
    let count = ring / SIZE * 16;
    if count < MOST { count } else { MOST }
}

const MOST: usize = 256;

const FREE: u64 = 0;
const TAKEN: u64 = 1;

/// The trays of one pair of processes, as one of them has them.
#[derive(Debug)]
pub(crate) struct Trays(Arc<Shared>);

struct Shared {
    words: Arc<dyn Longs>,
    /// The first tray's word.
    first: usize,
    area: Arc<dyn Area>,
    /// Web worker: those that it has.
    held: Vec<AtomicBool>,
}

/// What the web worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) tray: u32,
    pub(crate) length: u32,
}

/// A block in a tray that the web worker has. It is given back when this is dropped.
pub(crate) struct Tray {
    shared: Arc<Shared>,
    number: usize,
    length: usize,
}

impl Trays {
    /// Their words begin with word `first` of `words`, the trays themselves with `area`.
    pub(crate) fn new(words: Arc<dyn Longs>, first: usize, area: Arc<dyn Area>) -> Self {
        let held = (0..area.size() / SIZE).map(|_| AtomicBool::new(false)).collect();
        Self(Arc::new(Shared { words, first, area, held }))
    }

    /// Process: copies a block into a free tray. `None` if there is none, or if it is larger than a tray. `stalled`: the
    /// client takes nothing now.
    pub(crate) fn fill(&self, block: &[u8], stalled: bool) -> Option<Filled> {
        let shared = &*self.0;
        if block.is_empty() || block.len() > SIZE {
            return None;
        }
        let count = if stalled { shared.half() } else { shared.held.len() };
        let mut words = shared.words.longs().get(shared.first..)?.iter().take(count);
        let tray = words.position(|word| word.load(Ordering::Acquire) == FREE)?;
        shared.words.longs().get(shared.first + tray)?.store(TAKEN, Ordering::Relaxed);
        let written = shared.area.write(tray * SIZE, block);
        written.then_some(Filled { tray: tray as u32, length: block.len() as u32 })
    }

    /// Process: the web worker has not been told of it.
    pub(crate) fn forget(&self, filled: Filled) {
        self.0.free(filled.tray as usize);
    }

    /// Web worker: takes what the process has filled. `None` if it cannot have filled that.
    pub(crate) fn take(&self, filled: Filled) -> Option<Tray> {
        let (number, length) = (filled.tray as usize, filled.length as usize);
        let held = self.0.held.get(number)?;
        if length == 0 || length > SIZE || held.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(Tray { shared: Arc::clone(&self.0), number, length })
    }
}

impl Tray {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Where its bytes are, for as long as this lives. The process may change them meanwhile.
    pub(crate) fn addresses(&self) -> Option<Range<*const u8>> {
        self.shared.area.addresses(self.number * SIZE, self.length)
    }

    /// May it be kept for a client that takes nothing now?
    pub(crate) fn may_wait(&self) -> bool {
        self.number < self.shared.half()
    }

    /// Its bytes as they are now.
    pub(crate) fn copy(&self) -> Vec<u8> {
        self.shared.area.read(self.number * SIZE, self.length).unwrap_or_default()
    }
}

impl Drop for Tray {
    fn drop(&mut self) {
        if let Some(held) = self.shared.held.get(self.number) {
            held.store(false, Ordering::Relaxed);
        }
        self.shared.free(self.number);
    }
}

impl Shared {
    fn half(&self) -> usize {
        self.held.len() / 2
    }

    fn free(&self, tray: usize) {
        if let Some(word) = self.words.longs().get(self.first + tray) {
            word.store(FREE, Ordering::Release);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("first", &self.first).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared: _, number, length } = self;
        f.debug_struct("Tray").field("number", number).field("length", length).finish()
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
