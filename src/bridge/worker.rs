//! All that the two worlds of one worker process share.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Condvar as StdCondvar, Mutex as StdMutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::callers::Callers;
use super::config::{Executor, WorkerConfig};
use super::events::{Event, Events};
use super::exchange::Exchange;
use super::executor::inline::Inline;
use super::executor::pool::{Pool, Refused};
use super::gate::{Gate, Passage};
use super::marks::Marks;
use super::pipe::buffers::Buffers;
use super::pipe::loan::Loans;
use super::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use super::tasks::{Task, Tasks};

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) config: WorkerConfig,
    pub(crate) events: Events,
    pub(crate) pools: Vec<Arc<Pool>>,
    /// One per application.
    pub(crate) gates: Vec<Gate>,
    pub(crate) marks: Marks,
    pub(crate) tasks: Tasks,
    pub(crate) callers: Callers,
    pub(super) loans: Arc<Loans>,
    pub(crate) buffers: Buffers,
    /// The executor `inline`, from when Python is there.
    inline: OnceLock<Box<dyn Inline>>,
    /// The interpreter did not start, or its main thread has not been started yet.
    broken: AtomicBool,
    /// Python's main thread could not be started yet.
    missing: AtomicBool,
    stopping: AtomicBool,
    /// Requests with something left to do after their response.
    follow_ups: AtomicU64,
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

/// What became of a request that was submitted.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// It waits for its application, or for a thread.
    Queued,
    /// It is to be run now, by [`Worker::inline`].
    Inline(Arc<Exchange>),
}

/// Beyond so many no request waits for the import of its application, where that is to run inline.
const INLINE_QUEUE: usize = 1024;

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    QueueFull,
    /// Python did not start in this worker.
    Broken,
}

impl Worker {
    /// `least`: no descriptor of its own has a lower number.
    pub(crate) fn new(config: WorkerConfig, marks: Marks, least: RawFd) -> io::Result<Self> {
        let pools = config.pools.iter().map(|pool| Arc::new(Pool::new(pool.clone()))).collect();
        let gates = config.apps.iter().map(|_| Gate::new()).collect();
        Ok(Self {
            config,
            events: Events::new(least)?,
            pools,
            gates,
            marks,
            tasks: Tasks::new(),
            callers: Callers::default(),
            loans: Loans::new(),
            buffers: Buffers::new(),
            inline: OnceLock::new(),
            broken: AtomicBool::new(false),
            missing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            follow_ups: AtomicU64::new(0),
            stopped: StdMutex::new(None),
            stop_changed: StdCondvar::new(),
        })
    }

    /// What the configuration calls that application.
    pub(crate) fn target(&self, app: usize) -> &str {
        self.config.apps.get(app).map_or("", |app| &app.target)
    }

