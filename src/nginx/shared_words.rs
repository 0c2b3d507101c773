//! Memory that nginx's master shares with its workers, as words that begin as zeros.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::bridge::memory::Memory;

/// A mapping that forked processes share. Pages that nobody writes to take no memory.
#[derive(Debug)]
pub(super) struct SharedWords {
    start: NonNull<AtomicU32>,
    count: usize,
}

// SAFETY: the words are atomic, and the mapping lives until this is dropped.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    pub(super) fn new(count: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address that the system chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size(count),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, count })
    }

    /// The first two words as one. Whoever uses it does not use the two.
    pub(super) fn first_long(&self) -> &AtomicU64 {
        // SAFETY: the mapping begins on a page, is at least a page long, lives as long as this, and begins with zeros.
        unsafe { &*self.start.as_ptr().cast::<AtomicU64>() }
    }
}

impl SharedWords {
    /// The words in pairs. Whoever uses these does not use the words.
    pub(super) fn longs(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins on a page and has room for so many, lives as long as this, and begins with zeros.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.count / 2) }
    }
}

impl Memory for SharedWords {
    fn words(&self) -> &[AtomicU32] {
        // SAFETY: the mapping has room for so many, and lives as long as this. It begins with zeros, which are valid
        // words.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Memory for &'static SharedWords {
    fn words(&self) -> &[AtomicU32] {
        (**self).words()
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: `new` has mapped it, and every reference to it borrows this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), size(self.count)) };
    }
}

fn size(count: usize) -> usize {
    count * size_of::<AtomicU32>()
}
