//! A request's header fields as pairs of bytes, and what of them is used again for the next request.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::http::asgi::scope::is_often_the_same;
use crate::http::request_head::{FieldSpans, RequestHead};

/// Names that requests have had, each at the place of its hash; of some the last pair as well.
pub(super) struct Headers {
    names: [Option<Name>; NAMES],
}

struct Name {
    /// As sent.
    sent: Box<[u8]>,
    /// In lower case.
    name: Py<PyBytes>,
    /// The last request's pair, of a header that often has the same value.
    last: Option<Option<Pair>>,
}

struct Pair {
    value: Box<[u8]>,
    pair: Py<PyTuple>,
}

const NAMES: usize = 1 << NAMES_BITS;
const NAMES_BITS: u32 = 8;

/// Longer names and values are seldom the same, and would take memory.
const LONGEST: usize = 256;

impl Headers {
    pub(super) fn new() -> Self {
        Self { names: [const { None }; NAMES] }
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
        // Fibonacci hashing: names that differ in a last digit do not share places.
        let place = field.hash.wrapping_mul(0x9e37_79b1) >> (u32::BITS - NAMES_BITS);
        let Some(place) = self.names.get_mut(place as usize).filter(|_| name.len() <= LONGEST)
        else {
            return PyTuple::new(py, [lower(py, name), PyBytes::new(py, value)]);
        };
        let known = match place {
            Some(known) if *known.sent == *name => known,
            _ => place.insert(Name::new(py, name)),
        };
        match &known.last {
            Some(Some(last)) if *last.value == *value => return Ok(last.pair.bind(py).clone()),
            _ => {}
        }
        let pair = PyTuple::new(py, [known.name.bind(py), &PyBytes::new(py, value)])?;
        if let Some(last) = known.last.as_mut().filter(|_| value.len() <= LONGEST) {
            *last = Some(Pair { value: value.into(), pair: pair.clone().unbind() });
        }
        Ok(pair)
    }
}

impl Name {
    fn new(py: Python<'_>, sent: &[u8]) -> Self {
        let name = lower(py, sent);
        let last = is_often_the_same(name.as_bytes()).then_some(None);
        Self { sent: sent.into(), name: name.unbind(), last }
    }
}

fn lower<'py>(py: Python<'py>, name: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &name.to_ascii_lowercase())
}
