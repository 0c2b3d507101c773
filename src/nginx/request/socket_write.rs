//! What goes to the client of a WebSocket, as far as it takes it.

use std::sync::Arc;
use std::{mem, ptr};

use nginx_sys::{ngx_buf_t, ngx_chain_t, ngx_handle_write_event, ngx_http_output_filter};

use super::Request;
use super::finalize::{self, Ending};
use super::socket::{Frame, Stage};
use super::socket_close::lost;
use crate::bridge::exchange::Exchange;
use crate::nginx::sys;

/// Sends what waits, as far as the client takes it. Ends the request if it was the last. Returns the request if it is
/// still in flight.
pub(super) fn send(request: Request<'_>) -> Option<Request<'_>> {
    let exchange = Arc::clone(request.exchange()?);
    let before = request.bytes_sent();
    // The 101, and what is in the buffer of TLS.
    // SAFETY: the request lives as long as `request`.
    let flushes = || unsafe { ngx_http_output_filter(request.raw(), ptr::null_mut()) };
    if request.has_unsent() && flushes() == sys::ERROR {
        finalize::end(request, Ending::ClientGone(sys::ERROR));
        return None;
    }
    let upgraded = request.upgraded.get()?;
    let mut gathered = Vec::new();
    while request.is_writable() && !request.has_unsent() {
        let mut sending = upgraded.sending.borrow_mut();
        let Some(next) = sending.next(&mut gathered) else { break };
        let Some(size) = write(&request, next) else {
            drop(sending);
            lost(request);
            return None;
        };
        if size == 0 {
            break;
        }
        if sending.advance(size, |frame| frees(&exchange, frame)) {
            exchange.resume();
        }
    }
    let progress = request.bytes_sent() != before;
    let done = upgraded.sending.borrow().is_empty() && !request.has_unsent();
    if done && upgraded.stage.get() == Stage::Ending {
        request.close_after();
        finalize::end(request, Ending::Answered(sys::OK));
        return None;
    }
    wait_for_room(request, done, progress)
}

/// Gives nginx bytes for the client, and says how many it has taken; `None` if the connection is broken. Not by `c->send`:
/// inside of TLS that has its caller give OpenSSL the same bytes again, from the same place, before any others.
/// `send_chain` takes them into the connection's buffer instead, and is [unsent](Request::has_unsent) meanwhile.
fn write(request: &Request<'_>, bytes: &[u8]) -> Option<usize> {
    // SAFETY: the connection belongs to a live request; nginx reads the bytes, and keeps no reference to them, to the
    // buffer or to the link. All of a buffer may be zero.
    unsafe {
        let connection = request.connection();
        let range = bytes.as_ptr_range();
        let mut buffer: ngx_buf_t = mem::zeroed();
        buffer.pos = range.start.cast_mut();
        buffer.last = range.end.cast_mut();
        buffer.set_memory(1);
        buffer.set_flush(1);
        let mut link = ngx_chain_t { buf: &raw mut buffer, next: ptr::null_mut() };
        let rest = (*connection).send_chain?(connection, &raw mut link, 0);
        (rest != sys::CHAIN_ERROR).then(|| buffer.pos.addr() - range.start.addr())
    }
}

/// Tells the pipe that a frame has gone. True if the task has to be woken.
fn frees(exchange: &Arc<Exchange>, frame: &Frame) -> bool {
    frame.from_pipe
        && exchange.socket.as_deref().is_some_and(|socket| socket.sent(frame.bytes.len()))
}

/// Has nginx call the write handler when the client can take more. Returns the request if it is still in flight.
fn wait_for_room(request: Request<'_>, done: bool, progress: bool) -> Option<Request<'_>> {
    let event = request.write_event();
    // SAFETY: the event is that of a live request's connection.
    unsafe {
        if done {
            sys::delete_timer(event);
            return Some(request);
        }
        if ngx_handle_write_event(event, 0) != sys::OK {
            finalize::end(request, Ending::ClientGone(sys::ERROR));
            return None;
        }
        if progress || (*event).timer_set() == 0 {
            nginx_sys::ngx_add_timer(event, request.core_conf().send_timeout);
        }
    }
    Some(request)
}
