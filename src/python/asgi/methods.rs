//! What an application has of its call: `receive` and `send`.

use pyo3::prelude::*;

use super::awaitable::Wait;
use super::call::{Call, What, in_child};
use super::{http, messages};
use crate::python::fork;

#[pymethods]
impl Call {
    fn receive(slf: Py<Self>) -> Wait {
        Wait::new(slf, What::Message, None)
    }

    fn send<'py>(
        slf: &Bound<'py, Self>,
        message: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, call) = (slf.py(), slf.get());
        if fork::is_child() {
            return Err(in_child());
        }
        // What waits for room goes first.
        let message = if call.waits_for_room(py) {
            Some(message.clone().unbind())
        } else if messages::send(slf, message)? {
            if call.gives_way(py) {
                return Ok(Bound::new(py, Wait::turn(slf.clone().unbind()))?.into_any());
            }
            return Ok(call.complete.bind(py).clone());
        } else {
            None
        };
        let wait = Wait::new(slf.clone().unbind(), What::Room, message);
        Ok(Bound::new(py, wait)?.into_any())
    }

    /// The shim: the application has returned.
    fn returned(&self, py: Python<'_>) {
        self.end(py, None);
    }

    /// The shim: the application has raised.
    fn failed(&self, py: Python<'_>, error: &Bound<'_, PyAny>) {
        self.end(py, Some(PyErr::from_value(error.clone())));
    }
}

impl Call {
    /// The loop's turn has ended: sends a head that has no body yet.
    pub(in crate::python) fn flush(&self, py: Python<'_>) {
        http::flush(py, self);
    }
}
