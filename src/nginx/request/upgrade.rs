//! An open WebSocket: after the 101 this module reads the client's connection and writes to it, through nginx's
//! functions for that (`c->recv`, `c->send_chain`), so that TLS works. nginx's filters are not involved, but to flush what TLS has
//! buffered.
//!
//! The event loop decodes frames and removes their masks; it neither inflates nor looks at text. Parts of messages go
//! to the application's task by the exchange's [`Socket`], and its frames come back by it. Pings are answered here.
//!
//! The request's timer serves the pings and the end of `Closing`. nginx's write event has `send_timeout`, while the
//! client takes nothing.

use std::sync::Arc;

use nginx_sys::{ngx_http_send_header, ngx_http_send_special, ngx_tcp_nodelay};

use super::Request;
use super::call::{Handler, on_request};
use super::event_loop;
use super::finalize::{self, Ending};
use super::response;
use super::socket::{Frame, Stage, Upgraded};
use super::socket_close::{
    CLIENT_CLOSED_REQUEST, CLOSE_TIMEOUT, NO_PINGS, close_with, milliseconds, start_timer,
};
use super::socket_read::{is_paused, read_on};
use super::socket_write::send;
use crate::bridge::callbacks::Gone;
use crate::bridge::code::Code;
use crate::bridge::config::WebSocketConfig;
use crate::bridge::pipe::messages::Socket;
use crate::http::field::Field;
use crate::http::response_head::ResponseHead;
use crate::http::websocket::close::{self, Close};
use crate::http::websocket::frame::{self, Decoder, Opcode};
use crate::nginx::log::say;
use crate::nginx::sys;

const REQUEST_TIME_OUT: isize = nginx_sys::NGX_HTTP_REQUEST_TIME_OUT as isize;
const INTERNAL_SERVER_ERROR: isize = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as isize;

/// Sends the 101, and takes the connection over. Returns the request if it is still in flight.
pub(super) fn begin<'ev>(request: Request<'ev>, head: &ResponseHead) -> Option<Request<'ev>> {
    let exchange = Arc::clone(request.exchange()?);
    let socket = exchange.socket.as_deref()?;
    let config = exchange.location.websocket.as_ref()?;
    if let Err(code) = send_head(&request, head, socket) {
        let ending = match code {
            sys::ERROR => Ending::ClientGone(code),
            code => Ending::Answered(code),
        };
        finalize::end(request, ending);
        return None;
    }
    let handshake = &socket.handshake;
    let decoder = Decoder::new(handshake.deflate.is_some(), config.max_message_size);
    let upgraded = Upgraded::new(decoder, take_read(&request), exchange.worker.now());
    let set = request.upgraded.set(Box::new(upgraded));
    exchange.meter().socket(true);
    debug_assert!(set.is_ok(), "a connection is taken over once");
    // SAFETY: the request lives as long as `request`, and its connection as well.
    unsafe {
        let r = request.raw();
        (*r).read_event_handler = Some(on_request::<Readable>);
        (*r).write_event_handler = Some(on_request::<Writable>);
        // What limits the rate of a response has no effect on frames. Inside of TLS they pass through the filter that
        // does it (ngx_http_write_filter).
        (*r).limit_rate = 0;
        (*r).set_limit_rate_set(1);
        (*request.write_event()).set_delayed(0);
        sys::delete_timer(request.write_event());
        if request.core_conf().tcp_nodelay != 0 && ngx_tcp_nodelay(request.connection()) != sys::OK
        {
            finalize::end(request, Ending::ClientGone(sys::ERROR));
            return None;
        }
    }
    start_timer(&request, config.ping_interval.map_or(NO_PINGS, milliseconds));
    if event_loop::current(request.token()).is_some_and(event_loop::EventLoop::is_draining) {
        let _idle = exchange.drain_socket();
    }
    look(request)
}

