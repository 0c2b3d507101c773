//! Memory that a worker shares with others, and leaves to those that take its place.

use std::fmt::Debug;
use std::sync::atomic::AtomicU32;

use super::sync::AtomicU64;

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
