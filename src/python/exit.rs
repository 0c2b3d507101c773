//! An application ends its worker: the log says so, and the exit code is one after which nginx starts another.
//!
//! nginx's master does not restart a worker that has exited with code 2 (`ngx_process_get_status`). The shim guards
//! `os._exit` (_start.py). This file is about exit(3), whatever library calls it, and quick_exit(3). _exit(2) called
//! from C and the system call itself (a Go runtime's panic) cannot be noticed before they end the process.

use std::ffi::{c_int, c_void};

use super::fork;
use super::logging;
use super::sys;
use crate::bridge::code::Code;

/// The exit code after which nginx does not restart a worker.
const NEVER_AGAIN: c_int = 2;

/// The exit code that replaces it.
const INSTEAD: c_int = 1;

/// From here on exit(3) is watched in this process; not in its children.
pub(super) fn watch() {
    sys::on_exit(at_exit);
    sys::on_quick_exit(at_quick_exit);
}

/// exit(3) calls this after all handlers that were registered later, Python's among them.
extern "C" fn at_exit(status: c_int, _: *mut c_void) {
    if !is_an_application() {
        return;
    }
    // As wait(2) gives it to the master.
    let code = status & 0xff;
    if code == NEVER_AGAIN {
        logging::write_last(
            Code::ExitCalled,
            &format!(
                "exit({status}) was called: exit code 2 would keep nginx from starting this worker again, so that \
             it exits with {INSTEAD} instead"
            ),
        );
        sys::exit_now(INSTEAD)
    }
    logging::write_last(
        Code::ExitCalled,
        &format!("exit({status}) was called: it ends this worker"),
    );
}

/// quick_exit(3) does not tell its handlers the code.
extern "C" fn at_quick_exit() {
    if is_an_application() {
        logging::write_last(
            Code::ExitCalled,
            &format!(
                "quick_exit() was called: it ends this worker, with exit code {INSTEAD} lest nginx does not start it \
             again"
            ),
        );
        sys::exit_now(INSTEAD)
    }
}

/// An application has closed the descriptor that wakes the event loop, and perhaps others of nginx's. The process
/// cannot recover from that.
pub(super) fn descriptor_lost() {
    logging::write_last(
        Code::DescriptorsClosed,
        "descriptors of nginx's have been closed (os.closerange(), or os.close() of a number that is not the \
         application's own?): nginx does not hear of this worker's applications any more; the worker exits, and \
         nginx starts another",
    );
    sys::exit_now(INSTEAD)
}

/// The event loop waits for the GIL, which nobody gives back (`python_deadlock_timeout`, inline). The process cannot
/// recover from that.
pub(super) fn event_loop_lost() -> ! {
    logging::write_last(
        Code::EventLoopStuck,
        "nginx's event loop itself waits for the GIL (wsgi_thread_pool inline): the worker exits, and nginx starts \
         another",
    );
    sys::exit_now(INSTEAD)
}

/// Does an application end this process? It may also be nginx itself (its workers exit with 0, or with 2 if
/// another module's start has failed), or a child.
fn is_an_application() -> bool {
    // A process's first thread is nginx's.
    let on_event_loop = sys::is_first_thread();
    !fork::is_child() && (!on_event_loop || logging::is_in_application())
}
