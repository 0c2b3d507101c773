//! Python's lines for nginx's error log, with the request that the calling thread runs.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;

use super::fork;
use super::runtime::Runtime;
use crate::bridge::events::{Level, LogLine};
use crate::bridge::exchange::Job;
use crate::bridge::worker::Worker;

thread_local! {
    /// The request that this thread runs.
    static REQUEST: RefCell<Option<Job>> = const { RefCell::new(None) };
    /// This thread has written a line that is not finished.
    static UNFINISHED: Cell<bool> = const { Cell::new(false) };
}

static WORKER: OnceLock<Arc<Worker>> = OnceLock::new();

/// Lines go to this worker's event loop from now on.
pub(super) fn connect(worker: &Arc<Worker>) {
    // A process has one worker; a second call would bring the same.
    let _first = WORKER.set(Arc::clone(worker));
}

/// From here on the thread's lines carry the context of `request`.
pub(super) fn enter(request: &Job) {
    REQUEST.set(Some(Arc::clone(request)));
}

/// The request is over: what the thread has written of a line is one.
pub(super) fn leave(py: Python<'_>, runtime: &Runtime) {
    if UNFINISHED.replace(false) {
        if let Err(error) = runtime.errors.call_method0(py, pyo3::intern!(py, "release")) {
            write(py, Level::Error, &format!("an unfinished line is lost: {error}"));
        }
    }
    REQUEST.set(None);
}

/// Logs `text`, line by line.
pub(super) fn write(py: Python<'_>, level: Level, text: &str) {
    for line in text.lines() {
        write_line(py, level, line.to_owned());
    }
}

fn write_line(py: Python<'_>, level: Level, text: String) {
    if fork::is_child() {
        write_directly(&format!("[{level:?}] forked child {}: {text}", std::process::id()));
        return;
    }
    let Some(worker) = WORKER.get() else { return };
    let line = LogLine { level, request: REQUEST.with_borrow(Option::clone), text };
    if let Err(line) = worker.events.try_log(line) {
        if worker.events.is_busy() {
            // Nobody makes room meanwhile.
            write_directly(&format!("[{level:?}] {}: {}", std::process::id(), line.text));
            return;
        }
        py.detach(|| worker.events.log(line));
    }
}

/// Writes to the standard error of nginx's processes, which is its error log.
fn write_directly(text: &str) {
    // Where that cannot be written there is nobody left to be told.
    let _lost = writeln!(std::io::stderr(), "{text}");
}

/// Logs an exception with its traceback, and gives that back.
pub(super) fn exception(py: Python<'_>, runtime: &Runtime, what: &str, error: &PyErr) -> String {
    exception_at(py, runtime, Level::Error, what, error)
}

/// The same at another level.
pub(super) fn exception_at(
    py: Python<'_>,
    runtime: &Runtime,
    level: Level,
    what: &str,
    error: &PyErr,
) -> String {
    let report = traceback(py, runtime, error);
    write(py, level, what);
    write(py, level, &report);
    report
}

/// An exception with its traceback, as Python prints it.
pub(super) fn traceback(py: Python<'_>, runtime: &Runtime, error: &PyErr) -> String {
    // `into_value` gives the exception its traceback, which CPython keeps apart before 3.12.
    match runtime.format_exception.call1(py, (error.clone_ref(py).into_value(py),)) {
        Ok(text) => text.to_string(),
        Err(_) => error.to_string(),
    }
}

/// The built-in module that the shim logs with.
#[pymodule]
pub(super) mod _pywsgi {
    use super::{Level, PyResult, Python, UNFINISHED, pyfunction, write_line};

    /// One line to nginx's error log, at nginx's level.
    #[pyfunction]
    fn log(py: Python<'_>, level: u8, line: String) -> PyResult<()> {
        write_line(py, Level::from_number(level), line);
        Ok(())
    }

    /// The calling thread has begun a line.
    #[pyfunction]
    fn unfinished() {
        UNFINISHED.set(true);
    }
}
