//! A message of the application's, and what its fields must be. Each error names the message, the field, and where the
//! call stands.

use bytes::Bytes;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::http::field;
use crate::python::block::share;
use crate::python::response::MAX_HEAD;
use crate::python::type_name::type_name;

/// A message as it is read, with what errors say of it.
pub(super) struct Message<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    /// `message["type"]`
    pub(super) kind: &'a str,
    /// Where the call stands, as a phrase.
    state: &'static str,
}

impl<'a, 'py> Message<'a, 'py> {
    pub(super) fn new(dict: &'a Bound<'py, PyDict>, kind: &'a str, state: &'static str) -> Self {
        Self { dict, kind, state }
    }

    /// The message cannot come now.
    pub(super) fn unexpected(&self) -> PyErr {
        PyRuntimeError::new_err(format!(
            "ASGI message \"{}\" cannot be sent {}",
            self.kind, self.state
        ))
    }

    /// There is no such message.
    pub(super) fn unknown(&self, expected: &str) -> PyErr {
        PyRuntimeError::new_err(format!(
            "ASGI message \"{}\" is none that can be sent {}: {expected}",
            self.kind, self.state
        ))
    }

    /// A field has a value of the wrong type.
    pub(super) fn mistyped(&self, field: &str, what: &str, value: &Bound<'_, PyAny>) -> PyErr {
        PyTypeError::new_err(format!(
            "ASGI message \"{}\", sent {}: \"{field}\" must be {what}, not {}",
            self.kind,
            self.state,
            type_name(value)
        ))
    }

    /// A field has a value that it must not have.
    pub(super) fn wrong(&self, field: &str, why: &str) -> PyErr {
        PyValueError::new_err(format!(
            "ASGI message \"{}\", sent {}: \"{field}\": {why}",
            self.kind, self.state
        ))
    }

    pub(super) fn missing(&self, field: &str) -> PyErr {
        PyTypeError::new_err(format!(
            "ASGI message \"{}\", sent {}: \"{field}\" is missing",
            self.kind, self.state
        ))
    }

    /// A field; `None` if it is missing.
    pub(super) fn get(&self, field: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.dict.get_item(field)
    }

    /// A field; `None` if it is missing or None.
    pub(super) fn some(&self, field: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.dict.get_item(field)?.filter(|value| !value.is_none()))
    }

    /// A field that is a truth value, False if it is missing.
    pub(super) fn flag(&self, field: &Bound<'py, PyString>) -> PyResult<bool> {
        match self.get(field)? {
            Some(value) => value.is_truthy(),
            None => Ok(false),
        }
    }

    /// A field that is a number of bytes, an offset or a code.
    pub(super) fn number(&self, field: &Bound<'py, PyString>) -> PyResult<Option<u64>> {
        let Some(value) = self.some(field)? else { return Ok(None) };
        let number = value.extract::<i64>();
        let number = number.map_err(|_| self.mistyped(&field.to_string(), "an int", &value))?;
        match u64::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(self.wrong(&field.to_string(), "it must not be negative")),
        }
    }

    /// A field that is a str.
    pub(super) fn text(
        &self,
        field: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let Some(value) = self.some(field)? else { return Ok(None) };
        match value.cast_into::<PyString>() {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(self.mistyped(&field.to_string(), "a str", &error.into_inner())),
        }
    }

    /// `body`: bytes, or something that holds bytes; empty if it is missing.
    pub(super) fn body(&self) -> PyResult<Bytes> {
        let Some(value) = self.get(intern!(self.dict.py(), "body"))? else {
            return Ok(Bytes::new());
        };
        self.bytes("body", &value)
    }

    /// The bytes of a field's value. Those of a bytes object are not copied if they are many.
    pub(super) fn bytes(&self, field: &str, value: &Bound<'py, PyAny>) -> PyResult<Bytes> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(share(bytes));
        }
        let buffer =
            PyBuffer::<u8>::get(value).map_err(|_| self.mistyped(field, "bytes", value))?;
        buffer.to_vec(value.py()).map(Bytes::from)
    }

    /// `links`: an iterable of bytes.
    pub(super) fn links(&self) -> PyResult<Vec<Vec<u8>>> {
        let field = intern!(self.dict.py(), "links");
        let links = self.get(field)?.ok_or_else(|| self.missing("links"))?;
        let wrong = || self.mistyped("links", "an iterable of bytes", &links);
        if links.is_instance_of::<PyBytes>() || links.is_instance_of::<PyString>() {
            return Err(wrong());
        }
        let mut all = Vec::new();
        for link in links.try_iter().map_err(|_| wrong())? {
            let link = link?;
            let link = link.cast::<PyBytes>().map_err(|_| wrong())?;
            all.push(link.as_bytes().to_vec());
        }
        Ok(all)
    }

    /// Calls `each` with the name and the value of each of `headers`, which are not more than a head may hold.
    pub(super) fn headers(
        &self,
        mut each: impl FnMut(&[u8], &[u8]) -> PyResult<()>,
    ) -> PyResult<()> {
        let Some(headers) = self.get(intern!(self.dict.py(), "headers"))? else { return Ok(()) };
        let mut size = 0;
        let mut add = |pair: &Bound<'py, PyAny>| {
            let (name, value) = self.pair(pair)?;
            let (name, value) = (name.as_bytes(), value.as_bytes());
            size += field::field_size(name, value);
            if size > MAX_HEAD {
                let why = format!(
                    "they are longer than {MAX_HEAD} bytes in all, of which each counts as its name, its value \
                     and 32 bytes"
                );
                return Err(self.wrong("headers", &why));
            }
            each(name, value)
        };
        if let Ok(list) = headers.cast::<PyList>() {
            return list.iter().try_for_each(|pair| add(&pair));
        }
        let pairs = headers
            .try_iter()
            .map_err(|_| self.mistyped("headers", "an iterable of pairs of bytes", &headers))?;
        for pair in pairs {
            add(&pair?)?;
        }
        Ok(())
    }

    /// One of `headers`.
    fn pair(
        &self,
        pair: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let wrong = || self.mistyped("headers", "pairs of name and value, each bytes", pair);
        let (name, value) = if let Ok(tuple) = pair.cast::<PyTuple>() {
            if tuple.len() != 2 {
                return Err(wrong());
            }
            (tuple.get_item(0)?, tuple.get_item(1)?)
        } else if pair.is_instance_of::<PyBytes>() || pair.is_instance_of::<PyString>() {
            return Err(wrong());
        } else {
            let mut parts = pair.try_iter().map_err(|_| wrong())?;
            match (parts.next(), parts.next(), parts.next()) {
                (Some(name), Some(value), None) => (name?, value?),
                _ => return Err(wrong()),
            }
        };
        let name = name
            .cast_into::<PyBytes>()
            .map_err(|error| self.mistyped("headers", "pairs of bytes", &error.into_inner()))?;
        let value = value
            .cast_into::<PyBytes>()
            .map_err(|error| self.mistyped("headers", "pairs of bytes", &error.into_inner()))?;
        Ok((name, value))
    }
}
