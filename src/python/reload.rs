//! `python_reload`: a thread that waits for changes of the applications, and tells the event loop. It never takes the GIL:
//! the attendant says what is imported. It also looks whether anything has changed when nginx is reloaded (`keep=on`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;

use super::logging;
use super::runtime::Runtime;
use super::shim;
use super::spawn::{STACK, spawn};
use crate::bridge::changes::beginning::{Compared, Modules};
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
    let found = found.into_iter().map(|(folder, installed)| (path(folder), kind(installed)));
    runtime.worker.imported.answer(found);
}

/// The names of folders, and whether what is in them is installed.
type Folders = Vec<(Vec<u8>, bool)>;

fn new_folders(py: Python<'_>) -> PyResult<Folders> {
    shim::function(py, "pywsgi._imported", "new_folders")?.call0()?.extract()
}

/// The attendant: looks whether what has been imported is still the same, and tells the event loop.
pub(super) fn compare(runtime: &Runtime, question: u64) {
    let worker = &runtime.worker;
    let modules = Python::attach(|py| {
        all_modules(py).map_err(|error| format!("there is no list of what is imported: {error}"))
    });
    let result = modules.and_then(|modules| match worker.beginning.get() {
        None => Err("it is not known when this process began".to_owned()),
        Some(beginning) => match beginning.first_change(&modules, &worker.config.reload) {
            Some(path) => Err(format!("\"{}\" has changed", path.display())),
            None => Ok(()),
        },
    });
    worker.events.push(Event::Compared(Box::new(Compared { question, result })));
}

fn all_modules(py: Python<'_>) -> PyResult<Modules> {
    let found = shim::function(py, "pywsgi._imported", "all_modules")?.call0()?;
    let (files, folders): (Vec<Vec<u8>>, Folders) = found.extract()?;
    let folders = folders.into_iter().map(|(folder, installed)| (path(folder), kind(installed)));
    Ok(Modules { files: files.into_iter().map(path).collect(), folders: folders.collect() })
}

fn kind(installed: bool) -> Kind {
    if installed { Kind::Installed } else { Kind::Code }
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}
