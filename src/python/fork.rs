//! Children that an application forks.
//!
//! A child has a copy of all this, and nobody on the other side: no event loop takes its messages, no other
//! thread runs. It may run Python, start another program, or leave the application, and then it ends: it
//! must not come back as a second thread of the pool.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;

use super::logging;
use super::runtime::Runtime;

static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// From here on [`is_child`] tells. Only fork(2) runs these handlers: vfork and posix_spawn, whose child
/// shares the worker's memory, do not.
pub(super) fn watch() {
    extern "C" fn in_child() {
        IS_CHILD.store(true, Ordering::Relaxed);
    }

    // SAFETY: the handler only stores to a static.
    let registered = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    debug_assert_eq!(registered, 0, "pthread_atfork fails only without memory");
}

/// Is this a process that an application of the worker has forked?
pub(super) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// Ends a child that has left the application, as `sys.exit` would.
pub(super) fn leave(py: Python<'_>, runtime: &Runtime, error: Option<&PyErr>) -> ! {
    let code = match error {
        None => 0,
        Some(error) if error.is_instance_of::<PySystemExit>(py) => exit_code(py, error),
        Some(error) => {
            logging::exception(py, runtime, "a forked child of the application raised", error);
            1
        }
    };
    logging::leave(py, runtime);
    // SAFETY: ends the child without what the worker has registered for its own end.
    unsafe { libc::_exit(code) }
}

/// The code of a SystemExit: its number, 0 for None, 1 for anything else.
fn exit_code(py: Python<'_>, error: &PyErr) -> i32 {
    match error.value(py).getattr("code") {
        Ok(code) if code.is_none() => 0,
        Ok(code) => code.extract().unwrap_or(1),
        Err(_) => 1,
    }
}
