//! What the event loop asks of the attendant, a Python thread that runs no requests.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::{Duration, Instant};

use super::executor::inline::Suspended;
use super::executor::pool::Pool;
use super::sync::{Arc, AtomicBool, Condvar, Mutex, lock, wait, wait_for};

#[derive(Debug)]
pub(crate) enum Task<X> {
    /// This request is beyond its deadline: write the Python stack of the thread that runs it to the log.
    LogStack(Arc<X>),
    /// This request is slow: the same.
    LogSlow(Arc<X>),
    /// The client of this request is gone, or the event loop itself runs it: is its application slow, or beyond its
    /// deadline? The reference does not keep the request's memory.
    Watch(Weak<X>),
    /// This request is far beyond its deadline: interrupt its application, if that still runs.
    Interrupt(Weak<X>),
    /// Its application has been interrupted: if that still runs, write its thread off.
    WriteOff(Weak<X>),
    /// The client of this request is gone: run its `on_disconnect` callbacks; interrupt it if `cancel` is set.
    Gone(Arc<X>),
    /// End a response of the executor `inline`, because the worker exits.
    Resume(Box<dyn Suspended>),
    /// Attach once, so that references dropped by the event loop are given back.
    Collect,
    /// The same, and say so to the watchdog.
    TakeGil,
    /// Try again to start the first thread of this pool.
    Grow(Arc<Pool<Arc<X>>>),
    /// Look whether the loops turn (`asgi_stall_warning`).
    LookAtLoops,
    /// Say which folders have been imported from since this was last asked ([`Imported`](super::changes::imported::Imported)).
    ListImported,
    /// Look whether the process is as it began: the question's number.
    Compare(u64),
    /// Write this, and where Python's threads are, to the log; and then say that it has been done.
    LogThreads(String, Arc<AtomicBool>),
    /// Say where the applications of these requests are, and the other threads (`python_status threads`).
    Answer(Asked<X>),
    /// End; Python's main thread then lets the others end, runs `atexit`, finalises.
    Stop,
}

/// Somebody wants to know where the applications are.
#[derive(Debug)]
pub(crate) struct Asked<X> {
    /// What the answer has to name ([`Zone::ask`](crate::metrics::zone::Zone::ask)).
    pub(crate) ticket: u64,
    /// The requests in flight.
    pub(crate) requests: Vec<Arc<X>>,
}

