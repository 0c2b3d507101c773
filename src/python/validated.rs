//! `…_debug validate`: each application's callable within the checks of its protocol.

use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::app::App;
use super::shim;
use crate::bridge::config::Debug;

pub(super) struct Validated {
    /// The module of the shim whose `validator` makes them.
    module: &'static str,
    /// One per application, once there is one.
    callables: Vec<OnceLock<Py<PyAny>>>,
}

impl Validated {
    pub(super) fn new(module: &'static str, apps: usize) -> Self {
        let callables = std::iter::repeat_with(OnceLock::new).take(apps).collect();
        Self { module, callables }
    }

    /// `callable`, within the checks if a location wants that.
    pub(super) fn callable<'a>(
        &'a self,
        py: Python<'_>,
        app: &App,
        callable: &'a Py<PyAny>,
        debug: Debug,
    ) -> PyResult<&'a Py<PyAny>> {
        match debug {
            Debug::Off | Debug::Traceback => return Ok(callable),
            Debug::Validate => {}
        }
        let Some(place) = self.callables.get(app.at) else {
            return Err(PyRuntimeError::new_err("no such application was prepared"));
        };
        if let Some(validated) = place.get() {
            return Ok(validated);
        }
        let validator = shim::function(py, self.module, "validator")?;
        let validated = validator.call1((callable,))?.unbind();
        Ok(place.get_or_init(|| validated))
    }
}
