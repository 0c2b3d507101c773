//! All that the two worlds of one worker process share.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Condvar as StdCondvar, Mutex as StdMutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::baton::Baton;
use super::callers::Callers;
use super::carried::Carried;
use super::changes::beginning::Beginning;
use super::changes::imported::Imported;
use super::clock;
use super::config::{AppConfig, ExecutorId, WorkerConfig};
use super::events::{Event, Events};
use super::executor::asyncio::Loop;
use super::executor::inline::Inline;
use super::executor::pool::Pool;
use super::executor::process::Processes;
use super::executor::{Executor, Refusal, Submitted};
use super::gate::{Gate, Passage};
use super::gil::Gil;
use super::lingering::Lingering;
use super::marks::Marks;
use super::pipe::buffers::Buffers;
use super::pipe::loan::Loans;
use super::reports::Reports;
use super::starts::Starts;
use super::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Ordering};
use super::tasks::{Task, Tasks};
use crate::metrics::board::Meters;
use crate::metrics::meters::PoolMeter;

#[derive(Debug)]
pub(crate) struct Worker<X> {
    pub(crate) config: WorkerConfig,
    pub(crate) events: Events<X>,
    /// The executors: threads, asyncio's event loops, and nginx's own.
    pub(crate) pools: Vec<Arc<Pool<Arc<X>>>>,
    pub(crate) loops: Vec<Arc<Loop<Arc<X>>>>,
    pub(crate) inline: Inline<Arc<X>>,
    /// Those of other processes, for a worker that accepts connections.
    pub(crate) processes: Vec<Arc<Processes<Arc<X>>>>,
    /// One per application.
    pub(crate) gates: Vec<Gate<X>>,
    pub(crate) marks: Marks,
    pub(crate) starts: Starts,
    pub(crate) baton: Baton,
    pub(crate) gil: Gil,
    /// Requests whose process may be killed (`…_kill_timeout`).
    pub(crate) lingering: Lingering<X>,
    /// What it counts, for all to see.
    pub(crate) meters: Meters,
    pub(crate) imported: Imported,
    /// As Python started, if it may have to know that it is still the same.
    pub(crate) beginning: OnceLock<Beginning>,
    pub(crate) tasks: Tasks<X>,
    pub(crate) callers: Callers<X>,
    /// Requests that are over, if anybody wants to know of them.
    pub(crate) reports: Reports,
    pub(super) loans: Arc<Loans>,
    pub(crate) buffers: Buffers,
    /// The interpreter did not start, or its main thread has not been started yet.
    broken: AtomicBool,
    /// Python's main thread could not be started yet.
    missing: AtomicBool,
    stopping: AtomicBool,
    /// The worker ends at once (nginx's fast shutdown): nothing is waited for.
    fast: AtomicBool,
    /// The event loop is in a turn at whose end it looks at its executors. It alone uses this.
    in_turn: AtomicBool,
    /// Requests with something left to do after their response.
    follow_ups: AtomicU64,
    /// Threads that are written off, and have not come back.
    stuck: AtomicUsize,
    stopped: StdMutex<Option<Stopped>>,
    stop_changed: StdCondvar,
}

/// How Python ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The interpreter is finalised, and no thread of it is left.
    Finalized,
    /// `atexit` has run; threads are left that would crash on a finalised interpreter.
    ThreadsLeft,
}

