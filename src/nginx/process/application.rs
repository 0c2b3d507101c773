//! The processes of a `python_process`: workers of nginx's that serve no clients. They run the applications of their
//! group for the web workers.
//!
//! nginx's master starts, replaces and ends them as it does with workers, because that is what they are: it is told of
//! more workers than nginx.conf has, and those whose number is beyond that are the processes of the groups. Of processes that
//! are kept over a reload it is not told before it has begun to start the others.

use std::ffi::CString;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nginx_sys::{
    NGX_PROCESS_MASTER, ngx_cycle, ngx_cycle_t, ngx_parent, ngx_process, ngx_setproctitle,
};

use super::{listening, others};
use crate::bridge::code::Code;
use crate::bridge::config::WorkerConfig;
use crate::nginx::conf::groups::NO_MASTER;
use crate::nginx::conf::{self, MainConf};
use crate::nginx::keep::{self, Kept};
use crate::nginx::log;
use crate::nginx::trampoline::EventThread;

/// The master has taken over a configuration, and starts its workers next: has it start the processes of the groups as
/// well, apart from those that go on, which it gives. `None` if there is no master that would, which is logged.
///
/// # Safety
///
/// Called in nginx's `init_module`, with the new cycle, before anything else counts its workers.
#[must_use]
pub(in crate::nginx) unsafe fn add(
    token: EventThread,
    cycle: *mut ngx_cycle_t,
) -> Option<Vec<Kept>> {
    // SAFETY: the cycle is the new one.
    let Some(main) = (unsafe { MainConf::of_cycle(cycle) }) else {
        keep::forget();
        return Some(Vec::new());
    };
    let groups = &main.groups;
    // SAFETY: the cycle is the new one, and nginx sets the kind of this process as it starts.
    let (workers, has_master) = unsafe {
        let core = conf::nginx_core_conf(cycle);
        (core.worker_processes, core.master != 0 || ngx_process == NGX_PROCESS_MASTER as usize)
    };
    groups.set_web_workers(usize::try_from(workers).unwrap_or(1));
    if groups.processes() == 0 {
        keep::forget();
        return Some(Vec::new());
    }
    if !has_master {
        // The directive stands behind `http`.
        // SAFETY: the cycle has a log.
        unsafe { log::message((*cycle).log, Code::GroupsWithoutMaster, NO_MASTER) };
        return None;
    }
    // SAFETY: the cycle is the new one, and this its configuration.
    let kept = unsafe { keep::commit(token, cycle, main) };
    // SAFETY: the cycle is the new one; the references to its configuration of nginx's core are over.
    unsafe { conf::add_workers(cycle, groups.processes() - kept.len()) };
    count_later(kept.len());
    Some(kept)
}

/// Processes that go on, and that the master has not been told of.
static UNCOUNTED: AtomicUsize = AtomicUsize::new(0);

/// The master starts all of its workers again, by their number, after a binary upgrade that was given up (WINCH, HUP): by then
/// it must know of those that go on. It reads the number once and then forks; nothing else calls this module in between.
fn count_later(kept: usize) {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    UNCOUNTED.store(kept, Ordering::Relaxed);
    if kept > 0 {
        REGISTERED.get_or_init(|| {
            // SAFETY: the handler is a function of this module, which the C library forgets if the module is unloaded.
            // If there is no memory for it they are not counted, which matters after such an upgrade alone.
            let _unregistered = unsafe { libc::pthread_atfork(None, Some(has_forked), None) };
        });
    }
}

/// A process has forked another one.
unsafe extern "C" fn has_forked() {
    // SAFETY: nginx sets it as it starts a process.
    if unsafe { ngx_process } != NGX_PROCESS_MASTER as usize {
        return;
    }
    let kept = UNCOUNTED.swap(0, Ordering::Relaxed);
    if kept > 0 {
        // SAFETY: nginx has one thread, and starts the workers of its cycle, for which it has read the number.
        unsafe { conf::add_workers(ngx_cycle, kept) };
    }
}

/// Titles of processes are cut by whoever shows them.
const LONGEST_TITLE: usize = 200;

/// Gives a process of a group its title, in which its applications are named. nginx gives each worker its own before the
/// first turn, and when it exits. `stage` follows the name.
pub(super) fn set_title(config: &WorkerConfig, stage: &str) {
    let Some(group) = config.role.group().and_then(|at| config.groups.get(at)) else { return };
    let own = config.apps.iter().zip(0..).filter(|(_, at)| config.runs(*at));
    let targets: Vec<_> = own.map(|(app, _)| app.target.as_str()).collect();
    let mut title = format!("python_process {}{stage}: {}", group.name, targets.join(", "));
    if let Some((end, _)) = title.char_indices().nth(LONGEST_TITLE) {
        title.truncate(end);
        title.push('…');
    }
    // A target has no NUL, because nginx.conf has none.
    let Ok(title) = CString::new(title) else { return };
    // SAFETY: nginx copies the text to where its arguments were.
    unsafe { ngx_setproctitle(title.as_ptr().cast_mut()) };
}

/// A process of a group starts: it leaves all connections to the workers, and has nothing of them.
///
/// # Safety
///
/// Called in `init_process`, with the worker's cycle; nginx's event module comes before this one.
pub(super) unsafe fn begin(token: EventThread, cycle: *mut ngx_cycle_t) {
    // SAFETY: as the caller says.
    unsafe { listening::close(cycle) };
    others::give_up_channels(token);
    spread();
}

/// `worker_cpu_affinity` is for those who serve clients: it would put all processes of the groups on the processor of the
/// last worker. They get the processors that the master has.
fn spread() {
    // SAFETY: system calls on a set that is this function's own; nginx sets its parent's number as it starts. If one of
    // them fails the process stays where it is.
    unsafe {
        let mut processors: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(ngx_parent, size, &raw mut processors) == 0 {
            libc::sched_setaffinity(0, size, &raw const processors);
        }
    }
}
