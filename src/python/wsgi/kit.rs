//! What a thread takes for one request and uses again for the next: the objects to which nobody else has a
//! reference (a weak one does not count: it sees the object live on), and the values that both have in common.

use std::sync::Arc;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::environ;
use super::input::Input;
use super::native::{Keys, Memo};
use super::request::Request;
use super::response::Response;
use super::start_response::StartResponse;
use crate::bridge::config::LocationConfig;
use crate::bridge::exchange::Job;
use crate::http::environ::KNOWN;
use crate::python::runtime::Runtime;

pub(in crate::python) struct Kit {
    start_response: Option<Started>,
    input: Option<Py<Input>>,
    request: Option<Py<Request>>,
    /// What all requests of a location share of environ, by the location's id.
    templates: Vec<Option<Py<PyDict>>>,
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

/// Places in [`Kit::memo`] after those of [`KNOWN`].
#[derive(Clone, Copy)]
pub(super) enum Place {
    ServerName,
    ServerPort,
    RemoteAddr,
    Count,
}

impl Place {
    pub(super) fn index(self) -> usize {
        KNOWN.len() + self as usize
    }
}

impl Kit {
    pub(in crate::python) fn new() -> Self {
        Self {
            start_response: None,
            input: None,
            request: None,
            templates: Vec::new(),
            memo: Memo::new(Place::Count.index()),
            keys: Keys::new(),
        }
    }

    /// A new dict with what all requests of a location share of environ.
    pub(super) fn environ<'py>(
        &mut self,
        py: Python<'py>,
        runtime: &Runtime,
        location: &LocationConfig,
    ) -> PyResult<Bound<'py, PyDict>> {
        if self.templates.len() <= location.id {
            self.templates.resize_with(location.id + 1, || None);
        }
        let template = match self.templates.get(location.id) {
            Some(Some(template)) => template.bind(py).clone(),
            _ => {
                let template = environ::template(py, runtime, location)?;
                if let Some(place) = self.templates.get_mut(location.id) {
                    *place = Some(template.clone().unbind());
                }
                template
            }
        };
        template.copy()
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

    /// `wsgi.input` of `job`.
    pub(super) fn input<'py>(&mut self, py: Python<'py>, job: &Job) -> PyResult<Bound<'py, Input>> {
        let input = match self.input.take() {
            Some(input) => {
                input.borrow_mut(py).begin(job);
                input
            }
            None => Py::new(py, Input::new(job))?,
        };
        let bound = input.bind(py).clone();
        self.input = Some(input);
        Ok(bound)
    }

    /// `pywsgi.request` of `job`.
    pub(super) fn request<'py>(
        &mut self,
        py: Python<'py>,
        job: &Job,
    ) -> PyResult<Bound<'py, Request>> {
        let request = match self.request.take() {
            Some(request) => {
                request.get().begin(py, job);
                request
            }
            None => Py::new(py, Request::new(job))?,
        };
        let bound = request.bind(py).clone();
        self.request = Some(request);
        Ok(bound)
    }

    /// The application has been left: keeps what nobody else has, and lets it forget its request.
    pub(in crate::python) fn release(&mut self, py: Python<'_>) {
        if let Some(started) = &self.start_response {
            let object = started.object.get();
            object.forget_write(py);
            // Its methods refer to it.
            let alone = count(py, &started.object) == 3
                && count(py, &started.start_response) == 1
                && count(py, &started.write) == 1;
            if alone {
                object.end(py);
            } else {
                self.start_response = None;
            }
        }
        match &self.input {
            Some(input) if count(py, input) == 1 => input.borrow_mut(py).end(),
            _ => self.input = None,
        }
        match &self.request {
            Some(request) if count(py, request) == 1 => request.get().end(py),
            _ => self.request = None,
        }
    }
}

/// How many hold the object. The GIL is held, so that nobody becomes one more meanwhile.
fn count<T>(_py: Python<'_>, object: &Py<T>) -> ffi::Py_ssize_t {
    // SAFETY: attached, and the reference keeps the object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}
