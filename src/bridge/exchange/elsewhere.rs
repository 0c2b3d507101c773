//! An exchange whose application runs in another process, seen from both processes.
//!
//! In the web worker it is *relayed*: nginx's side of it is that of any other, and what happens to it is told to the
//! relay, which has the application's side. In the application's process it is *carried*: the application's side is that
//! of any other, and the front has nginx's.

use super::{Exchange, NO_DEADLINE, Progress, RUNNING, WAITING};
use crate::bridge::begun::Mark;
use crate::bridge::carriage::{Confirmed, Place};
use crate::bridge::config::{ExecutorId, ProcessGroup, process_name};
use crate::bridge::events::Event;
use crate::bridge::executor::Change;
use crate::bridge::sync::{Arc, Ordering};
use crate::bridge::timings::Measured;

impl Exchange {
    /// Does another process run the application?
    pub(crate) fn is_relayed(&self) -> bool {
        matches!(self.location.executor, ExecutorId::Process(_))
    }

    /// Does a thread run it alone, here or in its process? A loop's runs many at a time.
    pub(crate) fn has_thread(&self) -> bool {
        match self.location.executor {
            ExecutorId::Process(_) => {
                let app = self.worker.config.apps.get(self.location.app);
                app.is_some_and(|app| app.protocol.has_threads())
            }
            own => own.has_threads(),
        }
    }

    /// The group whose processes run its application, if it is relayed.
    pub(crate) fn group(&self) -> Option<&ProcessGroup> {
        match self.location.executor {
            ExecutorId::Process(at) => self.worker.config.groups.get(at),
            _ => None,
        }
    }

    /// The process that runs its application, if it is relayed: its group, and its number there once it has been sent.
    pub(crate) fn process(&self) -> Option<String> {
        let ExecutorId::Process(at) = self.location.executor else { return None };
        let groups = &self.worker.config.groups;
        let name = &groups.get(at)?.name;
        let before = || groups.iter().take(at).map(|group| group.processes).sum();
        Some(match self.place() {
            Some(Place { process, .. }) => process_name(name, process.saturating_sub(before())),
            None => name.clone(),
        })
    }

    /// Front: it has come from that process, where its beginning has that mark.
    pub(crate) fn set_origin(&self, process: u32, mark: Mark) {
        self.carriage.set_origin(process, mark);
    }

    /// The process whose connections its head names; `None`: this one.
    pub(crate) fn origin(&self) -> Option<u32> {
        self.carriage.origin()
    }

    /// Relay: it is sent to a process.
    pub(crate) fn set_sent(&self, place: Place, mark: Mark) {
        self.carriage.set_sent(place, mark, self.worker.now());
    }

    /// Relay: where it has been sent to.
    pub(crate) fn place(&self) -> Option<Place> {
        self.carriage.place()
    }

    /// Relay: its process has ended before the application has begun.
    pub(crate) fn set_unsent(&self) {
        self.carriage.set_unsent();
    }

    /// Event loop: looks whether its application has begun in the other process. It counts as begun when it was sent:
    /// for how long it has run, its process is asked.
    pub(super) fn notice(&self) {
        if !self.is_relayed() || self.phase.load(Ordering::Acquire) != WAITING {
            return;
        }
        let Some(begun) = self.carriage.begun_since() else { return };
        self.timings.take();
        self.started.store(begun, Ordering::Relaxed);
        let _expired =
            self.phase.compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Relay: what its process has said of it at the end of its response.
    pub(crate) fn adopt(&self, measured: Measured, thread: Option<u64>, exception: Option<String>) {
        self.notice();
        self.timings.adopt(measured);
        if let Some(thread) = thread {
            self.thread.store(thread, Ordering::Relaxed);
        }
        if let Some(name) = exception {
            // Its process has counted it.
            let _first = self.exception.set(name.into_boxed_str());
        }
    }

    /// Front: for how many milliseconds the application has run; `None` if it has no deadline any more.
    pub(crate) fn elapsed(&self) -> Option<u64> {
        match self.progress() {
            _ if self.started() == NO_DEADLINE => None,
            Progress::Running(elapsed) => Some(elapsed),
            Progress::Waiting => Some(0),
            Progress::Done => None,
        }
    }

    /// Relay: its process says that the application has run for so many milliseconds.
    pub(crate) fn set_elapsed(&self, elapsed: Option<u64>) {
        self.notice();
        let now = self.worker.now();
        self.carriage.answer(now);
        let started = elapsed.map_or(NO_DEADLINE, |elapsed| now.saturating_sub(elapsed));
        self.started.store(started, Ordering::Relaxed);
    }

    /// Event loop: the application seems to be beyond its deadline. True if it is. In another process it may have waited
    /// for its client meanwhile, and so that process is asked first, which answers at once or not at all.
    pub(crate) fn confirm_deadline(self: &Arc<Self>) -> bool {
        if !self.is_relayed() {
            return true;
        }
        let confirmed = self.carriage.confirm(self.worker.now());
        if confirmed == Confirmed::Ask {
            self.tell(Change::Ask);
        }
        confirmed == Confirmed::Yes
    }

    /// Event loop: has the relay know that this has changed.
    pub(super) fn tell(self: &Arc<Self>, change: Change) {
        let Some(executor) = self.executor() else { return };
        // In a turn the relay looks at its end.
        if executor.tell(Arc::clone(self), change) && !self.worker.is_in_turn() {
            self.worker.events.push(Event::Relay);
        }
    }
}
