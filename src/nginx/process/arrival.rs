//! A worker that starts leaves the connections to others, if there are any, until its applications have started.

use std::time::{Duration, Instant};

use nginx_sys::{ngx_cycle, ngx_cycle_t, ngx_msec_t};

use super::stage::Stage;
use super::state::{Handler, Process};
use super::{departure, listening};
use crate::bridge::code::Code;
use crate::bridge::generations::Others;
use crate::metrics::zone::State;
use crate::nginx::log::say;
use crate::nginx::sys;
use crate::nginx::trampoline::EventThread;

/// How often a worker that leaves the connections to others looks whether they live, in milliseconds.
const LOOK: ngx_msec_t = 50;

/// Decides whether this worker accepts connections before its applications have started: if nobody else does.
///
/// # Safety
///
/// Called in `init_process`, with the worker's cycle.
pub(super) unsafe fn begin(token: EventThread, process: &Process, cycle: *mut ngx_cycle_t) {
    let standing = &process.standing;
    let Some(member) = &standing.member else { return };
    standing.first_turn.post_next(token, process);
    let others = member.others(sys::lives);
    if others == Others::Nobody {
        member.set_accepting(true);
        return standing.enter_for(token, process, Stage::Starting, milliseconds(standing.limit));
    }
    // What the new configuration adds, nobody else listens to.
    let is_others = |socket: &_| others == Others::OfSame || listening::is_old(socket);
    // SAFETY: the cycle is the worker's, and nginx's event module comes before this one.
    unsafe { listening::stop(cycle, is_others) };
    let until = Instant::now() + standing.limit;
    standing.enter_for(token, process, Stage::Holding { until }, LOOK);
}

/// The starts of all applications have ended.
pub(super) fn started(token: EventThread, process: &Process) {
    process.event_loop.worker().baton.give_back();
    if let Stage::Holding { .. } = process.standing.stage() {
        accept(process);
    }
    ready(token, process);
}

/// Something may be due for a worker that starts, or that leaves.
pub(super) struct Due;

impl Handler for Due {
    fn call(token: EventThread, process: &'static Process) {
        match process.standing.stage() {
            Stage::Holding { until } => hold(token, process, until),
            Stage::Starting => late(token, process),
            _ => departure::go_on(token, process),
        }
    }
}

/// Whether the others still accept connections.
fn hold(token: EventThread, process: &Process, until: Instant) {
    let standing = &process.standing;
    let left = until.saturating_duration_since(Instant::now());
    let is_over = left.is_zero();
    let others = standing.member.as_ref().map(|member| member.others(sys::lives));
    if is_over || others == Some(Others::Nobody) {
        accept(process);
        standing.enter_for(token, process, Stage::Starting, milliseconds(left));
    } else {
        standing.look_again(token, process, LOOK);
    }
}

/// The applications have not started within the limit.
fn late(token: EventThread, process: &Process) {
    say!(
        process,
        Code::StartLate,
        "the applications have not started within {} s (python_check timeout): old workers wait no longer for \
         this one",
        process.standing.limit.as_secs_f64()
    );
    ready(token, process);
}

fn accept(process: &Process) {
    // SAFETY: nginx's thread; its cycle is the worker's.
    unsafe { listening::resume(ngx_cycle) };
    if let Some(member) = &process.standing.member {
        member.set_accepting(true);
    }
}

/// Nobody waits for this worker any more.
fn ready(token: EventThread, process: &Process) {
    let standing = &process.standing;
    process.event_loop.worker().meters.set_state(State::Serving);
    if let Some(member) = &standing.member {
        member.set_ready();
    }
    if let Stage::Holding { .. } | Stage::Starting = standing.stage() {
        standing.enter(token, Stage::Serving);
        departure::serves(token, process);
    }
}

fn milliseconds(time: Duration) -> ngx_msec_t {
    ngx_msec_t::try_from(time.as_millis()).unwrap_or(ngx_msec_t::MAX / 2)
}
