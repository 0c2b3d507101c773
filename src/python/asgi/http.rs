//! `http.*`: the messages with which an application answers ("HTTP" of the ASGI specification, and its extensions).

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::call::{self, Call, Next, Phase};
use super::message::Message;
use crate::bridge::pipe::input::{InputError, Read};
use crate::bridge::pipe::output::parts::FilePart;
use crate::http::field::{self, Field};
use crate::http::quoted::quoted;
use crate::http::response_head::ResponseHead;
use crate::http::{status, trailer};
use crate::python::client_gone::os_error;
use crate::python::file_part::{duplicate, file_part};
use crate::python::response::{Sent, Start, Unsent};

/// Bytes of a request's body that one message has at most.
const PART: usize = 256 * 1024;

/// The next message for the application: a part of the request's body, and `http.disconnect` after it.
pub(super) fn receive<'py>(py: Python<'py>, call: &Call) -> PyResult<Next<'py>> {
    if call.gives_way(py) {
        return Ok(Next::Turn);
    }
    if !call.body_received(py) {
        match call.exchange.poll_read(PART, |wait| py.detach(wait)) {
            Ok(Read::Data(bytes)) => {
                let complete = call.exchange.input.is_read();
                call.set_body_received(py, complete);
                return request(py, &bytes, !complete).map(Next::Message);
            }
            Ok(Read::End) => {
                call.set_body_received(py, true);
                return request(py, b"", false).map(Next::Message);
            }
            Ok(Read::Wait) if !call.is_over(py) => return Ok(Next::Wait),
            Err(error @ (InputError::File | InputError::Taken)) => return Err(os_error(error)),
            Ok(Read::Wait)
            | Err(
                InputError::ClientGone
                | InputError::Answered
                | InputError::TimedOut
                | InputError::Refused,
            ) => {}
        }
    } else if !call.is_over(py) {
        return Ok(Next::Wait);
    }
    call.set_disconnected(py);
    disconnect(py).map(Next::Message)
}

/// `http.request`
fn request<'py>(py: Python<'py>, body: &[u8], more: bool) -> PyResult<Bound<'py, PyDict>> {
    let message = PyDict::new(py);
    message.set_item(intern!(py, "type"), intern!(py, "http.request"))?;
    message.set_item(intern!(py, "body"), PyBytes::new(py, body))?;
    message.set_item(intern!(py, "more_body"), more)?;
    Ok(message)
}

/// `http.disconnect`
fn disconnect(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let message = PyDict::new(py);
    message.set_item(intern!(py, "type"), intern!(py, "http.disconnect"))?;
    Ok(message)
}

/// Sends a message. False if a part of it waits for room ([`send_rest`]).
pub(super) fn send(slf: &Bound<'_, Call>, message: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (py, call) = (slf.py(), slf.get());
    let (dict, kind) = call::parts(message)?;
    let phase = call.phase(py);
    let state = phase.map_or("after the application has returned", Phase::state);
    let message = Message::new(dict, kind.to_str()?, state);
    call.exchange.touch();
    if matches!(phase, Some(Phase::Started { .. } | Phase::Trailers)) && call.is_gone() {
        return Err(call::gone(call));
    }
    match (message.kind, phase) {
        ("http.response.body", Some(Phase::Started { trailers })) => {
            let body = message.body()?;
            let more = message.flag(intern!(py, "more_body"))?;
            send_body(py, call, &message, body, more, trailers)
        }
        ("http.response.start", Some(Phase::NotStarted)) => start(slf, &message),
        (kind, _) if !is_known(call, kind) => Err(message.unknown(
            "http.response.start, http.response.body and the messages of the extensions in the scope are",
        )),
        ("http.response.zerocopysend", Some(Phase::Started { trailers })) => {
            zero_copy(py, call, &message, trailers)
        }
        ("http.response.pathsend", Some(Phase::Started { trailers })) => {
            path_send(py, call, &message, trailers)
        }
        ("http.response.trailers", Some(Phase::Trailers)) => send_trailers(py, call, &message),
        ("http.response.early_hint", Some(Phase::NotStarted | Phase::Started { .. })) => {
            early_hint(call, &message)
        }
        _ => Err(unexpected(py, call, &message)),
    }
}

