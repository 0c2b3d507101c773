//! Children that an application forks: is this process one?
//!
//! A child has a copy of the worker's memory, but only the thread that has forked: no event loop takes its messages.
//! [`child`](super::child) ends it when it leaves the application.

use std::sync::atomic::{AtomicBool, Ordering};

use super::sys;

static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Makes [`is_child`] work, from here on.
pub(super) fn watch() {
    extern "C" fn in_child() {
        IS_CHILD.store(true, Ordering::Relaxed);
    }

    sys::on_fork(in_child);
}

/// Is this a process that an application of the worker has forked?
pub(super) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}
