//! The listening sockets of a worker: whether it accepts their connections.
//!
//! nginx adds them to epoll as the worker starts (`ngx_event_process_init`), or each time that it gets the accept mutex.

use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nginx_sys::{
    ngx_accept_disabled, ngx_cycle_t, ngx_event_actions, ngx_int_t, ngx_listening_t, ngx_uint_t,
    ngx_use_accept_mutex, ngx_use_exclusive_accept,
};

/// `NGX_READ_EVENT`, and `NGX_EXCLUSIVE_EVENT`, of the event methods of Linux.
const READ_EVENT: ngx_int_t = (libc::EPOLLIN | libc::EPOLLRDHUP) as ngx_int_t;
const EXCLUSIVE_EVENT: ngx_uint_t = libc::EPOLLEXCLUSIVE as ngx_uint_t;

/// Takes those sockets that `which` is true for out of epoll: their connections are left to other workers.
///
/// # Safety
///
/// `cycle` is the worker's, and nginx has added its events.
pub(super) unsafe fn stop(cycle: *mut ngx_cycle_t, which: impl Fn(&ngx_listening_t) -> bool) {
    // SAFETY: as the caller says; nginx's own functions take an event of a listening socket.
    unsafe {
        if ngx_use_accept_mutex != 0 {
            // Each turn of the event loop counts it down by one; while it is positive, the worker does not ask for the
            // mutex.
            ngx_accept_disabled = ngx_int_t::MAX / 2;
        }
        for socket in sockets(cycle).filter(|socket| which(socket)) {
            let event = (*socket.connection).read;
            if let Some(delete) = ngx_event_actions.del.filter(|_| (*event).active() != 0) {
                delete(event, READ_EVENT, 0);
            }
        }
    }
}

/// Closes all sockets: the process never accepts connections, and whoever has taken it over must not either, or close the
/// sockets for all others (shutdown(2)).
///
/// # Safety
///
/// As for [`stop`].
pub(super) unsafe fn close(cycle: *mut ngx_cycle_t) {
    // SAFETY: as the caller says. As nginx does when a worker exits (`ngx_close_listening_sockets`), but with those of QUIC:
    // the array is empty then, and nobody uses the descriptors again. A connection without a descriptor is not looked at.
    unsafe {
        stop(cycle, |_| true);
        ngx_use_accept_mutex = 0;
        for socket in (*cycle).listening.as_slice::<ngx_listening_t>() {
            if let Some(connection) = socket.connection.as_mut() {
                connection.fd = -1;
            }
            libc::close(socket.fd);
        }
        (*cycle).listening.nelts = 0;
    }
}

/// Adds all sockets to epoll again.
///
/// # Safety
///
/// As for [`stop`].
pub(super) unsafe fn resume(cycle: *mut ngx_cycle_t) {
    // SAFETY: as the caller says.
    unsafe {
        if ngx_use_accept_mutex != 0 {
            ngx_accept_disabled = 0;
        }
        for socket in sockets(cycle) {
            let reuseport = socket.reuseport() != 0;
            let event = (*socket.connection).read;
            if (*event).active() != 0 || (ngx_use_accept_mutex != 0 && !reuseport) {
                continue;
            }
            let exclusive = ngx_use_exclusive_accept != 0 && !reuseport;
            let flags = if exclusive { EXCLUSIVE_EVENT } else { 0 };
            if let Some(add) = ngx_event_actions.add {
                add(event, READ_EVENT, flags);
            }
        }
    }
}

/// The worker's listening sockets. One of `reuseport` belongs to the worker of its number alone.
///
/// # Safety
///
/// As for [`stop`].
unsafe fn sockets<'a>(cycle: *mut ngx_cycle_t) -> impl Iterator<Item = &'a ngx_listening_t> {
    // SAFETY: the cycle's array has nelts listening sockets, which live as long as the cycle.
    let all = unsafe { (*cycle).listening.as_slice::<ngx_listening_t>() };
    all.iter().filter(|socket| !socket.connection.is_null())
}

/// A TCP or Unix socket. Those of QUIC receive the packets of the connections that there are, too.
pub(super) fn is_stream(socket: &ngx_listening_t) -> bool {
    socket.type_ == libc::SOCK_STREAM
}

/// The descriptors of the sockets that other processes have had before this configuration. nginx forgets it in a worker
/// (`ngx_worker_process_init`).
static OLD: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// The master notes for its workers which sockets it has taken over: from its last configuration, or from the nginx
/// before a binary upgrade. Says whether there is one of the latter.
///
/// # Safety
///
/// Called in `init_module`, with the new cycle.
pub(super) unsafe fn note_old(cycle: *mut ngx_cycle_t) -> bool {
    // SAFETY: the cycle's array has nelts listening sockets.
    let all = unsafe { (*cycle).listening.as_slice::<ngx_listening_t>() };
    let inherited = |socket: &ngx_listening_t| socket.inherited() != 0;
    let old = all.iter().filter(|socket| inherited(socket) || !socket.previous.is_null());
    *old_sockets() = old.map(|socket| socket.fd).collect();
    all.iter().any(inherited)
}

pub(super) fn is_old(socket: &ngx_listening_t) -> bool {
    old_sockets().contains(&socket.fd)
}

fn old_sockets() -> MutexGuard<'static, Vec<RawFd>> {
    OLD.lock().unwrap_or_else(PoisonError::into_inner)
}
