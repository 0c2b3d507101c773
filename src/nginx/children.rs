//! Which of its worker's descriptors a child process of the application gets: the output, but no socket. A copy of a
//! socket in a child would keep a connection open that nginx has closed, and a port bound after nginx has ended.
//!
//! A child that runs another program (`os.system`, `posix_spawn`, `subprocess`) loses the descriptors that close on
//! exec. These are all that are open when the worker starts (listening sockets, logs, epoll's descriptor), a client's
//! connection from its first request on, whichever module serves that request, and the file of a request's body.
//! Because that file closes on exec, no upload stays on the disk after its request, and no child's program can read
//! it. A child that continues in Python (`os.fork`, `multiprocessing`) closes all of nginx's sockets when it starts.

use std::os::fd::RawFd;

use nginx_sys::{
    ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_http_request_t, ngx_int_t, ngx_listening_t,
};

use super::parting;
use super::sys;
use super::trampoline::guard;

/// Marks the worker's descriptors close-on-exec, and makes forked children close its sockets. Called before Python
/// starts.
///
/// # Safety
///
/// Called in `init_process`, with that worker's cycle.
pub(super) unsafe fn keep_sockets_from(cycle: *mut ngx_cycle_t) {
    // SAFETY: the cycle is the worker's, and its array has nelts listening sockets. A worker has its own descriptor
    // table: a new binary still inherits the master's sockets.
    unsafe {
        // This flag needs Linux 5.11. On an older kernel only the listening sockets, which matter most, are marked.
        let first = libc::STDERR_FILENO + 1;
        if libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) != 0
        {
            let listening = &(*cycle).listening;
            let sockets = listening.elts.cast::<ngx_listening_t>();
            for at in 0..listening.nelts {
                close_on_exec((*sockets.add(at)).fd);
            }
        }
        // This fails only if there is no memory, and then no child can be made either.
        let _registered = libc::pthread_atfork(None, None, Some(in_child));
    }
}

/// The number `wanted`, if the process may have that many descriptors and `own` more; else the largest that leaves room
/// for these.
pub(super) fn descriptor_below_limit(wanted: usize, own: usize) -> RawFd {
    let room = descriptors();
    RawFd::try_from(wanted.min(room.saturating_sub(1 + own))).unwrap_or_default()
}

/// How many descriptors this process may have.
pub(super) fn descriptors() -> usize {
    // SAFETY: a system call on a structure that is local to this function.
    let limit = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Sends the output of children to the error log. The standard error of nginx as a daemon is the error log already
/// (ngx_log_redirect_stderr), but its standard output is /dev/null (ngx_daemon). After the logs were reopened (USR1),
/// the output still goes to the old file.
pub(super) fn give_output() {
    // SAFETY: these are system calls on structures that are local to this function.
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

/// Runs first for every request, whichever module serves it.
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
            |token| {
                parting::end_connection(token, r);
                keep_connection_from(&*connection);
                sys::DECLINED
            },
        )
    }
}

/// Marks the connection close-on-exec at its first request. (HTTP/2 streams share their connection's descriptor.)
pub(super) fn keep_connection_from(connection: &ngx_connection_t) {
    if connection.requests <= 1 || connection.shared() != 0 {
        close_on_exec(connection.fd);
    }
}

/// Closes all descriptors but the standard ones and that one.
///
/// # Safety
///
/// Nothing in this process uses these descriptors any more.
pub(super) unsafe fn close_but(own: RawFd) {
    let first = libc::STDERR_FILENO + 1;
    for (first, last) in [(first, own - 1), (own + 1, RawFd::MAX)] {
        // SAFETY: as the caller says. Where the call is missing (Linux before 5.9), imports find nginx's descriptors.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

pub(super) fn close_on_exec(fd: RawFd) {
    if fd >= 0 {
        // SAFETY: a system call without pointers; it fails on a descriptor that is no longer open.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Runs in the child of fork(2), which has one thread and a copy of nginx's memory. It may miss a connection that
/// nginx was opening or closing at that moment: its number is not in the table then.
extern "C" fn in_child() {
    // SAFETY: nothing else changes the child's copy; close and fstat are async-signal-safe.
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

/// Closes the descriptor if it is a socket. The event loop's bell is an eventfd and stays open.
unsafe fn close_socket(fd: RawFd) {
    // SAFETY: the descriptor is nginx's, in a child, where nothing else uses it; the structure is local to this
    // function.
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
