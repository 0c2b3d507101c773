//! What the module and its applications say on Python's threads, with what the calling thread does: messages for nginx's
//! error log, and the output of applications for their `python_log`.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use pyo3::prelude::*;

use super::fork;
use super::shim::Shim;
use super::sys;
use crate::bridge::code::{self, Code};
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::log::{self, About, Kind, Level, LogLine};
use crate::bridge::output_log::{Destination, Form, OutputLog, RecordFile, Written};
use crate::bridge::panics::Panicked;
use crate::bridge::record::{self, Circumstances, Record, Said};

thread_local! {
    /// What this thread does: it runs a request, or imports an application.
    static ABOUT: RefCell<About<Exchange>> = const { RefCell::new(About::Worker) };
    /// This thread has written a line that is not finished.
    static UNFINISHED: Cell<bool> = const { Cell::new(false) };
    /// This thread is nginx's own.
    static ON_EVENT_LOOP: bool = sys::is_first_thread();
}

static WORKER: OnceLock<Arc<Worker>> = OnceLock::new();
/// The worker of this process, once its Python has started.
pub(super) fn worker() -> Option<&'static Arc<Worker>> {
    WORKER.get()
}

/// The worker's process, which a forked child is not.
static PROCESS: OnceLock<u32> = OnceLock::new();

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
    let _first = PROCESS.set(std::process::id());
}

/// From here on the thread's lines are about that exchange's request.
pub(super) fn enter(exchange: &Arc<Exchange>) {
    ABOUT.set(About::Request(Arc::clone(exchange)));
}

/// The request is over: an unfinished line of the thread's is written.
pub(super) fn leave(py: Python<'_>, shim: &Shim) {
    if UNFINISHED.replace(false) {
        if let Err(error) = shim.errors.call_method0(py, pyo3::intern!(py, "release")) {
            write(py, Code::LineLost, &format!("an unfinished line is lost: {error}"));
        }
    }
    ABOUT.set(About::Worker);
}

/// What identifies a request, for its application and in the log: the process of the worker that has its client, its connection, its number there.
pub(super) fn request_id(exchange: &Exchange) -> String {
    exchange.head.id(exchange.origin().unwrap_or_else(worker_process))
}

/// The worker's process, also in a forked child.
pub(super) fn worker_process() -> u32 {
    PROCESS.get().copied().unwrap_or_default()
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
            write(py, Code::LineLost, &format!("an unfinished line is lost: {error}"));
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

/// The application that something is about.
fn application(about: &About<Exchange>) -> Option<&'static str> {
    let app = match about {
        About::Request(exchange) => exchange.location.app,
        About::App(app) => *app,
        About::Worker => return None,
    };
    WORKER.get().map(|worker| worker.target(app))
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
pub(super) fn write(py: Python<'_>, code: Code, text: &str) {
    write_about(py, code, &about_in(py), text);
}

/// Logs `text`, line by line, about something else.
pub(super) fn write_about(py: Python<'_>, code: Code, about: &About<Exchange>, text: &str) {
    let text = code::with_application(application(about), text.trim_end_matches('\n'));
    send(py, LogLine::new(code, about.clone(), &log::bounded(&text)));
}

/// What an application has said, in all the forms in which its logs may want it.
#[derive(Clone, Copy)]
pub(super) struct Saying<'a> {
    pub(super) record: Record<'a>,
    /// For the error log.
    pub(super) lines: &'a str,
    /// For another log that is no JSON.
    pub(super) text: &'a str,
}

/// The forms in which the logs of the calling thread want what is said at that level.
pub(super) fn forms(py: Python<'_>, level: Level) -> Vec<Form> {
    outputs(&about_in(py)).iter().filter_map(|log| log.form(level)).collect()
}

/// Writes what an application says, as what the calling thread does.
pub(super) fn say(py: Python<'_>, saying: &Saying<'_>) {
    let about = about_in(py);
    for log in outputs(&about) {
        match log.form(saying.record.level) {
            None => {}
            Some(Form::Lines) => {
                for lines in pieces(saying.lines) {
                    let level = saying.record.level;
                    let text = lines.to_owned();
                    send(py, LogLine { level, about: about.clone(), kind: Kind::Output, text });
                }
            }
            Some(Form::Text) => put(py, log, &about, saying.record.level, saying.text),
            Some(Form::Json) => put_json(py, log, &about, &saying.record),
        }
    }
}

