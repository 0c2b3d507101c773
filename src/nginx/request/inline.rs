//! The executor `inline`: the event loop runs the application, and resumes its response whenever the client has taken
//! all data so far.

use std::cell::Cell;

use super::Request;
use super::call::Handler;
use super::event_loop;
use super::output;
use crate::bridge::exchange::Worker;
use crate::bridge::pipe::output::Output;
use crate::nginx::trampoline::EventThread;

/// The number of blocks that are sent in one turn of the event loop, by all responses together that continue in it.
/// Each response may send at least one. The limit leaves time for other requests.
const BLOCKS: usize = 16;

/// The event that is posted if a response continues in the event loop's next turn.
pub(in crate::nginx) struct NextTurn;

impl Handler for NextTurn {
    fn fired(token: EventThread) {
        if let Some(event_loop) = event_loop::current(token) {
            event_loop.remove_continuing();
        }
    }

    fn call(request: Request<'_>) {
        go_on(request);
    }
}

/// Resumes the response as far as its client accepts it, and at most for one turn's share.
pub(in crate::nginx) fn go_on(request: Request<'_>) {
    let token = request.token();
    let Some(event_loop) = event_loop::current(token) else { return };
    let Some(exchange) = request.exchange().cloned() else { return };
    let mut request = request;
    for _ in 0..(BLOCKS / (1 + event_loop.continuing())).max(1) {
        if waits(&request, &exchange.output) {
            // The write handler resumes it. Until then the application's clock is stopped.
            exchange.set_suspended(true);
            return;
        }
        exchange.set_suspended(false);
        let Some(suspended) = request.suspended.take() else { return };
        let left = call(token, &exchange.worker, || suspended.resume());
        request.suspended.replace(left);
        match output::pump(request) {
            Some(still) => request = still,
            None => return,
        }
    }
    if request.suspended.borrow().is_none() {
        return;
    }
    if waits(&request, &exchange.output) {
        exchange.set_suspended(true);
    } else {
        event_loop.add_continuing();
        request.next_turn.post_next(token, &request);
    }
}

/// Whether the response must wait: for its client, or for another request of the same page. Data that a filter holds
/// for its own reasons does not count, because the filter releases it when more data arrives. SSI, for example, holds
/// a command that no data has followed yet.
fn waits(request: &Request<'_>, output: &Output) -> bool {
    !request.busy.get().is_null()
        && (!request.is_writable() || request.is_delayed() || !output.has_room())
}

/// Calls Python. Nothing else does the event loop's work meanwhile. So a thread that logs does not wait for the event
/// loop, and nginx's clock, which measures requests and timers, is updated afterwards if it is late.
pub(in crate::nginx) fn call<T>(
    _token: EventThread,
    worker: &Worker,
    act: impl FnOnce() -> T,
) -> T {
    thread_local! {
        static UPDATED: Cell<Option<libc::timespec>> = const { Cell::new(None) };
    }
    let result = worker.events.while_busy(act);
    let now = tick();
    if UPDATED
        .replace(Some(now))
        .is_none_or(|last| (last.tv_sec, last.tv_nsec) != (now.tv_sec, now.tv_nsec))
    {
        // SAFETY: this runs on the event loop's thread, as the token proves.
        unsafe { nginx_sys::ngx_time_update() };
        // Only from time to time, because it is a system call.
        worker.check_bells();
    }
    result
}

/// The kernel's coarse clock. It advances by some milliseconds at a time, and reading it costs almost nothing.
fn tick() -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `clock_gettime` writes only to `now`, and this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    now
}
