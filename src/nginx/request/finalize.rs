//! How a request ends, and the timer that ends it.

use nginx_sys::{
    ngx_add_timer, ngx_http_block_reading, ngx_http_discard_request_body,
    ngx_http_finalize_request, ngx_http_request_empty_handler, ngx_http_run_posted_requests,
    ngx_msec_t,
};

use super::context::{Body, Context};
use super::handler;
use super::output;
use crate::bridge::callbacks::Gone;
use crate::bridge::exchange::Progress;
use crate::bridge::gate::Gate;
use crate::bridge::pipe::input::InputError;
use crate::bridge::pipe::output::parts::Block;
use crate::bridge::tasks::Task;
use crate::nginx::entry;
use crate::nginx::log;
use crate::nginx::process;
use crate::nginx::sys::{self, EventThread};

const GATEWAY_TIME_OUT: isize = nginx_sys::NGX_HTTP_GATEWAY_TIME_OUT as isize;

/// Where nothing has a limit, the timer is there for the draining worker alone; milliseconds.
const NO_LIMIT: ngx_msec_t = 60 * 60 * 1000;

/// While the thread waits for the client its clock stands still; the timer comes by this often then,
/// in milliseconds.
const LEAST: ngx_msec_t = 20;

/// Gives the request back to nginx, with its code. The context may be gone afterwards.
///
/// # Safety
///
/// `context` is one of a live request.
pub(in crate::nginx) unsafe fn finish(token: EventThread, context: *mut Context, rc: isize) {
    // SAFETY: the caller's; nothing of the context is used once nginx has the request back.
    unsafe {
        if (*context).finished {
            return;
        }
        let r = (*context).request;
        let_go(token, context);
        if (*context).body != Body::Expected {
            // What nobody has read must not be taken for the next request. What discarding itself
            // thinks of the body does not change the answer.
            let _discarded = ngx_http_discard_request_body(r);
        } else {
            (*r).set_keepalive(0);
            (*r).set_lingering_close(1);
        }
        ngx_http_finalize_request(r, rc);
    }
}

/// The same for a client that is gone: a running application is told.
///
/// # Safety
///
/// `context` is one of a live request.
pub(in crate::nginx) unsafe fn lose(token: EventThread, context: *mut Context, rc: isize) {
    // SAFETY: the caller's.
    unsafe {
        if let Some(exchange) = &(*context).exchange {
            exchange.set_gone(Gone::Client);
        }
        finish(token, context, rc);
    }
}

/// Ends this module's part in a request that goes on in nginx.
///
/// # Safety
///
/// `context` is one of a live request.
pub(in crate::nginx) unsafe fn let_go(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe {
        let r = (*context).request;
        detach(token, context, InputError::Answered);
        // The request may be redirected, and the context no longer be its own.
        (*r).read_event_handler = Some(ngx_http_block_reading);
        (*r).write_event_handler = Some(ngx_http_request_empty_handler);
    }
}

/// Ends what is shared with the thread: it notices at its next read or push.
///
/// # Safety
///
/// `context` lives.
pub(in crate::nginx) unsafe fn detach(token: EventThread, context: *mut Context, why: InputError) {
    // SAFETY: the caller's.
    unsafe {
        (*context).finished = true;
        sys::delete_timer(&raw mut (*context).timer);
        if (*context).next_turn.posted() != 0 {
            sys::delete_posted_event(&raw mut (*context).next_turn);
            if let Some(process) = process::current(token) {
                process.goes_on();
            }
        }
        if let Some(id) = (*context).id.take() {
            process::remove(token, id);
        }
        if let Some(exchange) = (*context).exchange.take() {
            if why == InputError::ClientGone {
                exchange.set_gone(Gone::Client);
            }
            exchange.close(why);
            (*context).ended = Some(exchange);
        }
        if let Some(suspended) = (*context).suspended.take() {
            process::end(token, suspended);
        }
    }
}

