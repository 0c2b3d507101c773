//! Python's lines for nginx's error log, with what the calling thread does.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;

use super::fork;
use super::shim::Shim;
use super::sys;
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::log::{self, About, Level, LogLine};
use crate::bridge::panics::Panicked;

thread_local! {
    /// What this thread does: it runs a request, or imports an application.
    static ABOUT: RefCell<About<Exchange>> = const { RefCell::new(About::Worker) };
    /// This thread has written a line that is not finished.
    static UNFINISHED: Cell<bool> = const { Cell::new(false) };
}

static WORKER: OnceLock<Arc<Worker>> = OnceLock::new();

/// The request for which the calling thread runs Python now, by the context that it runs in (PEP 567).
type OfContext = Box<dyn Fn(Python<'_>) -> Option<Arc<Exchange>> + Send + Sync>;

static OF_CONTEXT: OnceLock<OfContext> = OnceLock::new();

/// Where a thread that runs no request of its own finds one: on a loop, many requests take turns.
pub(super) fn look_in_context(of_context: OfContext) {
    // A process has one interpreter, which does this once.
    let _first = OF_CONTEXT.set(of_context);
}

/// From now on lines go to this worker's event loop.
pub(super) fn connect(worker: &Arc<Worker>) {
    // A process has one worker: a second call brings the same.
    let _first = WORKER.set(Arc::clone(worker));
}

/// From here on the thread's lines are about that exchange's request.
pub(super) fn enter(exchange: &Arc<Exchange>) {
    ABOUT.set(About::Request(Arc::clone(exchange)));
}

/// The request is over: an unfinished line of the thread's is written.
pub(super) fn leave(py: Python<'_>, shim: &Shim) {
    if UNFINISHED.replace(false) {
        if let Err(error) = shim.errors.call_method0(py, pyo3::intern!(py, "release")) {
            write(py, Level::Error, &format!("an unfinished line is lost: {error}"));
        }
    }
    ABOUT.set(About::Worker);
}

/// The thread's lines are about no request any more. Those of a loop's requests that are not finished stay.
pub(super) fn leave_task() {
    ABOUT.set(About::Worker);
}

/// The task of a request ends: its unfinished lines are written. Its thread has others, so that it is not known whether
/// any is left.
pub(super) fn end_task(py: Python<'_>, shim: &Shim) {
    if UNFINISHED.get() {
        if let Err(error) = shim.errors.call_method0(py, pyo3::intern!(py, "release")) {
            write(py, Level::Error, &format!("an unfinished line is lost: {error}"));
        }
    }
}

/// The thread's lines are about that, until what this gives is dropped.
pub(super) fn begin(about: About<Exchange>) -> impl Drop {
    struct Begun;

    impl Drop for Begun {
        fn drop(&mut self) {
            ABOUT.set(About::Worker);
        }
    }

    ABOUT.set(about);
    Begun
}

/// The calling thread has begun a line that it has not finished.
pub(super) fn begin_line() {
    UNFINISHED.set(true);
}

/// Does the event loop's thread run an application now?
pub(super) fn is_in_application() -> bool {
    WORKER.get().is_some_and(|worker| worker.events.is_busy())
}

/// What the calling thread does. A thread that is about to end may have no such value any more.
fn about() -> About<Exchange> {
    let about = ABOUT.try_with(|about| about.try_borrow().ok().map(|about| about.clone()));
    about.ok().flatten().unwrap_or(About::Worker)
}

/// What the calling thread does, or the context that it runs in.
fn about_in(py: Python<'_>) -> About<Exchange> {
    match about() {
        About::Worker => {
            let found = OF_CONTEXT.get().and_then(|of_context| of_context(py));
            found.map_or(About::Worker, About::Request)
        }
        about => about,
    }
}

/// What a line is about, to be added to it if the event loop does not write it.
fn whereabouts(about: &About<Exchange>) -> String {
    let target = |app: usize| WORKER.get().map_or("", |worker| worker.target(app));
    match about {
        About::App(app) => {
            format!(", while application \"{}\" was imported", target(*app))
        }
        About::Request(exchange) => {
            format!(
                ", by application \"{}\", {}",
                target(exchange.location.app),
                exchange.head.context()
            )
        }
        About::Worker => String::new(),
    }
}

/// Logs `text`, line by line, as what the calling thread does.
pub(super) fn write(py: Python<'_>, level: Level, text: &str) {
    write_about(py, level, &about_in(py), text);
}

/// Logs `text`, line by line, about something else.
pub(super) fn write_about(py: Python<'_>, level: Level, about: &About<Exchange>, text: &str) {
    for text in log::bounded(text).lines() {
        send(py, LogLine { level, about: about.clone(), text: text.to_owned() });
    }
}

/// Logs one line as what the calling thread does.
pub(super) fn write_line(py: Python<'_>, level: Level, text: String) {
    send(py, LogLine { level, about: about_in(py), text });
}

/// Logs `text`, line by line, about something else, from any thread, attached or not. If the event loop is in an
/// application the lines are written at once: it may not come back.
pub(super) fn write_at_once(level: Level, about: &About<Exchange>, text: &str) {
    let is_busy = WORKER.get().is_some_and(|worker| worker.events.is_busy());
    for text in log::bounded(text).lines() {
        let line = LogLine { level, about: about.clone(), text: text.to_owned() };
        let unsent = if is_busy { Err(line) } else { try_send(line) };
        if let Err(line) = unsent {
            write_as_nginx(&line);
        }
    }
}

/// Logs a panic as what the calling thread does. Any thread may call this, attached or not: it does not wait for
/// room in the event loop's queue.
pub(super) fn write_panic(panicked: &Panicked) {
    let about = about();
    let text = match &about {
        About::Worker => {
            format!("{panicked} (thread {})", std::thread::current().name().unwrap_or("?"))
        }
        About::App(_) | About::Request(_) => panicked.to_string(),
    };
    if let Err(line) = try_send(LogLine { level: Level::Alert, about, text }) {
        write_past_queue(&line);
    }
}

/// The last line of a worker, written at once: the event loop will not get to it.
pub(super) fn write_last(what: &str) {
    let line = LogLine { level: Level::Error, about: about(), text: what.to_owned() };
    write_as_nginx(&line);
}

/// Logs an exception with its traceback, and returns that.
pub(super) fn exception(py: Python<'_>, shim: &Shim, what: &str, error: &PyErr) -> String {
    exception_at(py, shim, Level::Error, what, error)
}

/// The same at another level.
pub(super) fn exception_at(
    py: Python<'_>,
    shim: &Shim,
    level: Level,
    what: &str,
    error: &PyErr,
) -> String {
    let report = traceback(py, shim, error);
    write(py, level, what);
    write(py, level, &report);
    report
}

/// Logs `what`, and where Python's threads are.
pub(super) fn write_threads(shim: &Shim, what: &str) {
    Python::attach(|py| {
        match shim.threads_left.call0(py).and_then(|text| text.extract::<String>(py)) {
            Ok(threads) => write(py, Level::Warn, &format!("{what}\n{threads}")),
            Err(error) => drop(exception(py, shim, what, &error)),
        }
    });
}

/// An exception with its traceback, as Python prints it.
pub(super) fn traceback(py: Python<'_>, shim: &Shim, error: &PyErr) -> String {
    // `into_value` gives the exception its traceback, which CPython keeps apart before 3.12.
    match shim.format_exception.call1(py, (error.clone_ref(py).into_value(py),)) {
        Ok(text) => text.to_string(),
        Err(_) => error.to_string(),
    }
}

/// Waits, detached, if the event loop's queue has no room.
fn send(py: Python<'_>, line: LogLine<Exchange>) {
    let Err(line) = try_send(line) else { return };
    let Some(worker) = WORKER.get() else { return };
    if worker.events.is_busy() {
        // The event loop is in an application, and makes no room meanwhile.
        write_past_queue(&line);
        return;
    }
    py.detach(|| worker.events.log(line));
}

/// Gives the line to the event loop, or returns it if the queue has no room. A child has no event loop, and writes it.
fn try_send(line: LogLine<Exchange>) -> Result<(), LogLine<Exchange>> {
    if fork::is_child() {
        let (level, text, child) = (line.level, line.text, std::process::id());
        write_directly(&format!("[{level:?}] forked child {child}: {text}"));
        return Ok(());
    }
    match WORKER.get() {
        Some(worker) => worker.events.try_log(line),
        None => Ok(()),
    }
}

/// Writes a line as the event loop does.
fn write_as_nginx(line: &LogLine<Exchange>) {
    let level = format!("{:?}", line.level).to_lowercase();
    write_directly(&format!(
        "{time} [{level}] {pid}#{pid}: {}{}",
        line.text,
        whereabouts(&line.about),
        time = sys::local_time(),
        pid = std::process::id()
    ));
}

fn write_past_queue(line: &LogLine<Exchange>) {
    write_directly(&format!("[{:?}] {}: {}", line.level, std::process::id(), line.text));
}

/// Writes to the standard error, which in nginx's processes is its error log.
fn write_directly(text: &str) {
    // If that fails there is no other place for it.
    let _lost = writeln!(std::io::stderr(), "{text}");
}