/// Logs `what`, and the report of what an application has raised: in the error log, or if there is another for what its
/// application says, there.
pub(super) fn report(
    py: Python<'_>,
    code: Code,
    about: &About<Exchange>,
    what: &str,
    report: &str,
) {
    let level = code.level();
    let what = &*code::with_application(application(about), what);
    let outputs = outputs(about);
    let report = log::bounded(report.trim_end_matches('\n'));
    if outputs.iter().any(|log| log.form(level) == Some(Form::Lines)) {
        send(py, LogLine::new(code, about.clone(), &format!("{what}\n{report}")));
    } else {
        let file = outputs.iter().find_map(|log| match &log.to {
            Destination::File(file) if log.form(level).is_some() => Some(file.name()),
            _ => None,
        });
        let place = file.map(|file| format!(" (the traceback is in {file})")).unwrap_or_default();
        write_about(py, code, about, &format!("{what}{place}"));
    }
    for log in outputs {
        match log.form(level) {
            None | Some(Form::Lines) => {}
            Some(Form::Text) => {
                let (time, level_name) = (sys::local_time(), level.name().to_uppercase());
                let request = match about {
                    About::Request(exchange) => format!(", {}", exchange.head.context()),
                    About::App(_) | About::Worker => String::new(),
                };
                let text = format!("{time} {level_name} {code}: {what}{request}\n{report}");
                put(py, log, about, level, &text);
            }
            Some(Form::Json) => {
                let said = Said::Message { message: what, traceback: Some(&report) };
                put_json(py, log, about, &Record { level, logger: "pywsgi", said });
            }
        }
    }
}

/// The logs of what is said about that.
fn outputs(about: &About<Exchange>) -> &[Arc<OutputLog>] {
    let Some(worker) = WORKER.get() else { return &[] };
    let config = &worker.config.output;
    match about {
        About::Request(exchange) => std::slice::from_ref(&exchange.location.output),
        About::App(app) => config.of_app(*app),
        About::Worker => std::slice::from_ref(&config.worker),
    }
}

/// Adds a text to a log that is not the error log.
fn put(py: Python<'_>, log: &OutputLog, about: &About<Exchange>, level: Level, text: &str) {
    match &log.to {
        Destination::File(file) => put_in_file(py, file, &format!("{text}\n")),
        Destination::Syslog(number) => {
            for line in text.split('\n').flat_map(|line| log::parts(line, LONGEST_IN_SYSLOG)) {
                put_in_syslog(py, *number, about, level, line);
            }
        }
        Destination::ErrorLog | Destination::Nowhere => {}
    }
}

fn put_json(py: Python<'_>, log: &OutputLog, about: &About<Exchange>, record: &Record<'_>) {
    let own = WORKER.get().and_then(|worker| worker.config.process_name());
    let circumstances = Circumstances {
        time: SystemTime::now(),
        process: std::process::id(),
        python_process: own.as_deref(),
        application: application(about),
        request: match about {
            About::Request(exchange) => Some((request_id(exchange), exchange.head.line())),
            About::App(_) | About::Worker => None,
        },
    };
    match &log.to {
        Destination::File(file) => {
            put_in_file(py, file, &record::json(record, &circumstances, LONGEST));
        }
        Destination::Syslog(number) => {
            for line in record::json(record, &circumstances, LONGEST_IN_SYSLOG).lines() {
                put_in_syslog(py, *number, about, record.level, line);
            }
        }
        Destination::ErrorLog | Destination::Nowhere => {}
    }
}

/// What has been cut to the longest message already says that, too.
const LONGEST: usize = log::LONGEST + 64;

/// A message is one datagram, of 64 KB at most over UDP, and a record of JSON has two texts of any length.
const LONGEST_IN_SYSLOG: usize = 24 * 1024;

fn put_in_file(py: Python<'_>, file: &RecordFile, records: &str) {
    if fork::is_child() {
        if file.write_in_child(records.as_bytes()).is_err() {
            write_directly(records.trim_end_matches('\n'));
        }
        return;
    }
    // The event loop, which runs an application itself, does not wait for the GIL.
    let written = match ON_EVENT_LOOP.with(|it| *it) {
        true => file.write(records.as_bytes()),
        false => py.detach(|| file.write(records.as_bytes())),
    };
    let name = file.name();
    let (code, text) = match written {
        Written::Yes | Written::No => return,
        Written::NoMore(error) => (
            Code::LogUnwritable,
            format!(
                "python_log {name} cannot be written: {error}; what applications say is lost until it can"
            ),
        ),
        Written::After(lost) => (
            Code::LogWritableAgain,
            format!(
                "python_log {name} can be written again; {} records, of {} bytes, have been lost",
                lost.records, lost.bytes
            ),
        ),
    };
    write_about(py, code, &About::Worker, &text);
}