    /// Milliseconds on the worker's clock: the one that nginx has for its timers (`ngx_monotonic_time`), which
    /// is exact to some milliseconds, and cheap.
    pub(crate) fn now(&self) -> u64 {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::MonotonicCoarse);
        tv_sec as u64 * 1000 + tv_nsec as u64 / 1_000_000
    }

    /// Event loop: sends a request on its way to a thread; [`wake`](Self::wake) must follow, once for
    /// all that have been submitted in the same turn of the loop.
    pub(crate) fn submit(&self, exchange: Arc<Exchange>) -> Result<Submitted, Refusal> {
        if self.broken.load(Ordering::Acquire) {
            return Err(Refusal::Broken);
        }
        let (app, executor) = (exchange.location.app, exchange.location.executor);
        let Some(gate) = self.gates.get(app) else { return Err(Refusal::Broken) };
        let (pool, limit) = match executor {
            Executor::Inline => (None, INLINE_QUEUE),
            Executor::Threads(pool) => {
                let Some(pool) = self.pools.get(pool) else { return Err(Refusal::Broken) };
                (Some(pool), pool.config.max_queue + pool.config.threads)
            }
        };
        match (gate.pass(exchange, limit), pool) {
            (Passage::Through(exchange), Some(pool)) => match pool.queue(exchange) {
                Ok(()) => Ok(Submitted::Queued),
                Err(Refused) => Err(Refusal::QueueFull),
            },
            (Passage::Through(exchange), None) => Ok(Submitted::Inline(exchange)),
            (Passage::Waits, _) => Ok(Submitted::Queued),
            (Passage::Full, _) => Err(Refusal::QueueFull),
        }
    }

    /// Python's main thread, before it opens a gate: how the event loop calls Python.
    pub(crate) fn set_inline(&self, inline: Box<dyn Inline>) {
        // There is one main thread, which comes by once.
        let _first = self.inline.set(inline);
    }

    /// Event loop: Python, where it has started.
    pub(crate) fn inline(&self) -> Option<&dyn Inline> {
        self.inline.get().map(|inline| &**inline)
    }

    fn pool_of(&self, exchange: &Arc<Exchange>) -> Option<&Arc<Pool>> {
        match exchange.location.executor {
            Executor::Threads(pool) => self.pools.get(pool),
            Executor::Inline => None,
        }
    }

    /// Event loop: wakes threads for what has been submitted. True where it is to call this again in a
    /// millisecond.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        self.pools.iter().fold(false, |again, pool| again | pool.look())
    }

    /// Event loop: a request no longer waits for a thread.
    pub(crate) fn forget(&self, exchange: &Arc<Exchange>) {
        if let Some(gate) = self.gates.get(exchange.location.app) {
            gate.forget(exchange.id);
        }
        if let Some(pool) = self.pool_of(exchange) {
            pool.forget(exchange.id);
        }
    }

    /// Who imports application `app`: it is ready for its requests. Gives back those that found the queue of
    /// their pool full meanwhile.
    #[must_use]
    pub(crate) fn open_gate(&self, app: usize) -> Vec<Arc<Exchange>> {
        let mut refused = Vec::new();
        for exchange in self.gates.get(app).map(Gate::open).unwrap_or_default() {
            exchange.set_waited();
            match exchange.location.executor {
                Executor::Inline => self.events.push(Event::Run(exchange)),
                Executor::Threads(_) => {
                    let pool = self.pool_of(&exchange);
                    if pool.is_none_or(|pool| pool.submit(Arc::clone(&exchange)).is_err()) {
                        refused.push(exchange);
                    }
                }
            }
        }
        refused
    }

    /// Who runs `exchange`: application `app` will be imported once more, and `exchange` waits for that, and so do
    /// those that come meanwhile, if `shut`.
    pub(crate) fn close_gate(&self, app: usize, exchange: &Arc<Exchange>, shut: bool) {
        if let Some(gate) = self.gates.get(app) {
            gate.close(Arc::clone(exchange), shut);
        }
    }

    /// Who runs `exchange`: it waits as well. False where the gate is open again.
    pub(crate) fn wait_at_gate(&self, app: usize, exchange: &Arc<Exchange>) -> bool {
        self.gates.get(app).is_some_and(|gate| gate.wait(exchange))
    }

    /// Python's main thread: the interpreter did not start. Gives back the requests that waited.
    #[must_use]
    pub(crate) fn set_broken(&self) -> Vec<Arc<Exchange>> {
        self.broken.store(true, Ordering::Release);
        let mut waiting: Vec<Arc<Exchange>> = self.gates.iter().flat_map(Gate::open).collect();
        waiting.extend(self.pools.iter().flat_map(|pool| pool.close()));
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

    /// Event loop: sends a request to its executor once more, for what comes after its response.
    pub(super) fn submit_follow_up(&self, exchange: Arc<Exchange>) {
        match self.pool_of(&exchange) {
            Some(pool) => pool.submit_again(exchange),
            // Not at once: nginx is in the middle of freeing the request.
            None => self.events.push(Event::Run(exchange)),
        }
    }

    /// Event loop: has dropped references to Python's objects; somebody who is attached must give them
    /// back.
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
        for pool in &self.pools {
            drop(pool.close());
        }
        self.tasks.push(Task::Stop);
    }

    /// Python's main thread: waits at most `limit`, in all, for the threads of all closed pools to end;
    /// says whether they have.
    pub(crate) fn wait_ended(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.pools.iter().all(|pool| pool.wait_ended(left()))
    }

    /// Python's main thread: has ended.
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
mod tests {
    use std::thread;

    use super::*;
    use crate::bridge::executor::pool::{Next, Turn};
    use crate::bridge::fixture::{exchanges, inline_exchanges, pool_config, worker, worker_of};
    use crate::bridge::id::RequestId;

    fn refusal(worker: &Worker, exchange: Arc<Exchange>) -> Option<Refusal> {
        worker.submit(exchange).err()
    }

    /// What a thread of the only pool finds.
    fn taken(worker: &Worker) -> Option<Arc<Exchange>> {
        match worker.pools[0].take(&mut Turn::default()) {
            Next::Run { job: exchange, .. } => Some(exchange),
            Next::Rest | Next::End => None,
        }
    }

    #[test]
    fn requests_wait_for_their_application_and_then_for_a_thread() {
        let worker = worker(2, 9);
        let [first, second, third] = exchanges(&worker);
        worker.submit(first.clone()).unwrap();
        worker.submit(second.clone()).unwrap();
        assert!(taken(&worker).is_none());
        worker.forget(&first);
        assert!(worker.open_gate(0).is_empty());
        worker.submit(third.clone()).unwrap();
        assert!(taken(&worker).is_some_and(|exchange| exchange.id == second.id));
        worker.forget(&third);
        assert!(taken(&worker).is_none());
        assert!(worker.open_gate(9).is_empty());
    }