fn is_known(call: &Call, kind: &str) -> bool {
    match kind {
        "http.response.start"
        | "http.response.body"
        | "http.response.trailers"
        | "http.response.early_hint" => true,
        "http.response.pathsend" | "http.response.zerocopysend" => {
            call.exchange.location.file_wrapper
        }
        _ => false,
    }
}

/// A message out of order. If the client has left in between, that is what the application must know.
fn unexpected(py: Python<'_>, call: &Call, message: &Message<'_, '_>) -> PyErr {
    if call.exchange.output.is_closed() && call.phase(py) != Some(Phase::Complete) {
        return call::gone(call);
    }
    message.unexpected()
}

/// `http.response.start`: kept until the first part of the body, or until the end of the loop's turn.
pub(super) fn start(slf: &Bound<'_, Call>, message: &Message<'_, '_>) -> PyResult<bool> {
    let (py, call) = (slf.py(), slf.get());
    let closed = call.exchange.output.is_closed() && !call.response.is_ignored();
    if closed || call.is_gone() {
        return Err(call::gone(call));
    }
    let start = head(py, message)?;
    let trailers = start.trailers;
    call.response.start(py, start);
    call.set_phase(py, Phase::Started { trailers });
    call.host()?.flush_later(py, slf)?;
    Ok(true)
}

/// The head of `http.response.start`, by the rules of HTTP.
pub(super) fn head(py: Python<'_>, message: &Message<'_, '_>) -> PyResult<Start> {
    let code = message.number(intern!(py, "status"))?.ok_or_else(|| message.missing("status"))?;
    let code = u16::try_from(code).ok().filter(|code| (200..=999).contains(code));
    let code = code.ok_or_else(|| {
        message.wrong("status", "it must be a final status, from 200 to 999 (RFC 9110, section 15)")
    })?;
    let mut start = Start::new(ResponseHead::new(code, status::reason(code)));
    message.headers(|name, value| {
        if name.starts_with(b":") {
            let why = format!("{} is a pseudo header, which is nginx's", quoted(name));
            return Err(message.wrong("headers", &why));
        }
        start.add(name, value).map_err(|error| message.wrong("headers", &error.to_string()))
    })?;
    // The application says itself whether trailers follow.
    start.trailers = message.flag(intern!(py, "trailers"))?;
    Ok(start)
}

/// Sends a part of the body.
pub(super) fn send_body(
    py: Python<'_>,
    call: &Call,
    message: &Message<'_, '_>,
    body: Bytes,
    more: bool,
    trailers: bool,
) -> PyResult<bool> {
    let last = !more && !trailers;
    let total = (last && !call.response.head_sent(py)).then_some(body.len() as u64);
    let sent = call.response.send(py, body, total, last);
    after(py, call, message, sent, more, trailers)
}

/// What follows a part of the body that has been given to the response.
fn after(
    py: Python<'_>,
    call: &Call,
    message: &Message<'_, '_>,
    sent: Result<Sent, Unsent>,
    more: bool,
    trailers: bool,
) -> PyResult<bool> {
    match sent {
        Ok(Sent::Cut) => {
            let why = "the body is longer than its Content-Length; what is beyond is not sent";
            if !more {
                complete(py, call, trailers)?;
            }
            Err(message.wrong("body", why))
        }
        Ok(Sent::More | Sent::Complete) if more => Ok(!call.response.has_rest(py)),
        Ok(Sent::More | Sent::Complete) => complete(py, call, trailers),
        Err(Unsent::Gone) => Err(call::gone(call)),
        Err(Unsent::Busy | Unsent::NotStarted | Unsent::Broken) => {
            Err(PyRuntimeError::new_err("the response cannot be completed, see above"))
        }
    }
}

/// The application has given its whole body.
fn complete(py: Python<'_>, call: &Call, trailers: bool) -> PyResult<bool> {
    if trailers {
        call.set_phase(py, Phase::Trailers);
        return Ok(!call.response.has_rest(py));
    }
    call.set_phase(py, Phase::Complete);
    if call.response.has_rest(py) {
        return Ok(false);
    }
    finish(py, call)?;
    Ok(true)
}

