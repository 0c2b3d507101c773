//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): nginx sends a file itself; anything
//! else is read block by block.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use rustix::fd::BorrowedFd;

use crate::bridge::pipe::output::parts::FilePart;
use crate::python::file_part::{duplicate, file_part};

/// What an application returns to have a file sent.
#[pyclass(frozen, module = "pywsgi", name = "file_wrapper")]
pub(in crate::python) struct FileWrapper {
    #[pyo3(get)]
    filelike: Py<PyAny>,
    #[pyo3(get)]
    blksize: isize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize=8192))]
    fn new(py: Python<'_>, filelike: Py<PyAny>, blksize: isize) -> PyResult<Self> {
        if blksize == 0 {
            return Err(PyValueError::new_err("wsgi.file_wrapper's block size is 0"));
        }
        // Here, so that the application's line is in the traceback.
        filelike.bind(py).getattr(intern!(py, "read"))?;
        Ok(Self { filelike, blksize })
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1(intern!(py, "read"), (self.blksize,))?;
        Ok(block.is_truthy()?.then_some(block))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

impl FileWrapper {
    /// The rest of the file, if nginx can send it.
    pub(super) fn part(&self, py: Python<'_>, real_file: &Py<PyAny>) -> PyResult<Option<FilePart>> {
        let found = real_file.call1(py, (&self.filelike,))?;
        let Some((fd, start)) = found.extract::<Option<(i32, u64)>>(py)? else {
            return Ok(None);
        };
        // SAFETY: `real_file` has just seen that the file is open, and this thread has stayed attached since.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let Ok((file, metadata)) = duplicate(fd) else { return Ok(None) };
        Ok(file_part(file, &metadata, start, u64::MAX).ok())
    }
}
