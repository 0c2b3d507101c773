//! A reload without a gap: new workers leave the connections to the old ones until their applications have started, and
//! old workers go on until then (`bridge/generations.rs`).
//!
//! nginx's master tells a worker to end by a message on its channel, whose handler sets `ngx_quit`; the worker's loop
//! looks at that after each turn. [`on_channel`] stands in front of that handler, and puts the end off.

use std::sync::OnceLock;
use std::time::Instant;

use nginx_sys::{
    NGX_PROCESS_WORKER, ngx_channel, ngx_cycle, ngx_cycle_t, ngx_event_t, ngx_msec_t, ngx_parent,
    ngx_process, ngx_process_slot, ngx_quit, ngx_worker,
};

use super::listening;
use super::stage::{Stage, Standing};
use super::state::{self, Handler, Process, on_process};
use crate::bridge::generations::{self, Generations, Member, Others, Successor};
use crate::nginx::conf::{self, DEFAULT_CHECK, MainConf};
use crate::nginx::log::{self, info, warning};
use crate::nginx::own_event::{EventHandler, OwnEvent};
use crate::nginx::parting;
use crate::nginx::shared_words::SharedWords;
use crate::nginx::trampoline::{EventThread, OfEventThread, guard};

/// How often a worker that waits looks at the others, in milliseconds.
const LOOK: ngx_msec_t = 10;

/// How long a worker that has successors still answers those who have a connection to it, each for the last time. A
/// client whose connection is closed while it sends the next request loses that.
const PARTING: ngx_msec_t = 1000;

/// Shared by the master and its workers, of all configurations.
static GENERATIONS: OnceLock<Generations<&'static SharedWords>> = OnceLock::new();

/// nginx's own handler of the channel.
static CHANNEL_HANDLER: OfEventThread<Option<EventHandler>> = OfEventThread::new(None);

/// The master has taken over a configuration, and starts its workers next.
///
/// # Safety
///
/// Called in nginx's `init_module`, with the new cycle.
pub(in crate::nginx) unsafe fn publish(cycle: *mut ngx_cycle_t) {
    // SAFETY: the cycle is the new one.
    let Some(main) = (unsafe { MainConf::of_cycle(cycle) }) else { return };
    let Some(generations) = mapped(cycle) else { return };
    // SAFETY: the cycle is the new one; nginx sets its parent's number as it starts.
    let (processes, upgraded, parent) = unsafe {
        (conf::nginx_core_conf(cycle).worker_processes, listening::note_old(cycle), ngx_parent)
    };
    // Without applications there is nothing to wait for.
    let workers = if main.has_apps() { usize::try_from(processes).unwrap_or(0) } else { 0 };
    let old_master = u32::try_from(parent).ok().filter(|_| upgraded);
    generations.publish(generation(main), workers, old_master);
}

fn generation(main: &MainConf) -> u32 {
    u32::try_from(main.configuration).unwrap_or(u32::MAX)
}

/// The memory, which is mapped once. `None` if it cannot be, which is logged.
fn mapped(cycle: *mut ngx_cycle_t) -> Option<&'static Generations<&'static SharedWords>> {
    if let Some(known) = GENERATIONS.get() {
        return Some(known);
    }
    let workers = nginx_sys::NGX_MAX_PROCESSES as usize;
    match SharedWords::new(generations::words(workers)) {
        // It is kept until the process ends.
        Ok(words) => Some(GENERATIONS.get_or_init(|| Generations::new(Box::leak(Box::new(words))))),
        Err(error) => {
            let text = format!(
                "pywsgi: memory to share with the workers cannot be mapped (mmap): {error}; reloads have a gap"
            );
            // SAFETY: the cycle has a log.
            unsafe { log::write((*cycle).log, log::ALERT, &text) };
            None
        }
    }
}

