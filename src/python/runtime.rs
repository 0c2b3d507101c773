//! What all of Python's threads in a worker share.

use std::sync::Arc;

use pyo3::prelude::*;

use super::app::App;
use super::import_queue::ImportQueue;
use super::protocol::Protocols;
use super::shim::Shim;
use crate::bridge::exchange::Worker;

pub(super) struct Runtime {
    pub(super) worker: Arc<Worker>,
    pub(super) shim: Shim,
    pub(super) protocols: Protocols,
    /// In the order of the configuration's applications.
    pub(super) apps: Vec<App>,
    pub(super) imports: ImportQueue,
}

impl Runtime {
    /// Prepares the interpreter for its applications; imports none of them.
    pub(super) fn new(py: Python<'_>, worker: &Arc<Worker>) -> PyResult<Self> {
        let config = &worker.config;
        let has_loops = !config.loops.is_empty();
        let shim = Shim::start(py, &config.python, has_loops)?;
        let has_home = config.python.home.is_some();
        let apps = config
            .apps
            .iter()
            .enumerate()
            .map(|(at, app)| App::new(py, at, app, has_home))
            .collect::<PyResult<Vec<_>>>()?;
        Ok(Self {
            worker: Arc::clone(worker),
            protocols: Protocols::prepare(py, &shim, apps.len())?,
            shim,
            apps,
            imports: ImportQueue::default(),
        })
    }
}
