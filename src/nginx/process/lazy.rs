//! A process of a `python_process` with `start=lazy`: it is dormant, an nginx process without Python, until a web worker
//! sends it a request. When it has had none for a time (`idle=`) it ends, and nginx's master starts another one in its
//! place, which is dormant.
//!
//! Before it ends it asks the web workers, which send it nothing from then on, and keep what comes for the next process.
//! If one has sent a request before it was asked, the process stays. So no request meets a process that ends. It needs the
//! baton for that (`bridge/baton.rs`): of two processes that have been idle for as long one is there.

use std::time::{Duration, Instant};

use nginx_sys::ngx_msec_t;

use super::dormancy::State;
use super::stage::Stage;
use super::state::{Handler, Process};
use super::{aging, application, arrival, departure, main_thread};
use crate::bridge::code::Code;
use crate::metrics::zone;
use crate::nginx::log::say;
use crate::nginx::trampoline::EventThread;

/// How often a process that would end looks whether another one is leaving, and how long the web workers have to answer,
/// in milliseconds.
const BATON_LOOK: ngx_msec_t = 100;
const ANSWER: ngx_msec_t = 1000;

/// The process starts. False if it is none that is dormant.
pub(super) fn begin(token: EventThread, process: &Process) -> bool {
    let own = &process.dormancy;
    if own.is_lazy() {
        own.state.set(State::Dormant);
        process.event_loop.worker().tasks.set_unattended(true);
        process.wall.set_dormant(true);
        arrival::dormant(token, process);
    }
    own.is_dormant()
}

/// The process has received what there was in this turn.
pub(super) fn look(token: EventThread, process: &Process) {
    let own = &process.dormancy;
    match own.state.get() {
        _ if !own.is_lazy() => {}
        State::Dormant if process.wall.is_used() => wake(token, process),
        State::Awake if process.wall.has_requests() => own.last.set(Instant::now()),
        State::Asking => match process.wall.may_end() {
            None => {}
            Some(true) if is_serving_nobody(process) => end(token, process),
            Some(true) => stay(token, process),
            Some(false) => stays(token, process),
        },
        State::Dormant | State::Awake | State::Ending => {}
    }
}

/// Starts Python.
fn wake(token: EventThread, process: &Process) {
    let own = &process.dormancy;
    let worker = process.event_loop.worker();
    own.state.set(State::Awake);
    own.last.set(Instant::now());
    worker.tasks.set_unattended(false);
    worker.meters.set_state(zone::State::Starting);
    process.wall.set_dormant(false);
    application::set_title(&worker.config, "");
    aging::start(token, process);
    main_thread::start(token, process);
    if let Some(limit) = own.limit() {
        own.due.start(token, process, milliseconds(limit));
    }
}

/// The process may have been without a request for long enough.
pub(super) struct Due;

impl Handler for Due {
    fn call(token: EventThread, process: &'static Process) {
        let own = &process.dormancy;
        match own.state.get() {
            State::Awake => look_whether_idle(token, process),
            // A web worker has not answered: it hangs, or waits for the processor.
            State::Asking => stay(token, process),
            State::Dormant | State::Ending => {}
        }
    }
}

fn look_whether_idle(token: EventThread, process: &Process) {
    let own = &process.dormancy;
    let Some(limit) = own.limit() else { return };
    if process.wall.has_requests() || !process.event_loop.worker().is_idle() {
        own.last.set(Instant::now());
    }
    let left = limit.saturating_sub(own.last.get().elapsed());
    if !left.is_zero() {
        own.due.start(token, process, milliseconds(left));
    } else if process.standing.stage() != Stage::Serving || !departure::take_baton(process) {
        own.due.start(token, process, BATON_LOOK);
    } else {
        own.state.set(State::Asking);
        process.wall.ask_to_end();
        process.event_loop.end_turn_later(token);
        own.due.start(token, process, ANSWER);
    }
}

/// Whether it may end now: nothing of an earlier request runs, and nginx has not told it to end, which is another end.
fn is_serving_nobody(process: &Process) -> bool {
    process.standing.stage() == Stage::Serving && process.event_loop.worker().is_idle()
}

fn end(token: EventThread, process: &Process) {
    let own = &process.dormancy;
    own.state.set(State::Ending);
    own.due.stop(token);
    let config = &process.event_loop.worker().config;
    let group = config.role.group().and_then(|at| config.groups.get(at));
    say!(
        process,
        Code::ProcessIdle,
        "python_process \"{}\": this process has had no request for {} s (idle), and ends; the next one starts Python \
         when it has one",
        group.map_or("", |group| &group.name),
        own.limit().unwrap_or_default().as_secs_f64(),
    );
    departure::leave();
}

fn stay(token: EventThread, process: &Process) {
    process.wall.stay();
    process.event_loop.end_turn_later(token);
    stays(token, process);
}

/// The web workers have been told that the process stays.
fn stays(token: EventThread, process: &Process) {
    let own = &process.dormancy;
    own.state.set(State::Awake);
    own.last.set(Instant::now());
    process.event_loop.worker().baton.put_back();
    own.due.start(token, process, milliseconds(own.limit().unwrap_or_default()));
}

fn milliseconds(time: Duration) -> ngx_msec_t {
    ngx_msec_t::try_from(time.as_millis()).unwrap_or(ngx_msec_t::MAX / 2).max(1)
}
