//! One request on its thread: through the application, and to the end of its response.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::bridge::callbacks::Callback;
use crate::bridge::exchange::Exchange;
use crate::bridge::log::Level;
use crate::bridge::panics;
use crate::bridge::pipe::output::End;
use crate::python::app::Admission;
use crate::python::attendant;
use crate::python::fork;
use crate::python::logging;
use crate::python::runtime::Runtime;
use crate::python::wsgi::{self, Kit, Rest};

/// Runs the application for `exchange`. Whatever happens, the exchange has an end afterwards, or waits for its
/// application's import, or, for the executor `inline` alone, has a rest to go on with. `ident` is `threading.get_ident()` of a pool's thread.
pub(in crate::python) fn run(
    py: Python<'_>,
    runtime: &Runtime,
    exchange: &Arc<Exchange>,
    ident: u64,
    kit: &mut Kit,
) -> Option<Rest> {
    if exchange.is_done() {
        logging::enter(exchange);
        follow_up(py, runtime, exchange, exchange.take_after());
        logging::leave(py, runtime);
        return None;
    }
    let Some(app) = runtime.apps.get(exchange.location.app) else {
        fail(exchange);
        return None;
    };
    let callable = match app.admit(py, runtime, exchange) {
        Admission::Ready(callable) => Some(callable),
        Admission::Refused => None,
        Admission::Waits => return None,
    };
    if !exchange.start(ident) {
        return None;
    }
    let rest = on_behalf(py, runtime, exchange, ident, || match callable {
        Some(callable) => wsgi::call(py, runtime, app, callable, exchange, kit),
        None => wsgi::refuse(py, runtime, app, exchange),
    });
    kit.release(py);
    rest
}

/// Goes on with the response of an application that was left in its middle.
pub(in crate::python) fn go_on(
    py: Python<'_>,
    runtime: &Runtime,
    exchange: &Arc<Exchange>,
    rest: Rest,
) -> Option<Rest> {
    // Nobody interrupts an application that runs inline.
    on_behalf(py, runtime, exchange, 0, || {
        if exchange.gone().is_some() {
            call_back(py, runtime, exchange.take_on_gone());
        }
        rest.go_on(py, runtime)
    })
}

/// Runs a part of the application, the last one where no rest comes back.
fn on_behalf(
    py: Python<'_>,
    runtime: &Runtime,
    exchange: &Arc<Exchange>,
    ident: u64,
    act: impl FnOnce() -> Option<Rest>,
) -> Option<Rest> {
    logging::enter(exchange);
    let ran = panics::catch(act);
    if fork::is_child() {
        fork::leave(py, runtime, None);
    }
    let rest = ran.unwrap_or_else(|panicked| {
        logging::write(py, Level::Alert, &panicked.to_string());
        fail(exchange);
        None
    });
    // PyO3 has caught it and made a Python exception of it, with which the application did what it liked.
    if let Some(panicked) = panics::take() {
        logging::write(py, Level::Alert, &panicked.to_string());
    }
    if rest.is_none() {
        let due = exchange.done();
        attendant::calm(py, exchange, ident);
        if !due.on_gone.is_empty() {
            call_back(py, runtime, due.on_gone);
        }
        follow_up(py, runtime, exchange, due.after);
    }
    logging::leave(py, runtime);
    rest
}

/// Does what is left to do after the response.
fn follow_up(
    py: Python<'_>,
    runtime: &Runtime,
    exchange: &Arc<Exchange>,
    callbacks: Vec<Callback>,
) {
    if callbacks.is_empty() {
        return;
    }
    call_back(py, runtime, callbacks);
    exchange.followed_up();
}

/// Calls each; a child that one of them forks ends with that one.
pub(in crate::python) fn call_back(py: Python<'_>, runtime: &Runtime, callbacks: Vec<Callback>) {
    for callback in callbacks {
        let ran = panics::catch(|| callback.call());
        if fork::is_child() {
            fork::leave(py, runtime, None);
        }
        if let Err(panicked) = ran {
            logging::write(py, Level::Alert, &panicked.to_string());
        }
    }
}

/// Ends the response as one that failed. A request that has ended meanwhile wants no answer.
pub(in crate::python) fn fail(exchange: &Exchange) {
    let _gone = exchange.end(None, End::Failed);
}
