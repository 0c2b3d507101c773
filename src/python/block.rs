//! Blocks of a body as Python's bytes objects.

use std::ptr;

use bytes::Bytes;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bridge::pipe::output::parts::SHARED_FROM;

/// A block that the event loop can have: a small one is copied; of a large one the bytes object is kept alive.
pub(super) fn share(bytes: &Bound<'_, PyBytes>) -> Bytes {
    struct Owner {
        _object: Py<PyBytes>,
        start: *const u8,
        len: usize,
    }

    // SAFETY: a bytes object never changes, and the reference keeps it where it is.
    unsafe impl Send for Owner {}

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            // SAFETY: the pointer and the length are those of the object that is held.
            unsafe { std::slice::from_raw_parts(self.start, self.len) }
        }
    }

    let slice = bytes.as_bytes();
    if slice.len() < SHARED_FROM {
        return Bytes::copy_from_slice(slice);
    }
    let object = bytes.clone().unbind();
    Bytes::from_owner(Owner { _object: object, start: slice.as_ptr(), len: slice.len() })
}

/// The parts one after another.
pub(super) fn joined<'py>(py: Python<'py>, parts: &[Bytes]) -> PyResult<Bound<'py, PyBytes>> {
    let len: usize = parts.iter().map(Bytes::len).sum();
    // SAFETY: attached. With null CPython makes an object of that length whose bytes the caller fills.
    let object = unsafe { ffi::PyBytes_FromStringAndSize(ptr::null(), len as ffi::Py_ssize_t) };
    // SAFETY: it is a new reference, or null with an exception set.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, object)? };
    // SAFETY: it is a bytes object.
    let object = unsafe { object.cast_into_unchecked::<PyBytes>() };
    // SAFETY: as above.
    let mut target = unsafe { ffi::PyBytes_AsString(object.as_ptr()) }.cast::<u8>();
    for part in parts {
        // SAFETY: nobody else has the object, whose `len` bytes begin at its first target: the parts fill it.
        unsafe {
            ptr::copy_nonoverlapping(part.as_ptr(), target, part.len());
            target = target.add(part.len());
        }
    }
    Ok(object)
}
