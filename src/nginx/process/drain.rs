//! A worker that was told to exit: its requests have `python_drain_timeout` to finish.

use super::application;
use super::departure;
use super::state::{Handler, Process};
use crate::bridge::code::Code;
use crate::metrics::zone::State;
use crate::nginx::log::say;
use crate::nginx::request::call::from_outside;
use crate::nginx::request::event_loop;
use crate::nginx::request::finalize::{self, Ending};
use crate::nginx::request::upgrade;
use crate::nginx::trampoline::EventThread;

/// Starts the timer of `python_drain_timeout`.
pub(super) fn begin(token: EventThread, process: &Process) {
    departure::ends(token, process);
    application::set_title(&process.event_loop.worker().config, " is shutting down");
    process.event_loop.set_draining(true);
    process.event_loop.worker().meters.set_state(State::Draining);
    process.drain.start(token, process, process.drain_timeout);
    process.wall.leave(token, process.event_loop);
    process.event_loop.hold(token);
    for id in process.event_loop.ids() {
        if let Some(request) = event_loop::find(token, id) {
            from_outside(request, upgrade::drain);
        }
    }
}

/// Requests have ended, or callbacks after a response have finished: checks whether anything still holds the worker.
pub(super) struct Hold;

impl Handler for Hold {
    fn call(token: EventThread, process: &'static Process) {
        process.event_loop.hold(token);
    }
}

/// `python_drain_timeout` has expired.
pub(super) struct Over;

impl Handler for Over {
    fn call(token: EventThread, process: &'static Process) {
        let event_loop = process.event_loop;
        event_loop.set_draining(false);
        event_loop.hold_no_more(token);
        // Ending a request may also end its subrequests.
        for id in event_loop.ids() {
            if let Some(request) = event_loop::find(token, id) {
                from_outside(request, |request| {
                    let Some(request) = upgrade::restart(request, true) else { return };
                    say!(
                        &request,
                        Code::RequestCutAtExit,
                        "the worker exits and the request is not done (python_drain_timeout)"
                    );
                    finalize::end(request, Ending::Draining);
                });
            }
        }
    }
}
