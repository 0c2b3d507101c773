//! The content handler: turns nginx's request into an exchange and submits it.

use std::io;
use std::sync::Arc;

use nginx_sys::{ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t};

use super::Request;
use super::body;
use super::call::{Handler, on_event, on_request};
use super::context::{Body, Context};
use super::event_loop;
use super::finalize::{self, Ending};
use super::handshake;
use super::inline::NextTurn;
use super::snapshot;
use super::watch::{self, Expired};
use crate::bridge::clock;
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::{Refusal, Submitted};
use crate::bridge::pipe::input::{Input, InputError};
use crate::bridge::pipe::messages::Socket;
use crate::metrics::meters::Count;
use crate::nginx::conf::location_of;
use crate::nginx::log::say;
use crate::nginx::sys;
use crate::nginx::trampoline::{EventThread, guard};

const INTERNAL_SERVER_ERROR: isize = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as isize;

/// The content handler that `wsgi_app` sets for a location.
///
/// # Safety
///
/// nginx calls it with a live request in its content phase.
pub(in crate::nginx) unsafe extern "C" fn on_content(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: a live request has a connection with a log.
    unsafe { guard((*(*r).connection).log, || INTERNAL_SERVER_ERROR, |token| content(token, r)) }
}

/// Accepts a request. Returns `NGX_DONE`, or the status that nginx must answer with.
///
/// # Safety
///
/// `r` is a live request in its content phase, in a location with an application.
unsafe fn content(token: EventThread, r: *mut ngx_http_request_t) -> isize {
    // SAFETY: nginx has created this module's configuration for every location.
    let created = unsafe {
        let Some(conf) = location_of(r) else {
            // `wsgi_app off` in an `if`: nginx keeps the handler of the enclosing location
            // (ngx_http_update_location_config), and continues without a handler if that one declines.
            return sys::DECLINED;
        };
        finalize::end_superseded(token, r);
        let handshake = match handshake::read(r, conf) {
            Some(Ok(handshake)) => Some(handshake),
            Some(Err(refusal)) => return handshake::refuse(r, refusal),
            None => None,
        };
        let (timer, next_turn) = (on_event::<Expired>, on_event::<NextTurn>);
        let context = Context::new(r, conf, timer, next_turn);
        context.handshake.set(handshake);
        finalize::attach(token, r, context)
    };
    let Some(request) = created else { return INTERNAL_SERVER_ERROR };
    if body::is_taken(&request) {
        request.body.set(Body::Taken);
    } else if streams(&request) {
        // SAFETY: the request lives as long as `request`.
        let waits_for_100 = unsafe {
            (*r).set_request_body_no_buffering(1);
            !(*r).headers_in.expect.is_null() && (*r).expect_tested() == 0
        };
        if waits_for_100 {
            // 100 Continue is sent at the application's first read.
            request.body.set(Body::Expected);
            // SAFETY: the request lives as long as `request`, and so does its main request.
            unsafe {
                let main = (*r).main;
                (*main).set_count((*main).count() + 1);
            }
            let _in_flight = submit(request);
            return sys::DONE;
        }
        request.body.set(Body::Streaming);
    } else if has_body(&request) {
        request.body_since.set(clock::nanoseconds());
    }
    // SAFETY: the request lives as long as `request`; nothing of it is used afterwards.
    let rc = unsafe { ngx_http_read_client_request_body(r, Some(on_request::<BodyRead>)) };
    if rc >= sys::SPECIAL_RESPONSE { rc } else { sys::DONE }
}

/// Whether the body is read as the application asks for it (`wsgi_request_buffering off`).
fn streams(request: &Request<'_>) -> bool {
    // SAFETY: the request lives as long as `request`.
    let is_read = unsafe {
        let r = request.raw();
        // nginx discards what is too large before it looks for an error_page; there is no body to read then.
        !(*r).request_body.is_null() || (*r).discard_body() != 0
    };
    !request.conf().request_buffering && has_body(request) && request.is_main() && !is_read
}

