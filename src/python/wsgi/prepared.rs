//! What all threads of a worker share for WSGI.

use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::input;
use crate::http::wsgi::environ::KNOWN;
use crate::python::app::App;
use crate::python::shim::{self, Shim};

pub(in crate::python) struct Prepared {
    /// `wsgi.errors`
    pub(super) errors: Py<PyAny>,
    /// The environ keys of [`KNOWN`], interned.
    pub(super) header_keys: Vec<Py<PyString>>,
    /// `pywsgi._files.real_file`
    pub(super) real_file: Py<PyAny>,
    /// Each application's callable within the checks of `wsgi_debug validate`, once there is one.
    validated: Vec<OnceLock<Py<PyAny>>>,
}

/// Prepares the interpreter, once, for that many applications.
pub(in crate::python) fn prepare(py: Python<'_>, shim: &Shim, apps: usize) -> PyResult<Prepared> {
    input::register(py)?;
    let header_keys = KNOWN.iter().map(|(_, key)| PyString::intern(py, key).unbind()).collect();
    Ok(Prepared {
        errors: shim.errors.clone_ref(py),
        header_keys,
        real_file: shim::function(py, "pywsgi._files", "real_file")?.unbind(),
        validated: std::iter::repeat_with(OnceLock::new).take(apps).collect(),
    })
}

impl Prepared {
    /// `callable` within the checks of `wsgi_debug validate`.
    pub(super) fn validated(
        &self,
        py: Python<'_>,
        app: &App,
        callable: &Py<PyAny>,
    ) -> PyResult<&Py<PyAny>> {
        let Some(place) = self.validated.get(app.at) else {
            return Err(PyRuntimeError::new_err("no such application was prepared"));
        };
        if let Some(validated) = place.get() {
            return Ok(validated);
        }
        let validator = shim::function(py, "pywsgi._validate", "validator")?;
        let validated = validator.call1((callable,))?.unbind();
        Ok(place.get_or_init(|| validated))
    }
}
