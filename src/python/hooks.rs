//! Names for `threading`, and the functions of `threading.settrace` and `threading.setprofile`, for threads that
//! Python has not started.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use super::logging;
use super::shim::Shim;
use crate::bridge::code::Code;

/// How often `threading.settrace` or `threading.setprofile` has been called.
static CALLS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn changed() {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

/// What one thread has of them.
#[derive(Default)]
pub(super) struct Hooks {
    /// The name that `threading` shows, without its number.
    name: Option<String>,
    /// `None` before its first request.
    seen: Option<usize>,
}

impl Hooks {
    pub(super) fn of(name: String) -> Self {
        Self { name: Some(name), seen: None }
    }

    /// Before an application runs on this thread: sets what has changed since its last request. `threading` knows
    /// the thread from its first request on, and not before: while an application is imported it sees no threads but
    /// those that it has started, as with other servers.
    #[inline]
    pub(super) fn take_on(&mut self, py: Python<'_>, shim: &Shim) {
        let calls = CALLS.load(Ordering::Relaxed);
        if self.seen != Some(calls) {
            self.seen = Some(calls);
            self.take_on_now(py, shim);
        }
    }

    #[cold]
    fn take_on_now(&mut self, py: Python<'_>, shim: &Shim) {
        let name = self.name.take();
        let entered = name.map(|name| shim.enter_thread.call1(py, (name,)));
        let hooked = shim.take_on_hooks.call0(py);
        for result in entered.into_iter().chain([hooked]) {
            if let Err(error) = result {
                let what = "a thread cannot be made known to threading";
                logging::exception(py, shim, Code::ThreadUnknown, what, &error);
            }
        }
    }
}
