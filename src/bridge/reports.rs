//! Requests that are over, for the functions of `pywsgi.on_request_finished`.
//!
//! A request is over when its thread has left the application and nginx has freed it, in either order: whoever comes
//! later leaves what is known of it here, and a Python thread of its own takes it. As long as nobody wants to know,
//! neither side does more than to ask for that.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use super::callbacks::Gone;
use super::sync::{AtomicBool, AtomicU8, AtomicU64, Condvar, Mutex, Ordering, lock, wait};
use crate::http::request_head::RequestHead;

/// What is known of a request that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) head: RequestHead,
    /// The process that has its connection; `None`: this one.
    pub(crate) origin: Option<u32>,
    /// The number of its application.
    pub(crate) app: usize,
    /// `None`: the client was gone before there was a response.
    pub(crate) status: Option<u16>,
    /// Bytes of the response's body that nginx has sent.
    pub(crate) sent: u64,
    pub(crate) queue: Duration,
    /// `None`: the application was not called.
    pub(crate) application: Option<Duration>,
    /// `None`: it ran on a loop.
    pub(crate) gil_wait: Option<Duration>,
    pub(crate) input: Duration,
    /// Until the client had all that it gets.
    pub(crate) response: Duration,
    /// The name of the type of what the application has raised.
    pub(crate) exception: Option<Box<str>>,
    pub(crate) gone: Option<Gone>,
    pub(crate) begun: SystemTime,
}

/// Both have: the thread has left the application, and nginx has freed the request.
const LEFT: u8 = 1;
const OVER: u8 = 2;

/// What a request knows of its own end, if anybody wants to know.
#[derive(Debug)]
pub(crate) struct Report {
    ends: AtomicU8,
    /// 0: none.
    status: AtomicU64,
    sent: AtomicU64,
    /// Nanoseconds.
    response: AtomicU64,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            ends: AtomicU8::new(0),
            status: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            response: AtomicU64::new(0),
        }
    }

    /// Event loop: that of the response.
    pub(crate) fn set_status(&self, status: Option<u16>) {
        self.status.store(status.unwrap_or_default().into(), Ordering::Relaxed);
    }

    pub(super) fn status(&self) -> Option<u16> {
        let status = u16::try_from(self.status.load(Ordering::Relaxed));
        status.ok().filter(|&status| status != 0)
    }

    /// Event loop: how much of the body the client has got.
    pub(crate) fn set_sent(&self, bytes: u64) {
        self.sent.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn response(&self) -> Duration {
        Duration::from_nanos(self.response.load(Ordering::Relaxed))
    }

    /// The thread has left the application, or never gets to it. True if nginx has freed the request already.
    pub(super) fn leave(&self) -> bool {
        self.part(LEFT)
    }

    /// Event loop: nginx has freed the request, so long after it came. True if the thread has left already.
    pub(super) fn end(&self, response: Duration) -> bool {
        let nanoseconds = u64::try_from(response.as_nanos()).unwrap_or(u64::MAX);
        self.response.store(nanoseconds, Ordering::Relaxed);
        self.part(OVER)
    }

    /// True for the second side, once.
    fn part(&self, side: u8) -> bool {
        let before = self.ends.fetch_or(side, Ordering::AcqRel);
        before != LEFT | OVER && before | side == LEFT | OVER
    }
}

/// The queue to the thread that calls these functions.
#[derive(Debug)]
pub(crate) struct Reports {
    wanted: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Box<Finished>>,
    dropped: u64,
    is_over: bool,
}

impl Reports {
    pub(super) fn new() -> Self {
        Self {
            wanted: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        }
    }

    /// Python: from now on there is a thread that takes them.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Never waits. If too many wait, it is dropped, and counted.
    pub(super) fn push(&self, finished: Finished) {
        let mut state = lock(&self.state);
        if state.waiting.len() >= MOST {
            state.dropped += 1;
            return;
        }
        state.waiting.push_back(Box::new(finished));
        drop(state);
        self.changed.notify_one();
    }

    /// The thread: waits for the next one. `None`: there are no more.
    pub(crate) fn next(&self) -> Option<Box<Finished>> {
        let mut state = lock(&self.state);
        loop {
            if let Some(finished) = state.waiting.pop_front() {
                return Some(finished);
            }
            if state.is_over {
                return None;
            }
            state = wait(&self.changed, state);
        }
    }

    /// How many have been dropped since it was last asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut lock(&self.state).dropped)
    }

    /// The worker exits: the thread ends when it has taken what waits.
    pub(crate) fn end(&self) {
        lock(&self.state).is_over = true;
        self.changed.notify_all();
    }
}

/// How many may wait.
const MOST: usize = 4096;

#[cfg(test)]
fn finished(app: usize) -> Finished {
    Finished {
        origin: None,
        head: RequestHead::default(),
        app,
        status: None,
        sent: 0,
        queue: Duration::ZERO,
        application: None,
        gil_wait: None,
        input: Duration::ZERO,
        response: Duration::ZERO,
        exception: None,
        gone: None,
        begun: SystemTime::UNIX_EPOCH,
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn the_second_side_reports_once() {
        for thread_first in [true, false] {
            let report = Report::new();
            let took = Duration::from_millis(3);
            if thread_first {
                assert!(!report.leave());
                assert!(report.end(took));
            } else {
                assert!(!report.end(took));
                assert!(report.leave());
            }
            // One that was written off comes back.
            assert!(!report.leave());
            assert_eq!(report.response(), took);
        }
    }

    #[test]
    fn what_waits_is_taken_before_the_end() {
        let reports = Reports::new();
        reports.push(finished(1));
        reports.push(finished(2));
        reports.end();
        let taken = [reports.next(), reports.next(), reports.next()];
        assert_eq!(taken.map(|taken| taken.map(|finished| finished.app)), [Some(1), Some(2), None]);
    }

    #[test]
    fn too_many_are_dropped_and_counted() {
        let reports = Reports::new();
        for app in 0..MOST + 3 {
            reports.push(finished(app));
        }
        assert_eq!(reports.take_dropped(), 3);
        assert_eq!(reports.take_dropped(), 0);
        assert_eq!(reports.next().map(|finished| finished.app), Some(0));
    }

    #[test]
    fn a_status_may_be_none() {
        let report = Report::new();
        assert_eq!(report.status(), None);
        report.set_status(Some(204));
        assert_eq!(report.status(), Some(204));
        report.set_status(None);
        assert_eq!(report.status(), None);
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::bridge::fixture::check;

    #[test]
    fn a_request_is_reported_once_and_nobody_waits_for_ever() {
        check(3, || {
            let shared = Arc::new((Report::new(), Reports::new()));
            let thread = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    if shared.0.leave() {
                        shared.1.push(finished(0));
                    }
                })
            };
            let taker = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut taken = 0;
                    while shared.1.next().is_some() {
                        taken += 1;
                    }
                    taken
                })
            };
            if shared.0.end(Duration::from_nanos(7)) {
                shared.1.push(finished(0));
            }
            thread.join().unwrap();
            shared.1.end();
            assert_eq!(taker.join().unwrap(), 1);
            assert_eq!(shared.0.response(), Duration::from_nanos(7));
        });
    }
}
