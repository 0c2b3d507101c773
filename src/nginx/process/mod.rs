//! A worker process: Python's start in `init_process`, its end in `exit_process`.

pub(in crate::nginx) mod wake;

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nginx_sys::{
    NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_add_timer, ngx_close_connection, ngx_connection_t,
    ngx_cycle, ngx_cycle_t, ngx_event_t, ngx_log_t, ngx_msec_t, ngx_process, ngx_worker,
};

use crate::bridge::events::Event;
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::executor::inline::{CALLS, Calls, Suspended};
use crate::bridge::id::{RequestId, Table};
use crate::bridge::panics;
use crate::bridge::pipe::input::InputError;
use crate::bridge::pipe::output::parts::Batch;
use crate::bridge::tasks::Task;
use crate::bridge::worker::Stopped;
use crate::nginx::children;
use crate::nginx::conf::{self, MainConf};
use crate::nginx::entry;
use crate::nginx::log;
use crate::nginx::request::context::Context;
use crate::nginx::request::finalize;
use crate::nginx::signals;
use crate::nginx::sys::{self, EventThread};

/// What the event loop's side of a worker has. Made once, and kept until the process ends.
pub(crate) struct Process {
    worker: Arc<Worker>,
    configuration: usize,
    table: RefCell<Table<*mut Context>>,
    batch: Cell<Vec<Event<Exchange>>>,
    output: Cell<Option<Box<Batch>>>,
    connection: Cell<*mut ngx_connection_t>,
    /// Posted by the first in a turn of the event loop that has something to be done at its end.
    turn_end: UnsafeCell<ngx_event_t>,
    /// Requests for the executor `inline`, whose applications are called at the turn's end.
    calls: RefCell<VecDeque<Arc<Exchange>>>,
    called: UnsafeCell<ngx_event_t>,
    /// How many responses of the executor `inline` go on in the next turn.
    going_on: Cell<usize>,
    /// Comes by as long as requests wait behind one that is expected to be quick.
    look: UnsafeCell<ngx_event_t>,
    /// Runs out when the worker exits and requests still have not ended.
    drain: UnsafeCell<ngx_event_t>,
    drain_timeout: ngx_msec_t,
    /// Comes by while the worker exits, as long as something is left to do after a response.
    hold: UnsafeCell<ngx_event_t>,
    /// Fires when Python's main thread, which could not be started, is tried again; and in how long the time
    /// after that.
    start: UnsafeCell<ngx_event_t>,
    start_delay: Cell<ngx_msec_t>,
}

/// The one [`Process`].
struct Slot(UnsafeCell<Option<&'static Process>>);

// SAFETY: written and read with an EventThread at hand alone: by one thread.
unsafe impl Sync for Slot {}

static PROCESS: Slot = Slot(UnsafeCell::new(None));

/// Default of `python_drain_timeout` where `worker_shutdown_timeout` is not set either.
const DRAIN_TIMEOUT: ngx_msec_t = 30_000;

/// The event loop's slice of a processor in nanoseconds, the shortest there is.
const SLICE_NS: u64 = 100_000;

/// So often at the end of a turn the event loop deals with what has come meanwhile.
const ROUNDS: usize = 4;

/// When `look` comes by, in milliseconds.
const LOOK: ngx_msec_t = 1;

/// How often `hold` comes by, in milliseconds.
const HOLD: ngx_msec_t = 20;

/// When a main thread of Python's that cannot be started is tried again, at first and at most, in milliseconds.
const START_AGAIN: ngx_msec_t = 1000;
const START_AGAIN_AT_MOST: ngx_msec_t = 16_000;

/// The process's state, if it runs Python.
pub(in crate::nginx) fn current(_token: EventThread) -> Option<&'static Process> {
    // SAFETY: on the event loop's thread, as the token proves.
    unsafe { *PROCESS.0.get() }
}

/// The same, if it runs Python for that reading of the configuration.
pub(in crate::nginx) fn running(
    token: EventThread,
    configuration: usize,
) -> Option<&'static Process> {
    current(token).filter(|process| process.configuration == configuration)
}

pub(in crate::nginx) fn is_in_flight(token: EventThread, id: RequestId) -> bool {
    current(token).is_some_and(|process| process.find(id).is_some())
}

