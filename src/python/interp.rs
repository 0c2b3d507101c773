//! The interpreter's start and end (PEP 587, "Python Initialization Configuration").

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyo3::ffi;

use super::builtin::_pywsgi;
use crate::bridge::config::PythonConfig;

/// An initialised interpreter, which this thread has let go of. The thread is Python's main thread.
pub(super) struct Interpreter {
    main: *mut ffi::PyThreadState,
}

impl Interpreter {
    /// Initialises the interpreter of this process, once. An error is a sentence for the log.
    pub(super) fn start(config: &PythonConfig) -> Result<Self, String> {
        pyo3::append_to_inittab!(_pywsgi);
        // SAFETY: nothing of Python runs in this process before; the two structures are initialised
        // before they are used, and this thread keeps what Py_InitializeFromConfig attaches it to.
        unsafe {
            let mut pre = std::mem::zeroed::<ffi::PyPreConfig>();
            ffi::PyPreConfig_InitPythonConfig(&raw mut pre);
            pre.utf8_mode = 1;
            // nginx has cleared LANG and LC_*, or the user has set them by python_env.
            pre.coerce_c_locale = 0;
            check(ffi::Py_PreInitialize(&raw const pre))?;

            let mut python = std::mem::zeroed::<ffi::PyConfig>();
            ffi::PyConfig_InitPythonConfig(&raw mut python);
            let initialized = fill(&mut python, config)
                .and_then(|()| check(ffi::Py_InitializeFromConfig(&raw const python)));
            ffi::PyConfig_Clear(&raw mut python);
            initialized?;
            Ok(Self { main: ffi::PyEval_SaveThread() })
        }
    }

    /// Finalises. On the thread that has started it, with no other thread of Python left.
    pub(super) fn finalize(self) -> bool {
        // SAFETY: `start` saved this thread's state; nobody is attached with it.
        unsafe {
            ffi::PyEval_RestoreThread(self.main);
            ffi::Py_FinalizeEx() == 0
        }
    }
}

/// # Safety
///
/// `python` is initialised, Python pre-initialised.
unsafe fn fill(python: &mut ffi::PyConfig, config: &PythonConfig) -> Result<(), String> {
    // Signals are nginx's; its command line is not Python's.
    python.install_signal_handlers = 0;
    python.parse_argv = 0;
    // What the one who started nginx has installed for himself is not the workers'.
    python.user_site_directory = 0;
    let python3 = match &config.home {
        Some(home) => Some(home.join("bin/python3")),
        // Not `python_executable`: that is for those who start another Python.
        None => option_env!("PYWSGI_PYTHON_EXECUTABLE").map(PathBuf::from),
    };
    // SAFETY: fields of `python`, which the caller has initialised.
    unsafe {
        // CPython works out everything else from the executable, pyvenv.cfg included.
        if let Some(python3) = &python3 {
            set(python, |python| &raw mut python.executable, python3)?;
            set(python, |python| &raw mut python.program_name, python3)?;
        }
        match &config.home {
            Some(home) if !home.join("pyvenv.cfg").exists() => {
                set(python, |python| &raw mut python.home, home)
            }
            _ => Ok(()),
        }
    }
}

/// # Safety
///
/// `field` names a field of `python`, which is initialised.
unsafe fn set(
    python: &mut ffi::PyConfig,
    field: impl Fn(&mut ffi::PyConfig) -> *mut *mut libc::wchar_t,
    value: &Path,
) -> Result<(), String> {
    let text = CString::new(value.as_os_str().as_bytes())
        .map_err(|_| format!("\"{}\" holds a NUL", value.display()))?;
    let field = field(python);
    // SAFETY: the caller's; the text is copied.
    check(unsafe { ffi::PyConfig_SetBytesString(python, field, text.as_ptr()) })
}

fn check(status: ffi::PyStatus) -> Result<(), String> {
    // SAFETY: a status that CPython has just returned; its texts are static.
    unsafe {
        if ffi::PyStatus_Exception(status) == 0 {
            return Ok(());
        }
        if status.err_msg.is_null() {
            return Err(format!("it exited with code {}", status.exitcode));
        }
        Err(CStr::from_ptr(status.err_msg).to_string_lossy().into_owned())
    }
}
