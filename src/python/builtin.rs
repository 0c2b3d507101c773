//! The built-in module `_pywsgi`: what the shim calls of Rust.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::hooks;
use super::logging::{self, Saying};
use super::{signals, worker_hooks};
use crate::bridge::code::Code;
use crate::bridge::log::Level;
use crate::bridge::output_log::Form;
use crate::bridge::record::{Record, Said};
use crate::metrics::json::json;

/// The code of that name.
fn named(code: &str) -> PyResult<Code> {
    Code::named(code).ok_or_else(|| PyValueError::new_err(format!("no code is named {code:?}")))
}

#[pymodule]
pub(super) mod _pywsgi {
    use super::{
        Bound, Form, Level, PyDict, PyResult, Python, Record, Said, Saying, hooks, json, logging,
        named, pyfunction, signals, worker_hooks,
    };

    /// A message of the module to nginx's error log, by the name of its code.
    #[pyfunction]
    fn log(py: Python<'_>, code: &str, text: &str) -> PyResult<()> {
        logging::write(py, named(code)?, text);
        Ok(())
    }

    /// The same of an exception. Its traceback goes where its application's output goes.
    #[pyfunction]
    fn report(py: Python<'_>, code: &str, what: &str, traceback: &str) -> PyResult<()> {
        logging::write_report(py, named(code)?, what, traceback);
        Ok(())
    }

    /// In which forms what an application says at nginx's level is wanted: lines 1, text 2, JSON 4.
    #[pyfunction]
    fn forms(py: Python<'_>, level: u8) -> u8 {
        let forms = logging::forms(py, Level::from_number(level));
        forms.into_iter().fold(0, |forms, form| {
            forms
                | match form {
                    Form::Lines => 1,
                    Form::Text => 2,
                    Form::Json => 4,
                }
        })
    }

    /// What an application says, at nginx's level. Without `message` each of its lines is a record.
    #[pyfunction]
    #[pyo3(signature = (level, logger, lines, text=None, message=None, traceback=None))]
    fn say(
        py: Python<'_>,
        level: u8,
        logger: &str,
        lines: &str,
        text: Option<&str>,
        message: Option<&str>,
        traceback: Option<&str>,
    ) {
        let said = match message {
            Some(message) => Said::Message { message, traceback },
            None => Said::Lines(lines),
        };
        let record = Record { level: Level::from_number(level), logger, said };
        logging::say(py, &Saying { record, lines, text: text.unwrap_or(lines) });
    }

    /// One line to the process's standard error, with what the calling thread does: the worker ends now.
    #[pyfunction]
    fn log_last(code: &str, line: &str) -> PyResult<()> {
        logging::write_last(named(code)?, line);
        Ok(())
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

    /// The numbers of all workers as JSON; None if they share no memory.
    #[pyfunction]
    fn status(py: Python<'_>) -> Option<String> {
        let own = logging::worker()?.meters.own()?;
        Some(py.detach(|| json(&own.board.snapshot()).to_string()))
    }

    /// From now on requests that are over are kept for `next_finished`.
    #[pyfunction]
    fn want_finished() {
        worker_hooks::want_finished();
    }

    /// Waits for the next one: the arguments of `pywsgi.FinishedRequest`; `None` as the worker exits.
    #[pyfunction]
    fn next_finished(py: Python<'_>) -> PyResult<Option<Bound<'_, PyDict>>> {
        worker_hooks::next_finished(py)
    }

    /// How many were dropped since the last call, because too many waited.
    #[pyfunction]
    fn dropped_finished() -> u64 {
        worker_hooks::dropped_finished()
    }

    /// The worker exits.
    #[pyfunction]
    fn end_finished() {
        worker_hooks::end_finished();
    }

    /// Has this worker replaced; false if it is none.
    #[pyfunction]
    fn restart_worker() -> bool {
        worker_hooks::restart()
    }

    /// The calling thread has begun a line.
    #[pyfunction]
    fn unfinished() {
        logging::begin_line();
    }
}
