//! What may happen to a request in flight before its response is complete: its client leaves, or can take more; it is
//! too late.

use std::ptr;

use nginx_sys::{ngx_handle_write_event, ngx_msec_t};

use super::call::{Handler, on_request};
use super::context::Context;
#[cfg(nginx_1_29)]
use super::early_hints;
use super::finalize::{self, Ending};
use super::inline;
use super::output;
use crate::bridge::exchange::Progress;
use crate::bridge::gate::Gate;
use crate::bridge::tasks::Task;
use crate::nginx::log::{error, info};
use crate::nginx::sys;
use crate::nginx::trampoline::EventThread;

const CLIENT_CLOSED_REQUEST: isize = nginx_sys::NGX_HTTP_CLIENT_CLOSED_REQUEST as isize;
const REQUEST_TIME_OUT: isize = nginx_sys::NGX_HTTP_REQUEST_TIME_OUT as isize;

/// If nothing has a limit, the timer is there for the draining worker alone; milliseconds.
const NO_LIMIT: ngx_msec_t = 60 * 60 * 1000;

/// While the thread waits for the client its clock stands still; the timer fires this often then,
/// in milliseconds.
const LEAST: ngx_msec_t = 20;

/// Sets a request in flight up for that.
///
/// # Safety
///
/// `context` is one of a request in flight.
pub(in crate::nginx) unsafe fn watch_over(token: EventThread, context: *mut Context) {
    // SAFETY: the request lives as long as its context.
    unsafe {
        (*context).watch();
        (*(*context).request).write_event_handler = Some(on_request::<Writable>);
        // Before either limit there is nothing to decide; the thread may have started at once.
        let first = limit((*context).timeout).min((*context).queue_timeout);
        (*context).timer.start(token, &*context, first);
    }
}

/// nginx's write handler of a request in flight.
pub(in crate::nginx) struct Writable;

impl Handler for Writable {
    unsafe fn call(token: EventThread, context: *mut Context) {
        // SAFETY: nginx's handlers are others when a request is no longer in flight.
        unsafe { writable(token, context) }
    }
}

/// The timer of a request in flight.
pub(in crate::nginx) struct Expired;

impl Handler for Expired {
    unsafe fn call(token: EventThread, context: *mut Context) {
        // SAFETY: the timer is stopped when a request is no longer in flight.
        unsafe { expired(token, context) }
    }
}

/// The client can take more.
///
/// # Safety
///
/// `context` is one of a request in flight.
unsafe fn writable(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's, as ngx_http_writer does.
    unsafe {
        let r = (*context).request;
        let connection = &mut *(*r).connection;
        let event = connection.write;
        if (*event).timedout() != 0 {
            if (*context).busy.is_null() && !sys::is_buffered(connection) {
                // Nothing of this request waits for the client: a subrequest that has ended and waits
                // for this one has armed the timer (ngx_http_set_write_handler).
                (*event).set_timedout(0);
                return;
            }
            info!(&*context, "client timed out (send_timeout)");
            connection.set_timedout(1);
            finalize::end(token, context, Ending::ClientGone(REQUEST_TIME_OUT));
            return;
        }
        if (*event).error() != 0 {
            // HTTP/3: the client wants no more of this stream (ngx_http_upstream_check_broken_connection).
            connection.set_error(1);
            finalize::end(token, context, Ending::ClientGone(CLIENT_CLOSED_REQUEST));
            return;
        }
        if (*event).delayed() != 0 || (*r).aio() != 0 {
            let core = sys::core_loc_conf(r);
            if (*event).delayed() == 0 {
                nginx_sys::ngx_add_timer(event, core.send_timeout);
            }
            if ngx_handle_write_event(event, core.send_lowat) != sys::OK {
                finalize::end(token, context, Ending::ClientGone(sys::ERROR));
            }
            return;
        }
        if !(*context).head_sent {
            #[cfg(nginx_1_29)]
            if early_hints::are_unsent(r) {
                if early_hints::flush(r) == sys::ERROR {
                    finalize::end(token, context, Ending::ClientGone(sys::ERROR));
                    return;
                }
                let _in_flight = output::settle(token, context);
            }
            return;
        }
        if output::output(context, ptr::null_mut()) == sys::ERROR {
            finalize::end(token, context, Ending::ClientGone(sys::ERROR));
            return;
        }
        if !output::settle(token, context) {
            return;
        }
        if (*context).suspended.is_some() {
            inline::go_on(token, context);
        } else {
            output::pump(token, context);
        }
    }
}

/// The timer: is the request too late?
///
/// # Safety
///
/// `context` is one of a request in flight.
unsafe fn expired(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe {
        let Some(exchange) = (*context).exchange.clone() else { return };
        let timeout = limit((*context).timeout);
        let again = match exchange.progress() {
            Progress::Waiting => {
                let waited =
                    exchange.worker.now().saturating_sub((*context).submitted) as ngx_msec_t;
                let left = (*context).queue_timeout.saturating_sub(waited);
                if left == 0 && exchange.expire() {
                    exchange.worker.forget(&exchange);
                    let (worker, app) = (&exchange.worker, exchange.location.app);
                    let imported = worker.gates.get(app).is_some_and(Gate::is_open);
                    error!(
                        &*context,
                        "pywsgi: application \"{}\": {} within {} ms (wsgi_queue_timeout)",
                        worker.target(app),
                        if imported { "no thread was free" } else { "its import has not ended" },
                        (*context).queue_timeout,
                    );
                    finalize::end(token, context, Ending::Unavailable);
                    return;
                }
                // The thread may start in the next instant.
                left.min(timeout)
            }
            Progress::Running(elapsed) if (*context).timeout > 0 => {
                let left = timeout.saturating_sub(elapsed as ngx_msec_t);
                if left == 0 {
                    timed_out(token, context);
                    return;
                }
                left
            }
            Progress::Running(_) | Progress::Done => timeout,
        };
        (*context).timer.start(token, &*context, again.max(LEAST));
    }
}

unsafe fn timed_out(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe {
        let Some(exchange) = (*context).exchange.clone() else { return };
        error!(
            &*context,
            "pywsgi: application \"{}\" timed out after {} ms (wsgi_timeout); {}",
            exchange.worker.target(exchange.location.app),
            (*context).timeout,
            if exchange.is_inline() {
                "its iteration ends"
            } else {
                "its thread goes on, its stack follows"
            },
        );
        if !exchange.is_inline() {
            exchange.worker.tasks.push(Task::LogStack(exchange.clone()));
        }
        finalize::end(token, context, Ending::TimedOut);
    }
}

fn limit(timeout: ngx_msec_t) -> ngx_msec_t {
    if timeout == 0 { NO_LIMIT } else { timeout }
}
