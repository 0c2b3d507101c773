//! `wsgi.early_hints`: 103 (Early Hints) before the response, called as gunicorn's is.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::start_response::fields;
use crate::bridge::exchange::Exchange;
use crate::http::field;
use crate::http::header::{self, HeaderKind};
use crate::http::quoted::quoted;

#[pyclass(frozen, module = "pywsgi", name = "early_hints")]
pub(super) struct EarlyHints(Arc<Exchange>);

impl EarlyHints {
    pub(super) fn new(exchange: &Arc<Exchange>) -> Self {
        Self(Arc::clone(exchange))
    }
}

#[pymethods]
impl EarlyHints {
    /// Sends the fields, a list of (name, value), at once. Does nothing if the response has begun.
    fn __call__(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let Self(exchange) = self;
        let fields = fields(headers, "an early hint")?;
        for (name, value) in &fields {
            let kind = header::checked_kind(name)
                .and_then(|kind| field::check_value(name, value).map(|()| kind))
                .map_err(|error| PyValueError::new_err(error.to_string()))?;
            if matches!(kind, HeaderKind::ContentLength | HeaderKind::HopByHop) {
                let name = quoted(name);
                return Err(PyValueError::new_err(format!(
                    "{name} cannot be an early hint: it speaks of one message (RFC 8297, section 2)"
                )));
            }
        }
        if !fields.is_empty() {
            exchange
                .push_hints(fields)
                .map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        Ok(())
    }
}
