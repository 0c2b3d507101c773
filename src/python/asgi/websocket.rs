//! `websocket.*`: the messages of a WebSocket ("WebSocket" of the ASGI specification, and its extension for denial).
//!
//! The event loop passes on parts of messages as the client has sent them. They are put together, inflated and checked
//! to be UTF-8 here, on the loop's thread; if that may take long, detached from the interpreter. What the application
//! sends is compressed here in the same way, and crosses as frames.

use std::mem;
use std::sync::PoisonError;

use bytes::Bytes;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::call::{self, Call, Next, Phase as HttpPhase};
use super::http;
use super::message::Message;
use super::socket::{Phase, WebSocket};
use crate::bridge::code::Code;
use crate::bridge::pipe::messages::{Closed, Part, Received, Socket};
use crate::http::asgi::scope::offered_subprotocols;
use crate::http::quoted::quoted;
use crate::http::response_head::ResponseHead;
use crate::http::status;
use crate::http::websocket::close::{self, Close};
use crate::http::websocket::frame::{self, Kind, Opcode};
use crate::http::websocket::handshake::is_subprotocol;
use crate::http::websocket::message::{self, MessageError};
use crate::python::logging;
use crate::python::response::Start;

/// A message with fewer bytes is not worth compressing.
const COMPRESSED_FROM: usize = 64;

/// For so many bytes that are compressed, or that are inflated, the thread detaches from the interpreter.
const DETACHED_FROM: usize = 1024;

/// For so many bytes that are copied, or checked to be UTF-8, likewise.
const PLAIN_DETACHED_FROM: usize = 128 * 1024;

/// The next message for the application.
pub(super) fn receive<'py>(
    py: Python<'py>,
    call: &Call,
    websocket: &WebSocket,
) -> PyResult<Next<'py>> {
    let phase = {
        let mut state = websocket.state(py);
        if !mem::replace(&mut state.connected, true) {
            drop(state);
            let message = PyDict::new(py);
            message.set_item(intern!(py, "type"), intern!(py, "websocket.connect"))?;
            return Ok(Next::Message(message));
        }
        if let Some(close) = state.disconnect.clone() {
            drop(state);
            // The application may ask in a loop.
            if call.gives_way(py) {
                return Ok(Next::Turn);
            }
            return disconnect(py, &close).map(Next::Message);
        }
        state.phase
    };
    if matches!(phase, Phase::Connecting | Phase::Denied) {
        if !call.is_over(py) {
            return Ok(Next::Wait);
        }
        return disconnected(py, websocket, Close::abnormal()).map(Next::Message);
    }
    let socket = socket_of(call)?;
    loop {
        if call.gives_way(py) {
            return Ok(Next::Turn);
        }
        match socket.poll_receive(|| call.exchange.announce_socket()) {
            Received::Wait if call.is_ended(py) => {
                return disconnected(py, websocket, Close::abnormal()).map(Next::Message);
            }
            Received::Wait => return Ok(Next::Wait),
            Received::Closed(close) => {
                return disconnected(py, websocket, close).map(Next::Message);
            }
            Received::Part(part) => {
                if let Some(message) = add(py, call, websocket, socket, &part)? {
                    return Ok(Next::Message(message));
                }
            }
        }
    }
}

/// Adds a part to its message. Gives the message if it is complete, or what becomes of the connection if the client has
/// sent what it must not.
fn add<'py>(
    py: Python<'py>,
    call: &Call,
    websocket: &WebSocket,
    socket: &Socket,
    part: &Part,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let limit = call.exchange.location.websocket.as_ref().map_or(0, |it| it.max_message_size);
    let deflate = socket.handshake.deflate.as_ref().filter(|_| part.compressed);
    let client = deflate.map(|deflate| deflate.client);
    let is_long = match client {
        Some(_) => part.payload.len() >= DETACHED_FROM,
        None => part.payload.len() >= PLAIN_DETACHED_FROM,
    };
    let is_whole = {
        let state = websocket.state(py);
        client.is_none() && part.last && !state.assembling && state.assembly.is_empty()
    };
    if is_whole {
        let check = || message::check(part.kind, &part.payload, limit);
        return match if is_long { py.detach(check) } else { check() } {
            Ok(()) => received(py, part.kind, &part.payload).map(Some),
            Err(error) => refuse(py, call, websocket, socket, error).map(Some),
        };
    }
    let mut assembly = {
        let mut state = websocket.state(py);
        if mem::replace(&mut state.assembling, true) {
            return Err(PyRuntimeError::new_err("receive() runs in another thread"));
        }
        mem::take(&mut state.assembly)
    };
    let mut add = || assembly.add(part.kind, client, &part.payload, part.last, limit);
    let added = if is_long { py.detach(add) } else { add() };
    {
        let mut state = websocket.state(py);
        state.assembly = assembly;
        state.assembling = false;
    }
    match added {
        Ok(None) => Ok(None),
        Ok(Some(payload)) => received(py, part.kind, &payload).map(Some),
        Err(error) => refuse(py, call, websocket, socket, error).map(Some),
    }
}

