//! How a thread of Python's starts: guarded, and with a stack for signal handlers.

use std::io;
use std::ptr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::bridge::log::{About, Level, LogLine};
use crate::bridge::panics::{self, Panicked};
use crate::bridge::worker::Worker;

/// The C stack of Python's threads in bytes, as the system gives a process's first thread.
pub(super) const STACK: usize = 8 << 20;

/// Starts a thread; a panic of `act` is a line of log. The caller blocks the signals that are nginx's, and so
/// does the thread.
pub(super) fn spawn(
    worker: &Arc<Worker>,
    name: &str,
    stack: usize,
    act: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let worker = Arc::clone(worker);
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(move || {
        let _stack = SignalStack::new();
        if let Err(panicked) = panics::catch(act) {
            say(&worker, &panicked);
        }
    })
}

/// Logs a panic that is about no request. Not for a thread that is attached: it may wait.
pub(super) fn say(worker: &Worker, panicked: &Panicked) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let text = format!("{panicked} (thread {name})");
    worker.events.log(LogLine { level: Level::Alert, about: About::Worker, text });
}

/// A stack for the handlers of signals (sigaltstack(2)) of the calling thread: faulthandler gives one to the
/// thread alone that enables it, and a handler of SIGSEGV needs one where the thread's own is used up.
struct SignalStack {
    memory: *mut libc::c_void,
}

/// Bytes. What is not used of it costs no memory.
const SIGNAL_STACK: usize = 64 << 10;

impl SignalStack {
    /// `None` where there is no memory: then handlers run on the thread's own stack.
    fn new() -> Option<Self> {
        // SAFETY: fresh memory, which stays until the thread has ended its use of it (`drop`).
        unsafe {
            let memory = libc::mmap(
                ptr::null_mut(),
                SIGNAL_STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if memory == libc::MAP_FAILED {
                return None;
            }
            let own = Self { memory };
            let stack = libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: SIGNAL_STACK };
            (libc::sigaltstack(&raw const stack, ptr::null_mut()) == 0).then_some(own)
        }
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        // SAFETY: the calling thread made it; where it has another one by now (faulthandler.enable()), only
        // the memory goes.
        unsafe {
            let mut now: libc::stack_t = std::mem::zeroed();
            if libc::sigaltstack(ptr::null(), &raw mut now) == 0 && now.ss_sp == self.memory {
                now.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&raw const now, ptr::null_mut());
            }
            libc::munmap(self.memory, SIGNAL_STACK);
        }
    }
}
