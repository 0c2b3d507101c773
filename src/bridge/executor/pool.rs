//! A pool of threads and its queue: the executor `threads`.
//!
//! Only one thread runs Python at a time, so waking one for each job makes a convoy on the GIL. Instead
//! at most one thread of a pool *stands by*: it has been woken and waits for the GIL, and takes a job
//! only once it has it, that is, when the running one blocks or ends. As it takes the job it hands the
//! standing by to the next idle thread, if there is a further job. A thread that ends a request takes
//! the next one itself and keeps the GIL.
//!
//! If the jobs are *quick*, even that one is too many: it is woken, and waits for the GIL, only to find the queue
//! empty. While a thread takes one quick job after the other nobody stands by, and the event loop looks every
//! millisecond ([`look`](Executor::look)) whether it still does: a job that blocks after many that did not delays
//! those behind it by two milliseconds, if the event loop itself is not held up (inline). Without this, eight threads
//! serve 5 to 9 percent fewer requests a second (hello, 16 connections, two processors).
//!
//! What always holds, outside the lock and but for jobs that the event loop has queued in this turn
//! ([`look`](Executor::look) is called at its end): if a job waits, a thread stands by, or no thread is idle
//! (all are busy, and each looks here when it is done), or the event loop will look again.
//!
//! Idle threads are woken last in, first out: those at the bottom stay cold, and keep no database
//! connection busy. A thread that takes a job and leaves nobody idle behind makes one more, up to the
//! pool's limit, so that threads start on demand and never on the event loop.

use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Executor, Refusal, Submitted, Waiter};
use crate::bridge::clock;
use crate::bridge::config::PoolConfig;
use crate::bridge::streak::Streak;
use crate::bridge::sync::{Arc, Condvar, Mutex, lock, wait};
use crate::metrics::meters::{PoolMeter, PoolNow};

/// A pool, and its executor.
#[derive(Debug)]
pub(crate) struct Pool<J> {
    pub(crate) config: PoolConfig,
    state: Mutex<State<J>>,
    /// A thread has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State<J> {
    /// Each with the time at which it was put there, in milliseconds of the worker's clock.
    queue: VecDeque<(u64, J)>,
    meter: PoolMeter,
    idle: Vec<Arc<Seat>>,
    stands_by: bool,
    threads: usize,
    /// Threads that run a job.
    busy: usize,
    /// Those whose job is beyond its `wsgi_timeout`.
    overdue: usize,
    /// That all are has been logged.
    said: bool,
    streak: Streak,
    /// How many jobs have been taken, and how many had been when the event loop looked last.
    taken: u64,
    seen: u64,
    /// The event loop is going to look again.
    looked_after: bool,
    closed: bool,
    /// The last thread could not be started: no other is tried before this.
    not_before: Option<Instant>,
    /// The system refuses it threads.
    short: bool,
}

/// What the pool has on one of its threads.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    stands_by: bool,
    runs: bool,
    /// When it took the job that it runs.
    since: Option<Instant>,
}

/// Where one thread sleeps.
#[derive(Debug)]
pub(crate) struct Seat {
    woken: Mutex<bool>,
    bell: Condvar,
}

/// What a thread has to do next.
#[derive(Debug)]
pub(crate) enum Next<J> {
    /// Run the job; if `grow`, start one more thread first.
    Run { job: J, grow: bool },
    /// Nothing to do: [`Pool::sleep`].
    Sleep,
    /// End; the thread is no longer counted.
    End,
}

/// A thread could not be started.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// It is the first time since one could.
    pub(crate) first: bool,
    /// The pool has none now, and nobody looks for what is queued.
    pub(crate) none_left: bool,
}

/// After a thread could not be started, none is tried for so long.
const AGAIN: Duration = Duration::from_secs(1);

impl<J> Pool<J> {
    pub(crate) fn new(config: PoolConfig, meter: PoolMeter) -> Self {
        meter.limits(config.threads, config.max_queue);
        let state = State {
            queue: VecDeque::new(),
            meter,
            idle: Vec::new(),
            stands_by: false,
            threads: 0,
            busy: 0,
            overdue: 0,
            said: false,
            streak: Streak::default(),
            taken: 0,
            seen: 0,
            looked_after: false,
            closed: false,
            not_before: None,
            short: false,
        };
        Self { config, state: Mutex::new(state), ended: Condvar::new() }
    }

    /// A job for which there is no room comes back.
    fn add(&self, state: &mut State<J>, job: J) -> Result<(), J> {
        let free = self.config.threads.saturating_sub(state.busy);
        if state.closed || state.queue.len() >= self.config.max_queue + free {
            return Err(job);
        }
        state.push(job);
        Ok(())
    }

