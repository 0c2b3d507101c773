//! A turn of the event loop: what waits is dealt with, and threads are woken.

use std::cell::Cell;

use nginx_sys::ngx_msec_t;

use super::state::{Handler, Process};
use crate::bridge::events::Event;
use crate::bridge::exchange::Exchange;
use crate::bridge::id::RequestId;
use crate::bridge::panics;
use crate::nginx::request::call::{end_after_panic, from_outside};
use crate::nginx::request::event_loop::{self, EventLoop};
use crate::nginx::request::{body, inline, lines, output};
use crate::nginx::trampoline::EventThread;

/// So often at the end of a turn the event loop deals with what has come meanwhile.
const ROUNDS: usize = 4;

/// When `look` fires, in milliseconds.
const LOOK: ngx_msec_t = 1;

/// The end of a turn in which something was submitted, or the bell was rung.
pub(super) struct End;

impl Handler for End {
    fn call(token: EventThread, process: &'static Process) {
        end(token, process);
    }
}

/// Requests wait behind one that was expected to finish quickly: does their queue still move?
pub(super) struct Look;

impl Handler for Look {
    fn call(token: EventThread, process: &'static Process) {
        wake(token, process);
    }
}

/// Ends a turn.
pub(super) fn end(token: EventThread, process: &Process) {
    wake(token, process);
    let events = &process.event_loop.worker().events;
    for _ in 0..ROUNDS {
        deal(token, process);
        if !events.rest() {
            return;
        }
    }
    // The others want their turn, too.
    events.ring_again();
}

/// Wakes threads for the requests that wait, if they are needed.
fn wake(token: EventThread, process: &Process) {
    if process.event_loop.worker().look() && !process.look.is_started() {
        process.look.start(token, process, LOOK);
    }
}

/// Deals with all that waits. A panic at one message ends its request, and no other's.
pub(super) fn deal(token: EventThread, process: &Process) {
    let event_loop = process.event_loop;
    let mut batch = process.batch.take();
    event_loop.worker().events.take(&mut batch);
    lines::write_all(token, event_loop);
    let request = Cell::new(None);
    panics::for_each(
        batch.drain(..),
        |event| {
            request.set(None);
            deal_with(token, event_loop, event, &request);
        },
        |panicked| end_after_panic(token, request.take(), &panicked),
    );
    process.batch.set(batch);
}

/// Deals with one message; `request` is set to the one that it is about.
fn deal_with(
    token: EventThread,
    event_loop: &EventLoop,
    event: Event<Exchange>,
    request: &Cell<Option<RequestId>>,
) {
    let is_stopping = event_loop.worker().is_stopping();
    match event {
        Event::Output(id) => {
            if let Some(found) = event_loop::find(token, id) {
                request.set(Some(id));
                from_outside(found, |request| {
                    let _in_flight = output::pump(request);
                });
            }
        }
        Event::ReadBody(id) => {
            if let Some(found) = event_loop::find(token, id) {
                request.set(Some(id));
                from_outside(found, body::wanted);
            }
        }
        // At the worker's exit nobody has the time for it.
        Event::Run(_) if is_stopping => {}
        Event::Run(exchange) => event_loop.call_later(token, exchange),
        Event::Resume(suspended) => {
            let left = if is_stopping {
                Some(suspended)
            } else {
                inline::call(token, event_loop.worker(), || suspended.resume())
            };
            // An application that must not know that its client is gone continues, a block in each turn.
            if let Some(suspended) = left {
                event_loop.end(suspended);
            }
        }
    }
}
