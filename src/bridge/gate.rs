//! Where an application's requests wait while it is imported.
//!
//! They wait here and not in a pool, so that a slow import holds no thread, and no request of another
//! application.
//!
//! The gate is `SHUT` until the first import has ended: all wait. While an import that has failed is tried
//! again it is `SHUT` or `AJAR`. `AJAR` means that the request that began the attempt waits, and that others pass,
//! to be answered 500 at once.

use super::carried::Carried;
use super::sync::{Arc, AtomicU8, Mutex, Ordering, lock};

#[derive(Debug)]
pub(crate) struct Gate<X> {
    /// Written under the lock of `waiting`.
    state: AtomicU8,
    waiting: Mutex<Vec<Arc<X>>>,
}

const SHUT: u8 = 0;
const OPEN: u8 = 1;
const AJAR: u8 = 2;

/// What became of a request at the gate.
#[derive(Debug)]
pub(crate) enum Passage<X> {
    Through(Arc<X>),
    Waits,
    /// As many wait as are allowed to.
    Full,
}

impl<X: Carried> Gate<X> {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(SHUT), waiting: Mutex::new(Vec::new()) }
    }

    /// Is nobody importing the application? It has been imported, or has failed to be.
    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == OPEN
    }

    /// Event loop: lets a request through, or keeps it; at most `limit()` wait.
    pub(crate) fn pass(&self, exchange: Arc<X>, limit: impl FnOnce() -> usize) -> Passage<X> {
        if self.state.load(Ordering::Acquire) != SHUT {
            return Passage::Through(exchange);
        }
        let mut waiting = lock(&self.waiting);
        // Opened in between: `open` stores under the lock.
        if self.state.load(Ordering::Acquire) != SHUT {
            return Passage::Through(exchange);
        }
        if waiting.len() >= limit() {
            return Passage::Full;
        }
        waiting.push(exchange);
        Passage::Waits
    }

    /// Who imports: the application has been imported, or has failed to; requests pass from now
    /// on. Gives back those that waited.
    pub(crate) fn open(&self) -> Vec<Arc<X>> {
        let mut waiting = lock(&self.waiting);
        self.state.store(OPEN, Ordering::Release);
        std::mem::take(&mut *waiting)
    }

    /// Who runs `exchange`: its application will be imported once more, and [`open`](Self::open) will follow.
    /// `exchange` waits for that, and so do those that come meanwhile, if `shut`.
    pub(crate) fn close(&self, exchange: Arc<X>, shut: bool) {
        let mut waiting = lock(&self.waiting);
        self.state.store(if shut { SHUT } else { AJAR }, Ordering::Release);
        waiting.push(exchange);
    }

    /// Who runs `exchange`: it waits as well, because it had passed before the gate was closed. False if the gate is
    /// open again.
    pub(crate) fn wait(&self, exchange: &Arc<X>) -> bool {
        let mut waiting = lock(&self.waiting);
        let waits = !self.is_open();
        if waits {
            waiting.push(Arc::clone(exchange));
        }
        waits
    }

    /// Event loop: a request no longer waits.
    pub(crate) fn forget(&self, exchange: &Arc<X>) {
        if self.is_open() {
            return;
        }
        lock(&self.waiting).retain(|waiting| waiting != exchange);
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use crate::bridge::exchange::Exchange;
    use crate::bridge::fixture::{exchanges, worker};
    use crate::bridge::id::RequestId;

    fn waiting(gate: &Gate<Exchange>) -> Vec<RequestId> {
        gate.open().iter().map(|exchange| exchange.id).collect()
    }

    #[test]
    fn requests_wait_until_it_opens() {
        let gate = Gate::new();
        let [first, second, third] = exchanges(&worker(1, 0));
        assert!(matches!(gate.pass(first.clone(), || 2), Passage::Waits));
        assert!(matches!(gate.pass(second.clone(), || 2), Passage::Waits));
        assert_eq!(waiting(&gate), [first.id, second.id]);
        assert!(
            matches!(gate.pass(third.clone(), || 0), Passage::Through(exchange) if exchange.id == third.id)
        );
        assert!(waiting(&gate).is_empty());
    }

    #[test]
    fn no_more_wait_than_may() {
        let gate = Gate::new();
        let [first, second, third] = exchanges(&worker(1, 0));
        assert!(matches!(gate.pass(first.clone(), || 1), Passage::Waits));
        assert!(matches!(gate.pass(second, || 1), Passage::Full));
        gate.forget(&first);
        assert!(matches!(gate.pass(third.clone(), || 1), Passage::Waits));
        assert_eq!(waiting(&gate), [third.id]);
        gate.forget(&third);
    }

    #[test]
    fn while_it_is_ajar_only_who_began_waits() {
        let gate = Gate::new();
        let [first, second, third] = exchanges(&worker(1, 0));
        assert!(waiting(&gate).is_empty());
        gate.close(first.clone(), false);
        assert!(matches!(gate.pass(second, || 9), Passage::Through(_)));
        assert_eq!(waiting(&gate), [first.id]);
        gate.close(first.clone(), false);
        gate.forget(&first);
        assert!(waiting(&gate).is_empty());
        assert!(!gate.wait(&third), "nobody would open it again");
    }

    #[test]
    fn it_is_shut_again_for_all() {
        let gate = Gate::new();
        let [first, second, third] = exchanges(&worker(1, 0));
        assert!(waiting(&gate).is_empty());
        gate.close(first.clone(), true);
        assert!(gate.wait(&second));
        assert!(matches!(gate.pass(third.clone(), || 2), Passage::Full));
        assert!(matches!(gate.pass(third.clone(), || 3), Passage::Waits));
        assert_eq!(waiting(&gate), [first.id, second.id, third.id]);
        assert!(matches!(gate.pass(third, || 0), Passage::Through(_)));
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::bridge::exchange::Exchange;
    use crate::bridge::fixture::{check, exchanges, worker};

    #[test]
    fn a_request_that_comes_while_it_opens_is_not_lost() {
        check(3, || {
            let gate = Arc::new(Gate::new());
            let exchanges = exchanges::<2>(&worker(1, 0));
            let opener = {
                let gate = Arc::clone(&gate);
                thread::spawn(move || gate.open())
            };
            let mut through = Vec::new();
            for exchange in exchanges.clone() {
                match gate.pass(exchange, || 2) {
                    Passage::Through(exchange) => through.push(exchange),
                    Passage::Waits => assert!(through.is_empty(), "it does not close again"),
                    Passage::Full => panic!("two may wait"),
                }
            }
            let mut found = opener.join().unwrap();
            found.append(&mut through);
            // Each exactly once, in order.
            let ids = |exchanges: &[Arc<Exchange>]| {
                exchanges.iter().map(|exchange| exchange.id).collect::<Vec<_>>()
            };
            assert_eq!(ids(&found), ids(&exchanges));
        });
    }

    #[test]
    fn a_request_is_forgotten_or_goes_on() {
        check(3, || {
            let gate = Arc::new(Gate::new());
            let [kept, gone] = exchanges(&worker(1, 0));
            assert!(matches!(gate.pass(gone.clone(), || 2), Passage::Waits));
            assert!(matches!(gate.pass(kept.clone(), || 2), Passage::Waits));
            let opener = {
                let gate = Arc::clone(&gate);
                thread::spawn(move || gate.open())
            };
            gate.forget(&gone);
            let found = opener.join().unwrap();
            assert_eq!(found.last().map(|exchange| exchange.id), Some(kept.id));
            assert!(gate.open().is_empty());
        });
    }
}
