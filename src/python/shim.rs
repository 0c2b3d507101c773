//! The package `pywsgi`, which travels inside this module (python-shim).

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyModule};

use crate::bridge::config::PythonConfig;

/// A module of the package.
struct File {
    name: &'static str,
    source: &'static str,
    /// The same as bytecode, by build.rs.
    code: &'static [u8],
}

macro_rules! file {
    ($name:literal) => {
        File {
            name: $name,
            source: include_str!(concat!("../../python-shim/pywsgi/", $name, ".py")),
            code: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".code")),
        }
    };
}

/// In the order in which they import each other.
const MODULES: &[File] = &[
    file!("_log"),
    file!("_records"),
    file!("_streams"),
    file!("_target"),
    file!("_failure"),
    file!("_imported"),
    file!("_advice"),
    file!("_hidden"),
    file!("_importing"),
    file!("_signature"),
    file!("_callable"),
    file!("_django"),
    file!("_django_project"),
    file!("_loader"),
    file!("_stacks"),
    file!("_threads"),
    file!("_contrib"),
    file!("_start"),
    file!("_request"),
    file!("_callbacks"),
    file!("_hooks"),
    file!("_status"),
    file!("_files"),
    file!("_violation"),
    file!("_validate"),
    file!("_debug_page"),
    file!("_exit"),
];

/// The same, only for workers with asyncio loops: the import of asyncio takes time and memory.
const LOOP_MODULES: &[File] = &[
    file!("_tasks"),
    file!("_event_loop"),
    file!("_lifespan"),
    file!("_asgi"),
    file!("_asgi_messages"),
    file!("_asgi_validate"),
];

const INIT: File = file!("__init__");

/// Of the bytecode in `File::code`.
const MAGIC: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/magic"));

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
fn install(py: Python<'_>, more: &[File]) -> PyResult<()> {
    let runner = Runner::new(py)?;
    let modules = py.import("sys")?.getattr("modules")?;
    let package = PyModule::new(py, "pywsgi")?;
    package.setattr("__path__", PyList::empty(py))?;
    modules.set_item("pywsgi", &package)?;
    for file in MODULES.iter().chain(more) {
        let name = format!("pywsgi.{}", file.name);
        let module = PyModule::new(py, &name)?;
        modules.set_item(&name, &module)?;
        runner.run(file, &module)?;
        package.setattr(file.name, module)?;
    }
    runner.run(&INIT, &package)
}

/// Runs the files of the package.
struct Runner<'py> {
    exec: Bound<'py, PyAny>,
    form: Form,
    /// `marshal.loads` or `compile`, which makes code of a file in that form.
    load: Bound<'py, PyAny>,
}

/// What this Python can take of a file.
enum Form {
    Bytecode,
    /// Its magic number is not that of the Python that the module was built with.
    Source,
}

impl<'py> Runner<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        let magic = py.import("importlib.util")?.getattr("MAGIC_NUMBER")?;
        let builtins = py.import("builtins")?;
        let exec = builtins.getattr("exec")?;
        Ok(match magic.extract::<&[u8]>()? == MAGIC {
            true => Self { exec, form: Form::Bytecode, load: function(py, "marshal", "loads")? },
            false => Self { exec, form: Form::Source, load: builtins.getattr("compile")? },
        })
    }

    /// Runs a file as the body of this module.
    fn run(&self, file: &File, module: &Bound<'py, PyModule>) -> PyResult<()> {
        let path = format!("pywsgi/{}.py", file.name);
        module.setattr("__file__", &path)?;
        let code = match self.form {
            Form::Bytecode => self.load.call1((PyBytes::new(module.py(), file.code),))?,
            Form::Source => self.load.call1((file.source, path, "exec", 0, true))?,
        };
        self.exec.call1((code, module.dict()))?;
        Ok(())
    }
}

/// A function of one of the package's modules.
pub(super) fn function<'py>(
    py: Python<'py>,
    module: &str,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    py.import(module)?.getattr(name)
}
