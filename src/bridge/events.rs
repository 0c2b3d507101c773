//! What Python's threads tell the event loop, and the [`Doorbell`] that wakes it.

use std::io;
use std::os::fd::RawFd;

use super::changes::beginning::Compared;
use super::changes::change::Change;
use super::doorbell::Doorbell;
use super::executor::inline::Suspended;
use super::id::RequestId;
use super::lines::Lines;
use super::log::LogLine;
use super::replacement::Reason;
use super::sync::{Arc, Mutex, lock};

/// A message for the event loop. One for a request that is gone is dropped there.
#[derive(Debug)]
pub(crate) enum Event<X> {
    /// The request's [`Output`](super::pipe::output::Output) has something to take.
    Output(RequestId),
    /// The thread wants more of the request's body.
    ReadBody(RequestId),
    /// The request's WebSocket has frames to take, or room for parts of messages again.
    Socket(RequestId),
    /// The event loop has to run a request inline, or what comes after its response.
    Run(Arc<X>),
    /// A response that was run inline, and that nobody waits for, has to be brought to its end.
    Resume(Box<dyn Suspended>),
    /// The starts of all applications have ended.
    Started,
    /// An application has changed (`python_reload`).
    Changed(Box<Change>),
    /// It has been looked whether the process is as it began (`keep=on`).
    Compared(Box<Compared>),
    /// A request whose application another process runs has changed.
    Relay,
    /// The worker has to be replaced.
    Replace(Reason),
}

/// What goes to the event loop of one worker.
#[derive(Debug)]
pub(crate) struct Events<X> {
    events: Mutex<Vec<Event<X>>>,
    lines: Lines<X>,
    doorbell: Doorbell,
}

impl<X> Events<X> {
    /// `least`: the descriptor's number is no lower.
    pub(crate) fn new(least: RawFd) -> io::Result<Self> {
        Ok(Self {
            events: Mutex::new(Vec::new()),
            lines: Lines::new(),
            doorbell: Doorbell::new(least)?,
        })
    }

    /// The descriptor that becomes readable when there is a batch to take.
    pub(crate) fn fd(&self) -> RawFd {
        self.doorbell.fd()
    }

    /// Adds a message. The number of messages other than log lines is bounded by the requests in
    /// flight: each has at most one of a kind on its way.
    pub(crate) fn push(&self, event: Event<X>) {
        lock(&self.events).push(event);
        self.doorbell.ring();
    }

    /// Adds a log line without waiting, or gives it back if the log is full.
    pub(crate) fn try_log(&self, line: LogLine<X>) -> Result<(), LogLine<X>> {
        self.lines.try_push(line)?;
        self.doorbell.ring();
        Ok(())
    }

    /// Adds a log line, waiting for room; not while the event loop is in an application. Not for the event
    /// loop's thread.
    pub(crate) fn log(&self, line: LogLine<X>) {
        self.lines.push_waiting(line);
        self.doorbell.ring();
    }

    /// Event loop: is in an application while `act` runs. Nobody waits for it meanwhile.
    pub(crate) fn while_busy<T>(&self, act: impl FnOnce() -> T) -> T {
        self.lines.while_busy(act)
    }

    /// Is the event loop in an application?
    pub(crate) fn is_busy(&self) -> bool {
        self.lines.is_busy()
    }

    /// Event loop: the bell has been heard. It is awake now.
    pub(crate) fn hush(&self) {
        self.doorbell.hush();
    }

    /// Event loop: is awake by itself. Until it rests, it takes what is pushed without a bell.
    pub(crate) fn stay_awake(&self) {
        self.doorbell.stay_awake();
    }

    /// Event loop: rests, so that the next push rings. True if there is something to take: then it stays awake.
    #[must_use]
    pub(crate) fn rest(&self) -> bool {
        self.doorbell.rest(|| !self.is_empty())
    }

    /// Is there nothing to take?
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.events).is_empty() && !self.lines.has_any()
    }

    /// Event loop: rings for itself, to be woken in its next turn.
    pub(crate) fn ring_again(&self) {
        self.doorbell.ring_again();
    }

    /// Any thread: looks whether the event loop can still be woken.
    pub(crate) fn check(&self) {
        self.doorbell.check();
    }

    /// What to do when somebody has closed the bell's descriptor, so that nothing wakes the event loop any more.
    pub(crate) fn on_lost(&self, act: fn()) {
        self.doorbell.on_lost(act);
    }

    /// Event loop: moves all messages into `batch`.
    pub(crate) fn take(&self, batch: &mut Vec<Event<X>>) {
        batch.append(&mut lock(&self.events));
    }

    /// Event loop: are there lines to be written? Whoever has seen what a thread did after it had logged is told of
    /// its lines.
    pub(crate) fn has_lines(&self) -> bool {
        self.lines.has_any()
    }

    /// Event loop: the lines that have to be written.
    pub(crate) fn take_lines(&self) -> Vec<LogLine<X>> {
        self.lines.take()
    }

    /// Nobody takes messages any more: no writer waits from now on.
    pub(crate) fn close(&self) {
        self.lines.close();
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