/// `websocket.receive`
fn received<'py>(py: Python<'py>, kind: Kind, payload: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let message = PyDict::new(py);
    message.set_item(intern!(py, "type"), intern!(py, "websocket.receive"))?;
    match kind {
        Kind::Binary => message.set_item(intern!(py, "bytes"), PyBytes::new(py, payload))?,
        Kind::Text => {
            message.set_item(intern!(py, "text"), PyString::from_bytes(py, payload)?)?;
        }
    }
    Ok(message)
}

/// The client has sent a message that is not taken: it is told, and the application gets no more.
fn refuse<'py>(
    py: Python<'py>,
    call: &Call,
    websocket: &WebSocket,
    socket: &Socket,
    error: MessageError,
) -> PyResult<Bound<'py, PyDict>> {
    let close = Close::new(error.code(), &error.to_string());
    let text = format!("client broke the WebSocket protocol: {error}");
    logging::write(py, Code::WebSocketBroken, &text);
    // If the client is gone by now, it is told nothing.
    let _gone = socket.close(close.clone(), || call.exchange.announce_socket());
    disconnected(py, websocket, close)
}

/// The connection has ended, from now on.
fn disconnected<'py>(
    py: Python<'py>,
    websocket: &WebSocket,
    close: Close,
) -> PyResult<Bound<'py, PyDict>> {
    let message = disconnect(py, &close);
    websocket.state(py).disconnect = Some(close);
    message
}

/// `websocket.disconnect`
fn disconnect<'py>(py: Python<'py>, close: &Close) -> PyResult<Bound<'py, PyDict>> {
    let message = PyDict::new(py);
    message.set_item(intern!(py, "type"), intern!(py, "websocket.disconnect"))?;
    message.set_item(intern!(py, "code"), close.code)?;
    message.set_item(intern!(py, "reason"), &close.reason)?;
    Ok(message)
}

/// Sends a message. False if it waits for room ([`send_rest`]).
pub(super) fn send(
    slf: &Bound<'_, Call>,
    websocket: &WebSocket,
    message: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let (py, call) = (slf.py(), slf.get());
    let (dict, kind) = call::parts(message)?;
    let phase = websocket.state(py).phase;
    let denial = call.phase(py);
    let message = Message::new(dict, kind.to_str()?, standing(phase, denial));
    call.exchange.touch();
    match (message.kind, phase) {
        ("websocket.send", Phase::Open) => send_data(py, call, websocket, &message),
        ("websocket.accept", Phase::Connecting) => accept(py, call, websocket, &message),
        ("websocket.close", Phase::Connecting) => forbid(py, call, websocket, &message),
        ("websocket.close", Phase::Open) => close(py, call, websocket, &message),
        ("websocket.http.response.start", Phase::Connecting) => {
            let sent = http::start(slf, &message)?;
            websocket.state(py).phase = Phase::Denied;
            Ok(sent)
        }
        ("websocket.http.response.body", Phase::Denied) if denial != Some(HttpPhase::Complete) => {
            let body = message.body()?;
            let more = message.flag(intern!(py, "more_body"))?;
            http::send_body(py, call, &message, body, more, false)
        }
        (kind, _) if is_known(kind) => Err(unexpected(call, phase, &message)),
        _ => Err(message.unknown(
            "websocket.accept, websocket.send, websocket.close and the messages of \
             websocket.http.response are",
        )),
    }
}

/// When a message is sent, as the errors say it.
fn standing(phase: Phase, denial: Option<HttpPhase>) -> &'static str {
    match (phase, denial) {
        (Phase::Connecting, _) => "before \"websocket.accept\"",
        (Phase::Open, _) => "after \"websocket.accept\"",
        (Phase::Closed, _) => "after \"websocket.close\"",
        (Phase::Denied, Some(HttpPhase::Complete)) => "after the WebSocket was denied",
        (Phase::Denied, _) => "after \"websocket.http.response.start\"",
    }
}

