//! How nginx's calls for one request reach its context.

use std::ptr::{self, NonNull};

use nginx_sys::{ngx_event_t, ngx_http_request_t, ngx_http_run_posted_requests};

use super::Request;
use super::context::Context;
use super::event_loop;
use super::finalize::{self, Ending};
use crate::bridge::id::RequestId;
use crate::bridge::panics::Panicked;
use crate::nginx::log::HasLog;
use crate::nginx::sys;
use crate::nginx::trampoline::{self, EventThread, guard};

/// A handler that nginx calls for a request of this module.
pub(in crate::nginx) trait Handler {
    /// Called when the handler's event has fired, whatever the state of the request.
    fn fired(_token: EventThread) {}

    fn call(request: Request<'_>);
}

/// Called by nginx with the request: it reads or writes, or nginx has begun to read the body.
///
/// # Safety
///
/// nginx calls it with a live request.
pub(in crate::nginx) unsafe extern "C" fn on_request<H: Handler>(r: *mut ngx_http_request_t) {
    // SAFETY: a context that is set on a request lives as long as that request.
    unsafe {
        if let Some(context) = Context::of(r) {
            called(context, |request| H::call(request));
        }
    }
}

/// Called by nginx with one of the context's own events.
///
/// # Safety
///
/// nginx calls it with an event whose `data` is the context.
pub(in crate::nginx) unsafe extern "C" fn on_event<H: Handler>(event: *mut ngx_event_t) {
    // SAFETY: the events of a context are removed from nginx's timer tree and queues before the context ends.
    unsafe {
        if let Some(context) = NonNull::new((*event).data.cast()) {
            called(context, |request| {
                H::fired(request.token());
                from_outside(request, |request| H::call(request));
            });
        }
    }
}

/// Runs a handler that nginx has called for a request. If it panics, the request is ended, unless nginx already has
/// it back: then nothing of the request may be accessed any more, and its id is unknown.
///
/// # Safety
///
/// nginx is the caller, and the context is live. A context without an id has not been submitted. If its request is
/// not ended either, `act` does nothing more with it after it has given it back.
unsafe fn called(context: NonNull<Context>, act: impl FnOnce(Request<'_>)) {
    // SAFETY: the context is live when this function is called. After a panic it is live if its id is still in the
    // table.
    unsafe {
        let id = context.as_ref().id.get();
        let end = || {
            // If ending it panics as well, the request is left to nginx's timers.
            guard(
                ptr::null_mut(),
                || (),
                |token| {
                    if id.is_none_or(|id| event_loop::find(token, id).is_some()) {
                        finalize::end(Request::new(token, context), Ending::Panicked);
                    }
                },
            );
        };
        guard(context.as_ref().log(), end, |token| act(Request::new(token, context)));
    }
}

/// Runs `act` as `called` does, for a request that the event loop has found.
pub(in crate::nginx) fn guarded(request: Request<'_>, act: impl FnOnce(Request<'_>)) {
    // SAFETY: nginx is the caller, as the token proves, and the context lives as long as `request`.
    unsafe { called(NonNull::from(&*request), act) }
}

/// Handles a panic that occurred while a Python thread's message was processed: logs it, and ends the request that
/// the message is about, if there is one.
pub(in crate::nginx) fn end_after_panic(
    token: EventThread,
    id: Option<RequestId>,
    panicked: &Panicked,
) {
    let request = id.and_then(|id| event_loop::find(token, id));
    let log = request.as_ref().map_or(ptr::null_mut(), HasLog::log);
    // SAFETY: this is nginx's thread, and the log is null or that of a live request.
    unsafe {
        trampoline::say_panic(log, panicked);
        if let Some(request) = request {
            // If ending it panics as well, the request is left to nginx's timers.
            guard(log, || (), |_token| finalize::end(request, Ending::Panicked));
        }
    }
}

/// Runs `act` on a request from outside nginx's own handlers for it. Afterwards nginx does the work that it has
/// postponed. If nginx has redirected the request meanwhile ([`finalize::end_superseded`]), the thread is told
/// instead.
pub(in crate::nginx) fn from_outside<'ev>(request: Request<'ev>, act: impl FnOnce(Request<'ev>)) {
    if request.is_superseded() {
        finalize::end(request, Ending::Dropped);
        return;
    }
    let connection = request.connection();
    // SAFETY: the request lives as long as `request`; a connection's memory outlives its requests.
    unsafe {
        sys::set_log_request(request.raw());
        act(request);
        ngx_http_run_posted_requests(connection);
    }
}
