//! Python's lines for nginx's error log, with the request that the calling thread runs.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;

use super::fork;
use super::hooks;
use super::runtime::Runtime;
use super::signals;
use crate::bridge::exchange::Exchange;
use crate::bridge::log::{self, About, Level, LogLine};
use crate::bridge::worker::Worker;

thread_local! {
    /// What this thread does: it runs a request, or imports an application.
    static ABOUT: RefCell<About> = const { RefCell::new(About::Worker) };
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
pub(super) fn enter(request: &Arc<Exchange>) {
    ABOUT.set(About::Request(Arc::clone(request)));
}

/// The request is over: what the thread has written of a line is one.
pub(super) fn leave(py: Python<'_>, runtime: &Runtime) {
    if UNFINISHED.replace(false) {
        if let Err(error) = runtime.errors.call_method0(py, pyo3::intern!(py, "release")) {
            write(py, Level::Error, &format!("an unfinished line is lost: {error}"));
        }
    }
    ABOUT.set(About::Worker);
}

/// This thread imports that application, until what this gives is dropped: its lines are that application's.
pub(super) fn importing(app: usize) -> impl Drop {
    struct Importing;

    impl Drop for Importing {
        fn drop(&mut self) {
            ABOUT.set(About::Worker);
        }
    }

    ABOUT.set(About::App(app));
    Importing
}

/// Does the event loop's thread run an application now?
pub(super) fn is_in_application() -> bool {
    WORKER.get().is_some_and(|worker| worker.events.is_busy())
}

/// What the calling thread does, to be added to a line that the event loop does not write.
fn whereabouts() -> String {
    // The thread may be about to end, and have none any more.
    let about = ABOUT.try_with(|about| about.try_borrow().ok().map(|about| about.clone()));
    let target = |app| WORKER.get().map_or("", |worker| worker.target(app));
    match about {
        Ok(Some(About::App(app))) => {
            format!(", while application \"{}\" was imported", target(app))
        }
        Ok(Some(About::Request(exchange))) => {
            format!(
                ", by application \"{}\", {}",
                target(exchange.location.app),
                exchange.head.context()
            )
        }
        Ok(Some(About::Worker) | None) | Err(_) => String::new(),
    }
}

/// The last line of a worker: its event loop will not come to writing it.
pub(super) fn write_last(what: &str) {
    let mut time = [0; 32];
    // SAFETY: the structures are this function's own; strftime is told how much room there is.
    let len = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const now, &raw mut parts);
        let format = c"%Y/%m/%d %H:%M:%S".as_ptr();
        libc::strftime(time.as_mut_ptr().cast(), time.len(), format, &raw const parts)
    };
    let time = String::from_utf8_lossy(time.get(..len).unwrap_or_default()).into_owned();
    write_directly(&format!(
        "{time} [error] {pid}#{pid}: {what}{}",
        whereabouts(),
        pid = std::process::id()
    ));
}

/// Logs `text`, line by line, as what the calling thread does.
pub(super) fn write(py: Python<'_>, level: Level, text: &str) {
    let about = ABOUT.with_borrow(About::clone);
    write_about(py, level, &about, text);
}

/// Logs `text`, line by line, about something else.
pub(super) fn write_about(py: Python<'_>, level: Level, about: &About, text: &str) {
    for text in log::bounded(text).lines() {
        write_line(py, LogLine { level, about: about.clone(), text: text.to_owned() });
    }
}

fn write_line(py: Python<'_>, line: LogLine) {
    if fork::is_child() {
        let (level, text, child) = (line.level, line.text, std::process::id());
        write_directly(&format!("[{level:?}] forked child {child}: {text}"));
        return;
    }
    let Some(worker) = WORKER.get() else { return };
    if let Err(line) = worker.events.try_log(line) {
        if worker.events.is_busy() {
            // Nobody makes room meanwhile.
            write_directly(&format!("[{:?}] {}: {}", line.level, std::process::id(), line.text));
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
    use super::{
        ABOUT, About, Level, LogLine, PyResult, Python, UNFINISHED, hooks, pyfunction, signals,
        write_last, write_line,
    };

    /// One line to nginx's error log, at nginx's level.
    #[pyfunction]
    fn log(py: Python<'_>, level: u8, line: String) -> PyResult<()> {
        let (level, about) = (Level::from_number(level), ABOUT.with_borrow(About::clone));
        write_line(py, LogLine { level, about, text: line });
        Ok(())
    }

    /// One line to the process's standard error, with what the calling thread does: the worker ends now.
    #[pyfunction]
    fn log_last(line: &str) {
        write_last(line);
    }

    /// Has Python's main thread look whether a signal's handler is to run.
    #[pyfunction]
    fn wake_main() {
        signals::wake_main();
    }

    /// threading.settrace() or threading.setprofile() was called.
    #[pyfunction]
    fn hooks_changed() {
        hooks::changed();
    }

    /// The calling thread has begun a line.
    #[pyfunction]
    fn unfinished() {
        UNFINISHED.set(true);
    }
}
