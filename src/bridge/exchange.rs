//! One request and its response, as both sides share it.
//!
//! `phase` says whose turn it is:
//!
//! - `WAITING`: in a queue. A thread's [`start`](Exchange::start) and the event loop's
//!   [`expire`](Exchange::expire) both try to leave it; one of them succeeds.
//! - `RUNNING`: a thread runs the application. The event loop may close both pipes at any moment; the
//!   thread notices at its next read or push.
//! - `EXPIRED`: no thread will ever run it.
//! - `DONE`: the thread has left the application. What comes after the response
//!   ([`Callbacks`]) is run once nginx has freed the request as well.
//! - `WRITTEN_OFF`: the thread is stuck in the application, and its pool has another one instead
//!   ([`write_off`](Exchange::write_off)). If it ever leaves the application, that is `DONE`, and the thread ends.

mod deadline;
mod elsewhere;
mod gone;
mod input;
mod output;

use std::sync::OnceLock;

use super::callbacks::{Callbacks, Due, Gone};
use super::carriage::Carriage;
use super::carried::{Carried, Course};
use super::client_wait::ClientWait;
use super::config::{ClientAbort, LocationConfig};
use super::events::Event;
use super::executor::{Change, Executor, asyncio, pool, process};
use super::id::RequestId;
use super::pipe::input::{Input, InputError};
use super::pipe::messages::Socket;
use super::pipe::output::Output;
use super::reports::Report;
use super::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use super::timings::Timings;
use super::worker;
use crate::http::request_head::RequestHead;
use crate::http::websocket::close::Close;
use crate::metrics::meters::{AppMeter, Count};

/// A worker, as all but its own parts know it.
pub(crate) type Worker = worker::Worker<Exchange>;

/// A pool, likewise.
pub(crate) type Pool = pool::Pool<Arc<Exchange>>;

/// The processes of a group, likewise.
pub(crate) type Processes = process::Processes<Arc<Exchange>>;

/// A loop, likewise.
pub(crate) type Loop = asyncio::Loop<Arc<Exchange>>;

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const EXPIRED: u8 = 2;
const DONE: u8 = 3;
const WRITTEN_OFF: u8 = 4;

const NO_CALL: usize = usize::MAX;

/// A start that is always ahead.
const NO_DEADLINE: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: RequestId,
    pub(crate) head: RequestHead,
    pub(crate) location: Arc<LocationConfig>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// If the request asks for a WebSocket.
    pub(crate) socket: Option<Box<Socket>>,
    pub(crate) timings: Timings,
    pub(crate) report: Report,
    phase: AtomicU8,
    /// Milliseconds of the worker's clock at which the thread started.
    started: AtomicU64,
    /// Python's ident of the thread.
    thread: AtomicU64,
    client_wait: ClientWait,
    /// For what of its client an application waits that must not wait in the pipes: [`FOR_BODY`](deadline::FOR_BODY), [`FOR_ROOM`](deadline::FOR_ROOM).
    waits_for: AtomicU8,
    /// Which of its loop's calls it is; [`NO_CALL`] if none.
    call: AtomicUsize,
    callbacks: Callbacks,
    /// It is beyond its `wsgi_timeout`, and its executor counts it.
    overdue: AtomicBool,
    /// That it is slow (`…_slow_request`) has been said.
    slow: AtomicBool,
    /// The thread has entered the application, and may be interrupted.
    entered: AtomicBool,
    /// It has been: [`set_interrupted`](Exchange::set_interrupted).
    interrupted: AtomicBool,
    /// Its thread was written off before it left the application.
    written_off: AtomicBool,
    /// The name of the type of what the application has raised.
    exception: OnceLock<Box<str>>,
    /// It has waited for an import of its application.
    waited: AtomicBool,
    carriage: Carriage,
}

/// What a request is doing, for the event loop's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Waiting,
    /// Milliseconds since the start, without those for which the thread waited for the client.
    Running(u64),
    Done,
}

