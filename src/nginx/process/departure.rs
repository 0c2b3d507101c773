//! A worker leaves: because it has to be replaced, or because nginx's master has told it to end.
//!
//! | | one that is replaced ([`replace`]) | one that is told to end ([`told_to_end`]) |
//! |---|---|---|
//! | it waits until | no other worker of this nginx is being replaced ([`Baton`](crate::bridge::baton::Baton)) | the workers of the new configuration are ready (`bridge/generations.rs`) |
//! | for a second it closes connections behind their next response ([`parting`]) | and accepts others; if it is the only worker, until it has no request for a moment | and accepts no others |
//! | it exits as on `nginx -s quit`: it finishes the requests that it has ([`drain`](super::drain)) | and the master starts another one (`ngx_reap_children`) | |
//!
//! A worker that waits to be replaced, or is parting for that, and is told to end, waits for its successors.
//!
//! A process of a `python_process` that is told to end waits for none: it goes on until the web workers have ended that
//! have requests for it.

use std::time::{Duration, Instant};

use nginx_sys::{
    NGX_PROCESS_SINGLE, ngx_cycle, ngx_exiting, ngx_msec_t, ngx_process, ngx_quit, ngx_terminate,
};

use super::listening;
use super::stage::Stage;
use super::state::Process;
use crate::bridge::clock;
use crate::bridge::code::Code;
use crate::bridge::generations::Successor;
use crate::bridge::replacement::Reason;
use crate::nginx::log::say;
use crate::nginx::parting;
use crate::nginx::sys;
use crate::nginx::trampoline::EventThread;

/// How long a worker that leaves still answers those who have a connection to it, each for the last time. A client whose
/// connection is closed while it sends the next request loses that. In milliseconds, as the others.
const PARTING: ngx_msec_t = 1000;

/// How often a worker looks whether it may be replaced, whether its successors are ready, and, if it is the only one,
/// whether it has no request.
const BATON_LOOK: ngx_msec_t = 100;
const SUCCESSORS_LOOK: ngx_msec_t = 10;
const IDLE_LOOK: ngx_msec_t = 10;

/// How often a process that runs applications looks whether the web workers have ended, in milliseconds.
const WEB_WORKERS_LOOK: ngx_msec_t = 20;

/// How often it says while it exits that it still has the baton.
const RENEWAL: ngx_msec_t = 10_000;

/// How long the successor's applications may take to start before another worker may leave.
const START: Duration = Duration::from_secs(60);

/// The worker has to be replaced, for that reason. The first one counts, unless another one is more urgent.
pub(super) fn replace(token: EventThread, process: &Process, reason: &Reason) {
    let standing = &process.standing;
    let is_urgent = reason.is_urgent();
    // A worker that has successors ends anyway; what is urgent does not wait for that.
    let leaves = matches!(
        standing.stage(),
        Stage::WaitingForSuccessors { .. } | Stage::WaitingForWebWorkers | Stage::Parting { .. }
    );
    let had_been_asked = standing.asked.get();
    if is_told() || (!is_urgent && (leaves || had_been_asked)) {
        return;
    }
    standing.asked.set(true);
    // SAFETY: nginx sets it before it makes processes.
    if unsafe { ngx_process } == NGX_PROCESS_SINGLE as usize {
        if !had_been_asked {
            say!(
                process,
                Code::WorkerStays,
                "this process should be replaced: {reason}; but no master would start another one \
                 (master_process off), and it stays"
            );
        }
        return;
    }
    say!(
        process,
        Code::WorkerReplaced,
        "this worker is replaced: {reason}; it finishes its requests, and nginx starts another one"
    );
    process.event_loop.worker().meters.leave(reason.number());
    if is_urgent {
        // Nobody is served here meanwhile. If the baton is another's, that one is waited for by the next.
        take_baton(process);
        leave();
        return;
    }
    // What runs on may keep the other applications from starting.
    let may_be_starting =
        *reason == Reason::Kill && matches!(standing.stage(), Stage::Starting { .. });
    if may_be_starting || standing.stage() == Stage::Serving {
        serves(token, process);
    }
}

/// The worker serves, and may leave if it has been asked to.
pub(super) fn serves(token: EventThread, process: &Process) {
    if process.standing.asked.get() {
        process.standing.enter(token, Stage::WaitingForBaton);
        go_on(token, process);
    }
}

/// nginx's handler has set `ngx_quit`: puts it off, if there are successors.
pub(super) fn told_to_end(token: EventThread, process: &Process) {
    let standing = &process.standing;
    let Some(member) = &standing.member else { return };
    match standing.stage() {
        Stage::Holding { .. } => return member.leave(),
        Stage::Starting { .. } if process.is_web() => member.leave(),
        Stage::Starting { .. } => {}
        Stage::Serving | Stage::WaitingForBaton | Stage::Parting { accepts: true, .. } => {}
        Stage::WaitingForSuccessors { .. }
        | Stage::WaitingForWebWorkers
        | Stage::Parting { .. }
        | Stage::Ending => return,
    }
    if !process.is_web() {
        if member.is_needed(sys::lives) {
            put_off();
            let stage = Stage::WaitingForWebWorkers;
            standing.enter_for(token, process, stage, WEB_WORKERS_LOOK);
        }
        return;
    }
    process.wall.set_ending();
    match member.successor() {
        Successor::Nobody => {}
        Successor::Starting => {
            put_off();
            parting::set(token, false);
            let until = Instant::now() + standing.limit;
            let stage = Stage::WaitingForSuccessors { until };
            standing.enter_for(token, process, stage, SUCCESSORS_LOOK);
        }
        Successor::Ready => {
            put_off();
            give_way(token, process);
        }
    }
}

