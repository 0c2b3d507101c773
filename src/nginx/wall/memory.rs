//! The memory of a link: a file without a name, which two processes map. It is sealed, so that neither can cut it off while
//! the other reads it.
//!
//! It begins with words, which are atomic. The area of the trays comes after them, on pages of its own. No reference of
//! Rust's ever points there: its bytes are copied in and out by their addresses, and the kernel reads them when nginx
//! sends. The other process may write there at any moment; so what is copied may be torn, and nothing is concluded from
//! it.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};

use crate::bridge::memory::{Area, Longs};

/// A mapping of so many words, which begin as zeros, and of an area of so many bytes.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<AtomicU64>,
    count: usize,
    area: usize,
}

// SAFETY: the words are atomic, the area is copied to and from by its addresses alone, and the mapping lives until this is
// dropped.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// What must not happen to the file any more.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// New memory, and its file for the other process.
pub(super) fn create(count: usize, area: usize) -> io::Result<(Arc<Mapping>, OwnedFd)> {
    let file = memfd_create("pywsgi", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, size(count, area) as u64)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok((Arc::new(Mapping::new(&file, count, area)?), file))
}

/// The memory that another process has made.
pub(super) fn open(file: &OwnedFd, count: usize, area: usize) -> io::Result<Arc<Mapping>> {
    let is_whole = u64::try_from(fstat(file)?.st_size) == Ok(size(count, area) as u64);
    if !is_whole || !fcntl_get_seals(file)?.contains(SEALS) {
        return Err(io::Error::other("its memory is not what it should be"));
    }
    Ok(Arc::new(Mapping::new(file, count, area)?))
}

/// Bytes of a mapping.
const fn size(count: usize, area: usize) -> usize {
    area_at(count) + area
}

/// Where the area of a mapping begins.
const fn area_at(count: usize) -> usize {
    (count * size_of::<AtomicU64>()).next_multiple_of(PAGE)
}

/// The largest that a page is.
const PAGE: usize = 64 * 1024;

impl Mapping {
    fn new(file: impl AsFd, count: usize, area: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address that the system chooses, of a file that nobody can make shorter.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size(count, area),
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
        Ok(Self { start, count, area })
    }

    /// Where so many bytes of the area are.
    fn place(&self, at: usize, length: usize) -> Option<*mut u8> {
        if at.checked_add(length)? > self.area {
            return None;
        }
        // SAFETY: the area is a part of the mapping, which lives as long as this, and these bytes are a part of the area.
        Some(unsafe { self.start.as_ptr().cast::<u8>().add(area_at(self.count) + at) })
    }
}

impl Area for Mapping {
    fn size(&self) -> usize {
        self.area
    }

    fn write(&self, at: usize, bytes: &[u8]) -> bool {
        let Some(place) = self.place(at, bytes.len()) else { return false };
        // SAFETY: there is room for so many bytes, which nobody has a reference to. Whoever else reads or writes there is
        // another process, whose memory this counts as: it gets or leaves any bytes.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        true
    }

    fn read(&self, at: usize, length: usize) -> Option<Vec<u8>> {
        let place = self.place(at, length)?;
        let mut bytes = Vec::with_capacity(length);
        // SAFETY: there are so many bytes, and all values of them are valid; so is the room for them in the new memory. As
        // above, another process may write them meanwhile.
        unsafe {
            ptr::copy_nonoverlapping(place, bytes.as_mut_ptr(), length);
            bytes.set_len(length);
        }
        Some(bytes)
    }

    fn addresses(&self, at: usize, length: usize) -> Option<Range<*const u8>> {
        let start = self.place(at, length)?.cast_const();
        Some(start..start.wrapping_add(length))
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
        unsafe { libc::munmap(self.start.as_ptr().cast(), size(self.count, self.area)) };
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn both_sides_see_the_same_words() {
        let (own, file) = create(1000, 100_000).unwrap();
        let other = open(&file, 1000, 100_000).unwrap();
        assert_eq!((own.longs().len(), other.longs().len()), (1000, 1000));
        own.longs()[999].store(7, Ordering::Relaxed);
        assert_eq!(other.longs()[999].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn nobody_can_change_its_size() {
        let (_own, file) = create(1000, 100_000).unwrap();
        assert!(ftruncate(&file, 0).is_err() && ftruncate(&file, 1 << 20).is_err());
        assert!(open(&file, 100_000, 100_000).is_err() && open(&file, 1000, 100_001).is_err());
        let unsealed = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, 8000).unwrap();
        assert!(open(&unsealed, 1000, 0).is_err());
    }
}
