//! The executor `inline`: the event loop runs the application, and goes on with its response whenever the
//! client has taken what there is.

use std::cell::Cell;
use std::time::Duration;

use super::context::Context;
use super::finalize;
use super::output;
use crate::bridge::exchange::Worker;
use crate::bridge::executor::inline::{Ran, Returned};
use crate::bridge::id::RequestId;
use crate::bridge::pipe::output::Output;
use crate::nginx::entry;
use crate::nginx::process::{self, Process};
use crate::nginx::sys::{self, EventThread};

/// Blocks that are sent in one turn of the event loop, those of all responses that go on in it together, but for one of
/// each: others want their turn, too.
const BLOCKS: usize = 16;

/// For so long at most one application after the other is called before the first of their responses is
/// sent.
const TOGETHER: Duration = Duration::from_micros(100);

/// Runs the applications for requests that have been submitted, or that have something to be done after
/// their response.
pub(in crate::nginx) fn run(token: EventThread, process: &Process) {
    let worker = process.worker();
    let mut exchanges = process.take_calls(token).into_iter();
    let Some(runner) = worker.inline.runner() else {
        // There is one from before the first gate opens.
        for context in exchanges.filter_map(|exchange| process.find(exchange.id)) {
            // SAFETY: the table holds contexts of requests in flight alone.
            unsafe {
                finalize::from_outside(token, context, |context| {
                    finalize::finish(token, context, sys::ERROR);
                });
            }
        }
        return;
    };
    let mut ran = Returned::new();
    while exchanges.len() > 0 {
        call(token, worker, || runner.run(&mut exchanges, TOGETHER, &mut ran));
        for Ran { job: exchange, mut suspended } in ran.drain(..) {
            if let Some(context) = process.find(exchange.id) {
                // SAFETY: the table holds contexts of requests in flight alone.
                unsafe {
                    entry::of_request(context, |token, context| {
                        finalize::from_outside(token, context, |context| {
                            (*context).suspended = suspended.take();
                            begin(token, context, exchange.id);
                        });
                    });
                }
            }
            // Where nginx has the request no more.
            if let Some(suspended) = suspended {
                process.end(suspended);
            }
        }
    }
}

/// Sends what a request's application has said by now.
///
/// # Safety
///
/// `context` is one of a request in flight, with that id.
unsafe fn begin(token: EventThread, context: *mut Context, id: RequestId) {
    // SAFETY: the caller's.
    unsafe {
        output::pump(token, context);
        if !process::is_in_flight(token, id) {
            return;
        }
        // The client has not got all of it: from now on it is a request in flight like others.
        finalize::watch_over(token, context);
        go_on(token, context);
    }
}

/// Goes on with the response as far as its client takes it, and for a turn's share at most.
///
/// # Safety
///
/// `context` is one of a request in flight.
pub(in crate::nginx) unsafe fn go_on(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's; after each call into nginx it is looked for anew.
    unsafe {
        let Some(id) = (*context).id else { return };
        let Some(exchange) = (*context).exchange.clone() else { return };
        let Some(process) = process::current(token) else { return };
        for _ in 0..(BLOCKS / (1 + process.others_going_on())).max(1) {
            if waits(context, &exchange.output) {
                // The write handler goes on with it. Until then the application's clock stands still.
                exchange.suspend();
                return;
            }
            exchange.resume();
            let Some(suspended) = (*context).suspended.take() else { return };
            (*context).suspended = call(token, &exchange.worker, || suspended.resume());
            output::pump(token, context);
            if !process::is_in_flight(token, id) {
                return;
            }
        }
        if (*context).suspended.is_none() {
            return;
        }
        if waits(context, &exchange.output) {
            exchange.suspend();
        } else {
            process.go_on_later(context);
        }
    }
}

/// Is the response to wait: for its client, or for another request of the same page? What a filter holds for
/// reasons of its own, such as SSI a command that nothing has followed yet, it gives out when more comes.
unsafe fn waits(context: *mut Context, output: &Output) -> bool {
    // SAFETY: the caller's: a request in flight.
    unsafe {
        if (*context).busy.is_null() {
            return false;
        }
        let r = (*context).request;
        let event = (*(*r).connection).write;
        (*event).ready() == 0 || (*event).delayed() != 0 || (*r).aio() != 0 || !output.has_room()
    }
}

/// Calls Python. Nobody else does the event loop's work meanwhile: who logs does not wait for it, and
/// nginx's clock, by which requests and timers are measured, is set where it is late afterwards.
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
        // SAFETY: on the event loop's thread, as the token proves.
        unsafe { nginx_sys::ngx_time_update() };
        // Now and then: it is a system call.
        worker.events.check();
    }
    result
}

/// The kernel's clock, which goes on by some milliseconds at a time, and which costs next to nothing.
fn tick() -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it fills in `now`; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    now
}