impl Exchange {
    /// With an empty head, which the caller fills in place, for it alone has the exchange yet.
    pub(crate) fn new(
        id: RequestId,
        location: Arc<LocationConfig>,
        worker: Arc<Worker>,
        input: Input,
    ) -> Arc<Self> {
        let output = Output::new(location.buffering.clone(), Arc::clone(&worker.loans));
        // `Arc::new` would make a kilobyte elsewhere and copy it twice.
        Arc::new_cyclic(|_| Self {
            id,
            head: RequestHead::default(),
            location,
            worker,
            input,
            output,
            socket: None,
            timings: Timings::begin(),
            report: Report::new(),
            phase: AtomicU8::new(WAITING),
            started: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            client_wait: ClientWait::default(),
            waits_for: AtomicU8::new(0),
            call: AtomicUsize::new(NO_CALL),
            callbacks: Callbacks::default(),
            overdue: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            entered: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            written_off: AtomicBool::new(false),
            exception: OnceLock::new(),
            waited: AtomicBool::new(false),
            carriage: Carriage::default(),
        })
    }

    /// The `…_param`s: first those of the location, then those of the request, which override them.
    pub(crate) fn params(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let constant = self.location.params.iter().map(|(name, value)| (&**name, &**value));
        constant.chain(self.head.params())
    }

    /// Has the request waited for an import? It does so once: another attempt is a later request's.
    pub(crate) fn has_waited(&self) -> bool {
        self.waited.load(Ordering::Relaxed)
    }

    /// Thread: takes the request on; false if it has expired.
    pub(crate) fn start(&self, thread: u64) -> bool {
        self.thread.store(thread, Ordering::Relaxed);
        self.timings.take();
        self.started.store(self.worker.now(), Ordering::Relaxed);
        let starts = self
            .phase
            .compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if starts {
            self.carriage.begin();
        }
        starts
    }

    /// Loop's thread: the number by which its loop finds the task.
    pub(crate) fn set_call(&self, call: usize) {
        self.call.store(call, Ordering::Relaxed);
    }

    /// Loop's thread: that number, from when it was set until it is taken.
    pub(crate) fn call(&self) -> Option<usize> {
        Some(self.call.load(Ordering::Relaxed)).filter(|&call| call != NO_CALL)
    }

    /// Loop's thread: the task has ended; its number may be another's from now on.
    pub(crate) fn take_call(&self) -> Option<usize> {
        Some(self.call.swap(NO_CALL, Ordering::Relaxed)).filter(|&call| call != NO_CALL)
    }

    /// Thread: has left the application. Gives back what it has to call now. If something of
    /// that comes after the response, [`followed_up`](Self::followed_up) must follow.
    #[must_use]
    pub(crate) fn done(&self) -> Due {
        self.timings.leave();
        if self.phase.swap(DONE, Ordering::SeqCst) == WRITTEN_OFF {
            self.written_off.store(true, Ordering::Relaxed);
        }
        self.end_overdue();
        let mut due = self.callbacks.set_left();
        if self.ignores_client() {
            due.on_gone.clear();
        }
        self.report_left();
        due
    }

    /// Has the thread left the application?
    pub(crate) fn is_done(&self) -> bool {
        self.phase.load(Ordering::SeqCst) == DONE
    }

