//! Steps of a loop's tasks that are made at once: the first one, and, on asyncio's own loop, those that a message of the
//! client's, or room for one, lets go on. They cost no turn of the loop.
//!
//! A task never steps by itself: it has its loop call the step soon, by `loop.call_soon`. Here that call is caught, and
//! made by us, in the context that it asks for. The step itself enters the task, so that `asyncio.current_task()` is
//! right. From Python 3.12 on, `asyncio.Task` makes its first step itself (`eager_start`).

use std::collections::VecDeque;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::python::attached::Attached;

/// Makes the steps of one loop's tasks, in a callback of the loop: no other task of it runs.
pub(super) struct Steps {
    event_loop: Py<PyAny>,
    /// `asyncio.Task`
    class: Py<PyAny>,
    /// The keyword arguments of each.
    arguments: Py<PyDict>,
    /// Whether a new task makes its first step itself.
    eager: bool,
    /// Whether the loop is asyncio's own, which takes longer for a turn than it takes to catch a step. uvloop does not:
    /// there an echo over a WebSocket costs 1.2 times as much if its steps are caught, on asyncio's loop 0.9 times.
    slow: bool,
    catcher: Py<Catcher>,
    /// The loop's attributes, where the catcher is put meanwhile.
    attributes: Py<PyDict>,
}

/// Stands for `loop.call_soon` while tasks ask for steps, which do nothing else meanwhile.
#[pyclass(frozen, module = "pywsgi")]
struct Catcher(Attached<VecDeque<Step>>);

/// What the loop was asked for.
struct Step {
    /// The callback, and its arguments.
    call: Py<PyTuple>,
    context: Option<Py<PyAny>>,
}

impl Steps {
    pub(super) fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        let eager = py.version_info() >= (3, 12);
        let arguments = PyDict::new(py);
        arguments.set_item("loop", event_loop)?;
        // Without a name each gets one with a number, which takes longer than it helps.
        arguments.set_item("name", "pywsgi")?;
        if eager {
            arguments.set_item("eager_start", true)?;
        }
        let asyncio = py.import("asyncio")?;
        Ok(Self {
            event_loop: event_loop.clone().unbind(),
            class: asyncio.getattr("Task")?.unbind(),
            arguments: arguments.unbind(),
            eager,
            slow: event_loop.is_instance(&asyncio.getattr("BaseEventLoop")?)?,
            catcher: Py::new(py, Catcher(Attached::default()))?,
            attributes: event_loop.getattr("__dict__")?.cast_into::<PyDict>()?.unbind(),
        })
    }

    /// A task of the coroutine, which has run its first step.
    pub(super) fn start<'py>(&self, coroutine: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        let make = || {
            let arguments = PyTuple::new(py, [&coroutine])?;
            self.class.bind(py).call(arguments, Some(self.arguments.bind(py)))
        };
        if self.eager {
            return make();
        }
        let task = self.catch(py, make)?;
        match self.make_caught(py)? {
            0 => Err(PyRuntimeError::new_err("a new task has not asked for its first step")),
            _ => Ok(task),
        }
    }

    /// Gives a future that waits for one its result, None, and has the tasks that wait for it go on: at once, or in the
    /// loop's next turn, whichever is faster.
    pub(super) fn resolve(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = future.py();
        let resolve = || future.call_method1(intern!(py, "set_result"), (py.None(),));
        if !self.slow {
            return resolve().map(drop);
        }
        self.catch(py, resolve)?;
        self.make_caught(py).map(drop)
    }

    /// What `act` gives; the steps that were asked for meanwhile are with the catcher.
    fn catch<'py>(
        &self,
        py: Python<'py>,
        act: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, attributes) = (intern!(py, "call_soon"), self.attributes.bind(py));
        // An application's own, if it has put one there.
        let before = attributes.get_item(key)?;
        attributes.set_item(key, &self.catcher)?;
        let result = act();
        match before {
            Some(before) => attributes.set_item(key, before)?,
            None => attributes.del_item(key)?,
        }
        result
    }

    /// Makes the steps that were caught, and says how many. An exception that one lets out is the loop's affair
    /// (SystemExit); the others are made nevertheless.
    fn make_caught(&self, py: Python<'_>) -> PyResult<usize> {
        let (mut made, mut result) = (0, Ok(()));
        loop {
            let step = self.catcher.get().0.borrow(py).pop_front();
            let Some(step) = step else { return result.map(|()| made) };
            result = result.and(self.make(py, step));
            made += 1;
        }
    }

    fn make(&self, py: Python<'_>, step: Step) -> PyResult<()> {
        let call = step.call.into_bound(py);
        let run = match step.context {
            Some(context) => context.bind(py).getattr(intern!(py, "run"))?,
            // No task's step, which has a context: an object's finalizer has run meanwhile, and asked the loop.
            None => self.event_loop.bind(py).getattr(intern!(py, "call_soon"))?,
        };
        run.call1(call).map(drop)
    }
}

#[pymethods]
impl Catcher {
    #[pyo3(signature = (*call, context=None))]
    fn __call__(&self, py: Python<'_>, call: Py<PyTuple>, context: Option<Py<PyAny>>) {
        self.0.borrow(py).push_back(Step { call, context });
    }
}
