//! The content handler: from nginx's request to an exchange that is submitted.

use std::ffi::CStr;
use std::ptr;
use std::sync::Arc;

use nginx_sys::{ngx_event_t, ngx_http_read_client_request_body, ngx_http_request_t};

use super::body;
use super::context::{Body, Context};
use super::finalize;
use super::response;
use super::snapshot;
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::{Refusal, Submitted};
use crate::bridge::pipe::input::{Input, InputError};
use crate::nginx::conf::LocConf;
use crate::nginx::entry;
use crate::nginx::log;
use crate::nginx::module::ngx_http_pywsgi_module;
use crate::nginx::process;
use crate::nginx::sys::{self, EventThread};

const INTERNAL_SERVER_ERROR: isize = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as isize;
pub(in crate::nginx) const SERVICE_UNAVAILABLE: isize =
    nginx_sys::NGX_HTTP_SERVICE_UNAVAILABLE as isize;

/// Seconds after which a client may try again when the queue is full.
const RETRY_AFTER: &CStr = c"1";

/// Takes a request on: `NGX_DONE`, or the status that nginx is to answer.
///
/// # Safety
///
/// `r` is a live request in its content phase, in a location with an application.
pub(in crate::nginx) unsafe fn content(token: EventThread, r: *mut ngx_http_request_t) -> isize {
    // SAFETY: nginx made this module's configuration for every location.
    unsafe {
        let conf = &*sys::loc_conf::<LocConf>(r, &*ptr::addr_of!(ngx_http_pywsgi_module));
        let Some(location) = &conf.location else {
            // `wsgi_app off` in an `if`: nginx keeps the handler of the location around it
            // (ngx_http_update_location_config), and goes on without one when that declines.
            return sys::DECLINED;
        };
        for before in Context::superseded(r) {
            finalize::detach(token, before, InputError::ClientGone);
        }
        let created = Context::create(r, Arc::clone(location), conf.queue_timeout, conf.timeout);
        let Some(context) = created else {
            return INTERNAL_SERVER_ERROR;
        };
        let has_body = (*r).headers_in.content_length_n > 0 || (*r).headers_in.chunked() != 0;
        if body::is_taken(r) {
            (*context).body = Body::Taken;
        } else if conf.request_buffering == 0
            && has_body
            && r == (*r).main
            && (*r).request_body.is_null()
        {
            (*r).set_request_body_no_buffering(1);
            if !(*r).headers_in.expect.is_null() && (*r).expect_tested() == 0 {
                // 100 Continue goes out with the application's first read.
                (*context).body = Body::Expected;
                let main = (*r).main;
                (*main).set_count((*main).count() + 1);
                submit(token, context);
                return sys::DONE;
            }
            (*context).body = Body::Streaming;
        }
        let rc = ngx_http_read_client_request_body(r, Some(entry::body_started));
        if rc >= sys::SPECIAL_RESPONSE { rc } else { sys::DONE }
    }
}

/// nginx has read the whole body, or, where it is streamed, begun to.
///
/// # Safety
///
/// `r` is a live request that [`content`] took on.
pub(in crate::nginx) unsafe fn body_started(token: EventThread, r: *mut ngx_http_request_t) {
    // SAFETY: the caller's.
    unsafe {
        let context = Context::of(r);
        let streams = (*context).body == Body::Streaming;
        // Where the request is refused it may be gone already.
        let in_flight = (*context).exchange.is_some() || submit(token, context);
        if streams && in_flight {
            body::started(token, context);
        }
    }
}

/// Sends the request to its thread; false where it was answered instead, and may be gone.
unsafe fn submit(token: EventThread, context: *mut Context) -> bool {
    // SAFETY: the callers': a live request.
    unsafe {
        let r = (*context).request;
        let conf = &*sys::loc_conf::<LocConf>(r, &*ptr::addr_of!(ngx_http_pywsgi_module));
        let Some(process) = process::running(token, conf.configuration) else {
            let text = "pywsgi: this process has no Python for this configuration; in single-process \
                        mode nginx must be restarted, not reloaded";
            log::write((*(*r).connection).log, log::ERR, text);
            finalize::finish(token, context, INTERNAL_SERVER_ERROR);
            return false;
        };
        let chunked = (*r).headers_in.chunked() != 0;
        let declared = u64::try_from((*r).headers_in.content_length_n).ok();
        let (input, content_length) = match (*context).body {
            Body::Buffered => match body::take_buffered(token, r) {
                Ok((segments, length)) => {
                    let known = length > 0 || chunked || declared.is_some();
                    (Input::buffered(segments), known.then_some(length))
                }
                Err(error) => {
                    let text = format!("pywsgi: the request body cannot be shared: {error}");
                    log::write((*(*r).connection).log, log::ALERT, &text);
                    finalize::finish(token, context, INTERNAL_SERVER_ERROR);
                    return false;
                }
            },
            Body::Taken => {
                body::mark_taken(r);
                (Input::failed(InputError::Taken), declared.filter(|_| !chunked))
            }
            streamed => {
                let idle = streamed == Body::Expected;
                (Input::streamed(idle), declared.filter(|_| !chunked))
            }
        };
        let id = process.insert(token, context);
        (*context).id = Some(id);
        let worker = process.worker();
        let location = Arc::clone(&(*context).location);
        let mut exchange = Exchange::new(id, location, Arc::clone(worker), input);
        let head = Arc::get_mut(&mut exchange).map(|exchange| &mut exchange.head);
        if !head.is_some_and(|head| snapshot::snapshot(token, r, conf, content_length, head)) {
            finalize::finish(token, context, INTERNAL_SERVER_ERROR);
            return false;
        }
        (*context).exchange = Some(Arc::clone(&exchange));
        (*context).submitted = worker.now();
        match worker.submit(exchange) {
            Ok(Submitted::Queued) => {
                process.end_turn_later(token);
                finalize::watch_over(token, context);
                true
            }
            Ok(Submitted::Run(exchange)) => {
                process.call_later(token, exchange);
                true
            }
            Err(refusal) => {
                refuse(token, context, refusal);
                false
            }
        }
    }
}

unsafe fn refuse(token: EventThread, context: *mut Context, refusal: Refusal) {
    // SAFETY: the caller's: a live request.
    unsafe {
        let r = (*context).request;
        log::write((*(*r).connection).log, log::ERR, &format!("pywsgi: {refusal}"));
        match refusal {
            Refusal::QueueFull | Refusal::GateFull => unavailable(token, context),
            Refusal::Broken => finalize::finish(token, context, INTERNAL_SERVER_ERROR),
        }
    }
}

/// Answers 503 with Retry-After.
///
/// # Safety
///
/// `context` is one of a request in flight, whose head has not gone.
pub(in crate::nginx) unsafe fn unavailable(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's; the header's texts are static.
    unsafe {
        let r = (*context).request;
        // Without memory for it the answer goes without it.
        let _added = response::push(
            &raw mut (*r).headers_out.headers,
            sys::string(c"Retry-After"),
            sys::string(RETRY_AFTER),
        );
        finalize::finish(token, context, SERVICE_UNAVAILABLE);
    }
}

/// The context that an event belongs to.
///
/// # Safety
///
/// `event` is one of a [`Context`] that lives.
pub(in crate::nginx) unsafe fn context_of_event(event: *mut ngx_event_t) -> *mut Context {
    // SAFETY: `Context::create` set it.
    unsafe { (*event).data.cast() }
}
