//! The executor `inline`: the event loop calls the applications for the requests of a turn.

use std::time::Duration;

use super::state::{Handler, Process};
use crate::bridge::executor::inline::{Ran, Returned};
use crate::nginx::request::finalize::{self, Ending};
use crate::nginx::request::{Request, call, event_loop, inline, output, watch};
use crate::nginx::sys;
use crate::nginx::trampoline::EventThread;

/// Several applications are called in a row, before the first of their responses is sent, for at most this long.
const TOGETHER: Duration = Duration::from_micros(100);

/// Runs the applications for requests that were submitted, or that have callbacks to run after their response.
pub(super) struct Calls;

impl Handler for Calls {
    fn call(token: EventThread, process: &'static Process) {
        let event_loop = process.event_loop;
        let worker = event_loop.worker();
        let mut exchanges = event_loop.take_calls(token).into_iter();
        let Some(runner) = worker.inline.runner() else {
            // A runner exists from before the first gate opens.
            let requests = exchanges.filter_map(|exchange| event_loop::find(token, exchange.id));
            for request in requests {
                call::from_outside(request, |request| {
                    finalize::end(request, Ending::Answered(sys::ERROR));
                });
            }
            return;
        };
        let mut ran = Returned::new();
        while exchanges.len() > 0 {
            inline::call(token, worker, || runner.run(&mut exchanges, TOGETHER, &mut ran));
            for Ran { job: exchange, mut suspended } in ran.drain(..) {
                if let Some(request) = event_loop::find(token, exchange.id) {
                    call::guarded(request, |request| {
                        call::from_outside(request, |request| {
                            request.suspended.replace(suspended.take());
                            begin(request);
                        });
                    });
                }
                // nginx no longer has the request.
                if let Some(suspended) = suspended {
                    event_loop.end(suspended);
                }
            }
        }
    }
}

/// Sends what a request's application has produced so far.
fn begin(request: Request<'_>) {
    if let Some(request) = output::pump(request) {
        // The client has not received the whole response: from now on this request is in flight like any other.
        watch::watch_over(&request);
        inline::go_on(request);
    }
}
