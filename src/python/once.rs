//! Messages that are logged once.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a message has been logged in this process.
#[derive(Default)]
pub(super) struct Once(AtomicBool);

impl Once {
    /// True for the first call.
    pub(super) fn first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}
