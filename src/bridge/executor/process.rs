//! The executor `process`: jobs whose applications run in the processes of a `python_process`, and the queue to the
//! [`Relay`](crate::bridge::process::relay::Relay) that carries them there.
//!
//! The event loop is on both sides: it submits, and the relay is its own. What is submitted or has changed in a turn
//! waits here until the turn's end.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Change, Executor, Refusal, Submitted, Waiter};
use crate::bridge::config::{PoolConfig, ProcessGroup};
use crate::bridge::sync::{Mutex, lock};
use crate::metrics::groups::GroupMeter;

/// What the relay is told.
#[derive(Debug)]
pub(crate) enum Message<J> {
    /// Carry this job to a process. [`Processes::carried`] must follow.
    Start(J),
    /// That has changed for it.
    Changed(J, Change),
}

/// The processes of a group, and their executor.
#[derive(Debug)]
pub(crate) struct Processes<J> {
    pub(crate) config: ProcessGroup,
    /// The relay shows what waits.
    pub(crate) meter: GroupMeter,
    state: Mutex<State<J>>,
}

#[derive(Debug)]
struct State<J> {
    messages: Vec<Message<J>>,
    /// Jobs that no process has got yet.
    waiting: usize,
    /// The event loop has been told that there are messages.
    announced: bool,
}

impl<J> Processes<J> {
    pub(crate) fn new(config: ProcessGroup, meter: GroupMeter) -> Self {
        meter.limit(config.max_queue);
        let state = State { messages: Vec::new(), waiting: 0, announced: false };
        Self { config, meter, state: Mutex::new(state) }
    }

    /// Relay: moves all messages into `batch`.
    pub(crate) fn take(&self, batch: &mut Vec<Message<J>>) {
        let mut state = lock(&self.state);
        state.announced = false;
        batch.append(&mut state.messages);
    }

    /// Is there nothing to take?
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).messages.is_empty()
    }

    /// Relay: a process has got one of the jobs that waited, or it waits no longer.
    pub(crate) fn carried(&self) {
        let mut state = lock(&self.state);
        state.waiting = state.waiting.saturating_sub(1);
    }

    /// Relay: a job waits once more.
    pub(crate) fn waits_again(&self) {
        lock(&self.state).waiting += 1;
    }

    /// Adds a message. True if the event loop has to be told.
    fn add(&self, message: Message<J>) -> bool {
        let mut state = lock(&self.state);
        state.messages.push(message);
        !std::mem::replace(&mut state.announced, true)
    }
}

impl<J: std::fmt::Debug + PartialEq + Send + Sync> Executor<J> for Processes<J> {
    fn submit(&self, job: J) -> Result<Submitted<J>, J> {
        let mut state = lock(&self.state);
        // A request that is carried at once has not waited: with a queue of 0 one may be on its way.
        if state.waiting > self.config.max_queue {
            return Err(job);
        }
        state.waiting += 1;
        state.messages.push(Message::Start(job));
        Ok(Submitted::Queued)
    }

    fn submit_now(&self, job: J) -> Result<Submitted<J>, J> {
        self.submit(job)
    }

    /// What comes after a response is the other process's.
    fn submit_again(&self, _job: J) -> Submitted<J> {
        Submitted::Queued
    }

    fn look(&self) -> bool {
        false
    }

    /// The relay finds out: such a job has expired.
    fn forget(&self, _job: &J) {}

    fn tell(&self, job: J, change: Change) -> bool {
        self.add(Message::Changed(job, change))
    }

    fn waiter(&self) -> Waiter {
        Waiter::Task
    }

    fn max_waiting(&self) -> usize {
        self.config.max_queue
    }

    fn refusal(&self, _job: Option<&J>) -> Refusal {
        Refusal::ProcessesFull
    }

    fn threads(&self) -> usize {
        0
    }

    fn interrupts(&self) -> bool {
        false
    }

    fn delay(&self, _job: &J) -> &'static str {
        "no process of its python_process has begun it"
    }

    fn after_deadline(&self) -> &'static str {
        "its process goes on without its client"
    }

    fn begin_overdue(&self) -> Option<&PoolConfig> {
        None
    }

    fn end_overdue(&self) {}

    /// The requests end by themselves: the process does not.
    fn close(&self) -> VecDeque<J> {
        VecDeque::new()
    }

    fn wait_ended(&self, _limit: Duration) -> bool {
        true
    }
}
