//! The package `pywsgi`, which travels inside this module (python-shim).

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule};

use crate::bridge::config::PythonConfig;

/// A file of python-shim as CPython's compiler wants it.
macro_rules! source {
    ($file:literal) => {
        concat!(include_str!(concat!("../../python-shim/pywsgi/", $file)), "\0").as_bytes()
    };
}

/// In the order in which they import each other.
const MODULES: &[(&CStr, &CStr, &[u8])] = &[
    (c"pywsgi._log", c"pywsgi/_log.py", source!("_log.py")),
    (c"pywsgi._records", c"pywsgi/_records.py", source!("_records.py")),
    (c"pywsgi._streams", c"pywsgi/_streams.py", source!("_streams.py")),
    (c"pywsgi._target", c"pywsgi/_target.py", source!("_target.py")),
    (c"pywsgi._failure", c"pywsgi/_failure.py", source!("_failure.py")),
    (c"pywsgi._imported", c"pywsgi/_imported.py", source!("_imported.py")),
    (c"pywsgi._advice", c"pywsgi/_advice.py", source!("_advice.py")),
    (c"pywsgi._hidden", c"pywsgi/_hidden.py", source!("_hidden.py")),
    (c"pywsgi._importing", c"pywsgi/_importing.py", source!("_importing.py")),
    (c"pywsgi._signature", c"pywsgi/_signature.py", source!("_signature.py")),
    (c"pywsgi._callable", c"pywsgi/_callable.py", source!("_callable.py")),
    (c"pywsgi._django", c"pywsgi/_django.py", source!("_django.py")),
    (c"pywsgi._django_project", c"pywsgi/_django_project.py", source!("_django_project.py")),
    (c"pywsgi._loader", c"pywsgi/_loader.py", source!("_loader.py")),
    (c"pywsgi._stacks", c"pywsgi/_stacks.py", source!("_stacks.py")),
    (c"pywsgi._threads", c"pywsgi/_threads.py", source!("_threads.py")),
    (c"pywsgi._contrib", c"pywsgi/_contrib.py", source!("_contrib.py")),
    (c"pywsgi._start", c"pywsgi/_start.py", source!("_start.py")),
    (c"pywsgi._request", c"pywsgi/_request.py", source!("_request.py")),
    (c"pywsgi._callbacks", c"pywsgi/_callbacks.py", source!("_callbacks.py")),
    (c"pywsgi._hooks", c"pywsgi/_hooks.py", source!("_hooks.py")),
    (c"pywsgi._status", c"pywsgi/_status.py", source!("_status.py")),
    (c"pywsgi._files", c"pywsgi/_files.py", source!("_files.py")),
    (c"pywsgi._violation", c"pywsgi/_violation.py", source!("_violation.py")),
    (c"pywsgi._validate", c"pywsgi/_validate.py", source!("_validate.py")),
    (c"pywsgi._debug_page", c"pywsgi/_debug_page.py", source!("_debug_page.py")),
    (c"pywsgi._exit", c"pywsgi/_exit.py", source!("_exit.py")),
];

/// The same, only for workers with asyncio loops: the import of asyncio takes time and memory.
const LOOP_MODULES: &[(&CStr, &CStr, &[u8])] = &[
    (c"pywsgi._tasks", c"pywsgi/_tasks.py", source!("_tasks.py")),
    (c"pywsgi._event_loop", c"pywsgi/_event_loop.py", source!("_event_loop.py")),
    (c"pywsgi._lifespan", c"pywsgi/_lifespan.py", source!("_lifespan.py")),
    (c"pywsgi._asgi", c"pywsgi/_asgi.py", source!("_asgi.py")),
    (c"pywsgi._asgi_messages", c"pywsgi/_asgi_messages.py", source!("_asgi_messages.py")),
    (c"pywsgi._asgi_validate", c"pywsgi/_asgi_validate.py", source!("_asgi_validate.py")),
];

const INIT: &[u8] = source!("__init__.py");