fn put_off() {
    // SAFETY: nginx's thread; a signal's handler sets it, too, and then means the same.
    unsafe { ngx_quit = 0 };
}

/// Something may have changed for which this worker waits.
pub(super) fn go_on(token: EventThread, process: &Process) {
    let standing = &process.standing;
    let stage = standing.stage();
    if stage == Stage::Ending {
        // Others of its connections may take longer than the applications' requests.
        process
            .event_loop
            .worker()
            .baton
            .renew(Duration::from_nanos(clock::nanoseconds()), longest(process));
        return standing.look_again(token, process, RENEWAL);
    }
    if is_told() {
        return;
    }
    match stage {
        Stage::WaitingForBaton if !take_baton(process) => {
            standing.look_again(token, process, BATON_LOOK);
        }
        Stage::WaitingForBaton if process.is_web() => part(token, process, true),
        // It has no clients: the web workers keep their requests for the next one.
        Stage::WaitingForBaton => leave(),
        Stage::WaitingForSuccessors { until } => look_for_successors(token, process, until),
        Stage::WaitingForWebWorkers => {
            let mut members = standing.member.iter();
            match members.any(|member| member.is_needed(sys::lives)) {
                true => standing.look_again(token, process, WEB_WORKERS_LOOK),
                false => leave(),
            }
        }
        Stage::Parting { since, accepts: true } if is_needed(process, since) => {
            standing.look_again(token, process, IDLE_LOOK);
        }
        Stage::Parting { .. } => leave(),
        Stage::Holding { .. } | Stage::Starting { .. } | Stage::Serving | Stage::Ending => {}
    }
}

fn look_for_successors(token: EventThread, process: &Process, until: Instant) {
    let standing = &process.standing;
    let successor = standing.member.as_ref().map_or(Successor::Nobody, |it| it.successor());
    match successor {
        Successor::Starting if Instant::now() < until => {
            standing.look_again(token, process, SUCCESSORS_LOOK);
        }
        Successor::Starting => {
            say!(
                process,
                Code::SuccessorsLate,
                "the workers of the new configuration have not started within {} s (python_check timeout): \
                 this worker ends without them",
                standing.limit.as_secs_f64()
            );
            part_for_successors(token, process);
        }
        Successor::Ready => give_way(token, process),
        Successor::Nobody => leave(),
    }
}

/// The successors are ready.
fn give_way(token: EventThread, process: &Process) {
    say!(
        process,
        Code::SuccessorsReady,
        "the workers of the new configuration are ready, and this worker ends"
    );
    part_for_successors(token, process);
}

/// Accepts no connections any more.
fn part_for_successors(token: EventThread, process: &Process) {
    // SAFETY: nginx's thread; its cycle is the worker's.
    let idle = unsafe {
        listening::stop(ngx_cycle, listening::is_stream);
        (*ngx_cycle).reusable_connections_n
    };
    if let Some(member) = &process.standing.member {
        member.set_accepting(false);
    }
    part(token, process, false);
    if idle == 0 {
        leave();
    }
}

/// Those who have a connection are answered with `Connection: close` for a while.
fn part(token: EventThread, process: &Process, accepts: bool) {
    parting::set(token, true);
    let stage = Stage::Parting { since: Instant::now(), accepts };
    process.standing.enter_for(token, process, stage, PARTING);
}

/// Makes nginx exit this worker gracefully.
pub(super) fn leave() {
    // SAFETY: as nginx's signal handler does it; the worker's loop looks at it after each turn.
    unsafe { ngx_quit = 1 };
}

/// nginx has begun the graceful exit, and closed its listening sockets.
pub(super) fn ends(token: EventThread, process: &Process) {
    let standing = &process.standing;
    if let Some(member) = standing.member.as_ref().filter(|_| process.is_web()) {
        member.set_accepting(false);
    }
    standing.enter_for(token, process, Stage::Ending, RENEWAL);
}

/// Whether the worker should still accept connections: nobody else does, and it has a request that its exit would wait
/// for. After `python_drain_timeout` that does not count.
fn is_needed(process: &Process, since: Instant) -> bool {
    let limit = Duration::from_millis(process.drain_timeout as u64);
    process.standing.is_alone && process.event_loop.is_busy() && since.elapsed() < limit
}

/// Takes the baton, or keeps it; false if another worker has it.
pub(super) fn take_baton(process: &Process) -> bool {
    process
        .event_loop
        .worker()
        .baton
        .take(Duration::from_nanos(clock::nanoseconds()), longest(process))
}

/// nginx will begin to exit this worker after this turn, or has begun.
fn is_told() -> bool {
    // SAFETY: this thread and its signal handlers set them, and this only reads them.
    unsafe { ngx_exiting != 0 || ngx_quit != 0 || ngx_terminate != 0 }
}

/// How long it may take until the successor's applications have started, if nothing is heard of this worker.
fn longest(process: &Process) -> Duration {
    let worker = process.event_loop.worker();
    Duration::from_millis((PARTING + process.drain_timeout) as u64)
        + worker.config.python.finalize_timeout
        + worker.longest_shutdown()
        + START
}
