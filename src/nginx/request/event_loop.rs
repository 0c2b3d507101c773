//! The event loop as its requests see it: which requests are in flight, and what they postpone to the end of the
//! turn.
//!
//! `process/` has the rest of a worker's event loop: its start, its turns, its exit.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::Arc;

use nginx_sys::{ngx_cycle, ngx_log_t, ngx_msec_t};

use super::Request;
use super::context::Context;
use crate::bridge::code::Code;
use crate::bridge::events::Event;
use crate::bridge::exchange::Exchange;
use crate::bridge::exchange::Worker;
use crate::bridge::executor::inline::{CALLS, Calls, Suspended};
use crate::bridge::id::{RequestId, Table};
use crate::bridge::pipe::output::parts::Batch;
use crate::bridge::replacement::Reason;
use crate::bridge::tasks::Task;
use crate::nginx::log::{HasLog, say};
use crate::nginx::own_event::{EventHandler, OwnEvent};
use crate::nginx::trampoline::{EventThread, OfEventThread};

/// Created once, and kept until the process ends.
pub(in crate::nginx) struct EventLoop {
    worker: Arc<Worker>,
    configuration: usize,
    table: RefCell<Table<NonNull<Context>>>,
    output: Cell<Option<Box<Batch>>>,
    /// What the frames of WebSockets are read into.
    buffer: Cell<Vec<u8>>,
    /// Posted in a turn of the event loop as soon as something must be done at the end of the turn.
    turn_end: OwnEvent,
    /// `python_max_requests`, as this worker has drawn it; [`NO_LIMIT`] if there is none.
    max_requests: u64,
    /// How many are left of that.
    requests_left: Cell<u64>,
    /// Requests for the executor `inline`, whose applications are called at the turn's end.
    calls: RefCell<VecDeque<Arc<Exchange>>>,
    called: OwnEvent,
    /// How many responses of the executor `inline` continue in the next turn.
    continuing: Cell<usize>,
    /// How many records no syslog has taken since the last one that it has.
    unsent: Cell<u64>,
    /// The worker is exiting, and its requests still have time to finish.
    draining: Cell<bool>,
    /// Web workers may send requests to this process, or have sent some.
    guests: Cell<bool>,
    /// Fires every [`HOLD`] milliseconds while the worker is exiting and work is left to do after a response.
    hold: OwnEvent,
}

/// The handlers of the event loop's own events. They are in `process/`.
pub(in crate::nginx) struct Handlers {
    pub(in crate::nginx) turn_end: EventHandler,
    pub(in crate::nginx) called: EventHandler,
    pub(in crate::nginx) hold: EventHandler,
}

/// Bytes of a WebSocket's connection that are read at once.
const BUFFER: usize = 64 * 1024;

/// How often `hold` fires, in milliseconds.
const HOLD: ngx_msec_t = 20;

const NO_LIMIT: u64 = u64::MAX;

static CURRENT: OfEventThread<Option<&'static EventLoop>> = OfEventThread::new(None);

/// The event loop's state, if this process runs Python.
pub(in crate::nginx) fn current(token: EventThread) -> Option<&'static EventLoop> {
    CURRENT.get(token)
}

/// The event loop's state, if this process runs Python for that reading of the configuration.
pub(in crate::nginx) fn running(
    token: EventThread,
    configuration: usize,
) -> Option<&'static EventLoop> {
    current(token).filter(|event_loop| event_loop.configuration == configuration)
}

/// A request in flight; `None` if it has ended.
pub(in crate::nginx) fn find<'ev>(token: EventThread, id: RequestId) -> Option<Request<'ev>> {
    let context = current(token)?.table.borrow().get(id)?;
    // SAFETY: the table holds only contexts of requests in flight: `finalize::end` removes them.
    Some(unsafe { Request::new(token, context) })
}

/// An empty batch that reuses the memory of the last one.
pub(in crate::nginx) fn take_output(token: EventThread) -> Box<Batch> {
    current(token).and_then(|event_loop| event_loop.output.take()).unwrap_or_default()
}

pub(in crate::nginx) fn give_output_back(token: EventThread, batch: Box<Batch>) {
    if let Some(event_loop) = current(token) {
        event_loop.output.set(Some(batch));
    }
}

/// Memory for [`BUFFER`] bytes, which is used again.
pub(in crate::nginx) fn take_buffer(token: EventThread) -> Vec<u8> {
    let mut buffer = current(token).map(|event_loop| event_loop.buffer.take()).unwrap_or_default();
    buffer.resize(BUFFER, 0);
    buffer
}

pub(in crate::nginx) fn give_buffer_back(token: EventThread, buffer: Vec<u8>) {
    if let Some(event_loop) = current(token) {
        event_loop.buffer.set(buffer);
    }
}