/// What Rust calls of the package, and of Python, looked up once.
pub(super) struct Shim {
    /// `sys.stderr` and `wsgi.errors`
    pub(super) errors: Py<PyAny>,
    /// `pywsgi._stacks.format_exception`
    pub(super) format_exception: Py<PyAny>,
    /// `pywsgi._stacks.format_stack`
    pub(super) format_stack: Py<PyAny>,
    /// `pywsgi._stacks.format_others`
    pub(super) format_others: Py<PyAny>,
    /// `pywsgi._hooks.begin_import`
    pub(super) begin_import: Py<PyAny>,
    /// `pywsgi._hooks.end_import`
    pub(super) end_import: Py<PyAny>,
    /// `pywsgi._exit.run`
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
    /// `pywsgi.RequestTimeout`
    pub(super) timed_out: Py<PyAny>,
}

impl Shim {
    /// Makes the package importable, and prepares the interpreter with it for its applications.
    pub(super) fn start(py: Python<'_>, python: &PythonConfig, has_loops: bool) -> PyResult<Self> {
        install(py, if has_loops { LOOP_MODULES } else { &[] })?;
        if let Some(executable) = &python.executable {
            py.import("sys")?.setattr("executable", executable.as_os_str())?;
        }
        if let Some(interval) = python.interpreter.switch_interval {
            py.import("sys")?.call_method1("setswitchinterval", (interval.as_secs_f64(),))?;
        }
        let path = PyList::new(py, python.path.iter().map(|path| path.as_os_str()))?;
        let argv = PyList::new(py, ["nginx"])?;
        function(py, "pywsgi._start", "start")?.call1((
            path,
            python.stdout_level as u8,
            python.stderr_level as u8,
            argv,
        ))?;
        let function = |module, name| function(py, module, name).map(Bound::unbind);
        Ok(Self {
            errors: function("pywsgi._start", "errors_stream")?.call0(py)?,
            format_exception: function("pywsgi._stacks", "format_exception")?,
            format_stack: function("pywsgi._stacks", "format_stack")?,
            format_others: function("pywsgi._stacks", "format_others")?,
            begin_import: function("pywsgi._hooks", "begin_import")?,
            end_import: function("pywsgi._hooks", "end_import")?,
            exit: function("pywsgi._exit", "run")?,
            threads_left: function("pywsgi._exit", "threads_left")?,
            thread_ident: function("pywsgi._threads", "get_ident")?,
            enter_thread: function("pywsgi._threads", "enter")?,
            take_on_hooks: function("pywsgi._threads", "take_on_hooks")?,
            disconnected: function("pywsgi._request", "ClientDisconnected")?,
            timed_out: function("pywsgi._request", "RequestTimeout")?,
        })
    }
}

/// Makes the package importable, with these modules beside the usual ones.
fn install(py: Python<'_>, more: &[(&CStr, &CStr, &[u8])]) -> PyResult<()> {
    let package = PyModule::new(py, "pywsgi")?;
    package.setattr("__path__", PyList::empty(py))?;
    package.setattr("__file__", "pywsgi/__init__.py")?;
    let modules = py.import("sys")?.getattr("modules")?;
    modules.set_item("pywsgi", &package)?;
    for (name, file, source) in MODULES.iter().chain(more) {
        let module = PyModule::from_code(py, text(source)?, file, name)?;
        let name = name.to_string_lossy();
        package.setattr(name.trim_start_matches("pywsgi."), module)?;
    }
    let globals: Bound<'_, PyDict> = package.dict();
    py.run(text(INIT)?, Some(&globals), None)
}

/// A function of one of the package's modules.
pub(super) fn function<'py>(
    py: Python<'py>,
    module: &str,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    py.import(module)?.getattr(name)
}

fn text(source: &[u8]) -> PyResult<&CStr> {
    CStr::from_bytes_with_nul(source)
        .map_err(|_| pyo3::exceptions::PyValueError::new_err("a NUL in the source of pywsgi"))
}
