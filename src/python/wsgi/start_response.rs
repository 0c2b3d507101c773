//! `start_response` and `write` (PEP 3333, "The start_response() Callable").

use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::input;
use crate::bridge::events::Level;
use crate::bridge::exchange::Job;
use crate::bridge::input::InputError;
use crate::bridge::output::End;
use crate::http::framing::{self, Framing};
use crate::http::header::{self, HeaderKind, ResponseHead};
use crate::http::status;
use crate::python::logging;

/// The response of one request, as far as it has come; called as `start_response`.
#[pyclass(module = "pywsgi", name = "start_response")]
pub(super) struct StartResponse {
    job: Job,
    /// Set by the application, held back until the first block that is not empty.
    head: Option<ResponseHead>,
    /// There is from when the head has gone.
    framing: Option<Framing>,
    called: bool,
    /// The pipe has the response's end.
    ended: bool,
    /// `X-Accel-Buffering`
    buffering: Option<bool>,
    /// The first hop-by-hop header that was dropped.
    dropped: Option<String>,
}

/// The client is gone, or has been answered.
#[derive(Debug)]
pub(super) struct Gone;

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The response goes on.
    More,
    /// It is complete: further blocks are not sent.
    Complete,
    /// The block went beyond Content-Length and was cut.
    Cut,
}

impl StartResponse {
    pub(super) fn new(job: &Job) -> Self {
        Self {
            job: Arc::clone(job),
            head: None,
            framing: None,
            called: false,
            ended: false,
            buffering: None,
            dropped: None,
        }
    }

    pub(super) fn is_called(&self) -> bool {
        self.called
    }

    pub(super) fn head_sent(&self) -> bool {
        self.framing.is_some()
    }

    pub(super) fn take_dropped(&mut self) -> Option<String> {
        self.dropped.take()
    }

    /// Only the head is to be sent, whatever the application yields.
    pub(super) fn sends_no_body(&self) -> bool {
        match (&self.framing, &self.head) {
            (Some(framing), _) => matches!(framing, Framing::NoBody),
            (None, Some(head)) => {
                matches!(framing::new(self.job.head.head_only, head.code(), None), Framing::NoBody)
            }
            (None, None) => false,
        }
    }

    /// Sends a block; with `total`, the body's length is known to be that if the application has not
    /// said one. `last` says that no further block follows.
    pub(super) fn send(
        &mut self,
        py: Python<'_>,
        block: Bytes,
        total: Option<u64>,
        last: bool,
    ) -> Result<Sent, Gone> {
        if self.ended {
            let cut = !block.is_empty() && !matches!(self.framing, Some(Framing::NoBody));
            return Ok(if cut { Sent::Cut } else { Sent::Complete });
        }
        let head = self.take_head(total);
        let Some(framing) = &mut self.framing else { return Err(Gone) };
        let size = framing.take(block.len());
        let cut = size < block.len() && !matches!(framing, Framing::NoBody);
        let complete = framing.complete() || (last && framing.finish().is_ok());
        let end = complete.then_some(End::Complete);
        self.ended = complete;
        let block = if size < block.len() { block.slice(..size) } else { block };
        let sent = self.job.send(head, block, end, |wait| py.detach(wait)).map_err(|_| Gone)?;
        if let Some(error) = sent {
            let text = format!(
                "a temporary file for the response cannot be written in \"{}\" (wsgi_temp_path): \
                 {error}; the thread waits for the client instead",
                self.job.location.buffering.directory.display(),
            );
            logging::write(py, Level::Error, &text);
        }
        Ok(match (cut, complete) {
            (true, _) => Sent::Cut,
            (false, true) => Sent::Complete,
            (false, false) => Sent::More,
        })
    }

    /// The application has yielded all. An error says by how much the body is short.
    pub(super) fn finish(&mut self) -> Result<Result<(), framing::ShortBody>, Gone> {
        if self.ended {
            return Ok(Ok(()));
        }
        // Where the head is still here, not a byte has come.
        let head = self.take_head(Some(0));
        self.ended = true;
        let short = self.framing.as_ref().map_or(Ok(()), Framing::finish);
        let end = if short.is_ok() { End::Complete } else { End::Failed };
        // A head without its body: the client gets a 500 instead.
        let head = head.filter(|_| short.is_ok());
        self.job.end(head, end).map_err(|_| Gone)?;
        Ok(short)
    }

    /// The response ends as one that failed.
    pub(super) fn fail(&mut self) {
        if !self.ended {
            self.ended = true;
            // A request that has ended meanwhile wants no answer.
            let _gone = self.job.end(None, End::Failed);
        }
    }

    fn take_head(&mut self, total: Option<u64>) -> Option<ResponseHead> {
        let mut head = self.head.take()?;
        let head_only = self.job.head.head_only;
        if head.content_length().is_none() {
            if let Some(total) = total {
                head.set_content_length(framing::deduced_length(head_only, head.code(), total));
            }
        }
        self.framing = Some(framing::new(head_only, head.code(), head.content_length()));
        if let Some(buffering) = self.buffering {
            self.job.output.set_buffering(buffering);
        }
        Some(head)
    }

