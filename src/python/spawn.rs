//! Starts Python's threads: within the guard, and with a stack for signal handlers.

use std::io;
use std::ptr;
use std::thread::{Builder, JoinHandle};

use super::guard;

/// The C stack of Python's threads in bytes, as the system gives a process's first thread.
pub(super) const STACK: usize = 8 << 20;

/// Starts a thread. A panic of `act` is logged. The caller blocks the signals that nginx uses, so that the thread does.
pub(super) fn spawn(
    name: &str,
    stack: usize,
    act: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(move || {
        let _stack = SignalStack::new();
        // A panic is in the log.
        let _panicked = guard::run(act);
    })
}

/// A stack for the signal handlers of the calling thread (sigaltstack(2)). A handler of SIGSEGV needs one if the
/// thread's own stack is used up, and faulthandler gives one only to the thread that enables it.
struct SignalStack {
    memory: *mut libc::c_void,
}

/// Bytes of address space. Pages that are not used take no memory.
const SIGNAL_STACK: usize = 64 << 10;

impl SignalStack {
    /// `None` if there is no memory: then handlers run on the thread's own stack.
    fn new() -> Option<Self> {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: fresh memory, at a place that the kernel chooses.
        let memory = unsafe { libc::mmap(ptr::null_mut(), SIGNAL_STACK, access, kind, -1, 0) };
        if memory == libc::MAP_FAILED {
            return None;
        }
        let own = Self { memory };
        let stack = libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: SIGNAL_STACK };
        // SAFETY: the memory stays until `drop`, which takes it back from the thread.
        let set = unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
        (set == 0).then_some(own)
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        // SAFETY: all fields of a stack_t are numbers, or a pointer that may be null.
        let mut now: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: with null it only says which stack the thread has.
        let known = unsafe { libc::sigaltstack(ptr::null(), &raw mut now) } == 0;
        // The thread may have another one by now (faulthandler.enable()).
        if known && now.ss_sp == self.memory {
            now.ss_flags = libc::SS_DISABLE;
            // SAFETY: the thread is not on that stack: a handler has returned before this runs.
            unsafe { libc::sigaltstack(&raw const now, ptr::null_mut()) };
        }
        // SAFETY: `new` has mapped it, and no thread has it as its stack any more.
        unsafe { libc::munmap(self.memory, SIGNAL_STACK) };
    }
}
