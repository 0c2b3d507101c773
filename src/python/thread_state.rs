//! What CPython keeps of each thread (`PyThreadState`), as far as PyO3 does not say it.

use std::ffi::c_long;

use pyo3::ffi;
use pyo3::prelude::*;

/// The number of threads that Python knows, this one included.
pub(super) fn count(_py: Python<'_>) -> usize {
    let mut count = 0;
    // SAFETY: attached, so that there is a current interpreter.
    let mut state = unsafe { ffi::PyInterpreterState_ThreadHead(ffi::PyInterpreterState_Get()) };
    while !state.is_null() {
        count += 1;
        // SAFETY: this thread stays attached, and a state is freed by its own thread alone, which must attach for
        // that: the list does not change meanwhile.
        state = unsafe { ffi::PyThreadState_Next(state) };
    }
    count
}

/// Gives the calling thread, which is not attached, a state that it keeps: from now on attaching takes the GIL and
/// nothing else. The state is freed by the interpreter's end (`_PyThreadState_DeleteExcept`); the thread must not
/// attach after that. The interpreter has started.
pub(super) fn keep() {
    // SAFETY: the interpreter has started. What is ensured here is never released.
    unsafe { ffi::PyGILState_Ensure() };
    // SAFETY: the line above has attached this thread. Whoever attaches it later finds the state by
    // PyGILState_Ensure.
    unsafe { ffi::PyEval_SaveThread() };
}

/// Raises `exception`, a class, in the thread whose `threading.get_ident()` that is, the next time that it runs
/// bytecode. If the thread has ended nothing happens.
pub(super) fn raise_in(_py: Python<'_>, ident: u64, exception: &Py<PyAny>) {
    // SAFETY: attached; CPython takes a reference of its own to the exception.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as c_long, exception.as_ptr()) };
}

/// Takes back what [`raise_in`] has set for that thread, if it has not been raised yet.
pub(super) fn take_back(_py: Python<'_>, ident: u64) {
    // SAFETY: attached; with null CPython drops the exception that is set.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as c_long, std::ptr::null_mut()) };
}
