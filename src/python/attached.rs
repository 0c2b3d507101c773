//! What is safe because the calling thread is attached, and no other thread is.

use std::cell::{RefCell, RefMut};

use pyo3::ffi;
use pyo3::prelude::*;

#[cfg(Py_GIL_DISABLED)]
compile_error!("without the GIL several threads are attached at once: Attached needs a lock then");

/// A value that the GIL guards. It has no lock of its own, because each request uses it.
#[derive(Default)]
pub(super) struct Attached<T>(RefCell<T>);

// SAFETY: `borrow` and the guard that it returns alone touch the RefCell, its borrow count included. Both are used
// on a thread that is attached, so on one thread at a time: the guard is not Send, and is not held across
// `Python::detach`.
unsafe impl<T: Send> Sync for Attached<T> {}

impl<T> Attached<T> {
    pub(super) fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Borrows the value for a few instructions. While it is borrowed the caller neither runs Python nor detaches:
    /// another thread would find it borrowed, which is a panic.
    pub(super) fn borrow<'a>(&'a self, _py: Python<'a>) -> RefMut<'a, T> {
        self.0.borrow_mut()
    }
}

/// The number of references to the object. While the caller stays attached no other thread changes it.
pub(super) fn references<T>(_py: Python<'_>, object: &Py<T>) -> ffi::Py_ssize_t {
    // SAFETY: attached, and `object` keeps it alive.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}
