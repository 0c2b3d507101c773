//! A worker ages: looks whether it has reached one of its [`Limits`](super::limits::Limits).

use std::time::Duration;

use nginx_sys::{NGX_PROCESS_SINGLE, ngx_process, ngx_terminate};

use super::departure;
use super::limits::{Memory, Verdict};
use super::state::{Handler, Process};
use crate::bridge::code::Code;
use crate::bridge::replacement::{HARD_MEMORY_LIMIT, Reason, megabytes};
use crate::nginx::log::say;
use crate::nginx::sys;
use crate::nginx::trampoline::EventThread;

/// The worker starts.
pub(super) fn start(token: EventThread, process: &Process) {
    let limits = &process.limits;
    if let Some(lifetime) = limits.max_lifetime {
        limits.lifetime.start(token, process, lifetime);
    }
    if let Some(memory) = &limits.memory {
        limits.look.start(token, process, memory.next_look());
    }
}

/// `python_max_lifetime` is over.
pub(super) struct LifetimeOver;

impl Handler for LifetimeOver {
    fn call(token: EventThread, process: &'static Process) {
        let lifetime = process.limits.max_lifetime.unwrap_or_default();
        let reason = Reason::Lifetime(Duration::from_millis(lifetime as u64));
        departure::replace(token, process, &reason);
    }
}

/// The memory must be looked at.
pub(super) struct LookAtMemory;

impl Handler for LookAtMemory {
    fn call(token: EventThread, process: &'static Process) {
        let limits = &process.limits;
        let Some(memory) = &limits.memory else { return };
        match sys::resident_memory(std::process::id()) {
            Ok(used) => look(token, process, memory, used),
            // It is not looked at again: this would fail each time.
            Err(error) => {
                say!(
                    process,
                    Code::MemoryUnknown,
                    "python_memory_limit cannot be applied: {error}"
                );
                return;
            }
        }
        limits.look.start(token, process, memory.next_look());
    }
}

fn look(token: EventThread, process: &Process, memory: &Memory, used: u64) {
    let soft = memory.limit.soft;
    match memory.judge(used, process.event_loop.worker().starts.have_ended()) {
        Verdict::Nothing => {}
        Verdict::NotApplied { hard } => say!(
            process,
            Code::MemoryLimitTooLow,
            "python_memory_limit soft={}m{} is not applied: this worker takes {} MB as soon as its \
             applications are imported, and so would each one after it; write a higher limit",
            megabytes(soft),
            hard.map(|hard| format!(" hard={}m", megabytes(hard))).unwrap_or_default(),
            megabytes(used),
        ),
        Verdict::Replace => {
            departure::replace(token, process, &Reason::Memory { used, limit: soft });
        }
        Verdict::LeaveAtOnce(hard) => leave_at_once(process, used, hard),
    }
}

/// The worker exits as on `nginx -s stop`, without waiting for its requests, and for no other worker.
fn leave_at_once(process: &Process, used: u64, hard: u64) {
    // SAFETY: nginx sets the first before it makes processes, and this thread and its signal handlers the other.
    unsafe {
        // Without a master no other process would be started.
        if ngx_process == NGX_PROCESS_SINGLE as usize || ngx_terminate != 0 {
            return;
        }
    }
    say!(
        process,
        Code::MemoryHardLimit,
        "this worker takes {} MB (python_memory_limit hard={}m): it exits at once, its requests are cut, and \
         nginx starts another one",
        megabytes(used),
        megabytes(hard),
    );
    process.event_loop.worker().meters.leave(HARD_MEMORY_LIMIT);
    // SAFETY: as nginx's signal handler does it; the worker's loop looks at it after each turn.
    unsafe { ngx_terminate = 1 };
}
