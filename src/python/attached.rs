//! What is safe because the calling thread is attached, and no other thread is.

use std::cell::{RefCell, RefMut};

use pyo3::ffi;
use pyo3::prelude::*;

#[cfg(Py_GIL_DISABLED)]
compile_error!("without the GIL several threads are attached at once: Attached needs a lock then");

/// A value that the GIL guards. It has no lock of its own, for it is on every request's way.
#[derive(Default)]
pub(super) struct Attached<T>(RefCell<T>);

// SAFETY: the RefCell, its borrow count included, is touched by `borrow` and by the guard that it gives, on a
// thread that is attached, and so the only one: the guard is not Send, and stays out of `Python::detach`.
unsafe impl<T: Send> Sync for Attached<T> {}

impl<T> Attached<T> {
    pub(super) fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// The value, for a few instructions: while it is borrowed nothing runs Python or detaches, or another
    /// thread would find it in use (which is a panic, and no worse).
    pub(super) fn borrow<'a>(&'a self, _py: Python<'a>) -> RefMut<'a, T> {
        self.0.borrow_mut()
    }
}

/// How many references there are to the object. Nobody makes one more while the caller stays attached.
pub(super) fn references<T>(_py: Python<'_>, object: &Py<T>) -> ffi::Py_ssize_t {
    // SAFETY: attached, and `object` keeps it alive.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}