fn has_body(request: &Request<'_>) -> bool {
    // SAFETY: the request lives as long as `request`.
    let fields = unsafe { &(*request.raw()).headers_in };
    fields.content_length_n > 0 || fields.chunked() != 0
}

/// nginx has read the whole body, or, if the body is streamed, has begun to read it.
struct BodyRead;

impl Handler for BodyRead {
    fn call(request: Request<'_>) {
        let streams = request.body.get() == Body::Streaming;
        // A request that is refused may be gone already.
        if let Some(request) = submit(request).filter(|_| streams) {
            body::Started::call(request);
        }
    }
}

/// Submits the request to its thread. Returns it if it is in flight now. If it was answered instead, it may be gone.
fn submit(request: Request<'_>) -> Option<Request<'_>> {
    let Some(event_loop) = event_loop::running(request.token(), request.conf().configuration)
    else {
        say!(
            &request,
            Code::NoPython,
            "this process has no Python for this configuration; in single-process \
             mode nginx must be restarted, not reloaded"
        );
        finalize::end(request, Ending::Failed);
        return None;
    };
    let (input, content_length) = match input(&request) {
        Ok(input) => input,
        Err(error) => {
            say!(&request, Code::BodyNotShared, "the request body cannot be shared: {error}");
            finalize::end(request, Ending::Failed);
            return None;
        }
    };
    let id = event_loop.insert(&request);
    let worker = event_loop.worker();
    let location = Arc::clone(&request.location);
    let mut exchange = Exchange::new(id, location, Arc::clone(worker), input);
    let owned = Arc::get_mut(&mut exchange);
    let head = owned.map(|exchange| {
        exchange.socket = socket(&request);
        &mut exchange.head
    });
    if !head.is_some_and(|head| snapshot::snapshot(&request, content_length, head)) {
        finalize::end(request, Ending::Failed);
        return None;
    }
    if request.body_since.get() != 0 {
        exchange.timings.add_input(request.body_since.get());
    }
    request.set_exchange(Arc::clone(&exchange), worker.now());
    match worker.submit(exchange) {
        Ok(Submitted::Queued) => {
            event_loop.end_turn_later(request.token());
            watch::watch_over(&request);
            Some(request)
        }
        Ok(Submitted::Run(exchange)) => {
            event_loop.call_later(request.token(), exchange);
            Some(request)
        }
        Err(refusal) => {
            refuse(request, &refusal);
            None
        }
    }
}

/// The body as the thread reads it, and its length if that is known.
fn input(request: &Request<'_>) -> io::Result<(Input, Option<u64>)> {
    // SAFETY: the request lives as long as `request`.
    let (chunked, declared) = unsafe {
        let fields = &(*request.raw()).headers_in;
        (fields.chunked() != 0, u64::try_from(fields.content_length_n).ok())
    };
    let known = declared.filter(|_| !chunked);
    Ok(match request.body.get() {
        Body::Buffered => {
            let (segments, length) = body::take_buffered(request)?;
            let has_length = length > 0 || chunked || declared.is_some();
            (Input::buffered(segments), has_length.then_some(length))
        }
        Body::Taken => {
            body::mark_taken(request);
            (Input::failed(InputError::Taken), known)
        }
        streamed => (Input::streamed(streamed == Body::Expected), known),
    })
}

/// The pipes of messages, if the request asks for a WebSocket.
fn socket(request: &Request<'_>) -> Option<Box<Socket>> {
    let config = request.location.websocket.as_ref()?;
    Some(Box::new(Socket::new(request.handshake.take()?, config.queue)))
}

fn refuse(request: Request<'_>, refusal: &Refusal) {
    request.exchange().inspect(|exchange| exchange.meter().count(Count::Refused));
    say!(&request, Code::Refused, "{refusal}");
    let ending = match refusal {
        Refusal::QueueFull
        | Refusal::GateFull
        | Refusal::LoopFull
        | Refusal::TooManyInFlight
        | Refusal::ProcessesFull => Ending::Unavailable,
        Refusal::Broken | Refusal::LoopEnded => Ending::Failed,
    };
    finalize::end(request, ending);
}