/// The pipe has something to take, or room again. Returns the request if it is still in flight.
pub(in crate::nginx) fn look(request: Request<'_>) -> Option<Request<'_>> {
    request.upgraded.get()?;
    let exchange = Arc::clone(request.exchange()?);
    let socket = exchange.socket.as_deref()?;
    take(&request, socket, exchange.worker.now());
    let request = read_on(request)?;
    let request = send(request)?;
    if socket.may_go() {
        return restart(request, false);
    }
    Some(request)
}

/// The worker exits. The application's task goes on, unless it only waits for a message.
pub(in crate::nginx) fn drain(request: Request<'_>) {
    let exchange = request.exchange().filter(|_| request.upgraded.get().is_some());
    if exchange.is_some_and(|exchange| exchange.drain_socket()) {
        let _in_flight = restart(request, false);
    }
}

/// Ends a WebSocket because the worker exits: with 1012. If `at_once` is set its client is not waited for. Gives back a
/// request that is no WebSocket, or whose client takes nothing.
pub(in crate::nginx) fn restart(request: Request<'_>, at_once: bool) -> Option<Request<'_>> {
    let Some(upgraded) = request.upgraded.get() else { return Some(request) };
    let exchange = Arc::clone(request.exchange()?);
    if upgraded.is_open() {
        let close = Close::new(close::SERVICE_RESTART, "the server restarts");
        exchange.set_gone(Gone::Answered);
        close_with(&request, &exchange, close);
    }
    if at_once {
        upgraded.stage.set(Stage::Ending);
    }
    send(request)
}

/// The request's timer has expired.
pub(super) fn expired(request: Request<'_>) {
    let Some(upgraded) = request.upgraded.get() else { return };
    let Some(exchange) = request.exchange().map(Arc::clone) else { return };
    let Some(config) = exchange.location.websocket.as_ref() else { return };
    let now = exchange.worker.now();
    match upgraded.stage.get() {
        Stage::Open => {
            if let Some(request) = ping(request, config, now) {
                let _in_flight = send(request);
            }
        }
        // It has not seen the close frame yet.
        Stage::Closing(_) if is_sending(&request) => {
            upgraded.stage.set(Stage::Closing(now));
            start_timer(&request, CLOSE_TIMEOUT);
        }
        Stage::Closing(since) if now.saturating_sub(since) >= CLOSE_TIMEOUT => {
            say!(
                &request,
                Code::CloseUnanswered,
                "client has not answered the close frame of its WebSocket"
            );
            finalize::end(request, Ending::ClientGone(CLIENT_CLOSED_REQUEST));
        }
        Stage::Closing(since) => start_timer(&request, CLOSE_TIMEOUT - now.saturating_sub(since)),
        Stage::Ending => start_timer(&request, NO_PINGS),
    }
}

/// Looks whether the client is still there. Returns the request if it is still in flight.
fn ping<'ev>(request: Request<'ev>, config: &WebSocketConfig, now: u64) -> Option<Request<'ev>> {
    let upgraded = request.upgraded.get()?;
    let silent = now.saturating_sub(upgraded.heard.get());
    let timeout = config.ping_timeout.map(milliseconds);
    let Some(interval) = config.ping_interval.map(milliseconds) else {
        start_timer(&request, NO_PINGS);
        return Some(request);
    };
    if silent < interval {
        start_timer(&request, interval - silent);
        return Some(request);
    }
    if is_paused(&request) || is_sending(&request) {
        // Its answer waits behind the full pipe, or the ping would wait behind what the client has not taken.
        upgraded.pinged.set(None);
        start_timer(&request, interval);
        return Some(request);
    }
    let waited = upgraded.pinged.get().map(|pinged| now.saturating_sub(pinged));
    if let Some((waited, timeout)) = waited.zip(timeout) {
        if waited < timeout {
            start_timer(&request, timeout - waited);
            return Some(request);
        }
        say!(
            &request,
            Code::PingUnanswered,
            "client has answered no ping for {timeout} ms (asgi_websocket_ping_timeout)"
        );
        finalize::end(request, Ending::ClientGone(CLIENT_CLOSED_REQUEST));
        return None;
    }
    upgraded.pinged.set(Some(now));
    let frame = frame::encode(Opcode::Ping, false, b"");
    upgraded.sending.borrow_mut().add_control(frame.into());
    // If it answers, the next ping is due after the interval, which may be the shorter one.
    start_timer(&request, timeout.map_or(interval, |timeout| timeout.min(interval)));
    Some(request)
}

