//! Wakes a thread that sleeps in an event loop, once for all that has been queued for it.
//!
//! `awake` is true from a call that rang the bell, or from when the thread had something to do by itself, until the
//! thread [`rest`](Doorbell::rest)s. Who adds something to the thread's queue meanwhile does not ring, because the
//! thread takes what there is before it rests: it clears `awake` and then looks at the queue, so that something added
//! after that rings again, and something added before is seen. At worst the thread wakes for nothing; nothing that was
//! added is missed.

use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use super::bell::{Bell, Lost};
use super::sync::{AtomicBool, Ordering};

#[derive(Debug)]
pub(super) struct Doorbell {
    awake: AtomicBool,
    bell: Bell,
    /// What is done when the bell is lost.
    on_lost: OnceLock<fn()>,
}

impl Doorbell {
    /// `least`: the descriptor's number is no lower.
    pub(super) fn new(least: RawFd) -> io::Result<Self> {
        Ok(Self {
            awake: AtomicBool::new(false),
            bell: Bell::new(least)?,
            on_lost: OnceLock::new(),
        })
    }

    /// The descriptor that becomes readable when the thread has to look at its queue.
    pub(super) fn fd(&self) -> RawFd {
        self.bell.fd()
    }

    /// Any thread, after it has added something to the queue: wakes the thread if it rests.
    pub(super) fn ring(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            self.ring_again();
        }
    }

    /// Rings in any case. The thread itself does so to be woken in its next turn.
    pub(super) fn ring_again(&self) {
        if let Err(lost) = self.bell.ring() {
            self.lose(lost);
        }
    }

    /// The thread: has heard the bell. It is awake now.
    pub(super) fn hush(&self) {
        if let Err(lost) = self.bell.hush() {
            self.lose(lost);
        }
        self.stay_awake();
    }

    /// The thread: is awake by itself. Until it rests, nobody rings.
    pub(super) fn stay_awake(&self) {
        self.awake.swap(true, Ordering::SeqCst);
    }

    /// The thread: rests, so that what is added next rings. True if there is something in the queue, by `has_more`:
    /// then it stays awake.
    #[must_use]
    pub(super) fn rest(&self, has_more: impl FnOnce() -> bool) -> bool {
        // A store would do; in loom only a swap is known to come after the swap of a ring before.
        self.awake.swap(false, Ordering::SeqCst);
        let more = has_more();
        if more {
            self.stay_awake();
        }
        more
    }

    /// Any thread: looks whether the thread can still be woken.
    pub(super) fn check(&self) {
        if let Err(lost) = self.bell.check() {
            self.lose(lost);
        }
    }

    /// What to do when somebody has closed the bell's descriptor, so that nothing wakes the thread any more.
    pub(super) fn on_lost(&self, act: fn()) {
        // It is set once in a process; a second call would bring the same.
        let _first = self.on_lost.set(act);
    }

    #[cold]
    fn lose(&self, _lost: Lost) {
        if let Some(act) = self.on_lost.get() {
            act();
        }
    }

    /// How often it has been rung: outside of loom since it was last silenced, and it is silenced.
    #[cfg(test)]
    #[cfg(not(feature = "loom"))]
    pub(super) fn rings(&self) -> u64 {
        self.bell.rings()
    }

    /// How often it has been rung, since the beginning.
    #[cfg(test)]
    #[cfg(feature = "loom")]
    pub(super) fn rings(&self) -> usize {
        self.bell.rings()
    }

    /// Sleeps until it has been rung.
    #[cfg(test)]
    #[cfg(feature = "loom")]
    pub(super) fn wait(&self) {
        self.bell.wait();
    }
}
