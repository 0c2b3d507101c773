//! `wsgi.input` (PEP 3333, "Input and Error Streams"): a binary file that is only read, with the methods of
//! Python's `io.BufferedIOBase`.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::create_exception;
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PySlice};

use super::block::joined;
use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::buffers::BLOCK;
use crate::bridge::pipe::input::{InputError, Read};
use crate::python::fork;

// The OSError of a read or write whose client is gone. If the application does not catch it, it is no error of its own.
create_exception!(pywsgi, ClientGone, PyOSError);

/// The least number of bytes that is read of a file at once after a `seek`; it doubles with each read, up to [`BLOCK`].
/// An application that seeks often reads little, as zipfile does.
const AFTER_SEEK: usize = 16 * 1024;

/// The request's body. It has an end (`wsgi.input_terminated`). If it was cut short, a read raises OSError; that never
/// looks like the end. If it is buffered it can be read again, by `seek`.
#[pyclass(module = "pywsgi")]
pub(super) struct Input {
    /// `None` once the request is over and nobody has kept this object.
    exchange: Option<Arc<Exchange>>,
    /// Read from the pipe, and not yet by the application.
    pending: Bytes,
    /// The position in the body of the next byte that the application reads.
    position: u64,
    /// Bytes to read from the pipe at once, if fewer are wanted.
    ahead: usize,
    closed: bool,
    failed: Option<InputError>,
}

/// How much of it a read wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// `size` bytes, or all up to the end.
    Size,
    /// As `Size`, but at most one line, with its newline.
    Line,
    /// As `Size`, but it waits for the client only if there is nothing.
    Ready,
}

impl Input {
    pub(super) fn new(exchange: &Arc<Exchange>) -> Self {
        Self::of(Some(Arc::clone(exchange)))
    }

    /// Is the body of `exchange` from here on.
    pub(super) fn begin(&mut self, exchange: &Arc<Exchange>) {
        *self = Self::new(exchange);
    }

    /// Belongs to no request any more.
    pub(super) fn end(&mut self) {
        *self = Self::of(None);
    }

    fn of(exchange: Option<Arc<Exchange>>) -> Self {
        let pending = Bytes::new();
        Self { exchange, pending, position: 0, ahead: BLOCK, closed: false, failed: None }
    }