    #[test]
    fn the_queue_is_as_long_before_the_application_is_there() {
        let worker = worker(1, 1);
        let [first, second, third, fourth] = exchanges(&worker);
        worker.submit(first.clone()).unwrap();
        worker.submit(second).unwrap();
        assert_eq!(refusal(&worker, third), Some(Refusal::QueueFull));
        assert!(worker.open_gate(0).is_empty());
        assert_eq!(refusal(&worker, fourth.clone()), Some(Refusal::QueueFull));
        worker.forget(&first);
        worker.submit(fourth).unwrap();
    }

    /// The requests that the event loop is to run now.
    fn to_run(worker: &Worker) -> Vec<RequestId> {
        let mut batch = Vec::new();
        worker.events.take(&mut batch);
        let ids = batch.iter().map(|event| match event {
            Event::Run(exchange) => exchange.id,
            event => panic!("{event:?}"),
        });
        ids.collect()
    }

    #[test]
    fn inline_requests_come_back_to_the_event_loop() {
        let worker = worker(1, 9);
        let [first, second, third] = inline_exchanges(&worker);
        assert!(matches!(worker.submit(first.clone()), Ok(Submitted::Queued)));
        assert!(matches!(worker.submit(second.clone()), Ok(Submitted::Queued)));
        worker.forget(&first);
        assert!(to_run(&worker).is_empty(), "their application is not there");
        assert!(worker.open_gate(0).is_empty());
        assert_eq!(to_run(&worker), [second.id]);
        // From now on there is nothing to wait for.
        let submitted = worker.submit(third.clone());
        assert!(matches!(submitted, Ok(Submitted::Inline(exchange)) if exchange.id == third.id));
        assert!(to_run(&worker).is_empty());
        worker.submit_follow_up(third.clone());
        assert_eq!(to_run(&worker), [third.id]);
        assert!(taken(&worker).is_none(), "no thread has anything to do with it");
    }

    #[test]
    fn inline_requests_need_no_pool() {
        let worker = worker_of(Vec::new());
        let [first, second] = inline_exchanges(&worker);
        worker.submit(first.clone()).unwrap();
        assert!(worker.open_gate(0).is_empty());
        assert_eq!(to_run(&worker), [first.id]);
        worker.stop();
        assert!(matches!(worker.submit(second), Ok(Submitted::Inline(_))));
    }

    #[test]
    fn so_many_inline_requests_wait_for_their_application() {
        let worker = worker(1, 0);
        let exchanges = inline_exchanges::<{ INLINE_QUEUE + 1 }>(&worker);
        let (last, waiting) = exchanges.split_last().unwrap();
        for exchange in waiting {
            worker.submit(exchange.clone()).unwrap();
        }
        assert_eq!(refusal(&worker, last.clone()), Some(Refusal::QueueFull));
        worker.forget(&exchanges[0]);
        worker.submit(last.clone()).unwrap();
        assert!(worker.open_gate(0).is_empty());
        assert!(to_run(&worker).into_iter().eq(exchanges[1..].iter().map(|exchange| exchange.id)));
    }

    #[test]
    fn a_broken_worker_gives_back_inline_requests_as_well() {
        let worker = worker(1, 9);
        let [first, second] = inline_exchanges(&worker);
        worker.submit(first.clone()).unwrap();
        let waiting = worker.set_broken();
        assert!(matches!(&waiting[..], [exchange] if exchange.id == first.id));
        assert_eq!(refusal(&worker, second), Some(Refusal::Broken));
        assert!(to_run(&worker).is_empty());
    }

    #[test]
    fn without_its_main_thread_a_worker_refuses_at_once_and_its_gates_stay_shut() {
        let worker = worker(1, 9);
        let [first, second] = exchanges(&worker);
        assert!(!worker.set_missing(true));
        assert_eq!(refusal(&worker, first), Some(Refusal::Broken));
        assert!(worker.is_missing() && worker.set_missing(true));
        assert!(worker.set_missing(false) && !worker.is_missing());
        worker.submit(second.clone()).unwrap();
        assert!(taken(&worker).is_none(), "its application has not been imported");
        assert!(worker.open_gate(0).is_empty());
        assert!(taken(&worker).is_some_and(|exchange| exchange.id == second.id));
    }

