//! Signals for Python's handlers (`signal.signal`).
//!
//! CPython's C handler only sets a flag; the Python function runs on Python's main thread, when that next runs
//! bytecode. So all threads, the event loop's included, block the signals that nginx has no use for. Only Python's main
//! thread unblocks them, while it waits in [`Until::wait`]: there each signal is delivered, and its handler runs. There
//! is another reason not to deliver them to the event loop's thread: a C handler that writes to a descriptor
//! (`signal.set_wakeup_fd`, libev) means one of Python's descriptor table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::prelude::*;

use super::logging;
use super::shim::Shim;
use crate::bridge::code::Code;

/// The main thread's pthread_t, once it can be woken.
static MAIN: AtomicU64 = AtomicU64::new(0);

/// Something that Python's main thread waits for, beside signals.
#[derive(Default)]
pub(super) struct Until {
    over: AtomicBool,
}

/// Ends the wait when it is dropped.
pub(super) struct Ending(pub(super) Arc<Until>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        wake_main();
    }
}

impl Until {
    /// Python's main thread: runs the handlers of `signals`, and `work` each time that it is woken ([`wake_main`]),
    /// until an [`Ending`] is dropped.
    pub(super) fn wait(&self, shim: &Shim, signals: &[i32], work: impl Fn()) {
        let while_waiting = prepare(signals);
        loop {
            Python::attach(|py| {
                if let Err(error) = py.check_signals() {
                    logging::exception(
                        py,
                        shim,
                        Code::SignalHandlerRaised,
                        "a signal's handler raised",
                        &error,
                    );
                }
            });
            if self.over.load(Ordering::Acquire) {
                return;
            }
            work();
            // SAFETY: the set is this function's own. What has come meanwhile is pending, because it is blocked
            // outside of this call: it ends the call at once.
            unsafe { libc::sigsuspend(&raw const while_waiting) };
        }
    }
}

/// Python's main thread: runs `act`, which is a loop, and has `signals` delivered meanwhile: each interrupts the loop's
/// wait, and CPython runs its handler there.
pub(super) fn while_unblocked<T>(signals: &[i32], act: impl FnOnce() -> T) -> T {
    // SAFETY: all fields of a sigset_t are numbers.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is this function's own.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in signals {
        // SAFETY: as above.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    // SAFETY: it changes what the calling thread alone blocks, and the set is this function's own.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
    let result = act();
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    result
}

/// Makes [`wake_main`] work for the calling thread; gives the signals that it blocks while it waits.
fn prepare(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all fields of a sigaction and of a sigset_t are numbers.
    let (mut action, mut set): (libc::sigaction, libc::sigset_t) = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, so that the signal only ends the wait.
    unsafe { libc::sigaction(wake_signal(), &raw const action, std::ptr::null_mut()) };
    // SAFETY: it has no arguments.
    MAIN.store(unsafe { libc::pthread_self() }, Ordering::Release);
    // SAFETY: with null it only says what the thread blocks, and the set is this function's own.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set) };
    for signal in signals {
        // SAFETY: the set is this function's own.
        unsafe { libc::sigdelset(&raw mut set, *signal) };
    }
    set
}

/// Wakes Python's main thread if it waits. It then runs the handlers of signals, and its work.
pub(super) fn wake_main() {
    let main = MAIN.load(Ordering::Acquire);
    if main != 0 {
        // SAFETY: Python's main thread ends after all other threads of Python, or not at all, and nobody calls this
        // afterwards.
        unsafe { libc::pthread_kill(main, wake_signal()) };
    }
}

/// The signal that wakes Python's main thread. The shim keeps applications from handling it (`signal.signal`).
fn wake_signal() -> libc::c_int {
    libc::SIGRTMAX()
}

extern "C" fn nothing(_signal: libc::c_int) {}
