//! `environ["pywsgi.request"]`: what the application can know and ask about its request beyond environ.
//! python-shim's `_request.py` says what each means.

use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::start_response;
use crate::bridge::callbacks::Callback;
use crate::bridge::exchange::Job;
use crate::http::trailer;
use crate::python::attached::Attached;
use crate::python::{fork, shim};

#[pyclass(frozen, module = "pywsgi")]
pub(super) struct Request {
    /// None once the request is over and nobody has kept this object.
    job: Attached<Option<Job>>,
}

impl Request {
    pub(super) fn new(job: &Job) -> Self {
        Self { job: Attached::new(Some(Arc::clone(job))) }
    }

    /// Is about `job` from here on.
    pub(super) fn begin(&self, py: Python<'_>, job: &Job) {
        *self.job.borrow(py) = Some(Arc::clone(job));
    }

    /// Is about nothing any more.
    pub(super) fn end(&self, py: Python<'_>) {
        let job = self.job.borrow(py).take();
        drop(job);
    }

    /// Not in a forked child: it has a copy of the request, and perhaps of its locks, held for ever.
    fn job(&self, py: Python<'_>) -> PyResult<Job> {
        if fork::is_child() {
            return Err(PyRuntimeError::new_err(
                "the request is the parent's: a forked child can ask for nothing but its id",
            ));
        }
        self.any_job(py)
    }

    fn any_job(&self, py: Python<'_>) -> PyResult<Job> {
        let job = self.job.borrow(py).clone();
        job.ok_or_else(|| PyRuntimeError::new_err("the request is over"))
    }
}

#[pymethods]
impl Request {
    #[getter]
    fn id(&self, py: Python<'_>) -> PyResult<String> {
        let head = &self.any_job(py)?.head;
        Ok(format!("{}-{}-{}", std::process::id(), head.connection, head.connection_requests))
    }

    #[getter]
    fn disconnected(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.job(py)?.gone().is_some())
    }

    #[getter]
    fn deadline(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let Some(left) = self.job(py)?.time_left() else { return Ok(None) };
        let now: f64 = py.import("time")?.call_method0("monotonic")?.extract()?;
        Ok(Some(now + left.as_secs_f64()))
    }

    fn on_disconnect(&self, callback: Py<PyAny>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let job = self.job(py)?;
        check_count(job.callbacks_waiting().0, "on_disconnect")?;
        if let Some(at_once) = job.on_gone(wrap(callback.clone_ref(py), "on_disconnect's callback"))
        {
            at_once.call();
        }
        Ok(callback)
    }

    fn after_response(&self, callback: Py<PyAny>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let job = self.job(py)?;
        check_count(job.callbacks_waiting().1, "after_response")?;
        if let Some(at_once) = job.after(wrap(callback.clone_ref(py), "after_response's callback"))
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
        self.job(py)?.output.set_trailers(trailers);
        Ok(())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<pywsgi.Request {}>", self.id(py)?))
    }
}

/// So many callbacks of each kind may wait for one request. A stream without an end that registers one for each of
/// its events would fill the memory.
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
                // Only an interpreter that ends has no `run` any more.
                error.write_unraisable(py, Some(callback.bind(py)));
            }
            drop(callback);
        });
    })
}
