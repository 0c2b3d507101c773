//! Context variables (PEP 567), as far as PyO3 does not say them.

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;

/// A context variable without a default.
pub(super) struct ContextVar(Py<PyAny>);

/// What a variable was before it was set; dropping it without [`ContextVar::reset`] keeps the value.
pub(super) struct Before(Py<PyAny>);

impl ContextVar {
    pub(super) fn new(py: Python<'_>, name: &CStr) -> PyResult<Self> {
        // SAFETY: attached; the name ends in NUL, and null means that there is no default.
        let variable = unsafe { ffi::PyContextVar_New(name.as_ptr(), std::ptr::null_mut()) };
        // SAFETY: it is a new reference, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(py, variable) }
            .map(|variable| Self(variable.unbind()))
    }

    /// `contextvars.ContextVar`
    pub(super) fn object(&self) -> &Py<PyAny> {
        &self.0
    }

    /// Sets the variable in the calling thread's current context.
    pub(super) fn set(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Before> {
        // SAFETY: attached; the variable was made by `new`, and CPython takes a reference of its own to the value.
        let token = unsafe { ffi::PyContextVar_Set(self.0.as_ptr(), value.as_ptr()) };
        // SAFETY: it is a new reference, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(py, token) }.map(|token| Before(token.unbind()))
    }

    /// Gives the variable the value that it had before, in the context in which it was set.
    pub(super) fn reset(&self, py: Python<'_>, Before(token): &Before) -> PyResult<()> {
        // SAFETY: attached; both were made by CPython for each other.
        match unsafe { ffi::PyContextVar_Reset(self.0.as_ptr(), token.as_ptr()) } {
            0 => Ok(()),
            _ => Err(PyErr::fetch(py)),
        }
    }

    /// The variable's value in the calling thread's current context.
    pub(super) fn get<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut value = std::ptr::null_mut();
        // SAFETY: attached; `value` is this function's own.
        if unsafe { ffi::PyContextVar_Get(self.0.as_ptr(), std::ptr::null_mut(), &raw mut value) }
            < 0
        {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: it is a new reference, or null if the variable has no value.
        Ok(unsafe { Bound::from_owned_ptr_or_opt(py, value) })
    }
}
