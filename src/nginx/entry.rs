//! Every function that nginx calls. Each makes the token, catches panics, and hands over to the file
//! that knows.

use std::ffi::c_void;
use std::ptr;

use nginx_sys::{
    ngx_connection_t, ngx_cycle_t, ngx_event_t, ngx_http_request_t, ngx_int_t, ngx_log_t,
};

use super::children;
use super::process::{self, Process, wake};
use super::request::context::Context;
use super::request::{body, finalize, handler, inline, output};
use super::sys::{self, EventThread};
use crate::bridge::id::RequestId;
use crate::bridge::panics::Panicked;
use crate::bridge::pipe::input::InputError;

pub(super) unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx starts a process with this cycle.
    unsafe {
        sys::guard(
            (*cycle).log,
            || sys::OK,
            |token| {
                process::start(token, cycle);
                sys::OK
            },
        )
    }
}

pub(super) unsafe extern "C" fn exit_process(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx ends a process.
    unsafe { sys::guard((*cycle).log, process::leave_python, |token| process::stop(token)) }
}

pub(super) unsafe extern "C" fn content(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx calls the content handler of a live request.
    unsafe {
        let failed = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
        sys::guard(log_of(r), || failed, |token| handler::content(token, r))
    }
}

/// The first thing that nginx does with a request, whoever serves it.
pub(super) unsafe extern "C" fn post_read(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx calls the handlers of its phases with a live request.
    unsafe { children::keep_connection_from(r) };
    sys::DECLINED
}

pub(super) unsafe extern "C" fn body_started(r: *mut ngx_http_request_t) {
    // SAFETY: nginx calls the handler given to ngx_http_read_client_request_body.
    unsafe { of_request(Context::of(r), |token, _context| handler::body_started(token, r)) }
}

pub(super) unsafe extern "C" fn body_readable(r: *mut ngx_http_request_t) {
    // SAFETY: nginx calls the read handler of a live request in flight.
    unsafe { of_request(Context::of(r), |token, context| body::readable(token, context)) }
}

pub(super) unsafe extern "C" fn writable(r: *mut ngx_http_request_t) {
    // SAFETY: nginx calls the write handler of a live request in flight.
    unsafe { of_request(Context::of(r), |token, context| output::writable(token, context)) }
}

pub(super) unsafe extern "C" fn timer(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of a context's timer, which is deleted before the context.
    unsafe {
        of_request(handler::context_of_event(event), |token, context| {
            finalize::from_outside(token, context, |context| finalize::expired(token, context));
        });
    }
}

pub(super) unsafe extern "C" fn next_turn(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of a context's event, which is taken back before the context ends.
    unsafe {
        of_request(handler::context_of_event(event), |token, context| {
            if let Some(process) = process::current(token) {
                process.goes_on();
            }
            finalize::from_outside(token, context, |context| inline::go_on(token, context));
        });
    }
}

/// The cleanup of a main request: it ends, or is terminated and may still be sent from.
pub(super) unsafe extern "C" fn cleanup(data: *mut c_void) {
    // SAFETY: nginx calls each cleanup once, before the pool's; the context is the one that
    // Context::create made for it.
    unsafe {
        let context = data.cast::<Context>();
        let detach = |token| finalize::detach(token, context, InputError::ClientGone);
        sys::guard(ptr::null_mut(), || (), detach);
    }
}

/// The cleanup of a request's pool: nothing of its contexts is used afterwards.
pub(super) unsafe extern "C" fn pool_cleanup(data: *mut c_void) {
    // SAFETY: as for `cleanup`; this is the last that nginx does with the request.
    unsafe {
        let context = data.cast::<Context>();
        sys::guard(ptr::null_mut(), || (), |token| finalize::release(token, context));
    }
}

pub(super) unsafe extern "C" fn wake(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of the connection that wake::listen made.
    unsafe {
        of_process(event, |token, process| {
            wake::rung(token, (*event).data.cast::<ngx_connection_t>(), process);
        });
    }
}

pub(super) unsafe extern "C" fn turn_end(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of the process's own event.
    unsafe { of_process(event, |token, process| process.end_turn(token)) }
}

pub(super) unsafe extern "C" fn look(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of the process's own timer.
    unsafe { of_process(event, |token, process| process.wake(token)) }
}

pub(super) unsafe extern "C" fn called(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of the process's own event.
    unsafe { of_process(event, inline::run) }
}

pub(super) unsafe extern "C" fn drained(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of the process's drain timer.
    unsafe { of_process(event, |token, process| process.give_up(token)) }
}

pub(super) unsafe extern "C" fn start_again(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of the process's own timer.
    unsafe { of_process(event, |token, process| process.start_python(token)) }
}

pub(super) unsafe extern "C" fn hold(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of the process's own timer.
    unsafe { of_process(event, |token, process| process.hold(token)) }
}

/// Runs what nginx has called for the process, if it runs Python. After a panic the event loop is rung for
/// once more, for it may have been about to rest.
unsafe fn of_process(event: *mut ngx_event_t, act: impl FnOnce(EventThread, &'static Process)) {
    // SAFETY: the callers': the event is the module's own, and has a log.
    unsafe {
        let ring = || {
            sys::guard(
                ptr::null_mut(),
                || (),
                |token| {
                    if let Some(process) = process::current(token) {
                        process.worker().events.ring_again();
                    }
                },
            );
        };
        sys::guard((*event).log, ring, |token| {
            if let Some(process) = process::current(token) {
                act(token, process);
            }
        });
    }
}

/// Runs what nginx has called for a request, if this module has it. A panic ends that request, if nginx does
/// not have it back already: then nothing of it may be looked at any more, and its id is unknown.
pub(super) unsafe fn of_request(
    context: *mut Context,
    act: impl FnOnce(EventThread, *mut Context),
) {
    // SAFETY: the callers': the context, if there is one, lives now. One without an id has not been submitted, and where it
    // is not in the end either, it is given back by the last thing that is done.
    unsafe {
        if context.is_null() {
            return;
        }
        let id = (*context).id;
        let give_up = || {
            // Should ending it panic as well, it is left to nginx's timers.
            sys::guard(
                ptr::null_mut(),
                || (),
                |token| {
                    if id.is_none_or(|id| process::is_in_flight(token, id)) {
                        finalize::finish(token, context, sys::ERROR);
                    }
                },
            );
        };
        sys::guard(log_of((*context).request), give_up, |token| act(token, context));
    }
}

/// After a panic while a message of a Python thread was dealt with: logs it, and ends the request that the
/// message is about, if there is one.
pub(super) fn end_after_panic(
    token: EventThread,
    process: &Process,
    id: Option<RequestId>,
    panicked: &Panicked,
) {
    let context = id.and_then(|id| process.find(id));
    // SAFETY: the table holds contexts of requests in flight alone.
    unsafe {
        let log = context.map_or(ptr::null_mut(), |context| log_of((*context).request));
        sys::say_panic(log, panicked);
        if let Some(context) = context {
            // Should ending it panic as well, it is left to nginx's timers.
            let end = |token| finalize::finish(token, context, sys::ERROR);
            sys::guard(log, || (), end);
        }
    }
    let _on_this_thread = token;
}

unsafe fn log_of(r: *mut ngx_http_request_t) -> *mut ngx_log_t {
    // SAFETY: a live request has a connection with a log.
    unsafe { (*(*r).connection).log }
}
