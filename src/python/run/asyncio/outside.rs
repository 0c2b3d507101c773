//! A loop, as other threads know it ([`runtime::Loop`]).

use std::sync::{Arc, Weak};

use pyo3::intern;
use pyo3::prelude::*;

use super::LoopThread;
use crate::bridge::exchange::Exchange;
use crate::python::protocol::Call;
use crate::python::runtime::{self, Late};
use crate::python::shim;

impl runtime::Loop for LoopThread {
    fn imported(&self, py: Python<'_>, at: usize) -> PyResult<()> {
        let Some(objects) = self.objects.get() else { return Ok(()) };
        let begin = Bound::new(py, Begin(Weak::clone(&self.own), at))?;
        let event_loop = objects.event_loop.bind(py);
        event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (begin,)).map(drop)
    }

    fn place(&self, py: Python<'_>) -> PyResult<(Option<Arc<Exchange>>, String)> {
        let Some(objects) = self.objects.get() else { return Ok((None, String::new())) };
        let stack = self.thread_stack(py)?;
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

    fn stack(&self, py: Python<'_>, exchange: &Exchange, late: Late) -> PyResult<Option<String>> {
        let call = exchange.call().and_then(|number| self.call(py, number));
        let call = call.filter(|call| late == Late::Slow || call.get().take_stack(py));
        let Some(call) = call else { return Ok(None) };
        match call.get().task(py) {
            Some(task) => {
                let format_task = shim::function(py, "pywsgi._tasks", "format_task")?;
                format_task.call1((task,))?.extract().map(Some)
            }
            None if call.get().has_returned(py) => Ok(None),
            // It has not come back from its first step, in which it is no task yet.
            None => self.thread_stack(py).map(Some),
        }
    }
}

impl LoopThread {
    /// Where the loop's thread is.
    fn thread_stack(&self, py: Python<'_>) -> PyResult<String> {
        let Some(objects) = self.objects.get() else { return Ok(String::new()) };
        let format_stack = shim::function(py, "pywsgi._stacks", "format_stack")?;
        format_stack.call1((objects.ident,))?.extract()
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