/// What this worker knows of the others; `None` if there are none (`master_process off`).
pub(super) fn standing(main: &MainConf) -> Option<Standing> {
    // SAFETY: nginx has set them for this process.
    let (kind, number, place) = unsafe { (ngx_process, ngx_worker, ngx_process_slot) };
    let all = *GENERATIONS.get().filter(|_| kind == NGX_PROCESS_WORKER as usize)?;
    let member = Member {
        all,
        generation: generation(main),
        number,
        place: usize::try_from(place).ok()?,
        process: std::process::id(),
    };
    let limit = main.check.unwrap_or(DEFAULT_CHECK).timeout;
    Some(Standing {
        member,
        stage: Stage::Starting { until: Instant::now() + limit }.into(),
        first_turn: OwnEvent::new(on_process::<FirstTurn>),
        // A worker that exits does not wait for it.
        look: OwnEvent::new(on_process::<Look>).cancelable(),
        limit,
    })
}

/// Decides whether this worker accepts connections before its applications have started: if nobody else does.
///
/// # Safety
///
/// Called in `init_process`, with the worker's cycle.
pub(super) unsafe fn begin(token: EventThread, process: &Process, cycle: *mut ngx_cycle_t) {
    let Some(standing) = &process.standing else { return };
    let until = Instant::now() + standing.limit;
    let others = standing.member.others(lives);
    if others == Others::Nobody {
        standing.member.set_accepting(true);
        standing.stage.set(Stage::Starting { until });
    } else {
        // What the new configuration adds, nobody else listens to.
        let is_others = |socket: &_| others == Others::OfSame || listening::is_old(socket);
        // SAFETY: the cycle is the worker's, and nginx's event module comes before this one.
        unsafe { listening::stop(cycle, is_others) };
        standing.stage.set(Stage::Holding { until });
    }
    standing.first_turn.post_next(token, process);
    standing.look.start(token, process, LOOK);
}

/// This worker cannot run Python, and answers 500: nobody waits for it.
pub(super) fn give_up(main: &MainConf) {
    if let Some(Standing { member, .. }) = standing(main) {
        member.set_accepting(true);
        member.set_ready();
    }
}

