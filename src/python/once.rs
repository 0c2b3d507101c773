//! What is said once.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it has been said in this process.
#[derive(Default)]
pub(super) struct Once(AtomicBool);

impl Once {
    /// True for the first who asks.
    pub(super) fn first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}
