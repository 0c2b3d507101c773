//! Memory for the parts of request bodies, which is reused: what was used last is still in a processor's cache,
//! and fresh memory costs a page fault for each page.

use bytes::Bytes;

use crate::bridge::sync::{Mutex, lock};

/// Bytes of a request body that are read from a file, or asked for, at once.
pub(crate) const BLOCK: usize = 256 * 1024;

/// Bytes that a worker keeps, in buffers that are no larger than [`LARGEST`].
const SPARE: usize = 32 * BLOCK;

/// Bytes of a buffer that is still kept.
const LARGEST: usize = 5 * BLOCK;

/// The buffers of a worker that nobody uses now.
#[derive(Debug)]
pub(crate) struct Buffers {
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self { spare: Mutex::new(Vec::new()) }
    }

    /// An empty buffer with room for `size` bytes.
    pub(crate) fn take(&self, size: usize) -> Vec<u8> {
        let mut buffer = lock(&self.spare).pop().unwrap_or_default();
        buffer.reserve_exact(size);
        buffer
    }

    /// Keeps the memory of a part that has been read, if nobody else refers to it.
    pub(crate) fn give_back(&self, part: Bytes) {
        let Ok(mut buffer) = part.try_into_mut() else { return };
        buffer.clear();
        // All of it, what lay before the part as well.
        self.keep(Vec::from(buffer));
    }

    /// Keeps a buffer that nobody uses any more.
    pub(crate) fn keep(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = lock(&self.spare);
        let kept: usize = spare.iter().map(Vec::capacity).sum();
        // A small one is as cheap to allocate again.
        if (BLOCK..=LARGEST).contains(&buffer.capacity()) && kept + buffer.capacity() <= SPARE {
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    fn kept(buffers: &Buffers) -> Vec<usize> {
        lock(&buffers.spare).iter().map(Vec::capacity).collect()
    }

    #[test]
    fn memory_is_used_again_when_nobody_refers_to_it() {
        let buffers = Buffers::new();
        let mut buffer = buffers.take(BLOCK);
        assert_eq!(buffer.capacity(), BLOCK);
        buffer.extend_from_slice(b"some of a body");
        let place = buffer.as_ptr();
        let mut part = Bytes::from(buffer);
        let first = part.split_to(4);
        buffers.give_back(first);
        assert_eq!((kept(&buffers), &part[..]), (vec![], &b" of a body"[..]));
        buffers.give_back(part);
        assert_eq!(kept(&buffers), [BLOCK]);
        let again = buffers.take(9);
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (place, 0, BLOCK));
        assert!(kept(&buffers).is_empty());
        buffers.keep(again);
        assert!(buffers.take(2 * BLOCK).capacity() >= 2 * BLOCK);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers::new();
        buffers.give_back(Bytes::from_static(b"nobody's to use"));
        for size in [9, LARGEST + 1] {
            buffers.give_back(Bytes::from(vec![b'x'; size]));
        }
        assert!(kept(&buffers).is_empty());
        for _ in 0..99 {
            buffers.keep(Vec::with_capacity(3 * BLOCK));
        }
        assert_eq!(kept(&buffers), [3 * BLOCK; 10]);
    }
}
