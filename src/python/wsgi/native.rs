//! Native strings: each byte is the code point of its number (PEP 3333, "A Note On String Types").

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::types::string::PyStringData;

/// `bytes` as a `str`.
pub(super) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: attached; the bytes are readable for their length, and a new reference to a str comes back.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(
            bytes.as_ptr().cast(),
            bytes.len() as ffi::Py_ssize_t,
            std::ptr::null(),
        );
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}

/// The bytes of a native string; `None` where it holds a character outside latin-1.
pub(super) fn encode<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    // SAFETY: a str does not change, and `text` keeps it for as long as the slice is used.
    match unsafe { text.data() } {
        // CPython keeps a str at the width of its widest character.
        Ok(PyStringData::Ucs1(bytes)) => Some(bytes),
        _ => None,
    }
}

/// Values that requests often have in common, each with a place of its own: made once, and given out again
/// while the next request has the same.
pub(super) struct Memo {
    values: Vec<Option<Value>>,
}

struct Value {
    bytes: Box<[u8]>,
    text: Py<PyString>,
}

/// Longer values are seldom the same, and would be kept for long.
const LONGEST: usize = 256;

impl Memo {
    pub(super) fn new(places: usize) -> Self {
        Self { values: std::iter::repeat_with(|| None).take(places).collect() }
    }

    /// `bytes` as a `str`, which the last request may have had at the same place.
    pub(super) fn decode<'py>(
        &mut self,
        py: Python<'py>,
        place: usize,
        bytes: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        let Some(place) = self.values.get_mut(place).filter(|_| bytes.len() <= LONGEST) else {
            return decode(py, bytes);
        };
        if let Some(value) = place.as_ref().filter(|value| *value.bytes == *bytes) {
            return Ok(value.text.bind(py).clone());
        }
        let text = decode(py, bytes)?;
        *place = Some(Value { bytes: bytes.into(), text: text.clone().unbind() });
        Ok(text)
    }
}
