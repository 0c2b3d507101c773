//! Requests that nobody waits for any more, whose applications still run. For one that goes on too long after its deadline
//! (`…_kill_timeout`) its process is killed.
//!
//! The event loop alone uses this: it needs no thread of Python's, and so finds a request whose thread keeps the GIL as
//! well.

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::carried::{Carried, Course};
use super::sync::{Arc, AtomicBool, Mutex, Ordering, lock};

#[derive(Debug)]
pub(crate) struct Lingering<X> {
    all: Mutex<Vec<Entry<X>>>,
    /// One has been added since they were last looked at.
    is_new: AtomicBool,
}

#[derive(Debug)]
struct Entry<X> {
    request: Weak<X>,
    /// When its process is killed; `None`: its deadline is not over.
    due: Option<Instant>,
}

/// What there is to do.
#[derive(Debug)]
pub(crate) struct Found<X> {
    /// Those that have gone on too long.
    pub(crate) due: Vec<Arc<X>>,
    /// When they have to be looked at again, if they have.
    pub(crate) next: Option<Duration>,
}

/// They are looked at no more often: their clocks may stand still.
const LEAST: Duration = Duration::from_millis(20);

impl<X: Carried> Lingering<X> {
    pub(crate) fn new() -> Self {
        Self { all: Mutex::new(Vec::new()), is_new: AtomicBool::new(false) }
    }

    pub(crate) fn add(&self, request: &Arc<X>) {
        lock(&self.all).push(Entry { request: Arc::downgrade(request), due: None });
        self.is_new.store(true, Ordering::Relaxed);
    }

    /// Whether one has been added, which has not been looked at.
    pub(crate) fn has_new(&self) -> bool {
        self.is_new.load(Ordering::Relaxed)
    }

    /// Looks at all of them.
    pub(crate) fn look(&self, now: Instant) -> Found<X> {
        self.is_new.store(false, Ordering::Relaxed);
        let mut found = Found { due: Vec::new(), next: None };
        lock(&self.all).retain_mut(|entry| {
            let Some(request) = entry.request.upgrade() else { return false };
            let left = match request.course() {
                Course::Over => return false,
                Course::InTime(left) => left,
                Course::Late => {
                    let after = patience(&*request);
                    let due = *entry.due.get_or_insert_with(|| now + after);
                    due.saturating_duration_since(now)
                }
            };
            if entry.due.is_some() && left.is_zero() {
                found.due.push(request);
            } else {
                let left = left.max(LEAST);
                found.next = Some(found.next.map_or(left, |next| next.min(left)));
            }
            true
        });
        found
    }
}

/// How long it may go on after its deadline: it is interrupted first.
pub(crate) fn patience<X: Carried>(request: &X) -> Duration {
    let location = request.location();
    location.interrupt.unwrap_or_default() + location.kill.unwrap_or(Duration::MAX / 4)
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::bridge::config::{ExecutorId, LocationConfig};
    use crate::bridge::exchange::Exchange;
    use crate::bridge::fixture::{exchange_at, ids, location, worker};
    use crate::bridge::pipe::input::Input;

    const SECOND: Duration = Duration::from_secs(1);

    fn running(timeout: Option<Duration>) -> Arc<Exchange> {
        let [id] = ids();
        let own = LocationConfig {
            timeout,
            interrupt: Some(10 * SECOND),
            kill: Some(20 * SECOND),
            ..location(ExecutorId::Pool(0))
        };
        let exchange = exchange_at(own, &worker(1, 0), id, Input::buffered(VecDeque::new()));
        assert!(exchange.start(1));
        exchange
    }

    #[test]
    fn one_that_is_interrupted_in_vain_is_due() {
        let all = Lingering::new();
        let exchange = running(Some(Duration::ZERO));
        assert!(!all.has_new());
        all.add(&exchange);
        assert!(all.has_new());
        let begin = Instant::now();
        let found = all.look(begin);
        assert!(found.due.is_empty() && !all.has_new());
        assert_eq!(found.next, Some(30 * SECOND));
        let found = all.look(begin + 29 * SECOND);
        assert_eq!((found.due.len(), found.next), (0, Some(SECOND)));
        let found = all.look(begin + 30 * SECOND);
        assert_eq!((found.due.len(), found.next), (1, None));
        assert!(exchange.write_off());
        assert_eq!(all.look(begin + 31 * SECOND).due.len(), 1, "its thread still runs");
        let _due = exchange.done();
        assert!(all.look(begin + 32 * SECOND).due.is_empty());
        assert!(lock(&all.all).is_empty());
    }

    #[test]
    fn one_whose_deadline_is_not_over_is_waited_for() {
        let all = Lingering::new();
        let [timed, endless] = [Some(100 * SECOND), None].map(running);
        all.add(&timed);
        all.add(&endless);
        let found = all.look(Instant::now());
        assert!(found.due.is_empty());
        assert!(found.next.is_some_and(|next| next > 90 * SECOND && next <= 100 * SECOND));
        assert_eq!(lock(&all.all).len(), 1, "the other one may run as long as it likes");
        drop(timed);
        assert_eq!(all.look(Instant::now()).next, None);
    }
}
