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

/// Decides whether this worker accepts connections before its applications have started: if nobody else does. One that
/// runs applications for others never does.
///
/// # Safety
///
/// Called in `init_process`, with the worker's cycle.
pub(super) unsafe fn begin(token: EventThread, process: &Process, cycle: *mut ngx_cycle_t) {
    let standing = &process.standing;
    let Some(member) = &standing.member else { return };
    standing.first_turn.post_next(token, process);
    let until = Instant::now() + standing.limit;
    if !process.is_web() {
        return start(token, process, until);
    }
    member.enter();
    let others = member.others(sys::lives);
    if others == Others::Nobody {
        member.set_accepting(true);
        return start(token, process, until);
    }
    // What the new configuration adds, nobody else listens to.
    let is_others = |socket: &_| others == Others::OfSame || listening::is_old(socket);
    // SAFETY: the cycle is the worker's, and nginx's event module comes before this one.
    unsafe { listening::stop(cycle, is_others) };
    standing.enter_for(token, process, Stage::Holding { until }, LOOK);
}

/// The worker leaves the connections to nobody, and its applications start.
fn start(token: EventThread, process: &Process, until: Instant) {
    let standing = &process.standing;
    standing.enter_for(token, process, Stage::Starting { until }, next_look(process, until));
}

/// The starts of all applications of this process have ended.
pub(super) fn started(token: EventThread, process: &Process) {
    process.event_loop.worker().baton.give_back();
    match process.standing.stage() {
        Stage::Holding { .. } | Stage::Starting { .. } => look(token, process),
        _ => ready(token, process),
    }
}

/// The process is dormant: nobody waits for its applications.
pub(super) fn dormant(token: EventThread, process: &Process) {
    process.event_loop.worker().baton.give_back();
    ready(token, process);
    process.event_loop.worker().meters.set_state(State::Dormant);
}

/// Something may be due for a worker that starts, or that leaves.
pub(super) struct Due;

impl Handler for Due {
    fn call(token: EventThread, process: &'static Process) {
        match process.standing.stage() {
            Stage::Holding { .. } | Stage::Starting { .. } => look(token, process),
            _ => departure::go_on(token, process),
        }
    }
}

/// Whether the starts have ended, and whether the others still accept connections.
fn look(token: EventThread, process: &Process) {
    let standing = &process.standing;
    let stage = standing.stage();
    let (Stage::Holding { until } | Stage::Starting { until }) = stage else { return };
    let is_holding = matches!(stage, Stage::Holding { .. });
    if has_started(process) {
        if is_holding {
            accept(process);
        }
        return ready(token, process);
    }
    let is_over = Instant::now() >= until;
    let others = || standing.member.as_ref().map(|member| member.others(sys::lives));
    if is_holding && (is_over || others() == Some(Others::Nobody)) {
        accept(process);
        start(token, process, until);
    } else if is_over {
        late(token, process);
    } else {
        standing.look_again(token, process, next_look(process, until));
    }
}

/// Whether the starts of its applications have ended, and those of the processes that run others for it.
fn has_started(process: &Process) -> bool {
    let mut members = process.standing.member.iter();
    let waits = process.is_web() && members.any(|member| !member.applications_are_ready());
    !waits && process.event_loop.worker().starts.have_ended()
}

/// The worker is told when its own applications have started. For what others do it has to look.
fn next_look(process: &Process, until: Instant) -> ngx_msec_t {
    let left = milliseconds(until.saturating_duration_since(Instant::now()));
    let looks = matches!(process.standing.stage(), Stage::Holding { .. })
        || (process.is_web() && !process.event_loop.worker().config.groups.is_empty());
    if looks { LOOK.min(left) } else { left }
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
    if let Stage::Holding { .. } | Stage::Starting { .. } = standing.stage() {
        standing.enter(token, Stage::Serving);
        departure::serves(token, process);
    }
}

fn milliseconds(time: Duration) -> ngx_msec_t {
    ngx_msec_t::try_from(time.as_millis()).unwrap_or(ngx_msec_t::MAX / 2)
}
