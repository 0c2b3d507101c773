//! The end of a child that an application has forked.
//!
//! A child may run Python, start another program, or leave the application, and then it ends: it must not come back
//! as a second thread of the pool.

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;

use super::fork;
use super::logging;
use super::shim::Shim;
use super::sys;
use crate::bridge::code::Code;

/// Ends the process if it is a child, which has left the application, as `sys.exit` would. `error` is what the
/// application has raised.
#[inline]
pub(super) fn end_here(py: Python<'_>, shim: &Shim, error: Option<&PyErr>) {
    if fork::is_child() {
        end(py, shim, error);
    }
}

#[cold]
fn end(py: Python<'_>, shim: &Shim, error: Option<&PyErr>) -> ! {
    let code = match error {
        None => 0,
        Some(error) if error.is_instance_of::<PySystemExit>(py) => exit_code(py, error),
        Some(error) => {
            let what = "a forked child of the application raised";
            logging::exception(py, shim, Code::ChildRaised, what, error);
            1
        }
    };
    logging::leave(py, shim);
    // Without what the worker has registered for its own end.
    sys::exit_now(code)
}

/// The code of a SystemExit: its number, 0 for None, 1 for anything else.
fn exit_code(py: Python<'_>, error: &PyErr) -> i32 {
    match error.value(py).getattr("code") {
        Ok(code) if code.is_none() => 0,
        Ok(code) => code.extract().unwrap_or(1),
        Err(_) => 1,
    }
}
