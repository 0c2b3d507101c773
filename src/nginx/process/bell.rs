//! The other side's bell as an nginx connection, through which nginx reads the bell's eventfd.

use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_cycle_t, ngx_get_connection, ngx_handle_read_event,
};

use super::state::{Handler, Process, on_process};
use super::{drain, turn};
use crate::nginx::sys;
use crate::nginx::trampoline::EventThread;

/// Makes an nginx connection that reads a duplicate of the bell's descriptor.
///
/// # Safety
///
/// Called in `init_process`, with that worker's cycle.
pub(super) unsafe fn listen(cycle: *mut ngx_cycle_t, bell: i32) -> Option<*mut ngx_connection_t> {
    // SAFETY: the cycle is the worker's. The connection owns the duplicated descriptor, which is closed with it.
    let connection = unsafe {
        let fd = libc::fcntl(bell, libc::F_DUPFD_CLOEXEC, 0);
        if fd < 0 {
            return None;
        }
        let connection = ngx_get_connection(fd, (*cycle).log);
        if connection.is_null() {
            libc::close(fd);
            return None;
        }
        connection
    };
    // SAFETY: the connection is this module's, and has both events.
    unsafe {
        let event = (*connection).read;
        (*event).handler = Some(on_process::<Rung>);
        (*event).log = (*cycle).log;
        (*(*connection).write).log = (*cycle).log;
        // This is not a client's connection: a graceful exit neither waits for it nor reports it as an open socket
        // (ngx_worker_process_exit).
        (*event).set_channel(1);
        // A graceful exit begins with ngx_close_idle_connections, which calls the handler. This is how the module
        // learns that the worker must exit.
        (*connection).set_idle(1);
        if ngx_handle_read_event(event, 0) != sys::OK {
            ngx_close_connection(connection);
            return None;
        }
    }
    Some(connection)
}

/// The bell was rung, or the worker must exit.
struct Rung;

impl Handler for Rung {
    fn call(token: EventThread, process: &'static Process) {
        process.event_loop.worker().events.hush();
        let connection = process.connection.get();
        // SAFETY: nginx called the connection's handler; the connection is valid until `exit_process`.
        unsafe {
            if (*connection).close() != 0 {
                (*connection).set_close(0);
                drain::begin(token, process);
                // This call is not one of the turn's events: nginx may wait for the next events immediately.
                turn::end(token, process);
                return;
            }
        }
        process.event_loop.end_turn_later(token);
    }
}
