//! The lifespan of an application: what it does before its first request, and after its last one. The shim runs it
//! (`_lifespan.py`); this is where requests find how far it is.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::bridge::config::{Lifespan as Mode, LifespanConfig};
use crate::python::shim;

/// One application's.
pub(in crate::python) struct Lifespan {
    object: Py<PyAny>,
    pub(in crate::python) stage: Stage,
}

/// How far it is.
pub(in crate::python) enum Stage {
    /// Requests wait.
    Starting,
    Started,
}

impl Lifespan {
    /// That of `callable`, not begun. It begins by its object's `start(loop, done)`.
    pub(in crate::python) fn new(
        py: Python<'_>,
        callable: &Py<PyAny>,
        config: &LifespanConfig,
        target: &str,
    ) -> PyResult<Self> {
        let mode = match config.mode {
            Mode::Auto => "auto",
            Mode::On => "on",
            Mode::Off => "off",
        };
        let object = shim::function(py, "pywsgi._lifespan", "Lifespan")?.call1((
            callable,
            mode,
            config.startup_timeout.as_secs_f64(),
            config.shutdown_timeout.as_secs_f64(),
            target,
        ))?;
        // An application that is not asked is ready.
        let stage = if config.mode == Mode::Off { Stage::Started } else { Stage::Starting };
        Ok(Self { object: object.unbind(), stage })
    }

    /// `pywsgi._lifespan.Lifespan`
    pub(in crate::python) fn object(&self) -> &Py<PyAny> {
        &self.object
    }

    /// What the application has kept for its requests, by a lifespan's object.
    pub(in crate::python) fn state_of<'py>(
        py: Python<'py>,
        object: &Py<PyAny>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let state = object.bind(py).getattr(intern!(py, "state"))?;
        Ok(state.cast_into::<PyDict>().ok())
    }
}
