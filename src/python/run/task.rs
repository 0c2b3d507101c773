//! Tasks that begin at once: one that never waits costs no turn of its loop.
//!
//! From Python 3.12 on, `asyncio.Task` does that itself (`eager_start`). Before, a new task has its loop call its first
//! step soon, by `loop.call_soon`, and does nothing else; here that call is caught, and made by us. The step itself
//! enters the task, so that `asyncio.current_task()` is right.

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::python::attached::Attached;

/// Makes the tasks of one loop, while no other task of it runs.
pub(super) struct TaskMaker {
    /// `asyncio.Task`
    class: Py<PyAny>,
    /// The keyword arguments of each.
    arguments: Py<PyDict>,
    /// Before Python 3.12: what catches the first step, and the loop's attributes, where it is put meanwhile.
    catching: Option<(Py<Catcher>, Py<PyDict>)>,
}

/// Stands for `loop.call_soon` while a task is made.
#[pyclass(frozen, module = "pywsgi")]
struct Catcher(Attached<Option<Caught>>);

/// A step, and the context that it runs in.
type Caught = (Py<PyAny>, Py<PyAny>);

impl TaskMaker {
    pub(super) fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        let arguments = PyDict::new(py);
        arguments.set_item("loop", event_loop)?;
        // Without a name each gets one with a number, which takes longer than it helps.
        arguments.set_item("name", "pywsgi")?;
        let catching = if py.version_info() >= (3, 12) {
            arguments.set_item("eager_start", true)?;
            None
        } else {
            let attributes = event_loop.getattr("__dict__")?.cast_into::<PyDict>()?;
            Some((Py::new(py, Catcher(Attached::default()))?, attributes.unbind()))
        };
        let class = py.import("asyncio")?.getattr("Task")?.unbind();
        Ok(Self { class, arguments: arguments.unbind(), catching })
    }

    /// A task of the coroutine, which has run its first step.
    pub(super) fn start<'py>(&self, coroutine: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        let make = || {
            let arguments = PyTuple::new(py, [&coroutine])?;
            self.class.bind(py).call(arguments, Some(self.arguments.bind(py)))
        };
        let Some((catcher, attributes)) = &self.catching else { return make() };
        let (key, attributes) = (intern!(py, "call_soon"), attributes.bind(py));
        // An application's own, if it has put one there.
        let before = attributes.get_item(key)?;
        attributes.set_item(key, catcher)?;
        let task = make();
        match before {
            Some(before) => attributes.set_item(key, before)?,
            None => attributes.del_item(key)?,
        }
        let task = task?;
        let caught = catcher.get().0.borrow(py).take();
        let (step, context) = caught.ok_or_else(|| {
            PyRuntimeError::new_err("a new task has not asked for its first step")
        })?;
        context.bind(py).call_method1(intern!(py, "run"), (step,))?;
        Ok(task)
    }
}

#[pymethods]
impl Catcher {
    #[pyo3(signature = (step, *, context))]
    fn __call__(&self, py: Python<'_>, step: Py<PyAny>, context: Py<PyAny>) {
        let before = self.0.borrow(py).replace((step, context));
        drop(before);
    }
}
