//! What Python's threads tell the event loop, and the bell that wakes it.
//!
//! `awake` is true from a push that rang the bell, or from when the event loop had something to do by itself,
//! until the event loop [`rest`](Events::rest)s: who pushes meanwhile need not ring, for it takes what there is
//! before that. It clears `awake` and then looks at the queue, so a message pushed after that rings again, and
//! one pushed before is seen. At worst the loop wakes for nothing; a message is never left lying.

use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use super::bell::{Bell, Lost};
use super::exchange::Exchange;
use super::executor::inline::Suspended;
use super::id::RequestId;
use super::log::LogLine;
use super::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, lock, wait};

/// A message for the event loop. One for a request that is gone is dropped there.
#[derive(Debug)]
pub(crate) enum Event {
    /// The request's [`Output`](super::pipe::output::Output) has something to take.
    Output(RequestId),
    /// The thread wants more of the request's body.
    ReadBody(RequestId),
    /// A request for the executor `inline` is to be run, or followed up.
    Run(Arc<Exchange>),
    /// A response of the executor `inline` that nobody waits for is to be brought to its end.
    Resume(Box<dyn Suspended>),
}

/// The queue to the event loop of one worker.
#[derive(Debug)]
pub(crate) struct Events {
    queue: Mutex<Queue>,
    /// The log has room again.
    room: Condvar,
    /// The event loop is in an application itself, and takes nothing meanwhile.
    busy: AtomicBool,
    /// There are lines for the log.
    lines: AtomicBool,
    awake: AtomicBool,
    bell: Bell,
    /// What is done when the bell is lost.
    on_lost: OnceLock<fn()>,
}

#[derive(Debug, Default)]
struct Queue {
    events: Vec<Event>,
    lines: Vec<LogLine>,
    log_bytes: usize,
    /// A thread waits for room.
    waiting: bool,
    closed: bool,
}

/// Bytes of log lines that may wait for the event loop; beyond them the writer waits. The event loop
/// writes a batch at one go, so it is not to be long.
const LOG_LIMIT: usize = 128 * 1024;

/// The same while the event loop is in an application: waiting for it might last for ever, for the
/// application may in turn wait for the thread that writes.
const BUSY_LOG_LIMIT: usize = 64 * LOG_LIMIT;

