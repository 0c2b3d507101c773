//! For how long an application has waited for its client: its deadline does not count that.

use super::sync::{Mutex, lock};

/// The waits of one application. Several of its threads may wait at once, one for the body and one for room for the
/// response: that is one wait.
#[derive(Debug, Default)]
pub(super) struct ClientWait {
    state: Mutex<Waits>,
}

#[derive(Debug, Default)]
struct Waits {
    threads: usize,
    /// Milliseconds of the worker's clock at which the first of them began to wait.
    since: u64,
    /// Milliseconds of the waits that have ended.
    total: u64,
}

impl ClientWait {
    pub(super) fn begin(&self, now: u64) {
        let mut waits = lock(&self.state);
        if waits.threads == 0 {
            waits.since = now;
        }
        waits.threads += 1;
    }

    pub(super) fn end(&self, now: u64) {
        let mut waits = lock(&self.state);
        waits.threads -= 1;
        if waits.threads == 0 {
            waits.total += now.saturating_sub(waits.since);
        }
    }

    /// All waits up to `now`.
    pub(super) fn until(&self, now: u64) -> u64 {
        let waits = lock(&self.state);
        let current = if waits.threads == 0 { 0 } else { now.saturating_sub(waits.since) };
        waits.total + current
    }

    /// Does it wait now?
    #[cfg(test)]
    #[cfg(not(feature = "loom"))]
    pub(super) fn is_on(&self) -> bool {
        lock(&self.state).threads > 0
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up() {
        let wait = ClientWait::default();
        assert_eq!(wait.until(5), 0);
        wait.begin(1);
        assert_eq!(wait.until(5), 4);
        wait.end(11);
        assert_eq!((wait.until(11), wait.until(99)), (10, 10));
        wait.begin(20);
        assert_eq!((wait.until(20), wait.until(23), wait.until(19)), (10, 13, 10));
        wait.end(25);
        assert_eq!(wait.until(99), 15);
    }

    #[test]
    fn several_threads_that_wait_are_one_wait() {
        let wait = ClientWait::default();
        wait.begin(1_000);
        wait.begin(1_010);
        assert_eq!(wait.until(1_015), 15);
        wait.end(1_020);
        assert_eq!(wait.until(1_025), 25);
        wait.end(1_030);
        assert_eq!(wait.until(9_000), 30);
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::bridge::fixture::check;

    #[test]
    fn no_wait_is_left_out() {
        check(3, || {
            let wait = Arc::new(ClientWait::default());
            let thread = {
                let wait = Arc::clone(&wait);
                thread::spawn(move || {
                    wait.begin(1);
                    wait.end(101);
                    wait.begin(201);
                })
            };
            let [first, second] = [wait.until(302), wait.until(302)];
            for waited in [first, second] {
                // Before, in or after the first wait (one that ends is counted twice), in the second.
                assert!([0, 100, 201, 301, 401].contains(&waited), "{waited}");
            }
            assert!(first == 0 || second != 0, "a wait that was seen is not forgotten at its end");
            thread.join().unwrap();
            assert_eq!(wait.until(302), 201);
        });
    }
}
