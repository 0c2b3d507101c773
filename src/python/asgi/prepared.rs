//! What all calls of a worker share.

use std::sync::Arc;

use pyo3::prelude::*;

use super::awaitable::Complete;
use super::call::Call;
use crate::bridge::exchange::Exchange;
use crate::python::app::App;
use crate::python::context::ContextVar;
use crate::python::logging;
use crate::python::shim;
use crate::python::validated::Validated;

pub(in crate::python) struct Prepared {
    /// What a `send` that waits for nothing returns.
    pub(super) complete: Py<PyAny>,
    /// `pywsgi._asgi.run`
    pub(super) run: Py<PyAny>,
    /// `asyncio.CancelledError`
    cancelled_error: Py<PyAny>,
    /// The call of the current context, for the log.
    pub(super) current: Arc<ContextVar>,
    /// Each application's callable within the checks of `asgi_debug validate`.
    validated: Validated,
}

/// Prepares the interpreter, once, for that many applications.
pub(in crate::python) fn prepare(py: Python<'_>, apps: usize) -> PyResult<Prepared> {
    let current = Arc::new(ContextVar::new(py, c"pywsgi.call")?);
    let of_context = Arc::clone(&current);
    shim::function(py, "pywsgi._streams", "keep_lines_by")?.call1((current.object(),))?;
    logging::look_in_context(Box::new(move |py| current_exchange(py, &of_context)));
    Ok(Prepared {
        complete: Py::new(py, Complete)?.into_any(),
        run: shim::function(py, "pywsgi._asgi", "run")?.unbind(),
        cancelled_error: py.import("asyncio")?.getattr("CancelledError")?.unbind(),
        current,
        validated: Validated::new("pywsgi._asgi_validate", apps),
    })
}

impl Prepared {
    /// `callable` as a location wants it called.
    pub(super) fn callable<'a>(
        &'a self,
        py: Python<'_>,
        app: &App,
        callable: &'a Py<PyAny>,
        exchange: &Exchange,
    ) -> PyResult<&'a Py<PyAny>> {
        self.validated.callable(py, app, callable, exchange.location.debug)
    }

    /// Whether a task has ended with `error` because it was cancelled.
    pub(super) fn is_cancellation(&self, py: Python<'_>, error: &PyErr) -> bool {
        error.is_instance(py, self.cancelled_error.bind(py))
    }
}

/// The request for which the calling thread runs Python now, by the context that it runs in.
fn current_exchange(py: Python<'_>, current: &ContextVar) -> Option<Arc<Exchange>> {
    let call = current.get(py).ok().flatten()?;
    let call = call.cast_into::<Call>().ok()?;
    Some(Arc::clone(call.get().exchange()))
}
