//! Memory that a worker shares with others, and leaves to those that take its place.

use std::fmt::Debug;
use std::sync::atomic::AtomicU32;

/// Words that several processes read and write.
pub(crate) trait Memory: Debug + Send + Sync {
    /// All are zero when the first process begins.
    fn words(&self) -> &[AtomicU32];
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
impl Memory for std::sync::Arc<Vec<AtomicU32>> {
    fn words(&self) -> &[AtomicU32] {
        self
    }
}
