//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a file goes to nginx as a
//! file, everything else is read block by block.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use rustix::fd::BorrowedFd;
use rustix::fs::FsWord;

use crate::bridge::pipe::output::FilePart;

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
        // Here, where the application's line is in the traceback.
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
    /// The rest of the file, if it is one that nginx can send: on the disk, and not at its end. The
    /// descriptor is a duplicate: the application may close its own at any time.
    pub(super) fn part(&self, py: Python<'_>, real_file: &Py<PyAny>) -> PyResult<Option<FilePart>> {
        let found = real_file.call1(py, (&self.filelike,))?;
        let Some((fd, start)) = found.extract::<Option<(i32, u64)>>(py)? else {
            return Ok(None);
        };
        // SAFETY: the file object is open, as `real_file` has just seen, and the GIL is held since.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let Ok(own) = rustix::io::fcntl_dupfd_cloexec(fd, 0) else { return Ok(None) };
        let file = File::from(own);
        let Ok(metadata) = file.metadata() else { return Ok(None) };
        let end = metadata.len();
        // What has no length there, as the files of /proc, or a wrong one, as those of /sys, is read.
        let sendable = metadata.is_file() && end > start && !in_sysfs(&file, &metadata);
        Ok(sendable.then(|| FilePart { file: Arc::new(file), start, end }))
    }
}

/// Every attribute in sysfs says that it is as long as a page, however little it holds. It takes no block
/// of a disk: only such a file's system is asked for, which is a round trip where it is on another machine.
fn in_sysfs(file: &File, metadata: &Metadata) -> bool {
    metadata.blocks() == 0
        && rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == SYSFS_MAGIC)
}

/// linux/magic.h; see statfs(2).
const SYSFS_MAGIC: FsWord = 0x6265_6572;
