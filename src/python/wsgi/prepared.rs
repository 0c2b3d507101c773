//! What all threads of a worker share for WSGI.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::input;
use crate::http::wsgi::environ::KNOWN;
use crate::python::shim::{self, Shim};
use crate::python::validated::Validated;

pub(in crate::python) struct Prepared {
    /// `wsgi.errors`
    pub(super) errors: Py<PyAny>,
    /// The environ keys of [`KNOWN`], interned.
    pub(super) header_keys: Vec<Py<PyString>>,
    /// `pywsgi._files.real_file`
    pub(super) real_file: Py<PyAny>,
    /// Each application's callable within the checks of `wsgi_debug validate`.
    pub(super) validated: Validated,
}

/// Prepares the interpreter, once, for that many applications.
pub(in crate::python) fn prepare(py: Python<'_>, shim: &Shim, apps: usize) -> PyResult<Prepared> {
    input::register(py)?;
    let header_keys = KNOWN.iter().map(|(_, key)| PyString::intern(py, key).unbind()).collect();
    Ok(Prepared {
        errors: shim.errors.clone_ref(py),
        header_keys,
        real_file: shim::function(py, "pywsgi._files", "real_file")?.unbind(),
        validated: Validated::new("pywsgi._validate", apps),
    })
}
