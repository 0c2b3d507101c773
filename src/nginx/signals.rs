//! Which thread of a worker takes which signals.
//!
//! | signals | the event loop's thread | Python's threads |
//! |---|---|---|
//! | nginx's | takes them | blocked |
//! | those that a thread causes itself | takes its own | each takes its own |
//! | all others, including SIGCHLD | blocked | blocked, but Python's main thread takes them while it waits |

use std::mem;
use std::ptr;

/// The signals that nginx handles or ignores in a worker (`signals` in ngx_process.c), except SIGCHLD: this module
/// restores its default.
const NGINX: [libc::c_int; 11] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGWINCH,
    libc::SIGIO,
    // nginx does not handle this one, but no thread can block it.
    libc::SIGSTOP,
];

/// The signals that a thread causes itself. If they are blocked, the kernel ends the process without calling any
/// handler, such as faulthandler's (force_sig_info_to_task()).
const SYNCHRONOUS: [libc::c_int; 7] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
];

/// The signals that nginx does not use: applications may handle them.
pub(super) fn of_applications() -> Vec<libc::c_int> {
    let free = |signal: &libc::c_int| {
        !NGINX.contains(signal)
            && !SYNCHRONOUS.contains(signal)
            && *signal != libc::SIGKILL
            // The C library uses the signals between the numbered and the real-time ones itself.
            && !(32..libc::SIGRTMIN()).contains(signal)
    };
    (1..=libc::SIGRTMAX()).filter(free).collect()
}

/// Runs `act`, which starts a thread of Python's, with signals blocked: a thread inherits the signal mask of the
/// thread that starts it.
pub(super) fn with_those_of_threads_blocked<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: these calls change only the calling thread's mask; the sets are local to this function.
    unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        let mut before: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&raw mut all);
        for own in SYNCHRONOUS {
            libc::sigdelset(&raw mut all, own);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let result = act();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        result
    }
}

/// Blocks the signals of applications in the event loop's thread: their handlers run on Python's main thread.
pub(super) fn leave_to_python() {
    // SAFETY: these calls change only the calling thread's mask; the set is local to this function.
    unsafe {
        let mut theirs: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut theirs);
        for signal in of_applications() {
            libc::sigaddset(&raw mut theirs, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const theirs, ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_have_what_nginx_has_no_use_for() {
        let theirs = of_applications();
        for signal in
            [libc::SIGCHLD, libc::SIGVTALRM, libc::SIGPROF, libc::SIGRTMIN(), libc::SIGRTMAX()]
        {
            assert!(theirs.contains(&signal), "{signal}");
        }
        for signal in [libc::SIGTERM, libc::SIGPIPE, libc::SIGSEGV, libc::SIGKILL, libc::SIGSTOP] {
            assert!(!theirs.contains(&signal), "{signal}");
        }
    }
}
