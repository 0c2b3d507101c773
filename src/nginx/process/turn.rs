//! A turn of the event loop: handles waiting messages and wakes threads.

use std::cell::Cell;

use nginx_sys::ngx_msec_t;

use super::state::{Handler, Process};
use super::{arrival, departure, keeping, killing, lazy, reload, renewal};
use crate::bridge::events::Event;
use crate::bridge::exchange::Exchange;
use crate::bridge::id::RequestId;
use crate::bridge::panics;
use crate::nginx::request::call::{end_after_panic, from_outside};
use crate::nginx::request::event_loop;
use crate::nginx::request::{body, inline, lines, output, upgrade};
use crate::nginx::trampoline::EventThread;
use crate::nginx::wall::News;

/// At the end of a turn the event loop handles messages that arrived meanwhile at most this many times.
const ROUNDS: usize = 4;

/// The delay of `look`, in milliseconds.
const LOOK: ngx_msec_t = 1;

/// Ends a turn in which something was submitted, or the bell was rung.
pub(super) struct End;

impl Handler for End {
    fn call(token: EventThread, process: &'static Process) {
        end(token, process);
    }
}

/// Requests wait behind one that was expected to finish quickly: checks whether their queue still moves.
pub(super) struct Look;

impl Handler for Look {
    fn call(token: EventThread, process: &'static Process) {
        wake(token, process);
    }
}

/// nginx may have reopened its logs in the turn before.
pub(super) struct Reopened;

impl Handler for Reopened {
    fn call(token: EventThread, process: &'static Process) {
        process.outputs.follow(token, process);
    }
}

/// Ends a turn.
pub(super) fn end(token: EventThread, process: &Process) {
    process.wall.turn(token, process.event_loop);
    keeping::look(token, process);
    renewal::look(token, process);
    lazy::look(token, process);
    killing::look_for_new(token, process);
    wake(token, process);
    process.outputs.follow(token, process);
    let worker = process.event_loop.worker();
    let events = &worker.events;
    for _ in 0..ROUNDS {
        deal(token, process);
        let more = process.wall.flush(token, process.event_loop);
        worker.end_turn();
        if !events.rest() && !more {
            return;
        }
        if more {
            process.wall.turn(token, process.event_loop);
            lazy::look(token, process);
            wake(token, process);
        }
    }
    // Let nginx handle its other events first.
    events.ring_again();
}

/// Wakes threads for waiting requests, if they are needed.
fn wake(token: EventThread, process: &Process) {
    if process.event_loop.worker().look() && !process.look.is_started() {
        process.look.start(token, process, LOOK);
    }
}

/// Handles all waiting messages. A panic in one message ends its own request and no other.
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
            deal_with(token, process, event, &request);
        },
        |panicked| end_after_panic(token, request.take(), &panicked),
    );
    process.batch.set(batch);
}

/// Handles one message; sets `request` to the request that the message belongs to.
fn deal_with(
    token: EventThread,
    process: &Process,
    event: Event<Exchange>,
    request: &Cell<Option<RequestId>>,
) {
    let event_loop = process.event_loop;
    let is_stopping = event_loop.worker().is_stopping();
    match event {
        Event::Output(id) => {
            if let Some(found) = event_loop::find(token, id) {
                request.set(Some(id));
                from_outside(found, |request| {
                    let _in_flight = output::pump(request);
                });
            } else {
                process.wall.tell(id, News::Output);
            }
        }
        Event::ReadBody(id) => {
            if let Some(found) = event_loop::find(token, id) {
                request.set(Some(id));
                from_outside(found, body::wanted);
            } else {
                process.wall.tell(id, News::ReadBody);
            }
        }
        Event::Socket(id) => {
            if let Some(found) = event_loop::find(token, id) {
                request.set(Some(id));
                from_outside(found, |request| {
                    let _in_flight = upgrade::look(request);
                });
            } else {
                process.wall.tell(id, News::Socket);
            }
        }
        // The turn's end carries it.
        Event::Relay => {}
        Event::Compared(compared) => keeping::answer(token, process, *compared),
        Event::Changed(change) => reload::changed(token, process, &change),
        Event::Replace(reason) => departure::replace(token, process, &reason),
        // It may end before they have.
        Event::Started if is_stopping => {}
        Event::Started => arrival::started(token, process),
        // The worker exits: there is no time left to run it.
        Event::Run(_) if is_stopping => {}
        Event::Run(exchange) => event_loop.call_later(token, exchange),
        Event::Resume(suspended) => {
            let left = if is_stopping {
                Some(suspended)
            } else {
                inline::call(token, event_loop.worker(), || suspended.resume())
            };
            // An application that must not learn that its client has disconnected continues, one block in each turn.
            if let Some(suspended) = left {
                event_loop.end(suspended);
            }
        }
    }
}
