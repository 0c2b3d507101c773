//! An application has raised: what the log says of it.

use pyo3::prelude::*;

use super::app::App;
use super::client_gone::ClientGone;
use super::logging;
use super::shim::Shim;
use super::type_name::type_name;
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;

/// Logs what the application has raised: at `info` if it comes of its client that is gone, otherwise with its
/// traceback, at `error`. Returns what a page can show of it.
pub(super) fn log_raised(
    py: Python<'_>,
    shim: &Shim,
    app: &App,
    exchange: &Exchange,
    error: &PyErr,
) -> Option<String> {
    if error.is_instance_of::<ClientGone>(py) {
        let text = format!("application \"{}\": {}", app.target, error.value(py));
        logging::write(py, Code::WithoutClient, &text);
        return None;
    }
    // The application may raise another exception from it: that is the client's doing, too.
    if comes_of_client(py, error) {
        let what = format!("application \"{}\" raised, for its client is gone", app.target);
        logging::exception(py, shim, Code::RaisedWithoutClient, &what, error);
        return None;
    }
    exchange.set_exception(type_name(error.value(py)));
    let what = format!("application \"{}\" raised", app.target);
    Some(logging::exception(py, shim, Code::Raised, &what, error))
}

/// The same for a task: what was raised while a `ClientGone` was handled is the client's doing as well. Starlette raises
/// its own exception then.
pub(super) fn log_raised_in_task(
    py: Python<'_>,
    shim: &Shim,
    app: &App,
    exchange: &Exchange,
    error: &PyErr,
) -> Option<String> {
    let context = error.value(py).getattr("__context__");
    if context.is_ok_and(|context| context.is_instance_of::<ClientGone>()) {
        let what = format!("application \"{}\" raised, for its client is gone", app.target);
        logging::exception(py, shim, Code::RaisedWithoutClient, &what, error);
        return None;
    }
    log_raised(py, shim, app, exchange, error)
}

/// Is a `ClientGone` among the causes of the exception (`raise … from`)?
fn comes_of_client(py: Python<'_>, error: &PyErr) -> bool {
    let causes = std::iter::successors(error.cause(py), |cause| cause.cause(py));
    // A chain of causes may be a ring.
    causes.take(16).any(|cause| cause.is_instance_of::<ClientGone>(py))
}
