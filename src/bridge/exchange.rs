//! One request and its response, as both sides share it.
//!
//! `phase` says whose turn it is:
//!
//! - `WAITING`: in a queue. A thread's [`start`](Exchange::start) and the event loop's
//!   [`expire`](Exchange::expire) both try to leave it; one of them succeeds.
//! - `RUNNING`: a thread runs the application. The event loop may close both pipes at any moment; the
//!   thread notices at its next read or push.
//! - `EXPIRED`: no thread will ever run it.
//! - `DONE`: the thread has left the application.

use std::io;
use std::time::Instant;

use super::config::LocationConfig;
use super::events::Event;
use super::id::RequestId;
use super::input::{Input, InputError, Read};
use super::output::{Closed, End, Output};
use super::sync::{Arc, AtomicU8, AtomicU64, Ordering};
use super::worker::Worker;
use crate::http::head::RequestHead;
use crate::http::header::ResponseHead;
use bytes::Bytes;

/// A request on its way to a thread.
pub(crate) type Job = Arc<Exchange>;

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const EXPIRED: u8 = 2;
const DONE: u8 = 3;

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: RequestId,
    pub(crate) head: RequestHead,
    pub(crate) location: Arc<LocationConfig>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) input: Input,
    pub(crate) output: Output,
    phase: AtomicU8,
    /// Milliseconds of the worker's clock at which the thread started.
    started: AtomicU64,
    /// Python's ident of the thread.
    thread: AtomicU64,
    /// Milliseconds for which the thread has waited for the client, and since when it waits now
    /// (0: it does not).
    client_wait: AtomicU64,
    client_wait_since: AtomicU64,
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
    pub(crate) fn new(
        id: RequestId,
        head: RequestHead,
        location: Arc<LocationConfig>,
        worker: Arc<Worker>,
        input: Input,
    ) -> Self {
        let output = Output::new(location.buffering.clone());
        Self {
            id,
            head,
            location,
            worker,
            input,
            output,
            phase: AtomicU8::new(WAITING),
            started: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            client_wait: AtomicU64::new(0),
            client_wait_since: AtomicU64::new(0),
        }
    }

    /// Thread: takes the request on; false where it has expired.
    pub(crate) fn start(&self, thread: u64) -> bool {
        self.thread.store(thread, Ordering::Relaxed);
        self.started.store(self.worker.now(), Ordering::Relaxed);
        self.phase.compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Thread: has left the application.
    pub(crate) fn done(&self) {
        self.phase.store(DONE, Ordering::Release);
    }

    /// Event loop: takes the request back from the queue; false where a thread has it.
    pub(crate) fn expire(&self) -> bool {
        self.phase.compare_exchange(WAITING, EXPIRED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn progress(&self) -> Progress {
        match self.phase.load(Ordering::Acquire) {
            RUNNING => {
                let now = self.worker.now();
                // In this order: a wait that ends meanwhile is counted twice rather than never, and
                // the timer comes by again.
                let since = self.client_wait_since.load(Ordering::Acquire);
                let mut waited = self.client_wait.load(Ordering::Relaxed);
                if since != 0 {
                    waited += now.saturating_sub(since);
                }
                let elapsed = now.saturating_sub(self.started.load(Ordering::Relaxed));
                Progress::Running(elapsed.saturating_sub(waited))
            }
            WAITING => Progress::Waiting,
            _ => Progress::Done,
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
        self.input.fail(why);
        if self.output.close() {
            self.worker.collect();
        }
    }

    /// Thread: sends a part of the response. `detached` runs what may wait, detached from Python. An
    /// error of the temporary file is for the log alone: the response goes on without one.
    pub(crate) fn send(
        &self,
        head: Option<ResponseHead>,
        block: Bytes,
        end: Option<End>,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Option<io::Error>, Closed> {
        let announce = || self.worker.events.push(Event::Output(self.id));
        let Some(rest) = self.output.push(head, block, end, announce)? else {
            return Ok(None);
        };
        let mut rest = Some(rest);
        let mut result = Ok(None);
        detached(&mut || {
            if let Some(rest) = rest.take() {
                result = self.waiting(|| self.output.push_blocking(rest, announce));
            }
        });
        result
    }

    /// Thread: the response has ended. Never waits.
    pub(crate) fn end(&self, head: Option<ResponseHead>, end: End) -> Result<(), Closed> {
        let announce = || self.worker.events.push(Event::Output(self.id));
        self.output.push(head, Bytes::new(), Some(end), announce).map(drop)
    }

    /// Thread: up to `max` bytes of the request's body.
    pub(crate) fn read(
        &self,
        max: usize,
        detached: impl FnOnce(&mut (dyn FnMut() + Send)),
    ) -> Result<Read, InputError> {
        let ask = || self.worker.events.push(Event::ReadBody(self.id));
        match self.input.read(max, ask)? {
            Read::Wait => {}
            read => return Ok(read),
        }
        let mut result = Ok(Read::End);
        detached(&mut || result = self.waiting(|| self.input.read_blocking(max, ask)));
        result
    }

    /// Runs `wait`; the time goes to the client's account.
    fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        let since = self.worker.now();
        self.client_wait_since.store(since.max(1), Ordering::Relaxed);
        let result = wait();
        let waited = self.worker.now().saturating_sub(since);
        self.client_wait.fetch_add(waited, Ordering::Relaxed);
        self.client_wait_since.store(0, Ordering::Release);
        result
    }
}

/// Milliseconds since `epoch`.
pub(crate) fn milliseconds(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
}
