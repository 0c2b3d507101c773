//! Memory that a worker shares with others, and leaves to those that take its place.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::atomic::AtomicU32;

use super::sync::AtomicU64;
#[cfg(test)]
#[cfg(not(feature = "loom"))]
use super::sync::Ordering;

/// Words that several processes read and write.
pub(crate) trait Memory: Debug + Send + Sync {
    /// All are zero when the first process begins.
    fn words(&self) -> &[AtomicU32];
}

/// Words of 64 bits that two processes read and write. Neither trusts what it finds in them.
pub(crate) trait Longs: Debug + Send + Sync {
    /// The same ones each time. All are zero when the first of the two begins.
    fn longs(&self) -> &[AtomicU64];
}

/// Bytes that two processes have mapped, and that Rust knows nothing of: they are copied, or named to somebody outside by
/// their addresses. The other process may change them at any moment, also while they are copied.
pub(crate) trait Area: Debug + Send + Sync {
    /// How many.
    fn size(&self) -> usize;

    /// Copies bytes to `at`. False if there is no room for them.
    fn write(&self, at: usize, bytes: &[u8]) -> bool;

    /// Copies so many bytes out.
    fn read(&self, at: usize, length: usize) -> Option<Vec<u8>>;

    /// The addresses of so many bytes, which are valid as long as this lives.
    fn addresses(&self, at: usize, length: usize) -> Option<Range<*const u8>>;
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
impl Memory for std::sync::Arc<Vec<AtomicU32>> {
    fn words(&self) -> &[AtomicU32] {
        self
    }
}

#[cfg(test)]
impl Longs for Vec<AtomicU64> {
    fn longs(&self) -> &[AtomicU64] {
        self
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
impl Area for Vec<std::sync::atomic::AtomicU8> {
    fn size(&self) -> usize {
        self.len()
    }

    fn write(&self, at: usize, bytes: &[u8]) -> bool {
        let Some(own) = self.get(at..).and_then(|own| own.get(..bytes.len())) else { return false };
        own.iter().zip(bytes).for_each(|(own, byte)| own.store(*byte, Ordering::Relaxed));
        true
    }

    fn read(&self, at: usize, length: usize) -> Option<Vec<u8>> {
        let own = self.get(at..)?.get(..length)?;
        Some(own.iter().map(|byte| byte.load(Ordering::Relaxed)).collect())
    }

    fn addresses(&self, at: usize, length: usize) -> Option<Range<*const u8>> {
        let Range { start, end } = self.get(at..)?.get(..length)?.as_ptr_range();
        Some(start.cast()..end.cast())
    }
}
