//! What a thread takes for one request and uses again for the next: the objects to which nobody else has a
//! reference (a weak one does not count: it sees the object live on), and the values that both have in common.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::environ;
use super::input::Input;
use super::native::{Keys, Memo};
use super::request::Request;
use super::response::Response;
use super::start_response::StartResponse;
use crate::bridge::config::LocationConfig;
use crate::bridge::exchange::Exchange;
use crate::http::wsgi::environ::KNOWN;
use crate::python::runtime::Runtime;

pub(in crate::python) struct Kit {
    start_response: Option<Started>,
    /// One per location, by its id.
    templates: Vec<Option<Template>>,
    /// The location whose request the thread has now.
    location: usize,
    pub(super) memo: Memo,
    pub(super) keys: Keys,
}

/// What requests of a location share of environ, as far as the last one knew: a request's own begins as a copy
/// of it, and what is in it already need not be set.
struct Template {
    environ: Py<PyDict>,
    commons: [Option<Py<PyString>>; Common::Count as usize],
    /// `environ` has a reference to these as well.
    input: Option<Py<Input>>,
    request: Option<Py<Request>>,
}

/// Variables that requests of a location often have in common, and that all of them have.
#[derive(Clone, Copy)]
pub(super) enum Common {
    ServerName,
    ServerPort,
    RemoteAddr,
    Count,
}

/// `start_response` and `write` are methods of one object: a method is called without a tuple of its
/// arguments.
struct Started {
    object: Py<StartResponse>,
    start_response: Py<PyAny>,
    write: Py<PyAny>,
}

impl Common {
    /// The place in [`Kit::memo`], after those of [`KNOWN`].
    fn place(self) -> usize {
        KNOWN.len() + self as usize
    }
}

impl Kit {
    pub(in crate::python) fn new() -> Self {
        Self {
            start_response: None,
            templates: Vec::new(),
            location: 0,
            memo: Memo::new(Common::Count.place()),
            keys: Keys::new(),
        }
    }

    /// A new dict with what all requests of a location share of environ, and with what the last one had.
    pub(super) fn environ<'py>(
        &mut self,
        py: Python<'py>,
        runtime: &Runtime,
        location: &LocationConfig,
    ) -> PyResult<Bound<'py, PyDict>> {
        self.location = location.id;
        if self.templates.len() <= location.id {
            self.templates.resize_with(location.id + 1, || None);
        }
        if let Some(place @ None) = self.templates.get_mut(location.id) {
            let environ = environ::template(py, runtime, location)?.unbind();
            let commons = [const { None }; Common::Count as usize];
            *place = Some(Template { environ, commons, input: None, request: None });
        }
        self.template()?.environ.bind(py).copy()
    }

    /// The template of the request's location: [`environ`](Self::environ) has seen to it that there is one.
    fn template(&mut self) -> PyResult<&mut Template> {
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
        let py = environ.py();
        let value = self.memo.decode(py, common.place(), bytes)?;
        let template = self.template()?;
        if let Some(place) = template.commons.get_mut(common as usize) {
            if place.as_ref().is_some_and(|last| last.is(&value)) {
                return Ok(());
            }
            template.environ.bind(py).set_item(key, &value)?;
            *place = Some(value.clone().unbind());
        }
        environ.set_item(key, value)
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

    /// Sets `wsgi.input` and `pywsgi.request` in a copy of the template: those of `exchange`.
    pub(super) fn set_own<'py>(
        &mut self,
        environ: &Bound<'py, PyDict>,
        exchange: &Arc<Exchange>,
    ) -> PyResult<()> {
        let py = environ.py();
        let template = self.template()?;
        let shared = template.environ.bind(py);
        match &template.input {
            Some(input) => input.borrow_mut(py).begin(exchange),
            None => {
                let input = Py::new(py, Input::new(exchange))?;
                for environ in [shared, environ] {
                    environ.set_item(intern!(py, "wsgi.input"), &input)?;
                }
                template.input = Some(input);
            }
        }
        match &template.request {
            Some(request) => request.get().begin(py, exchange),
            None => {
                let request = Py::new(py, Request::new(exchange))?;
                for environ in [shared, environ] {
                    environ.set_item(intern!(py, "pywsgi.request"), &request)?;
                }
                template.request = Some(request);
            }
        }
        Ok(())
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
        let Some(Some(template)) = self.templates.get_mut(self.location) else { return };
        match &template.input {
            // The template's dict, and this.
            Some(input) if count(py, input) == 2 => input.borrow_mut(py).end(),
            _ => {
                template.input = None;
                forget(py, &template.environ, intern!(py, "wsgi.input"));
            }
        }
        match &template.request {
            Some(request) if count(py, request) == 2 => request.get().end(py),
            _ => {
                template.request = None;
                forget(py, &template.environ, intern!(py, "pywsgi.request"));
            }
        }
    }
}

/// Takes a request's object out of its location's template; its place stays.
fn forget(py: Python<'_>, environ: &Py<PyDict>, key: &Bound<'_, PyString>) {
    // The place is there, so that this needs no memory.
    let _set = environ.bind(py).set_item(key, py.None());
}

/// How many hold the object. The GIL is held, so that nobody becomes one more meanwhile.
fn count<T>(_py: Python<'_>, object: &Py<T>) -> ffi::Py_ssize_t {
    // SAFETY: attached, and the reference keeps the object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}