/// An empty batch, with memory from the last one.
pub(in crate::nginx) fn take_output(token: EventThread) -> Box<Batch> {
    current(token).and_then(|process| process.output.take()).unwrap_or_default()
}

pub(in crate::nginx) fn give_output_back(token: EventThread, batch: Box<Batch>) {
    if let Some(process) = current(token) {
        process.output.set(Some(batch));
    }
}

/// Brings a response of the executor `inline`, whose request is gone, to its end.
pub(in crate::nginx) fn end(token: EventThread, suspended: Box<dyn Suspended>) {
    if let Some(process) = current(token) {
        process.end(suspended);
    }
}

pub(in crate::nginx) fn remove(token: EventThread, id: RequestId) {
    if let Some(process) = current(token) {
        process.table.borrow_mut().remove(id);
    }
}

impl Process {
    pub(in crate::nginx) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    pub(in crate::nginx) fn insert(&self, token: EventThread, context: *mut Context) -> RequestId {
        let id = self.table.borrow_mut().insert(context);
        // Its upload has ended only now that the worker exits: nobody may have been there to be held for.
        // SAFETY: the event is the process's own, and touched on this thread alone.
        if unsafe { (*self.drain.get()).timer_set() } != 0 {
            self.hold(token);
        }
        id
    }

    /// Something is to be done at the end of this turn of the event loop, once for all of the turn's requests:
    /// threads are woken for what has been submitted, and what they have sent by then is dealt with. Until
    /// then nobody rings.
    pub(in crate::nginx) fn end_turn_later(&self, _token: EventThread) {
        // SAFETY: the event is the process's own, and touched on this thread alone.
        unsafe {
            let event = self.turn_end.get();
            if (*event).posted() == 0 {
                self.worker.events.stay_awake();
                (*event).handler = Some(entry::turn_end);
                (*event).log = self.log();
                sys::post_event(event);
            }
        }
    }

    /// The turn's end.
    pub(in crate::nginx) fn end_turn(&self, token: EventThread) {
        self.wake(token);
        let events = &self.worker.events;
        for _ in 0..ROUNDS {
            wake::deal(token, self);
            if !events.rest() {
                return;
            }
        }
        // The others want their turn, too.
        events.ring_again();
    }

    /// The application is to be called for a request, at the end of this turn of the event loop.
    pub(in crate::nginx) fn call_later(&self, _token: EventThread, exchange: Arc<Exchange>) {
        self.calls.borrow_mut().push_back(exchange);
        // SAFETY: the event is the process's own, and touched on this thread alone.
        unsafe {
            let event = self.called.get();
            (*event).handler = Some(entry::called);
            (*event).log = self.log();
            sys::post_event(event);
        }
    }

    /// Has a response of the executor `inline` go on in the next turn.
    ///
    /// # Safety
    ///
    /// `context` is one of a request in flight.
    pub(in crate::nginx) unsafe fn go_on_later(&self, context: *mut Context) {
        // SAFETY: the caller's.
        unsafe {
            let event = &raw mut (*context).next_turn;
            if (*event).posted() == 0 {
                self.going_on.set(self.going_on.get() + 1);
            }
            sys::post_next_event(event);
        }
    }

    /// Such a response has its turn, or ends before.
    pub(in crate::nginx) fn goes_on(&self) {
        self.going_on.set(self.going_on.get().saturating_sub(1));
    }

    /// How many others of these there are.
    pub(in crate::nginx) fn others_going_on(&self) -> usize {
        self.going_on.get()
    }

    /// The requests that are to be called in this turn. Those that are too many come in the next.
    pub(in crate::nginx) fn take_calls(&self, _token: EventThread) -> Calls<Arc<Exchange>> {
        let mut calls = self.calls.borrow_mut();
        let count = calls.len().min(CALLS);
        let taken = calls.drain(..count).collect();
        if !calls.is_empty() {
            // SAFETY: the event is the process's own, and touched on this thread alone.
            unsafe { sys::post_next_event(self.called.get()) };
        }
        taken
    }

