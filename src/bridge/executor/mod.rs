//! Who runs the application.
//!
//! What an executor is given is owned data: a head of bytes, pipes of bytes. Neither a closure nor an object of
//! Python's is among it, so that an executor may hand a request to another thread, or to another process.
//!
//! An executor's other side, which calls Python, is in `python/run`: a [pool](pool)'s threads take what waits from
//! their pool; what runs [inline](inline) is taken by the event loop; an asyncio [loop](asyncio)'s thread starts a task
//! for each.

pub(crate) mod asyncio;
pub(crate) mod inline;
pub(crate) mod pool;
pub(crate) mod process;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::config::PoolConfig;

/// Runs jobs: exchanges, but for the tests.
pub(crate) trait Executor<J>: fmt::Debug + Send + Sync {
    /// Event loop: takes a job; [`look`](Self::look) must follow, once for all of the same turn of the loop. If
    /// there is no room the job comes back.
    fn submit(&self, job: J) -> Result<Submitted<J>, J>;

    /// Any thread: takes a job, and sees to it at once.
    fn submit_now(&self, job: J) -> Result<Submitted<J>, J>;

    /// Event loop: takes a job that was here before, for what comes after its response; whether there is room or
    /// not. An executor that is closed drops it.
    fn submit_again(&self, job: J) -> Submitted<J>;

    /// Event loop, at the end of a turn: sees to what has been submitted. True if this has to be called again in a
    /// millisecond.
    #[must_use]
    fn look(&self) -> bool;

    /// Event loop: drops a job that waits.
    fn forget(&self, job: &J);

    /// Any thread: something has changed for a job that runs: its request's body, room for its response, its client or
    /// its deadline. If not `now`, the event loop is in a turn, and [`look`](Self::look) must follow. Only for an
    /// executor whose jobs are tasks on a thread that must not wait; the threads of a [pool](pool) wait in the pipes,
    /// and what runs inline is resumed by the event loop itself.
    fn resume(&self, _job: J, _now: bool) {}

    /// Event loop: that has changed for a job whose application runs in another process. True if the event loop has to
    /// be told that there is something to carry there. Only for the executor of such jobs ([process]).
    #[must_use]
    fn tell(&self, _job: J, _change: Change) -> bool {
        false
    }

    /// Who waits if a job's response has no room in its pipe.
    fn waiter(&self) -> Waiter;

    /// How many jobs of one application may wait for its import.
    fn max_waiting(&self) -> usize;

    /// Why there is no room for a job; for `None`, why it cannot wait for its application's import.
    fn refusal(&self, job: Option<&J>) -> Refusal;

    /// How many jobs run on threads of their own at a time, at most.
    fn threads(&self) -> usize;

    /// How many jobs have not ended. An executor that a request holds until its job has ended counts none.
    fn running(&self) -> usize {
        0
    }

    /// Is a job interrupted by an exception that another thread raises in its own
    /// ([`ClientAbort::Cancel`](super::config::ClientAbort))?
    fn interrupts(&self) -> bool;

    /// What did not happen for a job that has waited for too long, though its application is imported.
    fn delay(&self, job: &J) -> &'static str;

    /// What becomes of a job that is beyond its deadline.
    fn after_deadline(&self) -> &'static str;

    /// One more job is beyond its deadline. Gives the pool if the jobs of all its threads are now, which has to be
    /// logged; once, until one of them ends.
    fn begin_overdue(&self) -> Option<&PoolConfig>;

    /// Such a job has ended.
    fn end_overdue(&self);

    /// Takes nothing more, and ends its threads as each has run its job. Gives back what waits.
    fn close(&self) -> VecDeque<J>;

    /// Waits at most `limit` for the threads to end, once it is closed; says whether they have.
    fn wait_ended(&self, limit: Duration) -> bool;
}

/// What another process has to hear of a job whose application it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its request's body, or its WebSocket.
    Input,
    /// nginx has sent so much of its response, from memory and from temporary files, has closed so many of these files,
    /// and its client can take no more now.
    Taken { memory: usize, file: u64, files: usize, stalled: bool },
    /// Nobody waits for its response any more.
    Gone,
    /// Nothing more goes to its client.
    Closed,
    /// nginx has freed its request.
    Over,
    /// It may be beyond its deadline.
    Ask,
    /// This process exits, and its WebSocket may go when its task only waits.
    Drain,
}

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Submitted<J> {
    /// It waits for its application, or for a thread.
    Queued,
    /// The event loop has to run it, by its [`Runner`](inline::Runner).
    Run(J),
}

/// Who waits for a client that takes its response slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// The job's thread, in the pipe.
    Thread,
    /// The job's task, until there is room ([`Executor::resume`]).
    Task,
    /// The event loop, which runs the job itself: the job is suspended.
    EventLoop,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[error("the queue of the thread pool is full (python_thread_pool max_queue)")]
    QueueFull,
    #[error("too many requests wait for the import of their application")]
    GateFull,
    #[error(
        "too many requests wait for their event loop, which is busy or blocked (python_event_loop)"
    )]
    LoopFull,
    #[error("too many requests wait for others of their location (asgi_max_requests_in_flight)")]
    TooManyInFlight,
    #[error("the event loop of the application has ended in this worker, see above")]
    LoopEnded,
    #[error("too many requests wait for the processes of their application (python_process queue)")]
    ProcessesFull,
    #[error("Python did not start in this worker, see above")]
    Broken,
}
