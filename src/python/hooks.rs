//! `threading.settrace` and `threading.setprofile` for threads that `threading` has not started.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use super::logging;
use super::runtime::Runtime;

/// How often one of them has been called.
static CALLS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn changed() {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

/// What a thread has of them.
#[derive(Default)]
pub(super) struct Hooks {
    seen: usize,
}

impl Hooks {
    /// Before an application runs on this thread: takes on what has been set since.
    pub(super) fn take_on(&mut self, py: Python<'_>, runtime: &Runtime) {
        let calls = CALLS.load(Ordering::Relaxed);
        if calls == self.seen {
            return;
        }
        self.seen = calls;
        if let Err(error) = runtime.take_on_hooks.call0(py) {
            logging::exception(py, runtime, "a hook of threading's cannot be set", &error);
        }
    }
}