    /// Whether a thread runs a job, or a job waits for one.
    pub(crate) fn is_busy(&self) -> bool {
        let state = lock(&self.state);
        state.busy > 0 || !state.queue.is_empty()
    }

    /// Counts one more thread; the caller starts it. False if the pool is closed or complete.
    pub(crate) fn grow(&self) -> bool {
        let mut state = lock(&self.state);
        let may = !state.closed && state.threads < self.config.threads;
        state.threads += usize::from(may);
        state.show();
        may
    }

    /// A thread that was counted has been started. True if the last one could not be.
    pub(crate) fn started(&self) -> bool {
        let mut state = lock(&self.state);
        state.not_before = None;
        std::mem::take(&mut state.short)
    }

    /// A thread that was counted could not be started. One is tried again when a job is taken, after a
    /// second; if no thread is left to take one, the caller has to see to that.
    pub(crate) fn cannot_start(&self) -> NotStarted {
        let mut state = lock(&self.state);
        state.threads -= 1;
        state.show();
        state.not_before = now().map(|now| now + AGAIN);
        let none_left = state.threads == 0 && !state.closed;
        let first = !std::mem::replace(&mut state.short, true);
        drop(state);
        self.ended.notify_all();
        NotStarted { first, none_left }
    }

    /// A thread has ended in another way than by [`Next::End`]. True if the pool has none now, and nobody
    /// will look for what waits.
    pub(crate) fn shrink(&self, turn: &Turn) -> bool {
        let (seat, none_left) = {
            let mut state = lock(&self.state);
            state.threads -= 1;
            state.busy -= usize::from(turn.runs);
            state.stands_by &= !turn.stands_by;
            state.show();
            (state.next_to_stand_by(), state.threads == 0 && !state.closed)
        };
        Seat::wake(seat);
        self.ended.notify_all();
        none_left
    }

    /// Attendant: a thread that runs a job is stuck in it, and no longer counts: when it comes back it calls nothing of
    /// this any more. True if another thread has to be started in its place, which is counted here: nobody is idle, and
    /// who runs a job may be stuck as well.
    pub(crate) fn write_off(&self) -> bool {
        let mut state = lock(&self.state);
        state.threads -= 1;
        state.busy -= 1;
        let grow = !state.closed && state.idle.is_empty() && !state.stands_by;
        state.threads += usize::from(grow);
        state.meter.stuck(true);
        state.show();
        drop(state);
        self.ended.notify_all();
        grow
    }

    /// Thread, attached: the next job.
    pub(crate) fn take(&self, turn: &mut Turn) -> Next<J> {
        let now = now();
        let (next, seat) = {
            let mut state = lock(&self.state);
            if let (Some(since), Some(now)) = (turn.since.take(), now) {
                state.streak.add(now.duration_since(since));
            }
            if std::mem::take(&mut turn.stands_by) {
                state.stands_by = false;
            }
            state.busy -= usize::from(std::mem::take(&mut turn.runs));
            if state.closed {
                state.threads -= 1;
                state.show();
                self.ended.notify_all();
                return Next::End;
            }
            let Some((_, job)) = state.queue.pop_front() else {
                state.show();
                return Next::Sleep;
            };
            state.taken += 1;
            let leaves = state.streak.is_quick() && state.looked_after;
            let seat = if leaves { None } else { state.next_to_stand_by() };
            let alone = state.idle.is_empty() && !state.stands_by;
            let may = state.not_before.is_none_or(|at| now.is_some_and(|now| now >= at));
            let grow = alone && may && state.threads < self.config.threads;
            state.threads += usize::from(grow);
            state.busy += 1;
            turn.runs = true;
            turn.since = now;
            state.show();
            (Next::Run { job, grow }, seat)
        };
        Seat::wake(seat);
        next
    }

    /// Thread, detached: sleeps until it has to stand by, or to end.
    pub(crate) fn sleep(&self, seat: &Arc<Seat>, turn: &mut Turn) {
        {
            let mut state = lock(&self.state);
            if state.closed {
                return;
            }
            if !state.queue.is_empty() && !state.stands_by {
                state.stands_by = true;
                turn.stands_by = true;
                return;
            }
            state.idle.push(Arc::clone(seat));
        }
        seat.sleep();
        // `next_to_stand_by` woke this thread; or `close` did, after which the mark means nothing.
        turn.stands_by = true;
    }
}

impl<J: PartialEq + fmt::Debug + Send> Executor<J> for Pool<J> {
    /// Jobs for which a thread is free do not count against `max_queue`.
    fn submit(&self, job: J) -> Result<Submitted<J>, J> {
        self.add(&mut lock(&self.state), job)?;
        Ok(Submitted::Queued)
    }

