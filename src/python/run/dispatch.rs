//! One request on its thread: through the application, and to the end of its response.

use std::sync::Arc;

use pyo3::prelude::*;

use super::interrupt;
use crate::bridge::callbacks::Callback;
use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::output::parts::End;
use crate::python::app::Admission;
use crate::python::child;
use crate::python::guard;
use crate::python::imports;
use crate::python::logging;
use crate::python::protocol::{Kit, Suspended};
use crate::python::runtime::Runtime;
use crate::python::shim::Shim;

/// Runs the application for `exchange`. Afterwards the response has ended, or the exchange waits for its
/// application's import, or, inline alone, the response is suspended. `ident` is `threading.get_ident()` of a pool's
/// thread.
pub(in crate::python) fn run(
    py: Python<'_>,
    runtime: &Arc<Runtime>,
    exchange: &Arc<Exchange>,
    ident: u64,
    kit: &mut Kit,
) -> Option<Suspended> {
    let shim = &runtime.shim;
    if exchange.is_done() {
        logging::enter(exchange);
        follow_up(py, shim, exchange, exchange.take_after());
        logging::leave(py, shim);
        return None;
    }
    let Some(app) = runtime.apps.get(exchange.location.app) else {
        fail(exchange);
        return None;
    };
    let callable = match app.admit(py, exchange) {
        Admission::Ready(callable) => Some(callable),
        Admission::Refused => None,
        Admission::Waits => return None,
        Admission::Begins => {
            imports::import_again(runtime, app.at);
            return None;
        }
    };
    if !exchange.start(ident) {
        return None;
    }
    let suspended = on_behalf(py, shim, exchange, ident, || match callable {
        Some(callable) => runtime.protocols.call(py, shim, app, &callable, exchange, kit),
        None => runtime.protocols.refuse(py, shim, app, exchange),
    });
    kit.release(py);
    suspended
}

/// Resumes a response.
pub(in crate::python) fn resume(
    py: Python<'_>,
    runtime: &Runtime,
    exchange: &Arc<Exchange>,
    suspended: Suspended,
) -> Option<Suspended> {
    let shim = &runtime.shim;
    // An application that runs inline is not interrupted, so it needs no ident.
    on_behalf(py, shim, exchange, 0, || {
        if exchange.gone().is_some() {
            call_back(py, shim, exchange.take_on_gone());
        }
        let app = runtime.apps.get(exchange.location.app)?;
        suspended.resume(py, shim, app)
    })
}

/// Runs a part of the application: the last one, unless the response is suspended.
fn on_behalf(
    py: Python<'_>,
    shim: &Shim,
    exchange: &Arc<Exchange>,
    ident: u64,
    act: impl FnOnce() -> Option<Suspended>,
) -> Option<Suspended> {
    logging::enter(exchange);
    if exchange.worker.config.measures_cpu {
        exchange.timings.begin_cpu();
    }
    let ran = guard::run(act);
    exchange.timings.note_cpu();
    child::end_here(py, shim, None);
    let suspended = ran.unwrap_or_else(|_| {
        fail(exchange);
        None
    });
    if suspended.is_none() {
        let due = exchange.done();
        interrupt::end(py, exchange, ident);
        if !due.on_gone.is_empty() {
            call_back(py, shim, due.on_gone);
        }
        follow_up(py, shim, exchange, due.after);
    }
    logging::leave(py, shim);
    suspended
}

/// Calls what comes after the response.
fn follow_up(py: Python<'_>, shim: &Shim, exchange: &Exchange, callbacks: Vec<Callback>) {
    if callbacks.is_empty() {
        return;
    }
    call_back(py, shim, callbacks);
    exchange.followed_up();
}

/// Calls each. If one of them forks, the child ends after it.
pub(in crate::python) fn call_back(py: Python<'_>, shim: &Shim, callbacks: Vec<Callback>) {
    for callback in callbacks {
        // A panic is in the log; the next one follows.
        let _panicked = guard::run(|| callback.call());
        child::end_here(py, shim, None);
    }
}

/// Ends the response as one that failed. A request that has ended meanwhile wants no answer.
pub(in crate::python) fn fail(exchange: &Exchange) {
    let _gone = exchange.end(None, End::Failed);
}
