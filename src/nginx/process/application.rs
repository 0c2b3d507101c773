//! The processes of a `python_process`: workers of nginx's that serve no clients. They run the applications of their
//! group for the web workers.
//!
//! nginx's master starts, replaces and ends them as it does with workers, because that is what they are: it is told of
//! more workers than nginx.conf has, and those whose number is beyond that are the processes of the groups.

use std::ffi::CString;

use nginx_sys::{NGX_PROCESS_MASTER, ngx_cycle_t, ngx_parent, ngx_process, ngx_setproctitle};

use super::{listening, others};
use crate::bridge::code::Code;
use crate::bridge::config::{Role, WorkerConfig};
use crate::nginx::conf::groups::NO_MASTER;
use crate::nginx::conf::{self, MainConf};
use crate::nginx::log;
use crate::nginx::trampoline::EventThread;

/// The master has taken over a configuration, and starts its workers next: has it start the processes of the groups as
/// well. False if there is no master that would, which is logged.
///
/// # Safety
///
/// Called in nginx's `init_module`, with the new cycle, before anything else counts its workers.
#[must_use]
pub(in crate::nginx) unsafe fn add(cycle: *mut ngx_cycle_t) -> bool {
    // SAFETY: the cycle is the new one.
    let Some(main) = (unsafe { MainConf::of_cycle(cycle) }) else { return true };
    let groups = &main.groups;
    // SAFETY: the cycle is the new one, and nginx sets the kind of this process as it starts.
    let (workers, has_master) = unsafe {
        let core = conf::nginx_core_conf(cycle);
        (core.worker_processes, core.master != 0 || ngx_process == NGX_PROCESS_MASTER as usize)
    };
    groups.set_web_workers(usize::try_from(workers).unwrap_or(1));
    if groups.processes() == 0 {
        return true;
    }
    let say = |code, text: &str| {
        // SAFETY: the cycle has a log.
        unsafe { log::message((*cycle).log, code, text) }
    };
    if !has_master {
        // The directive stands behind `http`.
        say(Code::GroupsWithoutMaster, NO_MASTER);
        return false;
    }
    let config = main.worker_config(Role::Web);
    if let Err(error) = groups.meetings.make(config.groups.iter()) {
        say(
            Code::GroupsWithoutSockets,
            &format!(
                "sockets between the workers and the processes of python_process cannot be made: {error}; requests \
                 for their applications are answered 503"
            ),
        );
    }
    // SAFETY: the cycle is the new one; the references to its configuration are over.
    unsafe { conf::add_workers(cycle, groups.processes()) };
    true
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
