//! Handles what may happen to a request in flight before its response is complete: its client leaves or can take
//! more, or a timeout expires.

use std::ptr;
use std::sync::Arc;

use nginx_sys::{ngx_handle_write_event, ngx_msec_t};

use super::Request;
use super::call::{Handler, on_request};
#[cfg(nginx_1_29)]
use super::early_hints;
use super::event_loop;
use super::finalize::{self, Ending};
use super::inline;
use super::output;
use super::upgrade;
use crate::bridge::code::Code;
use crate::bridge::exchange::{Exchange, Progress};
use crate::bridge::gate::Gate;
use crate::bridge::tasks::Task;
use crate::metrics::meters::Count;
use crate::nginx::conf::{NO_LIMIT, limit};
use crate::nginx::log::say;
use crate::nginx::sys;

const CLIENT_CLOSED_REQUEST: isize = nginx_sys::NGX_HTTP_CLIENT_CLOSED_REQUEST as isize;
const REQUEST_TIME_OUT: isize = nginx_sys::NGX_HTTP_REQUEST_TIME_OUT as isize;

/// The timer's shortest period, in milliseconds. It fires this often while the thread waits for the client, because
/// the thread's clock is stopped meanwhile.
const LEAST: ngx_msec_t = 20;

/// Sets the handlers and the timer of a request in flight.
pub(in crate::nginx) fn watch_over(request: &Request<'_>) {
    request.watch();
    // SAFETY: the request lives as long as `request`.
    unsafe { (*request.raw()).write_event_handler = Some(on_request::<Writable>) };
    request.timer.start(request.token(), request, request.conf().first_look);
}

/// nginx's write handler of a request in flight: the client can take more.
struct Writable;

impl Handler for Writable {
    fn call(request: Request<'_>) {
        let event = request.write_event();
        // SAFETY: the event is that of a live request's connection.
        let (timed_out, error) = unsafe { ((*event).timedout() != 0, (*event).error() != 0) };
        if timed_out {
            send_timed_out(request);
        } else if error {
            // HTTP/3: the client does not want the rest of this stream (ngx_http_upstream_check_broken_connection).
            // SAFETY: a live request has a connection.
            unsafe { (*request.connection()).set_error(1) };
            finalize::end(request, Ending::ClientGone(CLIENT_CLOSED_REQUEST));
        } else if request.is_delayed() {
            wait_longer(request);
        } else if request.head_sent.get() {
            send_on(request);
        } else {
            #[cfg(nginx_1_29)]
            send_hints_on(request);
        }
    }
}

fn send_timed_out(request: Request<'_>) {
    // SAFETY: the event and the connection belong to a live request.
    unsafe {
        let connection = request.connection();
        if request.busy.get().is_null() && !sys::is_buffered(connection) {
            // Nothing of this request waits for the client. The timer was started by a subrequest that has ended and
            // waits for this one (ngx_http_set_write_handler).
            (*request.write_event()).set_timedout(0);
            return;
        }
        say!(&request, Code::ClientTooSlow, "client timed out (send_timeout)");
        (*connection).set_timedout(1);
    }
    finalize::end(request, Ending::ClientGone(REQUEST_TIME_OUT));
}

/// Waits until the delay of a rate limit or the work of one of nginx's threads is over, as `ngx_http_writer` does.
fn wait_longer(request: Request<'_>) {
    let event = request.write_event();
    let core = request.core_conf();
    // SAFETY: the event is that of a live request's connection.
    let rc = unsafe {
        if (*event).delayed() == 0 {
            nginx_sys::ngx_add_timer(event, core.send_timeout);
        }
        ngx_handle_write_event(event, core.send_lowat)
    };
    if rc != sys::OK {
        finalize::end(request, Ending::ClientGone(sys::ERROR));
    }
}

fn send_on(request: Request<'_>) {
    let is_relayed = request.exchange().is_some_and(|exchange| exchange.is_relayed());
    if let Some(event_loop) = event_loop::current(request.token()).filter(|_| is_relayed) {
        // Its process hears of what the client takes at the end of this turn: no bell is needed for that.
        event_loop.end_turn_later(request.token());
    }
    if output::output(&request, ptr::null_mut()) == sys::ERROR {
        finalize::end(request, Ending::ClientGone(sys::ERROR));
        return;
    }
    let Some(request) = output::settle(request) else { return };
    let suspended = request.suspended.borrow().is_some();
    if suspended {
        inline::go_on(request);
    } else {
        let _in_flight = output::pump(request);
    }
}

