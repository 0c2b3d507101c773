//! How a WebSocket ends from the event loop's side, and its timer.

use std::sync::Arc;
use std::time::Duration;

use nginx_sys::ngx_msec_t;

use super::Request;
use super::finalize::{self, Ending};
use super::socket::Stage;
use crate::bridge::callbacks::Gone;
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
use crate::http::websocket::close::Close;
use crate::http::websocket::frame::{self, Opcode};
use crate::nginx::log::say;

pub(super) const CLIENT_CLOSED_REQUEST: isize = nginx_sys::NGX_HTTP_CLIENT_CLOSED_REQUEST as isize;

/// How long a client may take to answer a close frame, in milliseconds.
pub(super) const CLOSE_TIMEOUT: u64 = 10_000;

/// The timer's period, in milliseconds, if there are no pings. The timer is then needed only for the draining worker.
pub(super) const NO_PINGS: u64 = 60 * 60 * 1000;

/// Queues a close frame, and tells the application's task why nothing more comes.
pub(super) fn close_with(request: &Request<'_>, exchange: &Arc<Exchange>, close: Close) {
    let Some(upgraded) = request.upgraded.get() else { return };
    let frame = frame::encode(Opcode::Close, false, &close.payload());
    upgraded.sending.borrow_mut().add_last(frame.into());
    upgraded.stage.set(Stage::Closing(exchange.worker.now()));
    upgraded.unread.take();
    start_timer(request, CLOSE_TIMEOUT);
    exchange.end_socket(close);
}

/// The client has sent a close frame: answers it, unless it is the answer.
pub(super) fn closed(request: &Request<'_>, exchange: &Arc<Exchange>, payload: &[u8]) {
    let Some(upgraded) = request.upgraded.get() else { return };
    match Close::parse(payload) {
        Err(error) => refuse(request, exchange, Close::new(error.code(), &error.to_string())),
        Ok(close) => {
            if upgraded.is_open() {
                exchange.set_gone(Gone::Client);
                let frame = frame::encode(Opcode::Close, false, &close.payload());
                upgraded.sending.borrow_mut().add_last(frame.into());
            }
            upgraded.stage.set(Stage::Ending);
            exchange.end_socket(close);
        }
    }
}

/// The client has broken the rules: it is told, and nothing more is read.
pub(super) fn refuse(request: &Request<'_>, exchange: &Arc<Exchange>, close: Close) {
    let Some(upgraded) = request.upgraded.get() else { return };
    say!(request, Code::WebSocketBroken, "client broke the WebSocket protocol: {}", close.reason);
    if upgraded.is_open() {
        exchange.set_gone(Gone::Client);
        close_with(request, exchange, close);
    }
    upgraded.stage.set(Stage::Ending);
}

/// The client has closed its connection, or it is broken.
pub(super) fn lost(request: Request<'_>) {
    let answered = request.upgraded.get().is_some_and(|upgraded| !upgraded.is_open());
    if !answered {
        say!(&request, Code::WebSocketLost, "client closed its WebSocket without a close frame");
    }
    finalize::end(request, Ending::ClientGone(CLIENT_CLOSED_REQUEST));
}

/// Starts the request's timer, in milliseconds.
pub(super) fn start_timer(request: &Request<'_>, delay: u64) {
    request.timer.start(request.token(), request, delay.max(1) as ngx_msec_t);
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NO_PINGS)
}
