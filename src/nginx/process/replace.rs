//! A worker that is replaced: it leaves by itself, and nginx's master starts another one in its place.
//!
//! 1. It waits until no other worker of this nginx is being replaced ([`Baton`](crate::bridge::baton::Baton)).
//! 2. For a second it tells its clients to come back on another connection ([`parting`]), and serves them as before.
//!    If it is the only worker, it goes on with that until it has no request for a moment, because nobody else accepts
//!    connections while it waits for one.
//! 3. It exits as on `nginx -s quit`: it accepts nothing more, and finishes the requests that it has ([`drain`]).
//! 4. The master starts another worker (`ngx_reap_children`), which gives the baton back when its applications have
//!    started.
//!
//! [`drain`]: super::drain

use std::time::Duration;

use nginx_sys::{
    NGX_PROCESS_SINGLE, ngx_exiting, ngx_msec_t, ngx_process, ngx_quit, ngx_terminate,
};
use rustix::time::{ClockId, clock_gettime};

use super::stage::Standing;
use super::state::{Handler, Process, Step};
use crate::bridge::replacement::Reason;
use crate::nginx::log::{notice, warning};
use crate::nginx::parting;
use crate::nginx::trampoline::EventThread;

/// How often a worker looks whether it may leave, or gives the baton back, how long it then tells its clients, and how often it says while it
/// exits that it still has the baton; in milliseconds.
const LOOK: ngx_msec_t = 100;
const PARTING: ngx_msec_t = 1000;
const RENEWAL: ngx_msec_t = 10_000;

/// How often a worker that is the only one looks whether it has no request, in milliseconds.
const IDLE_LOOK: ngx_msec_t = 10;

/// How long the successor's applications may take to start before another worker may leave.
const START: Duration = Duration::from_secs(60);

/// The worker starts: it may be the one that takes another's place.
pub(super) fn start(token: EventThread, process: &Process) {
    if process.event_loop.worker().baton.is_inherited() {
        process.next_step.start(token, process, LOOK);
    }
}

/// The worker has to be replaced, for that reason. The first one counts, unless another one is more urgent.
pub(super) fn begin(token: EventThread, process: &Process, reason: &Reason) {
    let has_begun = match process.step.get() {
        Step::None => false,
        Step::WaitsForBaton | Step::Parts => !reason.is_urgent(),
        Step::Stays | Step::Leaves => true,
    };
    // A worker that waits for its successors ends anyway; what is urgent does not wait for that.
    let leaves = if reason.is_urgent() { is_ending() } else { is_leaving(process) };
    if has_begun || leaves {
        return;
    }
    // SAFETY: nginx sets it before it makes processes.
    if unsafe { ngx_process } == NGX_PROCESS_SINGLE as usize {
        process.step.set(Step::Stays);
        warning!(
            process,
            "pywsgi: this process should be replaced: {reason}; but no master would start another one \
             (master_process off), and it stays"
        );
        return;
    }
    notice!(
        process,
        "pywsgi: this worker is replaced: {reason}; it finishes its requests, and nginx starts another one"
    );
    if reason.is_urgent() {
        // Nobody is served here meanwhile. If the baton is another's, that one is waited for by the next.
        take_baton(process);
        leave(token, process);
    } else {
        process.step.set(Step::WaitsForBaton);
        go_on(token, process);
    }
}

/// The next step is due.
pub(super) struct NextStep;

impl Handler for NextStep {
    fn call(token: EventThread, process: &'static Process) {
        go_on(token, process);
    }
}

fn go_on(token: EventThread, process: &Process) {
    let next = match process.step.get() {
        // It leaves anyway, because nginx was told to: another configuration's workers take its place.
        Step::WaitsForBaton if is_leaving(process) => return,
        Step::Parts if is_ending() => return,
        Step::WaitsForBaton if !take_baton(process) => LOOK,
        Step::WaitsForBaton => {
            process.step.set(Step::Parts);
            process.parts_since.set(process.event_loop.worker().now());
            parting::begin(token);
            PARTING
        }
        Step::Parts if is_needed(process) => IDLE_LOOK,
        Step::Parts => return leave(token, process),
        Step::Leaves => {
            // Others of its connections may take longer than the applications' requests.
            take_baton(process);
            RENEWAL
        }
        Step::None => {
            let worker = process.event_loop.worker();
            if worker.starts.have_ended() {
                worker.baton.give_back();
                return;
            }
            LOOK
        }
        Step::Stays => return,
    };
    process.next_step.start(token, process, next);
}

/// Makes nginx exit this worker gracefully.
fn leave(token: EventThread, process: &Process) {
    process.step.set(Step::Leaves);
    // SAFETY: as nginx's signal handler does it; the worker's loop looks at it after each turn.
    unsafe { ngx_quit = 1 };
    process.next_step.start(token, process, RENEWAL);
}

/// Whether the worker should still accept connections: nobody else does, and it has a request that its exit would wait
/// for. After `python_drain_timeout` that does not count.
fn is_needed(process: &Process) -> bool {
    let now = process.event_loop.worker().now();
    let waited = now.saturating_sub(process.parts_since.get()) as ngx_msec_t;
    process.is_alone && process.event_loop.is_busy() && waited < process.drain_timeout
}

/// Takes the baton, or keeps it; false if another worker has it.
fn take_baton(process: &Process) -> bool {
    process.event_loop.worker().baton.take(monotonic(), longest(process))
}

/// nginx has told the worker to exit, and it may have put that off until its successors are ready.
fn is_leaving(process: &Process) -> bool {
    is_ending() || process.standing.as_ref().is_some_and(Standing::is_told_to_end)
}

/// The worker is about to exit.
fn is_ending() -> bool {
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

/// The clock that all processes of the system have.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
