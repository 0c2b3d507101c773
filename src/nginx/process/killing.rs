//! `…_kill_timeout`: a process of a `python_process` ends although the application of a request still runs, which nothing
//! else can end.
//!
//! The process leaves as one that is replaced ([`departure`](super::departure)): it takes no more requests, and the others
//! that it has may end within `python_drain_timeout`. Then it exits without Python ([`exit`](super::exit)), which ends all
//! of its threads, whatever they are doing. All of that is the event loop's: it needs no thread of Python's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nginx_sys::ngx_msec_t;

use super::departure;
use super::stage::Stage;
use super::state::{Handler, Process};
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
use crate::bridge::lingering::patience;
use crate::bridge::log::{About, LogLine};
use crate::bridge::replacement::Reason;
use crate::nginx::trampoline::EventThread;

/// How often a process that is going to be killed looks whether its other requests have ended, in milliseconds.
const LOOK: ngx_msec_t = 20;

/// A turn ends in which requests may have lost those who waited for them.
pub(super) fn look_for_new(token: EventThread, process: &Process) {
    if process.event_loop.worker().lingering.has_new() {
        look(token, process);
    }
}

/// A request may have gone on for too long.
pub(super) struct Due;

impl Handler for Due {
    fn call(token: EventThread, process: &'static Process) {
        look(token, process);
        process.event_loop.end_turn_later(token);
    }
}

fn look(token: EventThread, process: &Process) {
    let own = &process.condemned;
    let found = process.event_loop.worker().lingering.look(Instant::now());
    let Some(first) = found.due.first() else {
        if let Some(next) = found.next {
            own.due.start(token, process, milliseconds(next));
        }
        return;
    };
    if !own.said.replace(true) {
        let drain = Duration::from_millis(process.drain_timeout as u64);
        let what = format!(
            " is killed when its other requests have ended, {} s after it takes no more at the latest",
            drain.as_secs_f64()
        );
        log(process, Code::Killing, first, &what);
        departure::replace(token, process, &Reason::Kill);
    }
    let is_ending = process.standing.stage() == Stage::Ending;
    if is_ending
        && !process.event_loop.is_held_but_for(found.due.len())
        && process.wall.is_left_with(&found.due)
        // One might begin until the process has exited.
        && process.wall.take_back(&found.due)
    {
        process.event_loop.hold_no_more(token);
    }
    own.due.start(token, process, LOOK);
}

/// The process exits. True if it must do so at once, which has been logged.
pub(super) fn kills(process: &Process) -> bool {
    let own = &process.condemned;
    let found = process.event_loop.worker().lingering.look(Instant::now());
    let first = found.due.first().filter(|_| own.said.get());
    if let Some(first) = first {
        log(process, Code::Killed, first, " is killed now");
    }
    first.is_some()
}

fn log(process: &Process, code: Code, exchange: &Arc<Exchange>, what: &str) {
    let worker = process.event_loop.worker();
    let config = &worker.config;
    let group = config.role.group().and_then(|at| config.groups.get(at));
    let location = &exchange.location;
    let text = format!(
        "application \"{}\" still runs {} ms after its {protocol}_timeout ({protocol}_kill_timeout): process {} of \
         python_process \"{}\"{what}",
        worker.target(location.app),
        patience(&**exchange).as_millis(),
        std::process::id(),
        group.map_or("", |group| &group.name),
        protocol = location.protocol,
    );
    let line = LogLine::new(code, About::Request(Arc::clone(exchange)), &text);
    let _full = worker.events.try_log(line);
}

fn milliseconds(time: Duration) -> ngx_msec_t {
    ngx_msec_t::try_from(time.as_millis()).unwrap_or(ngx_msec_t::MAX / 2)
}
