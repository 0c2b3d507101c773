//! The executor `inline`: the event loop calls the applications for the requests of a turn.

use std::time::Duration;

use super::state::{Handler, Process};
use crate::bridge::executor::inline::{Ran, Returned};
use crate::bridge::id::RequestId;
use crate::nginx::request::call::{from_outside, guarded};
use crate::nginx::request::context::Context;
use crate::nginx::request::event_loop;
use crate::nginx::request::finalize::{self, Ending};
use crate::nginx::request::{inline, output, watch};
use crate::nginx::sys;
use crate::nginx::trampoline::EventThread;

/// Applications are called one after the other, before the first of their responses is sent, for at most so long.
const TOGETHER: Duration = Duration::from_micros(100);

/// Runs the applications for requests that have been submitted, or that have something to be done after
/// their response.
pub(super) struct Calls;

impl Handler for Calls {
    fn call(token: EventThread, process: &'static Process) {
        let event_loop = process.event_loop;
        let worker = event_loop.worker();
        let mut exchanges = event_loop.take_calls(token).into_iter();
        let Some(runner) = worker.inline.runner() else {
            // There is one from before the first gate opens.
            for context in exchanges.filter_map(|exchange| event_loop.find(exchange.id)) {
                // SAFETY: the table holds contexts of requests in flight alone.
                unsafe {
                    from_outside(token, context, |context| {
                        finalize::end(token, context, Ending::Answered(sys::ERROR));
                    });
                }
            }
            return;
        };
        let mut ran = Returned::new();
        while exchanges.len() > 0 {
            inline::call(token, worker, || runner.run(&mut exchanges, TOGETHER, &mut ran));
            for Ran { job: exchange, mut suspended } in ran.drain(..) {
                if let Some(context) = event_loop.find(exchange.id) {
                    // SAFETY: the table holds contexts of requests in flight alone.
                    unsafe {
                        guarded(context, |token, context| {
                            from_outside(token, context, |context| {
                                (*context).suspended = suspended.take();
                                begin(token, context, exchange.id);
                            });
                        });
                    }
                }
                // nginx has the request no more.
                if let Some(suspended) = suspended {
                    event_loop.end(suspended);
                }
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
    // SAFETY: the request is in flight; after a call into nginx its id says whether it still is.
    unsafe {
        output::pump(token, context);
        if !event_loop::is_in_flight(token, id) {
            return;
        }
        // The client has not got all of it: from now on it is a request in flight like others.
        watch::watch_over(token, context);
        inline::go_on(token, context);
    }
}
