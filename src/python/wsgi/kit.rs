//! What a thread uses again for its next request: the objects of the last one to which the application has kept no
//! reference (weak references do not count: they see the object live on), and the values that both have in common.
//! To make `start_response` and `write` for each request would cost 1,300 instructions more, of a hello's 24,800.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::native::{Keys, Memo};
use super::prepared::Prepared;
use super::start_response::StartResponse;
use super::template::{Common, Template};
use crate::bridge::exchange::Exchange;
use crate::http::wsgi::environ::KNOWN;
use crate::python::attached::references;
use crate::python::response::Response;

pub(in crate::python) struct Kit {
    start_response: Option<Started>,
    /// One per location, by its id.
    templates: Vec<Option<Template>>,
    /// The location whose request the thread has now.
    location: usize,
    pub(super) memo: Memo,
    pub(super) keys: Keys,
}

/// `start_response` and `write` are methods of one object: a method is called without a tuple of its
/// arguments.
struct Started {
    object: Py<StartResponse>,
    start_response: Py<PyAny>,
    write: Py<PyAny>,
}

impl Kit {
    pub(in crate::python) fn new() -> Self {
        Self {
            start_response: None,
            templates: Vec::new(),
            location: 0,
            memo: Memo::new(KNOWN.len() + Common::Count as usize),
            keys: Keys::new(),
        }
    }

    /// A new dict with what all requests of the location share of environ, as the last one had it.
    pub(super) fn environ<'py>(
        &mut self,
        py: Python<'py>,
        wsgi: &Prepared,
        exchange: &Exchange,
    ) -> PyResult<Bound<'py, PyDict>> {
        let location = exchange.location.id;
        self.location = location;
        if self.templates.len() <= location {
            self.templates.resize_with(location + 1, || None);
        }
        if let Some(place @ None) = self.templates.get_mut(location) {
            *place = Some(Template::new(py, wsgi, exchange)?);
        }
        self.template()?.copy(py)
    }

    /// The template of the request's location, which [`environ`](Self::environ) has made.
    pub(super) fn template(&mut self) -> PyResult<&mut Template> {
        let template = self.templates.get_mut(self.location).and_then(Option::as_mut);
        template.ok_or_else(|| PyRuntimeError::new_err("no environ has been begun"))
    }

    /// Sets a variable in a copy of the template: at `key`, to `bytes`.
    pub(super) fn set_common<'py>(
        &mut self,
        environ: &Bound<'py, PyDict>,
        common: Common,
        key: &Bound<'py, PyString>,
        bytes: &[u8],
    ) -> PyResult<()> {
        // After the places of KNOWN.
        let place = KNOWN.len() + common as usize;
        let value = self.memo.decode(environ.py(), place, bytes)?;
        self.template()?.set_common(environ, common, key, value)
    }

    /// `start_response` for `response`.
    pub(super) fn start_response<'py>(
        &mut self,
        py: Python<'py>,
        response: &Arc<Response>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let started = match self.start_response.take() {
            Some(started) => started,
            None => {
                let object = Bound::new(py, StartResponse::new())?;
                let start_response = object.getattr(intern!(py, "start_response"))?.unbind();
                let write = object.getattr(intern!(py, "write"))?.unbind();
                Started { object: object.unbind(), start_response, write }
            }
        };
        started.object.get().begin(py, response, &started.write);
        let start_response = started.start_response.bind(py).clone();
        self.start_response = Some(started);
        Ok(start_response)
    }

    /// The application has returned: keeps the objects to which nobody else has a reference, without their request.
    pub(in crate::python) fn release(&mut self, py: Python<'_>) {
        if let Some(started) = &self.start_response {
            let object = started.object.get();
            object.forget_write(py);
            // Its methods refer to it.
            let alone = references(py, &started.object) == 3
                && references(py, &started.start_response) == 1
                && references(py, &started.write) == 1;
            if alone {
                object.end(py);
            } else {
                self.start_response = None;
            }
        }
        if let Some(Some(template)) = self.templates.get_mut(self.location) {
            template.release(py);
        }
    }
}
