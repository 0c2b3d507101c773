//! A loop, as other threads know it ([`runtime::Loop`]).

use std::sync::{Arc, Weak};

use pyo3::intern;
use pyo3::prelude::*;

use super::LoopThread;
use crate::bridge::exchange::Exchange;
use crate::python::protocol::Call;
use crate::python::{runtime, shim};

impl runtime::Loop for LoopThread {
    fn imported(&self, py: Python<'_>, at: usize) -> PyResult<()> {
        let Some(objects) = self.objects.get() else { return Ok(()) };
        let begin = Bound::new(py, Begin(Weak::clone(&self.own), at))?;
        let event_loop = objects.event_loop.bind(py);
        event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (begin,)).map(drop)
    }

    fn place(&self, py: Python<'_>) -> PyResult<(Option<Arc<Exchange>>, String)> {
        let Some(objects) = self.objects.get() else { return Ok((None, String::new())) };
        let stack: String = shim::function(py, "pywsgi._stacks", "format_stack")?
            .call1((objects.ident,))?
            .extract()?;
        let current = py
            .import("asyncio")?
            .call_method1("current_task", (&objects.event_loop,))
            .ok()
            .filter(|task| !task.is_none());
        let calls = self.state(py).calls.all(py);
        let running = current.and_then(|current| {
            let runs = |call: &&Py<Call>| call.get().task(py).is_some_and(|task| task.is(&current));
            calls.iter().find(runs).map(|call| Arc::clone(call.get().exchange()))
        });
        Ok((running, stack))
    }

    fn stack(&self, py: Python<'_>, exchange: &Exchange) -> PyResult<Option<String>> {
        let call = exchange.call().and_then(|number| self.call(py, number));
        let call = call.filter(|call| call.get().take_stack(py));
        let Some(task) = call.and_then(|call| call.get().task(py)) else { return Ok(None) };
        shim::function(py, "pywsgi._tasks", "format_task")?.call1((task,))?.extract().map(Some)
    }
}

/// The application of that number has been imported.
#[pyclass(frozen, module = "pywsgi")]
struct Begin(Weak<LoopThread>, usize);

#[pymethods]
impl Begin {
    fn __call__(&self, py: Python<'_>) {
        let Self(thread, at) = self;
        let Some(thread) = thread.upgrade() else { return };
        let Some(runtime) = thread.runtime.upgrade() else { return };
        let Some(app) = runtime.apps.get(*at) else { return };
        if let Some(callable) = app.callable(py) {
            thread.readiness(py, &runtime, app, &callable);
        }
    }
}
