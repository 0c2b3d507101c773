//! The built-in module `_pywsgi`: what the shim calls of Rust.

use pyo3::prelude::*;

use super::hooks;
use super::logging;
use super::signals;
use crate::bridge::log::Level;

#[pymodule]
pub(super) mod _pywsgi {
    use super::{Level, PyResult, Python, hooks, logging, pyfunction, signals};

    /// One line to nginx's error log, at nginx's level.
    #[pyfunction]
    fn log(py: Python<'_>, level: u8, line: String) -> PyResult<()> {
        logging::write_line(py, Level::from_number(level), line);
        Ok(())
    }

    /// One line to the process's standard error, with what the calling thread does: the worker ends now.
    #[pyfunction]
    fn log_last(line: &str) {
        logging::write_last(line);
    }

    /// Has Python's main thread look whether a signal's handler is to run.
    #[pyfunction]
    fn wake_main() {
        signals::wake_main();
    }

    /// threading.settrace() or threading.setprofile() was called.
    #[pyfunction]
    fn hooks_changed() {
        hooks::changed();
    }

    /// The calling thread has begun a line.
    #[pyfunction]
    fn unfinished() {
        logging::begin_line();
    }
}
