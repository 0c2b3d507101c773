//! What an application wants called when its client is gone, and when its response is over.
//!
//! `left` and `over` decide who runs what comes after the response. The thread leaves the application and nginx
//! frees the request, in either order; whichever comes later sees to the callbacks, once. The thread runs them
//! itself; the event loop sends the request to its executor again. Callbacks are dropped on Python's threads alone,
//! because they hold Python's objects.
//!
//! If the client leaves while the application runs, each callback that waits for that is called once: by a thread
//! for that purpose ([`Callers`](super::callers::Callers)), or by the application's own thread as it ends, whichever
//! takes it first.

use std::fmt;

use super::sync::{Mutex, lock};

/// Something to call once, on a Python thread.
pub(crate) struct Callback(Box<dyn FnOnce() + Send>);

impl Callback {
    pub(crate) fn new(call: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(call))
    }

    pub(crate) fn call(self) {
        (self.0)();
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

/// Why nobody waits for the application's response any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The client has closed its connection, or cannot be written to.
    Client,
    /// The request has been answered without the application: its body was refused, the worker exits.
    Answered,
    /// The same, because the application is beyond its `…_timeout`.
    TimedOut,
}

/// What a thread that leaves the application calls itself.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// The client has left, and nobody has called these yet.
    pub(crate) on_gone: Vec<Callback>,
    /// The request is over already.
    pub(crate) after: Vec<Callback>,
}

#[cfg(test)]
impl Due {
    pub(crate) fn is_nothing(&self) -> bool {
        self.on_gone.is_empty() && self.after.is_empty()
    }
}

/// The callbacks of one request.
#[derive(Debug, Default)]
pub(crate) struct Callbacks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    gone: Option<Gone>,
    on_gone: Vec<Callback>,
    after: Vec<Callback>,
    /// The thread has left the application.
    left: bool,
    /// nginx has freed the request: the client has all that it gets, and its connection is free.
    over: bool,
    /// The last of both has seen to `after`.
    settled: bool,
}

impl Callbacks {
    /// Why nobody waits for the response, if that is so.
    pub(crate) fn gone(&self) -> Option<Gone> {
        lock(&self.state).gone
    }

    /// Thread: to be called when nobody waits for the response any more. Comes back if nobody does already. If the
    /// thread has left the application it is never called, and is dropped: one that refers to its request would
    /// keep itself alive here.
    pub(crate) fn on_gone(&self, callback: Callback) -> Option<Callback> {
        let mut state = lock(&self.state);
        if state.gone.is_some() {
            return Some(callback);
        }
        if state.left {
            // Not under the lock: the object's finalizer may ask for its request.
            drop(state);
            drop(callback);
            return None;
        }
        state.on_gone.push(callback);
        None
    }

    /// Thread: to be called when the response is over; says whether it is the first one. Comes back if the response
    /// is over already.
    pub(crate) fn after(&self, callback: Callback) -> Result<bool, Callback> {
        let mut state = lock(&self.state);
        if state.settled {
            return Err(callback);
        }
        state.after.push(callback);
        Ok(state.after.len() == 1)
    }

