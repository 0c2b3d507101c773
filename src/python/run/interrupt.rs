//! `wsgi_client_abort cancel`: an application is interrupted by an exception.

use pyo3::prelude::*;

use crate::bridge::exchange::Exchange;
use crate::python::shim::Shim;
use crate::python::thread_state;

/// Attendant: raises `pywsgi.ClientDisconnected` in the thread of `exchange`, if it still runs the application.
///
/// A thread leaves its request attached. So it is still at it now, and calls [`end`] after this.
pub(in crate::python) fn cancel(py: Python<'_>, shim: &Shim, exchange: &Exchange) {
    let Some(ident) = exchange.thread().filter(|_| exchange.has_entered()) else { return };
    exchange.set_cancelled();
    thread_state::raise_in(py, ident, &shim.disconnected);
}

/// Thread, after its request: an exception that [`cancel`] has set and that has not been raised yet is not the next
/// request's.
pub(super) fn end(py: Python<'_>, exchange: &Exchange, ident: u64) {
    if exchange.is_cancelled() {
        thread_state::take_back(py, ident);
    }
}