    /// Wakes threads for the requests that wait, where they are needed.
    pub(in crate::nginx) fn wake(&self, _token: EventThread) {
        if !self.worker.look() {
            return;
        }
        // SAFETY: the event is the process's own, and touched on this thread alone.
        unsafe {
            let event = self.look.get();
            if (*event).timer_set() == 0 {
                (*event).handler = Some(entry::look);
                (*event).log = self.log();
                (*event).data = event.cast();
                ngx_add_timer(event, LOOK);
            }
        }
    }

    /// Brings a response whose request is gone to its end: the application may have something to close.
    pub(in crate::nginx) fn end(&self, suspended: Box<dyn Suspended>) {
        if self.worker.is_stopping() {
            // The event loop waits for Python no more.
            self.worker.tasks.push(Task::Resume(suspended));
        } else {
            // Not at once: nginx may be in the middle of freeing the request.
            self.worker.events.push(Event::Resume(suspended));
        }
    }

    /// Is the process about to end?
    pub(in crate::nginx) fn is_stopping(&self) -> bool {
        self.worker.is_stopping()
    }

    /// The context of a request in flight.
    pub(in crate::nginx) fn find(&self, id: RequestId) -> Option<*mut Context> {
        self.table.borrow().get(id)
    }

    pub(in crate::nginx) fn take_batch(&self) -> Vec<Event<Exchange>> {
        self.batch.take()
    }

    pub(in crate::nginx) fn give_batch_back(&self, batch: Vec<Event<Exchange>>) {
        self.batch.set(batch);
    }

    pub(in crate::nginx) fn log(&self) -> *mut ngx_log_t {
        // SAFETY: there is always a cycle, and it has a log.
        unsafe { (*ngx_cycle).log }
    }

    /// Starts Python's main thread. Where that fails (RLIMIT_NPROC, a cgroup's `pids.max`) requests for
    /// applications are answered 500 at once, and it is tried again.
    pub(in crate::nginx) fn start_python(&self, token: EventThread) {
        let start = || crate::start_python(Arc::clone(&self.worker));
        let started = signals::with_those_of_threads_blocked(start);
        let delay = self.start_delay.get();
        let Err(error) = started else {
            if self.worker.set_missing(false) {
                let text = "pywsgi: Python's main thread has been started now";
                // SAFETY: the cycle's log is there.
                unsafe { log::write(self.log(), log::NOTICE, text) };
            }
            signals::leave_to_python();
            ask_for_short_slices();
            return;
        };
        if !self.worker.set_missing(true) {
            let text = format!(
                "pywsgi: Python's main thread cannot be started: {error}; the applications of this \
                 worker answer 500, and it is tried again every second at first, every {} s later (is \
                 there a limit of processes or threads?)",
                START_AGAIN_AT_MOST / 1000,
            );
            // SAFETY: as above.
            unsafe { log::write(self.log(), log::ALERT, &text) };
        }
        self.start_delay.set((delay * 2).min(START_AGAIN_AT_MOST));
        let _on_this_thread = token;
        // SAFETY: the event is the process's own, and touched on this thread alone. It is cancelable: a worker
        // that exits does not wait for it.
        unsafe {
            let event = self.start.get();
            (*event).handler = Some(entry::start_again);
            (*event).log = self.log();
            (*event).data = event.cast();
            (*event).set_cancelable(1);
            ngx_add_timer(event, delay);
        }
    }

    /// The worker is to exit: its requests have `python_drain_timeout` from now.
    pub(in crate::nginx) fn drain(&self, token: EventThread) {
        // SAFETY: the event is the process's own, and touched on this thread alone. It is cancelable:
        // a worker without requests does not wait for it.
        unsafe {
            let event = self.drain.get();
            (*event).handler = Some(entry::drained);
            (*event).log = self.log();
            (*event).data = event.cast();
            (*event).set_cancelable(1);
            ngx_add_timer(event, self.drain_timeout);
        }
        self.hold(token);
    }

    /// Keeps a worker that exits until what comes after its responses has been done: each request in
    /// flight has a timer for itself, but what it leaves behind has none.
    pub(in crate::nginx) fn hold(&self, _token: EventThread) {
        if self.table.borrow().is_empty() && self.worker.follow_ups() == 0 {
            return;
        }
        // SAFETY: the event is the process's own, and touched on this thread alone.
        unsafe {
            let event = self.hold.get();
            (*event).handler = Some(entry::hold);
            (*event).log = self.log();
            (*event).data = event.cast();
            ngx_add_timer(event, HOLD);
        }
    }