fn is_known(kind: &str) -> bool {
    matches!(
        kind,
        "websocket.accept"
            | "websocket.send"
            | "websocket.close"
            | "websocket.http.response.start"
            | "websocket.http.response.body"
    )
}

/// A message out of order. If the client has left in between, that is what the application must know.
fn unexpected(call: &Call, phase: Phase, message: &Message<'_, '_>) -> PyErr {
    if phase == Phase::Connecting && call.exchange.output.is_closed() {
        return call::gone(call);
    }
    message.unexpected()
}

/// `websocket.accept`
fn accept(
    py: Python<'_>,
    call: &Call,
    websocket: &WebSocket,
    message: &Message<'_, '_>,
) -> PyResult<bool> {
    let mut start = Start::new(ResponseHead::new(101, b"Switching Protocols"));
    if let Some(subprotocol) = message.text(intern!(py, "subprotocol"))? {
        let name = subprotocol.to_str()?.as_bytes();
        check_subprotocol(call, message, name)?;
        start
            .add(b"Sec-WebSocket-Protocol", name)
            .map_err(|error| message.wrong("subprotocol", &error.to_string()))?;
    }
    message.headers(|name, value| {
        if is_of_handshake(name) {
            let why = format!(
                "{} is the server's (the subprotocol has a key of its own, \"subprotocol\")",
                quoted(name)
            );
            return Err(message.wrong("headers", &why));
        }
        start.add(name, value).map_err(|error| message.wrong("headers", &error.to_string()))
    })?;
    let pushed = call.exchange.push(Some(start.head), Bytes::new(), None, |wait| py.detach(wait));
    if pushed.is_err() {
        return Err(call::gone(call));
    }
    call.exchange.lift_deadline();
    websocket.state(py).phase = Phase::Open;
    Ok(true)
}

/// A subprotocol must be one of those that the client offers: it closes the connection otherwise (RFC 6455, section
/// 4.1).
fn check_subprotocol(call: &Call, message: &Message<'_, '_>, name: &[u8]) -> PyResult<()> {
    if !is_subprotocol(name) {
        return Err(message.wrong("subprotocol", "it must be a token (RFC 9110, section 5.6.2)"));
    }
    let offered: Vec<&[u8]> = offered_subprotocols(&call.exchange.head).collect();
    if offered.contains(&name) {
        return Ok(());
    }
    let why = if offered.is_empty() {
        format!("the client offers none, so that {} cannot be accepted", quoted(name))
    } else {
        format!("the client offers {}, and not {}", quoted(&offered.join(&b", "[..])), quoted(name))
    };
    Err(message.wrong("subprotocol", &why))
}

