//! The supervisor: a process between nginx and the checker, in which no Python runs. Whatever an import starts, it ends.
//!
//! A process whose parent has ended becomes a child of the supervisor (PR_SET_CHILD_SUBREAPER), also one that has made
//! itself a daemon.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

use super::record::Record;
use crate::nginx::children;

/// Beyond its own limit the checker has so long to say where its threads are, and to end.
const GRACE: Duration = Duration::from_secs(5);

/// How often it looks whether nginx is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Forks a process that runs `check`, waits for it at most `limit` and a little, ends what it leaves behind, and
/// reports to `pipe` how it ended. Never returns.
///
/// # Safety
///
/// The calling process has just been forked, and has one thread.
pub(super) unsafe fn run(
    mut pipe: File,
    limit: Duration,
    nginx: libc::pid_t,
    check: impl FnOnce(File),
) -> ! {
    let signals = block_signals();
    // Also clients' connections, if it is a worker that has forked this process.
    // SAFETY: this process uses none of nginx's descriptors.
    unsafe { children::close_but(pipe.as_raw_fd()) };
    // SAFETY: plain system calls. What the terminal sends (Ctrl-C) ends nginx, which is then missed here.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    }
    let Ok(checkers_pipe) = pipe.try_clone() else { leave() };
    // SAFETY: this process has one thread; the child does not return.
    let checker = unsafe { libc::fork() };
    if checker == 0 {
        drop(pipe);
        check(checkers_pipe);
        leave();
    }
    drop(checkers_pipe);
    let status = if checker < 0 {
        -1
    } else {
        wait_for(checker, Instant::now() + limit + GRACE, nginx, &signals)
    };
    end_all();
    // If nginx has ended, nobody reads it.
    let _nobody = Record::Ended(status).write(&mut pipe);
    leave();
}

/// Blocks all signals that can be, so that each is asked for; gives those that the supervisor asks for.
fn block_signals() -> libc::sigset_t {
    // SAFETY: all fields of a sigset_t are numbers.
    let (mut all, mut asked): (libc::sigset_t, libc::sigset_t) = unsafe { mem::zeroed() };
    // SAFETY: the sets are this function's own; the calls change only the calling thread's mask, and what SIGCHLD does.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::sigemptyset(&raw mut asked);
        libc::sigaddset(&raw mut asked, libc::SIGCHLD);
        libc::sigaddset(&raw mut asked, libc::SIGTERM);
    }
    asked
}

/// Waits for the checker's end, and gives its status (wait(2)). Ends it at the deadline, on SIGTERM, and if nginx has
/// ended.
fn wait_for(
    checker: libc::pid_t,
    deadline: Instant,
    nginx: libc::pid_t,
    signals: &libc::sigset_t,
) -> i32 {
    loop {
        while let Some((pid, status)) = reap(libc::WNOHANG) {
            if pid == checker {
                return status;
            }
        }
        let left = deadline.saturating_duration_since(Instant::now()).min(LOOK);
        let time = libc::timespec {
            tv_sec: left.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(left.subsec_nanos()),
        };
        // SAFETY: the set and the time are valid; nothing is asked about the signal but its number.
        let signal = unsafe { libc::sigtimedwait(signals, ptr::null_mut(), &raw const time) };
        // SAFETY: a plain system call.
        let orphaned = unsafe { libc::getppid() } != nginx;
        if signal == libc::SIGTERM || orphaned || Instant::now() >= deadline {
            kill(checker);
        }
    }
}

/// Ends all children, and theirs, which become children as their parents end.
fn end_all() {
    loop {
        children().into_iter().for_each(kill);
        if reap(0).is_none() {
            return;
        }
    }
}

/// The children of this process, which has one thread.
fn children() -> Vec<libc::pid_t> {
    // Linux has this file if it was built with CONFIG_PROC_CHILDREN, as that of every distribution is.
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn kill(pid: libc::pid_t) {
    // SAFETY: a plain system call. The process is a child that has not been waited for, so that no other has its number.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Takes the status of a child that has ended; `None` if there is none.
fn reap(options: libc::c_int) -> Option<(libc::pid_t, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: the status is this function's own.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, options) };
        if pid > 0 {
            return Some((pid, status));
        }
        if pid == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

/// Ends the process without running what nginx has registered for its own end.
pub(super) fn leave() -> ! {
    // SAFETY: _exit(2) touches no memory of the process, and does not return.
    unsafe { libc::_exit(0) }
}