    /// `python_drain_timeout` is over.
    pub(in crate::nginx) fn give_up(&self, token: EventThread) {
        // SAFETY: the event is the process's own; all zeros are an event without a timer.
        unsafe { sys::delete_timer(self.hold.get()) };
        let ids = self.table.borrow().ids();
        // Ending one request may end others: its subrequests.
        for id in ids {
            if let Some(context) = self.find(id) {
                // SAFETY: the table holds contexts of requests in flight alone.
                unsafe {
                    finalize::from_outside(token, context, |context| {
                        finalize::give_up(token, context);
                    });
                }
            }
        }
    }
}

/// Starts Python in a worker.
///
/// # Safety
///
/// nginx's `init_process`, with that worker's cycle.
pub(in crate::nginx) unsafe fn start(token: EventThread, cycle: *mut ngx_cycle_t) {
    // SAFETY: the caller's. Not in the cache manager and loader, nor in the master.
    unsafe {
        if ngx_process != NGX_PROCESS_WORKER as usize && ngx_process != NGX_PROCESS_SINGLE as usize
        {
            return;
        }
        let Some(main) = conf::main_conf_of_cycle(cycle).filter(|main| main.has_apps()) else {
            return;
        };
        panics::watch();
        // nginx's handler calls waitpid(-1) in workers too, and would take the exit codes of
        // subprocess (ngx_process_get_status).
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        children::keep_sockets_from(cycle);
        children::give_output();
        set_environment(main);
        match make(cycle, main) {
            Ok(process) => process.start_python(token),
            // Not an error of init_process: a worker that exits with 2 is never started again, and
            // static files can still be served.
            Err(error) => log::write(
                (*cycle).log,
                log::ALERT,
                &format!("pywsgi: Python cannot be started: {error}"),
            ),
        }
    }
}

/// nginx has cleared the environment of its workers but for TZ and what `env` names.
unsafe fn set_environment(main: &MainConf) {
    for (name, value) in main.environment() {
        // SAFETY: nothing else reads or writes the environment now. Python has no thread yet, and those that nginx may
        // have (`aio threads`) do system calls alone.
        unsafe { std::env::set_var(name, value) };
    }
}

/// A descriptor's number that nginx does not come to: it takes the lowest ones that are free, at most two for each of
/// its connections, and some files.
unsafe fn beyond_nginxs(cycle: *mut ngx_cycle_t) -> RawFd {
    const FILES: usize = 1024;
    // SAFETY: the caller's; the structure is this function's own.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        let room = usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX);
        let number = (2 * (*cycle).connection_n + FILES).min(room.saturating_sub(2));
        RawFd::try_from(number).unwrap_or_default()
    }
}

unsafe fn make(cycle: *mut ngx_cycle_t, main: &MainConf) -> std::io::Result<&'static Process> {
    // SAFETY: the caller's; an event is plain data, for which all zeros are good.
    unsafe {
        let (config, marks) = (main.worker_config(), main.marks(ngx_worker));
        let worker = Arc::new(Worker::new(config, marks, beyond_nginxs(cycle))?);
        let connection = wake::listen(cycle, worker.events.fd())
            .ok_or_else(|| std::io::Error::other("nginx has no connection for its eventfd"))?;
        let shutdown_timeout = conf::nginx_core_conf(cycle).shutdown_timeout;
        let nginxs = (shutdown_timeout > 0 && shutdown_timeout != ngx_msec_t::MAX)
            .then_some(shutdown_timeout);
        let process = Box::leak(Box::new(Process {
            worker: Arc::clone(&worker),
            configuration: main.configuration,
            table: RefCell::new(Table::new()),
            batch: Cell::default(),
            output: Cell::default(),
            connection: Cell::new(connection),
            turn_end: UnsafeCell::new(std::mem::zeroed()),
            calls: RefCell::default(),
            called: UnsafeCell::new(std::mem::zeroed()),
            going_on: Cell::new(0),
            look: UnsafeCell::new(std::mem::zeroed()),
            drain: UnsafeCell::new(std::mem::zeroed()),
            drain_timeout: main.drain_timeout.or(nginxs).unwrap_or(DRAIN_TIMEOUT),
            hold: UnsafeCell::new(std::mem::zeroed()),
            start: UnsafeCell::new(std::mem::zeroed()),
            start_delay: Cell::new(START_AGAIN),
        }));
        *PROCESS.0.get() = Some(process);
        Ok(process)
    }
}

