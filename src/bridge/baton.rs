//! Whose turn it is to leave: of the workers of one nginx that serve clients one at a time is replaced by a rule of its own, and so of
//! the processes of each `python_process`. No group waits for another, which might be in the hands of an attacker.
//!
//! A worker that wants to leave takes the baton first, and takes it along. nginx's master starts another worker of the
//! same number in its place, which gives the baton back when its applications have started. So a worker that dies while
//! it has the baton leaves it to its successor as well. If none comes (the system refuses the master a process), or its
//! applications do not start, the baton is free again after a time that its holder has set.
//!
//! The baton is one word, in memory that outlives the workers: 0, or the holder's number plus one, and the second on the
//! system's clock (monotonic, so that all workers have the same) until which it holds it. Every change is a
//! compare-and-swap, so that of several workers that want it one gets it.

use std::fmt::Debug;
use std::time::Duration;

#[cfg(test)]
use super::sync::{AtomicU64, Ordering};

/// The word.
pub(crate) trait Word: Debug + Send + Sync {
    fn load(&self) -> u64;

    /// Puts `new` in the place of `old`; false if something else is there.
    fn replace(&self, old: u64, new: u64) -> bool;
}

/// The baton as one worker sees it.
#[derive(Debug)]
pub(crate) struct Baton {
    /// `None`: nobody else is there.
    word: Option<Box<dyn Word>>,
    /// The number of the worker, and of those before it in its place.
    worker: u32,
    /// What the word was as this worker started, if the one before it had the baton; otherwise 0.
    inherited: u64,
}

impl Baton {
    /// For a worker that starts.
    pub(crate) fn new(word: Option<Box<dyn Word>>, worker: u32) -> Self {
        let found = word.as_ref().map_or(0, |word| word.load());
        let inherited = if unpack(found).0 == worker { found } else { 0 };
        Self { word, worker, inherited }
    }

    /// Takes it for at most `limit`; false if another worker has it. `now` is the system's monotonic clock. Nobody has
    /// it for much longer than this one would: what says so is not true.
    pub(crate) fn take(&self, now: Duration, limit: Duration) -> bool {
        let Some(word) = &self.word else { return true };
        let found = word.load();
        let (holder, until) = unpack(found);
        let until = u64::from(until);
        let longest = (now + limit.saturating_mul(2)).as_secs() + SLACK;
        let is_free =
            found == 0 || holder == self.worker || until < now.as_secs() || until > longest;
        is_free && word.replace(found, pack(self.worker, now + limit))
    }

    /// If this worker has it, it keeps it for at most `limit` from now on.
    pub(crate) fn renew(&self, now: Duration, limit: Duration) {
        let Some(word) = &self.word else { return };
        let found = word.load();
        if unpack(found).0 == self.worker {
            // If that changes nothing, another worker has taken it since, because its time was over.
            let _taken_since = word.replace(found, pack(self.worker, now + limit));
        }
    }

    /// This worker does not leave after all: if it has the baton, it gives it back.
    pub(crate) fn put_back(&self) {
        let Some(word) = &self.word else { return };
        let found = word.load();
        if found != 0 && unpack(found).0 == self.worker {
            // If that changes nothing, another worker has taken it since, because its time was over.
            let _taken_since = word.replace(found, 0);
        }
    }

    /// This worker's applications have started: gives back what the one before it had taken.
    pub(crate) fn give_back(&self) {
        if let Some(word) = self.word.as_ref().filter(|_| self.inherited != 0) {
            // If that changes nothing, its time was over and another worker has taken it, or this one has for itself.
            let _taken_since = word.replace(self.inherited, 0);
        }
    }
}

/// Seconds.
const SLACK: u64 = 60;

fn pack(worker: u32, until: Duration) -> u64 {
    let until = u32::try_from(until.as_secs()).unwrap_or(u32::MAX);
    u64::from(worker + 1) << 32 | u64::from(until)
}

/// The holder, and until when.
fn unpack(word: u64) -> (u32, u32) {
    (((word >> 32) as u32).wrapping_sub(1), word as u32)
}