/// Whether there is a process of that number.
fn lives(process: u32) -> bool {
    let Ok(process) = libc::pid_t::try_from(process) else { return false };
    // SAFETY: a plain system call, which sends nothing.
    let found = unsafe { libc::kill(process, 0) } == 0;
    // Another user's (a master is root's).
    found || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// The channel's event exists from the first turn on.
struct FirstTurn;

impl Handler for FirstTurn {
    fn call(token: EventThread, _: &'static Process) {
        // SAFETY: nginx's thread; the cycle's connections are there as long as the worker. The descriptor of one that is
        // not in use is -1.
        unsafe {
            let cycle = ngx_cycle;
            let connections =
                std::slice::from_raw_parts((*cycle).connections, (*cycle).connection_n);
            let channel = connections.iter().find(|connection| connection.fd == ngx_channel);
            if let Some(event) = channel.and_then(|connection| connection.read.as_mut()) {
                CHANNEL_HANDLER.set(token, event.handler.replace(on_channel));
            }
        }
    }
}

/// The master has sent something.
unsafe extern "C" fn on_channel(event: *mut ngx_event_t) {
    let handle = |token: EventThread| {
        if let Some(handler) = CHANNEL_HANDLER.get(token) {
            // SAFETY: it is nginx's own handler, with its event. The event may be gone after it.
            unsafe { handler(event) };
        }
        // SAFETY: nginx's thread.
        let is_told = unsafe { ngx_quit } != 0;
        if let Some(process) = state::current(token).filter(|_| is_told) {
            told_to_end(token, process);
        }
    };
    // SAFETY: nginx called this function, on its own thread; the null log stands for the cycle's log.
    unsafe { guard(std::ptr::null_mut(), || (), handle) };
}

/// nginx's handler has set `ngx_quit`: puts it off, if there are successors.
fn told_to_end(token: EventThread, process: &Process) {
    let Some(standing) = &process.standing else { return };
    match standing.stage.get() {
        Stage::Holding { .. } => {
            standing.member.leave();
            standing.stage.set(Stage::Ending);
            return;
        }
        Stage::Starting { .. } => standing.member.leave(),
        Stage::Serving => {}
        Stage::Waiting { .. } | Stage::Parting | Stage::Ending => return,
    }
    match standing.member.successor() {
        Successor::Nobody => standing.stage.set(Stage::Ending),
        Successor::Starting => {
            put_off();
            standing.stage.set(Stage::Waiting { until: Instant::now() + standing.limit });
            standing.look.start(token, process, LOOK);
        }
        Successor::Ready => {
            put_off();
            give_way(token, process, standing);
        }
    }
}

fn put_off() {
    // SAFETY: nginx's thread; a signal's handler sets it, too, and then means the same.
    unsafe { ngx_quit = 0 };
}

/// Something may have changed for which this worker waits.
struct Look;

impl Handler for Look {
    fn call(token: EventThread, process: &'static Process) {
        let Some(standing) = &process.standing else { return };
        let started = || process.event_loop.worker().starts.have_ended();
        match standing.stage.get() {
            Stage::Holding { until } => {
                if started()
                    || Instant::now() >= until
                    || standing.member.others(lives) == Others::Nobody
                {
                    accept(standing);
                    standing.stage.set(Stage::Starting { until });
                }
                standing.look.start(token, process, LOOK);
            }
            Stage::Starting { until } => {
                let in_time = started();
                if !in_time && Instant::now() < until {
                    standing.look.start(token, process, LOOK);
                    return;
                }
                if !in_time {
                    warning!(
                        process,
                        "pywsgi: the applications have not started within {} s (python_check timeout): old workers \
                         wait no longer for this one",
                        standing.limit.as_secs_f64()
                    );
                }
                standing.member.set_ready();
                standing.stage.set(Stage::Serving);
            }
            Stage::Waiting { until } => match standing.member.successor() {
                Successor::Starting if Instant::now() < until => {
                    standing.look.start(token, process, LOOK);
                }
                Successor::Starting => {
                    warning!(
                        process,
                        "pywsgi: the workers of the new configuration have not started within {} s (python_check \
                         timeout): this worker ends without them",
                        standing.limit.as_secs_f64()
                    );
                    part(token, process, standing);
                }
                Successor::Ready => give_way(token, process, standing),
                Successor::Nobody => end(standing),
            },
            Stage::Parting => end(standing),
            Stage::Serving | Stage::Ending => {}
        }
    }
}

fn accept(standing: &Standing) {
    // SAFETY: nginx's thread; its cycle is the worker's.
    unsafe { listening::resume(ngx_cycle) };
    standing.member.set_accepting(true);
}

/// The successors are ready.
fn give_way(token: EventThread, process: &Process, standing: &Standing) {
    info!(process, "pywsgi: the workers of the new configuration are ready, and this worker ends");
    part(token, process, standing);
}

/// Accepts no connections any more. Those who have one are answered with `Connection: close` for a while.
fn part(token: EventThread, process: &Process, standing: &Standing) {
    // SAFETY: nginx's thread; its cycle is the worker's.
    let idle = unsafe {
        listening::stop(ngx_cycle, listening::is_stream);
        (*ngx_cycle).reusable_connections_n
    };
    standing.member.set_accepting(false);
    parting::begin(token);
    if idle == 0 {
        return end(standing);
    }
    standing.stage.set(Stage::Parting);
    standing.look.start(token, process, PARTING);
}

/// The worker ends gracefully, as nginx does it.
fn end(standing: &Standing) {
    standing.stage.set(Stage::Ending);
    // SAFETY: nginx's thread, whose loop looks at it after this turn.
    unsafe { ngx_quit = 1 };
}
