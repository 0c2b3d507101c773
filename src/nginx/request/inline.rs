//! The executor `inline`: the event loop runs the application, and goes on with its response whenever the
//! client has taken what there is.

use std::cell::Cell;

use super::call::Handler;
use super::context::Context;
use super::event_loop;
use super::output;
use crate::bridge::exchange::Worker;
use crate::bridge::pipe::output::Output;
use crate::nginx::trampoline::EventThread;

/// Blocks that are sent in one turn of the event loop, those of all responses that go on in it together, but for one of
/// each: others want their turn, too.
const BLOCKS: usize = 16;

/// The event that is posted if a response continues in the event loop's next turn.
pub(in crate::nginx) struct NextTurn;

impl Handler for NextTurn {
    fn fired(token: EventThread) {
        if let Some(event_loop) = event_loop::current(token) {
            event_loop.remove_continuing();
        }
    }

    unsafe fn call(token: EventThread, context: *mut Context) {
        // SAFETY: the event is taken back when the request is no longer in flight.
        unsafe { go_on(token, context) }
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
        let Some(event_loop) = event_loop::current(token) else { return };
        for _ in 0..(BLOCKS / (1 + event_loop.continuing())).max(1) {
            if waits(context, &exchange.output) {
                // The write handler goes on with it. Until then the application's clock stands still.
                exchange.suspend();
                return;
            }
            exchange.resume();
            let Some(suspended) = (*context).suspended.take() else { return };
            (*context).suspended = call(token, &exchange.worker, || suspended.resume());
            output::pump(token, context);
            if !event_loop::is_in_flight(token, id) {
                return;
            }
        }
        if (*context).suspended.is_none() {
            return;
        }
        if waits(context, &exchange.output) {
            exchange.suspend();
        } else {
            event_loop.add_continuing();
            (*context).next_turn.post_next(token, &*context);
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