/// The last part has been given to the pipe.
fn finish(py: Python<'_>, call: &Call) -> PyResult<()> {
    let finished = call.response.finish(py);
    // What the application does from now on is in the background.
    call.exchange.lift_deadline();
    // Those who wait for http.disconnect get it now.
    call.wake(py)?;
    match finished {
        Ok(Ok(())) => Ok(()),
        Ok(Err(short)) => Err(PyRuntimeError::new_err(short.to_string())),
        Err(Unsent::Gone) => Err(call::gone(call)),
        Err(_) => Err(PyRuntimeError::new_err("the response cannot be completed, see above")),
    }
}

/// Sends what had no room. False if it still has none.
pub(super) fn send_rest(py: Python<'_>, call: &Call) -> PyResult<bool> {
    match call.response.send_rest(py) {
        Ok(true) if call.is_complete(py) => finish(py, call).map(|()| true),
        Ok(sent) => Ok(sent),
        Err(_) => Err(call::gone(call)),
    }
}

/// The loop's turn has ended: sends the head, if it is still kept.
pub(super) fn flush(py: Python<'_>, call: &Call) {
    if call.response.head_sent(py) || !matches!(call.phase(py), Some(Phase::Started { .. })) {
        return;
    }
    // If the client has left, the application's next send says so.
    let _gone = call.response.send(py, Bytes::new(), None, false);
}

/// `http.response.zerocopysend`
fn zero_copy(
    py: Python<'_>,
    call: &Call,
    message: &Message<'_, '_>,
    trailers: bool,
) -> PyResult<bool> {
    let file = message.get(intern!(py, "file"))?.ok_or_else(|| message.missing("file"))?;
    let fd: i32 = match file.extract() {
        Ok(fd) => fd,
        Err(_) => file
            .call_method0(intern!(py, "fileno"))
            .and_then(|fd| fd.extract())
            .map_err(|_| message.mistyped("file", "a file with a descriptor", &file))?,
    };
    let offset = message.number(intern!(py, "offset"))?;
    let count = message.number(intern!(py, "count"))?;
    let more = message.flag(intern!(py, "more_body"))?;
    if fd < 0 {
        return Err(message.wrong("file", "its descriptor is closed"));
    }
    // SAFETY: the application gives the descriptor for this call. It is used as long as this thread stays attached: a
    // duplicate is what is read while it is detached.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let place = |error: Errno| match error {
        Errno::SPIPE => {
            message.wrong("file", "it must be a file on a disk, not a pipe or a socket")
        }
        _ => message.wrong("file", &format!("its position: {error}")),
    };
    let start = match offset {
        Some(offset) => offset,
        None => rustix::fs::tell(fd).map_err(place)?,
    };
    let count = count.unwrap_or(u64::MAX);
    let (file, metadata) =
        duplicate(fd).map_err(|error| Unread::Failed(error).of(message, "file"))?;
    match file_part(file, &metadata, start, count) {
        Ok(part) => {
            if offset.is_none() {
                rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(part.end)).map_err(place)?;
            }
            send_file(py, call, message, part, more, trailers)
        }
        Err(file) => {
            let bytes = py.detach(|| read(&file, start, count));
            let bytes = bytes.map_err(|error| error.of(message, "file"))?;
            send_body(py, call, message, bytes, more, trailers)
        }
    }
}

