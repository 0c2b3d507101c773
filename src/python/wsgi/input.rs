//! `wsgi.input` (PEP 3333, "Input and Error Streams").

use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::create_exception;
use pyo3::exceptions::PyOSError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::bridge::buffers::BLOCK;
use crate::bridge::exchange::Job;
use crate::bridge::input::{InputError, Read};
use crate::python::fork;

// The OSError of an exchange with a client that is gone: who does not catch it is not called to account.
create_exception!(pywsgi, ClientGone, PyOSError);

/// The request's body. It ends by itself (`wsgi.input_terminated`); one that was cut short raises
/// OSError and never looks like an end.
#[pyclass(module = "pywsgi")]
pub(super) struct Input {
    /// None once the request is over and nobody has kept this object.
    job: Option<Job>,
    /// Read from the pipe and not yet taken.
    pending: Bytes,
    failed: Option<InputError>,
}

impl Input {
    pub(super) fn new(job: &Job) -> Self {
        Self { job: Some(Arc::clone(job)), pending: Bytes::new(), failed: None }
    }

    /// Is the body of `job` from here on.
    pub(super) fn begin(&mut self, job: &Job) {
        *self = Self::new(job);
    }

    /// Is nobody's any more.
    pub(super) fn end(&mut self) {
        *self = Self { job: None, pending: Bytes::new(), failed: None };
    }

    /// Makes `pending` hold something; false at the body's end.
    fn fill(&mut self, py: Python<'_>) -> PyResult<bool> {
        if !self.pending.is_empty() {
            return Ok(true);
        }
        if fork::is_child() {
            return Err(PyOSError::new_err("the request body is the worker's, not its children's"));
        }
        if let Some(error) = self.failed {
            return Err(os_error(error));
        }
        let Some(job) = &self.job else { return Ok(false) };
        match job.read(BLOCK, |wait| py.detach(wait)) {
            Ok(Read::Data(bytes)) => {
                self.pending = bytes;
                Ok(true)
            }
            Ok(Read::End | Read::Wait) => Ok(false),
            Err(error) => {
                self.failed = Some(error);
                Err(os_error(error))
            }
        }
    }

    /// Takes up to `size` bytes (`None`: all) into one block, up to and with the first newline where
    /// `line` is set.
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<usize>,
        line: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut parts: Vec<Bytes> = Vec::new();
        let mut left = size.unwrap_or(usize::MAX);
        while left > 0 {
            match self.fill(py) {
                Ok(true) => {}
                Ok(false) => break,
                // What came before is not lost: the next read brings the error.
                Err(_) if line && !parts.is_empty() => break,
                Err(error) => return Err(error),
            }
            let newline =
                if line { self.pending.iter().position(|byte| *byte == b'\n') } else { None };
            let end = newline.map_or(self.pending.len(), |at| at + 1);
            let part = self.pending.split_to(end.min(left));
            left -= part.len();
            let ends = newline.is_some_and(|at| part.len() == at + 1);
            parts.push(part);
            if ends {
                break;
            }
        }
        let taken = match parts.as_slice() {
            [part] => PyBytes::new(py, part),
            parts => joined(py, parts)?,
        };
        // A child has a copy of the pipe, and perhaps of its lock, held.
        if let Some(job) = self.job.as_ref().filter(|_| !fork::is_child()) {
            for part in parts {
                job.worker.buffers.give_back(part);
            }
        }
        Ok(taken)
    }
}

/// The parts one after another.
fn joined<'py>(py: Python<'py>, parts: &[Bytes]) -> PyResult<Bound<'py, PyBytes>> {
    let len: usize = parts.iter().map(Bytes::len).sum();
    // SAFETY: attached; a new object comes back, or null. Its bytes are nobody else's yet, and each is written
    // before anybody sees them.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(ptr::null(), len as ffi::Py_ssize_t);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let mut target = ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>();
        for part in parts {
            ptr::copy_nonoverlapping(part.as_ptr(), target, part.len());
            target = target.add(part.len());
        }
        Ok(object.cast_into_unchecked())
    }
}

#[pymethods]
impl Input {
    /// All of the rest, or `size` bytes, fewer only at the end.
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.take(py, limit(size), false)
    }

    /// A line with its newline, cut at `size` bytes.
    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<isize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.take(py, limit(size), true)
    }

    /// The rest as lines; those that begin within the first `hint` bytes.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(
        &mut self,
        py: Python<'py>,
        hint: Option<isize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        let hint = limit(hint).filter(|hint| *hint > 0).unwrap_or(usize::MAX);
        let mut total = 0;
        while total < hint {
            let line = self.take(py, None, true)?;
            let len = line.as_bytes().len();
            if len == 0 {
                break;
            }
            total += len;
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.take(py, None, true)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }
}

fn limit(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}

/// What a read or `write()` raises.
pub(super) fn os_error(error: InputError) -> PyErr {
    match error {
        InputError::File | InputError::Taken => PyOSError::new_err(error.to_string()),
        InputError::ClientGone
        | InputError::TimedOut
        | InputError::Refused
        | InputError::Answered => ClientGone::new_err(error.to_string()),
    }
}
