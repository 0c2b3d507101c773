//! The start of Python in a worker process.

use std::cell::Cell;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use nginx_sys::{
    NGX_PROCESS_MASTER, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_cycle_t, ngx_msec_t,
    ngx_process, ngx_worker,
};

use super::aging::{self, LifetimeOver, LookAtMemory};
use super::application;
use super::arrival::{self, Due};
use super::bell;
use super::calls::Calls;
use super::channel::FirstTurn;
use super::condemned::Condemned;
use super::dormancy::Dormancy;
use super::drain::{Hold, Over};
use super::generation;
use super::limits::Limits;
use super::main_thread::{self, Again, START_AGAIN};
use super::outputs::Outputs;
use super::reload;
use super::renewals::Renewals;
use super::stage::Standing;
use super::state::{self, Process, on_process};
use super::turn::{End, Look, Reopened};
use super::{killing, lazy, renewal};
use crate::bridge::changes::watch::Reload;
use crate::bridge::code::Code;
use crate::bridge::config::{Role, WorkerConfig};
use crate::bridge::exchange::Worker;
use crate::bridge::panics;
use crate::nginx::children;
use crate::nginx::conf::{self, DEFAULT_CHECK, MainConf};
use crate::nginx::keep;
use crate::nginx::log::{self, say};
use crate::nginx::meetings;
use crate::nginx::own_event::OwnEvent;
use crate::nginx::request::event_loop::{EventLoop, Handlers};
use crate::nginx::status::board;
use crate::nginx::sys;
use crate::nginx::trampoline::EventThread;
use crate::nginx::wall::Wall;

/// Default of `python_drain_timeout` if `worker_shutdown_timeout` is not set either.
const DRAIN_TIMEOUT: ngx_msec_t = 30_000;

/// Starts Python in a worker.
///
/// # Safety
///
/// Called in nginx's `init_process`, with that worker's cycle.
pub(in crate::nginx) unsafe fn start(token: EventThread, cycle: *mut ngx_cycle_t) {
    // SAFETY: the cycle is the worker's.
    let (kind, main) = unsafe { (ngx_process, MainConf::of_cycle(cycle)) };
    // The cache manager, the cache loader and the master do not run Python.
    keep::forget();
    if kind != NGX_PROCESS_WORKER as usize && kind != NGX_PROCESS_SINGLE as usize {
        if kind != NGX_PROCESS_MASTER as usize {
            meetings::close_all();
        }
        return;
    }
    let Some(main) = main.filter(|main| main.has_apps()) else { return meetings::close_all() };
    // SAFETY: nginx has set the number of each worker.
    let role = main.groups.role(unsafe { ngx_worker });
    if !role.is_web() {
        // SAFETY: as the caller says.
        unsafe { application::begin(token, cycle) };
    }
    panics::watch();
    // SAFETY: the cycle is the worker's, and Python has no thread yet.
    let made = unsafe {
        // nginx's handler calls waitpid(-1) in workers too, and would take the exit codes that subprocess waits for
        // (ngx_process_get_status).
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        // As in every Python program (`signal_install_handlers`): a file beyond RLIMIT_FSIZE is an OSError. By default
        // it ends the process, if the thread that writes does not block the signal.
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        children::keep_sockets_from(cycle);
        children::give_output();
        // Python has no thread yet, and nginx's threads, if it has any (`aio threads`), only make system calls.
        main.set_environment(role);
        let confined = confine(cycle, main, role);
        make(token, cycle, main, role).map(|process| (process, confined))
    };
    match made {
        Ok((process, confined)) => {
            // SAFETY: nginx calls `init_process`, with the worker's cycle.
            unsafe { arrival::begin(token, process, cycle) };
            process.wall.begin(token);
            let worker = process.event_loop.worker();
            if let Err(what) = confined {
                say!(
                    process,
                    Code::NotConfined,
                    "{what}; the applications of this process answer 500"
                );
                worker.set_missing(true);
                worker.give_up_starts("the process has not the limits that it must have");
            } else if worker.config.runs_python() {
                if !lazy::begin(token, process) {
                    aging::start(token, process);
                    main_thread::start(token, process);
                }
            } else {
                worker.tasks.set_unattended(true);
                arrival::started(token, process);
            }
        }
        // init_process must not fail here: nginx never restarts a worker that exits with 2, and static files can
        // still be served.
        Err(error) => {
            generation::give_up(main, role);
            let text = format!("Python cannot be started: {error}");
            // SAFETY: the worker's cycle has a log.
            unsafe { log::message((*cycle).log, Code::PythonNotStarted, text) };
        }
    }
}

/// Puts the limits of its group on this process. An error is a sentence for the log.
///
/// # Safety
///
/// `cycle` is the worker's.
unsafe fn confine(cycle: *mut ngx_cycle_t, main: &MainConf, role: Role) -> Result<(), String> {
    // SAFETY: as the caller says.
    let logs = unsafe { conf::log_folders(cycle) };
    // SAFETY: called in `init_process`.
    let shared = unsafe { generation::confine(role) };
    let Some(group) = main.groups.of(role) else { return Ok(()) };
    let applied = || group.confinement.apply(&main.groups.writable(role, logs));
    shared.and_then(|()| applied()).map_err(|what| {
        format!("python_process \"{}\": this process cannot be confined: {what}", group.name)
    })
}