#[cfg(test)]
impl Word for std::sync::Arc<AtomicU64> {
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::SeqCst)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Makes workers of one nginx by their numbers.
    fn start() -> impl Fn(u32) -> Baton {
        let word = Arc::new(AtomicU64::new(0));
        move |worker| Baton::new(Some(Box::new(Arc::clone(&word))), worker)
    }

    #[test]
    fn one_at_a_time_until_its_successor_is_ready() {
        let start = start();
        let [first, second] = [0, 1].map(&start);
        assert!(first.take(seconds(1), LIMIT));
        assert!(!second.take(seconds(2), LIMIT));
        // Another worker that starts meanwhile, after a crash, does not change that.
        start(1).give_back();
        assert!(!second.take(seconds(2), LIMIT));
        // The successor has the number of the one that has left.
        let successor = start(0);
        successor.give_back();
        assert!(second.take(seconds(3), LIMIT));
        assert!(!first.take(seconds(3), LIMIT));
    }

    #[test]
    fn a_worker_that_leaves_before_its_applications_are_imported_keeps_it() {
        let start = start();
        let [first, second] = [0, 1].map(&start);
        assert!(first.take(seconds(1), LIMIT));
        first.give_back();
        assert!(!second.take(seconds(2), LIMIT));
        // So does its successor, if it leaves as well.
        let successor = start(0);
        assert!(successor.take(seconds(3), LIMIT));
        successor.give_back();
        assert!(!second.take(seconds(4), LIMIT));
    }

    #[test]
    fn a_worker_that_stays_puts_it_back() {
        let [first, second] = [0, 1].map(start());
        assert!(first.take(seconds(1), LIMIT));
        second.put_back();
        assert!(!second.take(seconds(2), LIMIT), "it is not the second's");
        first.put_back();
        assert!(second.take(seconds(3), LIMIT));
        second.put_back();
        second.put_back();
        assert!(first.take(seconds(4), LIMIT));
    }

    #[test]
    fn a_holder_may_take_it_again() {
        let [first, second] = [0, 1].map(start());
        assert!(first.take(seconds(1), LIMIT));
        assert!(first.take(seconds(9), LIMIT));
        second.renew(seconds(10), LIMIT);
        assert!(!second.take(seconds(15), LIMIT));
        first.renew(seconds(16), LIMIT);
        assert!(!second.take(seconds(26), LIMIT));
        assert!(second.take(seconds(27), LIMIT));
    }

    #[test]
    fn after_its_time_it_is_free_and_is_not_given_back_by_who_had_it() {
        let start = start();
        let [first, second, third] = [0, 1, 2].map(&start);
        assert!(first.take(seconds(1), LIMIT));
        let successor = start(0);
        assert!(!second.take(seconds(11), LIMIT));
        assert!(second.take(seconds(12), LIMIT));
        successor.give_back();
        assert!(!third.take(seconds(13), LIMIT));
    }

    #[test]
    fn what_says_that_it_is_taken_for_ever_is_not_true() {
        let word = Arc::new(AtomicU64::new(pack(7, seconds(u64::from(u32::MAX)))));
        let baton = Baton::new(Some(Box::new(Arc::clone(&word))), 1);
        assert!(baton.take(seconds(10), LIMIT));
        word.store(u64::MAX, Ordering::SeqCst);
        assert!(baton.take(seconds(10), LIMIT));
        word.store(pack(7, seconds(10) + 3 * LIMIT), Ordering::SeqCst);
        assert!(!baton.take(seconds(10), LIMIT));
    }

    #[test]
    fn alone_it_is_always_there() {
        let alone = Baton::new(None, 0);
        assert!(alone.take(seconds(1), LIMIT) && alone.take(seconds(1), LIMIT));
        alone.give_back();
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use std::sync::Arc;

    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;
    use crate::bridge::fixture::check;

    const LIMIT: Duration = Duration::from_secs(10);

    fn baton(word: &Arc<AtomicU64>, worker: u32) -> Baton {
        Baton::new(Some(Box::new(Arc::clone(word))), worker)
    }

    #[test]
    fn never_two_at_once() {
        check(3, || {
            let word = Arc::new(AtomicU64::new(0));
            let leaving = Arc::new(AtomicUsize::new(0));
            let leave = |worker: u32| {
                let (own, word, leaving) =
                    (baton(&word, worker), Arc::clone(&word), Arc::clone(&leaving));
                move || {
                    if own.take(Duration::from_secs(1), LIMIT) {
                        assert_eq!(leaving.fetch_add(1, Ordering::SeqCst), 0);
                        leaving.fetch_sub(1, Ordering::SeqCst);
                        // Its successor.
                        baton(&word, worker).give_back();
                    }
                }
            };
            let other = thread::spawn(leave(1));
            leave(0)();
            other.join().unwrap();
            assert_eq!(word.load(), 0, "nobody keeps it");
        });
    }

    #[test]
    fn a_late_successor_takes_nothing_from_who_has_it_now() {
        check(3, || {
            let word = Arc::new(AtomicU64::new(0));
            assert!(baton(&word, 0).take(Duration::from_secs(1), LIMIT));
            let successor = {
                let own = baton(&word, 0);
                thread::spawn(move || own.give_back())
            };
            // Its time is over: worker 1 gets it, whether it has been given back or not.
            let next = baton(&word, 1);
            let late = Duration::from_secs(60);
            let taken = next.take(late, LIMIT) || next.take(late, LIMIT);
            assert!(taken);
            successor.join().unwrap();
            assert!(!baton(&word, 2).take(late, LIMIT), "worker 1 still has it");
        });
    }
}
