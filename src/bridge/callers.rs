//! The threads that call `on_disconnect`'s callbacks while their applications still run.
//!
//! A callback may wait, and one that hangs keeps its thread. So there are at most [`THREADS`] of them, started on
//! demand. If all are busy nothing is lost: the application's own thread calls what is left as it ends
//! ([`Callbacks`](super::callbacks::Callbacks)).

use std::collections::VecDeque;

use super::carried::Carried;
use super::sync::{Arc, Mutex, lock};

/// How many such threads a worker has at most.
pub(crate) const THREADS: usize = 8;

/// The requests whose callbacks wait for a thread, and how many threads there are.
#[derive(Debug)]
pub(crate) struct Callers<X> {
    state: Mutex<State<X>>,
}

#[derive(Debug)]
struct State<X> {
    waiting: VecDeque<Arc<X>>,
    threads: usize,
    /// That all threads are busy has been logged.
    said: bool,
}

/// What becomes of a request whose callbacks have to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enlisted {
    /// The caller has to start a thread, which calls [`next`](Callers::next) until there is none.
    Start,
    /// All threads there may be are busy, which has to be logged.
    Busy,
    /// The same, and it has been logged.
    Taken,
}

impl<X: Carried> Callers<X> {
    pub(crate) fn new() -> Self {
        let state = State { waiting: VecDeque::new(), threads: 0, said: false };
        Self { state: Mutex::new(state) }
    }

    /// Attendant: queues `exchange` for its callbacks to be called. The list is tidied up here: it is no longer than
    /// that of the requests whose application runs.
    pub(crate) fn push(&self, exchange: &Arc<X>) -> Enlisted {
        let mut state = lock(&self.state);
        state.waiting.retain(|waiting| !waiting.is_done());
        state.waiting.push_back(Arc::clone(exchange));
        if state.threads < THREADS {
            state.threads += 1;
            return Enlisted::Start;
        }
        if std::mem::replace(&mut state.said, true) { Enlisted::Taken } else { Enlisted::Busy }
    }

    /// A thread for this: whose callbacks are next; with `None` the thread ends.
    pub(crate) fn next(&self) -> Option<Arc<X>> {
        let mut state = lock(&self.state);
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.threads -= 1;
            state.said = false;
        }
        next
    }

    /// The thread that `push` has asked for cannot be started.
    pub(crate) fn cannot_start(&self) {
        lock(&self.state).threads -= 1;
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use crate::bridge::fixture::{exchanges, worker};

    #[test]
    fn there_are_no_more_threads_than_so_many() {
        let worker = worker(1, 0);
        let callers = Callers::new();
        let [exchange] = exchanges(&worker);
        for _ in 0..THREADS {
            assert_eq!(callers.push(&exchange), Enlisted::Start);
        }
        assert_eq!(callers.push(&exchange), Enlisted::Busy);
        assert_eq!(callers.push(&exchange), Enlisted::Taken);
        for _ in 0..THREADS + 2 {
            assert!(callers.next().is_some());
        }
        assert!(callers.next().is_none());
        assert_eq!(callers.push(&exchange), Enlisted::Start);
        assert_eq!(callers.push(&exchange), Enlisted::Busy, "what has ended is to be said again");
        assert!(callers.next().is_some());
        callers.cannot_start();
        assert_eq!(callers.push(&exchange), Enlisted::Start);
    }

    #[test]
    fn requests_whose_application_has_ended_do_not_wait() {
        let worker = worker(1, 0);
        let callers = Callers::new();
        let [first, second, third] = exchanges(&worker);
        callers.push(&first);
        callers.push(&second);
        assert!(first.start(1));
        let _due = first.done();
        callers.push(&third);
        let waiting: Vec<_> =
            std::iter::from_fn(|| callers.next()).map(|exchange| exchange.id).collect();
        assert_eq!(waiting, [second.id, third.id]);
    }
}