/// The lowest of so many descriptor numbers that nginx does not reach: nginx takes the lowest free ones, at most two for each of its
/// connections, and some for files.
unsafe fn beyond_nginxs(cycle: *mut ngx_cycle_t, own: usize) -> RawFd {
    const FILES: usize = 1024;
    // SAFETY: the cycle is the worker's.
    let connections = unsafe { (*cycle).connection_n };
    children::descriptor_below_limit(2 * connections + FILES, own)
}

/// # Safety
///
/// As for [`start`].
unsafe fn make(
    token: EventThread,
    cycle: *mut ngx_cycle_t,
    main: &MainConf,
    role: Role,
) -> io::Result<&'static Process> {
    let mut config = main.worker_config(role);
    if let Some(name) = config.process_name() {
        log::name_process(&name);
    }
    // SAFETY: called in `init_process`, with the worker's cycle.
    let masters_end = unsafe { masters_end(cycle, &mut config) };
    // Its own bell, one for each of asyncio's event loops, the files of `python_log`, and what reports changes.
    let links = 3 * (main.groups.processes() + main.groups.web_workers().unwrap_or_default());
    let own = 2 + config.loops.len() + main.outputs.files().len() + links;
    // SAFETY: the cycle is the worker's, and nginx has set the worker's number.
    let (number, least, core) =
        unsafe { (ngx_worker, beyond_nginxs(cycle, own), conf::nginx_core_conf(cycle)) };
    let shutdown_timeout = core.shutdown_timeout;
    let meters = board::meters(&config).unwrap_or_default();
    let worker =
        Arc::new(Worker::new(config, main.marks(number), main.baton(number), meters, least)?);
    // SAFETY: the cycle is the worker's.
    let connection = unsafe { bell::listen(cycle, worker.events.fd()) }
        .ok_or_else(|| io::Error::other("nginx has no connection for its eventfd"))?;
    let nginxs =
        (shutdown_timeout > 0 && shutdown_timeout != ngx_msec_t::MAX).then_some(shutdown_timeout);
    let handlers = Handlers {
        turn_end: on_process::<End>,
        called: on_process::<Calls>,
        hold: on_process::<Hold>,
    };
    let runs_python = worker.config.runs_python();
    let settings = main.settings(role);
    let max_requests = settings.max_requests.flatten().filter(|_| runs_python);
    let max_requests = max_requests.map(|limit| limit.limit(sys::random()));
    let wall =
        Wall::new(&worker, main.groups.meetings.take(role), main.groups.locations(role), least);
    let process = Box::leak(Box::new(Process {
        event_loop: EventLoop::start(token, worker, main.configuration, &handlers, max_requests),
        batch: Cell::default(),
        connection: Cell::new(connection),
        look: OwnEvent::new(on_process::<Look>),
        // A worker without requests exits without waiting for this timer.
        drain: OwnEvent::new(on_process::<Over>).cancelable(),
        drain_timeout: settings.drain_timeout.or(nginxs).unwrap_or(DRAIN_TIMEOUT),
        start: OwnEvent::new(on_process::<Again>).cancelable(),
        start_delay: Cell::new(START_AGAIN),
        // SAFETY: the cycle is the worker's, and `main` its configuration.
        outputs: unsafe { Outputs::open(main, cycle, least, on_process::<Reopened>) },
        // Without Python it does not age.
        limits: Limits::new(
            Some(&settings).filter(|_| runs_python),
            on_process::<LifetimeOver>,
            on_process::<LookAtMemory>,
        ),
        wall,
        dormancy: Dormancy::new(
            main.groups.of(role).and_then(|group| group.lazy),
            on_process::<lazy::Due>,
        ),
        renewals: Renewals::new(on_process::<renewal::Due>),
        condemned: Condemned::new(on_process::<killing::Due>),
        masters_end,
        standing: Standing::new(
            generation::member(main),
            main.check.unwrap_or(DEFAULT_CHECK).timeout,
            role.is_web() && main.groups.web_workers() == Some(1),
            [on_process::<Due>, on_process::<FirstTurn>],
        ),
    }));
    state::set_current(token, process);
    Ok(process)
}

/// What is needed to tell the master to reload, if `python_reload` is on. If there is none, nothing is told.
///
/// # Safety
///
/// Called in `init_process`, with the worker's cycle.
unsafe fn masters_end(cycle: *mut ngx_cycle_t, config: &mut WorkerConfig) -> Option<OwnedFd> {
    if config.reload == Reload::Off {
        return None;
    }
    // SAFETY: nginx sets it before it makes processes; as the caller says.
    let found = unsafe {
        if ngx_process == NGX_PROCESS_SINGLE as usize {
            Err(io::Error::other("there is no master that would reload (master_process off)"))
        } else {
            reload::masters_end()
        }
    };
    if let Err(what) = &found {
        let text = format!("python_reload does nothing: {what}");
        // SAFETY: the cycle has a log.
        unsafe { log::message((*cycle).log, Code::ReloadOff, text) };
        config.reload = Reload::Off;
    }
    found.ok()
}
