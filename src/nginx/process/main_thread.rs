//! The start of Python's main thread, which starts all others.

use std::sync::Arc;

use nginx_sys::ngx_msec_t;

use super::state::{Handler, Process};
use crate::bridge::changes::beginning::Beginning;
use crate::bridge::code::Code;
use crate::nginx::log::say;
use crate::nginx::signals;
use crate::nginx::trampoline::EventThread;

/// The time slice of the event loop's thread in nanoseconds, the shortest that Linux allows.
const SLICE_NS: u64 = 100_000;

/// Delays before Python's main thread, which could not be started, is tried again: the first and the longest one, in
/// milliseconds.
pub(super) const START_AGAIN: ngx_msec_t = 1000;
const START_AGAIN_AT_MOST: ngx_msec_t = 16_000;

/// Tries again to start Python's main thread.
pub(super) struct Again;

impl Handler for Again {
    fn call(token: EventThread, process: &'static Process) {
        start(token, process);
    }
}

/// Starts Python's main thread. If that fails (RLIMIT_NPROC, a cgroup's `pids.max`), requests for applications are
/// answered 500 immediately, and the start is tried again later.
pub(super) fn start(token: EventThread, process: &Process) {
    let worker = process.event_loop.worker();
    let config = &worker.config;
    if config.may_be_kept() || config.renews_groups() {
        let home = config.python.home.as_deref();
        worker.beginning.get_or_init(|| Beginning::now(home));
    }
    let begin = || crate::start_python(Arc::clone(worker));
    let Err(error) = signals::with_those_of_threads_blocked(begin) else {
        if worker.set_missing(false) {
            say!(process, Code::MainThreadStarted, "Python's main thread has been started now");
        }
        signals::leave_to_python();
        ask_for_short_slices();
        return;
    };
    // Old workers do not wait for this one: their threads may be what the limit is reached by.
    worker.give_up_starts("Python's main thread cannot be started");
    if !worker.set_missing(true) {
        say!(
            process,
            Code::MainThreadNotStarted,
            "Python's main thread cannot be started: {error}; the applications of this \
             worker answer 500, and it is tried again every second at first, every {} s later (is \
             there a limit of processes or threads?)",
            START_AGAIN_AT_MOST / 1000,
        );
    }
    let delay = process.start_delay.get();
    process.start_delay.set((delay * 2).min(START_AGAIN_AT_MOST));
    process.start.start(token, process, delay);
}

/// The event loop needs a processor immediately and for a short time, Python's threads for a long time. If they share
/// a processor, Linux (6.12 or later, sched(7)) runs the thread with the shorter slice first. This must be called
/// after Python's threads were started, because threads inherit the slice. Older kernels ignore slices. The p99 of a
/// static file beside eight threads that compute, on two processors, is 0.6 and 1.4 ms with it, 1.8 and 2.0 ms
/// without.
fn ask_for_short_slices() {
    // SAFETY: these are system calls on a structure that is local to this function and that contains its own size.
    unsafe {
        let mut attributes: libc::sched_attr = std::mem::zeroed();
        let size = size_of::<libc::sched_attr>() as u32;
        if libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) != 0
            || attributes.sched_policy != libc::SCHED_OTHER as u32
        {
            // The thread was given another policy, which must not be changed.
            return;
        }
        attributes.sched_runtime = SLICE_NS;
        // If the kernel refuses, nothing changes.
        let _refused = libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
    }
}