impl<X: Carried> Worker<X> {
    /// `least`: no descriptor of its own has a lower number.
    pub(crate) fn new(
        config: WorkerConfig,
        marks: Marks,
        baton: Baton,
        meters: Meters,
        least: RawFd,
    ) -> io::Result<Self> {
        let pools = config.pools.iter().zip(0..);
        // Without Python nothing runs in them, and nobody has to see them.
        let is_seen = config.runs_python();
        let meter = |at| if is_seen { meters.pool(at) } else { PoolMeter::default() };
        let pools = pools.map(|(pool, at)| Arc::new(Pool::new(pool.clone(), meter(at))));
        let pools = pools.collect();
        let loops = config.loops.iter().zip(0..).map(|(config, at)| {
            Loop::new(config.clone(), meters.event_loop(at), least).map(Arc::new)
        });
        let loops = loops.collect::<io::Result<_>>()?;
        let groups = config.groups.iter().zip(0..).filter(|_| config.role.is_web());
        let processes = groups.map(|(group, at)| Processes::new(group.clone(), meters.group(at)));
        let processes = processes.map(Arc::new).collect();
        let gates = config.apps.iter().map(|_| Gate::new()).collect();
        let starts = Starts::new(config.apps.len() + config.python.imports.len());
        let is_own = |number| match number < config.apps.len() {
            true => config.runs(number),
            false => config.runs_python(),
        };
        starts.leave_out(|number| !is_own(number));
        Ok(Self {
            config,
            events: Events::new(least)?,
            pools,
            loops,
            inline: Inline::new(),
            processes,
            gates,
            marks,
            starts,
            baton,
            gil: Gil::new(),
            lingering: Lingering::new(),
            meters,
            imported: Imported::new(),
            beginning: OnceLock::new(),
            tasks: Tasks::new(),
            callers: Callers::new(),
            reports: Reports::new(),
            loans: Loans::new(),
            buffers: Buffers::new(),
            broken: AtomicBool::new(false),
            missing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            fast: AtomicBool::new(false),
            in_turn: AtomicBool::new(false),
            follow_ups: AtomicU64::new(0),
            stuck: AtomicUsize::new(0),
            stopped: StdMutex::new(None),
            stop_changed: StdCondvar::new(),
        })
    }

    /// What the configuration calls that application.
    pub(crate) fn target(&self, app: usize) -> &str {
        self.config.apps.get(app).map_or("", |app| &app.target)
    }

    /// Milliseconds on the worker's clock.
    pub(crate) fn now(&self) -> u64 {
        clock::milliseconds()
    }

    /// Who runs the applications of such a location.
    pub(crate) fn executor(&self, id: ExecutorId) -> Option<&dyn Executor<Arc<X>>> {
        match id {
            ExecutorId::Pool(at) => self.pools.get(at).map(|pool| &**pool as _),
            ExecutorId::Inline => Some(&self.inline),
            ExecutorId::Loop(at) => self.loops.get(at).map(|own| &**own as _),
            ExecutorId::Process(at) => self.processes.get(at).map(|group| &**group as _),
        }
    }

    /// Those of this process.
    fn executors(&self) -> impl Iterator<Item = &dyn Executor<Arc<X>>> {
        let pools = self.pools.iter().map(|pool| &**pool as _);
        pools.chain(self.loops.iter().map(|own| &**own as _)).chain([&self.inline as _])
    }

    /// Event loop: sends a request on its way to its application; [`look`](Self::look) must follow, once for
    /// all that have been submitted in the same turn of the loop.
    pub(crate) fn submit(&self, exchange: Arc<X>) -> Result<Submitted<Arc<X>>, Refusal> {
        let location = exchange.location();
        let (app, executor) = (location.app, self.executor(location.executor));
        if let ExecutorId::Process(_) = location.executor {
            // Its process imports its application, and has its interpreter.
            let executor = executor.ok_or(Refusal::ProcessesFull)?;
            return executor.submit(exchange).map_err(|exchange| executor.refusal(Some(&exchange)));
        }
        if self.broken.load(Ordering::Acquire) {
            return Err(Refusal::Broken);
        }
        let (Some(gate), Some(executor)) = (self.gates.get(app), executor) else {
            return Err(Refusal::Broken);
        };
        match gate.pass(exchange, || executor.max_waiting()) {
            Passage::Through(exchange) => {
                executor.submit(exchange).map_err(|exchange| executor.refusal(Some(&exchange)))
            }
            Passage::Waits => Ok(Submitted::Queued),
            Passage::Full => Err(executor.refusal(None)),
        }
    }

    /// Event loop: begins a turn. Until its end no thread wakes the event loop, and it wakes no loop's thread for tasks
    /// that have to be resumed: [`end_turn`](Self::end_turn) does.
    pub(crate) fn begin_turn(&self) {
        self.events.stay_awake();
        self.in_turn.store(true, Ordering::Relaxed);
    }

