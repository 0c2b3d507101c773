//! What a child of the application has of its worker's descriptors: its output, and no socket. A copy of a socket
//! in a child keeps a connection open that nginx has closed, and a port bound after nginx has ended.
//!
//! A child that runs another program (`os.system`, `posix_spawn`, `subprocess`) loses what closes on exec: all that
//! is open at the worker's start (listening sockets, logs, epoll's descriptor), and a client's connection from its
//! first request on, whoever serves that; and the file of a request's body, so that no upload outlives its request on
//! the disk or is read by a program. A child that continues in Python (`os.fork`, `multiprocessing`) closes all
//! of nginx's sockets as it begins.

use std::os::fd::RawFd;

use nginx_sys::{
    ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_http_request_t, ngx_int_t, ngx_listening_t,
};

use super::sys;
use super::trampoline::guard;

/// In a worker, before Python starts.
///
/// # Safety
///
/// In `init_process`, with that worker's cycle.
pub(super) unsafe fn keep_sockets_from(cycle: *mut ngx_cycle_t) {
    // SAFETY: the cycle is the worker's, and its array has nelts listening sockets. A worker's descriptor table is its own: a new
    // binary still inherits the master's sockets.
    unsafe {
        // Linux 5.11; with an older one, what matters most.
        let first = libc::STDERR_FILENO + 1;
        if libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) != 0
        {
            let listening = &(*cycle).listening;
            let sockets = listening.elts.cast::<ngx_listening_t>();
            for at in 0..listening.nelts {
                close_on_exec((*sockets.add(at)).fd);
            }
        }
        // Fails only without memory, and then no child is made either.
        let _registered = libc::pthread_atfork(None, None, Some(in_child));
    }
}

/// What children print is in the error log: nginx as a daemon has its standard error there (ngx_log_redirect_stderr), and
/// its standard output nowhere (ngx_daemon). After the logs have been reopened (USR1) the output still goes to the old
/// file.
pub(super) fn give_output() {
    // SAFETY: plain system calls; the structures are this function's own.
    unsafe {
        let mut output: libc::stat = std::mem::zeroed();
        let mut error: libc::stat = std::mem::zeroed();
        let known = libc::fstat(libc::STDOUT_FILENO, &raw mut output) == 0
            && libc::fstat(libc::STDERR_FILENO, &raw mut error) == 0;
        let is_null = |status: &libc::stat| {
            status.st_mode & libc::S_IFMT == libc::S_IFCHR && status.st_rdev == libc::makedev(1, 3)
        };
        if known && is_null(&output) && !is_null(&error) {
            libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO);
        }
    }
}

/// `linux/close_range.h`
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// The first thing that nginx does with a request, whoever serves it.
///
/// # Safety
///
/// nginx calls it with a live request.
pub(super) unsafe extern "C" fn on_request(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: a live request has a connection with a log.
    unsafe {
        let connection = (*r).connection;
        guard(
            (*connection).log,
            || sys::DECLINED,
            |_token| {
                keep_connection_from(&*connection);
                sys::DECLINED
            },
        )
    }
}

/// A connection's first request. (Streams of HTTP/2 have their connection's descriptor.)
fn keep_connection_from(connection: &ngx_connection_t) {
    if connection.requests <= 1 || connection.shared() != 0 {
        close_on_exec(connection.fd);
    }
}

pub(super) fn close_on_exec(fd: RawFd) {
    if fd >= 0 {
        // SAFETY: a plain system call; a descriptor that is not open any more is refused.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// The child of fork(2), which has one thread and a copy of nginx's memory. A connection that nginx was just
/// opening or closing may be missed: its number is not in the table then.
extern "C" fn in_child() {
    // SAFETY: nobody changes the child's copy; close and fstat are async-signal-safe.
    unsafe {
        let cycle = ngx_cycle;
        if cycle.is_null() {
            return;
        }
        let listening = &(*cycle).listening;
        let sockets = listening.elts.cast::<ngx_listening_t>();
        for at in 0..listening.nelts {
            close_socket((*sockets.add(at)).fd);
        }
        let connections: *mut ngx_connection_t = (*cycle).connections;
        for at in 0..(*cycle).connection_n {
            close_socket((*connections.add(at)).fd);
        }
    }
}

/// Closes what is a socket: the event loop's bell, an eventfd, stays.
unsafe fn close_socket(fd: RawFd) {
    // SAFETY: a descriptor of nginx's, in a child, where nobody else uses it; the structure is this function's own.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        if fd >= 0
            && libc::fstat(fd, &raw mut status) == 0
            && status.st_mode & libc::S_IFMT == libc::S_IFSOCK
        {
            libc::close(fd);
        }
    }
}
