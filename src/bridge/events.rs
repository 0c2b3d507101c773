//! What Python's threads tell the event loop, and the bell that wakes it.
//!
//! `awake` is true from a push that rang the bell, or from when the event loop had something to do by itself,
//! until the event loop [`rest`](Events::rest)s: who pushes meanwhile need not ring, for it takes what there is
//! before that. It clears `awake` and then looks at the queue, so a message pushed after that rings again, and
//! one pushed before is seen. At worst the loop wakes for nothing; a message is never left lying.

use std::io;
use std::os::fd::RawFd;

use super::exchange::Job;
use super::id::RequestId;
use super::inline::Suspended;
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
    /// A request for the executor `inline` is to be run, or followed up.
    Run(Job),
    /// A response of the executor `inline` that nobody waits for is to be brought to its end.
    Resume(Box<dyn Suspended>),
}

/// A line for nginx's error log.
#[derive(Debug)]
pub(crate) struct LogLine {
    pub(crate) level: Level,
    /// The request whose context the line is to carry.
    pub(crate) request: Option<Job>,
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
    /// The event loop is in an application itself, and takes nothing meanwhile.
    busy: AtomicBool,
    awake: AtomicBool,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Queue {
    events: Vec<Event>,
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
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::new(Queue::default()),
            room: Condvar::new(),
            busy: AtomicBool::new(false),
            awake: AtomicBool::new(false),
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
            let limit = if self.is_busy() { BUSY_LOG_LIMIT } else { LOG_LIMIT };
            if queue.log_bytes > limit && !queue.closed {
                return Err(line);
            }
            queue.add_log(line);
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
            queue.add_log(line);
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
        self.bell.hush();
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
        lock(&self.queue).events.is_empty()
    }

    /// Event loop: has itself woken in its next turn.
    pub(crate) fn ring_again(&self) {
        self.bell.ring();
    }

    /// Event loop: moves all messages into `batch`.
    pub(crate) fn take(&self, batch: &mut Vec<Event>) {
        let mut queue = lock(&self.queue);
        if std::mem::take(&mut queue.waiting) {
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
        if !self.awake.swap(true, Ordering::SeqCst) {
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

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::bridge::fixture::{ids, until};

    fn line(text: &str) -> LogLine {
        LogLine { level: Level::Info, request: None, text: text.into() }
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
        let events = Events::new().unwrap();
        let [id] = ids();
        events.push(Event::Output(id));
        events.log(line("a line"));
        events.try_log(line("another")).unwrap();
        events.push(Event::ReadBody(id));
        assert_eq!(events.bell.rings(), 1);
        let batch = taken(&events);
        let [Event::Output(output), Event::Log(first), Event::Log(second), Event::ReadBody(body)] =
            batch.as_slice()
        else {
            panic!("{batch:?}");
        };
        assert_eq!((*output, *body), (id, id));
        assert_eq!((first.text.as_str(), second.text.as_str()), ("a line", "another"));
        assert!(taken(&events).is_empty());
        for _ in 0..2 {
            events.push(Event::Output(id));
            events.push(Event::Output(id));
            assert_eq!(events.bell.rings(), 1);
            assert_eq!(taken(&events).len(), 2);
        }
    }

    #[test]
    fn taking_hushes_the_bell() {
        let events = Events::new().unwrap();
        events.log(line("a line"));
        taken(&events);
        assert_eq!(events.bell.rings(), 0);
    }

    #[test]
    fn nobody_rings_while_the_event_loop_is_awake() {
        let events = Events::new().unwrap();
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
            let events = Events::new().unwrap();
            let each = len + size_of::<Event>();
            assert_eq!(fill(&events, len), LOG_LIMIT / each + 1);
            assert_eq!(events.try_log(line("no more")).unwrap_err().text, "no more");
            // Messages are bounded elsewhere.
            let [id] = ids();
            events.push(Event::Output(id));
            assert!(matches!(taken(&events).last(), Some(Event::Output(_))));
            assert_eq!(fill(&events, len), LOG_LIMIT / each + 1);
        }
    }

    #[test]
    fn a_writer_waits_while_the_log_is_full() {
        let events = Arc::new(Events::new().unwrap());
        let full = fill(&events, 4096);
        let writer = {
            let events = Arc::clone(&events);
            thread::spawn(move || events.log(line("waited")))
        };
        thread::sleep(std::time::Duration::from_millis(50));
        assert!(!writer.is_finished());
        assert_eq!(taken(&events).len(), full);
        writer.join().unwrap();
        assert_eq!(events.bell.rings(), 1);
        let batch = taken(&events);
        assert!(matches!(&batch[..], [Event::Log(line)] if line.text == "waited"), "{batch:?}");
    }

    #[test]
    fn nobody_waits_while_the_event_loop_is_in_an_application() {
        let events = Arc::new(Events::new().unwrap());
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
        let batch = taken(&events);
        let texts: Vec<_> = batch[full..]
            .iter()
            .map(|event| match event {
                Event::Log(line) => line.text.as_str(),
                event => panic!("{event:?}"),
            })
            .collect();
        assert_eq!(texts, ["waited", "its own", "another's"]);
    }

    #[test]
    fn the_log_of_a_call_is_bounded() {
        let events = Events::new().unwrap();
        let each = 4096 + size_of::<Event>();
        events.while_busy(|| assert_eq!(fill(&events, 4096), BUSY_LOG_LIMIT / each + 1));
        taken(&events);
        assert_eq!(fill(&events, 4096), LOG_LIMIT / each + 1);
    }

    #[test]
    fn a_closed_log_keeps_nobody_waiting_and_nothing() {
        let events = Arc::new(Events::new().unwrap());
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
        assert_eq!(taken(&events).len(), full);
        assert!(taken(&events).is_empty());
    }

    #[test]
    fn a_number_names_a_level() {
        for level in [Level::Emerg, Level::Error, Level::Info, Level::Debug] {
            assert_eq!(Level::from_number(level as u8), level);
        }
        assert_eq!(Level::from_number(0), Level::Info);
        assert_eq!(Level::from_number(9), Level::Info);
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::bridge::fixture::{check, ids};

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
            let events = Arc::new(Events::new().unwrap());
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
            let events = Arc::new(Events::new().unwrap());
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

    fn long_line() -> LogLine {
        LogLine { level: Level::Info, request: None, text: "x".repeat(LOG_LIMIT) }
    }

    #[test]
    fn every_writer_that_waits_for_room_gets_it() {
        check(2, || {
            let events = Arc::new(Events::new().unwrap());
            events.log(long_line());
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let events = Arc::clone(&events);
                    thread::spawn(move || events.log(long_line()))
                })
                .collect();
            take(&events, 3);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn a_writer_does_not_outwait_the_end() {
        check(3, || {
            let events = Arc::new(Events::new().unwrap());
            events.log(long_line());
            let writer = {
                let events = Arc::clone(&events);
                thread::spawn(move || events.log(long_line()))
            };
            events.close();
            writer.join().unwrap();
        });
    }
}
