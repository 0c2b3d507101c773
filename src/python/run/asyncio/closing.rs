//! A loop's end: its tasks are cancelled, and the lifespans of its applications end, before the thread leaves it.

use std::sync::{Arc, Weak};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::LoopThread;
use crate::bridge::code::Code;
use crate::python::runtime::Runtime;
use crate::python::{logging, shim};

/// Seconds for which applications are waited for at nginx's fast shutdown.
const FAST: f64 = 0.3;

impl LoopThread {
    /// The worker ends: cancels what runs, ends the lifespans, and leaves the loop.
    pub(super) fn close(self: &Arc<Self>, py: Python<'_>, runtime: &Runtime) {
        let (calls, lifespans) = {
            let mut state = self.state(py);
            if std::mem::replace(&mut state.closing, true) {
                return;
            }
            (state.calls.all(py), state.startups.objects(py))
        };
        let tasks: Vec<Bound<'_, PyAny>> =
            calls.iter().filter_map(|call| call.get().task(py)).collect();
        for call in &calls {
            if let Err(error) = call.get().cancel(py) {
                let what = "a task cannot be cancelled";
                logging::exception(py, &runtime.shim, Code::LoopFault, what, &error);
            }
        }
        let ended = PyList::new(py, tasks).and_then(|tasks| {
            let limit = runtime.worker.is_fast().then_some(FAST);
            let end =
                shim::function(py, "pywsgi._asgi", "end")?.call1((tasks, lifespans, limit))?;
            let objects = self
                .objects
                .get()
                .ok_or_else(|| PyRuntimeError::new_err("the loop was not made"))?;
            let event_loop = objects.event_loop.bind(py);
            let task = event_loop.call_method1("create_task", (end,))?;
            let stop = Bound::new(py, Stop(Weak::clone(&self.own)))?;
            task.call_method1("add_done_callback", (stop,))
        });
        if let Err(error) = ended {
            let what = "the loop cannot end its applications";
            logging::exception(py, &runtime.shim, Code::LoopFault, what, &error);
            self.stop(py);
        }
    }

    fn stop(&self, py: Python<'_>) {
        if let Some(objects) = self.objects.get() {
            self.call_shim(py, "stop", (&objects.event_loop,));
        }
    }
}

/// The applications have ended.
#[pyclass(frozen, module = "pywsgi")]
struct Stop(Weak<LoopThread>);

#[pymethods]
impl Stop {
    fn __call__(&self, py: Python<'_>, _task: &Bound<'_, PyAny>) {
        if let Some(thread) = self.0.upgrade() {
            thread.stop(py);
        }
    }
}
