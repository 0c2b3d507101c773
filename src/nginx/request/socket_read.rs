//! What the client of a WebSocket sends: read, decoded, and passed to the application's task.

use std::sync::Arc;

use bytes::Bytes;
use nginx_sys::ngx_handle_read_event;

use super::Request;
use super::event_loop;
use super::finalize::{self, Ending};
use super::socket::Stage;
use super::socket_close::{closed, lost, refuse};
use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::messages::{Part, Socket};
use crate::http::websocket::close::Close;
use crate::http::websocket::frame::{self, Event, Opcode};
use crate::nginx::sys;

/// How often one connection is read before others have their turn.
const READS: usize = 4;

/// Decodes what has been read, and reads on, until the client has no more or the pipe is full. Returns the request if
/// it is still in flight.
pub(super) fn read_on(request: Request<'_>) -> Option<Request<'_>> {
    request.upgraded.get()?;
    let token = request.token();
    let mut buffer = event_loop::take_buffer(token);
    let mut request = request;
    let mut reads = 0;
    let read = loop {
        match read_once(request, &mut buffer, &mut reads) {
            Step::Again(live) => request = live,
            Step::Enough(live) => break Some(live),
            Step::Gone => break None,
        }
    };
    event_loop::give_buffer_back(token, buffer);
    read.and_then(wait_for_more)
}

/// What one step of reading has come to.
enum Step<'ev> {
    Again(Request<'ev>),
    /// The client has no more for now, the pipe is full, or others have their turn.
    Enough(Request<'ev>),
    /// The request has ended.
    Gone,
}

/// Decodes what was read before, or else what the client sends next. The order matters: the pipe may have room again at
/// any moment.
fn read_once<'ev>(request: Request<'ev>, buffer: &mut [u8], reads: &mut usize) -> Step<'ev> {
    if !wants_more(&request) {
        return Step::Enough(request);
    }
    let Some(mut unread) = request.upgraded.get().map(|it| it.unread.take()) else {
        return Step::Enough(request);
    };
    if !unread.is_empty() {
        return decode(request, &mut unread).map_or(Step::Gone, Step::Again);
    }
    // SAFETY: the connection belongs to a live request, and the buffer has as many bytes as are said.
    let size = unsafe {
        let connection = request.connection();
        if (*(*connection).read).ready() == 0 {
            return Step::Enough(request);
        }
        if *reads == READS {
            sys::post_next_event((*connection).read);
            return Step::Enough(request);
        }
        match (*connection).recv {
            Some(recv) => recv(connection, buffer.as_mut_ptr(), buffer.len()),
            None => sys::ERROR,
        }
    };
    *reads += 1;
    match usize::try_from(size) {
        Ok(size @ 1..) => {
            let read = buffer.get_mut(..size).unwrap_or_default();
            decode(request, read).map_or(Step::Gone, Step::Again)
        }
        Err(_) if size == sys::AGAIN => Step::Enough(request),
        // The end of the connection, or an error.
        Ok(_) | Err(_) => {
            lost(request);
            Step::Gone
        }
    }
}

/// Whether more of the client is to be read.
fn wants_more(request: &Request<'_>) -> bool {
    let Some(upgraded) = request.upgraded.get() else { return false };
    let socket = request.exchange().and_then(|exchange| exchange.socket.as_deref());
    upgraded.stage.get() != Stage::Ending && socket.is_some_and(|socket| !socket.is_paused())
}

/// Whether something of the client waits for room in the pipe, here or in the kernel.
pub(super) fn is_paused(request: &Request<'_>) -> bool {
    let socket = request.exchange().and_then(|exchange| exchange.socket.as_deref());
    socket.is_some_and(Socket::is_paused)
}

/// Has nginx call the read handler when more arrives. Returns the request if it is still in flight.
fn wait_for_more(request: Request<'_>) -> Option<Request<'_>> {
    // SAFETY: the event is that of a live request's connection.
    if unsafe { ngx_handle_read_event(request.read_event(), 0) } != sys::OK {
        finalize::end(request, Ending::ClientGone(sys::ERROR));
        return None;
    }
    Some(request)
}

/// Deals with the frames in `input`. What the pipe has no room for is kept. Returns the request if it is still in
/// flight.
fn decode<'ev>(request: Request<'ev>, input: &mut [u8]) -> Option<Request<'ev>> {
    let upgraded = request.upgraded.get()?;
    let exchange = Arc::clone(request.exchange()?);
    upgraded.heard.set(exchange.worker.now());
    upgraded.pinged.set(None);
    let mut at = 0;
    while let Some(rest) = input.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let decoded = upgraded.decoder.borrow_mut().decode(rest);
        let (used, event) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                refuse(&request, &exchange, Close::new(error.code(), &error.to_string()));
                return Some(request);
            }
        };
        at += used;
        match event {
            None | Some(Event::Pong(_)) => {}
            Some(Event::Ping(payload)) => {
                if upgraded.is_open() {
                    let pong = frame::encode(Opcode::Pong, false, payload.bytes());
                    upgraded.sending.borrow_mut().pong = Some(pong.into());
                }
            }
            Some(Event::Part(part)) => {
                if push(&exchange, &part) {
                    let kept = input.get(at..).unwrap_or_default().to_vec();
                    upgraded.unread.replace(kept);
                    return Some(request);
                }
            }
            Some(Event::Close(payload)) => {
                closed(&request, &exchange, payload.bytes());
                return Some(request);
            }
        }
    }
    Some(request)
}

/// Passes a part to the application's task. True if the pipe is full.
fn push(exchange: &Arc<Exchange>, part: &frame::Part<'_>) -> bool {
    let Some(socket) = exchange.socket.as_deref() else { return false };
    let pushed = socket.push(Part {
        kind: part.kind,
        compressed: part.compressed,
        last: part.last,
        payload: Bytes::copy_from_slice(part.payload),
    });
    if pushed.wakes {
        exchange.resume();
    }
    pushed.pauses
}