    /// Attendant: the thread is stuck in the application. Its pool no longer counts it, unless it has left by now:
    /// then this is false.
    pub(crate) fn write_off(&self) -> bool {
        let written_off = self
            .phase
            .compare_exchange(RUNNING, WRITTEN_OFF, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        if written_off {
            self.report_left();
        }
        written_off
    }

    /// Thread, after [`done`](Self::done): has it been written off? Then it must end.
    pub(crate) fn is_written_off(&self) -> bool {
        self.written_off.load(Ordering::Relaxed)
    }

    /// Thread, attached: enters the application, which may be interrupted from here on. What came before,
    /// such as an import, may serve other requests as well. False if it would have been interrupted already.
    pub(crate) fn enter_application(&self) -> bool {
        self.entered.store(true, Ordering::Relaxed);
        !(self.location.client_abort == ClientAbort::Cancel && self.gone() == Some(Gone::Client))
    }

    /// Python, attached: has the thread entered the application?
    pub(crate) fn has_entered(&self) -> bool {
        self.entered.load(Ordering::Relaxed)
    }

    /// Python, attached: the thread has been interrupted (`wsgi_client_abort cancel`, `wsgi_interrupt_timeout`).
    pub(crate) fn set_interrupted(&self) {
        if !self.interrupted.swap(true, Ordering::Relaxed) {
            self.meter().count(Count::Interrupted);
        }
    }

    /// Python: the application has raised something of a type of that name.
    pub(crate) fn set_exception(&self, name: String) {
        if self.exception.set(name.into_boxed_str()).is_ok() {
            self.meter().count(Count::Exceptions);
        }
    }

    /// The name of that type, if it has.
    pub(crate) fn exception(&self) -> Option<&str> {
        self.exception.get().map(|name| &**name)
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Event loop: something has changed for the application, which its executor has to look at
    /// ([`Executor::resume`]).
    pub(crate) fn resume(self: &Arc<Self>) {
        if self.is_relayed() {
            self.tell(Change::Input);
        } else if let Some(executor) = self.executor() {
            executor.resume(Arc::clone(self), !self.worker.is_in_turn());
        }
    }

    /// Event loop: has dropped blocks of the response that Python's objects may own ([`Worker::collect`](worker::Worker::collect)).
    /// What has come from another process belongs to none.
    pub(crate) fn collect(&self) {
        if !self.location.executor.is_elsewhere() {
            self.worker.collect();
        }
    }

    /// What is counted of its application.
    pub(crate) fn meter(&self) -> AppMeter {
        self.worker.meters.app(self.location.app)
    }

    /// Who runs the application.
    pub(crate) fn executor(&self) -> Option<&dyn Executor<Arc<Self>>> {
        self.worker.executor(self.location.executor)
    }

    /// Python's ident of the thread that runs the request or has run it; `None` if none has, or it has not said it.
    pub(crate) fn last_thread(&self) -> Option<u64> {
        Some(self.thread.load(Ordering::Relaxed)).filter(|thread| *thread != 0)
    }

    /// Event loop: takes the request back from the queue; false if a thread has it.
    pub(crate) fn expire(&self) -> bool {
        self.phase.compare_exchange(WAITING, EXPIRED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Will no thread ever run it?
    pub(crate) fn has_expired(&self) -> bool {
        self.phase.load(Ordering::Acquire) == EXPIRED
    }

    /// Python's ident of the thread that runs the request now.
    pub(crate) fn thread(&self) -> Option<u64> {
        matches!(self.progress(), Progress::Running(_)).then(|| self.thread.load(Ordering::Relaxed))
    }

    /// Event loop: nothing more goes to this request's client, nothing more comes from it.
    pub(crate) fn close(self: &Arc<Self>, why: InputError) {
        if self.expire() {
            self.worker.forget(self);
        }
        self.fail_input(why);
        self.end_socket(Close::abnormal());
        if self.output.close(|| self.resume()) {
            self.worker.collect();
        }
        if self.is_relayed() {
            self.tell(Change::Closed);
        }
    }

    /// Event loop: nothing more comes from the client of a WebSocket, for this reason.
    pub(crate) fn end_socket(self: &Arc<Self>, close: Close) {
        if self.socket.as_ref().is_some_and(|socket| socket.end(close)) {
            self.resume();
        }
    }

    /// Event loop: the worker exits ([`Socket::drain`]).
    pub(crate) fn drain_socket(self: &Arc<Self>) -> bool {
        let is_idle = self.socket.as_ref().is_some_and(|socket| socket.drain());
        if self.is_relayed() {
            self.tell(Change::Drain);
        }
        is_idle
    }

    /// Loop's thread: tells the event loop to look at the WebSocket.
    pub(crate) fn announce_socket(&self) {
        self.worker.events.push(Event::Socket(self.id));
    }

    /// Does the event loop run the application itself?
    pub(crate) fn is_inline(&self) -> bool {
        self.location.executor.is_inline()
    }
}

impl PartialEq for Exchange {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Carried for Exchange {
    fn location(&self) -> &LocationConfig {
        &self.location
    }

    fn set_waited(&self) {
        self.waited.store(true, Ordering::Relaxed);
    }

    fn is_done(&self) -> bool {
        self.is_done()
    }

    fn course(&self) -> Course {
        self.course()
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod task_tests;
