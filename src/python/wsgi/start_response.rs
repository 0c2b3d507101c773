//! `start_response` and `write` (PEP 3333, "The start_response() Callable").

use std::sync::Arc;

use pyo3::exceptions::{PyAssertionError, PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::native::text;
use crate::bridge::pipe::input::InputError;
use crate::bridge::pipe::output::Overflow;
use crate::http::field::{self, Field};
use crate::http::response_head::ResponseHead;
use crate::http::status;
use crate::python::attached::Attached;
use crate::python::block::share;
use crate::python::client_gone::os_error;
use crate::python::response::{MAX_HEAD, Response, Start, Unsent};
use crate::python::type_name::type_name;

/// `start_response` of one request, and the `write` that it returns. Both are methods of it: CPython calls a
/// method without a tuple of its arguments.
#[pyclass(frozen, module = "pywsgi", name = "start_response")]
pub(super) struct StartResponse(Attached<Bindings>);

#[derive(Default)]
struct Bindings {
    response: Option<Arc<Response>>,
    /// The method `write`, as long as the request lasts. It has a reference to this object.
    write: Option<Py<PyAny>>,
}

impl StartResponse {
    pub(super) fn new() -> Self {
        Self(Attached::default())
    }

    /// Belongs to `response` from here on.
    pub(super) fn begin(&self, py: Python<'_>, response: &Arc<Response>, write: &Py<PyAny>) {
        let bindings =
            Bindings { response: Some(Arc::clone(response)), write: Some(write.clone_ref(py)) };
        let before = std::mem::replace(&mut *self.0.borrow(py), bindings);
        drop(before);
    }

    /// The request is over. If the application has kept this object, it cannot use it any more.
    pub(super) fn forget_write(&self, py: Python<'_>) {
        // Dropped after the borrow: it may be the last reference, and freeing it may run Python.
        let write = self.0.borrow(py).write.take();
        drop(write);
    }

    /// Belongs to no response any more.
    pub(super) fn end(&self, py: Python<'_>) {
        self.0.borrow(py).response = None;
    }

    fn response(&self, py: Python<'_>) -> PyResult<Arc<Response>> {
        let response = self.0.borrow(py).response.clone();
        response
            .ok_or_else(|| PyRuntimeError::new_err("the request of this start_response is over"))
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info=None))]
    fn start_response<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let response = slf.get().response(py)?;
        match exc_info {
            Some(exc_info) if response.head_sent(py) => return Err(raised(exc_info)?),
            None if response.is_called(py) => {
                return Err(PyAssertionError::new_err(
                    "start_response was called a second time without exc_info (PEP 3333, \"The \
                     start_response() Callable\")",
                ));
            }
            _ => {}
        }
        response.start(py, parse(status, headers)?);
        let write = slf.get().0.borrow(py).write.as_ref().map(|write| write.clone_ref(py));
        match write {
            Some(write) => Ok(write.into_bound(py)),
            None => slf.getattr(intern!(py, "write")),
        }
    }

    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let response = self.response(py)?;
        let data = data.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!("write() takes bytes, not {}", type_name(data)))
        })?;
        if data.as_bytes().is_empty() || response.sends_no_body(py) {
            return Ok(());
        }
        match response.send(py, share(data), None, false) {
            Ok(_) if response.has_rest(py) => response.spill(py).map_err(overflow),
            Ok(_) => Ok(()),
            Err(Unsent::Gone) => Err(os_error(InputError::Answered)),
            Err(Unsent::NotStarted) => Err(PyAssertionError::new_err(
                "write() was called before start_response (PEP 3333, \"The write() Callable\")",
            )),
            Err(Unsent::Broken) => Err(overflow(Overflow::NoRoom)),
            Err(Unsent::Busy) => Err(PyRuntimeError::new_err(
                "another thread sends this response at this moment, and waits for the client",
            )),
        }
    }
}

/// What `write()` raises inline, where it cannot be suspended, if there is no room for its data.
fn overflow(overflow: Overflow) -> PyErr {
    match overflow {
        Overflow::Closed => os_error(InputError::Answered),
        Overflow::NoRoom => PyOSError::new_err(
            "write() was given more than waits for a client inline (wsgi_buffer_size and, with \
             wsgi_buffering on, wsgi_max_temp_file_size)",
        ),
        Overflow::File(error) => PyOSError::new_err(format!(
            "the temporary file for the response cannot be written (wsgi_temp_path): {error}"
        )),
    }
}

/// What the application gives to `start_response`, by the rules of PEP 3333 and HTTP.
fn parse(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Start> {
    let line = text(status, "start_response's status")?;
    let parsed = status::parse(line).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let list = headers.cast_exact::<PyList>().map_err(|_| {
        PyTypeError::new_err(format!(
            "start_response's headers must be a list, not {} (PEP 3333: \"type(response_headers) is \
             ListType\")",
            type_name(headers)
        ))
    })?;
    let head = ResponseHead::with_capacity(parsed.code, parsed.reason, list.len());
    let mut start = Start::new(head);
    let mut size = parsed.reason.len();
    if size > MAX_HEAD {
        return Err(PyValueError::new_err(format!(
            "start_response's status is longer than {MAX_HEAD} bytes"
        )));
    }
    for field in list.iter() {
        let pair = field.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let Some(pair) = pair else {
            return Err(PyTypeError::new_err(format!(
                "each of start_response's headers must be a tuple of name and value, not {}",
                type_name(&field)
            )));
        };
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        let name = text(&name, "a header's name")?;
        let value = text(&value, "a header's value")?;
        size += field::field_size(name, value);
        if size > MAX_HEAD {
            return Err(PyValueError::new_err(format!(
                "start_response's headers are longer than {MAX_HEAD} bytes in all, of which each counts as \
                 its name, its value and 32 bytes"
            )));
        }
        start.add(name, value).map_err(|error| PyValueError::new_err(error.to_string()))?;
    }
    Ok(start)
}

/// The exception that `exc_info` holds.
fn raised(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let value = exc_info.get_item(1)?;
    Ok(PyErr::from_value(value))
}

/// Pairs of name and value as fields of `what`, the values without the white space around them.
pub(super) fn fields(pairs: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<Field>> {
    let (name_is, value_is) = (format!("{what}'s name"), format!("{what}'s value"));
    let mut fields = Vec::new();
    let mut size = 0;
    for pair in pairs.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair?.extract()?;
        let (name, value) = (text(&name, &name_is)?, text(&value, &value_is)?);
        size += field::field_size(name, value);
        if size > MAX_HEAD {
            return Err(PyValueError::new_err(format!(
                "{what}'s fields are longer than {MAX_HEAD} bytes in all, of which each counts as its name, \
                 its value and 32 bytes"
            )));
        }
        fields.push((name.to_vec(), field::trim(value).to_vec()));
    }
    Ok(fields)
}
