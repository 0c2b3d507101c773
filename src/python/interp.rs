//! The interpreter's start and end (PEP 587, "Python Initialization Configuration").

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyo3::ffi;

use super::builtin::_pywsgi;
use crate::bridge::config::{HashSeed, InterpreterConfig, PythonConfig};

/// An initialised interpreter, from which this thread is detached. The thread is Python's main thread.
pub(super) struct Interpreter {
    main: *mut ffi::PyThreadState,
}

impl Interpreter {
    /// Initialises the interpreter of this process, once. An error is a sentence for the log.
    pub(super) fn start(config: &PythonConfig) -> Result<Self, String> {
        pyo3::append_to_inittab!(_pywsgi);
        pre_initialize(&config.interpreter)?;
        let config = Config::of(config)?;
        // SAFETY: Python is pre-initialised, and the structure is initialised.
        check(unsafe { ffi::Py_InitializeFromConfig(&raw const config.0) })?;
        // SAFETY: the line above has attached this thread.
        let main = unsafe { ffi::PyEval_SaveThread() };
        Ok(Self { main })
    }

    /// Finalises. On the thread that has started it, with no other thread of Python left. False if Python could not
    /// write all of its output.
    pub(super) fn finalize(self) -> bool {
        // SAFETY: `start` saved this thread's state, and nobody is attached with it.
        unsafe { ffi::PyEval_RestoreThread(self.main) };
        // SAFETY: attached, on Python's main thread.
        unsafe { ffi::Py_FinalizeEx() == 0 }
    }
}

fn pre_initialize(settings: &InterpreterConfig) -> Result<(), String> {
    // SAFETY: all fields are numbers.
    let mut config: ffi::PyPreConfig = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is this function's own.
    unsafe { ffi::PyPreConfig_InitPythonConfig(&raw mut config) };
    config.utf8_mode = 1;
    // nginx has cleared LANG and LC_*, or the user has set them by python_env.
    config.coerce_c_locale = 0;
    // Of the options it is the one that CPython looks at so early: it chooses the allocators.
    if settings.has_xoption(DEVELOPMENT) {
        config.dev_mode = 1;
    }
    // SAFETY: the structure is initialised; nothing of Python has run in this process.
    check(unsafe { ffi::Py_PreInitialize(&raw const config) })
}

/// An initialised PyConfig. Python is pre-initialised.
struct Config(ffi::PyConfig);

impl Config {
    fn of(config: &PythonConfig) -> Result<Self, String> {
        let mut python = Self::new();
        // nginx handles the signals, and its command line is not Python's.
        python.0.install_signal_handlers = 0;
        python.0.parse_argv = 0;
        // Workers do not import what the user who starts nginx has installed in his home.
        python.0.user_site_directory = 0;
        let python3 = match &config.home {
            Some(home) => Some(home.join("bin/python3")),
            // Not `python_executable`, which is sys.executable alone: what starts another Python.
            None => option_env!("PYWSGI_PYTHON_EXECUTABLE").map(PathBuf::from),
        };
        // CPython works out everything else from the executable, pyvenv.cfg included.
        if let Some(python3) = &python3 {
            python.set(|python| &mut python.executable, python3)?;
            python.set(|python| &mut python.program_name, python3)?;
        }
        match &config.home {
            Some(home) if !home.join("pyvenv.cfg").exists() => {
                python.set(|python| &mut python.home, home)?;
            }
            _ => {}
        }
        python.apply(&config.interpreter)?;
        Ok(python)
    }

    /// Sets what directives say. CPython then reads its environment variables (`PyConfig_Read`), of which some can
    /// add to that.
    fn apply(&mut self, settings: &InterpreterConfig) -> Result<(), String> {
        let python = &mut self.0;
        if let Some(level) = settings.optimize {
            python.optimization_level = level.into();
        }
        if let Some(is_off) = settings.dont_write_bytecode {
            python.write_bytecode = (!is_off).into();
        }
        match settings.hash_seed {
            Some(HashSeed::Random) => (python.use_hash_seed, python.hash_seed) = (0, 0),
            Some(HashSeed::Fixed(seed)) => {
                (python.use_hash_seed, python.hash_seed) = (1, seed.into());
            }
            None => {}
        }
        // CPython reads this option from its command line alone (`_PyPreCmdline_Read`).
        if settings.has_xoption(DEVELOPMENT) {
            python.dev_mode = 1;
        }
        for filter in &settings.warnings {
            append(&mut python.warnoptions, filter)?;
        }
        for option in &settings.xoptions {
            append(&mut python.xoptions, option)?;
        }
        Ok(())
    }

    fn new() -> Self {
        // SAFETY: all fields are numbers, or pointers that may be null.
        let mut python: ffi::PyConfig = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is this function's own.
        unsafe { ffi::PyConfig_InitPythonConfig(&raw mut python) };
        Self(python)
    }

    fn set(
        &mut self,
        field: fn(&mut ffi::PyConfig) -> &mut *mut libc::wchar_t,
        value: &Path,
    ) -> Result<(), String> {
        let text = CString::new(value.as_os_str().as_bytes())
            .map_err(|_| format!("\"{}\" holds a NUL", value.display()))?;
        let field = &raw mut *field(&mut self.0);
        // SAFETY: the structure is initialised, and the field is one of its strings; the text is copied.
        check(unsafe { ffi::PyConfig_SetBytesString(&raw mut self.0, field, text.as_ptr()) })
    }
}

/// Adds to a list of an initialised PyConfig. Python is pre-initialised.
fn append(list: &mut ffi::PyWideStringList, text: &str) -> Result<(), String> {
    let bytes = CString::new(text).map_err(|_| format!("\"{text}\" holds a NUL"))?;
    // SAFETY: a text that ends in NUL; of its length nothing is asked.
    let wide = unsafe { ffi::Py_DecodeLocale(bytes.as_ptr(), std::ptr::null_mut()) };
    if wide.is_null() {
        return Err(format!("\"{text}\" cannot be decoded"));
    }
    // SAFETY: the list is initialised, and copies the text, which Py_DecodeLocale has allocated for its caller.
    let appended = unsafe {
        let appended = ffi::PyWideStringList_Append(list, wide);
        ffi::PyMem_RawFree(wide.cast());
        appended
    };
    check(appended)
}

/// Python's development mode.
const DEVELOPMENT: &str = "dev";

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: `new` has initialised it; CPython has copied what it keeps.
        unsafe { ffi::PyConfig_Clear(&raw mut self.0) };
    }
}

fn check(status: ffi::PyStatus) -> Result<(), String> {
    // SAFETY: CPython has just returned the status, and this function reads it alone.
    if unsafe { ffi::PyStatus_Exception(status) } == 0 {
        return Ok(());
    }
    if status.err_msg.is_null() {
        return Err(format!("it exited with code {}", status.exitcode));
    }
    // SAFETY: the texts of a status are static, and end in NUL.
    Err(unsafe { CStr::from_ptr(status.err_msg) }.to_string_lossy().into_owned())
}
