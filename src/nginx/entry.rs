//! Every function that nginx calls. Each makes the token, catches panics, and hands over to the file
//! that knows.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use nginx_sys::{
    ngx_conf_t, ngx_connection_t, ngx_cycle_t, ngx_event_t, ngx_http_handler_pt,
    ngx_http_request_t, ngx_int_t, ngx_log_t,
};

use super::conf::{self, LocConf, MainConf};
use super::context::Context;
use super::process::Process;
use super::sys::{self, CONF_ERROR, CONF_OK, EventThread};
use super::{body, children, directives, finalize, handler, inline, output, process, wake};
use crate::bridge::id::RequestId;
use crate::bridge::panics::Panicked;
use crate::bridge::pipe::input::InputError;

/// What `wsgi_app` puts in a location.
pub(super) const CONTENT_HANDLER: unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t =
    content;

const _: ngx_http_handler_pt = Some(CONTENT_HANDLER);

/// Counts the readings of the configuration: a process of one reading does not serve another's.
static CONFIGURATION: AtomicUsize = AtomicUsize::new(0);

pub(super) unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx reads its configuration.
    unsafe {
        conf::reading(cf, ptr::null_mut(), || {
            let configuration = CONFIGURATION.fetch_add(1, Ordering::Relaxed) + 1;
            conf::keep(cf, MainConf::new(configuration))
        })
    }
}

pub(super) unsafe extern "C" fn init_main_conf(
    cf: *mut ngx_conf_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx reads its configuration; conf is what create_main_conf made.
    unsafe {
        conf::reading(cf, CONF_ERROR, || {
            (*conf.cast::<MainConf>()).set_defaults();
            CONF_OK
        })
    }
}

pub(super) unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx reads its configuration.
    unsafe {
        conf::reading(cf, ptr::null_mut(), || {
            conf::keep(cf, LocConf::new(CONFIGURATION.load(Ordering::Relaxed)))
        })
    }
}

pub(super) unsafe extern "C" fn merge_loc_conf(
    cf: *mut ngx_conf_t,
    previous: *mut c_void,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx reads its configuration; both are what create_loc_conf made, and two different ones.
    unsafe {
        conf::reading(cf, CONF_ERROR, || {
            let conf = &mut *conf.cast::<LocConf>();
            match conf.merge(cf, &*previous.cast::<LocConf>()) {
                Ok(()) => CONF_OK,
                Err(error) => directives::fail_without_place(cf, &error),
            }
        })
    }
}

pub(super) unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx reads its configuration.
    unsafe {
        conf::reading(cf, sys::ERROR, || {
            let main = &mut *conf::main_conf(cf);
            if !main.has_apps() {
                return sys::OK;
            }
            let user = conf::workers_user(cf);
            main.set_user(user);
            let checked = main
                .check_files(user)
                .and_then(|()| {
                    main.inherited_variables().try_for_each(|name| conf::add_env(cf, name))
                })
                .and_then(|()| main.share())
                .and_then(|()| conf::add_post_read_handler(cf, post_read));
            match checked {
                Ok(()) => sys::OK,
                Err(error) => {
                    directives::fail_without_place(cf, &error);
                    sys::ERROR
                }
            }
        })
    }
}

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

unsafe extern "C" fn content(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx calls the content handler of a live request.
    unsafe {
        let failed = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
        sys::guard(log_of(r), || failed, |token| handler::content(token, r))
    }
}

/// The first thing that nginx does with a request, whoever serves it.
unsafe extern "C" fn post_read(r: *mut ngx_http_request_t) -> ngx_int_t {
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
