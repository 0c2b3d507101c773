//! The module's own events: timers, and handlers that nginx calls at the end of a turn of its event loop or in the
//! next turn.

use std::cell::UnsafeCell;
use std::ffi::c_void;

use nginx_sys::{ngx_add_timer, ngx_event_t, ngx_msec_t};

use super::log::HasLog;
use super::sys;
use super::trampoline::EventThread;

/// The handler that nginx calls with the event.
pub(in crate::nginx) type EventHandler = unsafe extern "C" fn(*mut ngx_event_t);

/// One event. While it is set or posted it is linked into nginx's tree or queue, so it must not move: its owner is on
/// the heap. Dropping it removes it from both.
pub(in crate::nginx) struct OwnEvent(UnsafeCell<ngx_event_t>);

impl OwnEvent {
    pub(in crate::nginx) fn new(handler: EventHandler) -> Self {
        // SAFETY: an event is plain data, and all zeros are a valid value of it.
        let mut event: ngx_event_t = unsafe { std::mem::zeroed() };
        event.handler = Some(handler);
        Self(UnsafeCell::new(event))
    }

    /// A worker that exits does not wait for a cancelable timer.
    pub(in crate::nginx) fn cancelable(mut self) -> Self {
        self.0.get_mut().set_cancelable(1);
        self
    }

    /// Sets the event's `data` for the handler. If it is not set, `data` is the event itself.
    pub(in crate::nginx) fn set_data(&mut self, data: *mut c_void) {
        self.0.get_mut().data = data;
    }

    /// Starts the timer, or restarts it.
    pub(in crate::nginx) fn start(
        &self,
        _token: EventThread,
        owner: &impl HasLog,
        delay: ngx_msec_t,
    ) {
        let event = self.0.get();
        // SAFETY: this is nginx's thread, and only this thread touches the event. With NGX_DEBUG, nginx reads what
        // `data` points to as if it were a connection (ngx_event_ident).
        unsafe {
            self.prepare(owner);
            ngx_add_timer(event, delay);
        }
    }

    pub(in crate::nginx) fn is_started(&self) -> bool {
        // SAFETY: only one thread touches the event, as with a cell.
        unsafe { (*self.0.get()).timer_set() != 0 }
    }

    pub(in crate::nginx) fn stop(&self, _token: EventThread) {
        // SAFETY: this is nginx's thread, and the event is valid.
        unsafe { sys::delete_timer(self.0.get()) }
    }

    /// Makes nginx call the handler in this turn of its loop, after the events that it has now.
    pub(in crate::nginx) fn post(&self, _token: EventThread, owner: &impl HasLog) {
        // SAFETY: this is nginx's thread, and the event is valid.
        unsafe {
            self.prepare(owner);
            sys::post_event(self.0.get());
        }
    }

    /// Makes nginx call the handler in the next turn of its loop. nginx looks for new events before that.
    pub(in crate::nginx) fn post_next(&self, _token: EventThread, owner: &impl HasLog) {
        // SAFETY: this is nginx's thread, and the event is valid.
        unsafe {
            self.prepare(owner);
            sys::post_next_event(self.0.get());
        }
    }

    pub(in crate::nginx) fn is_posted(&self) -> bool {
        // SAFETY: only one thread touches the event, as with a cell.
        unsafe { (*self.0.get()).posted() != 0 }
    }

    pub(in crate::nginx) fn take_back(&self, _token: EventThread) {
        // SAFETY: this is nginx's thread, and the event is valid.
        unsafe { sys::delete_posted_event(self.0.get()) }
    }

    /// Sets the log, which may have changed with the configuration, and `data` if it is not set.
    unsafe fn prepare(&self, owner: &impl HasLog) {
        let event = self.0.get();
        // SAFETY: this is nginx's thread, and only this thread touches the event.
        unsafe {
            (*event).log = owner.log();
            if (*event).data.is_null() {
                (*event).data = event.cast();
            }
        }
    }
}

impl Drop for OwnEvent {
    fn drop(&mut self) {
        let event = self.0.get_mut();
        // SAFETY: the event contains raw pointers, so it and its owner stay on the thread that made it.
        unsafe {
            sys::delete_timer(event);
            sys::delete_posted_event(event);
        }
    }
}
