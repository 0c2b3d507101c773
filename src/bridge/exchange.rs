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

use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::callbacks::{Callback, Callbacks, Due, Gone};
use super::carried::Carried;
use super::client_wait::ClientWait;
use super::config::{ClientAbort, ExecutorId, LocationConfig, PoolConfig};
use super::events::Event;
use super::executor::{Executor, asyncio, pool};
use super::id::RequestId;
use super::pipe::input::{Input, InputError, Read};
use super::pipe::messages::Socket;
use super::pipe::output::hints::TooManyHints;
use super::pipe::output::parts::{End, FilePart};
use super::pipe::output::{Closed, Output, Overflow, Polled, Rest};
use super::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use super::tasks::Task;
use super::worker;
use crate::http::header::Field;
use crate::http::request_head::RequestHead;
use crate::http::response_head::ResponseHead;
use crate::http::websocket::close::Close;

/// A worker, as all but its own parts know it.
pub(crate) type Worker = worker::Worker<Exchange>;

/// A pool, likewise.
pub(crate) type Pool = pool::Pool<Arc<Exchange>>;

/// A loop, likewise.
pub(crate) type Loop = asyncio::Loop<Arc<Exchange>>;

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const EXPIRED: u8 = 2;
const DONE: u8 = 3;

const FOR_BODY: u8 = 1;
const FOR_ROOM: u8 = 2;

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
    phase: AtomicU8,
    /// Milliseconds of the worker's clock at which the thread started.
    started: AtomicU64,
    /// Python's ident of the thread.
    thread: AtomicU64,
    client_wait: ClientWait,
    /// For what of its client an application waits that must not wait in the pipes: [`FOR_BODY`], [`FOR_ROOM`].
    waits_for: AtomicU8,
    /// Which of its loop's calls it is; [`NO_CALL`] if none.
    call: AtomicUsize,
    callbacks: Callbacks,
    /// It is beyond its `wsgi_timeout`, and its executor counts it.
    overdue: AtomicBool,
    /// The thread has entered the application, and may be interrupted.
    entered: AtomicBool,
    cancelled: AtomicBool,
    /// It has waited for an import of its application.
    waited: AtomicBool,
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
            phase: AtomicU8::new(WAITING),
            started: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            client_wait: ClientWait::default(),
            waits_for: AtomicU8::new(0),
            call: AtomicUsize::new(NO_CALL),
            callbacks: Callbacks::default(),
            overdue: AtomicBool::new(false),
            entered: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            waited: AtomicBool::new(false),
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
        self.started.store(self.worker.now(), Ordering::Relaxed);
        self.phase.compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Loop's thread: the application's `…_timeout` begins again.
    pub(crate) fn touch(&self) {
        if self.location.timeout.is_some() && self.started() != NO_DEADLINE {
            // What it has waited for its client so far is taken off once more by `progress`.
            let now = self.worker.now();
            let started = now.saturating_sub(self.client_wait.until(now));
            self.started.store(started, Ordering::Relaxed);
        }
    }

    /// Loop's thread: the application has no deadline any more: its response is complete, or is a WebSocket.
    pub(crate) fn lift_deadline(&self) {
        self.started.store(NO_DEADLINE, Ordering::Relaxed);
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

    /// Milliseconds of the worker's clock at which the thread started.
    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Thread: has left the application. Gives back what it has to call now. If something of
    /// that comes after the response, [`followed_up`](Self::followed_up) must follow.
    #[must_use]
    pub(crate) fn done(&self) -> Due {
        self.phase.store(DONE, Ordering::SeqCst);
        self.end_overdue();
        let mut due = self.callbacks.set_left();
        if self.ignores_client() {
            due.on_gone.clear();
        }
        due
    }

    /// Has the thread left the application?
    pub(crate) fn is_done(&self) -> bool {
        self.phase.load(Ordering::SeqCst) == DONE
    }

    /// How many callbacks of [`on_gone`](Self::on_gone) and of [`after`](Self::after) wait.
    pub(crate) fn callbacks_waiting(&self) -> (usize, usize) {
        self.callbacks.waiting()
    }

    /// Thread: to be called if the client leaves while the application runs. Comes back if it has left already.
    pub(crate) fn on_gone(&self, callback: Callback) -> Option<Callback> {
        self.callbacks.on_gone(callback)
    }

    /// Thread: to be called when the response is over. Comes back if it is over already.
    pub(crate) fn after(&self, callback: Callback) -> Option<Callback> {
        // Counted first: another thread may take it and be done with it at once.
        self.worker.begin_follow_up();
        let added = self.callbacks.after(callback);
        if !matches!(added, Ok(true)) {
            self.worker.end_follow_up();
        }
        added.err()
    }

    /// A Python thread: what has to be called now that the client is gone; nothing if the application ignores that
    /// (`wsgi_client_abort ignore`).
    pub(crate) fn take_on_gone(&self) -> Vec<Callback> {
        if self.ignores_client() {
            return Vec::new();
        }
        self.callbacks.take_on_gone()
    }

    /// A Python thread: does any callback wait for the client to be gone?
    pub(crate) fn awaits_gone(&self) -> bool {
        !self.ignores_client() && self.callbacks.awaits_gone()
    }

    /// Has the client left, and does the application ignore that?
    fn ignores_client(&self) -> bool {
        self.location.client_abort == ClientAbort::Ignore && self.gone() == Some(Gone::Client)
    }

    /// A thread of the pool: what has to be called after the response.
    pub(crate) fn take_after(&self) -> Vec<Callback> {
        self.callbacks.take_after()
    }

    /// Thread: all that comes after the response has been done.
    pub(crate) fn followed_up(&self) {
        self.worker.end_follow_up();
    }

    /// Why nobody waits for the response any more, if that is so.
    pub(crate) fn gone(&self) -> Option<Gone> {
        self.callbacks.gone()
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

    /// Python, attached: the thread has been interrupted (`wsgi_client_abort cancel`).
    pub(crate) fn set_cancelled(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Event loop: nobody waits for the response any more.
    pub(crate) fn set_gone(self: &Arc<Self>, why: Gone) {
        let Some(told) = self.callbacks.set_gone(why) else { return };
        if self.is_inline() {
            // The application does not run while the event loop hears of its client: it is told when it is
            // resumed.
            return;
        }
        if matches!(self.progress(), Progress::Running(_)) {
            self.resume();
            let cancelled =
                why == Gone::Client && self.location.client_abort == ClientAbort::Cancel;
            let interrupted =
                cancelled && self.executor().is_some_and(|executor| executor.interrupts());
            if told || interrupted {
                self.worker.tasks.push(Task::Gone(Arc::clone(self)));
            }
        }
        // The deadline is the application's, whether anybody waits or not.
        if why == Gone::Client {
            self.watch();
        }
    }

    /// Makes the attendant look at the application when its `wsgi_timeout` is over: nginx's timer is deleted with
    /// the request.
    pub(crate) fn watch(self: &Arc<Self>) {
        if let Some(left) = self.time_left() {
            self.worker.tasks.watch(self, left);
        }
    }

    /// Event loop: something has changed for the application, which its executor has to look at
    /// ([`Executor::resume`]).
    pub(crate) fn resume(self: &Arc<Self>) {
        if let Some(executor) = self.executor() {
            executor.resume(Arc::clone(self), !self.worker.is_in_turn());
        }
    }

    /// Is the application beyond its `…_timeout`, whether its client is still there or not?
    pub(crate) fn is_overdue(&self) -> bool {
        self.gone() == Some(Gone::TimedOut) || self.overdue.load(Ordering::SeqCst)
    }

    /// The application is beyond its `…_timeout`. Its pool, if all threads of that are in such requests by now,
    /// which has to be said.
    pub(crate) fn set_overdue(self: &Arc<Self>) -> Option<&PoolConfig> {
        let executor = self.executor()?;
        if self.overdue.swap(true, Ordering::SeqCst) {
            return None;
        }
        executor.resume(Arc::clone(self), true);
        let exhausted = executor.begin_overdue();
        if self.is_done() {
            // It may have ended before it was counted.
            self.end_overdue();
            return None;
        }
        exhausted
    }

    fn end_overdue(&self) {
        if self.overdue.load(Ordering::SeqCst) && self.overdue.swap(false, Ordering::SeqCst) {
            if let Some(executor) = self.executor() {
                executor.end_overdue();
            }
        }
    }

    /// Who runs the application.
    pub(crate) fn executor(&self) -> Option<&dyn Executor<Arc<Self>>> {
        self.worker.executor(self.location.executor)
    }

    /// Event loop: nginx has freed the request.
    pub(crate) fn over(self: &Arc<Self>) {
        if self.callbacks.set_over() {
            self.worker.submit_again(Arc::clone(self));
        }
    }

    /// Event loop: takes the request back from the queue; false if a thread has it.
    pub(crate) fn expire(&self) -> bool {
        self.phase.compare_exchange(WAITING, EXPIRED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn progress(&self) -> Progress {
        match self.phase.load(Ordering::Acquire) {
            RUNNING => {
                let now = self.worker.now();
                let elapsed = now.saturating_sub(self.started.load(Ordering::Relaxed));
                Progress::Running(elapsed.saturating_sub(self.client_wait.until(now)))
            }
            WAITING => Progress::Waiting,
            _ => Progress::Done,
        }
    }

    /// How much of `wsgi_timeout` is left to the running application, if there is a limit.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let timeout = self.location.timeout?;
        if self.started() == NO_DEADLINE {
            return None;
        }
        match self.progress() {
            Progress::Running(elapsed) => {
                Some(timeout.saturating_sub(Duration::from_millis(elapsed)))
            }
            Progress::Waiting | Progress::Done => None,
        }
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
    }

    /// Event loop: nothing more comes from the client of a WebSocket, for this reason.
    pub(crate) fn end_socket(self: &Arc<Self>, close: Close) {
        if self.socket.as_ref().is_some_and(|socket| socket.end(close)) {
            self.resume();
        }
    }

    /// Loop's thread: tells the event loop to look at the WebSocket.
    pub(crate) fn announce_socket(&self) {
        self.worker.events.push(Event::Socket(self.id));
    }

    /// Event loop: adds a part of the request's body ([`Input::push`]).
    pub(crate) fn push_input(self: &Arc<Self>, bytes: Bytes) -> bool {
        self.input.push(bytes, || self.resume())
    }

    /// Event loop: the client has sent no more of the body for now.
    pub(crate) fn notify_input(self: &Arc<Self>) {
        self.input.notify(|| self.resume());
    }

    /// Event loop: the body is complete.
    pub(crate) fn end_input(self: &Arc<Self>) {
        self.input.end(|| self.resume());
    }

    /// Event loop: the rest of the body will not come.
    pub(crate) fn fail_input(self: &Arc<Self>, why: InputError) {
        self.input.fail(why, || self.resume());
    }

    /// Event loop: the client takes nothing now ([`Output::hold_back`]).
    pub(crate) fn hold_back(self: &Arc<Self>, least: u64) -> bool {
        self.output.hold_back(least, || self.resume())
    }

    /// Event loop: nginx has sent so much ([`Output::drained`]).
    pub(crate) fn drained(self: &Arc<Self>, memory: usize, file: u64, stalled: bool) -> bool {
        self.output.drained(memory, file, stalled, || self.resume())
    }

    /// Event loop: has closed so many temporary files.
    pub(crate) fn files_closed(self: &Arc<Self>, count: usize) {
        self.output.files_closed(count, || self.resume());
    }

    /// Sends a part of the response, as the application's executor allows: a thread waits until all of it has room, a
    /// loop and the event loop do not wait, and get back what has none. `detached` runs what may wait, or takes long,
    /// detached from Python.
    pub(crate) fn push(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        match self.location.executor {
            ExecutorId::Pool(_) => {
                let failure = self.push_waiting(head, block, end, detached)?;
                Ok(Polled { rest: None, failure })
            }
            ExecutorId::Inline => {
                let rest = self.try_push(head, block, end)?;
                Ok(Polled { rest, failure: None })
            }
            ExecutorId::Loop(_) => self.poll_push(head, block, end, detached),
        }
    }

    /// Sends what came back, as far as there is room by now.
    pub(crate) fn push_rest(
        &self,
        rest: Rest,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        match self.location.executor {
            ExecutorId::Loop(_) => self.poll_push_rest(rest, detached),
            ExecutorId::Pool(_) | ExecutorId::Inline => {
                Ok(Polled { rest: self.output.try_push_rest(rest)?, failure: None })
            }
        }
    }

    /// Thread: sends a part of the response, and waits until all of it has room. `detached` runs what may wait,
    /// detached from Python. If the temporary file cannot be written the error
    /// is for the log alone: the response continues without one.
    fn push_waiting(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Option<io::Error>, Closed> {
        let announce = || self.announce();
        let Some(rest) = self.output.try_push(head, block, end, announce)? else {
            return Ok(None);
        };
        let Some(rest) = self.output.try_gather(rest, announce)? else {
            return Ok(None);
        };
        let mut rest = Some(rest);
        let mut result = Ok(None);
        detached(&mut || {
            if let Some(rest) = rest.take() {
                result = self.waiting(|| self.output.push_waiting(rest, announce));
            }
        });
        result
    }

    /// Loop's thread: sends a part of the response, without waiting for the client. What has no room comes back, for
    /// [`poll_push_rest`](Self::poll_push_rest); the loop is told when that has to be called
    /// ([`Executor::resume`]). Until then the application's deadline stands still. `detached` writes the temporary file.
    fn poll_push(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        let announce = || self.announce();
        let Some(rest) = self.output.try_push(head, block, end, announce)? else {
            return Ok(Polled { rest: None, failure: None });
        };
        match self.output.try_gather(rest, announce)? {
            Some(rest) => self.poll_push_rest(rest, detached),
            None => Ok(Polled { rest: None, failure: None }),
        }
    }

    /// Loop's thread: sends what came back, as far as there is room by now.
    fn poll_push_rest(
        &self,
        rest: Rest,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Polled, Closed> {
        let polled = self.output.poll_push(rest, || self.announce(), detached);
        self.set_waiting(FOR_ROOM, matches!(polled, Ok(Polled { rest: Some(_), .. })));
        polled
    }

    /// Loop's thread: nobody waits for room any more.
    pub(crate) fn stop_pushing(&self) {
        self.set_waiting(FOR_ROOM, false);
    }

    /// Loop's thread: up to `max` bytes of the request's body. After [`Read::Wait`] the loop is told when this has to be
    /// called again; until then the application's deadline stands still. A buffered body is read from its file by
    /// `detached`.
    pub(crate) fn poll_read(
        &self,
        max: usize,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Read, InputError> {
        if self.input.length().is_some() {
            return self.read_waiting(max, detached);
        }
        let ask = || self.worker.events.push(Event::ReadBody(self.id));
        let read = self.input.poll_read(max, ask);
        self.set_waiting(FOR_BODY, matches!(read, Ok(Read::Wait)));
        read
    }

    /// Loop's thread: nobody waits for the body any more.
    pub(crate) fn stop_reading(&self) {
        self.set_waiting(FOR_BODY, false);
    }

    /// Loop's thread: is the response no longer taken, because it is complete, answered by nginx, or without a client?
    /// If not, the loop is told when it is.
    pub(crate) fn poll_closed(&self) -> bool {
        self.output.poll_closed()
    }

    /// The application waits for that of its client, or does so no more: its deadline stands still meanwhile. For
    /// what does not wait in the pipes.
    fn set_waiting(&self, what: u8, waits: bool) {
        // One thread alone sets this.
        let before = self.waits_for.load(Ordering::Relaxed);
        if (before & what != 0) == waits {
            return;
        }
        self.waits_for.store(before ^ what, Ordering::Relaxed);
        if waits {
            self.client_wait.begin(self.worker.now());
        } else {
            self.client_wait.end(self.worker.now());
        }
    }

    /// Thread: sends a 103 (Early Hints).
    pub(crate) fn push_hints(&self, fields: Vec<Field>) -> Result<(), TooManyHints> {
        self.output.push_hints(fields, || self.announce())
    }

    /// Thread: sends a part of a file. Never waits.
    pub(crate) fn push_file(
        &self,
        head: Option<ResponseHead>,
        part: FilePart,
        end: Option<End>,
    ) -> Result<(), Closed> {
        self.output.push_file(head, part, end, || self.announce())
    }

    /// Thread: the response has ended. Never waits.
    pub(crate) fn end(&self, head: Option<ResponseHead>, end: End) -> Result<(), Closed> {
        self.output.try_push(head, Bytes::new(), Some(end), || self.announce()).map(drop)
    }

    /// Does the event loop run the application itself?
    pub(crate) fn is_inline(&self) -> bool {
        self.location.executor.is_inline()
    }

    /// The event loop, inline: sends what there is room for; the rest comes back, for
    /// [`push_rest`](Self::push_rest) or [`push_spilling`](Self::push_spilling).
    fn try_push(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
    ) -> Result<Option<Rest>, Closed> {
        match self.output.try_push(head, block, end, || ())? {
            Some(rest) => self.output.try_push_rest(rest),
            None => Ok(None),
        }
    }

    /// The event loop, inline: puts what has no room in memory into the temporary file.
    pub(crate) fn push_spilling(&self, rest: Rest) -> Result<(), Overflow> {
        self.output.push_spilling(rest)
    }

    /// The event loop, inline: the application's iteration is suspended until the client has taken more, or is
    /// resumed.
    pub(crate) fn set_suspended(&self, suspended: bool) {
        self.set_waiting(FOR_ROOM, suspended);
    }

    /// Tells the event loop that there is something to take. If it runs the application itself it looks afterwards
    /// anyway.
    fn announce(&self) {
        if !self.is_inline() || self.phase.load(Ordering::Relaxed) != RUNNING {
            self.worker.events.push(Event::Output(self.id));
        }
    }

    /// Thread: up to `max` bytes of the request's body. `detached` runs what may wait, detached from Python.
    pub(crate) fn read_waiting(
        &self,
        max: usize,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Read, InputError> {
        let ask = || self.worker.events.push(Event::ReadBody(self.id));
        match self.input.try_read(max, ask)? {
            Read::Wait => {}
            read => return Ok(read),
        }
        let mut result = Ok(Read::End);
        detached(&mut || {
            result = self.waiting(|| self.input.read_waiting(max, ask, &self.worker.buffers))
        });
        result
    }

    /// Thread: the same, but [`Read::Wait`] instead of waiting for the client. A buffered body is read from its file
    /// by `detached`.
    pub(crate) fn try_read(
        &self,
        max: usize,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Read, InputError> {
        if self.input.length().is_some() {
            return self.read_waiting(max, detached);
        }
        self.input.try_read(max, || self.worker.events.push(Event::ReadBody(self.id)))
    }

    /// Runs `wait`; the application's deadline does not count the time.
    fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.client_wait.begin(self.worker.now());
        let result = wait();
        self.client_wait.end(self.worker.now());
        result
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