    /// Reads from the pipe if `pending` is empty; `wanted` bytes are wanted by now. False at the body's end and, without
    /// `waits`, if the client has not sent anything yet.
    fn fill(&mut self, py: Python<'_>, wanted: usize, waits: bool) -> PyResult<bool> {
        if !self.pending.is_empty() {
            return Ok(true);
        }
        if fork::is_child() {
            return Err(in_child());
        }
        if let Some(error) = self.failed {
            return Err(os_error(error));
        }
        let Some(exchange) = &self.exchange else { return Ok(false) };
        let size = wanted.clamp(self.ahead, BLOCK);
        self.ahead = BLOCK.min(self.ahead * 2);
        let detached = |wait: &mut (dyn FnMut() + Send)| py.detach(wait);
        let read = if waits {
            exchange.read_waiting(size, detached)
        } else {
            exchange.try_read(size, detached)
        };
        match read {
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

    /// Takes up to `size` bytes (`None`: all) into one block.
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<usize>,
        until: Until,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.check_open()?;
        let mut parts: Vec<Bytes> = Vec::new();
        let mut left = size.unwrap_or(usize::MAX);
        let line = until == Until::Line;
        while left > 0 {
            let waits = until != Until::Ready || parts.is_empty();
            // A line is seldom long.
            match self.fill(py, if line { 0 } else { left }, waits) {
                Ok(true) => {}
                Ok(false) => break,
                // What came before is not lost: the next read raises the error.
                Err(_) if until != Until::Size && !parts.is_empty() => break,
                Err(error) => return Err(error),
            }
            let newline =
                if line { self.pending.iter().position(|byte| *byte == b'\n') } else { None };
            let end = newline.map_or(self.pending.len(), |at| at + 1);
            let part = self.pending.split_to(end.min(left));
            left -= part.len();
            self.position += part.len() as u64;
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
        // A child has a copy of the buffers, and perhaps of a lock that is held.
        if let Some(exchange) = self.exchange.as_ref().filter(|_| !fork::is_child()) {
            for part in parts {
                exchange.worker.buffers.give_back(part);
            }
        }
        Ok(taken)
    }

    /// Fills `buffer` with what has arrived, and waits for the first byte only. Returns the number of bytes.
    fn take_into(&mut self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.check_open()?;
        let view = PyMemoryView::from(buffer)?;
        if view.getattr(intern!(py, "readonly"))?.is_truthy()? {
            let text =
                "wsgi.input.readinto() needs a buffer that can be written to, such as a bytearray";
            return Err(PyTypeError::new_err(text));
        }
        // Bytes, whatever its items are.
        let view = view.call_method1(intern!(py, "cast"), ("B",))?;
        let size = view.len()?;
        let mut filled = 0;
        while filled < size {
            if filled > 0 {
                match self.fill(py, size - filled, false) {
                    Ok(true) => {}
                    // As in `take`: the next read raises the error.
                    Ok(false) | Err(_) => break,
                }
            }
            let block = self.take(py, Some((size - filled).min(BLOCK)), Until::Ready)?;
            let len = block.as_bytes().len();
            if len == 0 {
                break;
            }
            let place = PySlice::new(py, filled as isize, (filled + len) as isize, 1);
            view.set_item(place, block)?;
            filled += len;
        }
        Ok(filled)
    }

    /// The body's length in bytes, if it is buffered.
    fn length(&self) -> Option<u64> {
        self.exchange.as_ref().and_then(|exchange| exchange.input.length())
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
        self.take(py, limit(size), Until::Size)
    }

    /// Up to `size` bytes, as many as have arrived. Waits for the client only if there is none.
    #[pyo3(signature = (size=None))]
    fn read1<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<isize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.take(py, Some(limit(size).unwrap_or(BLOCK).min(BLOCK)), Until::Ready)
    }

    /// Fills a buffer with what has arrived, and waits for the first byte only. Returns the number of bytes, 0 at the
    /// end.
    fn readinto(&mut self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.take_into(py, buffer)
    }

    /// The same.
    fn readinto1(&mut self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.take_into(py, buffer)
    }

    /// A line with its newline, cut at `size` bytes.
    #[pyo3(signature = (size=None))]
    fn readline<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<isize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.take(py, limit(size), Until::Line)
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
            let line = self.take(py, None, Until::Line)?;
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
        let line = self.take(py, None, Until::Line)?;
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
        Ok(self.length().is_some())
    }

    /// The position of the next read, in bytes.
    fn tell(&self) -> PyResult<u64> {
        self.check_open()?;
        Ok(self.position)
    }

    /// Sets the position of the next read, as io.BytesIO does, and returns it.
    #[pyo3(signature = (offset, whence=0))]
    fn seek(&mut self, py: Python<'_>, offset: i64, whence: i64) -> PyResult<u64> {
        self.check_open()?;
        let Some(length) = self.length() else {
            let text = "wsgi.input cannot seek: the body is read as it arrives (wsgi_request_buffering off), or it \
                        belongs to a request that is over";
            return Err(unsupported(py, text));
        };
        let from = match whence {
            0 if offset < 0 => {
                return Err(PyValueError::new_err(format!("negative seek value {offset}")));
            }
            0 => 0,
            1 => self.position,
            2 => length,
            _ => {
                let text = format!("invalid whence ({whence}, should be 0, 1 or 2)");
                return Err(PyValueError::new_err(text));
            }
        };
        let position = from.saturating_add_signed(offset);
        let forward = position.checked_sub(self.position).and_then(|by| usize::try_from(by).ok());
        if let Some(forward) = forward.filter(|forward| *forward <= self.pending.len()) {
            drop(self.pending.split_to(forward));
        } else if fork::is_child() {
            return Err(in_child());
        } else if let Some(exchange) = &self.exchange {
            exchange.input.seek(position);
            self.pending = Bytes::new();
            self.ahead = AFTER_SEEK;
        }
        self.position = position;
        Ok(position)
    }

    #[getter]
    fn closed(&self) -> bool {
        self.closed
    }

    /// After this a read raises ValueError, as with any file. nginx reads what is left of the body.
    fn close(&mut self) {
        self.closed = true;
        self.pending = Bytes::new();
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

fn in_child() -> PyErr {
    PyOSError::new_err("the request body is the worker's, not its children's")
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
