//! What goes to the client of a WebSocket, as far as it takes it.

use std::ptr;
use std::sync::Arc;

use nginx_sys::{ngx_handle_write_event, ngx_http_output_filter};

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
    // The 101.
    // SAFETY: the request lives as long as `request`.
    let flushes = || unsafe { ngx_http_output_filter(request.raw(), ptr::null_mut()) };
    if request.has_unsent() && flushes() == sys::ERROR {
        finalize::end(request, Ending::ClientGone(sys::ERROR));
        return None;
    }
    let upgraded = request.upgraded.get()?;
    let mut progress = false;
    let mut gathered = Vec::new();
    while request.is_writable() && !request.has_unsent() {
        let mut sending = upgraded.sending.borrow_mut();
        let Some(next) = sending.next(&mut gathered) else { break };
        // SAFETY: the connection belongs to a live request; nginx reads the bytes and keeps no reference to them.
        let size = unsafe {
            let connection = request.connection();
            match (*connection).send {
                Some(send) => send(connection, next.as_ptr().cast_mut(), next.len()),
                None => sys::ERROR,
            }
        };
        match usize::try_from(size) {
            Ok(size) => {
                progress |= size > 0;
                if sending.advance(size, |frame| frees(&exchange, frame)) {
                    exchange.resume();
                }
            }
            Err(_) if size == sys::AGAIN => break,
            Err(_) => {
                drop(sending);
                lost(request);
                return None;
            }
        }
    }
    let done = upgraded.sending.borrow().is_empty() && !request.has_unsent();
    if done && upgraded.stage.get() == Stage::Ending {
        request.close_after();
        finalize::end(request, Ending::Answered(sys::OK));
        return None;
    }
    wait_for_room(request, done, progress)
}

/// Tells the pipe that a frame has gone. True if the task has to be woken.
fn frees(exchange: &Arc<Exchange>, frame: &Frame) -> bool {
    frame.from_pipe && exchange.socket.as_deref().is_some_and(|socket| socket.sent(&frame.bytes))
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