    /// Event loop: has dealt with what there was.
    pub(crate) fn end_turn(&self) {
        self.in_turn.store(false, Ordering::Relaxed);
        for own in &self.loops {
            let _never_again = own.look();
        }
    }

    /// Event loop: is in such a turn.
    pub(super) fn is_in_turn(&self) -> bool {
        self.in_turn.load(Ordering::Relaxed)
    }

    /// Event loop, at the end of a turn: sees to it that what has been submitted is run. True if this has to be
    /// called again in a millisecond.
    #[must_use]
    pub(crate) fn look(&self) -> bool {
        self.executors().fold(false, |again, executor| again | executor.look())
    }

    /// Who imports application or module `app`, or runs its startup: that has ended. Tells the event loop of the last
    /// one.
    pub(crate) fn end_start(&self, app: usize, result: Result<(), String>) {
        if self.starts.end(app, result) {
            self.events.push(Event::Started);
        }
    }

    /// Nobody is left who could start application `app`.
    pub(crate) fn give_up_start(&self, app: usize, why: &str) {
        if self.starts.give_up(app, why) {
            self.events.push(Event::Started);
        }
    }

    /// Nobody is left who could start any of them.
    pub(crate) fn give_up_starts(&self, why: &str) {
        if self.starts.give_up_all(why) {
            self.events.push(Event::Started);
        }
    }

    /// How many requests have a task that has not ended, whether nginx still has them or not.
    pub(crate) fn running(&self) -> usize {
        self.executors().map(Executor::running).sum()
    }

    /// Event loop: whether no application runs, or has anything left to do that a request has asked for.
    pub(crate) fn is_idle(&self) -> bool {
        self.starts.have_ended()
            && self.follow_ups() == 0
            && self.running() == 0
            && !self.pools.iter().any(|pool| pool.is_busy())
    }

    /// The same for one application.
    pub(crate) fn running_of(&self, app: usize) -> usize {
        self.loops.iter().map(|own| own.running_of(app)).sum()
    }

    /// Event loop: the worker ends at once. nginx's master kills a worker that takes longer than a second for that.
    pub(crate) fn set_fast(&self) {
        self.fast.store(true, Ordering::Release);
    }

    /// Whether the worker ends at once.
    pub(crate) fn is_fast(&self) -> bool {
        self.fast.load(Ordering::Acquire)
    }

    /// How long Python's end may take beyond its own limit: the longest shutdown of an application that is told of it
    /// (`asgi_lifespan`).
    pub(crate) fn longest_shutdown(&self) -> Duration {
        let own = self.config.apps.iter().zip(0..).filter(|(_, at)| self.config.runs(*at));
        own.filter_map(|(app, _)| AppConfig::shutdown_timeout(app)).max().unwrap_or_default()
    }

    /// Any thread: looks whether the event loops can still be woken.
    pub(crate) fn check_bells(&self) {
        self.events.check();
        self.loops.iter().for_each(|own| own.check());
    }

    /// What to do when somebody has closed the descriptor by which an event loop is woken.
    pub(crate) fn on_bell_lost(&self, act: fn()) {
        self.events.on_lost(act);
        self.loops.iter().for_each(|own| own.on_lost(act));
    }

    /// Event loop: a request no longer waits for its application, or for a thread.
    pub(crate) fn forget(&self, exchange: &Arc<X>) {
        let location = exchange.location();
        if let Some(gate) = self.gates.get(location.app) {
            gate.forget(exchange);
        }
        if let Some(executor) = self.executor(location.executor) {
            executor.forget(exchange);
        }
    }

    /// Who imports application `app`: it is ready for its requests. Gives back those for which their executor has
    /// no room.
    #[must_use]
    pub(crate) fn open_gate(&self, app: usize) -> Vec<Arc<X>> {
        let mut refused = Vec::new();
        for exchange in self.gates.get(app).map(Gate::open).unwrap_or_default() {
            exchange.set_waited();
            let submitted = match self.executor(exchange.location().executor) {
                Some(executor) => executor.submit_now(exchange),
                None => Err(exchange),
            };
            match submitted {
                Ok(submitted) => self.tell(submitted),
                Err(exchange) => refused.push(exchange),
            }
        }
        refused
    }

