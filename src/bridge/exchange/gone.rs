//! The client's leaving and the response's end: who of the application is told, and when ([`Callbacks`](super::Callbacks)).

use std::time::SystemTime;

use super::{Exchange, Progress};
use crate::bridge::callbacks::{Callback, Gone};
use crate::bridge::config::ClientAbort;
use crate::bridge::executor::Change;
use crate::bridge::reports::Finished;
use crate::bridge::sync::Arc;
use crate::bridge::tasks::Task;

impl Exchange {
    /// Why nobody waits for the response any more, if that is so.
    pub(crate) fn gone(&self) -> Option<Gone> {
        self.callbacks.gone()
    }

    /// Event loop: nobody waits for the response any more.
    pub(crate) fn set_gone(self: &Arc<Self>, why: Gone) {
        let Some(told) = self.callbacks.set_gone(why) else { return };
        if self.is_inline() {
            // The application does not run while the event loop hears of its client: it is told when it is
            // resumed.
            return;
        }
        if self.is_relayed() {
            self.tell(Change::Gone);
            return;
        }
        if matches!(self.progress(), Progress::Running(_)) {
            self.resume();
            let cancelled =
                why == Gone::Client && self.location.client_abort == ClientAbort::Cancel;
            let interrupted =
                cancelled && self.executor().is_some_and(|executor| executor.interrupts());
            if told || interrupted {
                self.worker.tasks.push(Task::Gone(Arc::clone(self)));
            }
        }
        if self.location.kill.is_some() && why != Gone::Answered {
            self.worker.lingering.add(self);
        }
        match why {
            // The deadline is the application's, whether anybody waits or not.
            Gone::Client => self.watch(),
            // Only now that it is gone: the attendant has its task cancelled at once, and what that sends must be refused.
            Gone::TimedOut => {
                self.worker.tasks.push(Task::LogStack(Arc::clone(self)));
                self.interrupt_later();
            }
            Gone::Answered => {}
        }
    }

    /// Has the client left, and does the application ignore that?
    pub(super) fn ignores_client(&self) -> bool {
        self.location.client_abort == ClientAbort::Ignore && self.gone() == Some(Gone::Client)
    }

    /// Thread: to be called if the client leaves while the application runs. Comes back if it has left already.
    pub(crate) fn on_gone(&self, callback: Callback) -> Option<Callback> {
        self.callbacks.on_gone(callback)
    }

    /// A Python thread: what has to be called now that the client is gone; nothing if the application ignores that
    /// (`wsgi_client_abort ignore`).
    pub(crate) fn take_on_gone(&self) -> Vec<Callback> {
        if self.ignores_client() {
            return Vec::new();
        }
        self.callbacks.take_on_gone()
    }

    /// A Python thread: does any callback wait for the client to be gone?
    pub(crate) fn awaits_gone(&self) -> bool {
        !self.ignores_client() && self.callbacks.awaits_gone()
    }

    /// Thread: to be called when the response is over. Comes back if it is over already.
    pub(crate) fn after(&self, callback: Callback) -> Option<Callback> {
        // Counted first: another thread may take it and be done with it at once.
        self.worker.begin_follow_up();
        let added = self.callbacks.after(callback);
        if !matches!(added, Ok(true)) {
            self.worker.end_follow_up();
        }
        added.err()
    }

    /// A thread of the pool: what has to be called after the response.
    pub(crate) fn take_after(&self) -> Vec<Callback> {
        self.callbacks.take_after()
    }

    /// Thread: all that comes after the response has been done.
    pub(crate) fn followed_up(&self) {
        self.worker.end_follow_up();
    }

    /// How many callbacks of [`on_gone`](Self::on_gone) and of [`after`](Self::after) wait.
    pub(crate) fn callbacks_waiting(&self) -> (usize, usize) {
        self.callbacks.waiting()
    }

    /// Front: does something come after the response, or may something be asked for that does?
    pub(crate) fn has_sequel(&self) -> bool {
        !self.is_done() || self.callbacks_waiting() != (0, 0) || self.worker.reports.is_wanted()
    }

    /// Event loop: nginx has freed the request.
    pub(crate) fn over(self: &Arc<Self>) {
        if self.is_relayed() {
            self.tell(Change::Over);
            return;
        }
        if self.callbacks.set_over() {
            self.worker.submit_again(Arc::clone(self));
        }
        if self.worker.reports.is_wanted() {
            let left = self.has_expired() && self.report.leave();
            if self.report.end(self.timings.elapsed()) || left {
                self.report_now();
            }
        }
    }

    /// The thread has left the application, or is given up.
    pub(super) fn report_left(&self) {
        if self.worker.reports.is_wanted() && self.report.leave() {
            self.report_now();
        }
    }

    /// Leaves what is known of the request to the thread that reports it.
    #[cold]
    fn report_now(&self) {
        let elapsed = self.timings.elapsed();
        self.worker.reports.push(Finished {
            head: self.head.clone(),
            origin: self.origin(),
            app: self.location.app,
            status: self.report.status(),
            sent: self.report.sent(),
            queue: self.timings.queue(),
            application: self.timings.application(),
            gil_wait: self.location.executor.has_threads().then(|| self.timings.gil_wait()),
            input: self.timings.input(),
            response: self.report.response(),
            exception: self.exception().map(Box::from),
            gone: self.gone(),
            begun: SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH),
        });
    }
}
