//! What `receive()` and `send()` return.
//!
//! Each behaves as a coroutine does (`collections.abc.Coroutine`), so that it can be awaited, and given to
//! `asyncio.create_task`. What waits for nothing is complete at once, and makes no future.

use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;

use super::call::{Call, Next, What, in_child};
use super::messages;
use crate::python::fork;

/// There is nothing to wait for, and nothing to return. One object serves all.
#[pyclass(frozen, module = "pywsgi", name = "complete")]
pub(super) struct Complete;

#[pymethods]
impl Complete {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self) -> Option<Py<PyAny>> {
        None
    }

    fn send(&self, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Err(thrown(kind, value, traceback))
    }

    fn close(&self) {}
}

/// Waits until its call can go on.
#[pyclass(module = "pywsgi", name = "wait")]
pub(super) struct Wait {
    call: Py<Call>,
    what: What,
    /// A message that could not be sent before the one that waits for room.
    message: Option<Py<PyAny>>,
    /// What the task waits for at the moment.
    future: Option<Py<PyAny>>,
    /// Other tasks of the loop have a turn first.
    turn: bool,
}

impl Wait {
    pub(super) fn new(call: Py<Call>, what: What, message: Option<Py<PyAny>>) -> Self {
        Self { call, what, message, future: None, turn: false }
    }

    /// Something has been sent, and before its task goes on the others have a turn.
    pub(super) fn turn(call: Py<Call>) -> Self {
        Self { turn: true, ..Self::new(call, What::Room, None) }
    }

    /// Goes on, if that is possible; otherwise gives the future that the task has to wait for, or None for a turn.
    fn step<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.forget(py);
        if fork::is_child() {
            return Err(in_child());
        }
        if std::mem::take(&mut self.turn) {
            return Ok(Some(a_turn(py)));
        }
        let call = self.call.bind(py);
        match self.what {
            What::Message => match messages::receive(py, call.get())? {
                // A coroutine returns by this exception.
                Next::Message(message) => {
                    return Err(PyStopIteration::new_err((message.unbind(),)));
                }
                Next::Turn => return Ok(Some(a_turn(py))),
                Next::Wait => {}
            },
            What::Room => {
                if messages::send_rest(py, call.get())? {
                    let message = self.message.take();
                    let sent =
                        message.map_or(Ok(true), |message| messages::send(call, message.bind(py)));
                    if sent? {
                        return Ok(None);
                    }
                }
            }
        }
        let future = call.get().future(py, self.what)?;
        // As `Future.__await__` does before it yields itself.
        future.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
        self.future = Some(future.clone().unbind());
        Ok(Some(future))
    }

    /// The future is not waited for any more.
    fn forget(&mut self, py: Python<'_>) {
        if let Some(future) = self.future.take() {
            self.call.get().forget(py, self.what, &future);
        }
    }
}

#[pymethods]
impl Wait {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.step(py)
    }

    fn send<'py>(
        &mut self,
        py: Python<'py>,
        _value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.step(py)?.ok_or_else(|| PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &mut self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.close(py);
        Err(thrown(kind, value, traceback))
    }

    fn close(&mut self, py: Python<'_>) {
        self.forget(py);
        self.message = None;
    }
}

/// What a task waits for that gives way once, as `asyncio.sleep(0)` does.
fn a_turn(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

/// The exception that the arguments of a coroutine's `throw` say.
fn thrown(
    kind: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
    traceback: Option<&Bound<'_, PyAny>>,
) -> PyErr {
    let error = match value {
        Some(value) if !value.is_none() => PyErr::from_value(value.clone()),
        // An instance, or a class that is called.
        _ => PyErr::from_value(kind.clone()),
    };
    if let Some(traceback) = traceback.and_then(|traceback| traceback.cast().ok()) {
        error.set_traceback(kind.py(), Some(traceback.clone()));
    }
    error
}
