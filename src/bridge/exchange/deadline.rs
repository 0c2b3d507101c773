//! The application's deadline (`…_timeout`), which stands still while the application waits for its client, and the time
//! after which it is said to be slow (`…_slow_request`), which is measured by the same clock.

use std::time::Duration;

use super::{Exchange, NO_DEADLINE, Progress, RUNNING, WAITING, WRITTEN_OFF};
use crate::bridge::callbacks::Gone;
use crate::bridge::carried::Course;
use crate::bridge::config::PoolConfig;
use crate::bridge::sync::{Arc, Ordering};

/// For what of its client an application waits that must not wait in the pipes.
pub(super) const FOR_BODY: u8 = 1;
pub(super) const FOR_ROOM: u8 = 2;

/// The attendant looks at a request no more often: its clock may stand still.
const LEAST: Duration = Duration::from_millis(20);

impl Exchange {
    /// Loop's thread: the application's `…_timeout` begins again.
    pub(crate) fn touch(&self) {
        let is_timed = self.location.timeout.is_some() || self.location.slow.is_some();
        if is_timed && self.started() != NO_DEADLINE {
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

    /// How much of `wsgi_timeout` is left to the running application, if there is a limit.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.left_of(self.location.timeout?)
    }

    /// In what time the running application is slow (`…_slow_request`), if that has not been said.
    pub(crate) fn slow_in(&self) -> Option<Duration> {
        let limit = self.location.slow?;
        if self.slow.load(Ordering::Relaxed) { None } else { self.left_of(limit) }
    }

    /// The same, also before it runs.
    pub(crate) fn slow_in_at_least(&self) -> Option<Duration> {
        match self.progress() {
            Progress::Waiting => self.location.slow,
            Progress::Running(_) | Progress::Done => self.slow_in(),
        }
    }

    /// Has to be said now that the application is slow? True once.
    pub(crate) fn begin_slow(&self) -> bool {
        self.slow_in() == Some(Duration::ZERO) && !self.slow.swap(true, Ordering::Relaxed)
    }

    /// What the log says of it then.
    pub(crate) fn slow_text(&self) -> String {
        let elapsed = match self.progress() {
            Progress::Running(elapsed) => elapsed,
            Progress::Waiting | Progress::Done => 0,
        };
        format!(
            "application \"{}\" is slow: it has run for {elapsed} ms ({}_slow_request), and runs on; its stack follows",
            self.worker.target(self.location.app),
            self.location.protocol,
        )
    }

    fn left_of(&self, limit: Duration) -> Option<Duration> {
        if self.started() == NO_DEADLINE {
            return None;
        }
        match self.progress() {
            Progress::Running(elapsed) => {
                Some(limit.saturating_sub(Duration::from_millis(elapsed)))
            }
            Progress::Waiting | Progress::Done => None,
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.notice();
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

    /// Makes the attendant look at the application when it is slow, or its `wsgi_timeout` is over: nginx's timer is
    /// deleted with the request. What runs inline has no other deadline than the event loop's.
    pub(crate) fn watch(self: &Arc<Self>) {
        let deadline = if self.is_inline() { None } else { self.time_left() };
        if let Some(left) = [self.slow_in(), deadline].into_iter().flatten().min() {
            self.worker.tasks.watch(self, left.max(LEAST));
        }
    }

    /// The application is beyond its `wsgi_timeout`: makes the attendant interrupt it, `wsgi_interrupt_timeout` later.
    pub(crate) fn interrupt_later(self: &Arc<Self>) {
        if let Some(after) = self.location.interrupt {
            self.worker.tasks.interrupt(self, after);
        }
    }

    /// Event loop, about to run the application: makes the attendant look at it when it is slow. False if it need not
    /// be.
    pub(crate) fn watch_inline(self: &Arc<Self>) -> bool {
        if let Some(limit) = self.location.slow {
            self.worker.tasks.watch(self, limit);
        }
        self.location.slow.is_some()
    }

    /// Event loop: nobody waits for the response any more. How far is the application from its deadline?
    pub(crate) fn course(&self) -> Course {
        match self.phase.load(Ordering::Acquire) {
            WRITTEN_OFF => Course::Late,
            RUNNING if self.is_overdue() => Course::Late,
            RUNNING => match self.time_left() {
                Some(Duration::ZERO) => Course::Late,
                Some(left) => Course::InTime(left),
                None => Course::Over,
            },
            _ => Course::Over,
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
        if self.phase.load(Ordering::SeqCst) != RUNNING {
            // It may have ended before it was counted.
            self.end_overdue();
            return None;
        }
        exhausted
    }

    /// It has ended, or its thread no longer counts.
    pub(crate) fn end_overdue(&self) {
        if self.overdue.load(Ordering::SeqCst) && self.overdue.swap(false, Ordering::SeqCst) {
            if let Some(executor) = self.executor() {
                executor.end_overdue();
            }
        }
    }

    /// The application waits for that of its client, or does so no more: its deadline stands still meanwhile. For
    /// what does not wait in the pipes.
    pub(super) fn set_waiting(&self, what: u8, waits: bool) {
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

    /// Runs `wait`; the application's deadline does not count the time.
    pub(super) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.client_wait.begin(self.worker.now());
        let result = wait();
        self.client_wait.end(self.worker.now());
        result
    }

    /// Milliseconds of the worker's clock at which the thread started.
    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }
}
