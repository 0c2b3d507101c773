//! The state of a worker's event loop apart from its requests, and how calls from nginx reach it.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::ptr;

use nginx_sys::{ngx_connection_t, ngx_cycle, ngx_event_t, ngx_log_t, ngx_msec_t};

use super::condemned::Condemned;
use super::dormancy::Dormancy;
use super::limits::Limits;
use super::outputs::Outputs;
use super::renewals::Renewals;
use super::stage::Standing;
use crate::bridge::events::Event;
use crate::bridge::exchange::Exchange;
use crate::nginx::log::HasLog;
use crate::nginx::own_event::OwnEvent;
use crate::nginx::request::event_loop::EventLoop;
use crate::nginx::trampoline::{EventThread, OfEventThread, guard};
use crate::nginx::wall::Wall;

/// Made once, and kept until the process ends.
pub(in crate::nginx) struct Process {
    pub(super) event_loop: &'static EventLoop,
    /// The messages that are being handled. Empty in between; kept so that its memory is reused.
    pub(super) batch: Cell<Vec<Event<Exchange>>>,
    /// The bell's connection.
    pub(super) connection: Cell<*mut ngx_connection_t>,
    /// Fires every millisecond while requests queue behind one that is expected to finish quickly.
    pub(super) look: OwnEvent,
    /// Fires if the worker exits and requests have not ended within `drain_timeout`.
    pub(super) drain: OwnEvent,
    pub(super) drain_timeout: ngx_msec_t,
    /// `start` fires when the start of Python's main thread, which failed, must be tried again; `start_delay` is the
    /// delay before the attempt after that.
    pub(super) start: OwnEvent,
    pub(super) start_delay: Cell<ngx_msec_t>,
    pub(super) limits: Limits,
    pub(super) outputs: Outputs,
    pub(super) standing: Standing,
    pub(super) wall: Wall,
    pub(super) dormancy: Dormancy,
    pub(super) renewals: Renewals,
    pub(super) condemned: Condemned,
    /// The master's end of the channel, if the worker may have to tell the master to reload.
    pub(super) masters_end: Option<OwnedFd>,
}

impl Process {
    /// Whether it serves clients.
    pub(super) fn is_web(&self) -> bool {
        self.event_loop.worker().config.role.is_web()
    }
}

static CURRENT: OfEventThread<Option<&'static Process>> = OfEventThread::new(None);

/// The process's state, if it runs Python.
pub(super) fn current(token: EventThread) -> Option<&'static Process> {
    CURRENT.get(token)
}

pub(super) fn set_current(token: EventThread, process: &'static Process) {
    CURRENT.set(token, Some(process));
}

/// A handler that nginx calls for the process.
pub(super) trait Handler {
    fn call(token: EventThread, process: &'static Process);
}

/// Handles nginx's call with one of the process's events. After a panic it rings the bell once more, because the
/// event loop may have been about to rest.
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
        // SAFETY: nginx called this function, on its own thread; the null log stands for the cycle's log.
        unsafe { guard(ptr::null_mut(), || (), again) };
    };
    // SAFETY: nginx calls this function with one of the module's own events, which has a log.
    unsafe {
        guard((*event).log, ring, |token| {
            if let Some(process) = current(token) {
                H::call(token, process);
            }
        });
    }
}

// SAFETY: a cycle always exists and has a log; the process's state does not leave the event loop's thread.
unsafe impl HasLog for Process {
    fn log(&self) -> *mut ngx_log_t {
        // SAFETY: a cycle always exists and has a log.
        unsafe { (*ngx_cycle).log }
    }
}
