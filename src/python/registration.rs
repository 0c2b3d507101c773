//! What an import registers by `pywsgi.on_worker_start` and the like (`pywsgi._hooks`): it counts if the import
//! succeeds.

use pyo3::prelude::*;

use super::logging;
use super::shim::Shim;
use crate::bridge::code::Code;
use crate::bridge::config::Purpose;

/// An import that runs on this thread. If it is dropped, the import has failed.
pub(super) struct Registration<'py> {
    py: Python<'py>,
    shim: &'py Shim,
    /// `python_check` only looks whether it can be imported.
    serves: bool,
    is_over: bool,
}

impl<'py> Registration<'py> {
    pub(super) fn begin(py: Python<'py>, shim: &'py Shim, purpose: Purpose) -> Self {
        if let Err(error) = shim.begin_import.call0(py) {
            let what = "what an import registers is called at once";
            logging::exception(py, shim, Code::HooksFault, what, &error);
        }
        Self { py, shim, serves: purpose == Purpose::Serve, is_over: false }
    }

    /// The import has succeeded: functions of `on_worker_start` are called now.
    pub(super) fn take_effect(mut self) {
        self.end(self.serves);
    }

    fn end(&mut self, succeeded: bool) {
        self.is_over = true;
        if let Err(error) = self.shim.end_import.call1(self.py, (succeeded,)) {
            let what = "what an import has registered is dropped";
            logging::exception(self.py, self.shim, Code::HooksFault, what, &error);
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(false);
        }
    }
}