/// The event loop needs a processor for short whiles and at once, Python's threads for long ones: where they
/// share one, Linux (from 6.12 on, sched(7)) has the thread with the shorter slice go first. Asked for after
/// Python's threads have been started, for they inherit it; older kernels know no slices, and do nothing.
fn ask_for_short_slices() {
    // SAFETY: plain system calls; the structure is this function's own, and says how long it is.
    unsafe {
        let mut attributes: libc::sched_attr = std::mem::zeroed();
        let size = size_of::<libc::sched_attr>() as u32;
        if libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) != 0
            || attributes.sched_policy != libc::SCHED_OTHER as u32
        {
            // It has been given another policy, which is not to be touched.
            return;
        }
        attributes.sched_runtime = SLICE_NS;
        // A kernel that refuses leaves everything as it is.
        let _refused = libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
    }
}

/// Ends Python in a worker, within its time.
///
/// # Safety
///
/// nginx's `exit_process`.
pub(in crate::nginx) unsafe fn stop(token: EventThread) {
    let Some(process) = current(token) else { return };
    process.worker.set_stopping();
    // nginx no longer serves these; the threads notice.
    let contexts = process.table.borrow().values();
    for context in contexts {
        // SAFETY: contexts in the table are of requests that nginx has not freed.
        unsafe { finalize::detach(token, context, InputError::Answered) };
    }
    // What has been put off goes to the attendant, before it is told to end.
    wake::deal(token, process);
    let worker = &process.worker;
    let undone = worker.follow_ups();
    if undone > 0 {
        let who = match undone {
            1 => "1 request has asked for after its response".to_owned(),
            _ => format!("{undone} requests have asked for after their responses"),
        };
        let text =
            format!("pywsgi: the worker exits before what {who} (after_response) has been done");
        // SAFETY: the cycle's log is there until the process ends.
        unsafe { log::write(process.log(), log::WARN, &text) };
    }
    worker.stop();
    if worker.is_missing() {
        // There is no thread that could say so.
        worker.set_stopped(Stopped::ThreadsLeft);
    }
    let limit = worker.config.python.finalize_timeout;
    let stopped = wait(token, process, limit);
    if stopped.is_none() {
        let text = format!(
            "pywsgi: Python did not end within {} ms (python_finalize timeout); the worker exits \
             without it",
            limit.as_millis(),
        );
        // SAFETY: the cycle's log is there until the process ends.
        unsafe { log::write(process.log(), log::WARN, &text) };
    }
    if stopped != Some(Stopped::Finalized) {
        leave_python();
    }
    // SAFETY: the connection is this module's own, and so is its descriptor, which is closed with it.
    unsafe {
        let connection = process.connection.replace(std::ptr::null_mut());
        if !connection.is_null() {
            ngx_close_connection(connection);
        }
    }
}

/// Waits for Python's end; its last words go to the log meanwhile.
fn wait(token: EventThread, process: &Process, limit: Duration) -> Option<Stopped> {
    const SLICE: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let stopped = process.worker.wait_stopped(left.min(SLICE));
        wake::deal(token, process);
        if stopped.is_some() || left.is_zero() {
            process.worker.events.close();
            return stopped;
        }
    }
}

/// Python's threads are still there as the process exits.
pub(in crate::nginx) fn leave_python() {
    // SAFETY: a plain registration; nginx's exit() runs it before the destructors of libraries that
    // Python's threads still use.
    unsafe { libc::atexit(exit_now) };
}

extern "C" fn exit_now() {
    // SAFETY: ends the process with what nginx has asked for: its workers exit with 0.
    unsafe { libc::_exit(0) };
}
