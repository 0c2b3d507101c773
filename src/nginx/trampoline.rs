//! The guard around every function that nginx calls: it makes the thread's token and catches panics.
//!
//! A function that nginx calls with a request, an event or the configuration is a generic function. It is in the file
//! that knows what must happen after a panic: `request/call.rs`, `process/mod.rs`, `conf/mod.rs` or `module.rs`. Each
//! file registers its own handlers with these functions.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use nginx_sys::{ngx_cycle, ngx_log_t};

use super::log;
use crate::bridge::code::Code;
use crate::bridge::panics::{self, Panicked};

/// Proof that the code runs on nginx's own thread, while nginx calls the module. Everything that touches nginx takes
/// one; only [`guard`] makes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventThread(PhantomData<*mut ()>);

/// Runs the body of a function that nginx called. No panic crosses into C: the panic is logged, and `on_panic` makes
/// the result.
///
/// # Safety
///
/// nginx is the caller, on its own thread; `log` is null or a valid log.
pub(in crate::nginx) unsafe fn guard<R>(
    log: *mut ngx_log_t,
    on_panic: impl FnOnce() -> R,
    body: impl FnOnce(EventThread) -> R,
) -> R {
    match panics::catch(|| body(EventThread(PhantomData))) {
        Ok(result) => result,
        Err(panicked) => {
            // SAFETY: `log` is null or a valid log, and this is nginx's thread, as this function requires.
            unsafe { say_panic(log, &panicked) };
            on_panic()
        }
    }
}

/// Writes a panic as one line at `alert`, to the request's log if there is one.
///
/// # Safety
///
/// `log` is null or a valid log, and this is nginx's thread.
pub(in crate::nginx) unsafe fn say_panic(log: *mut ngx_log_t, panicked: &Panicked) {
    // SAFETY: `log` is valid if it is not null; a cycle always exists and has a log.
    unsafe {
        let log = if log.is_null() { (*ngx_cycle).log } else { log };
        log::message(log, Code::Panic, panicked);
    }
}

/// A value that only the event loop's thread reads and writes.
pub(in crate::nginx) struct OfEventThread<T>(UnsafeCell<T>);

// SAFETY: `get` and `set` take an EventThread, which exists on one thread only.
unsafe impl<T> Sync for OfEventThread<T> {}

impl<T: Copy> OfEventThread<T> {
    pub(in crate::nginx) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(in crate::nginx) fn get(&self, _token: EventThread) -> T {
        // SAFETY: the token proves that this is the event loop's thread; no reference into the cell is ever made.
        unsafe { *self.0.get() }
    }

    pub(in crate::nginx) fn set(&self, _token: EventThread, value: T) {
        // SAFETY: the token proves that this is the event loop's thread; no reference into the cell is ever made.
        unsafe { *self.0.get() = value }
    }
}
