//! `wsgi_client_abort cancel` and `wsgi_interrupt_timeout`: an application is interrupted by an exception.

use pyo3::prelude::*;

use crate::bridge::exchange::Exchange;
use crate::python::thread_state;

/// Attendant: raises `exception` in the thread of `exchange`, if it still runs the application. Says whether it does.
///
/// A thread leaves its request attached. So it is still at it now, and calls [`end`] after this.
pub(in crate::python) fn interrupt(
    py: Python<'_>,
    exchange: &Exchange,
    exception: &Py<PyAny>,
) -> bool {
    let Some(ident) = exchange.thread().filter(|_| exchange.has_entered()) else { return false };
    exchange.set_interrupted();
    thread_state::raise_in(py, ident, exception);
    true
}

/// Thread, after its request: an exception that [`interrupt`] has set and that has not been raised yet is not the next
/// request's.
pub(super) fn end(py: Python<'_>, exchange: &Exchange, ident: u64) {
    if exchange.is_interrupted() {
        thread_state::take_back(py, ident);
    }
}
