//! One request on its thread: from the job to the application, and to the end of its response.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use super::attendant;
use super::fork;
use super::logging;
use super::runtime::Runtime;
use super::wsgi;
use crate::bridge::callbacks::Callback;
use crate::bridge::events::Level;
use crate::bridge::exchange::Job;
use crate::bridge::output::End;

/// Runs the application for `job`. Whatever happens, the job has an end afterwards.
pub(super) fn run(py: Python<'_>, runtime: &Runtime, job: &Job, ident: u64) {
    if job.is_done() {
        logging::enter(job);
        follow_up(py, runtime, job, job.take_after());
        logging::leave(py, runtime);
        return;
    }
    if !job.start(ident) {
        return;
    }
    logging::enter(job);
    let ran = catch_unwind(AssertUnwindSafe(|| call(py, runtime, job)));
    if fork::is_child() {
        fork::leave(py, runtime, None);
    }
    if ran.is_err() {
        logging::write(py, Level::Alert, "pywsgi panicked in a Python thread; the request is lost");
        fail(job);
    }
    let after = job.done();
    attendant::calm(py, job, ident);
    follow_up(py, runtime, job, after);
    logging::leave(py, runtime);
}

/// Does what is left to do after the response.
fn follow_up(py: Python<'_>, runtime: &Runtime, job: &Job, callbacks: Vec<Callback>) {
    if callbacks.is_empty() {
        return;
    }
    call_back(py, runtime, callbacks);
    job.followed_up();
}

/// Calls each; a child that one of them forks ends with that one.
pub(super) fn call_back(py: Python<'_>, runtime: &Runtime, callbacks: Vec<Callback>) {
    for callback in callbacks {
        let ran = catch_unwind(AssertUnwindSafe(|| callback.call()));
        if fork::is_child() {
            fork::leave(py, runtime, None);
        }
        if ran.is_err() {
            logging::write(py, Level::Alert, "pywsgi panicked in a Python thread, in a callback");
        }
    }
}

fn call(py: Python<'_>, runtime: &Runtime, job: &Job) {
    let Some(app) = runtime.apps.get(job.location.app) else {
        fail(job);
        return;
    };
    match app.callable(py, runtime) {
        Some(callable) => wsgi::call(py, runtime, app, callable, job),
        None => wsgi::refuse(py, runtime, app, job),
    }
}

/// Ends the response as one that failed. A request that has ended meanwhile wants no answer.
pub(super) fn fail(job: &Job) {
    let _gone = job.end(None, End::Failed);
}