    /// Tells the event loop what it has to run.
    fn tell(&self, submitted: Submitted<Arc<X>>) {
        if let Submitted::Run(exchange) = submitted {
            self.events.push(Event::Run(exchange));
        }
    }

    /// Who runs `exchange`: application `app` will be imported once more. `exchange` waits for that, and if `shut`
    /// those that come meanwhile do, too.
    pub(crate) fn close_gate(&self, app: usize, exchange: &Arc<X>, shut: bool) {
        if let Some(gate) = self.gates.get(app) {
            gate.close(Arc::clone(exchange), shut);
        }
    }

    /// Who runs `exchange`: it waits as well. False if the gate is open again.
    pub(crate) fn wait_at_gate(&self, app: usize, exchange: &Arc<X>) -> bool {
        self.gates.get(app).is_some_and(|gate| gate.wait(exchange))
    }

    /// Python's main thread: the interpreter did not start. Gives back the requests that waited.
    #[must_use]
    pub(crate) fn set_broken(&self) -> Vec<Arc<X>> {
        self.broken.store(true, Ordering::Release);
        let mut waiting: Vec<Arc<X>> = self.gates.iter().flat_map(Gate::open).collect();
        waiting.extend(self.executors().flat_map(Executor::close));
        waiting
    }

    /// Event loop: Python's main thread cannot be started, or now has been; requests are refused meanwhile.
    /// Says what was so before.
    pub(crate) fn set_missing(&self, missing: bool) -> bool {
        self.broken.store(missing, Ordering::Release);
        self.missing.swap(missing, Ordering::AcqRel)
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.missing.load(Ordering::Acquire)
    }

    /// Requests whose `after_response` callbacks have not all been called yet.
    pub(crate) fn follow_ups(&self) -> u64 {
        self.follow_ups.load(Ordering::Acquire)
    }

    pub(super) fn begin_follow_up(&self) {
        self.follow_ups.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end_follow_up(&self) {
        self.follow_ups.fetch_sub(1, Ordering::AcqRel);
    }

    /// Attendant: one more thread is about to be written off. Gives their number.
    pub(crate) fn begin_stuck(&self) -> usize {
        self.stuck.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Such a thread ends, or has not been written off.
    pub(crate) fn end_stuck(&self) {
        self.stuck.fetch_sub(1, Ordering::AcqRel);
    }

    /// Event loop: sends a request to its executor once more, for what comes after its response. If the event loop
    /// has to run that itself, it does so later: nginx is in the middle of freeing the request.
    pub(super) fn submit_again(&self, exchange: Arc<X>) {
        if let Some(executor) = self.executor(exchange.location().executor) {
            self.tell(executor.submit_again(exchange));
        }
    }

    /// Event loop: has dropped references to Python's objects. PyO3 keeps them until a thread attaches.
    pub(crate) fn collect(&self) {
        self.tasks.push(Task::Collect);
    }

    /// Event loop: the worker is about to end.
    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Event loop: asks Python to end.
    pub(crate) fn stop(&self) {
        for executor in self.executors() {
            drop(executor.close());
        }
        self.tasks.push(Task::Stop);
    }

    /// Python's main thread: waits at most `limit`, in all, for the threads of all closed executors to end;
    /// says whether they have.
    pub(crate) fn wait_ended(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.executors().all(|executor| executor.wait_ended(left()))
    }

    /// Python's main thread: Python has ended.
    pub(crate) fn set_stopped(&self, stopped: Stopped) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(stopped);
        self.stop_changed.notify_all();
    }

    /// Event loop, at exit: waits at most `limit` for Python to end.
    pub(crate) fn wait_stopped(&self, limit: Duration) -> Option<Stopped> {
        let guard = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self
            .stop_changed
            .wait_timeout_while(guard, limit, |stopped| stopped.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *result.0
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;

#[cfg(test)]
#[cfg(feature = "loom")]
mod model;
