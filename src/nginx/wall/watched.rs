//! A descriptor that nginx watches for this module, as a connection of its own.

use std::ffi::c_void;
use std::os::fd::RawFd;

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_cycle, ngx_event_t, ngx_get_connection,
    ngx_handle_read_event,
};

use crate::nginx::request::event_loop;
use crate::nginx::sys;
use crate::nginx::trampoline::{EventThread, guard};

/// Who is told that a descriptor can be read. The turn of the event loop is ended afterwards.
pub(super) trait Listener {
    fn readable(token: EventThread, target: Target);
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bell,
    Socket,
    Meeting,
}

/// Whose it is: the number of a process, or of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) number: usize,
}

/// The connection, which is closed with this, on nginx's thread.
pub(super) struct Watched(*mut ngx_connection_t);

const KINDS: [Kind; 3] = [Kind::Bell, Kind::Socket, Kind::Meeting];

impl Watched {
    /// Watches a duplicate of `fd`. `None` if nginx has no connection left.
    pub(super) fn new<L: Listener>(_token: EventThread, fd: RawFd, target: Target) -> Option<Self> {
        // SAFETY: this is nginx's thread, and its cycle is the worker's. The connection owns the duplicate.
        unsafe {
            let own = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0);
            if own < 0 {
                return None;
            }
            let connection = ngx_get_connection(own, (*ngx_cycle).log);
            if connection.is_null() {
                libc::close(own);
                return None;
            }
            let watched = Self(connection);
            (*connection).data = target.to_data();
            let event = (*connection).read;
            (*event).handler = Some(readable::<L>);
            (*event).log = (*ngx_cycle).log;
            (*(*connection).write).log = (*ngx_cycle).log;
            // This is not a client's connection: a graceful exit neither waits for it nor reports it as an open socket
            // (ngx_worker_process_exit).
            (*event).set_channel(1);
            (ngx_handle_read_event(event, 0) == sys::OK).then_some(watched)
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: it was made on nginx's thread, which it does not leave, and is closed once. nginx takes its events out
        // of its queues.
        unsafe { ngx_close_connection(self.0) };
    }
}

impl Target {
    fn to_data(self) -> *mut c_void {
        let kind = KINDS.iter().position(|kind| *kind == self.kind).unwrap_or(0);
        std::ptr::without_provenance_mut(self.number * KINDS.len() + kind)
    }

    fn of_data(data: *mut c_void) -> Option<Self> {
        let data = data.addr();
        let kind = *KINDS.get(data % KINDS.len())?;
        Some(Self { kind, number: data / KINDS.len() })
    }
}

/// # Safety
///
/// nginx calls it with the read event of a [`Watched`].
unsafe extern "C" fn readable<L: Listener>(event: *mut ngx_event_t) {
    // SAFETY: the event's connection is open, and its data was set by `new`.
    unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        let target = Target::of_data((*connection).data);
        guard(
            (*event).log,
            || (),
            |token| {
                if let Some(target) = target {
                    L::readable(token, target);
                }
                if let Some(event_loop) = event_loop::current(token) {
                    event_loop.end_turn_later(token);
                }
            },
        );
    }
}
