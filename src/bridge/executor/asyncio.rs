//! The executor `asyncio`: an asyncio event loop on a thread of its own, and the queue to it.
//!
//! A job is in one of these states:
//!
//! - **waits**: its location has as many jobs in flight as it may (`max_in_flight`). It is in `waiting` of its
//!   location, in order.
//! - **queued**: it is a [`Message::Start`] that the loop's thread has not taken. From here on it is in flight.
//! - **taken**: the loop's thread has it, and runs a task for it, or finds that it has expired. It is counted in
//!   `running` until [`finished`](Loop::finished), which is called once for each `Start` that was taken, whatever came
//!   of it: also long after the response, if the task does background work.
//!
//! The event loop moves a job into the first or the second state ([`submit`](Executor::submit)), and takes it out of
//! either ([`forget`](Executor::forget), [`close`](Executor::close)). The loop's thread moves what is queued into the
//! third ([`take`](Loop::take)). Whoever makes room in a location, by `forget` or `finished`, moves the first that waits
//! there into the second, so that nothing waits while there is room. All of this is done under one lock.
//!
//! The loop's thread sleeps in the loop's selector, which watches the descriptor of a [`Doorbell`]. Whoever adds a
//! message rings, and the [`Doorbell`] makes that one ring for a batch. In a turn of the event loop
//! ([`Worker::begin_turn`](crate::bridge::worker::Worker::begin_turn)) that is left to [`look`](Executor::look), once for
//! all that the turn has added.
//!
//! The number of messages is bounded: at most [`MAX_QUEUE`] `Start`s, and for each running task a `Resume` for each
//! wake-up that it has armed, one for its client's end and one for its deadline.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::{Executor, Refusal, Submitted, Waiter};
use crate::bridge::carried::Carried;
use crate::bridge::clock;
use crate::bridge::config::{LoopConfig, PoolConfig};
use crate::bridge::doorbell::Doorbell;
use crate::bridge::stall::{Found, Stall};
use crate::bridge::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, lock, wait_for};
use crate::metrics::meters::{LoopMeter, LoopNow};

/// What the event loop tells the loop's thread.
#[derive(Debug)]
pub(crate) enum Message<J> {
    /// Start a task for this job. [`Loop::finished`] must follow, whether a task is started or not.
    Start(J),
    /// Something has changed for the task of this job: its request's body, room for its response, its client or its
    /// deadline. It may have ended meanwhile.
    Resume(J),
    /// Cancel the tasks and leave the loop; the last message but for `Resume`.
    Close,
}

/// A loop, and its executor.
#[derive(Debug)]
pub(crate) struct Loop<J> {
    pub(crate) config: LoopConfig,
    state: Mutex<State<J>>,
    doorbell: Doorbell,
    /// The event loop has added a message, and has not looked since. It alone uses this.
    added: AtomicBool,
    /// The thread has left the loop.
    left: Condvar,
    stall: Stall,
    meter: LoopMeter,
}

#[derive(Debug)]
struct State<J> {
    messages: Vec<Message<J>>,
    /// How many of them are `Start`.
    starts: usize,
    /// When the first of these was added, in milliseconds of the worker's clock.
    starts_since: u64,
    meter: LoopMeter,
    /// By the number of the location, for those that have a limit.
    limited: HashMap<usize, Limited<J>>,
    /// Tasks that have not ended, by application.
    running: Vec<usize>,
    closed: bool,
    thread: Thread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    NotStarted,
    InLoop,
    HasLeft,
}

/// The jobs of a location with a limit.
#[derive(Debug)]
struct Limited<J> {
    in_flight: usize,
    waiting: VecDeque<J>,
}

/// Beyond so many jobs that have not been taken, or that wait for their location's others, a further one is refused.
pub(crate) const MAX_QUEUE: usize = 1024;

impl<X: Carried> Loop<Arc<X>> {
    /// `least`: its descriptor's number is no lower.
    pub(crate) fn new(config: LoopConfig, meter: LoopMeter, least: RawFd) -> io::Result<Self> {
        let state = State {
            messages: Vec::new(),
            starts: 0,
            starts_since: 0,
            meter,
            limited: HashMap::new(),
            running: Vec::new(),
            closed: false,
            thread: Thread::NotStarted,
        };
        Ok(Self {
            config,
            state: Mutex::new(state),
            doorbell: Doorbell::new(least)?,
            added: AtomicBool::new(false),
            left: Condvar::new(),
            stall: Stall::new(),
            meter,
        })
    }

    /// The descriptor that becomes readable when there is a batch to take.
    pub(crate) fn fd(&self) -> RawFd {
        self.doorbell.fd()
    }

    /// Loop's thread: is about to enter the loop. [`ended`](Self::ended) must follow.
    pub(crate) fn started(&self) {
        let mut state = lock(&self.state);
        state.thread = Thread::InLoop;
        state.show();
    }

    /// Loop's thread: the bell has been heard.
    pub(crate) fn hush(&self) {
        self.doorbell.hush();
    }