#[cfg(nginx_1_29)]
fn send_hints_on(request: Request<'_>) {
    if !early_hints::are_unsent(&request) {
        return;
    }
    if early_hints::flush(&request) == sys::ERROR {
        finalize::end(request, Ending::ClientGone(sys::ERROR));
        return;
    }
    let _in_flight = output::settle(request);
}

/// The timer of a request in flight: checks whether a timeout has expired.
pub(super) struct Expired;

impl Handler for Expired {
    fn call(request: Request<'_>) {
        if request.upgraded.get().is_some() {
            upgrade::expired(request);
            return;
        }
        let Some(exchange) = request.exchange() else { return };
        let timeout = limit(request.timeout);
        let again = match exchange.progress() {
            Progress::Waiting => {
                let now = exchange.worker.now();
                let waited = now.saturating_sub(request.submitted.get()) as ngx_msec_t;
                let left = request.queue_timeout.saturating_sub(waited);
                if left == 0 && exchange.expire() {
                    queue_timed_out(request);
                    return;
                }
                // The thread may start at any moment.
                left.min(timeout).min(limit(request.conf().slow_request))
            }
            Progress::Running(elapsed) if request.timeout > 0 => {
                let left = timeout.saturating_sub(elapsed as ngx_msec_t);
                if left == 0 && exchange.confirm_deadline() {
                    timed_out(request);
                    return;
                }
                left.min(say_if_slow(&request, exchange, elapsed))
            }
            Progress::Running(elapsed) => timeout.min(say_if_slow(&request, exchange, elapsed)),
            Progress::Done => timeout,
        };
        request.timer.start(request.token(), &request, again.max(LEAST));
    }
}

/// Logs that the application is slow, once. Returns after how many milliseconds this must be looked at again.
fn say_if_slow(request: &Request<'_>, exchange: &Arc<Exchange>, elapsed: u64) -> ngx_msec_t {
    let slow_request = request.conf().slow_request;
    // What runs inline is watched by the attendant, which can look at it while it runs.
    // Another process says it of its applications.
    let is_others = exchange.is_inline() || exchange.is_relayed();
    if slow_request == 0 || is_others || exchange.slow_in().is_none() {
        return NO_LIMIT;
    }
    let left = slow_request.saturating_sub(elapsed as ngx_msec_t);
    if left > 0 {
        return left;
    }
    if exchange.begin_slow() {
        say!(request, Code::Slow, "{}", exchange.slow_text());
        exchange.worker.tasks.push(Task::LogSlow(Arc::clone(exchange)));
    }
    NO_LIMIT
}

fn queue_timed_out(request: Request<'_>) {
    let Some(exchange) = request.exchange() else { return };
    let (worker, app) = (&exchange.worker, exchange.location.app);
    let imported = worker.gates.get(app).is_some_and(Gate::is_open);
    let why = match exchange.executor().filter(|_| imported) {
        Some(executor) => executor.delay(exchange),
        None => "its import has not ended",
    };
    worker.forget(exchange);
    exchange.meter().count(Count::QueueTimedOut);
    say!(
        &request,
        Code::QueueTimedOut,
        "application \"{}\": {} within {} ms ({}_queue_timeout)",
        worker.target(app),
        why,
        request.queue_timeout,
        request.location.protocol,
    );
    finalize::end(request, Ending::Unavailable);
}

fn timed_out(request: Request<'_>) {
    let Some(exchange) = request.exchange() else { return };
    let Some(executor) = exchange.executor() else { return };
    say!(
        &request,
        Code::TimedOut,
        "application \"{}\" timed out after {} ms ({}_timeout); {}",
        exchange.worker.target(exchange.location.app),
        request.timeout,
        request.location.protocol,
        executor.after_deadline(),
    );
    finalize::end(request, Ending::TimedOut);
}
