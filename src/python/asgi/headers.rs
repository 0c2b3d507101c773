//! A request's header fields as pairs of bytes, and what of them is used again for the next request.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::http::names::is_often_the_same;
use crate::http::request_head::{FieldSpans, RequestHead};
use crate::python::memo::{ByName, Last};

/// Names that requests have had; of some the last pair as well.
pub(super) struct Headers(ByName<Name>);

struct Name {
    /// In lower case.
    name: Py<PyBytes>,
    /// The last request's pair, of a header that often has the same value.
    last: Option<Last<PyTuple>>,
}

impl Headers {
    pub(super) fn new() -> Self {
        Self(ByName::new())
    }

    /// `headers`: in the order sent, repeated ones apart. A body with chunks that nginx has read whole has a
    /// Content-Length instead.
    pub(super) fn list<'py>(
        &mut self,
        py: Python<'py>,
        head: &RequestHead,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut pairs = Vec::with_capacity(head.fields().len());
        let mut chunked = false;
        for field in head.fields() {
            // The whole body of a request with chunks is known: it is told as if it had come without (RFC 9112, 7.1.3).
            let is_coding = || head.get(field.name()).eq_ignore_ascii_case(b"transfer-encoding");
            if head.content_length.is_some() && is_coding() {
                chunked = true;
                continue;
            }
            pairs.push(self.pair(py, head, field)?);
        }
        if let Some(length) = head.content_length.filter(|_| chunked) {
            let value = PyBytes::new(py, length.to_string().as_bytes());
            pairs.push(PyTuple::new(py, [PyBytes::new(py, b"content-length"), value])?);
        }
        PyList::new(py, pairs)
    }

    fn pair<'py>(
        &mut self,
        py: Python<'py>,
        head: &RequestHead,
        field: &FieldSpans,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (name, value) = (head.get(field.name()), head.get(field.value()));
        match self.0.get(name, field.hash, || Ok(Name::new(py, name)))? {
            Some(Name { name, last: Some(last) }) => {
                last.get(py, value, || pair(name.bind(py), value))
            }
            Some(Name { name, last: None }) => pair(name.bind(py), value),
            None => pair(&lower(py, name), value),
        }
    }
}

impl Name {
    fn new(py: Python<'_>, sent: &[u8]) -> Self {
        let name = lower(py, sent);
        let last = is_often_the_same(name.as_bytes()).then_some(Last::new());
        Self { name: name.unbind(), last }
    }
}

fn pair<'py>(name: &Bound<'py, PyBytes>, value: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(name.py(), [name, &PyBytes::new(name.py(), value)])
}

fn lower<'py>(py: Python<'py>, name: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &name.to_ascii_lowercase())
}