impl EventLoop {
    /// Creates the event loop's state for this process.
    pub(in crate::nginx) fn start(
        token: EventThread,
        worker: Arc<Worker>,
        configuration: usize,
        handlers: &Handlers,
        max_requests: Option<u64>,
    ) -> &'static EventLoop {
        let event_loop = Box::leak(Box::new(EventLoop {
            worker,
            configuration,
            table: RefCell::new(Table::new()),
            output: Cell::default(),
            buffer: Cell::default(),
            turn_end: OwnEvent::new(handlers.turn_end),
            max_requests: max_requests.unwrap_or(NO_LIMIT),
            requests_left: Cell::new(max_requests.unwrap_or(NO_LIMIT)),
            calls: RefCell::default(),
            called: OwnEvent::new(handlers.called),
            continuing: Cell::new(0),
            unsent: Cell::new(0),
            draining: Cell::new(false),
            guests: Cell::new(false),
            hold: OwnEvent::new(handlers.hold),
        }));
        CURRENT.set(token, Some(event_loop));
        event_loop
    }

    pub(in crate::nginx) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Adds a request. It is in flight from now on.
    pub(in crate::nginx) fn insert(&self, request: &Request<'_>) -> RequestId {
        let id = self.table.borrow_mut().insert(NonNull::from(&**request));
        request.id.set(Some(id));
        self.worker.meters.app(request.location.app).begin();
        self.count_requests(1);
        // The request's upload ended only after the worker began to exit. Nothing may have held the worker until now.
        if self.draining.get() {
            self.hold(request.token());
        }
        id
    }

    /// Counts requests against `python_max_requests`.
    pub(in crate::nginx) fn count_requests(&self, count: u64) {
        let before = self.requests_left.get();
        // A worker does not live to see the end of `NO_LIMIT`.
        let left = before.saturating_sub(count);
        self.requests_left.set(left);
        if before > 0 && left == 0 {
            self.worker.events.push(Event::Replace(Reason::Requests(self.max_requests)));
        }
    }

    /// Sets whether web workers may send requests to this process, or have sent some.
    pub(in crate::nginx) fn set_guests(&self, any: bool) {
        self.guests.set(any);
    }

    pub(in crate::nginx) fn remove(&self, id: RequestId) {
        self.table.borrow_mut().remove(id);
    }

    /// Whether any request is in flight.
    pub(in crate::nginx) fn is_busy(&self) -> bool {
        !self.table.borrow().is_empty()
    }

    /// The ids of all requests in flight.
    pub(in crate::nginx) fn ids(&self) -> Vec<RequestId> {
        self.table.borrow().ids()
    }

    /// Schedules work for the end of this turn of the event loop, once for all of the turn's requests: threads are
    /// woken for what has been submitted, and what they have sent by then is processed. Until then no thread rings
    /// the event loop's bell.
    pub(in crate::nginx) fn end_turn_later(&self, token: EventThread) {
        if !self.turn_end.is_posted() {
            self.worker.begin_turn();
            self.turn_end.post(token, self);
        }
    }

    /// Schedules the call of the application for a request, at the end of this turn of the event loop.
    pub(in crate::nginx) fn call_later(&self, token: EventThread, exchange: Arc<Exchange>) {
        self.calls.borrow_mut().push_back(exchange);
        self.called.post(token, self);
    }

    /// Takes the requests whose applications are called in this turn. The others are called in the next turn.
    pub(in crate::nginx) fn take_calls(&self, token: EventThread) -> Calls<Arc<Exchange>> {
        let mut calls = self.calls.borrow_mut();
        let count = calls.len().min(CALLS);
        let taken = calls.drain(..count).collect();
        if !calls.is_empty() {
            self.called.post_next(token, self);
        }
        taken
    }

    /// Counts one more response of the executor `inline` that continues in the next turn.
    pub(in crate::nginx) fn add_continuing(&self) {
        self.continuing.set(self.continuing.get() + 1);
    }

    /// Called when such a response gets its turn, or ends before that.
    pub(in crate::nginx) fn remove_continuing(&self) {
        self.continuing.set(self.continuing.get().saturating_sub(1));
    }

    pub(in crate::nginx) fn continuing(&self) -> usize {
        self.continuing.get()
    }

    /// Ends a response of the executor `inline` whose request is gone: the application may have something to close.
    pub(in crate::nginx) fn end(&self, suspended: Box<dyn Suspended>) {
        if self.worker.is_stopping() {
            // The event loop no longer waits for Python.
            self.worker.tasks.push(Task::Resume(suspended));
        } else {
            // Not at once: nginx may be in the middle of freeing the request.
            self.worker.events.push(Event::Resume(suspended));
        }
    }

    /// Counts a record that has been sent to a syslog, or that it has not taken; says so at the first one, and at the
    /// first one that it takes again.
    pub(in crate::nginx) fn count_syslog(&self, is_sent: bool) {
        let unsent = self.unsent.replace(if is_sent { 0 } else { self.unsent.get() + 1 });
        match (is_sent, unsent) {
            (false, 0) => say!(
                self,
                Code::LogUnwritable,
                "python_log cannot send to its syslog: what applications say is lost until it can"
            ),
            (true, 1..) => say!(
                self,
                Code::LogWritableAgain,
                "python_log can send to its syslog again; {unsent} records have been lost"
            ),
            _ => {}
        }
    }

    /// Sets whether the worker is exiting while its requests still have time to finish.
    pub(in crate::nginx) fn set_draining(&self, draining: bool) {
        self.draining.set(draining);
    }

    /// Whether the worker is exiting while its requests still have time to finish.
    pub(in crate::nginx) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Keeps an exiting worker alive until the work that follows its responses is done: `after_response`, and tasks
    /// that run on. Each request in flight has its own timer, but the work that it leaves behind has none.
    pub(in crate::nginx) fn hold(&self, token: EventThread) {
        if self.guests.get() || self.is_held_but_for(0) {
            self.hold.start(token, self, HOLD);
        }
    }

    /// Whether such work is left, not counting so many tasks, and what web workers have sent.
    pub(in crate::nginx) fn is_held_but_for(&self, tasks: usize) -> bool {
        let worker = &self.worker;
        self.is_busy() || worker.follow_ups() > 0 || worker.running() > tasks
    }

    pub(in crate::nginx) fn hold_no_more(&self, token: EventThread) {
        self.hold.stop(token);
    }
}

// SAFETY: there is always a cycle, and it has a log; the event loop's state does not leave its thread.
unsafe impl HasLog for EventLoop {
    fn log(&self) -> *mut ngx_log_t {
        // SAFETY: as above.
        unsafe { (*ngx_cycle).log }
    }
}