/// What the queue, and who logs, have to know of a task.
enum Kind<'a, X> {
    /// It takes a request along, until a stack has been logged.
    Stack(&'a Arc<X>),
    /// It takes a request along.
    Request(&'a Arc<X>),
    /// It is about a request that may have ended.
    Perhaps(&'a Weak<X>),
    Collect,
    Answer,
    Other,
}

impl<X> Task<X> {
    fn kind(&self) -> Kind<'_, X> {
        match self {
            Task::LogStack(exchange) | Task::LogSlow(exchange) => Kind::Stack(exchange),
            Task::Gone(exchange) => Kind::Request(exchange),
            Task::Watch(exchange) | Task::Interrupt(exchange) | Task::WriteOff(exchange) => {
                Kind::Perhaps(exchange)
            }
            Task::Collect => Kind::Collect,
            Task::Answer(_) => Kind::Answer,
            Task::Resume(_)
            | Task::TakeGil
            | Task::Grow(_)
            | Task::LookAtLoops
            | Task::ListImported
            | Task::Compare(_)
            | Task::LogThreads(..)
            | Task::Stop => Kind::Other,
        }
    }

    /// The request that it is about.
    pub(crate) fn request(&self) -> Option<&Arc<X>> {
        match self.kind() {
            Kind::Stack(exchange) | Kind::Request(exchange) => Some(exchange),
            Kind::Perhaps(_) | Kind::Collect | Kind::Answer | Kind::Other => None,
        }
    }

    /// Is it about a request that has ended?
    fn has_ended(&self) -> bool {
        matches!(self.kind(), Kind::Perhaps(exchange) if exchange.strong_count() == 0)
    }
}

/// The queue to the attendant.
#[derive(Debug)]
pub(crate) struct Tasks<X> {
    queue: Mutex<Queue<X>>,
    added: Condvar,
}

#[derive(Debug)]
struct Queue<X> {
    tasks: VecDeque<Task<X>>,
    /// In the order of their times.
    later: VecDeque<(Instant, Task<X>)>,
    /// At this length of `later`, those of requests that have ended are taken out.
    tidy_at: usize,
    /// A `Collect` waits already.
    collect: bool,
    /// So does an `Answer`.
    answer: bool,
    stacks: usize,
    /// Nobody takes them.
    unattended: bool,
}

/// When a thread that could not be started is tried again.
const LATER: Duration = Duration::from_secs(1);

/// Stacks that may wait to be logged, each with its request: the interpreter may be busy.
const STACKS: usize = 32;

/// How many requests may be watched before the list is tidied up.
const WATCHED: usize = 64;

impl<X> Tasks<X> {
    pub(crate) fn new() -> Self {
        let queue = Queue {
            tasks: VecDeque::new(),
            later: VecDeque::new(),
            tidy_at: 0,
            collect: false,
            answer: false,
            stacks: 0,
            unattended: false,
        };
        Self { queue: Mutex::new(queue), added: Condvar::new() }
    }

    /// Whether this process has no Python, and so no attendant: nothing waits here.
    pub(crate) fn set_unattended(&self, unattended: bool) {
        lock(&self.queue).unattended = unattended;
    }

    pub(crate) fn are_unattended(&self) -> bool {
        lock(&self.queue).unattended
    }

    pub(crate) fn push(&self, task: Task<X>) {
        {
            let mut queue = lock(&self.queue);
            if queue.unattended {
                return;
            }
            match task.kind() {
                Kind::Collect if std::mem::replace(&mut queue.collect, true) => return,
                // Who asks while the interpreter does not answer gets the answer that comes.
                Kind::Answer if std::mem::replace(&mut queue.answer, true) => return,
                Kind::Stack(_) if queue.stacks == STACKS => return,
                Kind::Stack(_) => queue.stacks += 1,
                Kind::Request(_)
                | Kind::Perhaps(_)
                | Kind::Collect
                | Kind::Answer
                | Kind::Other => {}
            }
            queue.tasks.push_back(task);
        }
        self.added.notify_one();
    }

    /// A Python thread: asks for a first thread of `pool`, in a while.
    pub(crate) fn grow_later(&self, pool: Arc<Pool<Arc<X>>>) {
        self.push_later(LATER, Task::Grow(pool));
    }

    /// Makes the attendant look at the loops in a while.
    pub(crate) fn look_at_loops(&self, after: Duration) {
        self.push_later(after, Task::LookAtLoops);
    }

    /// Makes the attendant look at `exchange` in `left`. The list is bounded: by twice as many requests as run at a
    /// time, and a few more.
    pub(crate) fn watch(&self, exchange: &Arc<X>, left: Duration) {
        self.push_later(left, Task::Watch(Arc::downgrade(exchange)));
    }

    /// Makes the attendant interrupt the application of `exchange` after that time, if it still runs.
    pub(crate) fn interrupt(&self, exchange: &Arc<X>, after: Duration) {
        self.push_later(after, Task::Interrupt(Arc::downgrade(exchange)));
    }

    /// Makes the attendant write off the thread of `exchange` after that time, if it still runs the application.
    pub(crate) fn write_off(&self, exchange: &Arc<X>, after: Duration) {
        self.push_later(after, Task::WriteOff(Arc::downgrade(exchange)));
    }

    fn push_later(&self, left: Duration, task: Task<X>) {
        let at = Instant::now() + left;
        let place = {
            let mut queue = lock(&self.queue);
            if queue.unattended {
                return;
            }
            if queue.later.len() >= queue.tidy_at {
                queue.later.retain(|(_, task)| !task.has_ended());
                queue.tidy_at = WATCHED.max(2 * queue.later.len());
            }
            let place = queue.later.partition_point(|(other, _)| *other <= at);
            queue.later.insert(place, (at, task));
            place
        };
        // The attendant waits for the first one already.
        if place == 0 {
            self.added.notify_one();
        }
    }

    /// Waits for the next task.
    pub(crate) fn next(&self) -> Task<X> {
        let mut queue = lock(&self.queue);
        loop {
            let left =
                queue.later.front().map(|(at, _)| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                if let Some((_, task)) = queue.later.pop_front() {
                    return task;
                }
            }
            if let Some(task) = queue.tasks.pop_front() {
                match task.kind() {
                    Kind::Collect => queue.collect = false,
                    Kind::Answer => queue.answer = false,
                    Kind::Stack(_) => queue.stacks -= 1,
                    Kind::Request(_) | Kind::Perhaps(_) | Kind::Other => {}
                }
                return task;
            }
            queue = match left {
                Some(left) => wait_for(&self.added, queue, left),
                None => wait(&self.added, queue),
            };
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use crate::bridge::exchange::Exchange;
    use crate::bridge::executor::pool::Turn;
    use crate::bridge::fixture::{exchanges, worker};

    /// All tasks up to `Stop`, each as a letter.
    fn drain(tasks: &Tasks<Exchange>) -> String {
        std::iter::from_fn(|| match tasks.next() {
            Task::LogStack(_) => Some('L'),
            Task::LogSlow(_) => Some('S'),
            Task::Collect => Some('C'),
            Task::TakeGil => Some('K'),
            Task::Gone(_) => Some('G'),
            Task::Watch(_) => Some('W'),
            Task::Interrupt(_) => Some('I'),
            Task::WriteOff(_) => Some('O'),
            Task::Resume(_) => Some('R'),
            Task::Grow(_) => Some('P'),
            Task::LookAtLoops => Some('T'),
            Task::ListImported => Some('F'),
            Task::Compare(_) => Some('C'),
            Task::LogThreads(..) => Some('D'),
            Task::Answer(_) => Some('A'),
            Task::Stop => None,
        })
        .collect()
    }

    #[test]
    fn one_collect_waits_for_all() {
        let tasks = Tasks::new();
        let [exchange] = exchanges(&worker(1, 0));
        for _ in 0..2 {
            tasks.push(Task::Collect);
            tasks.push(Task::Collect);
            tasks.push(Task::LogStack(exchange.clone()));
            tasks.push(Task::Collect);
            tasks.push(Task::Stop);
            assert_eq!(drain(&tasks), "CL");
        }
    }

    #[test]
    fn one_answer_is_enough() {
        let tasks = Tasks::new();
        for _ in 0..2 {
            for ticket in 1..3 {
                tasks.push(Task::Answer(Asked { ticket, requests: Vec::new() }));
            }
            tasks.push(Task::Stop);
            assert_eq!(drain(&tasks), "A");
        }
    }

    #[test]
    fn what_is_for_later_holds_up_nothing() {
        let tasks = Tasks::new();
        let worker = worker(1, 0);
        let begin = Instant::now();
        for _ in 0..2 {
            tasks.grow_later(Arc::clone(&worker.pools[0]));
        }
        tasks.push(Task::Collect);
        assert!(matches!(tasks.next(), Task::Collect));
        for _ in 0..2 {
            assert!(matches!(tasks.next(), Task::Grow(pool) if pool.grow() != pool.grow()));
            assert!(begin.elapsed() >= LATER);
            assert!(worker.pools[0].shrink(&Turn::default()));
        }
        tasks.grow_later(Arc::clone(&worker.pools[0]));
        tasks.push(Task::Stop);
        assert_eq!(drain(&tasks), "");
    }

    #[test]
    fn a_bounded_number_of_stacks_waits() {
        let tasks = Tasks::new();
        let [exchange] = exchanges(&worker(1, 0));
        for _ in 0..2 {
            for _ in 0..2 * STACKS {
                tasks.push(Task::LogStack(exchange.clone()));
            }
            tasks.push(Task::LogSlow(exchange.clone()));
            tasks.push(Task::Collect);
            tasks.push(Task::Stop);
            assert_eq!(drain(&tasks), "L".repeat(STACKS) + "C");
        }
    }

    #[test]
    fn requests_are_watched_in_the_order_of_their_deadlines() {
        let tasks = Tasks::new();
        let [late, soon] = exchanges(&worker(1, 0));
        tasks.watch(&late, Duration::from_millis(40));
        tasks.watch(&soon, Duration::from_millis(20));
        for exchange in [soon, late] {
            let Task::Watch(watched) = tasks.next() else { panic!("another task") };
            assert_eq!(watched.upgrade().unwrap().id, exchange.id);
        }
    }

    #[test]
    fn requests_that_have_ended_are_not_kept() {
        let worker = worker(1, 0);
        let tasks = Tasks::new();
        let [running] = exchanges(&worker);
        tasks.watch(&running, Duration::from_secs(60));
        for _ in 0..10 * WATCHED {
            let [ended] = exchanges(&worker);
            tasks.watch(&ended, Duration::from_secs(60));
            let queue = lock(&tasks.queue);
            assert!(queue.later.len() <= WATCHED + 1);
            let (_, first) = queue.later.front().unwrap();
            assert!(matches!(first, Task::Watch(exchange) if exchange.strong_count() == 1));
        }
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use std::sync::Arc;

    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::*;
    use crate::bridge::fixture::check;

    #[test]
    fn what_is_dropped_before_a_collect_is_collected() {
        check(3, || {
            let tasks = Arc::new(Tasks::<()>::new());
            let dropped = Arc::new(AtomicUsize::new(0));
            let main = {
                let (tasks, dropped) = (Arc::clone(&tasks), Arc::clone(&dropped));
                thread::spawn(move || {
                    let mut collected = 0;
                    loop {
                        match tasks.next() {
                            Task::Collect => collected = dropped.load(Ordering::Relaxed),
                            Task::Stop => return collected,
                            other => panic!("nobody asked for {other:?}"),
                        }
                    }
                })
            };
            for _ in 0..2 {
                dropped.fetch_add(1, Ordering::Relaxed);
                tasks.push(Task::Collect);
            }
            tasks.push(Task::Stop);
            assert_eq!(main.join().unwrap(), 2);
        });
    }
}
