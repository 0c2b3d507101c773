//! WSGI (PEP 3333): one call of an application.

mod early_hints;
mod environ;
mod file_wrapper;
mod input;
mod kit;
mod native;
mod output;
mod prepared;
mod request;
mod request_body;
mod start_response;
mod template;

use std::sync::Arc;

use pyo3::prelude::*;

use super::app::App;
use super::child;
use super::debug;
use super::logging;
use super::response::Response;
use super::shim::Shim;
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
pub(super) use kit::Kit;
pub(super) use output::Suspended;
pub(super) use prepared::{Prepared, prepare};

/// Calls `callable` for `exchange`, and sends its response. Inline, the response may be suspended. Faults are logged.
pub(super) fn call(
    py: Python<'_>,
    wsgi: &Prepared,
    shim: &Shim,
    app: &App,
    callable: &Py<PyAny>,
    exchange: &Arc<Exchange>,
    kit: &mut Kit,
) -> Option<Suspended> {
    let response = Arc::new(Response::new(exchange));
    let prepared = environ::make(py, wsgi, app, exchange, kit).and_then(|environ| {
        let start_response = kit.start_response(py, &response)?;
        let callable = wsgi.validated.callable(py, app, callable, exchange.location.debug)?;
        Ok((environ, start_response, callable.bind(py)))
    });
    let (environ, start_response, callable) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let what = format!("application \"{}\" cannot be called", app.target);
            logging::exception(py, shim, Code::NotCallable, &what, &error);
            response.fail(py);
            return None;
        }
    };
    if !exchange.enter_application() {
        response.fail(py);
        return None;
    }
    let result = callable.call1((environ, start_response));
    child::end_here(py, shim, result.as_ref().err());
    output::respond(py, wsgi, shim, app, response, result)
}

/// Answers a request whose application could not be imported.
pub(super) fn refuse(
    py: Python<'_>,
    shim: &Shim,
    app: &App,
    exchange: &Arc<Exchange>,
) -> Option<Suspended> {
    let response = Arc::new(Response::new(exchange));
    if !debug::show(py, shim, exchange, &response, &app.report()) {
        response.fail(py);
    }
    Suspended::of(py, response)
}