    /// Attendant: looks whether the loop turns; gives back for how long it has not, if that has to be said.
    pub(crate) fn stalled(&self, now: u64, limit: Duration) -> Option<Duration> {
        if lock(&self.state).thread != Thread::InLoop {
            return None;
        }
        match self.stall.ask(now, limit) {
            Found::Asked => {
                self.meter.asked(now);
                // Also if it is awake: it may be about to rest.
                self.doorbell.ring_again();
                None
            }
            Found::Waits => None,
            Found::Stalled(waited) => Some(waited),
        }
    }

    /// Loop's thread: turns. Gives back for how long it has not, if that was said.
    pub(crate) fn turned(&self, now: u64) -> Option<Duration> {
        let answer = self.stall.answer(now)?;
        let lag = u64::try_from(answer.after.as_millis()).unwrap_or(u64::MAX);
        self.meter.answered(lag);
        answer.said.then_some(answer.after)
    }

    /// Loop's thread: moves all messages into `batch`.
    pub(crate) fn take(&self, batch: &mut Vec<Message<Arc<X>>>) {
        let mut state = lock(&self.state);
        if state.starts > 0 {
            let State { messages, running, .. } = &mut *state;
            for message in messages {
                if let Message::Start(job) = message {
                    count_one(running, job.location().app);
                }
            }
            state.starts = 0;
            state.show();
        }
        batch.append(&mut state.messages);
    }

    /// Loop's thread: has dealt with a batch, so that the next message rings. True if there is something to take by
    /// now.
    #[must_use]
    pub(crate) fn rest(&self) -> bool {
        self.doorbell.rest(|| !lock(&self.state).messages.is_empty())
    }

    /// Loop's thread: rings for itself, to be woken in the loop's next turn.
    pub(crate) fn ring_again(&self) {
        self.doorbell.ring_again();
    }

    /// Loop's thread: the task of a job has ended, or none has been started for it.
    pub(crate) fn finished(&self, job: &Arc<X>) {
        let next = {
            let mut state = lock(&self.state);
            if let Some(running) = state.running.get_mut(job.location().app) {
                *running = running.saturating_sub(1);
            }
            let next = state.make_room(job);
            state.show();
            next
        };
        if next {
            self.doorbell.ring();
        }
    }

    /// Loop's thread: has left the loop, or could not enter it. Gives back the jobs that it has not taken, which must
    /// be answered; none comes after them.
    #[must_use]
    pub(crate) fn ended(&self) -> VecDeque<Arc<X>> {
        let (jobs, messages) = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.thread = Thread::HasLeft;
            let jobs = state.give_back();
            state.show();
            (jobs, std::mem::take(&mut state.messages))
        };
        // Outside the lock: these may be the last references.
        drop(messages);
        self.left.notify_all();
        jobs
    }

    /// How many tasks of that application have not ended.
    pub(crate) fn running_of(&self, app: usize) -> usize {
        lock(&self.state).running.get(app).copied().unwrap_or(0)
    }

    /// Any thread: looks whether the loop's thread can still be woken.
    pub(crate) fn check(&self) {
        self.doorbell.check();
    }

    /// What to do when somebody has closed the bell's descriptor.
    pub(crate) fn on_lost(&self, act: fn()) {
        self.doorbell.on_lost(act);
    }

    /// Adds a job; false if it waits for others of its location. If there is no room it comes back.
    fn add(&self, job: Arc<X>) -> Result<bool, Arc<X>> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(job);
        }
        let location = job.location();
        let (id, limit) = (location.id, location.max_in_flight);
        if let Some(limit) = limit {
            let limited = state.limited.entry(id).or_default();
            if limited.in_flight >= limit {
                if limited.waiting.len() >= MAX_QUEUE {
                    return Err(job);
                }
                limited.waiting.push_back(job);
                state.show();
                return Ok(false);
            }
        }
        if state.starts >= MAX_QUEUE {
            return Err(job);
        }
        if limit.is_some() {
            state.limited.entry(id).or_default().in_flight += 1;
        }
        state.start(job);
        state.show();
        Ok(true)
    }
}

impl<J> Default for Limited<J> {
    fn default() -> Self {
        Self { in_flight: 0, waiting: VecDeque::new() }
    }
}

impl<X: Carried> State<Arc<X>> {
    /// After a change: tells everybody how it is.
    fn show(&self) {
        let waiting: usize = self.limited.values().map(|limited| limited.waiting.len()).sum();
        self.meter.show(LoopNow {
            tasks: self.running.iter().sum(),
            queue: self.starts + waiting,
            head_since: if self.starts == 0 { 0 } else { self.starts_since },
        });
    }

    fn start(&mut self, job: Arc<X>) {
        if self.starts == 0 {
            self.starts_since = clock::milliseconds();
        }
        self.starts += 1;
        self.messages.push(Message::Start(job));
    }

    /// A job of that location is in flight no more: the next one is started, if one waits; says so.
    fn make_room(&mut self, job: &Arc<X>) -> bool {
        let location = job.location();
        if location.max_in_flight.is_none() {
            return false;
        }
        let Some(limited) = self.limited.get_mut(&location.id) else { return false };
        let Some(next) = limited.waiting.pop_front() else {
            limited.in_flight = limited.in_flight.saturating_sub(1);
            return false;
        };
        self.start(next);
        true
    }

