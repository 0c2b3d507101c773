//! `environ["pywsgi.request"]`: what the application can know and ask about its request beyond environ.
//! python-shim's `_request.py` says what each means.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::start_response;
use crate::bridge::callbacks::Callback;
use crate::bridge::exchange::Job;
use crate::http::trailer;
use crate::python::shim;

#[pyclass(frozen, module = "pywsgi")]
pub(super) struct Request {
    /// None once the request is over and nobody has kept this object.
    job: Mutex<Option<Job>>,
}

impl Request {
    pub(super) fn new(job: &Job) -> Self {
        Self { job: Mutex::new(Some(Arc::clone(job))) }
    }

    /// Is about `job` from here on.
    pub(super) fn begin(&self, job: &Job) {
        *self.slot() = Some(Arc::clone(job));
    }

    /// Is about nothing any more.
    pub(super) fn end(&self) {
        *self.slot() = None;
    }

    fn job(&self) -> PyResult<Job> {
        let job = self.slot().clone();
        job.ok_or_else(|| PyRuntimeError::new_err("the request is over"))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Job>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Request {
    #[getter]
    fn id(&self) -> PyResult<String> {
        let head = &self.job()?.head;
        Ok(format!("{}-{}-{}", std::process::id(), head.connection, head.connection_requests))
    }

    #[getter]
    fn disconnected(&self) -> PyResult<bool> {
        Ok(self.job()?.gone().is_some())
    }

    #[getter]
    fn deadline(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let Some(left) = self.job()?.time_left() else { return Ok(None) };
        let now: f64 = py.import("time")?.call_method0("monotonic")?.extract()?;
        Ok(Some(now + left.as_secs_f64()))
    }

    fn on_disconnect(&self, callback: Py<PyAny>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(at_once) =
            self.job()?.on_gone(wrap(callback.clone_ref(py), "on_disconnect's callback"))
        {
            at_once.call();
        }
        Ok(callback)
    }

    fn after_response(&self, callback: Py<PyAny>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(at_once) =
            self.job()?.after(wrap(callback.clone_ref(py), "after_response's callback"))
        {
            at_once.call();
        }
        Ok(callback)
    }

    fn send_trailers(&self, fields: &Bound<'_, PyAny>) -> PyResult<()> {
        let trailers = start_response::fields(fields, "a trailer")?;
        for (name, value) in &trailers {
            trailer::check(name, value)
                .map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        self.job()?.output.set_trailers(trailers);
        Ok(())
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("<pywsgi.Request {}>", self.id()?))
    }
}

/// `callback` as something to call once on a Python thread; what it raises is logged after `what`.
pub(super) fn wrap(callback: Py<PyAny>, what: &'static str) -> Callback {
    Callback::new(move || {
        Python::attach(|py| {
            let called = shim::function(py, "pywsgi._callbacks", "run")
                .and_then(|run| run.call1((callback.bind(py), what)));
            if let Err(error) = called {
                // Only an interpreter that ends has no `run` any more.
                error.write_unraisable(py, Some(callback.bind(py)));
            }
            drop(callback);
        });
    })
}