/// Ends a context for good: nginx frees the request, and no longer reads what the context holds.
///
/// # Safety
///
/// nginx's cleanup of the request's pool, with the context that [`Context::create`] made for it.
pub(in crate::nginx) unsafe fn release(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    let mut context = unsafe {
        detach(token, context, InputError::ClientGone);
        Box::from_raw(context)
    };
    if let Some(exchange) = context.ended.take() {
        exchange.over();
    }
    let shared = context.held.iter().any(Block::is_shared);
    drop(context);
    if let Some(process) = process::current(token).filter(|_| shared) {
        process.worker().collect();
    }
}

/// Runs `act` on a request from outside nginx's own handlers of it: afterwards nginx does what it has
/// put off. Where nginx has the request elsewhere by now ([`Context::superseded`]), the thread is told.
///
/// # Safety
///
/// `context` lives.
pub(in crate::nginx) unsafe fn from_outside(
    token: EventThread,
    context: *mut Context,
    act: impl FnOnce(*mut Context),
) {
    // SAFETY: the caller's; a connection's memory outlives it.
    unsafe {
        let r = (*context).request;
        if Context::of(r) != context {
            detach(token, context, InputError::ClientGone);
            return;
        }
        let connection = (*r).connection;
        sys::set_log_request(r);
        act(context);
        ngx_http_run_posted_requests(connection);
    }
}

/// Sets a request in flight up for what may happen to it before its response is complete: its client
/// leaves, or can take more; it is too late.
///
/// # Safety
///
/// `context` is one of a request in flight.
pub(in crate::nginx) unsafe fn watch_over(_token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe {
        (*context).watch();
        (*(*context).request).write_event_handler = Some(entry::writable);
        // Before either limit there is nothing to decide; the thread may have started at once.
        let first = limit((*context).timeout).min((*context).queue_timeout);
        ngx_add_timer(&raw mut (*context).timer, first);
    }
}

/// The timer: is the request too late?
///
/// # Safety
///
/// `context` is one of a request in flight.
pub(in crate::nginx) unsafe fn expired(token: EventThread, context: *mut Context) {
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
                    let text = format!(
                        "pywsgi: application \"{}\": {} within {} ms (wsgi_queue_timeout)",
                        worker.target(app),
                        if imported { "no thread was free" } else { "its import has not ended" },
                        (*context).queue_timeout,
                    );
                    log::write((*(*(*context).request).connection).log, log::ERR, &text);
                    handler::unavailable(token, context);
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
        ngx_add_timer(&raw mut (*context).timer, again.max(LEAST));
    }
}

unsafe fn timed_out(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe {
        let Some(exchange) = (*context).exchange.clone() else { return };
        let text = format!(
            "pywsgi: application \"{}\" timed out after {} ms (wsgi_timeout); {}",
            exchange.worker.target(exchange.location.app),
            (*context).timeout,
            if exchange.is_inline() {
                "its iteration ends"
            } else {
                "its thread goes on, its stack follows"
            },
        );
        log::write((*(*(*context).request).connection).log, log::ERR, &text);
        if !exchange.is_inline() {
            exchange.worker.tasks.push(Task::LogStack(exchange.clone()));
        }
        exchange.set_gone(Gone::Answered);
        if (*context).head_sent {
            output::cut(token, context);
        } else {
            finish(token, context, GATEWAY_TIME_OUT);
        }
    }
}

/// The worker exits, and its requests have had their time (`python_drain_timeout`).
///
/// # Safety
///
/// `context` is one of a request in flight.
pub(in crate::nginx) unsafe fn give_up(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe {
        let text = "pywsgi: the worker exits and the request is not done (python_drain_timeout)";
        log::write((*(*(*context).request).connection).log, log::ERR, text);
        if let Some(exchange) = &(*context).exchange {
            exchange.set_gone(Gone::Answered);
        }
        if (*context).head_sent {
            output::cut(token, context);
        } else {
            finish(token, context, handler::SERVICE_UNAVAILABLE);
        }
    }
}

fn limit(timeout: ngx_msec_t) -> ngx_msec_t {
    if timeout == 0 { NO_LIMIT } else { timeout }
}