/// `http.response.pathsend`
fn path_send(
    py: Python<'_>,
    call: &Call,
    message: &Message<'_, '_>,
    trailers: bool,
) -> PyResult<bool> {
    if call.response.body_begun(py) {
        return Err(
            message.wrong("path", "a part of the body has been sent; a path is the whole body")
        );
    }
    let path = message.get(intern!(py, "path"))?.ok_or_else(|| message.missing("path"))?;
    let path: PathBuf = path.extract().map_err(|_| message.mistyped("path", "a str", &path))?;
    if !path.is_absolute() {
        return Err(message.wrong("path", "it must be absolute"));
    }
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(number) => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let text = format!("http.response.pathsend: {text}");
            PyOSError::new_err((number, text, path.to_string_lossy().into_owned()))
        }
        None => message.wrong("path", &format!("\"{}\" {error}", path.display())),
    };
    match py.detach(|| open(&path)).map_err(failed)? {
        Ok(part) => send_file(py, call, message, part, false, trailers),
        Err(file) => {
            let bytes = py.detach(|| read(&file, 0, u64::MAX));
            let bytes = bytes.map_err(|error| error.of(message, "path"))?;
            send_body(py, call, message, bytes, false, trailers)
        }
    }
}

/// Opens a file without waiting: a named pipe may have no writer. Gives it as the part that nginx sends, if it can.
fn open(path: &Path) -> io::Result<Result<FilePart, File>> {
    let file =
        File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    Ok(file_part(file, &metadata, 0, u64::MAX))
}

/// Reads what nginx cannot send itself, if it is short: a file without a length, a file at its end.
fn read(file: &File, start: u64, count: u64) -> Result<Bytes, Unread> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < count {
        if bytes.len() > READ_AT_MOST {
            return Err(Unread::TooLong);
        }
        let mut block = [0; 64 * 1024];
        let room = usize::try_from(count - bytes.len() as u64).unwrap_or(usize::MAX);
        let target = block.get_mut(..room.min(64 * 1024)).unwrap_or_default();
        match file.read_at(target, start + bytes.len() as u64).map_err(Unread::Failed)? {
            0 => break,
            size => bytes.extend_from_slice(block.get(..size).unwrap_or_default()),
        }
    }
    Ok(Bytes::from(bytes))
}

/// Bytes that are read of what nginx cannot send.
const READ_AT_MOST: usize = 16 << 20;

/// Why a file was not read.
enum Unread {
    TooLong,
    Failed(io::Error),
}

impl Unread {
    /// The error for the application: `field` of its message names the file.
    fn of(self, message: &Message<'_, '_>, field: &str) -> PyErr {
        match self {
            Self::TooLong => {
                message.wrong(field, "it is no file on a disk, and too long to be read")
            }
            Self::Failed(error) => message.wrong(field, &format!("it cannot be read: {error}")),
        }
    }
}

/// Sends a part of a file, which nginx reads.
fn send_file(
    py: Python<'_>,
    call: &Call,
    message: &Message<'_, '_>,
    part: FilePart,
    more: bool,
    trailers: bool,
) -> PyResult<bool> {
    let last = !more && !trailers;
    let sent = call.response.send_file(py, part, last);
    after(py, call, message, sent, more, trailers)
}

/// `http.response.trailers`. nginx gets them if the client takes them.
fn send_trailers(py: Python<'_>, call: &Call, message: &Message<'_, '_>) -> PyResult<bool> {
    let mut fields = Vec::new();
    message.headers(|name, value| {
        trailer::check(name, value)
            .map_err(|error| message.wrong("headers", &error.to_string()))?;
        fields.push((name.to_vec(), field::trim(value).to_vec()));
        Ok(())
    })?;
    let more = message.flag(intern!(py, "more_trailers"))?;
    call.response.add_trailers(py, fields);
    if more {
        return Ok(true);
    }
    call.set_phase(py, Phase::Complete);
    finish(py, call)?;
    Ok(true)
}

/// `http.response.early_hint`
fn early_hint(call: &Call, message: &Message<'_, '_>) -> PyResult<bool> {
    let links = message.links()?;
    let mut fields: Vec<Field> = Vec::with_capacity(links.len());
    for link in links {
        field::check_value(b"link", &link)
            .map_err(|error| message.wrong("links", &error.to_string()))?;
        fields.push((b"Link".to_vec(), field::trim(&link).to_vec()));
    }
    let offered = call.exchange.head.takes_hints && call.exchange.location.early_hints;
    if offered && !fields.is_empty() {
        call.exchange
            .push_hints(fields)
            .map_err(|error| message.wrong("links", &error.to_string()))?;
    }
    Ok(true)
}
