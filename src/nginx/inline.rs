//! The executor `inline`: the event loop runs the application, and goes on with its response whenever the
//! client has taken what there is.

use super::context::Context;
use super::finalize;
use super::output;
use super::process;
use super::sys::{self, EventThread};
use crate::bridge::exchange::Job;

/// Blocks of one response that are sent in one turn of the event loop: others want their turn, too.
const BLOCKS: usize = 16;

/// Runs the application for a request that has just been submitted, or waited for its application's
/// import.
///
/// # Safety
///
/// `context` is one of a request in flight, whose job that is.
pub(super) unsafe fn run(token: EventThread, context: *mut Context, job: &Job) {
    let Some(inline) = job.worker.inline() else {
        // There is one from before the first gate opens.
        // SAFETY: the caller's.
        return unsafe { finalize::finish(token, context, sys::ERROR) };
    };
    let suspended = job.worker.events.while_busy(|| inline.run(job));
    // SAFETY: the caller's; Python has not touched the request, and nginx has not been called meanwhile.
    unsafe {
        (*context).suspended = suspended;
        output::pump(token, context);
        if !process::is_in_flight(token, job.id) {
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
pub(super) unsafe fn go_on(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's; after each call into nginx it is looked for anew.
    unsafe {
        let Some(id) = (*context).id else { return };
        let Some(exchange) = (*context).exchange.clone() else { return };
        for _ in 0..BLOCKS {
            if !(*context).busy.is_null() {
                // The write handler comes by.
                return;
            }
            let Some(suspended) = (*context).suspended.take() else { return };
            (*context).suspended = exchange.worker.events.while_busy(|| suspended.resume());
            output::pump(token, context);
            if !process::is_in_flight(token, id) {
                return;
            }
        }
        if (*context).suspended.is_some() && (*context).busy.is_null() {
            sys::post_next_event(&raw mut (*context).next_turn);
        }
    }
}
