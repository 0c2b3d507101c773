//! The executor `inline`: Python, called on the event loop's own thread.
//!
//! Nobody else sends such a response, and nobody else can wait for its client: an application that has more
//! to say than the pipe has room for is left in the middle of its iteration, as a [`Suspended`], and is
//! resumed when the client has taken what there was.

use std::collections::VecDeque;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use smallvec::SmallVec;

use super::{Executor, Refusal, Submitted, Waiter};
use crate::bridge::config::PoolConfig;

/// The executor. It keeps nothing: what it is given, the event loop has to run.
#[derive(Debug)]
pub(crate) struct Inline<J> {
    /// From when Python is there.
    runner: OnceLock<Box<dyn Runner<J>>>,
}

/// Python, as the event loop calls it. No call waits for a client.
pub(crate) trait Runner<J>: fmt::Debug + Send + Sync {
    /// Runs the application for each job that waits; for one whose application has ended, what is left to do after
    /// its response. It returns when it has run at least one: if the next call may be slow, after `limit`, or if
    /// there is no job left. Quick ones gain by being run together: neither Python's code nor the kernel's has to
    /// be fetched into the processor's caches for each.
    fn run(&self, jobs: &mut dyn Iterator<Item = J>, limit: Duration, ran: &mut Returned<J>);
}

/// Requests whose applications are called in one turn of the event loop: others want their turn, too.
pub(crate) const CALLS: usize = 16;

/// What a turn of the event loop runs.
pub(crate) type Calls<J> = SmallVec<[J; CALLS]>;

/// What it has run.
pub(crate) type Returned<J> = SmallVec<[Ran<J>; CALLS]>;

/// A job that [`Runner::run`] has run.
#[derive(Debug)]
pub(crate) struct Ran<J> {
    pub(crate) job: J,
    /// What is left of its response.
    pub(crate) suspended: Option<Box<dyn Suspended>>,
}

/// A response in the middle of its iteration.
pub(crate) trait Suspended: fmt::Debug + Send {
    /// Resumes the response, by one block at most; ends it if its pipe is closed.
    fn resume(self: Box<Self>) -> Option<Box<dyn Suspended>>;
}

/// Beyond so many no request waits for the import of its application.
pub(crate) const MAX_WAITING: usize = 1024;

impl<J> Inline<J> {
    pub(crate) fn new() -> Self {
        Self { runner: OnceLock::new() }
    }

    /// Python's main thread, before it opens a gate: how the event loop calls Python.
    pub(crate) fn set_runner(&self, runner: Box<dyn Runner<J>>) {
        // There is one main thread, which does this once.
        let _first = self.runner.set(runner);
    }

    /// Event loop: Python, if it has started.
    pub(crate) fn runner(&self) -> Option<&dyn Runner<J>> {
        self.runner.get().map(|runner| &**runner)
    }
}

impl<J: fmt::Debug> Executor<J> for Inline<J> {
    fn submit(&self, job: J) -> Result<Submitted<J>, J> {
        Ok(Submitted::Run(job))
    }

    fn submit_now(&self, job: J) -> Result<Submitted<J>, J> {
        Ok(Submitted::Run(job))
    }

    fn submit_again(&self, job: J) -> Submitted<J> {
        Submitted::Run(job)
    }

    fn look(&self) -> bool {
        false
    }

    fn forget(&self, _job: &J) {}

    fn waiter(&self) -> Waiter {
        Waiter::EventLoop
    }

    fn max_waiting(&self) -> usize {
        MAX_WAITING
    }

    fn refusal(&self, _job: Option<&J>) -> Refusal {
        Refusal::GateFull
    }

    fn threads(&self) -> usize {
        1
    }

    fn interrupts(&self) -> bool {
        false
    }

    fn delay(&self, _job: &J) -> &'static str {
        "it was not called"
    }

    fn after_deadline(&self) -> &'static str {
        "its iteration ends"
    }

    fn begin_overdue(&self) -> Option<&PoolConfig> {
        None
    }

    fn end_overdue(&self) {}

    fn close(&self) -> VecDeque<J> {
        VecDeque::new()
    }

    fn wait_ended(&self, _limit: Duration) -> bool {
        true
    }
}
