//! WSGI (PEP 3333): one call of an application.

mod debug;
mod early_hints;
mod environ;
mod file_wrapper;
mod input;
mod kit;
mod native;
mod output;
mod request;
mod response;
mod start_response;

use std::sync::Arc;

use pyo3::prelude::*;

use super::app::App;
use super::fork;
use super::logging;
use super::runtime::Runtime;
use crate::bridge::config::Debug;
use crate::bridge::exchange::Exchange;
use crate::python::run::dispatch;
pub(super) use kit::Kit;
pub(super) use output::Rest;
use response::Response;

/// Prepares the interpreter, once.
pub(super) fn prepare(py: Python<'_>) -> PyResult<()> {
    input::register(py)
}

/// Calls `callable` for `exchange` and sends its response; inline, what is left of it comes back. Faults are in
/// the log.
pub(super) fn call(
    py: Python<'_>,
    runtime: &Runtime,
    app: &App,
    callable: &Py<PyAny>,
    exchange: &Arc<Exchange>,
    kit: &mut Kit,
) -> Option<Rest> {
    let response = Arc::new(Response::new(exchange));
    let prepared = environ::make(py, runtime, app, exchange, kit).and_then(|environ| {
        let start_response = kit.start_response(py, &response)?;
        let callable = match exchange.location.debug {
            Debug::Validate => app.validated(py, callable)?,
            Debug::Off | Debug::Traceback => callable,
        };
        Ok((environ, start_response, callable.bind(py)))
    });
    let (environ, start_response, callable) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let what = format!("application \"{}\" cannot be called", app.target);
            logging::exception(py, runtime, &what, &error);
            dispatch::fail(exchange);
            return None;
        }
    };
    if !exchange.enter_application() {
        dispatch::fail(exchange);
        return None;
    }
    let result = callable.call1((environ, start_response));
    if fork::is_child() {
        fork::leave(py, runtime, result.err().as_ref());
    }
    output::respond(py, runtime, app, response, result)
}

/// Answers a request whose application could not be imported.
pub(super) fn refuse(
    py: Python<'_>,
    runtime: &Runtime,
    app: &App,
    exchange: &Arc<Exchange>,
) -> Option<Rest> {
    let response = Arc::new(Response::new(exchange));
    if !debug::show(py, runtime, exchange, &response, &app.report()) {
        response.fail(py);
    }
    Rest::of(py, response)
}
