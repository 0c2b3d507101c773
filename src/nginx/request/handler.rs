//! The content handler: from nginx's request to an exchange that is submitted.

use std::sync::Arc;

use nginx_sys::{ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t};

use super::body;
use super::call::{Handler, on_event, on_request};
use super::context::{Body, Context};
use super::event_loop;
use super::finalize::{self, Ending};
use super::inline::NextTurn;
use super::snapshot;
use super::watch::{self, Expired};
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::{Refusal, Submitted};
use crate::bridge::pipe::input::{Input, InputError};
use crate::nginx::conf::LocConf;
use crate::nginx::log::{alert, error};
use crate::nginx::sys;
use crate::nginx::trampoline::{EventThread, guard};

const INTERNAL_SERVER_ERROR: isize = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as isize;

/// What `wsgi_app` puts in a location.
///
/// # Safety
///
/// nginx calls it with a live request in its content phase.
pub(in crate::nginx) unsafe extern "C" fn on_content(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: a live request has a connection with a log.
    unsafe { guard((*(*r).connection).log, || INTERNAL_SERVER_ERROR, |token| content(token, r)) }
}

/// Takes a request on: `NGX_DONE`, or the status that nginx is to answer.
///
/// # Safety
///
/// `r` is a live request in its content phase, in a location with an application.
unsafe fn content(token: EventThread, r: *mut ngx_http_request_t) -> isize {
    // SAFETY: nginx made this module's configuration for every location.
    unsafe {
        let conf = &*sys::loc_conf::<LocConf>(r, sys::own_module());
        let Some(location) = &conf.location else {
            // `wsgi_app off` in an `if`: nginx keeps the handler of the location around it
            // (ngx_http_update_location_config), and goes on without one when that declines.
            return sys::DECLINED;
        };
        finalize::end_superseded(token, r);
        let context = Context::new(
            r,
            Arc::clone(location),
            conf.queue_timeout,
            conf.timeout,
            on_event::<Expired>,
            on_event::<NextTurn>,
        );
        let Some(context) = finalize::attach(r, context) else {
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
        let rc = ngx_http_read_client_request_body(r, Some(on_request::<BodyRead>));
        if rc >= sys::SPECIAL_RESPONSE { rc } else { sys::DONE }
    }
}

/// nginx has read the whole body, or, if it is streamed, begun to.
struct BodyRead;

impl Handler for BodyRead {
    unsafe fn call(token: EventThread, context: *mut Context) {
        // SAFETY: the context of a request that `content` has taken on lives until nginx frees the request.
        unsafe {
            let streams = (*context).body == Body::Streaming;
            // A request that is refused may be gone already.
            let in_flight = (*context).exchange.is_some() || submit(token, context);
            if streams && in_flight {
                body::started(token, context);
            }
        }
    }
}

/// Sends the request to its thread; false where it was answered instead, and may be gone.
unsafe fn submit(token: EventThread, context: *mut Context) -> bool {
    // SAFETY: the callers': a live request.
    unsafe {
        let r = (*context).request;
        let conf = &*sys::loc_conf::<LocConf>(r, sys::own_module());
        let Some(event_loop) = event_loop::running(token, conf.configuration) else {
            error!(
                &*context,
                "pywsgi: this process has no Python for this configuration; in single-process \
                 mode nginx must be restarted, not reloaded"
            );
            finalize::end(token, context, Ending::Failed);
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
                    alert!(&*context, "pywsgi: the request body cannot be shared: {error}");
                    finalize::end(token, context, Ending::Failed);
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
        let id = event_loop.insert(token, context);
        (*context).id = Some(id);
        let worker = event_loop.worker();
        let location = Arc::clone(&(*context).location);
        let mut exchange = Exchange::new(id, location, Arc::clone(worker), input);
        let head = Arc::get_mut(&mut exchange).map(|exchange| &mut exchange.head);
        if !head.is_some_and(|head| snapshot::snapshot(token, r, conf, content_length, head)) {
            finalize::end(token, context, Ending::Failed);
            return false;
        }
        (*context).exchange = Some(Arc::clone(&exchange));
        (*context).submitted = worker.now();
        match worker.submit(exchange) {
            Ok(Submitted::Queued) => {
                event_loop.end_turn_later(token);
                watch::watch_over(token, context);
                true
            }
            Ok(Submitted::Run(exchange)) => {
                event_loop.call_later(token, exchange);
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
    // SAFETY: the request is there, as its context.
    unsafe {
        error!(&*context, "pywsgi: {refusal}");
        match refusal {
            Refusal::QueueFull | Refusal::GateFull => {
                finalize::end(token, context, Ending::Unavailable);
            }
            Refusal::Broken => finalize::end(token, context, Ending::Failed),
        }
    }
}
