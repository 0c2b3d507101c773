//! ASGI (version 3): calls of an application, each in a task of its loop.

mod awaitable;
mod call;
mod headers;
mod http;
mod lifespan;
mod message;
mod messages;
mod methods;
mod prepared;
mod scope;
mod socket;
mod tls;
mod websocket;

use std::sync::{Arc, Weak};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::app::App;
use super::debug;
use super::fault::log_raised_in_task;
use super::logging;
use super::shim::Shim;
use crate::bridge::callbacks::Gone;
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
pub(super) use call::{Call, Host};
pub(super) use lifespan::{Lifespan, Stage};
pub(super) use prepared::{Prepared, prepare};
pub(super) use scope::Kit;

/// An application that can be called.
pub(super) struct Callee<'a, 'py> {
    pub(super) app: &'a App,
    pub(super) callable: &'a Py<PyAny>,
    /// What its lifespan has kept for its requests.
    pub(super) state: Option<Bound<'py, PyDict>>,
}

/// Makes the call of a request: gives it and the coroutine that runs it.
pub(super) fn call<'py>(
    py: Python<'py>,
    asgi: &Prepared,
    callee: &Callee<'_, 'py>,
    exchange: &Arc<Exchange>,
    host: Weak<dyn Host>,
    kit: &mut Kit,
) -> PyResult<(Bound<'py, Call>, Bound<'py, PyAny>)> {
    let Callee { app, callable, state } = callee;
    let callable = asgi.callable(py, app, callable, exchange)?;
    let (scope, websocket) = match exchange.socket {
        Some(_) => {
            let scope = kit.websocket(py, app, exchange, state.as_ref())?;
            (scope, Some(kit.socket()))
        }
        None => (kit.http(py, app, exchange, state.as_ref())?, None),
    };
    let complete = asgi.complete.clone_ref(py);
    let call = Bound::new(py, Call::new(exchange, host, complete, websocket))?;
    let receive = call.getattr(intern!(py, "receive"))?;
    let send = call.getattr(intern!(py, "send"))?;
    let coroutine = asgi.run.bind(py).call1((&call, callable, scope, receive, send))?;
    Ok((call, coroutine))
}

/// Runs `act` in a context in which the log knows the call.
pub(super) fn within<T>(
    py: Python<'_>,
    asgi: &Prepared,
    call: &Bound<'_, Call>,
    act: impl FnOnce() -> PyResult<T>,
) -> PyResult<T> {
    let before = asgi.current.set(py, call)?;
    let result = act();
    asgi.current.reset(py, &before)?;
    result
}

/// The application has returned, or raised: ends its response, if it has not. Faults are logged.
pub(super) fn end(
    py: Python<'_>,
    asgi: &Prepared,
    shim: &Shim,
    app: &App,
    call: &Call,
    error: Option<&PyErr>,
) {
    let (exchange, response) = (call.exchange(), call.response());
    let report = match error {
        Some(error) if call.is_cancelled(py) && asgi.is_cancellation(py, error) => {
            say_cancelled(py, app, exchange);
            None
        }
        Some(error) => log_raised_in_task(py, shim, app, exchange, error),
        None => match call.unfinished(py) {
            Some(unfinished) => log_unfinished(py, app, call, unfinished),
            // What had no room when the application returned is sent later, and the end after it.
            None => return,
        },
    };
    if let Some(websocket) = &call.websocket {
        if websocket::end(py, call, websocket, error.is_some()) {
            return;
        }
    }
    if let Some(report) = report {
        if debug::show(py, shim, exchange, response, &report) {
            return;
        }
    }
    response.fail(py);
}

/// Logs what the application has left undone, if somebody waits for it. Returns what a page can show of it.
fn log_unfinished(py: Python<'_>, app: &App, call: &Call, unfinished: &str) -> Option<String> {
    if is_open(py, call) || call.is_excused(py) {
        return None;
    }
    let websocket = call.websocket.as_ref();
    let unanswered = websocket.and_then(|websocket| websocket::unanswered(py, websocket));
    let text = format!("application \"{}\" {}", app.target, unanswered.unwrap_or(unfinished));
    logging::write(py, Code::RuleBroken, &text);
    Some(text)
}

/// Whether it is the call of a WebSocket that was accepted.
fn is_open(py: Python<'_>, call: &Call) -> bool {
    call.websocket.as_ref().is_some_and(|websocket| websocket.is_accepted(py))
}

/// Answers a request whose application cannot be called, as `report` says.
pub(super) fn refuse(py: Python<'_>, shim: &Shim, exchange: &Arc<Exchange>, report: &str) {
    let response = super::response::Response::new(exchange);
    if !debug::show(py, shim, exchange, &response, report) {
        response.fail(py);
    }
}

fn say_cancelled(py: Python<'_>, app: &App, exchange: &Exchange) {
    let why = match exchange.gone() {
        _ if exchange.is_overdue() => "asgi_timeout",
        Some(Gone::Client) => "asgi_client_abort cancel",
        Some(Gone::Answered | Gone::TimedOut) | None => "the worker exits",
    };
    let text = format!("application \"{}\": its task was cancelled ({why})", app.target);
    logging::write(py, Code::TaskCancelled, &text);
}