/// Whether a header is part of the handshake itself.
fn is_of_handshake(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"sec-websocket-";
    name.starts_with(b":")
        || name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// `websocket.close` before the handshake is complete: the client gets a 403.
fn forbid(
    py: Python<'_>,
    call: &Call,
    websocket: &WebSocket,
    message: &Message<'_, '_>,
) -> PyResult<bool> {
    closing(py, message)?;
    call.response.start(py, Start::new(ResponseHead::new(403, status::reason(403))));
    call.set_phase(py, HttpPhase::Started { trailers: false });
    websocket.state(py).phase = Phase::Denied;
    http::send_body(py, call, message, Bytes::new(), false, false)
}

/// `websocket.close`
fn close(
    py: Python<'_>,
    call: &Call,
    websocket: &WebSocket,
    message: &Message<'_, '_>,
) -> PyResult<bool> {
    let close = closing(py, message)?;
    let closed = socket_of(call)?.close(close, || call.exchange.announce_socket());
    if closed.is_err() {
        return Err(call::gone(call));
    }
    websocket.state(py).phase = Phase::Closed;
    Ok(true)
}

/// The code and the reason of `websocket.close`.
fn closing(py: Python<'_>, message: &Message<'_, '_>) -> PyResult<Close> {
    let code = message.number(intern!(py, "code"))?.unwrap_or(u64::from(close::NORMAL));
    let code = u16::try_from(code).ok().filter(|&code| close::is_sendable(code));
    let code = code.ok_or_else(|| {
        let why = "it must be 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455, section 7.4)";
        message.wrong("code", why)
    })?;
    let reason = message.text(intern!(py, "reason"))?;
    let reason = reason.as_ref().map(|reason| utf8(message, "reason", reason)).transpose()?;
    Ok(Close::new(code, reason.unwrap_or_default()))
}

/// `websocket.send`
fn send_data(
    py: Python<'_>,
    call: &Call,
    websocket: &WebSocket,
    message: &Message<'_, '_>,
) -> PyResult<bool> {
    let text = message.text(intern!(py, "text"))?;
    let bytes = message.some(intern!(py, "bytes"))?;
    let socket = socket_of(call)?;
    let frame = match (&text, &bytes) {
        (Some(text), None) => {
            let payload = utf8(message, "text", text)?;
            encode(py, websocket, socket, Opcode::Text, payload.as_bytes())
        }
        (None, Some(bytes)) => match bytes.cast::<PyBytes>() {
            Ok(bytes) => encode(py, websocket, socket, Opcode::Binary, bytes.as_bytes()),
            Err(_) => {
                let payload = message.bytes("bytes", bytes)?;
                encode(py, websocket, socket, Opcode::Binary, &payload)
            }
        },
        (None, None) => {
            return Err(message.wrong("text", "it is missing, and so is \"bytes\""));
        }
        (Some(_), Some(_)) => {
            return Err(
                message.wrong("text", "there is \"bytes\" as well, of which one must be None")
            );
        }
    };
    push(py, call, websocket, socket, frame)
}

/// Sends the frame that had no room. False if it still has none.
pub(super) fn send_rest(py: Python<'_>, call: &Call, websocket: &WebSocket) -> PyResult<bool> {
    let Some(frame) = websocket.state(py).rest.take() else {
        return http::send_rest(py, call);
    };
    push(py, call, websocket, socket_of(call)?, frame)
}

fn push(
    py: Python<'_>,
    call: &Call,
    websocket: &WebSocket,
    socket: &Socket,
    frame: Bytes,
) -> PyResult<bool> {
    match socket.poll_send(frame, || call.exchange.announce_socket()) {
        Ok(rest) => {
            let sent = rest.is_none();
            websocket.state(py).rest = rest;
            Ok(sent)
        }
        Err(Closed) => Err(call::gone(call)),
    }
}

/// The frame of a message, compressed if that was agreed on and is worth it.
fn encode(
    py: Python<'_>,
    websocket: &WebSocket,
    socket: &Socket,
    opcode: Opcode,
    payload: &[u8],
) -> Bytes {
    let len = payload.len();
    let server = socket.handshake.deflate.filter(|_| len >= COMPRESSED_FROM).map(|it| it.server);
    let encode = || {
        let compressed = server.and_then(|server| {
            let compressors = websocket.compressors.lock();
            let mut compressors = compressors.unwrap_or_else(PoisonError::into_inner);
            compressors.deflate(websocket.number, server, payload)
        });
        match compressed {
            Some(compressed) => frame::encode(opcode, true, &compressed),
            None => frame::encode(opcode, false, payload),
        }
    };
    let is_long = len >= if server.is_some() { DETACHED_FROM } else { PLAIN_DETACHED_FROM };
    Bytes::from(if is_long { py.detach(encode) } else { encode() })
}

/// The application has returned, or raised: closes a connection that is open. False if the client still waits for an
/// answer to its handshake.
pub(super) fn end(py: Python<'_>, call: &Call, websocket: &WebSocket, failed: bool) -> bool {
    match websocket.state(py).phase {
        Phase::Connecting | Phase::Denied => return false,
        Phase::Closed => return true,
        Phase::Open => {}
    }
    let (code, reason) = if failed {
        (close::INTERNAL_ERROR, "the application failed")
    } else {
        (close::NORMAL, "")
    };
    if let Some(socket) = call.exchange.socket.as_deref() {
        // Nobody is told if the client has left.
        let _gone = socket.close(Close::new(code, reason), || call.exchange.announce_socket());
    }
    true
}

/// What an application that has returned has not done, if it has left the client's handshake without an answer.
pub(super) fn unanswered(py: Python<'_>, websocket: &WebSocket) -> Option<&'static str> {
    (websocket.state(py).phase == Phase::Connecting).then_some(
        "returned without an answer to the client's handshake (no \"websocket.accept\" or \"websocket.close\" was sent)",
    )
}

/// A str that has no lone surrogates.
fn utf8<'a>(
    message: &Message<'_, '_>,
    field: &str,
    text: &'a Bound<'_, PyString>,
) -> PyResult<&'a str> {
    text.to_str().map_err(|_| message.wrong(field, "it has lone surrogates, which are not UTF-8"))
}

fn socket_of(call: &Call) -> PyResult<&Socket> {
    let socket = call.exchange.socket.as_deref();
    socket.ok_or_else(|| PyRuntimeError::new_err("the request is none for a WebSocket"))
}
