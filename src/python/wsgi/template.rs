//! What the requests of a location share of environ. A request's environ begins as a copy of it.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::file_wrapper::FileWrapper;
use super::input::Input;
use super::prepared::Prepared;
use super::request::Request;
use crate::bridge::exchange::Exchange;
use crate::python::attached::references;

const SERVER_SOFTWARE: &str = concat!("pywsgi/", env!("CARGO_PKG_VERSION"));

/// What the template says of each request.
pub(super) const METHOD: &str = "GET";
pub(super) const PROTOCOL: &str = "HTTP/1.1";

/// The environ of a location's requests, with the values that the last one of this thread had: what is the same for the
/// next one need not be set in its copy.
pub(super) struct Template {
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
    /// How many there are.
    Count,
}

impl Template {
    pub(super) fn new(py: Python<'_>, wsgi: &Prepared, exchange: &Exchange) -> PyResult<Self> {
        Ok(Self {
            environ: shared(py, wsgi, exchange)?.unbind(),
            commons: [const { None }; Common::Count as usize],
            input: None,
            request: None,
        })
    }

    /// A new dict with all that the template has.
    pub(super) fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.environ.bind(py).copy()
    }

    /// Sets a variable in a copy of the template, and for the copies to come.
    pub(super) fn set_common<'py>(
        &mut self,
        environ: &Bound<'py, PyDict>,
        common: Common,
        key: &Bound<'py, PyString>,
        value: Bound<'py, PyString>,
    ) -> PyResult<()> {
        if let Some(place) = self.commons.get_mut(common as usize) {
            if place.as_ref().is_some_and(|last| last.is(&value)) {
                return Ok(());
            }
            self.environ.bind(environ.py()).set_item(key, &value)?;
            *place = Some(value.clone().unbind());
        }
        environ.set_item(key, value)
    }

    /// Sets `wsgi.input` and `pywsgi.request` in a copy of the template: those of `exchange`.
    pub(super) fn set_own<'py>(
        &mut self,
        environ: &Bound<'py, PyDict>,
        exchange: &Arc<Exchange>,
    ) -> PyResult<()> {
        let py = environ.py();
        let shared = self.environ.bind(py);
        match &self.input {
            Some(input) => input.borrow_mut(py).begin(exchange),
            None => {
                let input = Py::new(py, Input::new(exchange))?;
                for environ in [shared, environ] {
                    environ.set_item(intern!(py, "wsgi.input"), &input)?;
                }
                self.input = Some(input);
            }
        }
        match &self.request {
            Some(request) => request.get().begin(py, exchange),
            None => {
                let request = Py::new(py, Request::new(exchange))?;
                for environ in [shared, environ] {
                    environ.set_item(intern!(py, "pywsgi.request"), &request)?;
                }
                self.request = Some(request);
            }
        }
        Ok(())
    }

    /// The request is over: keeps the objects to which nobody else has a reference, without their request.
    pub(super) fn release(&mut self, py: Python<'_>) {
        match &self.input {
            // The template's dict, and this.
            Some(input) if references(py, input) == 2 => input.borrow_mut(py).end(),
            _ => {
                self.input = None;
                self.forget(py, intern!(py, "wsgi.input"));
            }
        }
        match &self.request {
            Some(request) if references(py, request) == 2 => request.get().end(py),
            _ => {
                self.request = None;
                self.forget(py, intern!(py, "pywsgi.request"));
            }
        }
    }

    /// Takes a request's object out of the dict. Its place stays, so that this needs no memory and cannot fail.
    fn forget(&self, py: Python<'_>, key: &Bound<'_, PyString>) {
        let _set = self.environ.bind(py).set_item(key, py.None());
    }
}

/// What all requests of a location share, and what most have in common: [`environ`](super::environ) sets what differs.
fn shared<'py>(
    py: Python<'py>,
    wsgi: &Prepared,
    exchange: &Exchange,
) -> PyResult<Bound<'py, PyDict>> {
    let environ = PyDict::new(py);
    let location = &exchange.location;
    let threads = exchange.executor().map_or(1, |executor| executor.threads());
    environ.set_item(intern!(py, "wsgi.version"), (1, 0))?;
    environ.set_item(intern!(py, "wsgi.errors"), &wsgi.errors)?;
    environ.set_item(intern!(py, "wsgi.multithread"), threads > 1)?;
    environ.set_item(intern!(py, "wsgi.multiprocess"), true)?;
    environ.set_item(intern!(py, "wsgi.run_once"), false)?;
    environ.set_item(intern!(py, "wsgi.input_terminated"), true)?;
    if location.file_wrapper {
        environ.set_item(intern!(py, "wsgi.file_wrapper"), py.get_type::<FileWrapper>())?;
    }
    environ.set_item(intern!(py, "SERVER_SOFTWARE"), SERVER_SOFTWARE)?;
    environ.set_item(intern!(py, "SCRIPT_NAME"), "")?;
    environ.set_item(intern!(py, "REQUEST_METHOD"), METHOD)?;
    environ.set_item(intern!(py, "QUERY_STRING"), "")?;
    environ.set_item(intern!(py, "SERVER_PROTOCOL"), PROTOCOL)?;
    environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "http"))?;
    environ.set_item(intern!(py, "REQUEST_SCHEME"), intern!(py, "http"))?;
    // Each request has these. They are here so that a copy of the dict has room for them.
    let own = [
        intern!(py, "PATH_INFO"),
        intern!(py, "REQUEST_URI"),
        intern!(py, "RAW_URI"),
        intern!(py, "SERVER_NAME"),
        intern!(py, "SERVER_PORT"),
        intern!(py, "REMOTE_ADDR"),
        intern!(py, "REMOTE_PORT"),
        intern!(py, "wsgi.input"),
        intern!(py, "pywsgi.request"),
    ];
    for key in own {
        environ.set_item(key, py.None())?;
    }
    Ok(environ)
}
