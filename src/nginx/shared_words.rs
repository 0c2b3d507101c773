//! Memory that nginx's master shares with its workers, as words that begin as zeros.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create, open};

use crate::bridge::memory::Memory;

/// The file of some words, by which a process has them read-only.
pub(super) type Reading = OwnedFd;

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
        Self::mapped(start, count)
    }

    /// The same, of a file without a name. Gives that file, open for reading alone.
    pub(super) fn with_file(count: usize) -> io::Result<(Self, Reading)> {
        let file = memfd_create("pywsgi", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size(count) as u64)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let reading = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // SAFETY: a new mapping, at an address that the system chooses, of a file that is as long and that nobody else has.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size(count),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        Ok((Self::mapped(start, count)?, reading))
    }

    fn mapped(start: *mut libc::c_void, count: usize) -> io::Result<Self> {
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, count })
    }

    /// From now on this process can only read the words, whatever it does: the file is not open for writing.
    ///
    /// # Safety
    ///
    /// `file` is theirs, and nothing in this process writes to the words.
    pub(super) unsafe fn only_read(&self, file: &Reading) -> io::Result<()> {
        // SAFETY: as the caller says. The same memory takes the place of the mapping, at once.
        let start = unsafe {
            libc::mmap(
                self.start.as_ptr().cast(),
                size(self.count),
                libc::PROT_READ,
                libc::MAP_SHARED | libc::MAP_FIXED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn who_only_reads_sees_what_others_write() {
        let (words, file) = SharedWords::with_file(2000).unwrap();
        words.words()[1999].store(7, Ordering::Relaxed);
        let pid = {
            // SAFETY: the child makes system calls alone, and exits.
            unsafe {
                let pid = libc::fork();
                if pid == 0 {
                    let read_only = words.only_read(&file).is_ok();
                    let start = words.start.as_ptr().cast();
                    let writable = libc::PROT_READ | libc::PROT_WRITE;
                    let refused = libc::mprotect(start, size(words.count), writable) != 0;
                    let seen = words.words()[1999].load(Ordering::Relaxed) == 7;
                    libc::_exit(i32::from(!(read_only && refused && seen)));
                }
                pid
            }
        };
        let mut status = 1;
        // SAFETY: a system call on a number that is this function's own.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(status, 0);
        words.words()[0].store(1, Ordering::Relaxed);
    }
}
