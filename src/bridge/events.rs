//! What Python's threads tell the event loop, and the bell that is rung once per batch.
//!
//! `rung` is true from a push that rang the bell until the event loop takes the batch. The event loop
//! clears it before it takes the queue, so a message pushed after that rings again; one pushed before
//! is in the batch. At worst the loop wakes for nothing; a message is never left lying.

use std::io;
use std::os::fd::RawFd;

use super::id::RequestId;
use super::sync::{AtomicBool, Condvar, Mutex, Ordering, lock, wait};
use super::wake::Bell;

/// A message for the event loop. One for a request that is gone is dropped there.
#[derive(Debug)]
pub(crate) enum Event {
    /// The request's [`Output`](super::output::Output) has something to take.
    Output(RequestId),
    /// The thread wants more of the request's body.
    ReadBody(RequestId),
    Log(LogLine),
}

/// A line for nginx's error log.
#[derive(Debug)]
pub(crate) struct LogLine {
    pub(crate) level: Level,
    /// The request whose context the line is to carry.
    pub(crate) request: Option<RequestId>,
    pub(crate) text: String,
}

/// nginx's log levels (`ngx_log.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Emerg = 1,
    Alert,
    Crit,
    Error,
    Warn,
    Notice,
    Info,
    Debug,
}

impl Level {
    /// The level of nginx's number; what lies outside is `info`.
    pub(crate) fn from_number(number: u8) -> Self {
        const LEVELS: [Level; 8] = [
            Level::Emerg,
            Level::Alert,
            Level::Crit,
            Level::Error,
            Level::Warn,
            Level::Notice,
            Level::Info,
            Level::Debug,
        ];
        LEVELS.get(usize::from(number).wrapping_sub(1)).copied().unwrap_or(Level::Info)
    }
}

/// The queue to the event loop of one worker.
#[derive(Debug)]
pub(crate) struct Events {
    queue: Mutex<Queue>,
    /// The log has room again.
    room: Condvar,
    rung: AtomicBool,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Queue {
    events: Vec<Event>,
    log_bytes: usize,
    closed: bool,
}

/// Bytes of log lines that may wait for the event loop; beyond them the writer waits. The event loop
/// writes a batch at one go, so it is not to be long.
const LOG_LIMIT: usize = 128 * 1024;

impl Events {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::new(Queue::default()),
            room: Condvar::new(),
            rung: AtomicBool::new(false),
            bell: Bell::new()?,
        })
    }

    /// The descriptor that becomes readable when there is a batch to take.
    pub(crate) fn fd(&self) -> RawFd {
        self.bell.fd()
    }

    /// Adds a message. The number of messages other than log lines is bounded by the requests in
    /// flight: each has at most one of a kind on its way.
    pub(crate) fn push(&self, event: Event) {
        lock(&self.queue).events.push(event);
        self.ring();
    }

    /// Adds a log line, or gives it back where the log is full.
    pub(crate) fn try_log(&self, line: LogLine) -> Result<(), LogLine> {
        {
            let mut queue = lock(&self.queue);
            if queue.log_bytes > LOG_LIMIT && !queue.closed {
                return Err(line);
            }
            queue.add_log(line);
        }
        self.ring();
        Ok(())
    }

    /// Adds a log line, waiting for room. Not for the event loop's thread.
    pub(crate) fn log(&self, line: LogLine) {
        {
            let mut queue = lock(&self.queue);
            while queue.log_bytes > LOG_LIMIT && !queue.closed {
                queue = wait(&self.room, queue);
            }
            queue.add_log(line);
        }
        self.ring();
    }

    /// Moves all messages into `batch`.
    pub(crate) fn take(&self, batch: &mut Vec<Event>) {
        self.bell.hush();
        self.rung.store(false, Ordering::SeqCst);
        let mut queue = lock(&self.queue);
        if queue.log_bytes > LOG_LIMIT {
            self.room.notify_all();
        }
        queue.log_bytes = 0;
        batch.append(&mut queue.events);
    }

    /// Nobody takes messages any more: no writer waits from now on.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.room.notify_all();
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            self.bell.ring();
        }
    }
}

impl Queue {
    fn add_log(&mut self, line: LogLine) {
        if self.closed {
            return;
        }
        self.log_bytes += size_of::<Event>() + line.text.len();
        self.events.push(Event::Log(line));
    }
}
