//! One request on its thread: from the job to the application, and to the end of its response.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use super::fork;
use super::logging;
use super::runtime::Runtime;
use super::wsgi;
use crate::bridge::events::Level;
use crate::bridge::exchange::Job;
use crate::bridge::output::End;

/// Runs the application for `job`. Whatever happens, the job has an end afterwards.
pub(super) fn run(py: Python<'_>, runtime: &Runtime, job: &Job, ident: u64) {
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
    logging::leave(py, runtime);
    job.done();
}

fn call(py: Python<'_>, runtime: &Runtime, job: &Job) {
    let Some(app) = runtime.apps.get(job.location.app) else {
        fail(job);
        return;
    };
    match app.callable(py, runtime) {
        Some(callable) => wsgi::call(py, runtime, app, callable.bind(py), job),
        None => fail(job),
    }
}

/// Ends the response as one that failed. A request that has ended meanwhile wants no answer.
pub(super) fn fail(job: &Job) {
    let _gone = job.end(None, End::Failed);
}
