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

/// What nginx calls for a request that this module has.
pub(in crate::nginx) trait Handler {
    /// Its event has fired, whatever has become of the request.
    fn fired(_token: EventThread) {}

    fn call(request: Request<'_>);
}

/// nginx's call with the request: it reads or writes, or nginx has begun to read the body.
///
/// # Safety
///
/// nginx calls it with a live request.
pub(in crate::nginx) unsafe extern "C" fn on_request<H: Handler>(r: *mut ngx_http_request_t) {
    // SAFETY: a context that nginx has with its request lives as long as that.
    unsafe {
        if let Some(context) = Context::of(r) {
            called(context, |request| H::call(request));
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
        if let Some(context) = NonNull::new((*event).data.cast()) {
            called(context, |request| {
                H::fired(request.token());
                from_outside(request, |request| H::call(request));
            });
        }
    }
}

/// Runs what nginx has called for a request. A panic ends that request, if nginx does not have it back already: then
/// nothing of it may be looked at any more, and its id is unknown.
///
/// # Safety
///
/// nginx calls, and the context lives. One without an id has not been submitted, and if it does not end either, `act`
/// is done with it when it has given it back.
unsafe fn called(context: NonNull<Context>, act: impl FnOnce(Request<'_>)) {
    // SAFETY: the context lives as this is called, and after a panic if its id is still in the table.
    unsafe {
        let id = context.as_ref().id.get();
        let end = || {
            // Should ending it panic as well, it is left to nginx's timers.
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

/// The same for a request that the event loop has found.
pub(in crate::nginx) fn guarded(request: Request<'_>, act: impl FnOnce(Request<'_>)) {
    // SAFETY: nginx calls, as the token proves, and the context lives.
    unsafe { called(NonNull::from(&*request), act) }
}

/// After a panic while a message of a Python thread was dealt with: logs it, and ends the request that the
/// message is about, if there is one.
pub(in crate::nginx) fn end_after_panic(
    token: EventThread,
    id: Option<RequestId>,
    panicked: &Panicked,
) {
    let request = id.and_then(|id| event_loop::find(token, id));
    let log = request.as_ref().map_or(ptr::null_mut(), HasLog::log);
    // SAFETY: this is nginx's thread, and the log is a live request's.
    unsafe {
        trampoline::say_panic(log, panicked);
        if let Some(request) = request {
            // Should ending it panic as well, it is left to nginx's timers.
            guard(log, || (), |_token| finalize::end(request, Ending::Panicked));
        }
    }
}

/// Runs `act` on a request from outside nginx's own handlers of it: afterwards nginx does what it has
/// put off. If nginx has the request elsewhere by now ([`finalize::end_superseded`]), the thread is told.
pub(in crate::nginx) fn from_outside<'ev>(request: Request<'ev>, act: impl FnOnce(Request<'ev>)) {
    if request.is_superseded() {
        finalize::end(request, Ending::Dropped);
        return;
    }
    let connection = request.connection();
    // SAFETY: the request is there; a connection's memory outlives its requests.
    unsafe {
        sys::set_log_request(request.raw());
        act(request);
        ngx_http_run_posted_requests(connection);
    }
}
