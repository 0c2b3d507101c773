//! The body of one request, as `wsgi.input` reads it from its pipe.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::buffers::BLOCK;
use crate::bridge::pipe::input::{InputError, Read};
use crate::python::block::joined;
use crate::python::client_gone::os_error;
use crate::python::detached::detached;
use crate::python::fork;

/// The least number of bytes that is read of a file at once after a `seek`; it doubles with each read, up to [`BLOCK`].
/// An application that seeks often reads little, as zipfile does.
const AFTER_SEEK: usize = 16 * 1024;

pub(super) struct RequestBody {
    /// `None` once the request is over and nobody has kept this object.
    exchange: Option<Arc<Exchange>>,
    /// Read from the pipe, and not yet by the application.
    pending: Bytes,
    /// The position in the body of the next byte that the application reads.
    position: u64,
    /// Bytes to read from the pipe at once, if fewer are wanted.
    ahead: usize,
    failed: Option<InputError>,
}

/// How much of the body a read wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// `size` bytes, or all up to the end.
    Size,
    /// As `Size`, but at most one line, with its newline.
    Line,
    /// As `Size`, but it waits for the client only if there is nothing.
    Ready,
}

impl RequestBody {
    /// The body of that exchange; `None`: an empty one.
    pub(super) fn of(exchange: Option<Arc<Exchange>>) -> Self {
        let pending = Bytes::new();
        Self { exchange, pending, position: 0, ahead: BLOCK, failed: None }
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
        let detached = |wait: &mut (dyn FnMut() + Send)| detached(py, exchange, wait);
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
    pub(super) fn take<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<usize>,
        until: Until,
    ) -> PyResult<Bound<'py, PyBytes>> {
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
    pub(super) fn take_into(
        &mut self,
        py: Python<'_>,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
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
    pub(super) fn length(&self) -> Option<u64> {
        self.exchange.as_ref().and_then(|exchange| exchange.input.length())
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Sets the position of the next read. The body is buffered.
    pub(super) fn seek(&mut self, position: u64) -> PyResult<()> {
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
        Ok(())
    }

    /// Nothing is read after this.
    pub(super) fn drop_pending(&mut self) {
        self.pending = Bytes::new();
    }
}

fn in_child() -> PyErr {
    PyOSError::new_err("the request body is the worker's, not its children's")
}