impl Events {
    /// `least`: the descriptor's number is no lower.
    pub(crate) fn new(least: RawFd) -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::new(Queue::default()),
            room: Condvar::new(),
            busy: AtomicBool::new(false),
            lines: AtomicBool::new(false),
            awake: AtomicBool::new(false),
            bell: Bell::new(least)?,
            on_lost: OnceLock::new(),
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
            let limit = if self.is_busy() { BUSY_LOG_LIMIT } else { LOG_LIMIT };
            if queue.log_bytes > limit && !queue.closed {
                return Err(line);
            }
            self.add_line(&mut queue, line);
        }
        self.ring();
        Ok(())
    }

    /// Adds a log line, waiting for room; not while the event loop is in an application. Not for the event
    /// loop's thread.
    pub(crate) fn log(&self, line: LogLine) {
        {
            let mut queue = lock(&self.queue);
            while queue.log_bytes > LOG_LIMIT && !queue.closed && !self.is_busy() {
                queue.waiting = true;
                queue = wait(&self.room, queue);
            }
            self.add_line(&mut queue, line);
        }
        self.ring();
    }

    /// Event loop: is in an application while `act` runs. Nobody waits for it meanwhile.
    pub(crate) fn while_busy<T>(&self, act: impl FnOnce() -> T) -> T {
        struct Busy<'e>(&'e AtomicBool);

        // A panic of `act` ends it as well.
        impl Drop for Busy<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::SeqCst);
            }
        }

        self.busy.store(true, Ordering::SeqCst);
        let _busy = Busy(&self.busy);
        self.release_waiting();
        act()
    }

    /// Is the event loop in an application?
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }

    fn release_waiting(&self) {
        let mut queue = lock(&self.queue);
        if std::mem::take(&mut queue.waiting) {
            self.room.notify_all();
        }
    }

    /// Event loop: the bell has been heard. It is awake now.
    pub(crate) fn hush(&self) {
        if let Err(lost) = self.bell.hush() {
            self.lose(lost);
        }
        self.stay_awake();
    }

    /// Event loop: is awake by itself. It takes what is pushed from now on without being rung for, until it
    /// rests.
    pub(crate) fn stay_awake(&self) {
        self.awake.swap(true, Ordering::SeqCst);
    }

    /// Event loop: rests, so that the next push rings; unless there is something to take, which it says: true
    /// where it has to stay awake.
    #[must_use]
    pub(crate) fn rest(&self) -> bool {
        // A store would do; in loom only a swap is known to come after the swap of a push before.
        self.awake.swap(false, Ordering::SeqCst);
        let more = !self.is_empty();
        if more {
            self.stay_awake();
        }
        more
    }

    /// Is there nothing to take?
    pub(crate) fn is_empty(&self) -> bool {
        let queue = lock(&self.queue);
        queue.events.is_empty() && queue.lines.is_empty()
    }

    /// Event loop: has itself woken in its next turn.
    pub(crate) fn ring_again(&self) {
        if let Err(lost) = self.bell.ring() {
            self.lose(lost);
        }
    }

    /// Any thread: looks whether the event loop can still be woken.
    pub(crate) fn check(&self) {
        if let Err(lost) = self.bell.check() {
            self.lose(lost);
        }
    }

    /// What is to be done when somebody has closed the bell's descriptor: nothing wakes the event loop any more.
    pub(crate) fn on_lost(&self, act: fn()) {
        // A process has one owner of this; a second call would bring the same.
        let _first = self.on_lost.set(act);
    }

    #[cold]
    fn lose(&self, _lost: Lost) {
        if let Some(act) = self.on_lost.get() {
            act();
        }
    }

    /// Event loop: moves all messages into `batch`.
    pub(crate) fn take(&self, batch: &mut Vec<Event>) {
        batch.append(&mut lock(&self.queue).events);
    }

    /// Event loop: are there lines to be written? Whoever has seen what a thread did after it had logged is told of
    /// its lines.
    pub(crate) fn has_lines(&self) -> bool {
        self.lines.load(Ordering::Acquire)
    }

    /// Event loop: the lines that are to be written.
    pub(crate) fn take_lines(&self) -> Vec<LogLine> {
        let mut queue = lock(&self.queue);
        self.lines.store(false, Ordering::Relaxed);
        if std::mem::take(&mut queue.waiting) {
            self.room.notify_all();
        }
        queue.log_bytes = 0;
        std::mem::take(&mut queue.lines)
    }

    /// Nobody takes messages any more: no writer waits from now on.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.room.notify_all();
    }

    fn add_line(&self, queue: &mut Queue, line: LogLine) {
        if queue.closed {
            return;
        }
        queue.log_bytes += size_of::<LogLine>() + line.text.len();
        queue.lines.push(line);
        self.lines.store(true, Ordering::Release);
    }

    fn ring(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            self.ring_again();
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::bridge::fixture::{ids, until};

    use crate::bridge::log::{About, Level};

    fn line(text: &str) -> LogLine {
        LogLine { level: Level::Info, about: About::Worker, text: text.into() }
    }

    /// The lines that the event loop has to write.
    fn lines(events: &Events) -> Vec<String> {
        events.take_lines().into_iter().map(|line| line.text).collect()
    }

    /// A turn of the event loop, which has heard the bell.
    fn taken(events: &Events) -> Vec<Event> {
        let mut batch = Vec::new();
        events.hush();
        events.take(&mut batch);
        assert!(!events.rest());
        batch
    }

    /// Fills the log, with lines of `len` bytes; says how many.
    fn fill(events: &Events, len: usize) -> usize {
        let text = "x".repeat(len);
        (0..).take_while(|_| events.try_log(line(&text)).is_ok()).count()
    }

    #[test]
    fn a_batch_is_in_order_and_rings_once() {
        let events = Events::new(0).unwrap();
        let [id] = ids();
        events.push(Event::Output(id));
        events.log(line("a line"));
        events.try_log(line("another")).unwrap();
        events.push(Event::ReadBody(id));
        assert_eq!(events.bell.rings(), 1);
        assert_eq!(lines(&events), ["a line", "another"]);
        let batch = taken(&events);
        let [Event::Output(output), Event::ReadBody(body)] = batch.as_slice() else {
            panic!("{batch:?}");
        };
        assert_eq!((*output, *body), (id, id));
        assert!(taken(&events).is_empty());
        assert!(lines(&events).is_empty());
        for _ in 0..2 {
            events.push(Event::Output(id));
            events.push(Event::Output(id));
            assert_eq!(events.bell.rings(), 1);
            assert_eq!(taken(&events).len(), 2);
        }
    }

    #[test]
    fn a_line_is_something_to_take() {
        let events = Events::new(0).unwrap();
        events.log(line("a line"));
        assert_eq!(events.bell.rings(), 1);
        events.hush();
        assert_eq!(events.bell.rings(), 0);
        assert!(events.rest(), "it has to look before it rests");
        assert_eq!(lines(&events), ["a line"]);
        assert!(!events.rest());
    }

    #[test]
    fn nobody_rings_while_the_event_loop_is_awake() {
        let events = Events::new(0).unwrap();
        let [id] = ids();
        events.stay_awake();
        assert!(events.is_empty());
        events.push(Event::Output(id));
        assert!(!events.is_empty());
        assert!(events.rest(), "it has to look before it rests");
        events.push(Event::Output(id));
        assert_eq!(events.bell.rings(), 0);
        let mut batch = Vec::new();
        events.take(&mut batch);
        assert_eq!(batch.len(), 2);
        assert!(!events.rest());
        events.push(Event::Output(id));
        assert_eq!(events.bell.rings(), 1);
        events.ring_again();
        assert_eq!(events.bell.rings(), 1);
    }

    #[test]
    fn the_log_is_bounded() {
        for len in [0, 1, 4096] {
            let events = Events::new(0).unwrap();
            let each = len + size_of::<LogLine>();
            assert_eq!(fill(&events, len), LOG_LIMIT / each + 1);
            assert_eq!(events.try_log(line("no more")).unwrap_err().text, "no more");
            // Messages are bounded elsewhere.
            let [id] = ids();
            events.push(Event::Output(id));
            assert_eq!(lines(&events).len(), LOG_LIMIT / each + 1);
            assert!(matches!(taken(&events).last(), Some(Event::Output(_))));
            assert_eq!(fill(&events, len), LOG_LIMIT / each + 1);
        }
    }

    #[test]
    fn a_writer_waits_while_the_log_is_full() {
        let events = Arc::new(Events::new(0).unwrap());
        let full = fill(&events, 4096);
        let writer = {
            let events = Arc::clone(&events);
            thread::spawn(move || events.log(line("waited")))
        };
        thread::sleep(std::time::Duration::from_millis(50));
        assert!(!writer.is_finished());
        events.hush();
        assert_eq!(lines(&events).len(), full);
        assert!(!events.rest() || writer.is_finished());
        writer.join().unwrap();
        assert_eq!(lines(&events), ["waited"]);
    }

    #[test]
    fn nobody_waits_while_the_event_loop_is_in_an_application() {
        let events = Arc::new(Events::new(0).unwrap());
        let full = fill(&events, 4096);
        let writer = {
            let events = Arc::clone(&events);
            thread::spawn(move || events.log(line("waited")))
        };
        until(|| lock(&events.queue).waiting);
        events.while_busy(|| {
            assert!(events.is_busy());
            writer.join().unwrap();
            events.try_log(line("its own")).unwrap();
            events.log(line("another's"));
        });
        assert!(!events.is_busy());
        assert_eq!(events.try_log(line("no more")).unwrap_err().text, "no more");
        assert_eq!(lines(&events)[full..], ["waited", "its own", "another's"]);
    }

    #[test]
    fn the_log_of_a_call_is_bounded() {
        let events = Events::new(0).unwrap();
        let each = 4096 + size_of::<LogLine>();
        events.while_busy(|| assert_eq!(fill(&events, 4096), BUSY_LOG_LIMIT / each + 1));
        lines(&events);
        assert_eq!(fill(&events, 4096), LOG_LIMIT / each + 1);
    }

    #[test]
    fn a_closed_log_keeps_nobody_waiting_and_nothing() {
        let events = Arc::new(Events::new(0).unwrap());
        let full = fill(&events, 4096);
        let writer = {
            let events = Arc::clone(&events);
            thread::spawn(move || events.log(line("waited")))
        };
        thread::sleep(std::time::Duration::from_millis(20));
        events.close();
        writer.join().unwrap();
        events.try_log(line("late")).unwrap();
        events.log(line("later"));
        assert_eq!(lines(&events).len(), full);
        assert!(lines(&events).is_empty());
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::bridge::fixture::{check, ids};
    use crate::bridge::log::{self, About, Level};

    /// The event loop, until it has taken `count` messages.
    fn take(events: &Events, count: usize) {
        let (mut batch, mut batches) = (Vec::new(), 0);
        while batch.len() < count {
            events.bell.wait();
            events.hush();
            loop {
                events.take(&mut batch);
                batches += 1;
                if !events.rest() {
                    break;
                }
            }
            assert!(events.bell.rings() <= batches + 1, "one ring per batch");
        }
        assert_eq!(batch.len(), count);
    }

    #[test]
    fn no_message_is_left_lying() {
        check(3, || {
            let events = Arc::new(Events::new(0).unwrap());
            let threads: Vec<_> = ids::<2>()
                .into_iter()
                .map(|id| {
                    let events = Arc::clone(&events);
                    thread::spawn(move || {
                        events.push(Event::Output(id));
                        events.push(Event::ReadBody(id));
                    })
                })
                .collect();
            take(&events, 4);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn what_is_pushed_while_the_event_loop_is_awake_is_taken_or_rung_for() {
        check(3, || {
            let events = Arc::new(Events::new(0).unwrap());
            let thread = {
                let events = Arc::clone(&events);
                let [id] = ids();
                thread::spawn(move || {
                    events.push(Event::Output(id));
                    events.push(Event::ReadBody(id));
                })
            };
            let mut batch = Vec::new();
            events.stay_awake();
            loop {
                events.take(&mut batch);
                if !events.rest() {
                    break;
                }
            }
            let left = 2 - batch.len();
            if left > 0 {
                take(&events, left);
            }
            thread.join().unwrap();
        });
    }

    /// A full log.
    fn full() -> Events {
        let events = Events::new(0).unwrap();
        while events.try_log(long_line()).is_ok() {}
        events
    }

    fn long_line() -> LogLine {
        LogLine { level: Level::Info, about: About::Worker, text: "x".repeat(log::LONGEST) }
    }

    #[test]
    fn every_writer_that_waits_for_room_gets_it() {
        check(2, || {
            let events = Arc::new(full());
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let events = Arc::clone(&events);
                    thread::spawn(move || events.log(long_line()))
                })
                .collect();
            let mut left = LOG_LIMIT / log::LONGEST + 2;
            while left > 0 {
                events.bell.wait();
                events.hush();
                loop {
                    left -= events.take_lines().len();
                    if !events.rest() {
                        break;
                    }
                }
            }
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn who_sees_what_came_after_a_line_finds_the_line() {
        check(3, || {
            let events = Arc::new(Events::new(0).unwrap());
            let [id] = ids();
            let thread = {
                let events = Arc::clone(&events);
                thread::spawn(move || {
                    events.log(long_line());
                    events.push(Event::Output(id));
                })
            };
            let mut batch = Vec::new();
            events.take(&mut batch);
            assert!(batch.is_empty() || events.has_lines());
            thread.join().unwrap();
        });
    }

    #[test]
    fn a_writer_does_not_outwait_the_end() {
        check(3, || {
            let events = Arc::new(full());
            let writer = {
                let events = Arc::clone(&events);
                thread::spawn(move || events.log(long_line()))
            };
            events.close();
            writer.join().unwrap();
        });
    }
}
