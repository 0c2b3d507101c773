//! The memory of a link: a file without a name, which two processes map. It is sealed, so that neither can cut it off while
//! the other reads it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};

use crate::bridge::memory::Longs;

/// A mapping of so many words, which begin as zeros.
#[derive(Debug)]
struct Mapping {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the words are atomic, and the mapping lives until this is dropped.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// What must not happen to the file any more.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// New memory, and its file for the other process.
pub(super) fn create(count: usize) -> io::Result<(Arc<dyn Longs>, OwnedFd)> {
    let file = memfd_create("pywsgi", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, size(count) as u64)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok((Arc::new(Mapping::new(&file, count)?), file))
}

/// The memory that another process has made.
pub(super) fn open(file: &OwnedFd, count: usize) -> io::Result<Arc<dyn Longs>> {
    let is_whole = u64::try_from(fstat(file)?.st_size) == Ok(size(count) as u64);
    if !is_whole || !fcntl_get_seals(file)?.contains(SEALS) {
        return Err(io::Error::other("its memory is not what it should be"));
    }
    Ok(Arc::new(Mapping::new(file, count)?))
}

const fn size(count: usize) -> usize {
    count * size_of::<AtomicU64>()
}

impl Mapping {
    fn new(file: impl AsFd, count: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address that the system chooses, of a file that nobody can make shorter.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size(count),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, count })
    }
}

#[cfg(not(feature = "loom"))]
impl Longs for Mapping {
    fn longs(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins on a page, has room for so many words, lives as long as this, and began with zeros.
        // Whoever else has mapped it reads and writes whole words as well, or at worst gives them any value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

/// Under loom there are no words but its own.
#[cfg(feature = "loom")]
impl Longs for Mapping {
    fn longs(&self) -> &[crate::bridge::sync::AtomicU64] {
        &[]
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), size(self.count)) };
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn both_sides_see_the_same_words() {
        let (own, file) = create(1000).unwrap();
        let other = open(&file, 1000).unwrap();
        assert_eq!((own.longs().len(), other.longs().len()), (1000, 1000));
        own.longs()[999].store(7, Ordering::Relaxed);
        assert_eq!(other.longs()[999].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn nobody_can_change_its_size() {
        let (_own, file) = create(1000).unwrap();
        assert!(ftruncate(&file, 0).is_err() && ftruncate(&file, 1 << 20).is_err());
        assert!(open(&file, 1001).is_err());
        let unsealed = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, 8000).unwrap();
        assert!(open(&unsealed, 1000).is_err());
    }
}
