//! What every function that nginx calls goes through: it makes the thread's token and catches panics.
//!
//! A function that nginx calls with a request, an event or the configuration is a generic one of the file that knows
//! what must happen after a panic there: `request/call.rs`, `process/mod.rs`, `conf/mod.rs`, `module.rs`. Each file
//! registers its own handlers with these.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use nginx_sys::{ngx_cycle, ngx_log_t};

use super::log;
use crate::bridge::panics::{self, Panicked};

/// Proof of being on nginx's own thread, while nginx calls in. Everything that touches nginx takes
/// one; [`guard`] alone makes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventThread(PhantomData<*mut ()>);

/// Runs what nginx has called. No panic crosses into C: it is logged, and `on_panic` makes the answer.
///
/// # Safety
///
/// nginx calls, on its own thread; `log` is null or a valid log.
pub(in crate::nginx) unsafe fn guard<R>(
    log: *mut ngx_log_t,
    on_panic: impl FnOnce() -> R,
    body: impl FnOnce(EventThread) -> R,
) -> R {
    match panics::catch(|| body(EventThread(PhantomData))) {
        Ok(result) => result,
        Err(panicked) => {
            // SAFETY: `log` is what this function asks for.
            unsafe { say_panic(log, &panicked) };
            on_panic()
        }
    }
}

/// Writes a panic as one line at `alert`: to the log of the request, if there is one.
///
/// # Safety
///
/// `log` is null or a valid log, and this is nginx's thread.
pub(in crate::nginx) unsafe fn say_panic(log: *mut ngx_log_t, panicked: &Panicked) {
    // SAFETY: `log` is valid if it is not null; there is always a cycle, and it has a log.
    unsafe {
        let log = if log.is_null() { (*ngx_cycle).log } else { log };
        log::write(log, log::ALERT, &panicked.to_string());
    }
}

/// A value that the event loop's thread alone reads and writes.
pub(in crate::nginx) struct OfEventThread<T>(UnsafeCell<T>);

// SAFETY: `get` and `set` want an EventThread: one thread has them.
unsafe impl<T> Sync for OfEventThread<T> {}

impl<T: Copy> OfEventThread<T> {
    pub(in crate::nginx) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(in crate::nginx) fn get(&self, _token: EventThread) -> T {
        // SAFETY: on the event loop's thread, as the token proves; no reference into the cell is ever made.
        unsafe { *self.0.get() }
    }

    pub(in crate::nginx) fn set(&self, _token: EventThread, value: T) {
        // SAFETY: as for `get`.
        unsafe { *self.0.get() = value }
    }
}
