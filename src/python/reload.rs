//! `python_reload`: a thread that waits for changes of the applications, and tells the event loop. It never takes the GIL:
//! the attendant says what is imported.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;

use super::logging;
use super::runtime::Runtime;
use super::shim;
use super::spawn::{STACK, spawn};
use crate::bridge::changes::names::Kind;
use crate::bridge::changes::watch::Changes;
use crate::bridge::code::Code;
use crate::bridge::events::Event;
use crate::bridge::exchange::Worker;
use crate::bridge::log::{About, LogLine};
use crate::bridge::tasks::Task;

/// Starts the thread, if there is anything to wait for. There must be an attendant, which it asks.
pub(super) fn start(worker: &Arc<Worker>) {
    // A number that nginx is never given, as that of the bell: an application may close what is not its own.
    let changes = match Changes::new(&worker.config.reload, worker.events.fd()) {
        Ok(Some(changes)) => changes,
        Ok(None) => return,
        Err(error) => return refused(worker, &error.to_string()),
    };
    let own = Arc::clone(worker);
    if let Err(error) = spawn("pywsgi-reload", STACK, move || watch(&own, changes)) {
        refused(worker, &format!("its thread cannot be started: {error}"));
    }
}

fn watch(worker: &Worker, mut changes: Changes) {
    while !worker.is_stopping() {
        if let Some(fault) = changes.take_fault() {
            refused(worker, &fault);
        }
        let ask = || {
            let started = worker.starts.have_ended();
            if worker.imported.ask() {
                worker.tasks.push(Task::ListImported);
            }
            started
        };
        if let Some(change) = changes.wait(&worker.imported, ask) {
            worker.events.push(Event::Changed(Box::new(change)));
        }
    }
}

fn refused(worker: &Worker, what: &str) {
    let text = format!("python_reload does not see all changes: {what}");
    worker.events.log(LogLine::new(Code::ChangesUnseen, About::Worker, &text));
}

/// The attendant: says which folders have been imported from.
pub(super) fn list_imported(runtime: &Runtime) {
    let found = Python::attach(|py| match new_folders(py) {
        Ok(found) => found,
        Err(error) => {
            logging::exception(
                py,
                &runtime.shim,
                Code::ChangesUnseen,
                "python_reload: no list of what is imported",
                &error,
            );
            Vec::new()
        }
    });
    let kind = |installed| if installed { Kind::Installed } else { Kind::Code };
    let found = found.into_iter().map(|(folder, installed)| (path(folder), kind(installed)));
    runtime.worker.imported.answer(found);
}

fn new_folders(py: Python<'_>) -> PyResult<Vec<(Vec<u8>, bool)>> {
    shim::function(py, "pywsgi._imported", "new_folders")?.call0()?.extract()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}
