//! The lines for nginx's error log, on their way to the event loop, and how many may wait.

use super::log::LogLine;
use super::sync::{AtomicBool, Condvar, Mutex, Ordering, lock, wait};

/// The queue of the lines.
#[derive(Debug)]
pub(super) struct Lines<X> {
    queue: Mutex<Queue<X>>,
    /// There is room again.
    room: Condvar,
    /// The event loop is in an application itself, and takes nothing meanwhile.
    busy: AtomicBool,
    /// There are lines. Written under the lock.
    any: AtomicBool,
}

#[derive(Debug)]
struct Queue<X> {
    lines: Vec<LogLine<X>>,
    bytes: usize,
    /// A thread waits for room.
    waiting: bool,
    closed: bool,
}

/// Bytes of lines that may wait for the event loop; beyond them the writer waits. The event loop writes a batch at
/// one go, so it must not be long.
pub(super) const LIMIT: usize = 128 * 1024;

/// The same while the event loop is in an application: waiting for it might last for ever, for the application may
/// in turn wait for the thread that writes.
pub(super) const BUSY_LIMIT: usize = 64 * LIMIT;

impl<X> Lines<X> {
    pub(super) fn new() -> Self {
        let queue = Queue { lines: Vec::new(), bytes: 0, waiting: false, closed: false };
        Self {
            queue: Mutex::new(queue),
            room: Condvar::new(),
            busy: AtomicBool::new(false),
            any: AtomicBool::new(false),
        }
    }

    /// Adds a line without waiting, or gives it back if there is no room.
    pub(super) fn try_push(&self, line: LogLine<X>) -> Result<(), LogLine<X>> {
        let mut queue = lock(&self.queue);
        let limit = if self.is_busy() { BUSY_LIMIT } else { LIMIT };
        if queue.bytes > limit && !queue.closed {
            return Err(line);
        }
        self.add(&mut queue, line);
        Ok(())
    }

    /// Adds a line, waiting for room; not while the event loop is in an application.
    pub(super) fn push_waiting(&self, line: LogLine<X>) {
        let mut queue = lock(&self.queue);
        while queue.bytes > LIMIT && !queue.closed && !self.is_busy() {
            queue.waiting = true;
            queue = wait(&self.room, queue);
        }
        self.add(&mut queue, line);
    }

    fn add(&self, queue: &mut Queue<X>, line: LogLine<X>) {
        if queue.closed {
            return;
        }
        queue.bytes += size_of::<LogLine<X>>() + line.text.len();
        queue.lines.push(line);
        self.any.store(true, Ordering::Release);
    }

    /// Event loop: are there lines? Whoever has seen what a thread did after it had logged is told of its lines.
    pub(super) fn has_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Event loop: takes all lines.
    pub(super) fn take(&self) -> Vec<LogLine<X>> {
        let mut queue = lock(&self.queue);
        self.any.store(false, Ordering::Relaxed);
        self.release(&mut queue);
        queue.bytes = 0;
        std::mem::take(&mut queue.lines)
    }

    /// Event loop: is in an application while `act` runs. Nobody waits for it meanwhile.
    pub(super) fn while_busy<T>(&self, act: impl FnOnce() -> T) -> T {
        struct Busy<'e>(&'e AtomicBool);

        // A panic of `act` ends it as well.
        impl Drop for Busy<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::SeqCst);
            }
        }

        self.busy.store(true, Ordering::SeqCst);
        let _busy = Busy(&self.busy);
        self.release(&mut lock(&self.queue));
        act()
    }

    /// Is the event loop in an application?
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }

    /// Nobody takes lines any more: no writer waits from now on.
    pub(super) fn close(&self) {
        lock(&self.queue).closed = true;
        self.room.notify_all();
    }

    fn release(&self, queue: &mut Queue<X>) {
        if std::mem::take(&mut queue.waiting) {
            self.room.notify_all();
        }
    }

    /// Does a thread wait for room?
    #[cfg(test)]
    #[cfg(not(feature = "loom"))]
    pub(super) fn is_waited_for(&self) -> bool {
        lock(&self.queue).waiting
    }
}
