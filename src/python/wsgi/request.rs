//! `environ["pywsgi.request"]`: what the application can know and ask about its request beyond environ.
//! python-shim's `_request.py` says what each means.

use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::start_response;
use crate::bridge::callbacks::Callback;
use crate::bridge::exchange::Exchange;
use crate::http::trailer;
use crate::python::attached::Attached;
use crate::python::{fork, logging, shim};

#[pyclass(frozen, module = "pywsgi")]
pub(super) struct Request {
    /// `None` once the request is over and nobody has kept this object.
    exchange: Attached<Option<Arc<Exchange>>>,
}

impl Request {
    pub(super) fn new(exchange: &Arc<Exchange>) -> Self {
        Self { exchange: Attached::new(Some(Arc::clone(exchange))) }
    }

    /// Is about `exchange` from here on.
    pub(super) fn begin(&self, py: Python<'_>, exchange: &Arc<Exchange>) {
        *self.exchange.borrow(py) = Some(Arc::clone(exchange));
    }

    /// Is about no request any more.
    pub(super) fn end(&self, py: Python<'_>) {
        let exchange = self.exchange.borrow(py).take();
        drop(exchange);
    }

    /// Fails in a forked child, which has a copy of the request, and perhaps of a lock that is held for ever.
    fn exchange(&self, py: Python<'_>) -> PyResult<Arc<Exchange>> {
        if fork::is_child() {
            return Err(PyRuntimeError::new_err(
                "the request is the parent's: a forked child can ask for nothing but its id",
            ));
        }
        self.any_exchange(py)
    }

    fn any_exchange(&self, py: Python<'_>) -> PyResult<Arc<Exchange>> {
        let exchange = self.exchange.borrow(py).clone();
        exchange.ok_or_else(|| PyRuntimeError::new_err("the request is over"))
    }
}

#[pymethods]
impl Request {
    #[getter]
    fn id(&self, py: Python<'_>) -> PyResult<String> {
        let exchange = self.any_exchange(py)?;
        Ok(logging::request_id(&exchange))
    }

    #[getter]
    fn disconnected(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.exchange(py)?.gone().is_some())
    }

    #[getter]
    fn deadline(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let Some(left) = self.exchange(py)?.time_left() else { return Ok(None) };
        let now: f64 = py.import("time")?.call_method0("monotonic")?.extract()?;
        Ok(Some(now + left.as_secs_f64()))
    }

    fn on_disconnect(&self, callback: Py<PyAny>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let exchange = self.exchange(py)?;
        check_count(exchange.callbacks_waiting().0, "on_disconnect")?;
        if let Some(at_once) =
            exchange.on_gone(wrap(callback.clone_ref(py), "on_disconnect's callback"))
        {
            at_once.call();
        }
        Ok(callback)
    }

    fn after_response(&self, callback: Py<PyAny>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let exchange = self.exchange(py)?;
        check_count(exchange.callbacks_waiting().1, "after_response")?;
        if let Some(at_once) =
            exchange.after(wrap(callback.clone_ref(py), "after_response's callback"))
        {
            at_once.call();
        }
        Ok(callback)
    }

    fn send_trailers(&self, py: Python<'_>, fields: &Bound<'_, PyAny>) -> PyResult<()> {
        let trailers = start_response::fields(fields, "a trailer")?;
        for (name, value) in &trailers {
            trailer::check(name, value)
                .map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        self.exchange(py)?.output.set_trailers(trailers);
        Ok(())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<pywsgi.Request {}>", self.id(py)?))
    }
}

/// The limit of callbacks of each kind that wait for one request. An endless stream that registers one for each of its
/// events would fill the memory.
const MAX_CALLBACKS: usize = 10_000;

fn check_count(waiting: usize, method: &str) -> PyResult<()> {
    if waiting >= MAX_CALLBACKS {
        return Err(PyRuntimeError::new_err(format!(
            "{method}: {MAX_CALLBACKS} callbacks of this request wait already; register one that does the \
             work of all"
        )));
    }
    Ok(())
}

/// `callback` as something to call once on a Python thread; what it raises is logged after `what`.
fn wrap(callback: Py<PyAny>, what: &'static str) -> Callback {
    Callback::new(move || {
        Python::attach(|py| {
            let called = shim::function(py, "pywsgi._callbacks", "run")
                .and_then(|run| run.call1((callback.bind(py), what)));
            if let Err(error) = called {
                // `run` is missing only if the interpreter is ending.
                error.write_unraisable(py, Some(callback.bind(py)));
            }
            drop(callback);
        });
    })
}