fn put_in_syslog(
    py: Python<'_>,
    number: usize,
    about: &About<Exchange>,
    level: Level,
    record: &str,
) {
    let text = record.to_owned();
    send(py, LogLine { level, about: about.clone(), kind: Kind::Syslog(number), text });
}

/// The lines of a text, in pieces that are not too long for the queue.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (piece, more) = match text.len() <= log::LONGEST {
            true => (text, None),
            false => {
                let bytes = text.as_bytes();
                let last = bytes.iter().take(log::LONGEST).rposition(|byte| *byte == b'\n');
                match last.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) {
                    Some((piece, more)) => (piece, Some(more)),
                    // A line that is longer by what is said of its length.
                    None => text
                        .split_once('\n')
                        .map_or((text, None), |(piece, more)| (piece, Some(more))),
                }
            }
        };
        rest = more;
        Some(piece)
    })
}

/// Logs an exception that Python has formatted, as what the calling thread does.
pub(super) fn write_report(py: Python<'_>, code: Code, what: &str, traceback: &str) {
    report(py, code, &about_in(py), what, traceback);
}

/// Logs `text`, line by line, about something else, from any thread, attached or not. If the event loop is in an
/// application the lines are written at once: it may not come back.
pub(super) fn write_at_once(code: Code, about: &About<Exchange>, text: &str) {
    let is_busy = WORKER.get().is_some_and(|worker| worker.events.is_busy());
    let text = code::with_application(application(about), text.trim_end_matches('\n'));
    let lines = LogLine::new(code, about.clone(), &log::bounded(&text));
    let unsent = if is_busy { Err(lines) } else { try_send(lines) };
    if let Err(lines) = unsent {
        write_as_nginx(&lines);
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
    if let Err(line) = try_send(LogLine::new(Code::Panic, about, &text)) {
        write_past_queue(&line);
    }
}

/// The last line of a worker, written at once: the event loop will not get to it.
pub(super) fn write_last(code: Code, what: &str) {
    let line = LogLine::new(code, about(), what);
    write_as_nginx(&line);
}

/// Logs an exception with its traceback, and returns that.
pub(super) fn exception(
    py: Python<'_>,
    shim: &Shim,
    code: Code,
    what: &str,
    error: &PyErr,
) -> String {
    let traceback = traceback(py, shim, error);
    report(py, code, &about_in(py), what, &traceback);
    traceback
}

/// Logs `what`, and where Python's threads are.
pub(super) fn write_threads(shim: &Shim, code: Code, what: &str) {
    Python::attach(|py| {
        match shim.threads_left.call0(py).and_then(|text| text.extract::<String>(py)) {
            Ok(threads) => write(py, code, &format!("{what}\n{threads}")),
            Err(error) => drop(exception(py, shim, code, what, &error)),
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
        write_as_nginx(&line);
        return Ok(());
    }
    match WORKER.get() {
        Some(worker) => worker.events.try_log(line),
        None => Ok(()),
    }
}

/// Writes lines as the event loop does.
fn write_as_nginx(line: &LogLine<Exchange>) {
    let (level, time, pid) = (line.level.name(), sys::local_time(), std::process::id());
    let about = whereabouts(&line.about);
    let lines =
        line.text.split('\n').map(|line| format!("{time} [{level}] {pid}#{pid}: {line}{about}"));
    write_directly(&lines.collect::<Vec<_>>().join("\n"));
}

fn write_past_queue(line: &LogLine<Exchange>) {
    let (level, pid) = (line.level, std::process::id());
    let lines = line.text.split('\n').map(|line| format!("[{level:?}] {pid}: {line}"));
    write_directly(&lines.collect::<Vec<_>>().join("\n"));
}

/// Writes to the standard error, which in nginx's processes is its error log.
fn write_directly(text: &str) {
    // If that fails there is no other place for it.
    let _lost = writeln!(std::io::stderr(), "{text}");
}