    fn set(&mut self, status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let status = status.cast::<PyString>().map_err(|_| {
            PyTypeError::new_err(format!(
                "start_response's status must be a str, not {} (PEP 3333, \"A Note On String Types\")",
                type_name(status)
            ))
        })?;
        let line = latin1(status, "start_response's status")?;
        let parsed =
            status::parse(&line).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let list = headers.cast_exact::<PyList>().map_err(|_| {
            PyTypeError::new_err(format!(
                "start_response's headers must be a list, not {} (PEP 3333: \"type(response_headers) is \
                 ListType\")",
                type_name(headers)
            ))
        })?;
        let mut head = ResponseHead::new(parsed.code, parsed.reason);
        self.buffering = None;
        for field in list.iter() {
            let pair = field.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
            let Some(pair) = pair else {
                return Err(PyTypeError::new_err(format!(
                    "each of start_response's headers must be a tuple of name and value, not {}",
                    type_name(&field)
                )));
            };
            let (name, value) = (pair.get_item(0)?, pair.get_item(1)?);
            let name = text(&name, "a header's name")?;
            let value = text(&value, "a header's value")?;
            self.add(&mut head, &name, &value)
                .map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        self.head = Some(head);
        Ok(())
    }

    fn add(
        &mut self,
        head: &mut ResponseHead,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), header::HeaderError> {
        header::check_name(name)?;
        header::check_value(name, value)?;
        let value = header::trim(value);
        match header::classify(name) {
            HeaderKind::ContentLength => return head.add_content_length(value),
            HeaderKind::HopByHop => {
                self.dropped.get_or_insert_with(|| String::from_utf8_lossy(name).into_owned());
            }
            HeaderKind::AccelBuffering => {
                match value {
                    b"no" if self.job.location.accel_buffering => self.buffering = Some(false),
                    b"yes" if self.job.location.accel_buffering => self.buffering = Some(true),
                    _ => {}
                }
                head.push(HeaderKind::AccelBuffering, name, value);
            }
            kind => head.push(kind, name, value),
        }
        Ok(())
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info=None))]
    fn __call__(
        slf: &Bound<'_, Self>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Write> {
        {
            let mut response = slf.try_borrow_mut()?;
            match exc_info {
                Some(exc_info) if response.head_sent() => return Err(raised(exc_info)?),
                None if response.called => {
                    return Err(PyAssertionError::new_err(
                        "start_response was called a second time without exc_info (PEP 3333, \"The \
                         start_response() Callable\")",
                    ));
                }
                _ => {}
            }
            response.set(status, headers)?;
            response.called = true;
        }
        Ok(Write { response: slf.clone().unbind() })
    }
}

/// What `start_response` returns.
#[pyclass(frozen, module = "pywsgi", name = "write")]
pub(super) struct Write {
    response: Py<StartResponse>,
}

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = data.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!("write() takes bytes, not {}", type_name(data)))
        })?;
        if data.as_bytes().is_empty() {
            return Ok(());
        }
        let mut response = self.response.bind(py).try_borrow_mut()?;
        if response.sends_no_body() {
            return Ok(());
        }
        match response.send(py, super::output::share(data), None, false) {
            Ok(_) => Ok(()),
            Err(Gone) => Err(input::os_error(InputError::Answered)),
        }
    }
}

/// The exception that `exc_info` holds.
fn raised(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let value = exc_info.get_item(1)?;
    Ok(PyErr::from_value(value))
}

/// The latin-1 bytes of a `str`.
fn text<'py>(value: &Bound<'py, PyAny>, what: &str) -> PyResult<std::borrow::Cow<'py, [u8]>> {
    let text = value.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!(
            "{what} must be a str, not {} (PEP 3333, \"A Note On String Types\")",
            type_name(value)
        ))
    })?;
    latin1(text, what)
}

fn latin1<'py>(text: &Bound<'py, PyString>, what: &str) -> PyResult<std::borrow::Cow<'py, [u8]>> {
    let utf8 = text.to_cow();
    if let Ok(utf8) = &utf8 {
        if utf8.is_ascii() {
            return Ok(std::borrow::Cow::Owned(utf8.as_bytes().to_vec()));
        }
        let bytes: Option<Vec<u8>> =
            utf8.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        if let Some(bytes) = bytes {
            return Ok(std::borrow::Cow::Owned(bytes));
        }
    }
    let shown = text.repr().map(|repr| repr.to_string()).unwrap_or_default();
    Err(PyValueError::new_err(format!(
        "{what} holds a character outside latin-1: {shown} (PEP 3333, \"A Note On String Types\")"
    )))
}

pub(super) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map(|name| name.to_string()).unwrap_or_default()
}