    /// Takes out what has not been taken, in order: what is queued, then what waits.
    fn give_back(&mut self) -> VecDeque<Arc<X>> {
        let mut jobs = VecDeque::new();
        for message in std::mem::take(&mut self.messages) {
            match message {
                Message::Start(job) => jobs.push_back(job),
                other => self.messages.push(other),
            }
        }
        self.starts = 0;
        for limited in self.limited.values_mut() {
            jobs.append(&mut limited.waiting);
        }
        jobs
    }
}

/// One more task of that application.
fn count_one(running: &mut Vec<usize>, app: usize) {
    if running.len() <= app {
        running.resize(app + 1, 0);
    }
    if let Some(running) = running.get_mut(app) {
        *running += 1;
    }
}

impl<X: Carried> Executor<Arc<X>> for Loop<Arc<X>> {
    fn submit(&self, job: Arc<X>) -> Result<Submitted<Arc<X>>, Arc<X>> {
        if self.add(job)? {
            self.added.store(true, Ordering::Relaxed);
        }
        Ok(Submitted::Queued)
    }

    fn submit_now(&self, job: Arc<X>) -> Result<Submitted<Arc<X>>, Arc<X>> {
        if self.add(job)? {
            self.doorbell.ring();
        }
        Ok(Submitted::Queued)
    }

    /// Nothing comes after a response here.
    fn submit_again(&self, _job: Arc<X>) -> Submitted<Arc<X>> {
        Submitted::Queued
    }

    fn look(&self) -> bool {
        if self.added.load(Ordering::Relaxed) {
            self.added.store(false, Ordering::Relaxed);
            // The loop's thread may have taken all of it already, if it was awake.
            if !lock(&self.state).messages.is_empty() {
                self.doorbell.ring();
            }
        }
        false
    }

    fn resume(&self, job: Arc<X>, now: bool) {
        {
            let mut state = lock(&self.state);
            if state.thread == Thread::HasLeft {
                drop(state);
                // Outside the lock: it may be the last reference.
                drop(job);
                return;
            }
            state.messages.push(Message::Resume(job));
        }
        if now {
            self.doorbell.ring();
        } else {
            self.added.store(true, Ordering::Relaxed);
        }
    }

    fn forget(&self, job: &Arc<X>) {
        let (job, next) = {
            let mut state = lock(&self.state);
            let is_start = |message: &Message<Arc<X>>| matches!(message, Message::Start(other) if other == job);
            if let Some(at) = state.messages.iter().position(is_start) {
                let message = state.messages.remove(at);
                state.starts -= 1;
                let next = state.make_room(job);
                state.show();
                (Some(message), next)
            } else {
                let waiting = state.limited.get_mut(&job.location().id).map(|it| &mut it.waiting);
                let found = waiting.and_then(|waiting| {
                    let at = waiting.iter().position(|other| other == job)?;
                    waiting.remove(at)
                });
                state.show();
                (found.map(Message::Start), false)
            }
        };
        // Outside the lock: it may be the last reference.
        drop(job);
        if next {
            self.doorbell.ring();
        }
    }

    fn waiter(&self) -> Waiter {
        Waiter::Task
    }

    fn max_waiting(&self) -> usize {
        MAX_QUEUE
    }

    fn refusal(&self, job: Option<&Arc<X>>) -> Refusal {
        let Some(job) = job else { return Refusal::GateFull };
        let state = lock(&self.state);
        let waiting =
            state.limited.get(&job.location().id).map_or(0, |limited| limited.waiting.len());
        if state.closed {
            Refusal::LoopEnded
        } else if waiting >= MAX_QUEUE {
            Refusal::TooManyInFlight
        } else {
            Refusal::LoopFull
        }
    }

    fn threads(&self) -> usize {
        1
    }

    fn running(&self) -> usize {
        lock(&self.state).running.iter().sum()
    }

    fn interrupts(&self) -> bool {
        false
    }

    fn delay(&self, job: &Arc<X>) -> &'static str {
        let state = lock(&self.state);
        let limited = state.limited.get(&job.location().id);
        if limited.is_some_and(|limited| limited.waiting.contains(job)) {
            "no other of its location ended (asgi_max_requests_in_flight)"
        } else {
            "its event loop, busy or blocked, did not take it"
        }
    }

    fn after_deadline(&self) -> &'static str {
        "its task is cancelled, its stack follows"
    }

    fn begin_overdue(&self) -> Option<&PoolConfig> {
        None
    }

    fn end_overdue(&self) {}

    fn close(&self) -> VecDeque<Arc<X>> {
        let jobs = {
            let mut state = lock(&self.state);
            if !std::mem::replace(&mut state.closed, true) {
                state.messages.push(Message::Close);
            }
            let jobs = state.give_back();
            state.show();
            jobs
        };
        self.doorbell.ring();
        jobs
    }

    fn wait_ended(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = lock(&self.state);
        while state.thread == Thread::InLoop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = wait_for(&self.left, state, left);
        }
        true
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