    /// Queues a job and wakes a thread for it.
    fn submit_now(&self, job: J) -> Result<Submitted<J>, J> {
        let seat = {
            let mut state = lock(&self.state);
            self.add(&mut state, job)?;
            state.next_to_stand_by()
        };
        Seat::wake(seat);
        Ok(Submitted::Queued)
    }

    fn submit_again(&self, job: J) -> Submitted<J> {
        let seat = {
            let mut state = lock(&self.state);
            if state.closed {
                return Submitted::Queued;
            }
            state.push(job);
            state.next_to_stand_by()
        };
        Seat::wake(seat);
        Submitted::Queued
    }

    /// Wakes a thread for jobs that wait and for which nobody is awake.
    fn look(&self) -> bool {
        let (seat, again) = {
            let mut state = lock(&self.state);
            let goes_on = state.busy > 0 && state.streak.is_quick() && state.taken != state.seen;
            state.seen = state.taken;
            let seat = if goes_on { None } else { state.next_to_stand_by() };
            // The thread that stands by takes one job, and wakes nobody for the others if they are quick.
            let left = state.queue.len().saturating_sub(usize::from(state.stands_by));
            let nobody = !state.stands_by || state.streak.is_quick();
            state.looked_after = left > 0 && nobody && !state.idle.is_empty();
            (seat, state.looked_after)
        };
        Seat::wake(seat);
        again
    }

    fn forget(&self, job: &J) {
        let job = {
            let mut state = lock(&self.state);
            let at = state.queue.iter().position(|(_, other)| other == job);
            let job = at.and_then(|at| state.queue.remove(at));
            state.show();
            job
        };
        // Outside the lock: it may be the last reference.
        drop(job);
    }

    fn waiter(&self) -> Waiter {
        Waiter::Thread
    }

    fn max_waiting(&self) -> usize {
        self.config.max_queue + self.config.threads
    }

    fn refusal(&self, _job: Option<&J>) -> Refusal {
        Refusal::QueueFull
    }

    fn threads(&self) -> usize {
        self.config.threads
    }

    fn interrupts(&self) -> bool {
        true
    }

    fn delay(&self, _job: &J) -> &'static str {
        "no thread was free"
    }

    fn after_deadline(&self) -> &'static str {
        "its thread goes on, its stack follows"
    }

    fn begin_overdue(&self) -> Option<&PoolConfig> {
        let mut state = lock(&self.state);
        state.overdue += 1;
        let all = state.overdue >= self.config.threads;
        (all && !std::mem::replace(&mut state.said, true)).then_some(&self.config)
    }

    fn end_overdue(&self) {
        let mut state = lock(&self.state);
        state.overdue -= 1;
        state.said = false;
    }

    fn close(&self) -> VecDeque<J> {
        let (idle, queue) = {
            let mut state = lock(&self.state);
            state.closed = true;
            let left = (std::mem::take(&mut state.idle), std::mem::take(&mut state.queue));
            state.show();
            left
        };
        for seat in idle {
            Seat::wake(Some(seat));
        }
        queue.into_iter().map(|(_, job)| job).collect()
    }

    fn wait_ended(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = lock(&self.state);
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// The time; none in the models, whose steps take no time.
fn now() -> Option<Instant> {
    cfg!(not(feature = "loom")).then(Instant::now)
}

impl<J> State<J> {
    fn push(&mut self, job: J) {
        self.queue.push_back((clock::milliseconds(), job));
        self.show();
    }

    /// After a change: tells everybody how it is.
    fn show(&self) {
        self.meter.show(PoolNow {
            threads: self.threads,
            busy: self.busy,
            queue: self.queue.len(),
            head_since: self.queue.front().map_or(0, |(since, _)| *since),
        });
    }

    /// Restores what always holds after the queue or `stands_by` changed; the seat has to be
    /// woken outside the lock.
    fn next_to_stand_by(&mut self) -> Option<Arc<Seat>> {
        if self.stands_by || self.queue.is_empty() {
            return None;
        }
        let seat = self.idle.pop()?;
        self.stands_by = true;
        Some(seat)
    }
}

impl Seat {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { woken: Mutex::new(false), bell: Condvar::new() })
    }

    fn sleep(&self) {
        let mut woken = lock(&self.woken);
        while !*woken {
            woken = wait(&self.bell, woken);
        }
        *woken = false;
    }

    fn wake(seat: Option<Arc<Self>>) {
        if let Some(seat) = seat {
            *lock(&seat.woken) = true;
            seat.bell.notify_one();
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
