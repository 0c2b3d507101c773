//! What every thread of a worker needs of Python, made once.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::app::App;
use super::imports::Imports;
use super::shim;
use super::wsgi;
use crate::bridge::worker::Worker;
use crate::http;

pub(super) struct Runtime {
    pub(super) worker: Arc<Worker>,
    /// In the order of the configuration's applications.
    pub(super) apps: Vec<App>,
    pub(super) imports: Imports,
    /// `wsgi.errors`
    pub(super) errors: Py<PyAny>,
    pub(super) format_exception: Py<PyAny>,
    pub(super) format_stack: Py<PyAny>,
    pub(super) exit: Py<PyAny>,
    /// `pywsgi._exit.threads_left`
    pub(super) threads_left: Py<PyAny>,
    /// `_thread.get_ident`
    pub(super) thread_ident: Py<PyAny>,
    /// `pywsgi._threads.enter`
    pub(super) enter_thread: Py<PyAny>,
    /// `pywsgi._threads.take_on_hooks`
    pub(super) take_on_hooks: Py<PyAny>,
    /// `pywsgi.ClientDisconnected`
    pub(super) disconnected: Py<PyAny>,
    /// `pywsgi._files.real_file`
    pub(super) real_file: Py<PyAny>,
    /// The environ keys of [`http::wsgi::environ::KNOWN`], interned.
    pub(super) header_keys: Vec<Py<PyString>>,
}

impl Runtime {
    /// Prepares the interpreter for its applications; imports none of them.
    pub(super) fn new(py: Python<'_>, worker: &Arc<Worker>) -> PyResult<Self> {
        shim::install(py)?;
        let python = &worker.config.python;
        let path = PyList::new(py, python.path.iter().map(|path| path.as_os_str()))?;
        let levels = (python.stdout_level as u8, python.stderr_level as u8);
        let executable = python.executable.as_ref().map(|path| path.as_os_str());
        if let Some(executable) = executable {
            py.import("sys")?.setattr("executable", executable)?;
        }
        let argv = PyList::new(py, ["nginx"])?;
        shim::function(py, "pywsgi._start", "start")?.call1((path, levels.0, levels.1, argv))?;
        wsgi::prepare(py)?;
        let errors = shim::function(py, "pywsgi._start", "errors_stream")?.call0()?;
        let apps = worker
            .config
            .apps
            .iter()
            .enumerate()
            .map(|(at, config)| App::new(py, at, config, python.home.is_some()))
            .collect::<PyResult<Vec<_>>>()?;
        let header_keys = http::wsgi::environ::KNOWN
            .iter()
            .map(|(_, key)| PyString::intern(py, key).unbind())
            .collect();
        Ok(Self {
            worker: Arc::clone(worker),
            apps,
            imports: Imports::default(),
            errors: errors.unbind(),
            format_exception: shim::function(py, "pywsgi._stacks", "format_exception")?.unbind(),
            format_stack: shim::function(py, "pywsgi._stacks", "format_stack")?.unbind(),
            disconnected: shim::function(py, "pywsgi._request", "ClientDisconnected")?.unbind(),
            real_file: shim::function(py, "pywsgi._files", "real_file")?.unbind(),
            threads_left: shim::function(py, "pywsgi._exit", "threads_left")?.unbind(),
            thread_ident: shim::function(py, "pywsgi._threads", "get_ident")?.unbind(),
            enter_thread: shim::function(py, "pywsgi._threads", "enter")?.unbind(),
            take_on_hooks: shim::function(py, "pywsgi._threads", "take_on_hooks")?.unbind(),
            exit: shim::function(py, "pywsgi._exit", "run")?.unbind(),
            header_keys,
        })
    }
}