/// Whether something waits for the client. The write event has a timer then (`send_timeout`).
fn is_sending(request: &Request<'_>) -> bool {
    let frames = request.upgraded.get().map(|upgraded| &upgraded.sending);
    request.has_unsent() || frames.is_some_and(|frames| !frames.borrow().is_empty())
}

/// nginx's read handler: something has arrived, or the client has closed.
struct Readable;

impl Handler for Readable {
    fn call(request: Request<'_>) {
        if let Some(request) = read_on(request) {
            let _in_flight = send(request);
        }
    }
}

/// nginx's write handler: the client can take more.
struct Writable;

impl Handler for Writable {
    fn call(request: Request<'_>) {
        let event = request.write_event();
        // SAFETY: the event and the connection belong to a live request.
        unsafe {
            if (*event).timedout() != 0 {
                say!(&request, Code::ClientTooSlow, "client timed out (send_timeout)");
                (*request.connection()).set_timedout(1);
                finalize::end(request, Ending::ClientGone(REQUEST_TIME_OUT));
                return;
            }
        }
        let Some(request) = send(request) else { return };
        let goes = request.exchange().and_then(|exchange| exchange.socket.as_deref());
        if goes.is_some_and(Socket::may_go) {
            let _in_flight = restart(request, false);
        }
    }
}

/// Moves the application's frames to those that wait.
fn take(request: &Request<'_>, socket: &Socket, now: u64) {
    let Some(upgraded) = request.upgraded.get() else { return };
    let closing = {
        let mut sending = upgraded.sending.borrow_mut();
        let mut taken = std::mem::take(&mut sending.taken);
        let closing = socket.take(&mut taken);
        // Behind a close frame of the event loop's nothing may be sent. The pipe has dropped what it had.
        for bytes in taken.drain(..).filter(|_| upgraded.is_open()) {
            sending.frames.push_back(Frame { bytes, from_pipe: true });
        }
        sending.taken = taken;
        closing
    };
    if closing.is_some() && upgraded.is_open() {
        upgraded.stage.set(Stage::Closing(now));
        upgraded.unread.take();
        start_timer(request, CLOSE_TIMEOUT);
    }
}

/// Sends the 101. An error is nginx's code.
fn send_head(request: &Request<'_>, head: &ResponseHead, socket: &Socket) -> Result<(), isize> {
    let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut fields: Vec<Field> = vec![
        field("Upgrade", "websocket"),
        field("Sec-WebSocket-Accept", &socket.handshake.accept),
    ];
    if let Some(deflate) = socket.handshake.deflate {
        fields.push(field("Sec-WebSocket-Extensions", &deflate.response()));
    }
    let set = response::set(request, head).and_then(|()| response::add_own(request, &fields));
    if set.is_none() {
        return Err(INTERNAL_SERVER_ERROR);
    }
    request.head_sent.set(true);
    // SAFETY: the request lives as long as `request`, and its header has not been sent.
    unsafe {
        let r = request.raw();
        (*r).set_keepalive(0);
        match ngx_http_send_header(r) {
            sys::OK | sys::AGAIN => {}
            code => return Err(code),
        }
        match ngx_http_send_special(r, nginx_sys::NGX_HTTP_FLUSH as usize) {
            sys::ERROR => Err(sys::ERROR),
            _ => Ok(()),
        }
    }
}

/// Takes what nginx has read behind the request's head.
fn take_read(request: &Request<'_>) -> Vec<u8> {
    // SAFETY: the request lives as long as `request`, and its buffer holds the bytes from `pos` to `last`.
    unsafe {
        let Some(buffer) = (*request.raw()).header_in.as_mut() else { return Vec::new() };
        let len = buffer.last.addr().saturating_sub(buffer.pos.addr());
        let read = sys::bytes(nginx_sys::ngx_str_t { len, data: buffer.pos }).to_vec();
        buffer.pos = buffer.last;
        read
    }
}