    /// How many wait to be called when the client leaves, and when the response is over.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.on_gone.len(), state.after.len())
    }

    /// Event loop: nobody waits for the response any more. True if callbacks wait for that; `None` if it was known.
    pub(crate) fn set_gone(&self, why: Gone) -> Option<bool> {
        let mut state = lock(&self.state);
        if state.gone.is_some() {
            return None;
        }
        state.gone = Some(why);
        Some(!state.on_gone.is_empty())
    }

    /// Does anybody wait to be told that the client has left?
    pub(crate) fn awaits_gone(&self) -> bool {
        !lock(&self.state).on_gone.is_empty()
    }

    /// A Python thread: what has to be called now that nobody waits.
    pub(crate) fn take_on_gone(&self) -> Vec<Callback> {
        std::mem::take(&mut lock(&self.state).on_gone)
    }

    /// Event loop: the request is over. True if the executor has to run callbacks.
    pub(crate) fn set_over(&self) -> bool {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.over, true) || !state.left {
            return false;
        }
        state.settled = state.after.is_empty();
        !state.settled
    }

    /// Thread: has left the application. Gives back what it has to run itself.
    pub(crate) fn set_left(&self) -> Due {
        let mut state = lock(&self.state);
        state.left = true;
        let mut due = Due { on_gone: std::mem::take(&mut state.on_gone), after: Vec::new() };
        // A client that leaves later interrupts nothing: these are never called.
        let unused = match state.gone {
            Some(_) => Vec::new(),
            None => std::mem::take(&mut due.on_gone),
        };
        if state.over {
            state.settled = true;
            due.after = std::mem::take(&mut state.after);
        }
        drop(state);
        drop(unused);
        due
    }

    /// Thread: what the event loop has left to the executor.
    pub(crate) fn take_after(&self) -> Vec<Callback> {
        let mut state = lock(&self.state);
        state.settled = true;
        std::mem::take(&mut state.after)
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counting() -> (Arc<AtomicUsize>, impl Fn() -> Callback) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let make = move || {
            let counted = Arc::clone(&counted);
            Callback::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            })
        };
        (count, make)
    }

    #[test]
    fn who_leaves_is_told_once() {
        let (count, callback) = counting();
        let callbacks = Callbacks::default();
        assert!(callbacks.on_gone(callback()).is_none());
        assert!(callbacks.on_gone(callback()).is_none());
        assert_eq!(callbacks.gone(), None);
        assert_eq!(callbacks.set_gone(Gone::Client), Some(true));
        assert_eq!(callbacks.set_gone(Gone::Answered), None);
        assert_eq!(callbacks.gone(), Some(Gone::Client));
        callbacks.take_on_gone().into_iter().for_each(Callback::call);
        assert!(callbacks.take_on_gone().is_empty());
        assert_eq!(count.load(Ordering::Relaxed), 2);
        callbacks.on_gone(callback()).unwrap().call();
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn who_leaves_the_application_first_calls_them_itself() {
        let (count, callback) = counting();
        let callbacks = Callbacks::default();
        assert!(callbacks.on_gone(callback()).is_none());
        assert_eq!(callbacks.set_gone(Gone::Client), Some(true));
        callbacks.set_left().on_gone.into_iter().for_each(Callback::call);
        assert!(callbacks.take_on_gone().is_empty());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn nobody_is_told_of_a_client_that_leaves_after_the_application() {
        let (_, callback) = counting();
        let callbacks = Callbacks::default();
        assert!(callbacks.on_gone(callback()).is_none());
        assert!(callbacks.set_left().is_nothing());
        assert_eq!(callbacks.set_gone(Gone::Client), Some(false));
    }

    #[test]
    fn who_asks_after_the_application_is_not_kept() {
        let callbacks = Callbacks::default();
        assert!(callbacks.set_left().is_nothing());
        let kept = Arc::new(());
        let held = Arc::clone(&kept);
        assert!(callbacks.on_gone(Callback::new(move || drop(held))).is_none());
        assert_eq!(Arc::strong_count(&kept), 1);
        assert_eq!(callbacks.set_gone(Gone::Client), Some(false));
    }

    #[test]
    fn what_comes_after_is_run_by_the_later_of_both() {
        for thread_first in [true, false] {
            let (count, callback) = counting();
            let callbacks = Callbacks::default();
            assert!(callbacks.after(callback()).unwrap());
            assert!(!callbacks.after(callback()).unwrap());
            let after = if thread_first {
                assert!(callbacks.set_left().is_nothing());
                assert!(!callbacks.after(callback()).unwrap());
                assert!(callbacks.set_over());
                assert!(!callbacks.set_over());
                assert!(!callbacks.after(callback()).unwrap());
                callbacks.take_after()
            } else {
                assert!(!callbacks.set_over());
                assert!(!callbacks.after(callback()).unwrap());
                assert!(!callbacks.after(callback()).unwrap());
                callbacks.set_left().after
            };
            assert_eq!(after.len(), 4);
            after.into_iter().for_each(Callback::call);
            assert_eq!(count.load(Ordering::Relaxed), 4);
            callbacks.after(callback()).unwrap_err().call();
            assert_eq!(count.load(Ordering::Relaxed), 5);
        }
    }

    #[test]
    fn without_callbacks_nobody_is_asked() {
        let callbacks = Callbacks::default();
        assert_eq!(callbacks.set_gone(Gone::Answered), Some(false));
        assert!(callbacks.set_left().is_nothing());
        assert!(!callbacks.set_over());
        assert!(callbacks.after(counting().1()).is_err());
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
    fn what_comes_after_is_run_once_whoever_is_last() {
        check(3, || {
            let count = Arc::new(AtomicUsize::new(0));
            let callbacks = Arc::new(Callbacks::default());
            let thread = {
                let (callbacks, count) = (Arc::clone(&callbacks), Arc::clone(&count));
                thread::spawn(move || {
                    let counted = Arc::clone(&count);
                    let callback = Callback::new(move || {
                        counted.fetch_add(1, Ordering::Relaxed);
                    });
                    if let Err(callback) = callbacks.after(callback) {
                        callback.call();
                    }
                    callbacks.set_left().after.into_iter().for_each(Callback::call);
                })
            };
            if callbacks.set_over() {
                callbacks.take_after().into_iter().for_each(Callback::call);
            }
            thread.join().unwrap();
            assert_eq!(count.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn who_waits_for_the_client_to_leave_is_told_once() {
        check(3, || {
            let count = Arc::new(AtomicUsize::new(0));
            let callbacks = Arc::new(Callbacks::default());
            let counted = Arc::clone(&count);
            let callback = Callback::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            assert!(callbacks.on_gone(callback).is_none());
            assert_eq!(callbacks.set_gone(Gone::Client), Some(true));
            let caller = {
                let callbacks = Arc::clone(&callbacks);
                thread::spawn(move || {
                    callbacks.take_on_gone().into_iter().for_each(Callback::call);
                })
            };
            callbacks.set_left().on_gone.into_iter().for_each(Callback::call);
            caller.join().unwrap();
            assert_eq!(count.load(Ordering::Relaxed), 1);
        });
    }
}
