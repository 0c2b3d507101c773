//! How nginx's calls for one request reach its context.

use std::ptr;

use nginx_sys::{ngx_event_t, ngx_http_request_t, ngx_http_run_posted_requests};

use super::context::Context;
use super::event_loop::{self, EventLoop};
use super::finalize::{self, Ending};
use crate::bridge::id::RequestId;
use crate::bridge::panics::Panicked;
use crate::nginx::log::HasLog;
use crate::nginx::sys;
use crate::nginx::trampoline::{self, EventThread, guard};

/// What nginx calls for a request that this module has.
pub(in crate::nginx) trait Handler {
    /// Its event has fired, whatever has become of the request.
    fn fired(_token: EventThread) {}

    /// # Safety
    ///
    /// `context` lives.
    unsafe fn call(token: EventThread, context: *mut Context);
}

/// nginx's call with the request: it reads or writes, or nginx has begun to read the body.
///
/// # Safety
///
/// nginx calls it with a live request.
pub(in crate::nginx) unsafe extern "C" fn on_request<H: Handler>(r: *mut ngx_http_request_t) {
    // SAFETY: a context that nginx has with its request lives as long as that.
    unsafe {
        let context = Context::of(r);
        if !context.is_null() {
            guarded(context, |token, context| H::call(token, context));
        }
    }
}

/// nginx's call with one of the context's own events.
///
/// # Safety
///
/// nginx calls it with an event whose `data` is the context.
pub(in crate::nginx) unsafe extern "C" fn on_event<H: Handler>(event: *mut ngx_event_t) {
    // SAFETY: the events of a context are taken out of nginx's tree and queues before the context ends.
    unsafe {
        guarded((*event).data.cast(), |token, context| {
            H::fired(token);
            from_outside(token, context, |context| H::call(token, context));
        });
    }
}

/// Runs what nginx has called for a request. A panic ends that request, if nginx does not have it back already: then
/// nothing of it may be looked at any more, and its id is unknown.
///
/// # Safety
///
/// `context` lives. One without an id has not been submitted, and if it does not end either, `act` is done with it
/// when it has given it back.
pub(in crate::nginx) unsafe fn guarded(
    context: *mut Context,
    act: impl FnOnce(EventThread, *mut Context),
) {
    // SAFETY: the context lives as this is called, and after a panic if its id is still in the table.
    unsafe {
        let id = (*context).id;
        let end = || {
            // Should ending it panic as well, it is left to nginx's timers.
            guard(
                ptr::null_mut(),
                || (),
                |token| {
                    if id.is_none_or(|id| event_loop::is_in_flight(token, id)) {
                        finalize::end(token, context, Ending::Panicked);
                    }
                },
            );
        };
        guard((*context).log(), end, |token| act(token, context));
    }
}

/// After a panic while a message of a Python thread was dealt with: logs it, and ends the request that the
/// message is about, if there is one.
pub(in crate::nginx) fn end_after_panic(
    _token: EventThread,
    event_loop: &EventLoop,
    id: Option<RequestId>,
    panicked: &Panicked,
) {
    let context = id.and_then(|id| event_loop.find(id));
    // SAFETY: the table holds contexts of requests in flight alone.
    unsafe {
        let log = context.map_or(ptr::null_mut(), |context| (*context).log());
        trampoline::say_panic(log, panicked);
        if let Some(context) = context {
            // Should ending it panic as well, it is left to nginx's timers.
            guard(log, || (), |token| finalize::end(token, context, Ending::Panicked));
        }
    }
}

/// Runs `act` on a request from outside nginx's own handlers of it: afterwards nginx does what it has
/// put off. If nginx has the request elsewhere by now ([`finalize::end_superseded`]), the thread is told.
///
/// # Safety
///
/// `context` lives.
pub(in crate::nginx) unsafe fn from_outside(
    token: EventThread,
    context: *mut Context,
    act: impl FnOnce(*mut Context),
) {
    // SAFETY: the request lives as long as its context; a connection's memory outlives it.
    unsafe {
        let r = (*context).request;
        if Context::of(r) != context {
            finalize::end(token, context, Ending::Dropped);
            return;
        }
        let connection = (*r).connection;
        sys::set_log_request(r);
        act(context);
        ngx_http_run_posted_requests(connection);
    }
}
