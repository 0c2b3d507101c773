//! Native strings: each byte is the code point of its number (PEP 3333, "A Note On String Types").

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::types::string::PyStringData;

use crate::http::wsgi::environ::variable_name;
use crate::python::memo::{ByName, Last};
use crate::python::type_name::type_name;

/// `bytes` as a `str`.
pub(super) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let (start, len) = (bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t);
    // SAFETY: attached; the bytes are readable for their length.
    let text = unsafe { ffi::PyUnicode_DecodeLatin1(start, len, std::ptr::null()) };
    // SAFETY: it is a new reference to a str, or null with an exception set.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked()) }
}

/// The bytes of a native string. `None` if it holds a character outside latin-1.
pub(super) fn encode<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    // SAFETY: a str does not change, and `text` keeps it for as long as the slice is used.
    match unsafe { text.data() } {
        // CPython keeps a str at the width of its widest character.
        Ok(PyStringData::Ucs1(bytes)) => Some(bytes),
        _ => None,
    }
}

/// The bytes of `value`, which must be a native string. `what` is its name in a message.
pub(super) fn text<'a>(value: &'a Bound<'_, PyAny>, what: &str) -> PyResult<&'a [u8]> {
    let text = value.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!(
            "{what} must be a str, not {} (PEP 3333, \"A Note On String Types\")",
            type_name(value)
        ))
    })?;
    encode(text).ok_or_else(|| {
        let shown = text.repr().map(|repr| repr.to_string()).unwrap_or_default();
        PyValueError::new_err(format!(
            "{what} holds a character outside latin-1: {shown} (PEP 3333, \"A Note On String Types\")"
        ))
    })
}

/// Values that requests often have in common, each with a place of its own.
pub(super) struct Memo {
    values: Vec<Last<PyString>>,
}

impl Memo {
    pub(super) fn new(places: usize) -> Self {
        Self { values: std::iter::repeat_with(Last::new).take(places).collect() }
    }

    /// `bytes` as a `str`: the last request's, if it had the same at that place.
    pub(super) fn decode<'py>(
        &mut self,
        py: Python<'py>,
        place: usize,
        bytes: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        match self.values.get_mut(place) {
            Some(last) => last.get(py, bytes, || decode(py, bytes)),
            None => decode(py, bytes),
        }
    }
}

/// The environ keys of header names that are not among [`KNOWN`](crate::http::wsgi::environ::KNOWN).
pub(super) struct Keys(ByName<Py<PyString>>);

impl Keys {
    pub(super) fn new() -> Self {
        Self(ByName::new())
    }

    /// The key of a header's `name`, whose [`name_hash`](crate::http::names::name_hash) that is.
    pub(super) fn get<'py>(
        &mut self,
        py: Python<'py>,
        name: &[u8],
        hash: u32,
    ) -> PyResult<Bound<'py, PyString>> {
        let make = || decode(py, &variable_name(name));
        match self.0.get(name, hash, || make().map(Bound::unbind))? {
            Some(key) => Ok(key.bind(py).clone()),
            None => make(),
        }
    }
}