    #[test]
    fn what_waits_in_a_pool_without_a_thread_is_taken_by_the_first_that_starts() {
        let worker = worker(1, 9);
        let [first, second] = exchanges(&worker);
        assert!(worker.open_gate(0).is_empty());
        worker.submit(first.clone()).unwrap();
        assert!(worker.pools[0].grow());
        let failed = worker.pools[0].cannot_start();
        assert!(failed.first && failed.none_left);
        worker.submit(second.clone()).unwrap();
        assert!(worker.pools[0].grow());
        assert!(!worker.pools[0].cannot_start().first);
        assert!(worker.pools[0].grow());
        assert!(worker.pools[0].started());
        for exchange in [first, second] {
            assert!(taken(&worker).is_some_and(|taken| taken.id == exchange.id));
        }
    }

    #[test]
    fn what_finds_its_pool_closed_is_given_back() {
        let worker = worker(1, 9);
        let [first, second] = exchanges(&worker);
        worker.submit(first.clone()).unwrap();
        worker.stop();
        let refused = worker.open_gate(0);
        assert!(matches!(&refused[..], [exchange] if exchange.id == first.id));
        assert_eq!(refusal(&worker, second), Some(Refusal::QueueFull));
        assert!(matches!(worker.tasks.next(), Task::Stop));
    }

    #[test]
    fn a_broken_worker_gives_back_what_waits_and_takes_nothing() {
        let worker = worker(1, 9);
        let [first, second] = exchanges(&worker);
        worker.submit(first.clone()).unwrap();
        let waiting = worker.set_broken();
        assert!(matches!(&waiting[..], [exchange] if exchange.id == first.id));
        assert_eq!(refusal(&worker, second), Some(Refusal::Broken));
    }

    #[test]
    fn all_pools_end_within_one_limit() {
        const LIMIT: Duration = Duration::from_secs(2);
        let worker = worker_of(vec![pool_config(1, 0), pool_config(1, 0)]);
        assert!(worker.pools.iter().all(|pool| pool.grow()));
        worker.stop();
        let late = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || {
                thread::sleep(LIMIT * 9 / 10);
                assert!(matches!(worker.pools[0].take(&mut Turn::default()), Next::End));
            })
        };
        let begin = Instant::now();
        assert!(!worker.wait_ended(LIMIT));
        assert!(begin.elapsed() < LIMIT * 18 / 10, "the second pool had a limit of its own");
        late.join().unwrap();
        assert!(matches!(worker.pools[1].take(&mut Turn::default()), Next::End));
        assert!(worker.wait_ended(Duration::ZERO));
    }

    #[test]
    fn the_end_is_waited_for() {
        let worker = worker(1, 9);
        assert_eq!(worker.wait_stopped(Duration::from_millis(10)), None);
        let main = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                worker.set_stopped(Stopped::Finalized);
            })
        };
        let begin = Instant::now();
        assert_eq!(worker.wait_stopped(Duration::from_secs(10)), Some(Stopped::Finalized));
        assert!(
            begin.elapsed() < Duration::from_secs(9),
            "it is told, and does not find out at last"
        );
        main.join().unwrap();
        assert_eq!(worker.wait_stopped(Duration::ZERO), Some(Stopped::Finalized));
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use loom::thread;

    use super::*;
    use crate::bridge::fixture::{check, exchanges, worker};

    #[test]
    fn a_request_that_comes_as_the_interpreter_fails_is_answered() {
        check(3, || {
            let worker = worker(1, 9);
            let exchanges = exchanges::<2>(&worker);
            let main = {
                let worker = Arc::clone(&worker);
                thread::spawn(move || worker.set_broken())
            };
            // Refused here, or given back there: each by one of them alone.
            let mut refused: Vec<Arc<Exchange>> = exchanges
                .iter()
                .filter(|exchange| worker.submit(Arc::clone(exchange)).is_err())
                .cloned()
                .collect();
            let mut answered = main.join().unwrap();
            answered.append(&mut refused);
            let ids = |exchanges: &[Arc<Exchange>]| {
                exchanges.iter().map(|exchange| exchange.id).collect::<Vec<_>>()
            };
            assert_eq!(ids(&answered), ids(&exchanges));
        });
    }

    #[test]
    fn a_request_that_comes_as_its_application_does_reaches_the_pool() {
        check(3, || {
            let worker = worker(2, 0);
            let exchanges = exchanges::<2>(&worker);
            let main = {
                let worker = Arc::clone(&worker);
                thread::spawn(move || worker.open_gate(0))
            };
            for exchange in &exchanges {
                worker.submit(Arc::clone(exchange)).unwrap();
            }
            assert!(main.join().unwrap().is_empty());
            assert_eq!(worker.pools.iter().flat_map(|pool| pool.close()).count(), 2);
        });
    }
}
