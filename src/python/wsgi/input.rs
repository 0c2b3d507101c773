//! `wsgi.input` (PEP 3333, "Input and Error Streams"): a binary file that is only read, with the methods of
//! Python's `io.BufferedIOBase`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::request_body::{RequestBody, Until};
use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::buffers::BLOCK;

/// The request's body. It has an end (`wsgi.input_terminated`). If it was cut short, a read raises OSError; that never
/// looks like the end. If it is buffered it can be read again, by `seek`.
#[pyclass(module = "pywsgi")]
pub(super) struct Input {
    body: RequestBody,
    closed: bool,
}

impl Input {
    pub(super) fn new(exchange: &Arc<Exchange>) -> Self {
        Self { body: RequestBody::of(Some(Arc::clone(exchange))), closed: false }
    }

    /// Is the body of `exchange` from here on.
    pub(super) fn begin(&mut self, exchange: &Arc<Exchange>) {
        *self = Self::new(exchange);
    }

    /// Belongs to no request any more.
    pub(super) fn end(&mut self) {
        *self = Self { body: RequestBody::of(None), closed: false };
    }

    fn open(&mut self) -> PyResult<&mut RequestBody> {
        self.check_open()?;
        Ok(&mut self.body)
    }

    fn check_open(&self) -> PyResult<()> {
        if self.closed {
            return Err(PyValueError::new_err("I/O operation on closed file: wsgi.input"));
        }
        Ok(())
    }
}

#[pymethods]
impl Input {
    /// All of the rest, or `size` bytes, fewer only at the end.
    #[pyo3(signature = (size=None))]
    fn read<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.open()?.take(py, limit(size), Until::Size)
    }

    /// Up to `size` bytes, as many as have arrived. Waits for the client only if there is none.
    #[pyo3(signature = (size=None))]
    fn read1<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<isize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.open()?.take(py, Some(limit(size).unwrap_or(BLOCK).min(BLOCK)), Until::Ready)
    }

    /// Fills a buffer with what has arrived, and waits for the first byte only. Returns the number of bytes, 0 at the
    /// end.
    fn readinto(&mut self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.open()?.take_into(py, buffer)
    }

    /// The same.
    fn readinto1(&mut self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.open()?.take_into(py, buffer)
    }

    /// A line with its newline, cut at `size` bytes.
    #[pyo3(signature = (size=None))]
    fn readline<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<isize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.open()?.take(py, limit(size), Until::Line)
    }

    /// The rest as lines; those that begin within the first `hint` bytes.
    #[pyo3(signature = (hint=None))]
    fn readlines<'py>(
        &mut self,
        py: Python<'py>,
        hint: Option<isize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        let hint = limit(hint).filter(|hint| *hint > 0).unwrap_or(usize::MAX);
        let mut total = 0;
        while total < hint {
            let line = self.open()?.take(py, None, Until::Line)?;
            let len = line.as_bytes().len();
            if len == 0 {
                break;
            }
            total += len;
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.check_open()?;
        Ok(slf)
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.open()?.take(py, None, Until::Line)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }

    fn readable(&self) -> PyResult<bool> {
        self.check_open()?;
        Ok(true)
    }

    fn writable(&self) -> PyResult<bool> {
        self.check_open()?;
        Ok(false)
    }

    /// Is the body buffered (`wsgi_request_buffering on`)?
    fn seekable(&self) -> PyResult<bool> {
        self.check_open()?;
        Ok(self.body.length().is_some())
    }

    /// The position of the next read, in bytes.
    fn tell(&self) -> PyResult<u64> {
        self.check_open()?;
        Ok(self.body.position())
    }

    /// Sets the position of the next read, as io.BytesIO does, and returns it.
    #[pyo3(signature = (offset, whence=0))]
    fn seek(&mut self, py: Python<'_>, offset: i64, whence: i64) -> PyResult<u64> {
        self.check_open()?;
        let Some(length) = self.body.length() else {
            let text = "wsgi.input cannot seek: the body is read as it arrives (wsgi_request_buffering off), or it \
                        belongs to a request that is over";
            return Err(unsupported(py, text));
        };
        let from = match whence {
            0 if offset < 0 => {
                return Err(PyValueError::new_err(format!("negative seek value {offset}")));
            }
            0 => 0,
            1 => self.body.position(),
            2 => length,
            _ => {
                let text = format!("invalid whence ({whence}, should be 0, 1 or 2)");
                return Err(PyValueError::new_err(text));
            }
        };
        let position = from.saturating_add_signed(offset);
        self.body.seek(position)?;
        Ok(position)
    }

    #[getter]
    fn closed(&self) -> bool {
        self.closed
    }

    /// After this a read raises ValueError, as with any file. nginx reads what is left of the body.
    fn close(&mut self) {
        self.closed = true;
        self.body.drop_pending();
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.check_open()?;
        Ok(slf)
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&mut self, _args: &Bound<'_, PyAny>) {
        self.close();
    }

    fn isatty(&self) -> PyResult<bool> {
        self.check_open()?;
        Ok(false)
    }

    /// Does nothing: nothing is ever written.
    fn flush(&self) -> PyResult<()> {
        self.check_open()
    }

    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        Err(unsupported(py, "wsgi.input has no descriptor of its own"))
    }

    fn detach(&self, py: Python<'_>) -> PyResult<()> {
        Err(unsupported(py, "wsgi.input has no other file below it"))
    }

    fn write(&self, py: Python<'_>, _bytes: &Bound<'_, PyAny>) -> PyResult<usize> {
        Err(unsupported(py, READ_ONLY))
    }

    fn writelines(&self, py: Python<'_>, _lines: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(unsupported(py, READ_ONLY))
    }

    #[pyo3(signature = (_size=None))]
    fn truncate(&self, py: Python<'_>, _size: Option<i64>) -> PyResult<u64> {
        Err(unsupported(py, READ_ONLY))
    }
}

const READ_ONLY: &str = "wsgi.input can only be read";

/// Makes `isinstance(environ["wsgi.input"], io.BufferedIOBase)` true.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    let base = py.import("io")?.getattr("BufferedIOBase")?;
    base.call_method1("register", (py.get_type::<Input>(),)).map(drop)
}

/// io.UnsupportedOperation
fn unsupported(py: Python<'_>, text: &'static str) -> PyErr {
    let kind = py.import(intern!(py, "io")).and_then(|io| io.getattr("UnsupportedOperation"));
    match kind.and_then(|kind| kind.call1((text,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

fn limit(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}
