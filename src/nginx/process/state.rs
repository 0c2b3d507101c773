//! What the event loop's side of a worker has beside its requests, and how nginx's calls reach it.

use std::cell::Cell;
use std::ptr;

use nginx_sys::{ngx_connection_t, ngx_cycle, ngx_event_t, ngx_log_t, ngx_msec_t};

use crate::bridge::events::Event;
use crate::bridge::exchange::Exchange;
use crate::nginx::log::HasLog;
use crate::nginx::own_event::OwnEvent;
use crate::nginx::request::event_loop::EventLoop;
use crate::nginx::trampoline::{EventThread, OfEventThread, guard};

/// Made once, and kept until the process ends.
pub(in crate::nginx) struct Process {
    pub(super) event_loop: &'static EventLoop,
    /// What waits, while it is dealt with; empty in between, to be used again.
    pub(super) batch: Cell<Vec<Event<Exchange>>>,
    /// The bell's.
    pub(super) connection: Cell<*mut ngx_connection_t>,
    /// Fires every millisecond while requests queue behind one that is expected to finish quickly.
    pub(super) look: OwnEvent,
    /// Fires when the worker exits and requests still have not ended.
    pub(super) drain: OwnEvent,
    pub(super) drain_timeout: ngx_msec_t,
    /// Fires when Python's main thread, which could not be started, is tried again; and in how long the time
    /// after that.
    pub(super) start: OwnEvent,
    pub(super) start_delay: Cell<ngx_msec_t>,
}

static CURRENT: OfEventThread<Option<&'static Process>> = OfEventThread::new(None);

/// The process's state, if it runs Python.
pub(super) fn current(token: EventThread) -> Option<&'static Process> {
    CURRENT.get(token)
}

pub(super) fn set_current(token: EventThread, process: &'static Process) {
    CURRENT.set(token, Some(process));
}

/// What nginx calls for the process.
pub(super) trait Handler {
    fn call(token: EventThread, process: &'static Process);
}

/// nginx's call with one of the process's events. After a panic the event loop is rung for once more, for it may
/// have been about to rest.
///
/// # Safety
///
/// nginx calls it with an event that has a log.
pub(super) unsafe extern "C" fn on_process<H: Handler>(event: *mut ngx_event_t) {
    let ring = || {
        let again = |token| {
            if let Some(process) = current(token) {
                process.event_loop.worker().events.ring_again();
            }
        };
        // SAFETY: nginx calls; without a log, the cycle's is taken.
        unsafe { guard(ptr::null_mut(), || (), again) };
    };
    // SAFETY: nginx calls with the module's own event, which has a log.
    unsafe {
        guard((*event).log, ring, |token| {
            if let Some(process) = current(token) {
                H::call(token, process);
            }
        });
    }
}

// SAFETY: there is always a cycle, and it has a log; the process's state does not leave the event loop's thread.
unsafe impl HasLog for Process {
    fn log(&self) -> *mut ngx_log_t {
        // SAFETY: as above.
        unsafe { (*ngx_cycle).log }
    }
}
